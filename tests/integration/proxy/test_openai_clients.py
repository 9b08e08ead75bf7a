"""OpenAI's own client, and others written for OpenAI's API, against the real proxy and the real engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import openai
import pytest
import yaml
from huggingface_hub import InferenceClient
from langchain_core.exceptions import ContextOverflowError
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import OpenAI

from tests.integration.proxy.conftest import Proxy

MODEL = "SmolLM2-135M-Instruct.Q4_1"
HELLO = [{"role": "user", "content": "Say hello in one short sentence."}]
COUNTING = "1, 2, 3, 4, 5, 6, 7,"


@pytest.fixture(scope="module")
def client(proxy: Proxy) -> OpenAI:
    return OpenAI(base_url=f"{proxy.url}/v1", api_key=proxy.new_key("chat"), max_retries=0)


def test_a_chat_with_a_bot(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="brief", messages=HELLO)
    assert answer.model == "brief"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage
    assert 1 <= answer.usage.completion_tokens <= 25
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_the_bare_model_gives_the_same_answer_for_the_same_seed(client: OpenAI) -> None:
    answers = [
        client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=12, temperature=1.5, seed=2**40 + seed)
        for seed in (1, 1, 2)
    ]
    one, two, three = (answer.choices[0].message.content for answer in answers)
    assert one == two
    assert one != three


def test_an_answer_that_is_cut_by_its_length_says_so(client: OpenAI) -> None:
    story = [{"role": "user", "content": "Tell a very long story."}]
    answer = client.chat.completions.create(model=MODEL, messages=story, max_completion_tokens=8)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage
    assert answer.usage.completion_tokens == 8


def test_a_stream_is_the_same_answer_in_pieces(client: OpenAI) -> None:
    asked = {"model": MODEL, "messages": HELLO, "max_tokens": 16, "temperature": 0}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len(chunks) > 4
    assert len({chunk.id for chunk in chunks}) == 1
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason


def test_a_stream_with_usage_ends_with_the_true_counts(client: OpenAI) -> None:
    asked = {"model": MODEL, "messages": HELLO, "max_tokens": 16, "temperature": 0}
    whole = client.chat.completions.create(**asked)
    *_, last = client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    assert last.choices == []
    assert last.usage == whole.usage


def test_a_stop_text_ends_the_answer_and_does_not_show(client: OpenAI) -> None:
    asked = {"model": MODEL, "prompt": COUNTING, "max_tokens": 24, "temperature": 0}
    assert "10" in client.completions.create(**asked).choices[0].text
    stopped = client.completions.create(**asked, stop=["10"])
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.choices[0].text.strip().endswith("9,")


def test_completions_stream_too(client: OpenAI) -> None:
    asked = {"model": MODEL, "prompt": [COUNTING], "max_tokens": 8, "temperature": 0}
    whole = client.completions.create(**asked)
    assert whole.usage
    assert whole.usage.completion_tokens == 8
    pieces = [chunk.choices[0].text for chunk in client.completions.create(**asked, stream=True)]
    assert "".join(pieces) == whole.choices[0].text


def test_penalties_reach_the_engine(client: OpenAI) -> None:
    asked = {"model": MODEL, "prompt": "ha ha ha ha ha ha ha ha ha", "max_tokens": 24, "temperature": 0}
    plain = client.completions.create(**asked).choices[0].text
    penalised = client.completions.create(**asked, frequency_penalty=2, presence_penalty=2).choices[0].text
    assert plain.count("ha") > penalised.count("ha")


def test_a_json_object_is_one(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Give me a JSON object with the fields name and age of a person."}],
        response_format={"type": "json_object"},
        max_tokens=200,
        temperature=0.3,
        seed=1,
    )
    assert answer.choices[0].finish_reason == "stop"
    assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


def test_models_are_the_bare_one_and_the_bots(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[0] == MODEL
    assert {"assistant", "brief", "steady"} <= set(names)
    assert client.models.retrieve("brief").id == "brief"


def test_embeddings_are_the_same_in_both_encodings(client: OpenAI) -> None:
    texts = ["a cat", "a kitten"]
    packed = client.embeddings.create(model="all-MiniLM-L6-v2", input=texts)  # this client asks for base64
    plain = client.embeddings.create(model="all-MiniLM-L6-v2", input=texts, encoding_format="float")
    assert len(packed.data) == 2
    assert packed.data[1].embedding == pytest.approx(plain.data[1].embedding, rel=1e-6)
    assert packed.usage.prompt_tokens > 4


def test_errors_become_the_clients_own_classes(client: OpenAI, proxy: Proxy) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as hot:
        client.chat.completions.create(model=MODEL, messages=HELLO, temperature=3)
    assert (hot.value.type, hot.value.param) == ("invalid_request_error", "temperature")
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model=MODEL, prompt="word " * 20_000)
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-wrong").models.list()
    with pytest.raises(openai.PermissionDeniedError):
        client.with_options(api_key=proxy.new_key("kobold")).models.list()
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_hugging_faces_client_both_ways(proxy: Proxy) -> None:
    client = InferenceClient(base_url=f"{proxy.url}/v1", api_key=proxy.new_key("chat"))
    asked = {"messages": HELLO, "model": MODEL, "max_tokens": 16, "temperature": 0.0}
    whole = client.chat_completion(**asked)
    chunks = list(client.chat_completion(**asked, stream=True))
    assert whole.choices[0].message.content
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason


def test_langchain_invokes_and_streams(proxy: Proxy) -> None:
    key = proxy.new_key("chat")
    chat = ChatOpenAI(base_url=f"{proxy.url}/v1", api_key=key, model="brief", temperature=0, max_retries=0)
    answer = chat.invoke([("system", "Be polite."), ("human", "Say hello.")])
    assert answer.content
    assert answer.usage_metadata
    assert answer.usage_metadata["output_tokens"] > 0
    pieces = list(chat.stream([("system", "Be polite."), ("human", "Say hello.")]))
    assert "".join(str(piece.content) for piece in pieces) == answer.content
    with pytest.raises(ContextOverflowError):
        chat.invoke("word " * 20_000)
    embeddings = OpenAIEmbeddings(
        base_url=f"{proxy.url}/v1", api_key=key, model="all-MiniLM-L6-v2", check_embedding_ctx_length=False
    )
    assert len(embeddings.embed_query("a cat")) == 384


@pytest.mark.parametrize("way", [(), ("--no-stream",)], ids=["streamed", "whole"])
def test_the_llm_command_line(proxy: Proxy, tmp_path: Path, way: tuple[str, ...]) -> None:
    entry = {"model_id": "ours", "model_name": "brief", "api_base": f"{proxy.url}/v1", "api_key_name": "ours"}
    (tmp_path / "extra-openai-models.yaml").write_text(yaml.safe_dump([entry]))
    (tmp_path / "keys.json").write_text(json.dumps({"ours": proxy.new_key("chat")}))
    words = [sys.executable, "-m", "llm", "prompt", "-m", "ours", *way, "-o", "max_tokens", "12", "Say hello."]
    environment = {**os.environ, "LLM_USER_PATH": str(tmp_path), "LLM_LOAD_PLUGINS": ""}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
