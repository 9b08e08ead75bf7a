"""The smaller steps of `make up` that belong to no other module."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import replace

from scripts.lib import (
    apt,
    backup_manifest,
    base_image,
    dotenv,
    fetch_inside,
    findings,
    gpus,
    images,
    log,
    majors,
    mounted,
    paths,
    pip_settings,
    preflight,
    preflight_gpu,
    resolve,
    settings,
    sources,
    stage,
    trials,
    waiting,
)
from scripts.lib.compose import Compose, settings_gone
from scripts.lib.failure import Failure
from scripts.lib.findings import ERROR, Finding
from scripts.lib.gpus import Use
from scripts.lib.host import Host
from scripts.lib.models import Model
from scripts.lib.preflight import Verdict
from scripts.lib.settings import Settings
from scripts.lib.situation import Situation
from scripts.lib.sources import Choice


def earlier_sources() -> str:
    """Where the parts of the appliance that last came up here were taken from; "" when none ever did."""
    try:
        return (paths.STAMPS / paths.SOURCES_STAMP).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def remember(choice: Choice) -> None:
    """Called once everything is well: `auto` stays with what works, and a failed attempt leaves no trace."""
    paths.STAMPS.mkdir(parents=True, exist_ok=True)
    (paths.STAMPS / paths.SOURCES_STAMP).write_text(choice.kind, encoding="utf-8")
    (paths.STAMPS / paths.VERSION_STAMP).write_text(backup_manifest.commit(), encoding="utf-8")


def check_stores(host: Host, choice: Choice | None, earlier: str) -> list[Finding]:
    """Whether the data that there are can go over to other sources, whose MongoDB may be of another major version."""
    if choice is None or earlier in ("", choice.kind) or host.generation not in host.stored:
        return []
    return majors.steps(paths.ROOT, paths.ROOT, before=earlier, after=choice.kind)


def check_settings() -> list[Finding]:
    """Whether the settings are gone: made anew of defaults, they could be another appliance's, with no data."""
    gone = settings_gone()
    return [Finding(gone.id, ERROR, gone.fact, gone.hint)] if gone else []


def begin() -> None:
    """The folder for everything that `make up` makes."""
    paths.STATE.mkdir(exist_ok=True)
    paths.MODELS.mkdir(exist_ok=True)
    log.begin("up")


def install_toml() -> None:
    """Python 3.10 reads TOML with a library of the distribution; then everything starts again with it."""
    log.step("installing python3-tomli")
    apt.update()
    apt.install(["python3-tomli"])
    os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606 - our own words, no shell


def write_env_file() -> None:
    """Make .env, or add the settings that a newer version brought; the operator's values stay as they are."""
    current = settings.read(paths.ENV_FILE)
    example = settings.read(paths.ENV_EXAMPLE)
    text, added = dotenv.with_new_settings(current, example) if current else (example, [])
    if text != current:
        dotenv.write_private(paths.ENV_FILE, text)
        log.ok(f"new settings in .env, with their defaults: {', '.join(added)}" if added else "made .env")
    elif paths.ENV_FILE.stat().st_mode & 0o077:
        paths.ENV_FILE.chmod(0o600)


def decide(verdict: Verdict, host: Host, wanted: Settings, *, gpu: bool) -> tuple[Choice, Model]:
    """Sources and model. On a machine that had no Docker the image hub is asked only now, and the choice judged."""
    choice, model = verdict.choice, verdict.model
    if choice is None:
        reachable = {**host.reachable, sources.HUB: sources.hub_answers()}
        later = preflight.run(replace(host, reachable=reachable), wanted, gpu=gpu)
        new = [finding for finding in later.findings if finding not in verdict.findings]
        if not findings.report(new, findings.accepted()):
            raise Failure(
                "sources.unfit", "these settings do not fit what can be had from here", "mend the errors above"
            )
        choice, model = later.choice, later.model
    if choice is None or model is None:
        raise Failure("model.missing", "no model was decided on", "this is a defect: `make doctor` shows what is known")
    return choice, model


def cards(host: Host, wanted: Settings, choice: Choice, model: Model, *, gpu: bool) -> Use | None:
    """The cards for the engine, their reservation written; None for the CPU, also where an error was waved through."""
    situation = Situation(host, wanted, model, choice, gpu_wished=gpu)
    if not preflight_gpu.usable(situation):
        if gpu:
            log.warn("the engine computes on the CPU: see the findings above")
        return None
    use = gpus.use(wanted, host, choice, model)
    use.write_reservation(host)
    log.ok(f"the engine computes on {use.names}, through {use.backend}")
    return use


def ca_bundle() -> str:
    """The host's certificate authorities, installed if the machine has none."""
    bundle = resolve.ca_bundle(os.environ)
    if not bundle:
        apt.update()
        apt.install(["ca-certificates"])
        bundle = resolve.ca_bundle(os.environ)
    if not bundle:
        raise Failure("ca.missing", "this system has no file of certificate authorities", "install ca-certificates")
    return bundle


def stage_files(wanted: Settings, choice: Choice) -> None:
    """Put what image builds take from this host into their folders."""
    if (
        choice.engine == "koboldcpp"
        and wanted["KOBOLDCPP_SOURCE"]
        and stage.stage_koboldcpp(wanted["KOBOLDCPP_SOURCE"])
    ):
        log.ok(f"koboldcpp's source staged from {wanted['KOBOLDCPP_SOURCE']}")
    stage.stage_torch(pip_settings.torch_wheels())


def make_images(values: Mapping[str, str], wanted: Settings, choice: Choice, model: Model, compose: Compose) -> None:
    """All images, and the model's files in models/; what is there already is left alone."""
    stage_files(wanted, choice)
    if choice.kind == "packages":
        base_image.ensure()
    log.step("images")
    built = images.build_foundation(values)
    fetch_inside.fetch_model(model, wanted, values)
    services = images.build_services(compose)
    log.ok(f"{built + len(services)} images built" if built or services else "nothing to build")


def start(compose: Compose, choice: Choice, *, without: Collection[str] = ()) -> None:
    """All services, until the proxy itself says that it can answer. Failures as in waiting.py.

    The services `without` are left as they are.
    """
    log.step("services")
    trials.remove_left(compose.project)
    started = waiting.start(compose, without=without)
    restarted = mounted.apply(compose)
    if restarted:
        waiting.start(compose, without=without)
    waiting.until_ready(compose)
    remember(choice)
    log.ok(f"all healthy, {started} started" if started else "all healthy, nothing had to be started")
