"""The servers that speak OpenAI's completions API: how each is told from the others, and what it does its own way.

Sources: llama.cpp's tools/server/README; vLLM's OpenAI-compatible server and the protocol of its entrypoints;
text-generation-inference's docs/openapi.json; Ollama's docs/api.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chatproxy.adapters.calls import CallFailed, Service
from chatproxy.core.types import Generation, Sampling

_CALL_TIMEOUT_S = 10.0
_LOOK_TIMEOUT_S = 2.0
# What servers say of a prompt that is too long: llama.cpp, OpenAI, vLLM, text-generation-inference, Ollama.
TOO_LONG = (
    *(b"exceed_context_size", b"context_length_exceeded", b"maximum context length"),
    *(b"`inputs` tokens", b"`inputs` must have less than", b"exceeds the context length"),
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of server. `samplers`: our names -> its own, those that it has; `stops`: most stop strings it takes.

    `tokenize` makes (path, body) of a text and the model's name, `count` reads the answer (None: it is none); without
    them tokens are estimated. `always` goes into every order, `unfit` names those of its samplers whose value it would
    refuse.
    """

    samplers: Mapping[str, str]
    stops: int | None = None
    always: Mapping[str, Any] = field(default_factory=dict)
    tokenize: Callable[[str, str], tuple[str, Any]] | None = None
    count: Callable[[Any], int | None] = lambda _: None
    unfit: Callable[[str, Any], bool] = lambda name, value: False
    path: str = "/v1/completions"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server tells of itself: its kind, a conversation's tokens (None = it does not say), the model's name."""

    kind: Kind
    context_size: int | None
    model: str

    @property
    def llama_cpp(self) -> bool:
        return self.kind is LLAMA_CPP


_OPENAI = {
    "temperature": "temperature",
    "top_p": "top_p",
    "sampler_seed": "seed",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}


def _negative_seed(name: str, value: Any) -> bool:
    """Elsewhere a negative seed means "any"; these take it for one, or refuse it."""
    return name == "seed" and value < 0


# Anything else that has the route: what OpenAI itself takes.
OTHER = Kind(_OPENAI, stops=4, unfit=_negative_seed)
# top_a, tfs, rep_pen_slope and sampler_order have no counterpart in today's llama.cpp: left out.
LLAMA_CPP = Kind(
    {
        **_OPENAI,
        "top_k": "top_k",
        "min_p": "min_p",
        "typical": "typical_p",
        "rep_pen": "repeat_penalty",
        "rep_pen_range": "repeat_last_n",
        "ban_eos_token": "ignore_eos",  # nosec B105 - a field's name
        "grammar": "grammar",
    },
    # Word after each batch of a prompt that is being read. It notices that a client has left only when it writes to it:
    # without this, a prompt would be read to its end for nobody.
    always={"return_progress": True},
    tokenize=lambda text, _: ("/tokenize", {"content": text, "add_special": True, "parse_special": True}),
    count=lambda answer: _length(answer.get("tokens") if isinstance(answer, dict) else None),
)
# top_k below 1 is "all" to us; vLLM before 0.8 refused 0.
VLLM = Kind(
    {
        **_OPENAI,
        "top_k": "top_k",
        "min_p": "min_p",
        "rep_pen": "repetition_penalty",
        "ban_eos_token": "ignore_eos",  # nosec B105 - a field's name
    },
    tokenize=lambda text, model: ("/tokenize", {"model": model, "prompt": text, "add_special_tokens": True}),
    count=lambda answer: whole(answer, "count"),
    unfit=lambda name, value: _negative_seed(name, value) or (name == "top_k" and value < 1),
)
# It wants top_p between 0 and 1, both excluded, knows no presence_penalty, and leaves a stop string at the end of the
# text (which the proxy's own filter takes away).
TGI = Kind(
    {
        "temperature": "temperature",
        "top_p": "top_p",
        "sampler_seed": "seed",
        "rep_pen": "repetition_penalty",
        "frequency_penalty": "frequency_penalty",
    },
    stops=4,
    tokenize=lambda text, _: ("/tokenize", {"inputs": text}),
    count=lambda answer: _length(answer),
    unfit=lambda name, value: _negative_seed(name, value) or (name == "top_p" and not 0 < value < 1),
)
# Its /v1/completions would write the model's own template around a prompt that has one already, and cut what does not
# fit into 4096 tokens without a word. Its own route takes a prompt as it is, and the context's size.
OLLAMA = Kind(
    {
        **_OPENAI,
        "top_k": "top_k",
        "min_p": "min_p",
        "typical": "typical_p",
        "rep_pen": "repeat_penalty",
        "rep_pen_range": "repeat_last_n",
    },
    # `truncate` and `shift` are known since 0.12; before, too long a prompt was cut: the window is kept by the proxy.
    always={"raw": True, "stream": True, "truncate": False, "shift": False},
    path="/api/generate",
)
_BY_OWNER = {"llamacpp": LLAMA_CPP, "vllm": VLLM, "koboldcpp": OTHER, "chatbot": OTHER}
# Who owns the models of those that refuse a name which is not theirs.
_STRICT_OWNERS = ("vllm", "library")


def look(service: Service, model: str, context_size: int) -> Facts:
    """Ask a server what it is. `context_size` is what a conversation is to have at most. Raises CallFailed."""
    entry = _entry(service.get("/v1/models", timeout_s=_CALL_TIMEOUT_S), model)
    name = str(entry.get("id"))
    kind = _BY_OWNER.get(str(entry.get("owned_by")))
    if kind is LLAMA_CPP:
        return Facts(kind, _llama_cpp_context(service, entry), name)
    if kind is None:
        info = _asked(service, "/info")
        if str(info.get("router", "")).startswith("text-generation-router"):
            return Facts(TGI, whole(info, "max_total_tokens"), str(info.get("model_id", name)))
        if isinstance(_asked(service, "/api/version").get("version"), str):
            return Facts(OLLAMA, min(context_size, _ollama_context(service, model) or context_size), name)
    return Facts(kind or OTHER, whole(entry, "max_model_len"), name)


def try_key(service: Service, models: Any, *, timeout_s: float) -> None:
    """Ask something that wants a key where the list of models does not. Raises CallFailed where it is refused."""
    if _entry(models, "").get("owned_by") != "llamacpp":
        return
    try:
        service.post("/tokenize", {"content": ""}, timeout_s=timeout_s)
    except CallFailed as error:
        if str(error) in ("HTTP 401", "HTTP 403"):
            raise


def refuses_model(models: Mapping[str, Any], model: str) -> bool:
    """Whether a server's own list shows that it will not answer for this name. Most take any."""
    listed = [entry for entry in models.get("data", ()) if isinstance(entry, dict)]
    if not listed or any(entry.get("owned_by") not in _STRICT_OWNERS for entry in listed):
        return False
    return not {model, f"{model}:latest"} & {str(entry.get("id")) for entry in listed}


