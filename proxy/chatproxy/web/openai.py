"""OpenAI's API: chat completions, completions, models, embeddings. Nothing is stored.

    POST /v1/chat/completions    web/openai_chat.py           POST /v1/embeddings    web/openai_embeddings.py
    POST /v1/completions         web/openai_completions.py    GET  /v1/models[/ID]   web/openai_models.py

`model` is the engine's model by its name, bare, or a bot's id: then that bot answers, and what the client sends as
system text stands behind the bot's own. Another name is 404 model_not_found.

What happens to each field of a chat request (c: of completions too):

    field                      accepted                      koboldcpp   llama.cpp's server   other engines
    messages                   1 to 1000; content is text or a list of text parts (joined as lines)
                               and, of the user, of image_url parts with data: URIs, where the model can see
    max_completion_tokens      at least 1, default the bot's (bare model: 512), at most half of the context window
    max_tokens             c   its older name; in completions default 16, refused where it does not fit
    prompt                 c   one text, or a list of one (completions only)
    stop                   c   a text or up to 4             yes         yes                  yes
    temperature            c   0 to 2                        yes         yes                  yes
    top_p                  c   0 to 1                        yes         yes                  yes
    seed                   c   64 bits, folded into the      yes         yes                  yes
                               engine's 32
    presence_penalty       c   -2 to 2                       yes         yes                  yes
    frequency_penalty      c   -2 to 2                       ignored     yes                  yes
    response_format            text, json_object (a grammar) yes         yes                  json_object ignored
    stream, stream_options c   include_usage; its other options are ignored

    refused with 400 and `param`, unless they ask for nothing: n above 1, tools, tool_choice, functions, function_call,
        web_search_options, logprobs, top_logprobs, audio, modalities beyond text, logit_bias c, json_schema,
        continue_final_message; parts that are neither text nor image, images at addresses; the roles tool and
        function; in completions best_of, echo, suffix, lists of prompts, tokens
    ignored: user c, metadata, store, service_tier, reasoning_effort, verbosity, prediction, parallel_tool_calls, a
        message's name, and every field that OpenAI does not know (top_k, min_p ...), which many clients send

Roles: system and developer are one, and all such texts stand in front, in their order. Where the last message is the
assistant's, the answer is another message behind it, as with OpenAI and vLLM; llama.cpp's server would go on with it.

A conversation that outgrows the context window loses its oldest turns; the header X-Context-Truncated then says true.
What cannot fit at all is 400 context_length_exceeded. Usage is as the engine counts, null where it could not.

Embeddings: 1 to 256 texts of up to 100,000 characters, 1,000,000 in all; float or base64; `dimensions` is refused.
`model` may be anything and is echoed: there is one. Its reach (256 tokens for all-MiniLM-L6-v2) bounds what of a long
text counts.
"""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint

from chatproxy.core.access import Caller
from chatproxy.core.completions import Completions
from chatproxy.core.limits import Permit
from chatproxy.core.ports import Bots, Embedder
from chatproxy.web import openai_chat, openai_completions, openai_embeddings, openai_models
from chatproxy.web.openai_errors import envelope
from chatproxy.web.responses import Envelope

ENVELOPES: dict[str, Envelope] = {"/v1/": envelope}


def blueprint(
    completions: Completions, bots: Bots, embedder: Embedder, admit: Callable[[Caller], Permit], *, model: str
) -> Blueprint:
    """The routes. `admit` gives leave to those that need no engine; `model` is what the engine's model is called."""
    routes = Blueprint("openai", __name__)
    models = openai_models.Models(model, bots)
    openai_chat.add_routes(routes, completions, models)
    openai_completions.add_routes(routes, completions, models)
    openai_models.add_routes(routes, models)
    openai_embeddings.add_routes(routes, embedder, admit)
    return routes
