"""What an engine with a vision model sees in a picture, over OpenAI's chat route: it writes the model's own format.

Whether it can see: koboldcpp tells in GET /api/extra/version ("vision"), llama.cpp's server in GET /props
("modalities"). Other servers tell nothing, and are taken for blind.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
from collections.abc import Sequence
from typing import Any

from chatproxy.adapters.calls import CallFailed, Service
from chatproxy.errors import EngineFailure

_ASKED = (
    "Describe this picture for somebody who searches for it, in at most four sentences. "
    "Say only what can be seen, and write out any text in it."
)
_MOST_TOKENS = 220
_LOOK_S = 5.0
# What the engine is asked meanwhile by visitors waits as long where it has one slot: a picture is no reason for more.
_DESCRIBE_S = 180.0


class EngineSight:
    """Implements core.knowledge_ports.Describer. The first engine that can see is asked; the worker asks one by one."""

    def __init__(self, urls: Sequence[str], *, api: str, model: str, api_key: str = "", timeout_s: float = _DESCRIBE_S):
        """`api` is "koboldcpp" or "openai", as in settings.py."""
        self._engines = [Service(url, token=api_key) for url in urls]
        self._is_koboldcpp, self._model, self._timeout_s = api == "koboldcpp", model, timeout_s

    def sees(self) -> bool:
        """See core.knowledge_ports.Describer."""
        return self._seeing() is not None

    def describe(self, picture: bytes, media_type: str) -> str:
        """See core.knowledge_ports.Describer."""
        engine = self._seeing()
        if engine is None:
            raise EngineFailure("the engine cannot see")
        image = f"data:{media_type};base64,{base64.b64encode(picture).decode()}"
        content = [{"type": "text", "text": _ASKED}, {"type": "image_url", "image_url": {"url": image}}]
        order: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": _MOST_TOKENS,
            "temperature": 0.2,
            "stream": False,
        }
        key = secrets.token_hex(16)
        if self._is_koboldcpp:
            # Without a key of its own, anybody could read or end it.
            order["genkey"] = key
        try:
            told = engine.post("/v1/chat/completions", order, timeout_s=self._timeout_s)
        except CallFailed as failed:
            if self._is_koboldcpp:
                # It goes on for a client that has left.
                with contextlib.suppress(CallFailed):
                    engine.post("/api/extra/abort", {"genkey": key}, timeout_s=_LOOK_S)
            raise EngineFailure(f"the engine failed: {failed}") from None
        return _said(told)

    def _seeing(self) -> Service | None:
        """The first engine that can see. EngineFailure where one cannot be asked, and none of the others sees."""
        trouble = ""
        for engine in self._engines:
            try:
                if self._can_see(engine):
                    return engine
            except CallFailed as failed:
                trouble = str(failed)
        if trouble and not trouble.startswith("HTTP 404"):
            raise EngineFailure(f"the engine cannot be asked: {trouble}")
        return None

    def _can_see(self, engine: Service) -> bool:
        if self._is_koboldcpp:
            told = engine.get("/api/extra/version", timeout_s=_LOOK_S)
            return isinstance(told, dict) and told.get("vision") is True
        told = engine.get("/props", timeout_s=_LOOK_S)
        able = told.get("modalities") if isinstance(told, dict) else None
        return isinstance(able, dict) and able.get("vision") is True


def _said(told: Any) -> str:
    try:
        text = told["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise EngineFailure("the engine's answer is none") from None
    if not isinstance(text, str) or not text.strip():
        raise EngineFailure("the engine had nothing to say")
    return text.strip()
