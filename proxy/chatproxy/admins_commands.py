"""The proxy's command line for the console's admins: `python -m chatproxy admins put|list|remove`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from chatproxy.core.admin_ports import Admin
from chatproxy.core.audit import OPERATOR
from chatproxy.core.telling import told_time
from chatproxy.errors import ChatProxyError, ConfigurationError, InvalidRequest, NotFound
from chatproxy.findings import not_done
from chatproxy.parts import admins, audit
from chatproxy.settings import Settings

_HINTS = {
    "name": "as NAME=anna",
    "password": "the first line of PASSWORD_FILE; leave that out, and one is made up",  # nosec B105 - a hint
}


def add_parser(families: Any) -> None:
    """The arguments of `admins`, into the subparsers of the whole command line."""
    parser = families.add_parser("admins", help="who may enter the console")
    commands = parser.add_subparsers(dest="command", required=True)
    put = commands.add_parser("put", help="make an admin, or give one a new password; it is shown once")
    put.add_argument("--name", required=True)
    put.add_argument("--password-stdin", action="store_true", help="read it from stdin instead of making it up")
    put.add_argument("--if-none", action="store_true", help="only if there is no admin yet; else print nothing")
    listing = commands.add_parser("list", help="show all admins")
    listing.add_argument("--json", action="store_true", help="print a JSON list")
    remove = commands.add_parser("remove", help="take one away, and log it out")
    remove.add_argument("name")


def run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Run one command; returns its exit status."""
    try:
        settings = Settings.from_environment(environment)
        _COMMANDS[options.command](settings, options)
    except ConfigurationError as error:
        return not_done("setting.invalid", str(error), "correct the setting that is named")
    except InvalidRequest as error:
        field, _, wrong = error.public.partition(": ")
        return not_done(f"admin.{field}_invalid", f"{field} {wrong}", _HINTS[field])
    except NotFound as error:
        return not_done("admin.unknown", error.public.rstrip("."), "`make admins` shows the names")
    except ChatProxyError as error:
        hint = "`make status` shows whether MongoDB runs; try again when it does"
        return not_done("admins.storage_unavailable", str(error), hint)
    return 0


def _put(settings: Settings, options: argparse.Namespace) -> None:
    known = admins(settings)
    if options.if_none and known.all():
        return
    given = sys.stdin.readline().rstrip("\n") if options.password_stdin else ""
    if options.password_stdin and not given:
        raise InvalidRequest("password: must not be empty")
    password = known.set_password(options.name, given)
    audit(settings).note(OPERATOR, "", "admin.put", options.name)
    if given:
        print(f"The password of {options.name} is set.", file=sys.stderr)
    else:
        print(password)
        print("This password is shown once and stored only as a hash: keep it now.", file=sys.stderr)


def _list(settings: Settings, options: argparse.Namespace) -> None:
    known = admins(settings).all()
    if options.json:
        print(json.dumps([_told(admin) for admin in known]))
        return
    for admin in known:
        told = _told(admin)
        print(f"{told['name']}  created {told['created_at']}  password of {told['changed_at']}")
    if not known:
        print("There is no admin yet: `make admin NAME=you` makes one.", file=sys.stderr)


def _remove(settings: Settings, options: argparse.Namespace) -> None:
    admins(settings).remove(options.name)
    audit(settings).note(OPERATOR, "", "admin.remove", options.name)
    print(f"{options.name} is no admin any more.", file=sys.stderr)


_COMMANDS = {"put": _put, "list": _list, "remove": _remove}


def _told(admin: Admin) -> dict[str, str | None]:
    return {
        "name": admin.name,
        "created_at": told_time(admin.created_at),
        "changed_at": told_time(admin.changed_at),
    }
