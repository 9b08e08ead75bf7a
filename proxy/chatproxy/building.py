"""Single parts of the proxy, each built from the settings; parts.py puts all of them together."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from chatproxy.adapters.certificate import Certificate
from chatproxy.adapters.engine_pages import HttpEnginePages
from chatproxy.adapters.gguf import read_model
from chatproxy.adapters.hold_file import HoldFile
from chatproxy.adapters.koboldcpp import Koboldcpp
from chatproxy.adapters.mongo import Database
from chatproxy.adapters.mongo_jobs import MongoJobs
from chatproxy.adapters.mongo_knowledge import MongoKnowledge
from chatproxy.adapters.mongo_originals import MongoOriginals
from chatproxy.adapters.mongo_sources import MongoSources
from chatproxy.adapters.openai_engine import OpenAiEngine
from chatproxy.adapters.smtp import SmtpMailer
from chatproxy.core.access import Limits
from chatproxy.core.condition import Validity
from chatproxy.core.engines import Engines
from chatproxy.core.expiry import Expiry
from chatproxy.core.library import Library
from chatproxy.core.limits import Limiter
from chatproxy.core.minutes import Minutes
from chatproxy.core.model_template import decide
from chatproxy.core.ports import (
    Bots,
    Mailer,
    UsageStore,
)
from chatproxy.core.prompts import AUTO, Formats
from chatproxy.core.sites import Sites
from chatproxy.core.slots import Gate
from chatproxy.core.visitors import Visitors
from chatproxy.core.warm_ports import Warmable
from chatproxy.core.warming import Warming
from chatproxy.core.window import Window
from chatproxy.errors import ConfigurationError, NotFound
from chatproxy.settings import Settings

_log = logging.getLogger(__name__)


def certificate(settings: Settings) -> Callable[[], Validity | None]:
    if settings.edge is None:
        return lambda: None
    return Certificate(*settings.edge, settings.domain).validity


def write_minutes(minutes: Minutes) -> None:
    """Until the process ends; then what has not been written is, as long as that takes no time."""
    minutes.start()
    atexit.register(minutes.stop)


def delete_what_is_old(expiry: Expiry) -> None:
    """Until the process ends."""
    expiry.start()
    atexit.register(expiry.stop)


def keep_warm(
    engines: Sequence[Warmable], settings: Settings, bots: Bots, formats: Formats, window: Window, gate: Gate
) -> None:
    """Until the process ends; what an engine is reading then is given up."""
    for engine in engines:
        size, default = window.context_size, settings.default_bot
        warming = Warming(engine, bots, formats, gate.status, size, default_bot=default)
        warming.start()
        atexit.register(warming.stop)


def library(database: Database) -> Library:
    return Library(MongoSources(database), MongoKnowledge(database), MongoJobs(database), MongoOriginals(database))


def database(settings: Settings, *, as_it_is: bool = False) -> Database:
    """`as_it_is`: without bringing its schema up to date."""
    return Database(
        settings.mongo_url,
        settings.mongo_database,
        user=settings.mongo_user,
        password=settings.mongo_password,
        as_it_is=as_it_is,
    )


def engine(settings: Settings, number: int) -> Koboldcpp | OpenAiEngine:
    first, idle = settings.engine_first_token_timeout, settings.engine_idle_timeout
    url, key, tokens = settings.engine_urls[number], settings.engine_api_key, settings.image_tokens
    name = "engine" if len(settings.engine_urls) == 1 else f"engine-{number + 1}"
    if settings.engine_api == "koboldcpp":
        return Koboldcpp(url, name=name, api_key=key, first_token_s=first, idle_s=idle, image_tokens=tokens)
    return OpenAiEngine(
        url,
        name=name,
        model=settings.asked_model,
        api_key=key,
        first_token_s=first,
        idle_s=idle,
        image_tokens=tokens,
        context_size=settings.context_size,
    )


def engine_pages(settings: Settings) -> HttpEnginePages:
    """The first engine's own page."""
    url, key = settings.engine_urls[0], settings.engine_api_key
    return HttpEnginePages(
        url,
        api_key=key,
        first_byte_s=settings.engine_first_token_timeout,
        idle_s=settings.engine_idle_timeout,
        abort=Koboldcpp(url, api_key=key).abort if settings.engine_api == "koboldcpp" else None,
    )


def gate(settings: Settings, engines: Engines) -> Gate:
    slots = settings.engine_slots * len(engines)
    return Gate(settings.engine_slots, min(settings.queue_size, settings.stream_cap - slots), engines=len(engines))


def obey_hold(settings: Settings, gate: Gate) -> None:
    """Until the process ends, the gate is held whenever the file says so."""
    hold_file(settings).watch(lambda seconds, turn_away: gate.hold(seconds, turn_away=turn_away))


def hold_file(settings: Settings) -> HoldFile:
    return HoldFile(settings.hold_file)


def visitors(settings: Settings, sites: Sites, usage: UsageStore) -> Visitors:
    return Visitors(
        sites,
        usage,
        secret=settings.visitor_secret,
        own_page=settings.chat_page,
        new_per_hour=settings.new_visitors_per_hour,
    )


def key_limits(settings: Settings) -> Limits:
    """What a key may use that has no limits of its own."""
    return Limits(settings.key_requests_per_minute, settings.key_tokens_per_day, settings.key_streams)


def visitor_limits(settings: Settings) -> Limits:
    """What a visitor may use where its site key has no limits of its own."""
    return Limits(settings.visitor_requests_per_minute, settings.visitor_tokens_per_day, settings.visitor_streams)


def limiter(settings: Settings, usage: UsageStore) -> Limiter:
    visitor, key = visitor_limits(settings), key_limits(settings)
    address = Limits(settings.address_requests_per_minute, settings.address_tokens_per_day, settings.address_streams)
    streams = settings.address_streams or settings.visitor_address_streams
    return Limiter(usage, key=key, visitor=visitor, address=address, visitors_address=replace(address, streams=streams))


def mailer(settings: Settings) -> Mailer | None:
    if not settings.smtp_host:
        return None
    return SmtpMailer(
        settings.smtp_host,
        settings.smtp_port,
        tls=settings.smtp_tls,
        sender=settings.smtp_from,
        user=settings.smtp_user,
        password=settings.smtp_password,
    )


def formats(settings: Settings) -> Formats:
    """Prompt formats, the model's own control tokens guarded against in each. ConfigurationError for PROMPT_FORMAT."""
    model = None
    automatic = settings.prompt_format == AUTO
    try:
        model = read_model(settings.model_file) if settings.model_file else None
    except ConfigurationError as error:
        if automatic:
            raise
        _log.warning("%s; the known control tokens of all model families are guarded against instead", error)
    formats = Formats(settings.formats_dir, model=model)
    formats.set_auto(decide(formats, model, settings.model) if automatic else formats.get(settings.prompt_format))
    return formats


def check_default_bot(bots: Bots, default: str) -> None:
    try:
        bots.get(default)
    except NotFound as error:
        raise ConfigurationError(f"DEFAULT_BOT={default!r} cannot answer: {error}") from None
