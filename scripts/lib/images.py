"""Building the images, and knowing when there is nothing to build.

An image is built again when its inputs changed: the files in its build context, its build settings, or the image it
stands on. A stamp of these inputs makes the second `make up` skip the builder altogether.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scripts.lib import docker_daemon, log, paths, shell
from scripts.lib.compose import Compose
from scripts.lib.former_images import Former

_STAMP = paths.STAMPS / "images.json"
BASE, BUILDER, FETCH = "chatbot-base:local", "chatbot-builder:local", "chatbot-fetch:local"
BENCH = "chatbot-bench:local"

_NOT_INPUT = {"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".git", ".venv"}
_BUILD_STEP = re.compile(r"#\d+ \[(.+?)\] (?!exporting)(.+)")
_HINT = "the lines above say which step failed; `make up` again goes on after the last good step"


def digest_of(folder: Path) -> str:
    """One hash over names, modes and contents of all files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(_files(folder)):
        state = path.lstat()
        line = f"{path.relative_to(folder)}\0{state.st_mode & 0o777:o}\0{_content(path)}\n"
        # A file's name need not be text.
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def _files(folder: Path) -> Iterable[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _NOT_INPUT and not name.endswith(".egg-info")]
        yield from (Path(here, name) for name in names if not name.endswith(".pyc"))


def _content(path: Path) -> str:
    if path.is_symlink():
        return str(path.readlink())
    # Staged wheels and sources are hundreds of megabytes; their size and time say enough and cost nothing.
    state = path.stat()
    if state.st_size > 64 * 2**20:
        return f"{state.st_size} {state.st_mtime_ns}"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def image_id(tag: str) -> str:
    """Docker's id of an image; "" when there is none of that name."""
    status, out, _ = docker_daemon.ask("image", "inspect", "--format", "{{.Id}}", tag)
    return out.strip() if status == 0 else ""


class Stamps:
    """What each image was built from, and what came out."""

    def __init__(self, path: Path = _STAMP) -> None:
        self._path = path
        try:
            self._known: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._known = {}

    def fresh(self, tag: str, inputs: str) -> bool:
        """True when the image was built from just these inputs and is still the one Docker has."""
        return bool(image_id(tag)) and self._known.get(tag) == [inputs, image_id(tag)]

    def set(self, tag: str, inputs: str) -> None:
        """It has just been built, from these."""
        self.put(tag, inputs, image_id(tag))

    def put(self, tag: str, inputs: str, image: str) -> None:
        """From here on the tag is this image, made from these."""
        before, self._known[tag] = self._known.get(tag, ["", ""])[1], [inputs, image]
        if before != image:
            Former(self._path.with_name("former-images.json")).add(before)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".part")
        draft.write_text(json.dumps(self._known, indent=1, sort_keys=True), encoding="utf-8")
        draft.replace(self._path)

    def ids(self) -> frozenset[str]:
        """Docker's ids of all that were built here, also of those that it no longer has."""
        return frozenset(known[1] for known in self._known.values() if isinstance(known, list) and len(known) == 2)

    def present(self) -> dict[str, tuple[str, str]]:
        """Tag -> (inputs, id) of all that were built here and that Docker has.

        Where Docker's is another one than was built here, nobody knows from what: its inputs are "".
        """
        found = {tag: (known, image_id(tag)) for tag, known in self._known.items()}
        return {tag: (known[0] if known[1] == image else "", image) for tag, (known, image) in found.items() if image}


