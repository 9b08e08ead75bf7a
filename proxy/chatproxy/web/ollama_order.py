"""Reading Ollama's requests: which model, what to answer, with which options.

    option                          accepted
    temperature                     0 to 5
    top_p, min_p, typical_p, tfs_z  0 to 1
    top_k                           0 to 1000
    repeat_penalty                  0.1 to 10
    repeat_last_n                   -1 (the whole context) to 1048576 tokens
    seed                            -1 to 4294967295; negative = random
    num_predict                     1 to 8192 tokens; -1 and -2 leave the length to the bot (512 for the bare model)
    stop                            up to 32 texts

Every other option is ignored, as Ollama ignores what it does not know: num_ctx and what else loads a model
differently, since the model is loaded already; mirostat*, presence_penalty, frequency_penalty. null counts as absent.

images: up to 4 with a prompt, or with a message of the user's, as base64; a model that cannot see refuses them.

What a model cannot do is refused as Ollama refuses it: tools, think, suffix; here also format, template and context.
keep_alive does nothing but tell "load" from "unload" in a request without a prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from chatproxy.core.access import Caller
from chatproxy.core.completions import ChatOrder, TextOrder
from chatproxy.core.ports import Bots
from chatproxy.core.types import Sampling, Turn
from chatproxy.errors import InvalidRequest, NotFound
from chatproxy.web.body import Fields
from chatproxy.web.images import check_together, read_images

_LONGEST_TEXT = 2_000_000  # characters
_LONGEST_CONTEXT = 1 << 20
_LONGEST_ANSWER = 8192  # tokens
_RAW_LENGTH = 512  # tokens of a raw answer whose length was left open, as for the bare model's chat
_MOST_MESSAGES = 1000
_NUMBERS: dict[str, tuple[str, float, float]] = {
    "temperature": ("temperature", 0, 5),
    "top_p": ("top_p", 0, 1),
    "min_p": ("min_p", 0, 1),
    "typical_p": ("typical", 0, 1),
    "tfs_z": ("tfs", 0, 1),
    "repeat_penalty": ("rep_pen", 0.1, 10),
}
_WHOLE: dict[str, tuple[str, int, int]] = {
    "top_k": ("top_k", 0, 1000),
    "repeat_last_n": ("rep_pen_range", -1, _LONGEST_CONTEXT),
    "seed": ("sampler_seed", -1, 2**32 - 1),
}
# Field -> what the refusal calls it. Empty values and false ask for nothing.
_CANNOT = {"tools": "tools", "suffix": "insert", "think": "thinking"}


@dataclass(frozen=True, slots=True)
class Model:
    """A name that clients may ask for: the engine's own (`bot` is None) or a bot's."""

    name: str
    bot: str | None


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. Without an `order` it only wants the model loaded, or `unload`ed."""

    name: str  # as the client writes it
    stream: bool
    order: TextOrder | ChatOrder | None
    unload: bool = False


class Models:
    """The names that this server answers to, with or without ":latest"."""

    def __init__(self, engine_model: str, bots: Bots) -> None:
        self._engine_model, self._bots = engine_model, bots

    def all(self) -> Sequence[Model]:
        """The engine's own model first."""
        bots = [Model(bot.id, bot.id) for bot in self._bots.all() if bot.id != self._engine_model]
        return [Model(self._engine_model, None), *bots]

    def named(self, fields: Fields) -> tuple[str, Model]:
        """The model that a body asks for, and its name as written there. Raises InvalidRequest and NotFound."""
        name, older_name = fields.text("model", most=300), fields.text("name", most=300)
        written = name or older_name
        if not written:
            raise InvalidRequest("model is required")
        name = written.removesuffix(":latest")
        if name == self._engine_model:
            return written, Model(name, None)
        try:
            return written, Model(name, self._bots.get(name).id)
        except NotFound:
            raise NotFound(public=f"model '{written}' not found") from None


def read_chat(body: dict[str, Any], models: Models, caller: Caller, context_size: Callable[[], int]) -> Asked:
    """POST /api/chat."""
    fields = Fields(body)
    name, model = models.named(fields)
    _refuse_what_models_lack(body, name)
    system, turns = _read_messages(body.get("messages"), name)
    stream = fields.flag("stream") is not False
    max_tokens, stops, sampling = _read_options(body, context_size)
    if not system and not turns:
        return Asked(name, stream, None, unload=_is_zero(body.get("keep_alive")))
    if not turns or turns[-1].role != "user":
        raise InvalidRequest("messages: the last one must be the user's")
    order = ChatOrder(caller, turns, system, model.bot, max_tokens, stops, sampling)
    return Asked(name, stream, order)


