"""Checks of how the engine is to use processor and memory."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.lib import log
from scripts.lib.findings import ERROR, WARNING, Finding
from scripts.lib.setting_checks import bytes_of
from scripts.lib.situation import Situation


def tuning(s: Situation) -> Iterator[Finding]:
    if s.engine == "external":
        yield from _ignored(s)
        return
    yield from _threads(s)
    yield from _memory(s)


def _ignored(s: Situation) -> Iterator[Finding]:
    usual = {"ENGINE_BATCH": "auto", "ENGINE_MLOCK": "off", "ENGINE_MMAP": "on", "PROMPT_CACHE": "auto"}
    ignored = [name for name, value in usual.items() if s.settings[name] != value]
    if ignored:
        fact = f"{', '.join(ignored)}: an engine elsewhere has settings of its own"
        yield Finding("engine.settings_ignored", WARNING, fact, "set them where it runs")


def _threads(s: Situation) -> Iterator[Finding]:
    chosen, given = s.settings["THREADS"], s.settings["ENGINE_CPUS"]
    cpus = float(s.host.cpus) if given == "auto" else min(float(given), s.host.cpus)
    if chosen != "auto" and int(chosen) > cpus:
        fact = f"THREADS={chosen}, and the engine has {cpus:g} CPUs: threads that wait for a CPU slow all others down"
        yield Finding("engine.threads_too_many", WARNING, fact, "set THREADS=auto, or give the engine more ENGINE_CPUS")


def _memory(s: Situation) -> Iterator[Finding]:
    """What is asked for must fit into a limit that the operator has set; `auto` makes it fit."""
    wanted = s.settings
    if wanted["ENGINE_MEMORY"] == "auto" or s.model is None or s.gpu:
        return
    limit, weights = bytes_of(wanted["ENGINE_MEMORY"]), s.model.size
    sizes = f"{log.size(weights)} of weights, ENGINE_MEMORY={wanted['ENGINE_MEMORY']}"
    if wanted["ENGINE_MLOCK"] == "on" and weights >= limit:
        fact = f"ENGINE_MLOCK=on cannot hold the model in memory: {sizes}"
        yield Finding("engine.mlock_too_large", ERROR, fact, "raise ENGINE_MEMORY, or set ENGINE_MLOCK=off")
    if wanted["PROMPT_CACHE"] != "auto" and (cache := bytes_of(wanted["PROMPT_CACHE"])) and weights + cache >= limit:
        fact = f"PROMPT_CACHE={wanted['PROMPT_CACHE']} does not fit beside the model: {sizes}"
        yield Finding("engine.prompt_cache_too_large", ERROR, fact, "lower PROMPT_CACHE, or raise ENGINE_MEMORY")
