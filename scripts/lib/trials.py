"""Engines that are started to be measured, beside the one that answers visitors: in a container, or natively."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from scripts.lib import docker_daemon, paths, shell
from scripts.lib.native import NativeStack, ServiceFailed
from scripts.lib.tuning import Figures, Knobs, TrialFailedError

_PROBE = paths.ROOT / "scripts" / "lib" / "engine_probe.py"
# Loading a large model from a slow disk is the longest part.
_START_S = 600.0
_WORK_S = 900.0
_LOG_LINES = 5
# Each part of a measurement takes about so long with the defaults, in seconds.
_PART_S = 2.0
# A visitor's engine has 1024: where both want the processor, hers gets four fifths.
_CPU_SHARES = 256


class Running(Protocol):
    """An engine that was started for a trial."""

    def probe(self, order: Mapping[str, object], timeout: float) -> tuple[int, str, str]:
        """Run engine_probe.py beside it: exit status, stdout, stderr."""
        ...

    def last_words(self) -> str:
        """The end of its log."""
        ...


class Starter(Protocol):
    """A way of starting an engine with an environment, ended when the block is left."""

    api: str

    def started(self, environment: Mapping[str, str]) -> AbstractContextManager[Running]: ...


@dataclass
class EngineTrial:
    """A `tuning.Trial`: each measurement starts an engine anew.

    `context` is one conversation's, in tokens; `visitors` ask at once. What they ask for is measured out by the first
    engine, so that each part takes seconds on a small machine too, and is the same for all that follow.
    """

    starter: Starter
    visitors: int
    context: int
    _load: dict[str, int] = field(default_factory=dict)

    def measure(self, knobs: Knobs) -> Figures:
        with self.starter.started(knobs.environment()) as engine:
            if not self._ask(engine, _START_S + 30, work="wait", seconds=_START_S).get("ready"):
                raise TrialFailedError(f"it did not load the model: {engine.last_words()}")
            if not self._load:
                self._load = self._ask(engine, _WORK_S, work="size_up", seconds=_PART_S, most=self.context)
            return Figures(**self._ask(engine, _WORK_S, work="rates", visitors=self.visitors, **self._load))

    def _ask(self, engine: Running, timeout: float, **order: object) -> dict[str, Any]:
        status, out, err = engine.probe({"api": self.starter.api, **order}, timeout)
        if status != 0:
            raise TrialFailedError(f"{err.strip()[-200:] or 'it ended'}: {engine.last_words()}")
        found: dict[str, Any] = json.loads(out)
        return found


@dataclass
class NativeStarter:
    """images/llamacpp/serve.py as a process. `environment` is what all engines of the trial share."""

    python: str
    model: Path
    environment: Mapping[str, str]
    api: str = "openai"

    @contextmanager
    def started(self, environment: Mapping[str, str]) -> Iterator[_Process]:
        with tempfile.TemporaryDirectory(prefix="tune-") as folder:
            stack = NativeStack(Path(folder), self.model, python=self.python)
            stack.configure("engine", **self.environment, **environment)
            try:
                stack.start("engine")
                yield _Process(stack, self.python)
            except ServiceFailed as failed:
                raise TrialFailedError(str(failed)) from failed
            finally:
                stack.close()


@dataclass(frozen=True)
class _Process:
    stack: NativeStack
    python: str

    def probe(self, order: Mapping[str, object], timeout: float) -> tuple[int, str, str]:
        words = [self.python, str(_PROBE), json.dumps({"port": self.stack.ports["engine"], **order})]
        return shell.capture(words, timeout=timeout)

    def last_words(self) -> str:
        return " / ".join(self.stack.log("engine").read_text(errors="replace").splitlines()[-_LOG_LINES:])


def container_of(project: str) -> str:
    """What a trial's container is called."""
    return f"{project}-tune"


def remove_left(project: str) -> None:
    """Take away a trial whose command was killed outright: it would keep its memory, and go on for ever."""
    docker_daemon.ask("rm", "--force", "--volumes", container_of(project), timeout=60)


@dataclass
class DockerStarter:
    """A container of the engine's own image, on no network; `service` is the engine's part of Compose's configuration.

    It has the memory and the processors that the visitors' engine has, but takes second place for the processors.
    """

    service: Mapping[str, Any]
    name: str
    api: str
    environment: Mapping[str, str]

    @contextmanager
    def started(self, environment: Mapping[str, str]) -> Iterator[_Container]:
        self.remove()
        status, out, err = docker_daemon.ask("run", *self.options(environment), self.service["image"], timeout=60)
        try:
            if status != 0:
                raise TrialFailedError(f"docker run: {err.strip()[-300:]}")
            yield _Container(out.strip())
        finally:
            self.remove()

    def options(self, environment: Mapping[str, str]) -> list[str]:
        """What stands between `docker run` and the image's name."""
        words = ["--detach", "--name", self.name, "--network", "none", "--read-only"]
        words += ["--tmpfs", "/tmp:mode=1777,size=64m"]  # noqa: S108 - the container's own
        words += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--pids-limit", "200"]
        words += ["--cpu-shares", str(_CPU_SHARES), "--log-opt", "max-size=1m", "--no-healthcheck"]
        for option, value in (("--cpus", self.service.get("cpus")), ("--memory", self.service.get("mem_limit"))):
            if value and str(value) not in ("0", "0.0"):
                words += [option, str(value)]
        memlock = (self.service.get("ulimits") or {}).get("memlock")
        if memlock is not None:
            words += ["--ulimit", f"memlock={memlock}:{memlock}"]
        for volume in self.service.get("volumes") or ():
            if volume.get("type") == "bind" and volume.get("read_only"):
                words += ["--volume", f"{volume['source']}:{volume['target']}:ro"]
        given = {**(self.service.get("environment") or {}), **self.environment, **environment}
        return words + [part for name, value in given.items() for part in ("--env", f"{name}={value or ''}")]

    def remove(self) -> None:
        """Take away this trial's container, or one that an earlier trial could not."""
        docker_daemon.ask("rm", "--force", "--volumes", self.name, timeout=60)


@dataclass(frozen=True)
class _Container:
    id: str

    def probe(self, order: Mapping[str, object], timeout: float) -> tuple[int, str, str]:
        words = docker_daemon.docker("exec", "-i", self.id, "python3", "-", json.dumps({"port": 5001, **order}))
        with _PROBE.open("rb") as program:
            return shell.capture(words, timeout=timeout, given=program)

    def last_words(self) -> str:
        _, out, err = docker_daemon.ask("logs", "--tail", str(_LOG_LINES), self.id, timeout=20)
        return " / ".join((out + err).strip().splitlines())