def read_generate(body: dict[str, Any], models: Models, caller: Caller, context_size: Callable[[], int]) -> Asked:
    """POST /api/generate."""
    fields = Fields(body)
    name, model = models.named(fields)
    _refuse_what_models_lack(body, name)
    prompt = fields.text("prompt", most=_LONGEST_TEXT)
    system = fields.text("system", most=_LONGEST_TEXT) or ""
    stream = fields.flag("stream") is not False
    raw = fields.flag("raw")
    max_tokens, stops, sampling = _read_options(body, context_size)
    images = read_images(body.get("images"), "images")
    if not prompt and not images:
        return Asked(name, stream, None, unload=_is_zero(body.get("keep_alive")))
    if not raw:
        order = ChatOrder(caller, (Turn("user", prompt or "", images),), system, model.bot, max_tokens, stops, sampling)
        return Asked(name, stream, order)
    if system:
        raise InvalidRequest("raw mode does not support template, system, or context")
    return Asked(
        name, stream, TextOrder(caller, prompt or "", max_tokens or _RAW_LENGTH, stops, sampling, images=images)
    )


def _refuse_what_models_lack(body: dict[str, Any], name: str) -> None:
    for field, ability in _CANNOT.items():
        if body.get(field):
            raise InvalidRequest(f'"{name}" does not support {ability}')
    for field in ("format", "template", "context"):
        if body.get(field):
            raise InvalidRequest(f"{field}: is not supported here")


def _read_messages(messages: Any, name: str) -> tuple[str, Sequence[Turn]]:
    """The system texts as one, and the turns."""
    if messages is None:
        return "", ()
    if not isinstance(messages, list) or len(messages) > _MOST_MESSAGES:
        raise InvalidRequest(f"messages: must be a list of at most {_MOST_MESSAGES} messages")
    system: list[str] = []
    turns: list[Turn] = []
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if not isinstance(message, dict):
            raise InvalidRequest(f"{where}: must be a JSON object")
        if message.get("tool_calls"):
            raise InvalidRequest(f'"{name}" does not support tools')
        images = read_images(message.get("images"), f"{where}.images")
        if images and message.get("role") != "user":
            raise InvalidRequest(f"{where}.images: only messages of the role user can show images")
        content = _prefixed(message, where).text(f"{where}.content", most=_LONGEST_TEXT) or ""
        match message.get("role"):
            case "system":
                system.append(content)
            case "user" | "assistant" as role:
                turns.append(Turn(role, content, images))
            case "tool":
                raise InvalidRequest(f'"{name}" does not support tools')
            case _:
                raise InvalidRequest(f"{where}.role: must be system, user or assistant")
    check_together([turn.images for turn in turns], "messages")
    return "\n\n".join(text for text in system if text), turns


def _read_options(
    body: dict[str, Any], context_size: Callable[[], int]
) -> tuple[int | None, tuple[str, ...], Sampling]:
    """(most tokens or None, stop strings, sampling)."""
    options = body.get("options")
    if options is None:
        options = {}
    if not isinstance(options, dict):
        raise InvalidRequest("options: must be a JSON object")
    fields = _prefixed(options, "options")
    asked: dict[str, Any] = {
        ours: fields.number(f"options.{theirs}", low, high) for theirs, (ours, low, high) in _NUMBERS.items()
    }
    asked |= {ours: fields.whole(f"options.{theirs}", low, high) for theirs, (ours, low, high) in _WHOLE.items()}
    if asked["rep_pen_range"] == -1:
        asked["rep_pen_range"] = context_size()
    stops = fields.texts("options.stop", most=32, longest=200)
    length = fields.whole("options.num_predict", -2, _LONGEST_ANSWER)
    if length == 0:
        raise InvalidRequest("options.num_predict: must be at least 1, or -1 for no limit of your own")
    return (length if length and length > 0 else None), stops, Sampling(**asked)


def _prefixed(values: dict[str, Any], prefix: str) -> Fields:
    """Fields whose errors name the place inside of the body."""
    return Fields({f"{prefix}.{name}": value for name, value in values.items()})


def _is_zero(keep_alive: Any) -> bool:
    """Ollama takes a number of seconds or a duration as "5m"."""
    return not isinstance(keep_alive, bool) and keep_alive in (0, "0", "0s", "0m", "0h")
