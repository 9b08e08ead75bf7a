"""POST /api/v1/generate as KoboldAI's clients send it."""

from __future__ import annotations

from typing import Any

import pytest

from chatproxy.core.types import Sampling
from chatproxy.errors import EngineFailure
from chatproxy.settings import Settings
from tests.unit.proxy.fakes import FakeEngine, World, says

# A call as written in 2023 against a bare koboldcpp.
CALL_OF_2023: dict[str, Any] = {
    "n": 1,
    "max_context_length": 1024,
    "max_length": 80,
    "rep_pen": 1.08,
    "temperature": 0.7,
    "top_p": 0.92,
    "top_k": 0,
    "top_a": 0,
    "typical": 1,
    "tfs": 1,
    "rep_pen_range": 256,
    "rep_pen_slope": 0.7,
    "sampler_order": [6, 0, 1, 2, 3, 4, 5],
    "prompt": "<|system|>You are a customer service chatbot.\n<|user|>Hello, my parcel is late.\n<|model|>",
    "quiet": True,
}


@pytest.mark.parametrize("path", ["/api/v1/generate", "/api/latest/generate"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_call_of_2023_works_with_a_key(path: str, slash: str) -> None:
    world = World(engine=FakeEngine(says(" I am", " sorry.\n")))
    response = world.client("kobold").post(path + slash, json=CALL_OF_2023)
    assert response.status_code == 200
    assert response.json is not None
    (result,) = response.json["results"]
    assert (result["text"], result["finish_reason"]) == (" I am sorry.\n", "stop")
    (generation,) = world.engine.generations
    assert generation.prompt == CALL_OF_2023["prompt"]
    assert (generation.max_tokens, generation.context_size) == (80, 1024)
    # What does nothing is not passed on: top_a 0, typical 1, tfs 1.
    assert generation.sampling == Sampling(
        temperature=0.7,
        top_p=0.92,
        top_k=0,
        rep_pen=1.08,
        rep_pen_range=256,
        rep_pen_slope=0.7,
        sampler_order=(6, 0, 1, 2, 3, 4, 5),
    )
    assert world.history.all_messages == []


def test_whole_numbers_may_be_written_as_floats() -> None:
    world = World()
    order = [6.0, 0, 1, 2, 3, 4, 5.0]
    assert (
        world.client("kobold").post("/api/v1/generate", json={"prompt": "x", "sampler_order": order}).status_code == 200
    )
    assert repr(world.engine.generations[0].sampling.sampler_order) == "(6, 0, 1, 2, 3, 4, 5)"


def test_memory_stands_before_the_prompt_and_stops_end_the_text() -> None:
    world = World(engine=FakeEngine(says("Yes.", "\nYo", "u: no")))
    response = world.client().post(
        "/api/v1/generate", json={"memory": "M ", "prompt": "P", "stop_sequence": ["\nYou:"], "max_length": 80.0}
    )
    assert response.json is not None
    assert response.json["results"][0]["text"] == "Yes."
    assert response.json["results"][0]["finish_reason"] == "stop"
    assert world.engine.generations[0].prompt == "M P"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", None),
        ("prompt", 5),
        ("max_length", 0),
        ("max_length", 10_000),
        ("max_length", "80"),
        ("max_length", 1.5),
        ("max_length", True),
        ("max_context_length", -1),
        ("temperature", "hot"),
        ("temperature", -1),
        ("temperature", 1e308),
        ("top_p", 1.1),
        ("top_k", -5),
        ("sampler_seed", 2**40),
        ("sampler_order", [0, 1]),
        ("sampler_order", [True, 0, 2, 3, 4, 5, 6]),
        ("sampler_order", "6012345"),
        ("stop_sequence", "You:"),
        ("stop_sequence", [1]),
        ("stop_sequence", ["x"] * 33),
        ("grammar", ["root"]),
        ("ban_eos_token", 1),
    ],
)
def test_bad_fields_are_named_in_kobolds_envelope(field: str, value: object) -> None:
    world = World()
    response = world.client().post("/api/v1/generate", json={**CALL_OF_2023, field: value})
    assert response.status_code == 400
    assert response.json is not None
    assert response.json["detail"]["type"] == "invalid_request"
    assert response.json["detail"]["msg"].startswith(field)
    assert world.engine.generations == []


def test_other_fields_are_ignored_and_never_forwarded() -> None:
    world = World()
    response = world.client().post(
        "/api/v1/generate", json={"prompt": "P", "n_discard": -1, "genkey": "mine", "images": [], "temperature": None}
    )
    assert response.status_code == 200
    assert world.engine.generations[0].sampling == Sampling()


def test_a_prompt_that_does_not_fit_is_refused_and_never_cut() -> None:
    world = World(settings=Settings(trusted_hops=0, context_size=512))
    response = world.client().post("/api/v1/generate", json={"prompt": "word " * 600, "max_length": 80})
    assert response.status_code == 422
    assert response.json is not None
    assert response.json["detail"]["type"] == "context_too_long"


def test_engine_errors_come_in_kobolds_envelope() -> None:
    world = World(engine=FakeEngine([EngineFailure("x")]))
    response = world.client().post("/api/v1/generate", json={"prompt": "P"})
    assert response.status_code == 502
    assert response.json == {"detail": {"msg": "The language model gave no usable answer.", "type": "engine_error"}}


def test_without_a_key_it_is_401_in_kobolds_envelope() -> None:
    response = World().app.test_client().post("/api/v1/generate/", json=CALL_OF_2023)
    assert response.status_code == 401
    assert response.json is not None
    assert response.json["detail"]["type"] == "unauthorized"


@pytest.mark.parametrize("grammar", ["root ::= " + "(" * 600 + '"', "root ::= " + '"a"|' * 3000])
def test_a_grammar_that_could_end_the_engine_is_refused(grammar: str) -> None:
    world = World()
    response = world.client("kobold").post("/api/v1/generate", json={"prompt": "x", "grammar": grammar})
    assert response.status_code == 400
    assert "grammar" in response.json["detail"]["msg"]
    assert world.engine.generations == []


def test_a_field_name_that_is_no_text_gets_an_answer_all_the_same() -> None:
    response = World().client().post("/api/v1/chat", data=b'{"\\ud800": 1}', content_type="application/json")
    assert response.status_code == 400
