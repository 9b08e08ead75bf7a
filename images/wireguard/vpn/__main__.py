"""`python3 -m vpn`: the container's first process. With add, list, remove or qr: what `make wg-...` asks for."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from . import firewall, gate, interface
from .interface import say
from .peers import Peers
from .refusal import RefusedError
from .settings import Settings
from .state import State, check_name

_POLL_S = 0.5


def main(words: Sequence[str]) -> int:
    os.umask(0o077)
    given = _parser().parse_args(words)
    try:
        settings = Settings.read(os.environ)
        state = State(settings.folder)
        peers = Peers(state, settings, interface.sync)
        if given.verb == "add":
            _add(peers, settings, given)
        elif given.verb == "remove":
            print(json.dumps({"name": peers.remove(given.name).name}))
        elif given.verb == "list":
            print(json.dumps(peers.told(interface.traffic())))
        elif given.verb == "qr":
            _qr(state, given.name)
        else:
            _serve(state, peers, settings)
    except RefusedError as refusal:
        print(refusal, file=sys.stderr, flush=True)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vpn", description="The way in for admins.")
    verbs = parser.add_subparsers(dest="verb")
    add = verbs.add_parser("add", help="make a peer, or show the one of this name")
    add.add_argument("--endpoint", required=True, help="where the server is reached, host:port")
    add.add_argument("--own", action="store_true", help="the endpoint is for this peer, not the settings'")
    for named in (add, verbs.add_parser("remove"), verbs.add_parser("qr")):
        named.add_argument("name")
    verbs.add_parser("list")
    return parser


def _add(peers: Peers, settings: Settings, given: argparse.Namespace) -> None:
    added = peers.add(given.name, given.endpoint, own_endpoint=given.own)
    ipv4, ipv6 = settings.addresses(added.peer.number)
    told = {"name": added.peer.name, "addresses": [str(ipv4), str(ipv6)], "endpoint": added.peer.endpoint}
    what = {"made": added.made, "rewritten": added.rewritten, "config": added.config, "outdated": added.outdated}
    print(json.dumps({**told, **what, "server": [str(address) for address in settings.server]}))


def _qr(state: State, name: str) -> None:
    """The config as a picture of half blocks for a terminal. Whoever sees it has the key."""
    check_name(name)
    text = state.config(name)
    if text is None:
        raise RefusedError("wireguard.config_gone", f"there is no {name}.conf", "remove the peer and make it again")
    subprocess.run(["qrencode", "-t", "ansiutf8"], input=text, text=True, check=True)


def _serve(state: State, peers: Peers, settings: Settings) -> None:
    """Bring everything up, closed before it is open, and stay until one part ends."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    state.prepare()
    for name in peers.begin():
        say(f"{name}.conf is written anew because settings have changed: import it again")
    for name in peers.outdated():
        say(
            f"{name}'s config is no longer here and no longer fits: "
            f"make wg-peer-remove NAME={name}, then make wg-peer NAME={name}"
        )
    firewall.apply(firewall.rules(settings, interface.outward()))
    programs = [program for program in (interface.make(),) if program]
    peers.put_in_force()
    interface.bring_up(settings)
    programs.append(gate.start(settings))
    reach = "and out to the internet" if settings.internet else "and nothing else"
    say(f"up: peers reach the admin addresses on {settings.server[0]} {reach}")
    while all(program.poll() is None for program in programs):
        time.sleep(_POLL_S)
    ended = next(program for program in programs if program.poll() is not None)
    command = str(ended.args[0])  # type: ignore[index]
    raise RefusedError("wireguard.failed", f"{command} ended with code {ended.returncode}")


def _stop(_signal: int, _frame: object) -> None:
    # The kernel ends the others with this, the container's first process.
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
