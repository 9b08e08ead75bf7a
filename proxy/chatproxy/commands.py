"""The proxy's command line, run inside its container: `python -m chatproxy keys create|list|revoke`.

Results go to stdout, everything else to stderr. Exit status: 0 done, 1 not done, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from chatproxy.app import keyring
from chatproxy.core.keys import Keyring
from chatproxy.core.types import KeyRecord
from chatproxy.errors import ChatProxyError, ConfigurationError
from chatproxy.settings import Settings


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
        print(f"keys: {error}", file=sys.stderr)
        return 1
    except ChatProxyError as error:
        print(f"keys: {error.public if error.status < 500 else error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m chatproxy", description="The chat proxy's command line.")
    keys = parser.add_subparsers(dest="family", required=True).add_parser("keys", help="API keys")
    commands = keys.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make a key and show it, once")
    create.add_argument("--name", required=True, help="what it is for")
    create.add_argument("--scopes", required=True, help="comma-separated: chat, kobold, admin")
    create.add_argument("--expires-days", type=int, metavar="D", help="days until it ends (default: never)")
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
    key, record = keys.create(options.name, scopes, expires_days=options.expires_days)
    if options.json:
        print(json.dumps({"key": key, **_told(record)}))
    else:
        print(key)
        print("This key is shown once and stored only as a hash: keep it now.", file=sys.stderr)


def _list(keys: Keyring, options: argparse.Namespace) -> None:
    told = [_told(record) for record in keys.all()]
    if options.json:
        print(json.dumps(told))
        return
    for key in told:
        ends = f"revoked {key['revoked_at']}" if key["revoked_at"] else f"expires {key['expires_at'] or 'never'}"
        print(f"{key['id']}  {','.join(key['scopes']):<18}  created {key['created_at']}  {ends}  {key['name']}")


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
    }
