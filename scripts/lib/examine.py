"""Checks of the running appliance, for `make doctor`. Each turns what was observed into findings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from scripts.lib import backup_examine, external, log, models, observed, switch
from scripts.lib.compose import Compose
from scripts.lib.edge import Edge
from scripts.lib.failure import Failure
from scripts.lib.findings import ERROR, INFO, WARNING, Finding
from scripts.lib.observed import Running
from scripts.lib.settings import Settings, valid

_MAKE_ROOM = (
    "free more than 512 MiB: `make prune` removes what builds have left, `make models` lists weights that may go; "
    "the chat takes new questions again by itself within seconds"
)
_TLS_WAIT_S = 5.0
_MANY_RESTARTS = 3
_NEARLY_FULL = 0.92
# The engine tells its layers once, when it loads the model; at most 30 MB of log are kept.
_WHOLE_LOG = 200_000
_OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")


def stack(appliance: Compose, wanted: Settings, values: Mapping[str, str]) -> Iterator[Finding]:
    """Ask Docker, the proxy and the published port, and judge the answers. A question that fails is a finding too."""
    try:
        yield from _stack(appliance, wanted, values)
    except Failure as failure:
        yield Finding(failure.id, ERROR, failure.fact, failure.hint)


def _stack(appliance: Compose, wanted: Settings, values: Mapping[str, str]) -> Iterator[Finding]:
    expected = set(appliance.config()["services"])
    running = observed.containers(appliance)
    yield from judge_containers(running, expected)
    proxy = next((one for one in running if one.service == "proxy"), None)
    if proxy is not None and proxy.state == "running":
        yield from judge_readyz(observed.readyz_inside(appliance), _elsewhere(values))
    if values.get("GPU"):
        yield from judge_layers(values, appliance.logs("engine", _WHOLE_LOG))
    caddy_runs = any(one.service == "caddy" and one.state == "running" for one in running)
    if caddy_runs and valid(wanted, "DOMAIN", "HTTPS_PORT"):
        edge = Edge(wanted["DOMAIN"], wanted.number("HTTPS_PORT"))
        edge.save_ca(appliance)
        yield from judge_tls(edge, edge.wait_for_tls(_TLS_WAIT_S))
    yield from judge_applied(wanted, values)
    yield from judge_change(switch.broken_off())
    yield from backup_examine.judge(backup_examine.look(wanted, appliance.project))


def judge_containers(running: Iterable[Running], expected: Iterable[str]) -> Iterator[Finding]:
    seen = {one.service: one for one in running}
    for service in sorted(set(expected) - set(seen)):
        yield Finding("service.missing", ERROR, f"{service} has no container", "`make up` starts it")
    for one in seen.values():
        if one.state != "running":
            hint = f"`make logs SERVICE={one.service}` says why; `make up` starts it again"
            yield Finding("service.stopped", ERROR, f"{one.service} is {one.state} (exit status {one.exit_code})", hint)
        elif one.health == "unhealthy":
            said = f", its check says: {one.last_check[-200:]}" if one.last_check else ""
            hint = f"`make logs SERVICE={one.service}`, then `make restart SERVICE={one.service}`"
            yield Finding("service.unhealthy", ERROR, f"{one.service} is unhealthy{said}", hint)
        elif one.health == "starting":
            yield Finding("service.starting", WARNING, f"{one.service} is still starting", "ask again in a minute")
        yield from _past(one)


def _past(one: Running) -> Iterator[Finding]:
    setting = f"{one.service.upper()}_MEMORY"
    if one.oom_killed:
        fact = f"in {one.service} something was killed: it needed more than its {log.size(one.memory_limit)} of memory"
        hint = f"raise {setting} in .env, then `make up`, which makes the container anew and forgets this"
        yield Finding("service.oom_killed", ERROR, fact, hint)
    elif one.memory_limit and one.memory > _NEARLY_FULL * one.memory_limit:
        fact = f"{one.service} uses {log.size(one.memory)} of its {log.size(one.memory_limit)} of memory"
        yield Finding("service.memory_nearly_full", WARNING, fact, f"raise {setting} in .env, then `make up`")
    if one.restarts >= _MANY_RESTARTS:
        hint = f"`make logs SERVICE={one.service}` shows what ended it"
        yield Finding("service.restarting", WARNING, f"{one.service} was restarted {one.restarts} times", hint)


def _elsewhere(values: Mapping[str, str]) -> str:
    return values.get("ENGINE_URL_RESOLVED", "") if values.get("ENGINE_RESOLVED") == "external" else ""


def judge_readyz(answer: Mapping[str, Any] | None, engine_url: str = "") -> Iterator[Finding]:
    """What the proxy misses; `engine_url` is where an engine elsewhere answers, whose log is not here."""
    if answer is None:
        fact = "the proxy does not answer /readyz, not even from inside its container"
        yield Finding("proxy.no_answer", ERROR, fact, "`make logs SERVICE=proxy`, then `make restart SERVICE=proxy`")
        return
    for name, check in answer.get("checks", {}).items():
        if not check.get("ok"):
            reason = str(check.get("reason", "no reason given"))
            if "disk" in reason:
                fact = f"{name} has no room: {reason}; what is stored can still be read"
                yield Finding("storage.full", ERROR, fact, _MAKE_ROOM)
                continue
            look = f"see that {engine_url} answers from a container here" if name == "engine" and engine_url else ""
            hint = f"{look or f'`make logs SERVICE={name}`'}; the proxy recovers by itself once {name} is back"
            yield Finding("proxy.not_ready", ERROR, f"the proxy cannot use {name}: {reason}", hint)


def judge_layers(values: Mapping[str, str], said: Iterable[str]) -> Iterator[Finding]:
    """Whether the engine has put on the GPU what it was told to, by its own word (llama.cpp's, in koboldcpp too)."""
    last = [match for line in said if (match := _OFFLOADED.search(line))][-1:]
    planned = int(values.get("GPU_LAYERS_RESOLVED", "-1"))
    for match in last:
        done, every = int(match[1]), int(match[2])
        if done < min(planned, every):
            fact = f"the engine has {done} of {every} layers on the GPU, {planned} were planned"
            yield Finding("gpu.layers_lost", WARNING, fact, "`make logs SERVICE=engine` says why; then `make restart`")
        elif done:
            yield Finding("gpu.in_use", INFO, f"the engine has {done} of {every} layers on {values.get('GPU_NAMES')}")
        else:
            fact = f"the engine has none of its {every} layers on {values.get('GPU_NAMES')}"
            yield Finding("gpu.idle", WARNING, fact, "`make logs SERVICE=engine` says why")


def judge_tls(edge: Edge, trouble: str | None) -> Iterator[Finding]:
    if trouble is None:
        return
    if edge.public:
        hint = "ports 80 and 443 must be open from outside; `make logs SERVICE=caddy` has the authority's words"
    else:
        hint = "`make logs SERVICE=caddy`, then `make restart SERVICE=caddy`"
    yield Finding("tls.not_ready", ERROR, f"{edge.url} does not answer with a valid certificate: {trouble}", hint)


def judge_applied(wanted: Settings, values: Mapping[str, str]) -> Iterator[Finding]:
    """Settings that were edited since the last `make up`, as far as the resolved values tell."""
    file, site = values.get("MODEL_FILE", ""), values.get("CADDY_SITE", "")
    differs = {
        # What an engine elsewhere is called is only shown.
        "MODEL": file if file and not external.named(wanted) and _file_of(wanted["MODEL"]) != file else "",
        "DOMAIN": site if wanted["DOMAIN"] != site.strip("[]") else "",
    }
    for name, then in differs.items():
        if then and name not in values:
            fact = f"{name}={wanted[name]} in .env is not what runs ({then})"
            yield Finding("setting.not_applied", WARNING, fact, "`make up` applies it")


def judge_change(broken_off: bool) -> Iterator[Finding]:
    """Whether a change of model got stuck half-way."""
    if broken_off:
        fact = "a change of model goes on, or was ended in the middle: engine and proxy may be of two models"
        yield Finding("model.half_changed", WARNING, fact, "where no `make model` runs any more, `make up` mends it")


def _file_of(model: str) -> str:
    """The file in models/ that MODEL means."""
    name = model.removeprefix("models/")
    try:
        known, _ = models.named(name, models.load_catalog())
    except Failure:
        known = None
    return known.file if known else name