def build_foundation(values: Mapping[str, str]) -> int:
    """The images that others stand on, and the one that fetches models. Returns how many were built."""
    stamps = Stamps()
    base = values["BASE_IMAGE"]
    common = {"BASE_IMAGE": base}
    ground = hashlib.sha256(f"{base} {image_id(base)} {digest_of(paths.IMAGES / 'base')}".encode()).hexdigest()
    built = _build_one(stamps, BASE, "base", ground, values, common, target="runtime")
    built += _build_one(stamps, BUILDER, "base", ground, values, common, target="builder")
    stands_on = f"{image_id(BASE)} {image_id(BUILDER)} {values['PIP_INDEX_URL']}"
    inputs = hashlib.sha256(f"{stands_on} {digest_of(paths.IMAGES / 'fetch')}".encode()).hexdigest()
    return built + _build_one(stamps, FETCH, "fetch", inputs, values, {"PIP_INDEX_URL": values["PIP_INDEX_URL"]})


def build_bench(values: Mapping[str, str]) -> int:
    """The image that draws the plots of `make bench-model`. Returns how many were built."""
    stands_on = f"{image_id(BASE)} {image_id(BUILDER)} {values['PIP_INDEX_URL']}"
    inputs = hashlib.sha256(f"{stands_on} {digest_of(paths.IMAGES / 'bench')}".encode()).hexdigest()
    return _build_one(Stamps(), BENCH, "bench", inputs, values, {"PIP_INDEX_URL": values["PIP_INDEX_URL"]})


def _build_one(
    stamps: Stamps,
    tag: str,
    folder: str,
    inputs: str,
    values: Mapping[str, str],
    arguments: Mapping[str, str],
    target: str = "",
) -> int:
    if stamps.fresh(tag, inputs):
        return 0
    options = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
    options += ["--target", target] if target else []
    options += ["--secret", f"id=ca,src={values['CA_BUNDLE']}"]
    build = ("buildx", "build", "--progress", "plain", "--load", "--tag", tag)
    shell.logged(
        docker_daemon.docker(*build, *options, str(paths.IMAGES / folder)),
        what=f"building {tag}",
        failure_id="image.build_failed",
        hint=_HINT,
        show=StepLines(tag.partition(":")[0].removeprefix("chatbot-")),
    )
    stamps.set(tag, inputs)
    return 1


def build_services(compose: Compose, only: str = "") -> list[str]:
    """Build what changed among the services' images, at once, or of one service alone; returns the services built."""
    stamps = Stamps()
    stands_on = f"{image_id(BASE)} {image_id(BUILDER)}"
    services: dict[str, Any] = compose.config()["services"]
    stale = {}
    for name, service in services.items():
        if only not in ("", name):
            continue
        inputs = hashlib.sha256(f"{stands_on} {_inputs(service['build'])}".encode()).hexdigest()
        if not stamps.fresh(service["image"], inputs):
            stale[name] = inputs
    if not stale:
        return []
    log.info(f"building {', '.join(stale)}")
    shell.logged(
        compose.command("build", *stale),
        what=f"building {', '.join(stale)}",
        failure_id="image.build_failed",
        hint=_HINT,
        env={**compose.environment(), "BUILDKIT_PROGRESS": "plain"},
        show=StepLines(""),
    )
    for name, inputs in stale.items():
        stamps.set(services[name]["image"], inputs)
    return list(stale)


def _inputs(build: Mapping[str, Any]) -> str:
    """Everything that a service's build section names, contents included."""
    context = Path(build["context"])
    dockerfile = context / build.get("dockerfile", "Dockerfile")
    # The same wherever the checkout lies.
    where = os.path.relpath(context, paths.ROOT)
    described = json.dumps({**build, "context": where, "secrets": None}, sort_keys=True)
    return f"{described} {_content(dockerfile.resolve())} {digest_of(context)}"


class StepLines:
    """Turns BuildKit's plain output into one line per build step."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._seen: set[str] = set()

    def __call__(self, line: str) -> str | None:
        step = _BUILD_STEP.match(line)
        if not step or step[1] in self._seen or step[1].endswith("internal"):
            return None
        self._seen.add(step[1])
        instruction = re.sub(r"\s+", " ", re.sub(r"--mount=\S+\s*", "", step[2]))
        where = f"{self._prefix} {step[1]}".strip()
        return f"[{where}] {instruction[:100]}"
