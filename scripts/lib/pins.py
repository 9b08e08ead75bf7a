"""Images from registries pinned by digest, so that a build takes tomorrow what it takes today.

What a tag names may be another image any day. A digest is the SHA-256 of what it names: of the index of all platforms
where there is one, so that one line is good on each of them. The tag stays beside it, for people, and to ask by for a
newer digest: https://docs.docker.com/build/building/best-practices/#pin-base-image-versions
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from scripts.lib import docker_daemon, docker_install, image_names, paths, shell
from scripts.lib.failure import Failure
from scripts.lib.findings import ERROR, WARNING, Finding
from scripts.lib.image_names import ImageName, Place

# A name as Docker takes it -> exit status, the manifest's bytes, stderr.
Ask = Callable[[str], tuple[int, bytes, str]]

_TIMEOUT_S = 60
_MISSING = re.compile(r"(?i): not found$|manifest unknown|name unknown")
_REFUSED = re.compile(r"(?i)denied|unauthorized|forbidden|too ?many ?requests")
_WAY = "`make pins` where its registry can be reached"


def inspect(name: str) -> tuple[int, bytes, str]:
    """What a registry has under a name, byte for byte, by Docker's own client: it knows log-ins and proxies.

    --raw reads this one manifest. Any other format reads those of all platforms too, and hubs count what is read.
    """
    words = docker_daemon.docker("buildx", "imagetools", "inspect", "--raw", name)
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, env=shell.environment()
        )
    except OSError as error:
        return 127, b"", str(error)
    except subprocess.TimeoutExpired:
        return 124, b"", f"no answer within {_TIMEOUT_S} s"
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


def check_client() -> None:
    """Failure `pins.docker_missing` where there is nothing to ask registries with. The daemon is not needed."""
    if not docker_install.plugin_version("buildx"):
        fact = "registries are asked by `docker buildx`, and this machine has none"
        raise Failure("pins.docker_missing", fact, "`make up` installs it; or run this on a machine that has it")


def ask(found: Iterable[Place], inspected: Ask = inspect) -> tuple[dict[str, str], list[Finding]]:
    """{name:tag: the digest that it has now}, and a finding for each that could not be had.

    What is named by digest alone follows no tag, and is not asked about.
    """
    wanted: dict[str, list[Place]] = defaultdict(list)
    for place in found:
        if place.image.tag:
            wanted[place.image.tagged].append(place)
    with ThreadPoolExecutor(max_workers=4) as pool:
        answers = list(pool.map(inspected, wanted))
    digests, findings = {}, []
    for (name, where), (status, manifest, said) in zip(wanted.items(), answers, strict=True):
        if status == 0 and _is_manifest(manifest):
            digests[name] = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        else:
            last = (said.strip().splitlines() or ["it sent no manifest"])[-1].removeprefix("ERROR: ")[:300]
            findings.append(_not_had(name, _listed(where), "it sent no manifest" if status == 0 else last))
    return digests, findings


def _is_manifest(text: bytes) -> bool:
    """Whether its bytes are what the digest is of: those of schema 1 hold their own signature, which does not count."""
    try:
        told = json.loads(text)
    except ValueError:
        return False
    return isinstance(told, dict) and told.get("schemaVersion") == 2


def _not_had(name: str, where: str, said: str) -> Finding:
    if _MISSING.search(said):
        return Finding("pins.tag_missing", ERROR, f"its registry has no {name} ({said})", f"correct it in {where}")
    if _REFUSED.search(said):
        hint = f"is the name right, in {where}? `docker login`, or wait where it counts requests; then `make pins`"
        return Finding("pins.refused", ERROR, f"its registry does not give out {name}: {said}", hint)
    return Finding("pins.registry_silent", ERROR, f"no registry answers about {name}: {said}", _WAY)


def unpinned(found: Iterable[Place], level: str = WARNING) -> list[Finding]:
    """A finding for each image that is taken by its tag alone."""
    loose = _grouped(place for place in found if not place.image.digest)
    return [
        Finding("pins.unpinned", level, f"{image} has no digest in {_listed(where)}", _WAY)
        for image, where in loose.items()
    ]


def moved(found: Iterable[Place], digests: Mapping[str, str]) -> list[Finding]:
    """A finding for each pinned image whose tag names another one by now."""
    return [
        Finding(
            "pins.moved",
            ERROR,
            f"{image.tagged} is {digests[image.tagged]} by now, and {image.digest} in {_listed(where)}",
            "`make pins` takes the newer one; until then builds take the one that is pinned",
        )
        for image, where in stale(found, digests).items()
        if image.digest
    ]


def stale(found: Iterable[Place], digests: Mapping[str, str]) -> dict[ImageName, list[Place]]:
    """What is named without its digest of now, and where."""
    return _grouped(
        place for place in found if digests.get(place.image.tagged, place.image.digest) != place.image.digest
    )


def write(found: Iterable[Place], digests: Mapping[str, str], root: Path = paths.ROOT) -> list[Path]:
    """Put the digests behind the names, in all files or in none; returns which, relative to the checkout.

    Every new text is whole and on the disk before the first takes its place. Killed between two of these renames, each
    file is the old or the new one, and the same call completes it. Failure `pins.edited` where a file is no longer as
    it was read.
    """
    by_file: dict[Path, list[Place]] = defaultdict(list)
    for where in stale(found, digests).values():
        for place in where:
            by_file[place.file].append(place)
    drafts: dict[Path, Path] = {}
    try:
        for name, named in by_file.items():
            drafts[root / name] = _draft(root / name, _with_digests(root / name, named, digests))
        for file, draft in drafts.items():
            draft.replace(file)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
    return list(by_file)


def _with_digests(file: Path, named: Iterable[Place], digests: Mapping[str, str]) -> str:
    text = image_names.read(file)
    # From the end, so that what is still to be changed stays where it was found.
    for place in sorted(named, key=lambda place: place.start, reverse=True):
        if text[place.start : place.end] != str(place.image):
            raise Failure("pins.edited", f"{place} was changed while registries were asked", "`make pins` again")
        pinned = replace(place.image, digest=digests[place.image.tagged])
        text = f"{text[: place.start]}{pinned}{text[place.end :]}"
    return text


def _draft(file: Path, text: str) -> Path:
    """The text beside the file whose place it is to take, with its mode and owner."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "wb") as draft:
            draft.write(text.encode("utf-8"))
            draft.flush()
            os.fsync(draft.fileno())
        state = file.stat()
        Path(name).chmod(state.st_mode)
        # Root may give it back to whose it is; anybody else owns it anyway.
        with suppress(PermissionError):
            os.chown(name, state.st_uid, state.st_gid)
    except BaseException:
        Path(name).unlink()
        raise
    return Path(name)


def _grouped(found: Iterable[Place]) -> dict[ImageName, list[Place]]:
    groups: dict[ImageName, list[Place]] = defaultdict(list)
    for place in found:
        groups[place.image].append(place)
    return groups


def _listed(where: Iterable[Place]) -> str:
    return ", ".join(str(place) for place in where)
