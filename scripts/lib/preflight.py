"""All checks before anything is changed: small functions of what is known, which touch nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from scripts.lib import models, preflight_docker, preflight_machine, preflight_network, settings, sources
from scripts.lib.failure import Failure
from scripts.lib.findings import ERROR, INFO, Finding
from scripts.lib.host import Host
from scripts.lib.models import Model
from scripts.lib.settings import Settings
from scripts.lib.situation import Situation
from scripts.lib.sources import Choice

CHECKS: tuple[Callable[[Situation], Iterator[Finding]], ...] = (
    preflight_machine.system,
    preflight_machine.privileges,
    preflight_machine.cpu,
    preflight_machine.memory,
    preflight_machine.disk,
    preflight_docker.engine,
    preflight_docker.plugins,
    preflight_docker.gpu,
    preflight_network.ports,
    preflight_network.domain,
    preflight_network.homes,
)


@dataclass(frozen=True)
class Verdict:
    """Every finding, and what was decided on the way: model and sources are None where a finding says why."""

    findings: tuple[Finding, ...]
    model: Model | None
    choice: Choice | None


def run(host: Host, wanted: Settings, *, gpu: bool = False, env_text: str = "", earlier_sources: str = "") -> Verdict:
    """Judge settings and machine. `env_text` is the text of `.env`, `earlier_sources` what an earlier run chose."""
    findings = list(settings.problems(wanted, env_text))
    sound = not any(finding.level == ERROR for finding in findings)
    model, about_model = _model(host, wanted)
    # Until docker is there, nobody can ask the image hub: `auto` is decided after the installation.
    askable = wanted["SOURCES"] != "auto" or earlier_sources or sources.HUB in host.reachable
    choice = sources.decide(wanted, host.reachable, earlier_sources) if sound and askable else None
    situation = Situation(host, wanted, model, choice, gpu=gpu)
    if sound:
        for check in CHECKS:
            findings += check(situation)
    findings += about_model
    findings += engine(situation)
    return Verdict(tuple(findings), model, choice)


def _model(host: Host, wanted: Settings) -> tuple[Model | None, list[Finding]]:
    if not host.toml:
        fact = "this Python reads no TOML files, so the model is judged after python3-tomli is installed"
        return None, [Finding("python.no_toml", INFO, fact)]
    try:
        catalog = models.load_catalog()
    except Failure as failure:
        return None, [Finding(failure.id, ERROR, failure.fact, failure.hint)]
    return models.choose(wanted["MODEL"], wanted["PROMPT_FORMAT"], catalog, host.model_files, host.formats)


def engine(s: Situation) -> Iterator[Finding]:
    """What concerns engine, model and bot together."""
    wanted, host = s.settings, s.host
    kind, source = host.koboldcpp_source, wanted["KOBOLDCPP_SOURCE"]
    if kind == "missing":
        hint = "correct KOBOLDCPP_SOURCE in .env"
        yield Finding("koboldcpp.source_missing", ERROR, f"KOBOLDCPP_SOURCE={source} does not exist", hint)
    elif kind == "other":
        fact = f"KOBOLDCPP_SOURCE={source} is not koboldcpp's source (no koboldcpp.py and Makefile in it)"
        yield Finding(
            "koboldcpp.source_invalid", ERROR, fact, "give the source folder, or a .tar, .tar.gz or .tar.xz of it"
        )
    if s.engine != "koboldcpp":
        ignored = [name for name in ("KOBOLDCPP_ARGS", "LAUNCH_COMMAND") if wanted[name]]
        if ignored:
            fact = f"{' and '.join(ignored)} mean nothing to ENGINE={s.engine}"
            yield Finding("engine.settings_ignored", "warning", fact, "remove them from .env, or use koboldcpp")
    if s.choice and s.choice.engine_reason:
        yield Finding(
            "engine.substituted", "warning", f"ENGINE={wanted['ENGINE']} becomes {s.engine}", s.choice.engine_reason
        )
    if wanted["DEFAULT_BOT"] not in host.bots:
        known = ", ".join(sorted(host.bots)) or "none"
        fact = f"DEFAULT_BOT={wanted['DEFAULT_BOT']} has no file compose/bots/{wanted['DEFAULT_BOT']}.yaml"
        yield Finding("bot.missing", ERROR, fact, f"make it, or choose one of: {known}")
    if s.model is None:
        return
    if s.engine == "llamacpp" and not s.model.file.lower().endswith(".gguf"):
        fact = f"llama.cpp's server reads GGUF files only, and the model is {s.model.file}"
        yield Finding("model.not_gguf", ERROR, fact, "choose a GGUF model, or ENGINE=koboldcpp with KOBOLDCPP_SOURCE")
    if s.model.context and wanted.number("CONTEXT_SIZE") > s.model.context:
        fact = (
            f"CONTEXT_SIZE={wanted['CONTEXT_SIZE']} is beyond the {s.model.context} that {s.model.name} was trained on"
        )
        yield Finding("model.context_too_long", "warning", fact, "answers get worse there; lower CONTEXT_SIZE")
