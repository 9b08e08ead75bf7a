"""All checks before anything is changed: small functions of what is known, which touch nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from scripts.lib import (
    attachments,
    external,
    models,
    preflight_docker,
    preflight_engine,
    preflight_gpu,
    preflight_machine,
    preflight_network,
    preflight_tuning,
    preflight_wireguard,
    settings,
    shapes,
    sources,
)
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
    preflight_docker.project,
    preflight_network.ports,
    preflight_network.domain,
    preflight_network.mail,
    preflight_network.homes,
    preflight_network.monitoring,
    preflight_wireguard.wireguard,
    preflight_engine.engine,
    external.checks,
    preflight_gpu.checks,
    preflight_engine.bot_and_model,
    attachments.check,
    preflight_tuning.tuning,
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
    situation = Situation(host, wanted, model, choice, gpu_wished=gpu)
    if sound:
        situation = replace(situation, gpu=preflight_gpu.usable(situation))
        for check in CHECKS:
            findings += check(situation)
    findings += about_model
    return Verdict(tuple(findings), model, choice)


def _model(host: Host, wanted: Settings) -> tuple[Model | None, list[Finding]]:
    if not host.toml:
        fact = "this Python reads no TOML files, so the model is judged after python3-tomli is installed"
        return None, [Finding("python.no_toml", INFO, fact)]
    try:
        catalog = models.load_catalog()
    except Failure as failure:
        return None, [Finding(failure.id, ERROR, failure.fact, failure.hint)]
    if external.named(wanted):
        return external.model(wanted, catalog, host.formats)
    model, found = models.choose(wanted["MODEL"], wanted["PROMPT_FORMAT"], catalog, host.model_files, host.formats)
    return (shapes.own(model, host) if model else None), found
