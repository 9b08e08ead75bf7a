"""What the proxy answers is what /openapi.json says, for requests that keep to it and for those that do not."""

from __future__ import annotations

from typing import Any

import schemathesis

from chatproxy.core.crawling import Scope
from chatproxy.settings import Settings
from tests.unit.proxy.described import call_and_check
from tests.unit.proxy.fakes import FakeEngine, World

# Room for the longest prompt and answer that may be asked for: what does not fit is another matter.
ROOM = 1 << 23
WORLD = World(engine=FakeEngine(context=ROOM), settings=Settings(trusted_hops=0, context_size=ROOM))
CLIENT = WORLD.client("chat", "kobold", "admin")
DOCUMENT: dict[str, Any] = CLIENT.get("/openapi.json").get_json()
KEY = {"Authorization": CLIENT.environ_base["HTTP_AUTHORIZATION"]}
SCHEMA = schemathesis.openapi.from_wsgi(
    "/openapi.json",
    WORLD.app,
    config=schemathesis.Config.from_dict({"generation": {"max-examples": 12, "deterministic": True}}),
)


@SCHEMA.hook
def map_path_parameters(context: schemathesis.HookContext, path_parameters: dict[str, Any] | None) -> Any:
    """For half of the ids, those of a conversation that there is."""
    for name, value in (path_parameters or {}).items():
        if name in ("conversation_id", "message_id") and len(value) == 32 and value < "8":
            asked = CLIENT.post("/api/v1/chat", json={"message": "Hello"})
            path_parameters[name] = asked.get_json()[name]
        elif name in ("source_id", "job_id") and len(value) == 16 and value < "8":
            source, job = WORLD.knowledge.library.add_website("site", Scope(start=("http://a.example/",)))
            path_parameters[name] = source.id if name == "source_id" else job.id
        elif name == "model" and len(value) % 2:
            path_parameters[name] = "assistant"
    return path_parameters


@SCHEMA.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Names of models and bots that there are, instead of any that a name could be."""
    if isinstance(body, dict):
        model, bot = body.get("model"), body.get("bot")
        if isinstance(model, str) and 1 <= len(model) <= 200:
            body["model"] = ("model", "assistant")[len(model) % 2]
        if isinstance(bot, str) and 1 <= len(bot) <= 9 and bot.isalpha() and bot.islower():
            body["bot"] = "mira"
    return body


@SCHEMA.parametrize()
def test_every_answer_is_described(case: schemathesis.Case) -> None:
    call_and_check(case, DOCUMENT, KEY)
