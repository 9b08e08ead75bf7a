"""Ollama's API on fakes: every route, its lines to the byte, and what is refused."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from chatproxy.core.types import Bot, Sampling, Text
from chatproxy.errors import EngineFailure
from chatproxy.settings import Settings
from tests.unit.proxy.fakes import FakeBots, FakeEngine, World, says

HELLO = [{"role": "user", "content": "Hello!"}]
CHAT: dict[str, Any] = {"model": "assistant", "messages": HELLO}
GENERATE: dict[str, Any] = {"model": "model", "prompt": "Hello!"}


def lines_of(data: bytes) -> list[dict[str, Any]]:
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def without_times(told: dict[str, Any]) -> dict[str, Any]:
    """What is left must be known to the letter; the times only have to be times."""
    assert datetime.fromisoformat(told.pop("created_at")).utcoffset() is not None
    if told["done"]:
        for name in ("total_duration", "eval_duration"):
            duration = told.pop(name, 1)
            assert isinstance(duration, int)
            assert duration > 0
    return told


def prompt_tokens(world: World) -> int:
    return world.engine.count_tokens(world.engine.generations[0].prompt)


def test_a_chat_streams_json_lines_unless_told_otherwise() -> None:
    world = World(engine=FakeEngine(says("Good", " day.")))
    response = world.client("chat").post("/api/chat", json=CHAT)
    assert response.content_type == "application/x-ndjson"
    assert [without_times(line) for line in lines_of(response.data)] == [
        {"model": "assistant", "message": {"role": "assistant", "content": "Good"}, "done": False},
        {"model": "assistant", "message": {"role": "assistant", "content": " day."}, "done": False},
        {
            "model": "assistant",
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": "stop",
            "prompt_eval_count": prompt_tokens(world),
            "eval_count": 2,
        },
    ]


def test_without_a_stream_it_is_one_object() -> None:
    world = World(engine=FakeEngine(says("Good", " day.", reason="length")))
    response = world.client("chat").post("/api/generate", json={**GENERATE, "stream": False})
    assert response.content_type == "application/json; charset=utf-8"
    assert response.json is not None
    assert without_times(response.json) == {
        "model": "model",
        "response": "Good day.",
        "done": True,
        "done_reason": "length",
        "prompt_eval_count": prompt_tokens(world),
        "eval_count": 2,
    }


def test_generate_streams_too() -> None:
    data = World(engine=FakeEngine(says("Good", " day."))).client().post("/api/generate", json=GENERATE).data
    assert [line["response"] for line in lines_of(data)] == ["Good", " day.", ""]


@pytest.mark.parametrize("name", ["mira", "mira:latest"])
def test_a_bots_name_answers_as_that_bot(name: str) -> None:
    world = World()
    told = world.client().post("/api/chat", json={"model": name, "messages": HELLO, "stream": False}).json
    assert told is not None
    assert told["model"] == name
    assert "Mira sails." in world.engine.generations[0].prompt
    assert world.history.all_messages == []


@pytest.mark.parametrize("name", ["model", "model:latest"])
def test_the_engines_own_name_is_the_bare_model_with_the_clients_system_text(name: str) -> None:
    world = World()
    messages = [{"role": "system", "content": "Be brief."}, *HELLO, {"role": "assistant", "content": "Hm."}, *HELLO]
    world.client().post("/api/chat", json={"model": name, "messages": messages, "stream": False})
    prompt = world.engine.generations[0].prompt
    assert "Be brief." in prompt
    assert "You are kind." not in prompt
    assert prompt.count("Hello!") == 2


def test_the_clients_system_text_stands_behind_the_bots_own() -> None:
    world = World()
    world.client().post("/api/generate", json={"model": "assistant", "prompt": "Hi", "system": "Rhyme."}).close()
    prompt = world.engine.generations[0].prompt
    assert prompt.index("You are kind.") < prompt.index("Rhyme.")


def test_raw_is_the_prompt_as_it_stands() -> None:
    world = World(engine=FakeEngine(says("  two")))
    told = world.client().post("/api/generate", json={**GENERATE, "raw": True, "stream": False}).json
    assert told is not None
    assert told["response"] == "  two"
    assert world.engine.generations[0].prompt == "Hello!"
    assert world.engine.generations[0].max_tokens == 512


def test_options_become_samplers_and_unknown_ones_are_ignored() -> None:
    world = World(engine=FakeEngine(context=2048))
    options = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 10,
        "min_p": 0.1,
        "typical_p": 0.7,
        "tfs_z": 0.8,
        "repeat_penalty": 1.2,
        "repeat_last_n": -1,
        "seed": 7,
        "num_predict": 33,
        "stop": ["\nYou:"],
        "num_ctx": "ignored",
        "mirostat": 2,
        "n_discard": -1,
    }
    world.client().post("/api/generate", json={**GENERATE, "raw": True, "options": options}).close()
    (generation,) = world.engine.generations
    assert generation.sampling == Sampling(
        temperature=0.5,
        top_p=0.9,
        top_k=10,
        min_p=0.1,
        typical=0.7,
        tfs=0.8,
        rep_pen=1.2,
        rep_pen_range=2048,
        sampler_seed=7,
    )
    assert (generation.max_tokens, generation.stops) == (33, ("\nYou:",))


@pytest.mark.parametrize("length", [None, -1, -2])
def test_an_open_length_is_the_bots(length: int | None) -> None:
    world = World()
    world.client().post("/api/chat", json={**CHAT, "options": {"num_predict": length}}).close()
    assert world.engine.generations[0].max_tokens == 64


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"messages": "hello"}, "messages"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "Well"}]}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"stream": "yes"}, "stream"),
        ({"options": [1]}, "options"),
        ({"options": False}, "options"),
        ({"name": 7}, "name"),
        ({"options": {"temperature": "hot"}}, "options.temperature"),
        ({"options": {"temperature": -1}}, "options.temperature"),
        ({"options": {"top_k": 1.5}}, "options.top_k"),
        ({"options": {"num_predict": 0}}, "options.num_predict"),
        ({"options": {"num_predict": 9000}}, "options.num_predict"),
        ({"options": {"repeat_last_n": -2}}, "options.repeat_last_n"),
        ({"options": {"stop": "x"}}, "options.stop"),
        ({"model": 5}, "model"),
        ({"model": None}, "model is required"),
        ({"format": "json"}, "format"),
        ({"format": {"type": "object"}}, "format"),
        ({"tools": [{"type": "function"}]}, '"assistant" does not support tools'),
        ({"messages": [{"role": "tool", "content": "x"}]}, '"assistant" does not support tools'),
        ({"messages": [{**HELLO[0], "images": ["aGk="]}]}, "messages[0].images[0]: is no image"),
        ({"think": True}, '"assistant" does not support thinking'),
        ({"think": "high"}, '"assistant" does not support thinking'),
    ],
)
def test_bad_fields_are_named_in_ollamas_envelope(change: dict[str, Any], named: str) -> None:
    world = World()
    response = world.client().post("/api/chat", json={**CHAT, **change})
    assert response.status_code == 400
    assert response.json is not None
    assert set(response.json) == {"error"}
    assert response.json["error"].startswith(named)
    assert world.engine.generations == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"prompt": 5}, "prompt"),
        ({"raw": True, "system": "x"}, "raw mode does not support template, system, or context"),
        ({"suffix": "x"}, '"model" does not support insert'),
        ({"images": ["aGk="]}, "images[0]: is no image"),
        ({"template": "{{ .Prompt }}"}, "template"),
        ({"context": [1, 2]}, "context"),
        ({"raw": 1}, "raw"),
    ],
)
def test_what_generate_cannot_do_is_refused(change: dict[str, Any], named: str) -> None:
    response = World().client().post("/api/generate", json={**GENERATE, **change})
    assert response.status_code == 400
    assert response.json["error"].startswith(named)


def test_empty_wishes_are_no_wishes() -> None:
    nothing = {
        "tools": [],
        "think": False,
        "format": "",
        "images": [],
        "suffix": "",
        "context": None,
        "keep_alive": 5,
        "options": None,
    }
    assert World().client().post("/api/chat", json={**CHAT, **nothing}).status_code == 200


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/show"])
def test_an_unknown_model_is_404_in_ollamas_words(path: str) -> None:
    response = World().client().post(path, json={"model": "llama3:8b", "prompt": "x", "messages": HELLO})
    assert (response.status_code, response.json) == (404, {"error": "model 'llama3:8b' not found"})


@pytest.mark.parametrize(("keep_alive", "reason"), [(None, "load"), ("5m", "load"), (0, "unload"), ("0s", "unload")])
def test_nothing_to_answer_is_ollamas_way_to_load(keep_alive: object, reason: str) -> None:
    world = World()
    for path, shape in (
        ("/api/generate", {"response": ""}),
        ("/api/chat", {"message": {"role": "assistant", "content": ""}}),
    ):
        told = world.client().post(path, json={"model": "mira", "keep_alive": keep_alive}).json
        assert told is not None
        assert without_times(told) == {"model": "mira", **shape, "done": True, "done_reason": reason}
    assert world.engine.generations == []


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
def test_a_wrong_option_is_told_also_where_there_is_nothing_to_answer(path: str) -> None:
    response = World().client().post(path, json={"model": "mira", "options": {"repeat_penalty": 99}})
    assert response.status_code == 400
    assert "repeat_penalty" in response.json["error"]


def test_a_stream_that_breaks_ends_with_an_error_line() -> None:
    world = World(engine=FakeEngine([Text("I"), EngineFailure("host:5001 died")]))
    data = world.client().post("/api/chat", json=CHAT).data
    assert lines_of(data)[-1] == {"error": "The language model gave no usable answer."}


def test_errors_before_a_stream_have_their_own_status() -> None:
    world = World(settings=Settings(trusted_hops=0, context_size=512))
    response = world.client().post("/api/chat", json={**CHAT, "messages": [{"role": "user", "content": "word " * 999}]})
    assert response.status_code == 422
    assert "512" in response.json["error"]


def test_a_conversation_that_was_cut_says_so() -> None:
    world = World(settings=Settings(trusted_hops=0, context_size=256))
    turns = [{"role": role, "content": "word " * 40} for _ in range(6) for role in ("user", "assistant")]
    response = world.client().post("/api/chat", json={**CHAT, "messages": [*turns, *HELLO], "stream": False})
    assert response.json is not None
    assert response.json["context_truncated"] is True


def test_tags_list_the_engines_model_and_every_bot() -> None:
    listed = World().client().get("/api/tags").json
    assert listed is not None
    assert [(m["name"], m["model"], m["details"]["parent_model"]) for m in listed["models"]] == [
        ("model:latest", "model:latest", ""),
        ("assistant:latest", "assistant:latest", "model"),
        ("mira:latest", "mira:latest", "model"),
    ]
    assert all("size" not in m for m in listed["models"])  # nobody knows it: not made up


def test_a_digest_changes_with_the_bots_definition_alone() -> None:
    def digests(bots: FakeBots) -> dict[str, str]:
        listed = World(bots=bots).client().get("/api/tags").json
        assert listed is not None
        return {m["name"]: m["digest"] for m in listed["models"]}

    kind = digests(FakeBots(Bot("assistant", "A", system="Be kind."), Bot("mira", "Mira")))
    stern = digests(FakeBots(Bot("assistant", "A", system="Be stern."), Bot("mira", "Mira")))
    assert {name for name in kind if kind[name] != stern[name]} == {"assistant:latest"}
    assert all(len(digest) == 64 for digest in kind.values())


def test_ps_show_and_version() -> None:
    client = World(engine=FakeEngine(context=2048)).client("chat")
    (loaded,) = client.get("/api/ps").json["models"]
    assert (loaded["name"], loaded["context_length"]) == ("model:latest", 2048)
    for body in ({"model": "mira"}, {"name": "mira:latest"}):
        shown = client.post("/api/show", json=body).json
        assert shown["capabilities"] == ["completion"]
        assert shown["details"]["parent_model"] == "model"
        info = shown["model_info"]
        assert info[f"{info['general.architecture']}.context_length"] == 2048
        assert "sails" not in json.dumps(shown)  # what a bot is told stays with the operator
    assert client.get("/api/version").json == {"version": "0.12.0"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/chat"),
        ("POST", "/api/generate"),
        ("POST", "/api/show"),
        ("GET", "/api/tags"),
        ("GET", "/api/ps"),
        ("GET", "/api/version"),
    ],
)
def test_each_route_needs_a_key_with_the_scope_chat(method: str, path: str) -> None:
    world = World()
    for client, status in ((world.app.test_client(), 401), (world.client("kobold"), 403)):
        response = client.open(path, method=method, json=CHAT)
        assert response.status_code == status
        assert isinstance(response.json["error"], str)
    assert world.engine.generations == []


@pytest.mark.parametrize(("method", "path"), [("POST", "/api/pull"), ("DELETE", "/api/delete"), ("POST", "/api/embed")])
def test_what_is_not_offered_is_404_in_ollamas_envelope(method: str, path: str) -> None:
    response = World().client().open(path, method=method, json={"model": "x"})
    assert (response.status_code, response.json) == (404, {"error": "There is nothing here."})
