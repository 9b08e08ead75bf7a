"""The only composition root: builds adapters, hands them to core and web."""

from __future__ import annotations

import logging
from collections.abc import Sequence

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
from chatproxy.adapters.openai_engine import OpenAiEngine
from chatproxy.core.answer import Answers
from chatproxy.core.completions import Completions
from chatproxy.core.generation import Generations
from chatproxy.core.keys import Keyring
from chatproxy.core.model_template import decide
from chatproxy.core.ports import Bots, Engine, HealthCheck, History, KeyStore
from chatproxy.core.prompts import AUTO, Formats
from chatproxy.core.running import Running
from chatproxy.core.sampling import PRESETS
from chatproxy.core.slots import Gate
from chatproxy.core.window import Window
from chatproxy.errors import ConfigurationError, NotFound
from chatproxy.settings import Settings
from chatproxy.web import auth, chat, conversations, health, kobold, responses

_log = logging.getLogger(__name__)


def create_app(
    settings: Settings,
    *,
    engine: Engine | None = None,
    history: History | None = None,
    keys: KeyStore | None = None,
    bots: Bots | None = None,
    checks: Sequence[HealthCheck] | None = None,
) -> Flask:
    """The application, connected to nothing yet. What is given replaces the adapter that would be built.

    Raises ConfigurationError for bots, prompt formats and settings that do not fit together.
    """
    database = _database(settings)
    real_engine = _engine(settings)
    engine = engine or real_engine
    history = history or MongoHistory(database)
    formats = _formats(settings)
    bots = bots or BotFiles(settings.bots_dir, formats=formats.names, presets=PRESETS)
    _check_default_bot(bots, settings.default_bot)
    if checks is None:
        chroma = Chroma(settings.chroma_url, token=settings.chroma_token)
        checks = (real_engine, database, chroma, Embeddings(settings.embeddings_url))

    gate = Gate(settings.engine_slots, min(settings.queue_size, settings.stream_cap - settings.engine_slots))
    generations = Generations(engine, gate)
    window = Window(engine, settings.context_size)
    answers = Answers(
        generations,
        window,
        history,
        bots,
        formats,
        default_bot=settings.default_bot,
        default_format=settings.prompt_format,
    )

    running = Running()
    completions = Completions(generations, window, bots, formats, running, default_format=settings.prompt_format)

    app = Flask("chatproxy", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    responses.install(app, kobold.PATHS)
    app.register_blueprint(chat.blueprint(answers))
    app.register_blueprint(conversations.blueprint(history))
    app.register_blueprint(kobold.blueprint(completions))
    app.register_blueprint(health.blueprint(checks, settings.model, gate.status))
    auth.install(app, Keyring(keys or MongoKeys(database)))
    if settings.trusted_hops:
        hops = settings.trusted_hops
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    return app


def keyring(settings: Settings) -> Keyring:
    """The API keys alone, for the command line."""
    return Keyring(MongoKeys(_database(settings)))


def _database(settings: Settings) -> Database:
    return Database(
        settings.mongo_url, settings.mongo_database, user=settings.mongo_user, password=settings.mongo_password
    )


def _engine(settings: Settings) -> Koboldcpp | OpenAiEngine:
    first, idle = settings.engine_first_token_timeout, settings.engine_idle_timeout
    url, key = settings.engine_url, settings.engine_api_key
    if settings.engine_api == "koboldcpp":
        return Koboldcpp(url, api_key=key, first_token_s=first, idle_s=idle)
    return OpenAiEngine(url, model=settings.model, api_key=key, first_token_s=first, idle_s=idle)


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
    if automatic:
        formats.set_auto(decide(formats, model, settings.model))
    formats.get(settings.prompt_format)
    return formats


def _check_default_bot(bots: Bots, default: str) -> None:
    try:
        bots.get(default)
    except NotFound as error:
        raise ConfigurationError(f"DEFAULT_BOT={default!r} cannot answer: {error}") from None
