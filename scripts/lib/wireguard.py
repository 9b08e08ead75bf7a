"""What `make wg-peer`, `wg-peers` and `wg-peer-remove` ask WireGuard's container for. Keys never come out of it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scripts.lib import (
    cli,
    compose,
    findings,
    host_facts,
    images,
    log,
    network_facts,
    networks,
    paths,
    preflight_wireguard,
    resolve,
    setting_checks,
    waiting,
)
from scripts.lib.compose import Compose
from scripts.lib.failure import Failure
from scripts.lib.findings import WARNING, Finding
from scripts.lib.host import Host
from scripts.lib.services import refusal
from scripts.lib.settings import Settings
from scripts.lib.situation import Situation

SERVICE = "wireguard"
_COMMAND = ("python3", "-m", "vpn")
# The same rule as in the container, so that a bad name is told before anything is built.
_NAME = re.compile(r"[a-z0-9-]{1,32}")
# Another `make wg-peer` may be building the image.
_BUSY_PATIENCE_S = 900.0


@dataclass(frozen=True)
class Endpoint:
    """address: `host:port`; reason: why this one, for a person to read; own: given for one peer."""

    address: str
    reason: str
    own: bool = False


def name_of(given: str) -> str:
    """A peer's name as it was typed. Failure for none and for a bad one."""
    if not given:
        raise Failure("wireguard.name_missing", "a peer needs a name", "as NAME=laptop")
    if not _NAME.fullmatch(given):
        hint = "a-z, 0-9 and dashes, 1 to 32 of them, as NAME=laptop"
        raise Failure("wireguard.name_invalid", f"{given!r} is no name for a peer", hint)
    return given


def endpoint(wanted: Settings, host: Host, given: str = "") -> Endpoint:
    """Where devices call: what was `given`, else WG_ENDPOINT, else DOMAIN where it is public, else an address.

    Failure where nothing of this is there.
    """
    port = wanted.number("WG_PORT")

    def at(name: str) -> str:
        found, own_port = networks.split(name)
        return networks.join(found, own_port or port)

    if given:
        wrong = networks.endpoint(given)
        if wrong:
            raise Failure("wireguard.endpoint_invalid", f"ENDPOINT={given} {wrong}", "as ENDPOINT=vpn.example.org")
        return Endpoint(at(given), "as given", own=True)
    if wanted["WG_ENDPOINT"] != "auto":
        return Endpoint(at(wanted["WG_ENDPOINT"]), "WG_ENDPOINT in .env")
    domain = wanted["DOMAIN"]
    if setting_checks.is_public_name(domain):
        return Endpoint(at(domain), "DOMAIN in .env")
    if setting_checks.is_address(domain) and domain not in ("127.0.0.1", "::1"):
        return Endpoint(at(domain), "DOMAIN in .env")
    public = network_facts.public(host.addresses)
    if public:
        # IPv4 first: more networks that a laptop may sit in have it.
        return Endpoint(at(min(public, key=lambda address: ":" in address)), "this machine's public address")
    if host.outward:
        reason = "this machine's address in its own network; from outside, set WG_ENDPOINT in .env or give ENDPOINT="
        return Endpoint(at(host.outward), reason)
    raise Failure("wireguard.no_endpoint", "this machine has no address that a device could call", "give ENDPOINT=")


def reached() -> Compose:
    """The appliance with WireGuard running. Failure where either is not there."""
    appliance = compose.current()
    if not _runs(appliance, SERVICE):
        there = resolve.earlier().get("COMPOSE_PROFILES", "")
        if SERVICE in there.split(","):
            raise Failure("service.stopped", "WireGuard does not run", "`make up`, then try again")
        raise Failure("wireguard.none", "there are no peers yet", "`make wg-peer NAME=laptop` makes the first")
    return appliance


