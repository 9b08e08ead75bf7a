"""A model that sees, and one with an adapter, on the real llama.cpp: projector and LoRA are made for the test."""

from __future__ import annotations

import base64
import contextlib
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts.lib.native import ROOT, NativeStack, free_port, wait_or_kill
from tests.doubles import small_vision
from tests.integration.proxy.conftest import Client, Proxy, running_proxy, until

QUESTION = "What is this?"


def png(red: int, green: int, blue: int, *, side: int = 64) -> bytes:
    """A square of one colour."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\x00" + bytes((red, green, blue)) * side) * side)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


RED, BLUE = (base64.b64encode(png(*colour)).decode() for colour in ((255, 0, 0), (0, 0, 255)))


@contextlib.contextmanager
def engine(folder: Path, model: Path, **environment: str) -> Iterator[str]:
    """images/llamacpp/serve.py as its container starts it; yields its address."""
    port = free_port()
    own = {"MODEL": str(model), "PORT": str(port), "HOST": "127.0.0.1", "ENGINE_SLOTS": "1", "CONTEXT_SIZE": "1024"}
    words = [sys.executable, str(ROOT / "images" / "llamacpp" / "serve.py")]
    with (folder / f"engine-{port}.log").open("wb") as log:
        process = subprocess.Popen(words, env={**os.environ, **own, **environment}, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, (folder / f"engine-{port}.log").read_text()
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{url}/health", timeout=2).ok
        return False

    try:
        until(answers, 60)
        yield url
    finally:
        process.terminate()
        wait_or_kill(process, 10)


@pytest.fixture(scope="module")
def seeing(native: NativeStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy in front of an engine with a projector, and with an adapter that is not applied at all."""
    folder = tmp_path_factory.mktemp("seeing")
    eyes, style = small_vision.projector(folder / "eyes.gguf"), small_vision.lora(folder / "style.gguf")
    with (
        engine(folder, native.model, MMPROJ=str(eyes), LORA=f"{style}:0") as url,
        running_proxy(native, folder, ENGINE_URL=url, ENGINE_SLOTS="1", CONTEXT_SIZE="1024") as proxy,
    ):
        (folder / "bots" / "plain.yaml").write_text("name: Plain\nsampling: factual\nmax_tokens: 12\n")
        yield proxy


def ask(client: Client, *images: str, **fields: Any) -> dict[str, Any]:
    """The bare model's answer at temperature 0, from OpenAI's route."""
    parts = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}} for image in images]
    message = {"role": "user", "content": [*parts, {"type": "text", "text": QUESTION}]}
    order = {"messages": [message], "temperature": 0, "max_tokens": 12, "model": MODEL, **fields}
    response = client.session.post(f"{client.url}/v1/chat/completions", json=order, timeout=120)
    assert response.ok, response.text
    answer: dict[str, Any] = response.json()
    return {"text": answer["choices"][0]["message"]["content"], "tokens": answer["usage"]["prompt_tokens"]}


MODEL = "SmolLM2-135M-Instruct.Q4_1"


def test_what_the_model_sees_changes_what_it_says(seeing: Proxy) -> None:
    client = seeing.as_("chat")
    blind, red, blue, again = ask(client), ask(client, RED), ask(client, BLUE), ask(client, RED)
    assert red["tokens"] - blind["tokens"] >= small_vision.IMAGE_TOKENS
    assert red["text"] != blue["text"]
    assert again["text"] == red["text"]


def test_a_conversation_keeps_its_image_and_tells_it_in_its_export(seeing: Proxy) -> None:
    client = seeing.as_("chat")
    first = client.chat(QUESTION, images=[RED], bot="plain")
    assert first.ok, first.text
    place = f"{client.url}/api/v1/conversations/{first.json()['conversation_id']}"
    second = client.chat("And now?", conversation_id=first.json()["conversation_id"])
    assert second.ok, second.text
    # The second prompt holds the image too: it has grown by the first answer and the second question.
    assert second.json()["usage"]["prompt_tokens"] > first.json()["usage"]["prompt_tokens"]
    assert second.json()["context_truncated"] is False
    (image,) = client.session.get(f"{place}/export", timeout=30).json()["messages"][0]["images"]
    assert image["data"] == f"data:image/png;base64,{RED}"
    assert (image["width"], image["height"]) == (64, 64)
    assert client.session.delete(place, timeout=30).ok


def test_what_the_engine_cannot_decode_is_refused_and_named(seeing: Proxy) -> None:
    client = seeing.as_("chat")
    whole = png(255, 0, 0)
    half = whole[:16] + struct.pack(">II", 64, 128) + whole[24:]
    response = client.chat(QUESTION, images=[base64.b64encode(half).decode()], bot="plain")
    assert response.status_code == 400
    assert "images: the model's decoder cannot read one of them" in response.json()["error"]["message"]


def test_a_model_that_cannot_see_refuses_images(proxy: Proxy) -> None:
    client = proxy.as_("chat")
    response = client.chat(QUESTION, images=[RED])
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "images: this model takes no images"
    assert client.session.get(f"{client.url}/api/v1/conversations", timeout=30).json()["conversations"] == []


def test_an_adapter_is_heard_at_scale_1_and_not_at_0(
    seeing: Proxy, proxy: Proxy, native: NativeStack, tmp_path: Path
) -> None:
    plain, at_0 = ask(proxy.as_("chat")), ask(seeing.as_("chat"))
    assert at_0 == plain
    style = small_vision.lora(tmp_path / "style.gguf")
    with engine(tmp_path, native.model, LORA=f"{style}:1") as url:
        order = {"prompt": f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n", "temperature": 0}
        answers = [
            requests.post(f"{each}/v1/completions", json={**order, "max_tokens": 12}, timeout=120).json()
            for each in (url, native.engine_url)
        ]
    with_it, without = (answer["choices"][0]["text"] for answer in answers)
    assert with_it != without
