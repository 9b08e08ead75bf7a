"""The proxy's command line, run inside its container: `python -m chatproxy keys create|list|revoke`.

Results go to stdout, everything else to stderr. Exit status: 0 done, 1 not done, 2 wrong usage. What was not done ends
with one finding, in the words of the operator's commands: `id: fact`, and a hint behind an arrow in the next line.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from chatproxy.app import keyring
from chatproxy.core.access import KeyRecord, Limits
from chatproxy.core.keys import Keyring
from chatproxy.errors import ChatProxyError, ConfigurationError, InvalidRequest, NotFound
from chatproxy.settings import Settings

# What to do about a bad wish, by the field that the core names it with.
_HINTS = {
    "name": "say what the key is for, as NAME=homepage",
    "scopes": "as SCOPES=chat,kobold",
    "expires-days": "as DAYS=90; without it the key never expires",
    "requests-per-minute": "as RPM=60; without it KEY_REQUESTS_PER_MINUTE counts",
    "tokens-per-day": "as TOKENS_PER_DAY=200000; without it KEY_TOKENS_PER_DAY counts",
    "streams": "as STREAMS=4; without it KEY_STREAMS counts",
}


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run one command; returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        keys = keyring(Settings.from_environment(environment))
        if options.command == "create":
            _create(keys, options)
        elif options.command == "list":
            _list(keys, options)
        else:
            keys.revoke(options.id)
            print(f"Key {options.id} is revoked.", file=sys.stderr)
    except ConfigurationError as error:
        return _not_done("setting.invalid", str(error), "correct the setting that is named")
    except InvalidRequest as error:
        field, _, wrong = error.public.partition(": ")
        return _not_done(f"key.{field.replace('-', '_')}_invalid", f"{field} must be {wrong}", _HINTS[field])
    except NotFound as error:
        return _not_done("key.unknown", error.public.rstrip("."), "`make keys` shows the ids")
    except ChatProxyError as error:
        hint = "`make status` shows whether MongoDB runs; try again when it does"
        return _not_done("keys.storage_unavailable", str(error), hint)
    return 0


def _not_done(finding: str, fact: str, hint: str) -> int:
    print(f"{finding}: {fact}\n  -> {hint}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m chatproxy", description="The chat proxy's command line.")
    keys = parser.add_subparsers(dest="family", required=True).add_parser("keys", help="API keys")
    commands = keys.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make a key and show it, once")
    create.add_argument("--name", required=True, help="what it is for")
    create.add_argument("--scopes", required=True, help="comma-separated: chat, kobold, admin")
    create.add_argument("--expires-days", metavar="D", help="days until it ends (default: never)")
    create.add_argument("--requests-per-minute", metavar="N", help="0 = no limit (default: the settings')")
    create.add_argument("--tokens-per-day", metavar="N", help="0 = no limit (default: the settings')")
    create.add_argument("--streams", metavar="N", help="answers in progress at a time; 0 = no limit")
    create.add_argument("--if-none", action="store_true", help="only if there has never been a key; else print nothing")
    create.add_argument("--json", action="store_true", help="print a JSON object")
    listing = commands.add_parser("list", help="show all keys, without their secrets")
    listing.add_argument("--json", action="store_true", help="print a JSON list")
    revoke = commands.add_parser("revoke", help="end a key, at once")
    revoke.add_argument("id", help="its id, as `list` shows it")
    return parser


def _create(keys: Keyring, options: argparse.Namespace) -> None:
    if options.if_none and keys.all():
        return
    scopes = frozenset(scope.strip() for scope in options.scopes.split(",") if scope.strip())
    limits = Limits(
        _whole(options, "requests_per_minute"), _whole(options, "tokens_per_day"), _whole(options, "streams")
    )
    key, record = keys.create(options.name, scopes, expires_days=_whole(options, "expires_days"), limits=limits)
    if options.json:
        print(json.dumps({"key": key, **_told(record)}))
    else:
        print(key)
        print("This key is shown once and stored only as a hash: keep it now.", file=sys.stderr)


def _whole(options: argparse.Namespace, name: str) -> int | None:
    given = getattr(options, name)
    if given is None:
        return None
    if not re.fullmatch(r"[0-9]{1,12}", given):
        raise InvalidRequest(f"{name.replace('_', '-')}: a whole number, not {given!r}")
    return int(given)


def _list(keys: Keyring, options: argparse.Namespace) -> None:
    told = [_told(record) for record in keys.all()]
    if options.json:
        print(json.dumps(told))
        return
    for key in told:
        ends = f"revoked {key['revoked_at']}" if key["revoked_at"] else f"expires {key['expires_at'] or 'never'}"
        used = f"used {key['last_used_at'] or 'never'}"
        scopes, limits = ",".join(key["scopes"]), _limits_in_words(key["limits"])
        print(f"{key['id']}  {scopes:<18}  created {key['created_at']}  {ends}  {used}  {limits}  {key['name']}")


def _limits_in_words(limits: Mapping[str, int | None]) -> str:
    """ "60 requests/minute, 4 streams"; a 0 is the key's own "no limit", what is None comes from the settings."""
    words = {"requests_per_minute": "requests/minute", "tokens_per_day": "tokens/day", "streams": "streams"}
    own = [f"{limits[name] or 'unlimited'} {word}" for name, word in words.items() if limits[name] is not None]
    return ", ".join(own) or "default limits"


def _told(record: KeyRecord) -> dict[str, Any]:
    def time(moment: datetime | None) -> str | None:
        return moment.isoformat(timespec="seconds").replace("+00:00", "Z") if moment else None

    return {
        "id": record.id,
        "name": record.name,
        "scopes": sorted(record.scopes),
        "created_at": time(record.created_at),
        "expires_at": time(record.expires_at),
        "revoked_at": time(record.revoked_at),
        "last_used_at": time(record.last_used_at),
        "limits": asdict(record.limits),
    }
