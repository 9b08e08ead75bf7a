"""GET /v1/models: what a request may name as its model."""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, Response

from chatproxy.core.ports import Bots
from chatproxy.web.auth import needs
from chatproxy.web.openai_errors import ModelNotFound, Unsupported
from chatproxy.web.responses import json_response


class Models:
    """The engine's model by its own name, and every bot by its id. A bot with the model's name is hidden by it."""

    def __init__(self, model: str, bots: Bots) -> None:
        self._model, self._bots = model, bots
        self._since = int(time.time())

    def all(self) -> list[dict[str, Any]]:
        """As OpenAI lists them, the bare model first."""
        names = dict.fromkeys([self._model, *(bot.id for bot in self._bots.all())])
        return [self._entry(name) for name in names]

    def one(self, name: str) -> dict[str, Any]:
        """Raises ModelNotFound."""
        self.bot(name)
        return self._entry(name)

    def bot(self, name: str) -> str | None:
        """The bot that answers under this name, None for the bare model. Raises ModelNotFound."""
        if name == self._model:
            return None
        if all(bot.id != name for bot in self._bots.all()):
            raise ModelNotFound(public=f"The model {name[:200]!r} does not exist; GET /v1/models lists those that do.")
        return name

    def require_bare(self, name: str) -> None:
        """Raises ModelNotFound, and Unsupported for a bot: it is instructions in front of a chat."""
        if self.bot(name) is not None:
            raise Unsupported(f"model: {name!r} is a bot, which answers at /v1/chat/completions only")

    def _entry(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._since, "owned_by": "chatbot"}


def add_routes(routes: Blueprint, models: Models) -> None:
    """The list, and single entries. A model file's name may hold slashes."""

    @routes.get("/v1/models")
    @needs("chat")
    def all_models() -> Response:
        return json_response({"object": "list", "data": models.all()})

    @routes.get("/v1/models/<path:model>")
    @needs("chat")
    def one_model(model: str) -> Response:
        return json_response(models.one(model))
