"""Where the parts come from: their own homes (`upstream`) or package archives alone (`packages`)."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from scripts.lib import apt, docker_daemon, dockerfiles, paths, shell
from scripts.lib.settings import Settings

GITHUB = "GitHub"
HUB = "Docker's image hub"
TORCH = "PyTorch's CPU index"
ARCHIVE = "the distribution's archive"

TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_KOBOLDCPP_HOME = "https://github.com/LostRuins/koboldcpp"
_TIMEOUT_S = 6.0
_HUB_TIMEOUT_S = 12.0


@dataclass(frozen=True)
class Choice:
    """kind: "upstream" or "packages"; engine: what ENGINE becomes under it; reason: for a person to read."""

    kind: str
    reason: str
    engine: str
    engine_reason: str = ""


def official_base() -> str:
    """The image that `upstream` stands on, as images/base/Dockerfile names it, with its digest where it has one."""
    return dockerfiles.shipped((paths.IMAGES / "base" / "Dockerfile").read_text(encoding="utf-8"), "runtime").base


def probe(settings: Settings) -> dict[str, bool]:
    """{home: does it answer}. A home that is not needed or cannot be asked yet (no docker command) is left out."""
    if settings["SOURCES"] == "packages":
        asked: dict[str, Callable[[], bool]] = {}
    else:
        asked = {TORCH: lambda: answers(TORCH_CPU_INDEX + "/")}
        if settings["ENGINE"] == "koboldcpp" and not settings["KOBOLDCPP_SOURCE"]:
            asked[GITHUB] = lambda: answers(_KOBOLDCPP_HOME)
        if shell.which("docker"):
            asked[HUB] = hub_answers
    mirror = next((source.uri for source in apt.sources() if source.uri.startswith("http")), None)
    if mirror:
        asked[ARCHIVE] = lambda: answers(f"{mirror}/")
    with ThreadPoolExecutor(max_workers=4) as pool:
        started = {home: pool.submit(question) for home, question in asked.items()}
        return {home: answer.result() for home, answer in started.items()}


def hub_answers() -> bool:
    """Can the official base image be had? Asked through docker, which knows mirrors and proxies set up for it."""
    has_buildx = shell.capture(["docker", "buildx", "version"], timeout=5)[0] == 0
    question = ("buildx", "imagetools", "inspect") if has_buildx else ("manifest", "inspect")
    return docker_daemon.ask(*question, official_base(), timeout=_HUB_TIMEOUT_S)[0] == 0


def answers(url: str) -> bool:
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - our own https addresses
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310 - our own https addresses
            return True
    except urllib.error.HTTPError as error:
        # It is there and speaks HTTP; only a gateway's own error pages do not count.
        return error.code < 500 and error.code not in (403, 407)
    except OSError:
        return False


def needed(settings: Settings) -> tuple[str, ...]:
    """The homes that `upstream` takes something from under these settings."""
    own_source = settings["ENGINE"] != "koboldcpp" or settings["KOBOLDCPP_SOURCE"]
    return (HUB, TORCH) if own_source else (HUB, TORCH, GITHUB)


def decide(settings: Settings, reachable: Mapping[str, bool], earlier: str = "") -> Choice:
    """The choice and its reason. `earlier` is what an earlier run chose: `auto` stays with it.

    Otherwise a hub that is away for an hour would swap every image of a running appliance.
    """
    wanted = settings["SOURCES"]
    silent = [home for home in needed(settings) if not reachable.get(home, False)]
    if wanted != "auto":
        kind, reason = wanted, f"SOURCES={wanted}"
    elif earlier in ("upstream", "packages"):
        kind, reason = earlier, "as an earlier run chose; set SOURCES in .env to change it"
    elif silent:
        kind, reason = "packages", f"no answer from {' and '.join(silent)}"
    else:
        kind, reason = "upstream", f"{', '.join(needed(settings))} all answer"
    engine, why = _engine(settings, kind)
    return Choice(kind, reason, engine, why)


def _engine(settings: Settings, kind: str) -> tuple[str, str]:
    engine = settings["ENGINE"]
    if engine == "koboldcpp" and kind == "packages" and not settings["KOBOLDCPP_SOURCE"]:
        return "llamacpp", (
            "koboldcpp's source is not among the packages, so llama.cpp's server answers; "
            "KOBOLDCPP_SOURCE=<folder or tarball> in .env brings koboldcpp"
        )
    return engine, ""
