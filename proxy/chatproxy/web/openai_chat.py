"""POST /v1/chat/completions: the client's own list of messages, answered; nothing is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from flask import Blueprint, Response, request

from chatproxy.core.completions import ChatOrder, Completions
from chatproxy.core.types import Image, Role, Turn
from chatproxy.errors import InvalidRequest
from chatproxy.web.auth import caller, needs
from chatproxy.web.body import Fields, read_object
from chatproxy.web.images import check_together, image_in
from chatproxy.web.openai_errors import Unsupported
from chatproxy.web.openai_fields import (
    LONGEST_ANSWER,
    REFUSED,
    Refused,
    read_model,
    read_sampling,
    read_stops,
    read_streaming,
    refuse,
)
from chatproxy.web.openai_models import Models
from chatproxy.web.openai_reply import CHAT, respond

# Each may cost the engine a call to count its tokens.
_MOST_MESSAGES = 1000
_MOST_PARTS = 100
_LONGEST_TEXT = 200_000  # characters, as in the native API
_NO_TOOLS = "tools are not offered here"
_REFUSED: Refused = {
    **REFUSED,
    "tools": (_NO_TOOLS, ([],)),
    "tool_choice": (_NO_TOOLS, ("none", "auto")),
    "functions": (_NO_TOOLS, ([],)),
    "function_call": (_NO_TOOLS, ("none", "auto")),
    "web_search_options": (_NO_TOOLS, ()),
    "logprobs": ("probabilities are not offered here", (False,)),
    "top_logprobs": ("probabilities are not offered here", (0,)),
    "audio": ("answers are text", ()),
    "modalities": ("answers are text", (["text"],)),
    "continue_final_message": ("the answer is always a message of its own", (False,)),
}
# JSON, one object. White space is one character at most: a small model left alone with more of it writes nothing else.
# Without {m,n}, which older koboldcpp does not read.
JSON_GRAMMAR = r"""
root ::= object
object ::= "{" ws ( member ( ws "," ws member )* ws )? "}"
array ::= "[" ws ( value ( ws "," ws value )* ws )? "]"
member ::= string ws ":" ws value
value ::= object | array | string | number | "true" | "false" | "null"
string ::= "\"" ( [^"\\\x00-\x1F\x7F] | "\\" ( ["\\/bfnrt] | "u" hex hex hex hex ) )* "\""
hex ::= [0-9a-fA-F]
number ::= "-"? ( "0" | [1-9] [0-9]* ) ( "." [0-9]+ )? ( [eE] [-+]? [0-9]+ )?
ws ::= [ \n]?
""".strip()


def add_routes(routes: Blueprint, completions: Completions, models: Models) -> None:
    """The route, answering through `completions`."""

    @routes.post("/v1/chat/completions")
    @needs("chat")
    def chat_completions() -> Response:
        body = read_object(request)
        fields = Fields(body)
        model = read_model(fields)
        refuse(body, _REFUSED)
        system, turns = _read_messages(body.get("messages"))
        order = ChatOrder(
            caller(),
            turns,
            system,
            bot=models.bot(model),
            max_tokens=_read_length(fields),
            stops=read_stops(fields, body),
            sampling=read_sampling(fields, _read_grammar(body.get("response_format"))),
        )
        streaming = read_streaming(fields, body)
        return respond(completions.chat(order), CHAT, model, streaming)


def _read_length(fields: Fields) -> int | None:
    old = fields.whole("max_tokens", 1, LONGEST_ANSWER)
    new = fields.whole("max_completion_tokens", 1, LONGEST_ANSWER)
    if old is not None and new is not None:
        raise InvalidRequest("max_tokens: is the older name of max_completion_tokens, send one of the two")
    return old if new is None else new


def _read_grammar(response_format: Any) -> str | None:
    if response_format is None:
        return None
    kind = response_format.get("type") if isinstance(response_format, dict) else None
    if kind == "json_schema":
        # In OpenAI's words: LangChain knows them and tells its users what to do instead.
        text = "'response_format' of type 'json_schema' is not supported with this model."
        raise Unsupported(f"response_format: {text}")
    if kind not in ("text", "json_object"):
        raise InvalidRequest('response_format: must be {"type": "text"} or {"type": "json_object"}')
    return JSON_GRAMMAR if kind == "json_object" else None


def _read_messages(messages: Any) -> tuple[str, list[Turn]]:
    """The system text, wherever in the list its parts stood, and the turns in order."""
    if not isinstance(messages, list) or not 1 <= len(messages) <= _MOST_MESSAGES:
        raise InvalidRequest(f"messages: must be a list of 1 to {_MOST_MESSAGES} messages")
    system: list[str] = []
    turns: list[Turn] = []
    for number, message in enumerate(messages):
        name = f"messages[{number}]"
        if not isinstance(message, dict):
            raise InvalidRequest(f"{name}: must be an object")
        role = _read_role(name, message)
        text, images = _read_content(f"{name}.content", message.get("content"), may_show=role == "user")
        if role in ("system", "developer"):
            system.append(text)
        else:
            turns.append(Turn(cast(Role, role), text, images))
    if not turns:
        raise InvalidRequest("messages: needs a message of the role user to answer")
    check_together([turn.images for turn in turns], "messages")
    return "\n\n".join(text for text in system if text), turns


def _read_role(name: str, message: Mapping[str, Any]) -> str:
    role = message.get("role")
    if role in ("tool", "function"):
        raise Unsupported(f"{name}.role: {_NO_TOOLS}")
    if not isinstance(role, str) or role not in ("system", "developer", "user", "assistant"):
        raise InvalidRequest(f"{name}.role: must be system, developer, user or assistant")
    for field in ("tool_calls", "function_call"):
        if message.get(field):
            raise Unsupported(f"{name}.{field}: {_NO_TOOLS}")
    return role


def _read_content(name: str, content: Any, *, may_show: bool) -> tuple[str, tuple[Image, ...]]:
    """A text, or a list of parts: texts, which are lines of one text, and images where the role `may_show` some."""
    if isinstance(content, str):
        return _checked(name, content), ()
    if not isinstance(content, list) or not 1 <= len(content) <= _MOST_PARTS:
        raise InvalidRequest(f"{name}: must be text or a list of 1 to {_MOST_PARTS} text parts")
    parts: list[str] = []
    images: list[Image] = []
    for number, part in enumerate(content):
        told: dict[str, Any] = part if isinstance(part, dict) else {}
        if told.get("type") == "image_url":
            if not may_show:
                raise Unsupported(f"{name}[{number}]: only messages of the role user can show images")
            images.append(_read_image(f"{name}[{number}].image_url", told.get("image_url")))
            continue
        text = told.get("text") if told.get("type") == "text" else None
        if not isinstance(text, str):
            raise InvalidRequest(
                f'{name}[{number}]: must be {{"type": "text", "text": ...}} or {{"type": "image_url", ...}}'
            )
        parts.append(text)
    return _checked(name, "\n".join(parts)), tuple(images)


def _read_image(name: str, told: Any) -> Image:
    """{"url": data: URI, "detail": ignored}, or the URI alone, as some clients send it."""
    return image_in(told.get("url") if isinstance(told, dict) else told, f"{name}.url")


def _checked(name: str, text: str) -> str:
    return Fields({name: text}).text(name, most=_LONGEST_TEXT) or ""
