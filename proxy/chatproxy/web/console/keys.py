"""The pages of API keys and site keys: what there is, made, changed, revoked."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, request
from werkzeug.wrappers import Response as AnyResponse

from chatproxy.core.access import KeyRecord, Limits, SiteKey, works
from chatproxy.core.keys import Keyring
from chatproxy.core.ports import Bots
from chatproxy.core.sites import Sites, embed_line, policy
from chatproxy.core.types import now
from chatproxy.errors import InvalidRequest
from chatproxy.web.console import given
from chatproxy.web.console.shell import Page, about, acts, done, page

_LONGEST_NAME = 1000  # characters: what is too long for a name is the core's to say
_LABELS = {
    "name": "What it is for",
    "scopes": "What it may do",
    "origins": "Pages",
    "bots": "Bots",
    "days": "Days until it expires",
    "expires-days": "Days until it expires",
    "requests_per_minute": "Questions per minute",
    "requests-per-minute": "Questions per minute",
    "tokens_per_day": "Tokens per day",
    "tokens-per-day": "Tokens per day",
    "streams": "Answers at a time",
}
# What each scope opens, in words: core.keys.SCOPES, in the order of the form.
SCOPES = {
    "chat": "Chat: bots and models, over all APIs but Kobold's",
    "kobold": "Kobold: the engine under KoboldAI's API",
    "admin": "Admin: sources of knowledge",
}


def blueprint(keys: Keyring, sites: Sites, bots: Bots, *, key: Limits, visitor: Limits, address: str) -> Blueprint:
    """The routes. `key` and `visitor` are what counts where a key has no limits of its own, `address` is where the
    world reaches the server."""
    routes = Blueprint("keys", __name__)
    defaults = {"key": key, "visitor": visitor, "scopes": SCOPES}

    @routes.get("/keys")
    def listing() -> Page:
        return shown()

    @routes.post("/keys")
    @acts("key.create")
    def create() -> Page:
        try:
            scopes = frozenset(request.form.getlist("scopes"))
            name, days = given.text("name", _LONGEST_NAME), given.whole("days")
            made, record = keys.create(name, scopes, expires_days=days, limits=_limits())
        except InvalidRequest as error:
            return shown(400, key_wrong=given.wrong(error, _LABELS))
        about(record.id)
        return page("key_made.html", key=made, record=record, address=address)

    @routes.post("/keys/sites")
    @acts("site.create")
    def create_site() -> Page:
        try:
            days, limits = given.whole("days"), _limits()
            name, chosen = given.text("name", _LONGEST_NAME), _bots(bots)
            site = sites.create(name, given.lines("origins"), bots=chosen, expires_days=days, limits=limits)
        except InvalidRequest as error:
            return shown(400, site_wrong=given.wrong(error, _LABELS))
        about(site.id)
        return page("site_made.html", record=site, embed=embed_line(site, address), policy=policy(address))

    @routes.get("/keys/<key_id>")
    def one(key_id: str) -> Page:
        return details(_found(key_id))

    @routes.post("/keys/<key_id>")
    @acts("key.change")
    def change(key_id: str) -> Page | AnyResponse:
        about(key_id)
        found = _found(key_id)
        try:
            if isinstance(found, SiteKey):
                sites.change(key_id, given.lines("origins"), _bots(bots), _limits())
            else:
                keys.change(key_id, _limits())
        except InvalidRequest as error:
            return details(found, 400, wrong=given.wrong(error, _LABELS))
        return done(f"/keys/{key_id}")

    @routes.post("/keys/<key_id>/revoke")
    @acts("key.revoke")
    def revoke(key_id: str) -> AnyResponse:
        about(key_id)
        if key_id.startswith("site_"):
            sites.revoke(key_id)
        else:
            keys.revoke(key_id)
        return done("/keys")

    def _found(key_id: str) -> KeyRecord | SiteKey:
        return sites.record(key_id) if key_id.startswith("site_") else keys.record(key_id)

    def shown(status: int = 200, *, key_wrong: str = "", site_wrong: str = "") -> Page:
        """Both tables; a form that was wrong holds what was given."""
        moment = now()
        return page(
            "keys.html",
            status,
            keys=[(record, _state(record)) for record in _newest(keys.all())],
            sites=[(site, _state(site)) for site in _newest(sites.all())],
            working=lambda record: works(record, moment),
            bots=bots.all(),
            key_wrong=key_wrong,
            site_wrong=site_wrong,
            given_key=given.given() if key_wrong else {},
            given_site=given.given() if site_wrong else {},
            chosen_scopes=request.form.getlist("scopes") if key_wrong else ["chat"],
            chosen_bots=request.form.getlist("bots") if site_wrong else [],
            **defaults,
        )

    def details(record: KeyRecord | SiteKey, status: int = 200, *, wrong: str = "") -> Page:
        is_site = isinstance(record, SiteKey)
        fields = {name: "" if limit is None else str(limit) for name, limit in _as_fields(record.limits).items()}
        if isinstance(record, SiteKey):
            fields["origins"] = "\n".join(record.origins)
        chosen = record.bots if isinstance(record, SiteKey) else ()
        return page(
            "site.html" if is_site else "key.html",
            status,
            record=record,
            state_now=_state(record),
            working=works(record, now()),
            bots=bots.all(),
            chosen_bots=request.form.getlist("bots") if wrong else chosen,
            given=given.given() if wrong else fields,
            wrong=wrong,
            embed=embed_line(record, address) if isinstance(record, SiteKey) else "",
            policy=policy(address),
            **defaults,
        )

    return routes


def _limits() -> Limits:
    return Limits(*(given.whole(name) for name in ("requests_per_minute", "tokens_per_day", "streams")))


def _as_fields(limits: Limits) -> dict[str, int | None]:
    return {name: getattr(limits, name) for name in ("requests_per_minute", "tokens_per_day", "streams")}


def _bots(bots: Bots) -> list[str]:
    """A misspelt one would be a page without a chat."""
    chosen, known = request.form.getlist("bots"), {bot.id for bot in bots.all()}
    for name in chosen:
        if name not in known:
            raise InvalidRequest(f"bots: names of bots that there are, not {name[:60]!r}")
    return chosen


def _newest(records: Sequence[KeyRecord] | Sequence[SiteKey]) -> list[KeyRecord | SiteKey]:
    """Those that work first, the newest first among each."""
    moment = now()
    return sorted(records, key=lambda record: (works(record, moment), record.created_at), reverse=True)


def _state(record: KeyRecord | SiteKey) -> str:
    if record.revoked_at:
        return "revoked"
    return "works" if works(record, now()) else "expired"
