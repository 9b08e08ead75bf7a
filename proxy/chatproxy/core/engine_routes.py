"""Which requests of an engine's own page make it compute, and which it answers beside that.

Deny by default: what changes or asks anything (every method but GET and HEAD) computes, unless it is named here. The
names are koboldcpp's (koboldcpp.py, do_POST, in front of its lock) and llama.cpp's (tools/server/server.cpp).
"""

from __future__ import annotations

import re
from enum import Enum

# Methods that the engines' pages use. OPTIONS is a preflight of other origins, which have no business here.
METHODS = ("GET", "HEAD", "POST", "DELETE")

_KOBOLDCPP = (
    *("tokencount", "tokenize", "detokenize", "json_to_grammar"),
    *("abort", "generate/check", "last_logprobs"),
    *("data/list", "data/load", "data/save"),
    *("multiplayer/status", "multiplayer/getstory", "multiplayer/setstory"),
)
_LLAMA_CPP = (
    *("/tokenize", "/detokenize", "/apply-template"),
    *("/chat/completions/input_tokens", "/v1/chat/completions/input_tokens"),
    *("/responses/input_tokens", "/v1/responses/input_tokens", "/v1/messages/count_tokens"),
    *("/v1/chat/completions/control", "/v1/streams/lookup"),
    "/tools",  # runs a program of its host, where it is allowed to, and no model
)
ABORT = "/api/extra/abort"
# (method, path): asks for little, or acts on what runs already.
CONTROLS = frozenset(
    {("DELETE", "/v1/stream")}
    | {("POST", f"/api/extra/{name}") for name in _KOBOLDCPP}
    | {("POST", path) for path in _LLAMA_CPP}
)
# koboldcpp's speech by GET. Any website can make a browser send a GET, and its own page does not use this one.
_COMPUTING_GET = "/voice/vits"
# No percent signs: llama.cpp decodes them and koboldcpp does not, so that the two would see different paths.
_PATH = re.compile(r"(?:/[A-Za-z0-9._~:@!$&'()*+,;=-]+)*/?")
_QUERY = re.compile(r"[!-~]*")
# koboldcpp finds most routes by how the whole address ends, its query included, and these three hold a generation.
GENERATES_WHOLE = ("/api/v1/generate", "/api/latest/generate")
GENERATES_STREAM = "/api/extra/generate/stream"


class Kind(Enum):
    """What a request costs: a page, a word to what runs, or the engine's time."""

    PAGE = "page"
    CONTROL = "control"
    COMPUTE = "compute"


def is_plain(target: str) -> bool:
    """Whether a request line's target is a path (and query) that every server reads in the same way."""
    path, _, query = target.partition("?")
    if not path or not _PATH.fullmatch(path) or not _QUERY.fullmatch(query) or "#" in query:
        return False
    return not {".", ".."} & set(path.split("/"))


def is_refused(method: str, path: str) -> bool:
    """Whether a GET would make the engine compute."""
    return method in ("GET", "HEAD") and path.rstrip("/") == _COMPUTING_GET


def kind_of(method: str, path: str, query: str) -> Kind:
    """What a request costs."""
    if method in ("GET", "HEAD"):
        return Kind.PAGE
    # With a query, a POST could end in a generation's name: see GENERATES_WHOLE.
    if (method, path) in CONTROLS and not (query and method == "POST"):
        return Kind.CONTROL
    return Kind.COMPUTE
