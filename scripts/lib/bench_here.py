"""What `make bench-model` measures in this folder, and what it leaves behind: the composed appliance, or `make dev`."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scripts.lib import bench_machine, compose, dev_stack, docker_daemon, images, log, observed, paths, resolve, shell
from scripts.lib import settings as operator
from scripts.lib.bench_stack import Appliance, model_name
from scripts.lib.edge import Edge
from scripts.lib.failure import Failure
from scripts.lib.services import Inside

_PROBE = paths.ROOT / "scripts" / "lib" / "engine_probe.py"
_PLOT = paths.IMAGES / "bench" / "plot.py"
_ROUND_S = 3600.0
_SHOWN = ("THREADS", "BATCH", "MMAP", "MLOCK", "PROMPT_CACHE_MIB", "ENGINE_SLOTS", "CONTEXT_SIZE", "GPU_LAYERS")
_QUANTISATION = re.compile(r"(?:^|[._-])((?:I?Q\d[\w]*)|BF16|F16|F32)(?=[._-]|$)", re.IGNORECASE)
Connect = Callable[[float], http.client.HTTPConnection]


def place() -> Native | Composed:
    """`make dev` where it runs, else what `make up` set up. Failure where neither is there."""
    stack = dev_stack.running()
    return Native(stack) if stack else Composed()


class Native:
    """Beside `make dev`."""

    def __init__(self, stack: dev_stack.DevStack) -> None:
        self.inside: Inside = stack
        self.engine, self.api = "llama.cpp (xllamacpp)", "openai"
        self.port = urlsplit(stack.environment["ENGINE_URL"]).port or 0
        self.model_file = Path(stack.environment["MODEL_FILE"])
        self.results = paths.ROOT / ".dev" / "bench"
        self.headers: Mapping[str, str] = {}
        self._python = stack.python
        self._public = urlsplit(stack.url)

    def connect(self, timeout: float) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._public.hostname or "", self._public.port, timeout=timeout)

    def settings(self) -> dict[str, str]:
        """The engine's environment."""
        pid = bench_machine.listener(self.port)
        try:
            raw = Path(f"/proc/{pid}/environ").read_text(errors="replace") if pid else ""
        except OSError:
            raw = ""
        return dict(part.split("=", 1) for part in raw.split("\0") if "=" in part)

    def memory(self) -> dict[str, int]:
        """Bytes in use: `engine`, `all`."""
        pid = bench_machine.listener(self.port)
        if pid is None:
            return {}
        # The first of the family is `make dev` itself, which is no part of an appliance.
        return {"engine": bench_machine.memory_of([pid]), "all": bench_machine.memory_of(bench_machine.family(pid)[1:])}

    def plot(self, runs: str, prefix: Path) -> tuple[int, str]:
        """Draw PREFIX.png and PREFIX.svg of runs in JSON: exit status, what went wrong."""
        status, _, err = _fed([self._python, str(_PLOT), str(prefix)], runs)
        return status, err


class Composed:
    """The appliance in its containers."""

    def __init__(self) -> None:
        appliance = compose.current()
        values = resolve.earlier()
        wanted = operator.load(environ=values)
        if values["ENGINE_RESOLVED"] == "external":
            hint = "measure it where it runs; `make bench` has what the proxy adds"
            raise Failure("bench.engine_elsewhere", "ENGINE=external: the engine runs elsewhere", hint)
        self.inside: Inside = appliance
        self._appliance, self._values = appliance, values
        self.engine, self.api = values["ENGINE_RESOLVED"], values["ENGINE_API"]
        self.port = 5001
        self.model_file = paths.MODELS / values["MODEL_FILE"]
        self.results = paths.STATE / "bench"
        edge = Edge(wanted["DOMAIN"], wanted.number("HTTPS_PORT"))
        self.headers: Mapping[str, str] = {"Host": edge.host}
        self.connect: Connect = edge.connection

    def settings(self) -> dict[str, str]:
        given = self._appliance.config()["services"]["engine"].get("environment") or {}
        return {name: str(value or "") for name, value in given.items()}

    def memory(self) -> dict[str, int]:
        used = {one.service: one.memory for one in observed.containers(self._appliance)}
        return {"engine": used.get("engine", 0), "all": sum(used.values())}

    def plot(self, runs: str, prefix: Path) -> tuple[int, str]:
        images.build_bench(self._values)
        words = ["run", "--rm", "--interactive", "--network", "none", "--cap-drop", "ALL", "--read-only"]
        words += ["--tmpfs", "/tmp", "--user", f"{os.getuid()}:{os.getgid()}"]  # noqa: S108 - the container's own
        words += ["--volume", f"{prefix.parent}:/results", images.BENCH, f"/results/{prefix.name}"]
        status, _, err = _fed(docker_daemon.docker(*words), runs)
        return status, err


