"""What each listener answers with: the web, put in front of the parts that parts.py builds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from chatproxy import console_app, parts
from chatproxy.core.handoff import Handoff
from chatproxy.parts import NOTHING_GIVEN, Given, Parts
from chatproxy.settings import Settings
from chatproxy.web import (
    auth,
    chat,
    conversations,
    cors,
    engine_ui,
    handoff,
    health,
    knowledge,
    kobold,
    messages,
    ollama,
    openai,
    openapi,
    question,
    responses,
    search,
    visitors,
    widget,
    widget_files,
)
from chatproxy.web.knowledge_given import Uploads


@dataclass(frozen=True, slots=True)
class Apps:
    """What the proxy's listeners answer with; all work with the same parts."""

    public: Flask
    console: Flask
    engine_ui: Flask


def create_apps(settings: Settings, given: Given = NOTHING_GIVEN) -> Apps:
    """The applications, connected to nothing yet. Raises ConfigurationError as `parts.build` does."""
    built, uploads = parts.build(settings, given), Uploads()
    return Apps(_public(built, uploads), console_app.create(built, uploads), _engine_ui(built))


def _public(built: Parts, uploads: Uploads) -> Flask:
    """What the world sees."""
    settings, bots = built.settings, built.bots
    model, context_size, permit = settings.model, built.window.context_size, built.generations.permit
    gate = built.gate.status
    app = Flask("chatproxy", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    responses.install(app, {**kobold.ENVELOPES, **ollama.ENVELOPES, **openai.ENVELOPES}, built.measures)
    cors.install(
        app,
        cors.kobold(settings.kobold_origins, kobold.covers),
        cors.visitors(built.sites.origins, visitors.ENDPOINTS),
    )
    for routes in (
        chat.blueprint(built.answers),
        conversations.blueprint(built.history),
        messages.blueprint(built.history),
        knowledge.blueprint(built.library, bots, uploads),
        search.blueprint(built.passages, bots, permit, default_bot=settings.default_bot),
        handoff.blueprint(Handoff(built.history, bots, built.usage, built.mailer)),
        question.blueprint(built.answers, built.history, bots),
        openai.blueprint(built.completions, bots, built.embedder, permit, model=model),
        ollama.blueprint(built.completions, bots, model=model, context_size=context_size),
        kobold.blueprint(built.completions, built.running, model=model, gate=gate, context_size=context_size),
        visitors.blueprint(built.visitors, bots, default_bot=settings.default_bot, mail=built.mailer is not None),
        widget.blueprint(built.visitors, widget_files.read(), chat_page=settings.chat_page),
        health.blueprint(built.readiness, model, gate),
    ):
        app.register_blueprint(routes)
    openapi.install(app)
    auth.install(app, built.keys, built.visitors, built.audit)
    _trust(app, settings.trusted_hops)
    return app


def _engine_ui(built: Parts) -> Flask:
    """The engine's own page: inside the VPN only."""
    app = engine_ui.create(built.engine_ui, engine="a server with OpenAI's API")
    _trust(app, built.settings.trusted_hops)
    return app


def by_listener(settings: Settings, apps: Apps) -> WSGIApplication:
    """One application that answers with the one whose listener a request came to.

    SERVER_PORT is the listening socket's (gunicorn.http.wsgi.create), so that no header can choose.
    """
    listeners = ((settings.console_listen, apps.console), (settings.engine_ui_listen, apps.engine_ui))
    own: dict[str, WSGIApplication] = {str(place[1]): app for place, app in listeners if place}

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return own.get(environ["SERVER_PORT"], apps.public)(environ, start_response)

    return answer


def _trust(app: Flask, hops: int) -> None:
    """So many reverse proxies in front tell who asks."""
    if hops:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