def payload(facts: Facts, generation: Generation, model: str) -> dict[str, Any]:
    """The body of an order, as this kind of server takes it."""
    kind, stops = facts.kind, list(generation.stops)
    samplers = _samplers(generation.sampling, kind)
    if kind is OLLAMA:
        options = {**samplers, "stop": stops, "num_predict": generation.max_tokens, "num_ctx": facts.context_size}
        return {"model": model, "prompt": generation.prompt, "options": options, **kind.always}
    return {
        **samplers,
        "model": model,
        "prompt": generation.prompt,
        "max_tokens": generation.max_tokens,
        "stop": stops[: kind.stops],
        "stream": True,
        "stream_options": {"include_usage": True},
        **kind.always,
        **({"id_slot": generation.slot} if kind is LLAMA_CPP and generation.slot is not None else {}),
    }


def _samplers(sampling: Sampling, kind: Kind) -> dict[str, Any]:
    asked = ((theirs, getattr(sampling, ours)) for ours, theirs in kind.samplers.items())
    return {theirs: value for theirs, value in asked if value is not None and not kind.unfit(theirs, value)}


def _entry(models: Any, model: str) -> Mapping[str, Any]:
    """What /v1/models says of our model; of the first where it does not list that name."""
    data = models.get("data") if isinstance(models, dict) else None
    entries = [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
    return next((entry for entry in entries if entry.get("id") == model), entries[0] if entries else {})


def _llama_cpp_context(service: Service, entry: Mapping[str, Any]) -> int | None:
    """A slot's context size: in the model's entry, or, before that told it, in /props."""
    told = whole(entry.get("meta"), "n_ctx")
    return told or whole(_asked(service, "/props").get("default_generation_settings"), "n_ctx")


def _ollama_context(service: Service, model: str) -> int | None:
    """The context that the model was trained with."""
    try:
        shown = service.post("/api/show", {"model": model}, timeout_s=_CALL_TIMEOUT_S)
    except CallFailed:
        return None
    info = shown.get("model_info") if isinstance(shown, dict) else None
    architecture = info.get("general.architecture") if isinstance(info, dict) else None
    return whole(info, f"{architecture}.context_length")


def _asked(service: Service, path: str) -> Mapping[str, Any]:
    """The answer of a route that only some kinds have; nothing where it is not there."""
    try:
        answer = service.get(path, timeout_s=_LOOK_TIMEOUT_S)
    except CallFailed:
        return {}
    return answer if isinstance(answer, dict) else {}


def whole(fields: Any, name: str) -> int | None:
    """A whole number of an answer, or None for anything else."""
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _length(listed: Any) -> int | None:
    return len(listed) if isinstance(listed, list) else None
