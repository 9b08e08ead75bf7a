"""The only composition root: builds adapters, hands them to core and web."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from chatproxy.adapters.bots import BotFiles
from chatproxy.adapters.chroma import Chroma
from chatproxy.adapters.embeddings import Embeddings
from chatproxy.adapters.gguf import read_model
from chatproxy.adapters.koboldcpp import Koboldcpp
from chatproxy.adapters.mongo import Database
from chatproxy.adapters.mongo_history import MongoHistory
from chatproxy.adapters.mongo_keys import MongoKeys
from chatproxy.adapters.mongo_sites import MongoSites
from chatproxy.adapters.mongo_usage import MongoUsage
from chatproxy.adapters.openai_engine import OpenAiEngine
from chatproxy.adapters.smtp import SmtpMailer
from chatproxy.core.access import Limits
from chatproxy.core.answer import Answers
from chatproxy.core.asking import Asking
from chatproxy.core.completions import Completions
from chatproxy.core.engines import AnyEngine, Engines, watch
from chatproxy.core.generation import Generations
from chatproxy.core.handoff import Handoff
from chatproxy.core.keys import Keyring
from chatproxy.core.limits import Limiter
from chatproxy.core.model_template import decide
from chatproxy.core.ports import Bots, Embedder, Engine, HealthCheck, History, KeyStore, Mailer, SiteStore, UsageStore
from chatproxy.core.prompts import AUTO, Formats
from chatproxy.core.running import Running
from chatproxy.core.sampling import PRESETS
from chatproxy.core.sites import Sites
from chatproxy.core.slots import Gate
from chatproxy.core.visitors import Visitors
from chatproxy.core.window import Window
from chatproxy.errors import ConfigurationError, NotFound
from chatproxy.settings import Settings
from chatproxy.web import (
    auth,
    chat,
    conversations,
    cors,
    handoff,
    health,
    kobold,
    messages,
    ollama,
    openai,
    openapi,
    question,
    responses,
    visitors,
    widget,
    widget_files,
)

_log = logging.getLogger(__name__)


def create_app(
    settings: Settings,
    *,
    engines: Sequence[Engine] | None = None,
    history: History | None = None,
    keys: KeyStore | None = None,
    sites: SiteStore | None = None,
    usage: UsageStore | None = None,
    bots: Bots | None = None,
    embedder: Embedder | None = None,
    mailer: Mailer | None = None,
    checks: Sequence[HealthCheck] | None = None,
) -> Flask:
    """The application, connected to nothing yet. What is given replaces the adapter that would be built.

    Raises ConfigurationError for bots, prompt formats and settings that do not fit together.
    """
    database = _database(settings)
    real_engines = [_engine(settings, number) for number in range(len(settings.engine_urls))]
    embeddings = Embeddings(settings.embeddings_url)
    history, usage = history or MongoHistory(database), usage or MongoUsage(database)
    mailer = mailer or _mailer(settings)
    formats = _formats(settings)
    bots = bots or BotFiles(settings.bots_dir, formats=formats.names, presets=PRESETS)
    _check_default_bot(bots, settings.default_bot)

    site_keyring = Sites(sites or MongoSites(database))
    visiting = _visitors(settings, site_keyring, usage)

    shared = Engines(engines or real_engines)
    gate = _gate(settings, shared)
    if engines is None and len(real_engines) > 1:
        watch(real_engines, gate)
    generations = Generations(shared, gate, _limiter(settings, usage))
    window, running = Window(shared, settings.context_size), Running()
    asking = Asking(history, bots, formats, default_bot=settings.default_bot)
    answers = Answers(asking, generations, window, history, running)
    completions = Completions(generations, window, bots, formats, running)

    if checks is None:
        chroma = Chroma(settings.chroma_url, token=settings.chroma_token)
        checks = (real_engines[0] if len(real_engines) == 1 else AnyEngine(real_engines), database, chroma, embeddings)
    model = settings.model
    app = Flask("chatproxy", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    responses.install(app, {**kobold.ENVELOPES, **ollama.ENVELOPES, **openai.ENVELOPES})
    cors.install(
        app,
        cors.kobold(settings.kobold_origins, kobold.covers),
        cors.visitors(site_keyring.origins, visitors.ENDPOINTS),
    )
    for routes in (
        chat.blueprint(answers),
        conversations.blueprint(history),
        messages.blueprint(history),
        handoff.blueprint(Handoff(history, bots, usage, mailer)),
        question.blueprint(answers, history, bots),
        openai.blueprint(completions, bots, embedder or embeddings, generations.permit, model=model),
        ollama.blueprint(completions, bots, model=model, context_size=window.context_size),
        kobold.blueprint(completions, running, model=model, gate=gate.status, context_size=window.context_size),
        visitors.blueprint(visiting, bots, default_bot=settings.default_bot, mail=mailer is not None),
        widget.blueprint(visiting, widget_files.read(), chat_page=settings.chat_page),
        health.blueprint(checks, model, gate.status),
    ):
        app.register_blueprint(routes)
    openapi.install(app)
    auth.install(app, Keyring(keys or MongoKeys(database)), visiting)
    if settings.trusted_hops:
        hops = settings.trusted_hops
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    return app


def keyring(settings: Settings) -> Keyring:
    """The API keys alone, for the command line."""
    return Keyring(MongoKeys(_database(settings)))


def site_keys(settings: Settings) -> Sites:
    """The site keys alone, for the command line."""
    return Sites(MongoSites(_database(settings)))


def _database(settings: Settings) -> Database:
    return Database(
        settings.mongo_url, settings.mongo_database, user=settings.mongo_user, password=settings.mongo_password
    )


def _engine(settings: Settings, number: int) -> Koboldcpp | OpenAiEngine:
    first, idle = settings.engine_first_token_timeout, settings.engine_idle_timeout
    url, key = settings.engine_urls[number], settings.engine_api_key
    name = "engine" if len(settings.engine_urls) == 1 else f"engine-{number + 1}"
    if settings.engine_api == "koboldcpp":
        return Koboldcpp(url, name=name, api_key=key, first_token_s=first, idle_s=idle)
    return OpenAiEngine(url, name=name, model=settings.model, api_key=key, first_token_s=first, idle_s=idle)


def _gate(settings: Settings, engines: Engines) -> Gate:
    slots = settings.engine_slots * len(engines)
    return Gate(settings.engine_slots, min(settings.queue_size, settings.stream_cap - slots), engines=len(engines))


def _visitors(settings: Settings, sites: Sites, usage: UsageStore) -> Visitors:
    return Visitors(
        sites,
        usage,
        secret=settings.visitor_secret,
        own_page=settings.chat_page,
        new_per_hour=settings.new_visitors_per_hour,
    )


def _limiter(settings: Settings, usage: UsageStore) -> Limiter:
    visitor = Limits(settings.visitor_requests_per_minute, settings.visitor_tokens_per_day, settings.visitor_streams)
    key = Limits(settings.key_requests_per_minute, settings.key_tokens_per_day, settings.key_streams)
    address = Limits(settings.address_requests_per_minute, settings.address_tokens_per_day, settings.address_streams)
    streams = settings.address_streams or settings.visitor_address_streams
    return Limiter(usage, key=key, visitor=visitor, address=address, visitors_address=replace(address, streams=streams))


def _mailer(settings: Settings) -> Mailer | None:
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


def _formats(settings: Settings) -> Formats:
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


def _check_default_bot(bots: Bots, default: str) -> None:
    try:
        bots.get(default)
    except NotFound as error:
        raise ConfigurationError(f"DEFAULT_BOT={default!r} cannot answer: {error}") from None