def started(wanted: Settings, host: Host) -> Compose:
    """The appliance with WireGuard running, built and started where it does not yet. Says what it does."""
    appliance = compose.current()
    deadline = time.monotonic() + _BUSY_PATIENCE_S
    while not _runs(appliance, SERVICE):
        if not _runs(appliance, "proxy"):
            raise Failure("appliance.down", "the appliance is not up", "`make up` first, then this again")
        try:
            with cli.exclusive():
                _start(appliance, wanted, host)
        except Failure as failure:
            if failure.id != "appliance.busy" or time.monotonic() > deadline:
                raise
            time.sleep(1)
    return appliance


def ask(appliance: Compose, *words: str) -> str:
    """What the container's own command prints. Failure for what was not done."""
    status, out, err = appliance.run_in(SERVICE, [*_COMMAND, *words])
    if status == 0:
        return out.rstrip("\n")
    if refused := refusal(err):
        raise refused
    last = (err.strip().splitlines() or ["no reason given"])[-1]
    raise Failure("wireguard.failed", last, f"`make logs SERVICE={SERVICE}` shows more")


def add(appliance: Compose, name: str, where: Endpoint) -> dict[str, Any]:
    """Make the peer, or bring it up to date; what the container says of it."""
    own = ["--own"] if where.own else []
    told: dict[str, Any] = json.loads(ask(appliance, "add", *own, f"--endpoint={where.address}", "--", name))
    return told


def outdated(name: str) -> Finding:
    """What is said of a device that has, at best, a config that no longer fits."""
    fact = f"{name}'s config is no longer here and no longer fits"
    hint = f"make wg-peer-remove NAME={name}, then make wg-peer NAME={name}"
    return Finding("wireguard.config_outdated", WARNING, fact, hint)


def refuse_gone(name: str, told: Mapping[str, Any]) -> None:
    """Failure where `add` has told of a peer without a config to show."""
    if told["outdated"]:
        found = outdated(name)
        raise Failure(found.id, found.fact, found.hint)
    if not told["config"]:
        hint = f"`make wg-peer-remove NAME={name}`, then this again, makes it anew with another key"
        raise Failure("wireguard.config_gone", f"{name} is a peer, but its config was taken away from here", hint)


def listed(peers: Sequence[dict[str, Any]], now: float) -> list[str]:
    """One line for each peer, under a heading."""
    rows = [("NAME", "ADDRESSES", "LAST HANDSHAKE", "RECEIVED", "SENT")]
    for peer in peers:
        moment = peer["last_handshake"]
        ago = f"{log.duration(max(0.0, now - moment))} ago" if moment else "never"
        received, sent = log.size(peer["bytes_received"]), log.size(peer["bytes_sent"])
        rows.append((peer["name"], ", ".join(peer["addresses"]), ago, received, sent))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def unfit(wanted: Settings, host: Host) -> list[Finding]:
    """What stands in WireGuard's way here, whether it runs or not."""
    situation = Situation(replace(host, wireguard=True), wanted, model=None, choice=None)
    return list(preflight_wireguard.wireguard(situation))


def _runs(appliance: Compose, service: str) -> bool:
    # "starting" passes: peers can be made before the first health check.
    return any(each.service == service and each.state == "running" for each in appliance.containers())


def _start(appliance: Compose, wanted: Settings, host: Host) -> None:
    if not findings.report(unfit(wanted, host), findings.accepted()):
        raise Failure("wireguard.unfit", "WireGuard cannot run here as things are", "mend the errors above")
    log.step("WireGuard: image and service")
    # From here on it is part of the appliance, for every other command too.
    resolve.write(resolve.with_profile(resolve.earlier(), SERVICE))
    if images.build_services(appliance, only=SERVICE):
        log.ok("image built")
    waiting.start_one(appliance, SERVICE)
    for line in appliance.logs(SERVICE, 5):
        if line.startswith("wireguard: "):
            log.info(line)


def facts(wanted: Settings) -> Host:
    """What is known of this machine, without asking the network."""
    return host_facts.collect(wanted, probe=False)


def config_path(name: str) -> str:
    """Where a peer's config lies on this machine."""
    return str(paths.WIREGUARD / f"{name}.conf")
