"""The proxy's command line, run inside its container: `python -m chatproxy keys create|list|revoke`.

`admins put|list|remove` (admins_commands.py) is about the console; `hold`, `release`, `try-engine` and
`check-model` (model_commands.py) are for a change of model, `try-chat` (trial_commands.py) for an upgrade. In the
worker's container also `worker` and `sources ...`
(sources_commands.py) and `data ...` (data_commands.py).

With `--origins` a key is a site key, for web pages; else an API key. A list has both, and both are revoked by their id.

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
from typing import Any

from chatproxy import admins_commands, data_commands, model_commands, sources_commands, trial_commands
from chatproxy.core.access import KeyRecord, Limits, SiteKey
from chatproxy.core.audit import OPERATOR, Audit
from chatproxy.core.keys import Keyring
from chatproxy.core.sites import Sites, embed_line, policy
from chatproxy.core.telling import told_time
from chatproxy.errors import ChatProxyError, ConfigurationError, InvalidRequest, NotFound
from chatproxy.findings import not_done
from chatproxy.parts import audit, keyring, site_keys
from chatproxy.settings import Settings

# What to do about a bad wish, by the field that the core names it with.
_HINTS = {
    "name": "say what the key is for, as NAME=homepage",
    "scopes": "as SCOPES=chat,kobold; a site key (with ORIGINS) has none",
    "origins": "as ORIGINS=https://example.com,https://www.example.com: scheme and host in lower case, no slash behind",
    "bots": "as BOTS=support,assistant: files in compose/bots, without .yaml; together with ORIGINS",
    "expires-days": "as DAYS=90; without it the key never expires",
    "requests-per-minute": "as RPM=60; without it KEY_REQUESTS_PER_MINUTE counts",
    "tokens-per-day": "as TOKENS_PER_DAY=200000; without it KEY_TOKENS_PER_DAY counts",
    "streams": "as STREAMS=4; without it KEY_STREAMS counts",
}


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run one command; returns its exit status."""
    options = _parser().parse_args(arguments)
    if options.family == "worker":
        # Only its own image has all that it imports.
        from chatproxy import worker

        return worker.main(environment)
    if options.family == "data":
        return data_commands.run(options, environment)
    if options.family == "admins":
        return admins_commands.run(options, environment)
    if options.family in model_commands.FAMILIES:
        return model_commands.run(options, environment)
    if options.family == trial_commands.FAMILY:
        return trial_commands.run(environment)
    if options.family == "sources":
        return sources_commands.run(options, environment)
    try:
        settings = Settings.from_environment(environment)
        keys, sites, acts = keyring(settings), site_keys(settings), audit(settings)
        if options.command == "list":
            _list(keys, sites, options)
        elif options.command == "revoke":
            (sites if options.id.startswith("site_") else keys).revoke(options.id)
            acts.note(OPERATOR, "", "key.revoke", options.id)
            print(f"Key {options.id} is revoked.", file=sys.stderr)
        elif options.origins is None and options.bots is None:
            _create(keys, acts, options)
        else:
            _create_site(sites, acts, settings, options)
    except ConfigurationError as error:
        return not_done("setting.invalid", str(error), "correct the setting that is named")
    except InvalidRequest as error:
        field, _, wrong = error.public.partition(": ")
        return not_done(f"key.{field.replace('-', '_')}_invalid", f"{field} must be {wrong}", _HINTS[field])
    except NotFound as error:
        return not_done("key.unknown", error.public.rstrip("."), "`make keys` shows the ids")
    except ChatProxyError as error:
        hint = "`make status` shows whether MongoDB runs; try again when it does"
        return not_done("keys.storage_unavailable", str(error), hint)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m chatproxy", description="The chat proxy's command line.")
    families = parser.add_subparsers(dest="family", required=True)
    families.add_parser("worker", help="read websites and files until SIGTERM")
    sources_commands.add_parser(families)
    data_commands.add_parser(families)
    admins_commands.add_parser(families)
    model_commands.add_parsers(families)
    trial_commands.add_parser(families)
    keys = families.add_parser("keys", help="API keys")
    commands = keys.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make a key and show it, once")
    create.add_argument("--name", required=True, help="what it is for")
    create.add_argument("--scopes", default="", help="of an API key, comma-separated: chat, kobold, admin")
    create.add_argument("--origins", help="of a site key, comma-separated: https://example.com")
    create.add_argument("--bots", help="that the site key opens, comma-separated (default: all)")
    create.add_argument("--address", default="https://DOMAIN", help="this server's, for the line to put into pages")
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