@dataclass(frozen=True)
class Engine:
    """The running engine, asked from beside it."""

    place: Native | Composed

    def ask(self, work: str, timeout: float = 60.0, **order: object) -> Any:
        """Failure where it cannot be measured."""
        words = ["python3", "-", json.dumps({"api": self.place.api, "port": self.place.port, "work": work, **order})]
        with _PROBE.open("rb") as program:
            status, out, err = self.place.inside.feed("engine", words, program, timeout)
        if status != 0:
            reason = (err.strip().splitlines() or ["no answer"])[-1]
            raise Failure(
                "bench.engine_failed", f"the engine cannot be measured: {reason}", "`make status`, `make logs`"
            )
        return json.loads(out)

    def visits(self, prompt: int, tokens: int, levels: tuple[int, ...]) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("visits", _ROUND_S, prompt=prompt, tokens=tokens, levels=levels)
        return found


def appliance(place: Native | Composed, engine: Engine, key: str) -> Appliance:
    """The public API of `place`."""
    headers = {**place.headers, "Authorization": f"Bearer {key}"}
    return Appliance(place.connect, headers, model_name(place.connect, headers), int(engine.ask("per_sentence")))


def quantisation(file: str) -> str:
    """As the file's name tells: Q4_K_M, F16; "unknown" where it does not."""
    found = _QUANTISATION.findall(file.rpartition(".")[0] or file)
    return str(found[-1]).upper() if found else "unknown"


def about(place: Native | Composed, engine: Engine) -> dict[str, Any]:
    """Everything that the figures belong to."""
    given = place.settings()
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "machine": bench_machine.machine(),
        "engine": {"name": place.engine, "version": str(engine.ask("version"))},
        "model": {
            "name": place.model_file.stem,
            "size": place.model_file.stat().st_size,
            "quantisation": quantisation(place.model_file.name),
        },
        "settings": {name: given[name] for name in _SHOWN if given.get(name)},
    }


def keep(place: Native | Composed, run: Mapping[str, Any], other: Mapping[str, Any] | None) -> list[Path]:
    """Write the run and its plot; the files that came of it."""
    place.results.mkdir(parents=True, exist_ok=True)
    prefix = place.results / time.strftime("%Y%m%d-%H%M%S")
    file = prefix.with_suffix(".json")
    file.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    try:
        status, trouble = place.plot(json.dumps([run, *([other] if other else [])]), prefix)
    except Failure as failure:
        status, trouble = 1, str(failure)
    if status != 0:
        log.warn(f"no plot was drawn: {(trouble.strip().splitlines() or ['no reason given'])[-1]}")
        return [file]
    return [file, prefix.with_suffix(".png"), prefix.with_suffix(".svg")]


def _fed(command: list[str], text: str) -> tuple[int, str, str]:
    with _as_file(text) as given:
        return shell.capture(command, timeout=120, given=given)


@contextmanager
def _as_file(text: str) -> Iterator[io.BufferedRandom]:
    """A stdin for another program, which wants a real file."""
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.seek(0)
        yield file
