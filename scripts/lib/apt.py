"""The host's own package manager: which mirrors it is set up with, and installing from them.

No mirror is named in this project. What is installed comes from where the host's administrator pointed apt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.lib import shell


@dataclass(frozen=True)
class Source:
    """One `deb` line: where packages of one suite come from."""

    uri: str
    suite: str
    components: tuple[str, ...]


def one_line_sources(text: str) -> Iterator[Source]:
    """Entries of a sources.list(5) file in one-line style."""
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line)
        if match:
            yield Source(match[1].rstrip("/"), match[2], tuple(match[3].split()))


def deb822_sources(text: str) -> Iterator[Source]:
    """Entries of a sources.list(5) file in deb822 style; disabled stanzas are left out."""
    for stanza in re.split(r"\n\s*\n", "\n".join(line for line in text.splitlines() if not line.startswith("#"))):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1] in " \t" and name:
                fields[name] += " " + line.strip()
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if fields.get("enabled", "yes").lower() in ("no", "false", "0") or "deb" not in fields.get("types", "").split():
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(uri.rstrip("/"), suite, tuple(fields.get("components", "").split()))


def sources(etc: Path = Path("/etc/apt")) -> list[Source]:
    """All package sources of the host, `mirror+file:` lists replaced by the first mirror they name."""
    found: list[Source] = []
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    for file in files:
        if file.suffix in (".list", ".sources") and file.is_file():
            text = file.read_text(encoding="utf-8", errors="replace")
            found += deb822_sources(text) if file.suffix == ".sources" else one_line_sources(text)
    return [Source(_concrete(source.uri), source.suite, source.components) for source in found]


def _concrete(uri: str) -> str:
    # Debian's cloud images say mirror+file:/etc/apt/mirrors/debian.list; only apt itself can read such an address.
    if not uri.startswith("mirror+file:"):
        return uri
    listed = Path("/" + uri.removeprefix("mirror+file:").lstrip("/"))
    try:
        lines = listed.read_text(encoding="utf-8").split("\n")
    except OSError:
        return uri
    named = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
    return named[0].rstrip("/") if named else uri


def mirror_of(suite: str, among: Iterable[Source]) -> str | None:
    """The address that carries `suite` with the main component, as the host has it set up."""
    for source in among:
        if source.suite.strip("/") == suite and "main" in source.components:
            return source.uri
    return None


def installed(package: str) -> bool:
    state = shell.output(["dpkg-query", "-W", "-f", "${db:Status-Status}", package])
    return state == "installed"


def available(package: str) -> bool:
    """True when apt has a version of the package to install."""
    policy = shell.output(["apt-cache", "policy", package]) or ""
    return bool(re.search(r"Candidate: (?!\(none\))\S", policy))


def update() -> None:
    shell.logged(
        ["apt-get", "update", "-q"],
        what="reading the package lists",
        failure_id="apt.update_failed",
        hint="run `apt-get update` and mend what it complains about, then `make up` again",
        root=True,
    )


def install(packages: Sequence[str]) -> None:
    """Install what is missing of `packages`; the lists must be fresh. Services are started by their own packages."""
    missing = [package for package in packages if not installed(package)]
    if not missing:
        return
    shell.logged(
        # Another package run (unattended-upgrades on a fresh VPS) is waited for instead of failing at once.
        ["apt-get", "install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", *missing],
        what=f"installing {' '.join(missing)}",
        failure_id="apt.install_failed",
        hint="run the command at the end of the log by hand and mend what it complains about, then `make up` again",
        root=True,
        show=lambda line: line if line.startswith(("Setting up ", "E: ")) else None,
    )