def _create(keys: Keyring, acts: Audit, options: argparse.Namespace) -> None:
    if options.if_none and keys.all():
        return
    scopes, days = frozenset(_words(options.scopes)), _whole(options, "expires_days")
    key, record = keys.create(options.name, scopes, expires_days=days, limits=_limits(options))
    acts.note(OPERATOR, "", "key.create", record.id)
    if options.json:
        print(json.dumps({"key": key, **_told(record)}))
    else:
        print(key)
        print("This key is shown once and stored only as a hash: keep it now.", file=sys.stderr)


def _create_site(sites: Sites, acts: Audit, settings: Settings, options: argparse.Namespace) -> None:
    if options.scopes:
        raise InvalidRequest("scopes: left out for a site key, which opens the chat alone")
    origins, bots = _words(options.origins or ""), _words(options.bots or "")
    for bot in bots:
        # A misspelt one would be a page without a chat.
        if settings.bots_dir.is_dir() and not (settings.bots_dir / f"{bot}.yaml").is_file():
            raise InvalidRequest(f"bots: the names of bots that there are, not {bot!r}")
    days = _whole(options, "expires_days")
    site = sites.create(options.name, origins, bots=bots, expires_days=days, limits=_limits(options))
    acts.note(OPERATOR, "", "key.create", site.id)
    embed = embed_line(site, options.address)
    if options.json:
        print(json.dumps({**_told_site(site), "embed": embed}))
    else:
        print(f"{site.id}\n{embed}")
        print("The second line goes into the pages. It is no secret: it works on these origins alone.", file=sys.stderr)
        print(f"Pages with a Content-Security-Policy need in it: {policy(options.address)}", file=sys.stderr)


def _words(listed: str) -> list[str]:
    return [word.strip() for word in listed.split(",") if word.strip()]


def _limits(options: argparse.Namespace) -> Limits:
    return Limits(_whole(options, "requests_per_minute"), _whole(options, "tokens_per_day"), _whole(options, "streams"))


def _whole(options: argparse.Namespace, name: str) -> int | None:
    given = getattr(options, name)
    if given is None:
        return None
    if not re.fullmatch(r"[0-9]{1,12}", given):
        raise InvalidRequest(f"{name.replace('_', '-')}: a whole number, not {given!r}")
    return int(given)


def _list(keys: Keyring, sites: Sites, options: argparse.Namespace) -> None:
    told, told_sites = [_told(record) for record in keys.all()], [_told_site(site) for site in sites.all()]
    if options.json:
        print(json.dumps([*told, *told_sites]))
        return
    for key in told:
        used, scopes = f"used {key['last_used_at'] or 'never'}", ",".join(key["scopes"])
        print(f"{key['id']}  {scopes:<18}  {_in_words(key)}  {used}  {_limits_in_words(key['limits'])}  {key['name']}")
    for site in told_sites:
        where = f"on {', '.join(site['origins'])}  bots {', '.join(site['bots']) or 'all'}"
        print(f"{site['id']}  {_in_words(site)}  {where}  {_limits_in_words(site['limits'])}  {site['name']}")


def _in_words(told: Mapping[str, Any]) -> str:
    ends = f"revoked {told['revoked_at']}" if told["revoked_at"] else f"expires {told['expires_at'] or 'never'}"
    return f"created {told['created_at']}  {ends}"


def _limits_in_words(limits: Mapping[str, int | None]) -> str:
    """ "60 requests/minute, 4 streams"; a 0 is the key's own "no limit", what is None comes from the settings."""
    words = {"requests_per_minute": "requests/minute", "tokens_per_day": "tokens/day", "streams": "streams"}
    own = [f"{limits[name] or 'unlimited'} {word}" for name, word in words.items() if limits[name] is not None]
    return ", ".join(own) or "default limits"


def _told(record: KeyRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "scopes": sorted(record.scopes),
        "created_at": told_time(record.created_at),
        "expires_at": told_time(record.expires_at),
        "revoked_at": told_time(record.revoked_at),
        "last_used_at": told_time(record.last_used_at),
        "limits": asdict(record.limits),
    }


def _told_site(site: SiteKey) -> dict[str, Any]:
    return {
        "id": site.id,
        "name": site.name,
        "origins": list(site.origins),
        "bots": list(site.bots),
        "created_at": told_time(site.created_at),
        "expires_at": told_time(site.expires_at),
        "revoked_at": told_time(site.revoked_at),
        "limits": asdict(site.limits),
    }
