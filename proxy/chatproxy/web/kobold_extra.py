"""What Kobold's clients ask beside generating: abort, the text so far, token counts, and what there is to connect to.

Everything needs a key, also what koboldcpp shows without its password (version, model, context size). A client that
cannot send one with these, as SillyTavern's "KoboldAI Classic" (src/endpoints/backends/kobold.js), does not connect.
"""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, request

from chatproxy.core.completions import DEFAULT_LENGTH, Completions
from chatproxy.core.running import Run, Running
from chatproxy.web.auth import caller, identity, needs
from chatproxy.web.body import Fields, read_object
from chatproxy.web.kobold_generate import read_genkey, run_id
from chatproxy.web.kobold_perf import Performance
from chatproxy.web.responses import json_response

# The protocol that is spoken here: koboldcpp's as of this version. Clients switch features by it: streaming above 1.30,
# memory from 1.49, all of what follows by the flags beside it.
PROTOCOL_VERSION = "1.115"
# KoboldAI United's API, which koboldcpp claims: stop_sequence from 1.2.2, use_default_badwordsids from 1.2.4.
UNITED_VERSION = "1.2.5"
_ABILITIES = {
    "llm": True,
    # What koboldcpp may have and this proxy does not pass on. Clients hide the buttons.
    **dict.fromkeys(("txt2img", "audio", "transcribe", "multiplayer", "websearch", "tts"), False),
    **dict.fromkeys(("embeddings", "music", "savedata", "guidance", "jinja", "mcp"), False),
    "admin": 0,
}
_LONGEST_TEXT = 2_000_000  # characters, as a prompt
# A cancelled run is noticed within half a second.
_ABORT_S = 1.0


def add_routes(routes: Blueprint, completions: Completions, running: Running, performance: Performance) -> None:
    """What belongs to generations."""

    @routes.post("/api/extra/abort")
    @needs("kobold")
    def abort() -> Response:
        run = _named_run(running)
        if run is None:
            # Whether it has ended, is somebody else's or never was: the same answer.
            return json_response({"success": "false", "done": "false"})
        run.cancel()
        return json_response({"success": "true", "done": "true" if run.wait(_ABORT_S) else "false"})

    @routes.route("/api/extra/generate/check", methods=["GET", "POST"])
    @needs("kobold")
    def check() -> Response:
        run = _named_run(running) if request.method == "POST" else None
        return json_response({"results": [{"text": run.text if run else ""}]})

    @routes.post("/api/extra/tokencount")
    @needs("kobold")
    def tokencount() -> Response:
        text = Fields(read_object(request)).text("prompt", most=_LONGEST_TEXT, default="")
        return json_response({"value": completions.count_tokens(caller(), text or "")})

    @routes.get("/api/extra/perf")
    @needs("kobold")
    def perf() -> Response:
        return json_response(performance.report(identity().owner))


def add_connect_routes(
    routes: Blueprint, model: str, context_size: Callable[[], int], sees: Callable[[], bool]
) -> None:
    """What clients ask when they connect: `model`'s name, `context_size` in tokens, whether it `sees`."""
    version = {"result": "KoboldCpp", "version": PROTOCOL_VERSION, "protected": True, **_ABILITIES}

    @routes.get("/api/v1/model")
    @routes.get("/api/latest/model")
    @needs("kobold")
    def model_name() -> Response:
        return json_response({"result": f"koboldcpp/{model}"})

    @routes.get("/api/v1/info/version")
    @routes.get("/api/latest/info/version")
    @needs("kobold")
    def united_version() -> Response:
        return json_response({"result": UNITED_VERSION})

    @routes.get("/api/extra/version")
    @needs("kobold")
    def koboldcpp_version() -> Response:
        return json_response({**version, "vision": sees()})

    @routes.get("/api/v1/config/max_context_length")
    @routes.get("/api/latest/config/max_context_length")
    @routes.get("/api/extra/true_max_context_length")
    @needs("kobold")
    def max_context_length() -> Response:
        return json_response({"value": context_size()})

    @routes.get("/api/v1/config/max_length")
    @routes.get("/api/latest/config/max_length")
    @needs("kobold")
    def max_length() -> Response:
        return json_response({"value": DEFAULT_LENGTH})

    @routes.get("/api/v1/config/soft_prompt")
    @needs("kobold")
    def soft_prompt() -> Response:
        return json_response({"value": ""})

    @routes.get("/api/v1/config/soft_prompts_list")
    @needs("kobold")
    def soft_prompts() -> Response:
        return json_response({"values": []})

    @routes.get("/api/extra/preloadstory")
    @needs("kobold")
    def preloaded_story() -> Response:
        return json_response({})


def _named_run(running: Running) -> Run | None:
    """The caller's own run with the genkey of the body. SillyTavern's abort comes without any body: no run."""
    name = run_id(read_genkey(Fields(read_object(request, may_be_empty=True))))
    return running.find(caller().owner, name) if name else None
