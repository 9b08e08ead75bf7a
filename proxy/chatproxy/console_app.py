"""The console put together: its pages in front of the parts. app.py gives it a listener inside the VPN."""

from __future__ import annotations

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from chatproxy import building
from chatproxy.parts import Parts
from chatproxy.web import metrics
from chatproxy.web.console import (
    audit,
    bots,
    conversations,
    corrections,
    entry,
    keys,
    knowledge,
    knowledge_try,
    models,
    shell,
    today,
    trials,
)
from chatproxy.web.console.bots import Surroundings
from chatproxy.web.console.models import Loaded
from chatproxy.web.knowledge_given import Uploads


def create(built: Parts, uploads: Uploads) -> Flask:
    """What the owner sees and changes."""
    settings = built.settings
    app = shell.create()
    surroundings = Surroundings(settings.default_bot, settings.context_size)
    loaded = Loaded(settings.model, settings.model_file, settings.context_size)
    for routes in (
        audit.blueprint(built.audit),
        bots.blueprint(built.bots, built.library, built.formats, surroundings),
        conversations.blueprint(built.archive, built.history, built.keys, built.sites),
        corrections.blueprint(built.archive, built.history, built.bots, built.rules, built.library),
        entry.blueprint(built.admins),
        keys.blueprint(
            built.keys,
            built.sites,
            built.bots,
            key=building.key_limits(settings),
            visitor=building.visitor_limits(settings),
            address=settings.public_url.removesuffix(":443"),
        ),
        knowledge.blueprint(built.library, built.bots, uploads),
        knowledge_try.blueprint(built.passages, built.library, built.bots),
        metrics.blueprint(built.metrics_page),
        models.blueprint(built.models, built.formats, loaded),
        today.blueprint(built.minutes, built.observer),
        trials.blueprint(built.trials, built.bots, default_bot=settings.default_bot),
    ):
        app.register_blueprint(routes)
    # Whoever measures has no password; what it tells is for everybody inside the VPN.
    shell.open_to_all(app.view_functions["metrics.metrics"])
    shell.install(app, built.admins, built.audit)
    # The VPN's gate, whatever stands in front of the public side; it passes the Host on as it came.
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=0)  # type: ignore[method-assign]
    return app
