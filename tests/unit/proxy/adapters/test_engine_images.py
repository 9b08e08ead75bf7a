"""Images on their way to an engine: koboldcpp's double, and llama.cpp's server as recorded from the real one."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from chatproxy.adapters.koboldcpp import Koboldcpp
from chatproxy.adapters.openai_engine import OpenAiEngine
from chatproxy.core.types import IMAGE_MARK, Finish, Generation, Image, Text
from chatproxy.errors import EngineFailure, InvalidRequest
from tests.doubles.koboldcpp import DIALECTS, KoboldcppDouble
from tests.unit.proxy.adapters.raw_server import RawServer, Script, answer, chunked

RED, BLUE = (Image("image/png", 64, 48, data) for data in (b"red", b"blue"))
ORDER = Generation(f"<s>{IMAGE_MARK}\nWhat?</s>{IMAGE_MARK}\nAnd?", 20, ("</s>",), images=(RED, BLUE))
BASE64 = [base64.b64encode(data).decode() for data in (b"red", b"blue")]
MARKER = "<__media_Ozd6lwjG3Fv7DIBIEfd4nctofqqmRQTY__>"
MODELS = json.dumps({"data": [{"id": "m", "owned_by": "llamacpp", "meta": {"n_ctx": 2048}}]}).encode()
PROPS = json.dumps({"modalities": {"vision": True}, "media_marker": MARKER}).encode()


@pytest.mark.parametrize("version", DIALECTS)
def test_koboldcpp_gets_the_images_and_where_each_was_shown(version: str) -> None:
    with KoboldcppDouble(version=version, vision=True) as double:
        list(Koboldcpp(double.url).generate(ORDER))
        (generation,) = double.generations
    assert generation.images == tuple(BASE64)
    assert generation.prompt_read == "<s>(Attached Image 1)\nWhat?</s>(Attached Image 2)\nAnd?"


def test_koboldcpp_needs_no_mark_where_its_images_stand_anyway() -> None:
    order = Generation(f"{IMAGE_MARK}\n{IMAGE_MARK}\nOnce{IMAGE_MARK}", 20, images=(RED, BLUE, RED))
    with KoboldcppDouble(vision=True) as double:
        list(Koboldcpp(double.url).generate(order))
        (generation,) = double.generations
    assert generation.prompt_read == "Once(Attached Image 3)"


def test_koboldcpp_without_a_projector_takes_no_images() -> None:
    with KoboldcppDouble(vision=True) as seeing, KoboldcppDouble() as blind:
        assert Koboldcpp(seeing.url).most_images() == 4
        assert Koboldcpp(blind.url).most_images() == 0


def test_koboldcpp_counts_an_image_carefully_unless_told() -> None:
    assert Koboldcpp("http://127.0.0.1:9").image_tokens(RED) == 4192
    assert Koboldcpp("http://127.0.0.1:9", image_tokens=256).image_tokens(RED) == 256


def told(**fields: Any) -> bytes:
    return f"data: {json.dumps({'index': 0, 'stop': False, **fields})}\n\n".encode()


PROGRESS = told(content="", prompt_progress={"total": 61, "cache": 0, "processed": 61, "time_ms": 9})
END = told(content="", stop=True, stop_type="eos", tokens_evaluated=61, tokens_predicted=2)
STREAM = chunked(PROGRESS, told(content="Re"), told(content="d"), END)


def llama(stream: Script, props: bytes = PROPS, models: bytes = MODELS, **paths: Script) -> RawServer:
    scripts = {"/v1/models": answer(models), "/props": answer(props), "/completion": stream}
    return RawServer({**scripts, **{f"/{path}": script for path, script in paths.items()}})


def test_llama_cpp_gets_the_images_in_its_own_marks_places() -> None:
    with llama(STREAM) as server:
        events = list(OpenAiEngine(server.url, model="m").generate(ORDER))
        body = server.bodies("/completion")[0]
    assert "".join(event.text for event in events if isinstance(event, Text)) == "Red"
    assert events[-1] == Finish("stop", 61, 2)
    text = ORDER.prompt.replace(IMAGE_MARK, MARKER)
    assert body["prompt"] == {"prompt_string": text, "multimodal_data": BASE64}
    assert (body["n_predict"], body["stop"], body["stream"]) == (20, ["</s>"], True)


@pytest.mark.parametrize(("stop_type", "reason"), [("limit", "length"), ("word", "stop"), ("eos", "stop")])
def test_llama_cpp_tells_why_it_ended(stop_type: str, reason: str) -> None:
    end = told(content="", stop=True, stop_type=stop_type, tokens_evaluated=1, tokens_predicted=1)
    with llama(chunked(told(content="x"), end)) as server:
        *_, finish = OpenAiEngine(server.url, model="m").generate(ORDER)
    assert isinstance(finish, Finish) and finish.reason == reason


def test_llama_cpp_without_a_projector_and_other_servers_take_no_images() -> None:
    other = json.dumps({"data": [{"id": "m", "owned_by": "vllm"}]}).encode()
    with llama(STREAM, props=b'{"modalities": {"vision": false}}') as blind, llama(STREAM, models=other) as vllm:
        assert OpenAiEngine(blind.url, model="m").most_images() == 0
        assert OpenAiEngine(vllm.url, model="m").most_images() == 0
    with llama(STREAM) as seeing:
        assert OpenAiEngine(seeing.url, model="m").most_images() > 0


def test_llama_cpp_is_believed_about_a_size_once_it_has_been_seen() -> None:
    order = Generation(f"{IMAGE_MARK}\nWhat?", 20, images=(RED,))
    with llama(STREAM, tokenize=answer(b'{"tokens": [1, 2, 3]}')) as server:
        engine = OpenAiEngine(server.url, model="m")
        assert engine.image_tokens(RED) == 576
        assert engine.image_tokens(Image("image/png", 2800, 1400)) == 4096
        list(engine.generate(order))
        assert engine.image_tokens(RED) == 58
        assert engine.image_tokens(Image("image/png", 640, 480)) == 576


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (
            answer(b'{"error": {"message": "Failed to load image or audio file"}}', status="400 Bad Request"),
            InvalidRequest,
        ),
        (answer(b'{"error": {"message": "Failed to tokenize prompt"}}', status="400 Bad Request"), EngineFailure),
        (chunked(told(content="Re")), EngineFailure),
        (chunked(told(content=5)), EngineFailure),
        (chunked(b'data: {"error": {"message": "gone"}}\n\n'), EngineFailure),
    ],
)
def test_llama_cpps_failures_have_their_names(stream: Script, error: type[Exception]) -> None:
    with llama(stream) as server, pytest.raises(error):
        list(OpenAiEngine(server.url, model="m").generate(ORDER))


def test_a_server_that_tells_no_marker_gets_no_image() -> None:
    with llama(STREAM, props=b'{"modalities": {"vision": true}}') as server, pytest.raises(EngineFailure):
        list(OpenAiEngine(server.url, model="m").generate(ORDER))
