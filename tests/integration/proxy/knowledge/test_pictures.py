"""A picture without words is found by what an engine sees in it: the real worker and stores, koboldcpp's double."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import requests
from PIL import Image, ImageDraw

from chatproxy.adapters.engine_sight import EngineSight
from scripts.lib.native import NativeStack
from tests.doubles.koboldcpp import Fault, KoboldcppDouble
from tests.doubles.koboldcpp.faults import FaultKind
from tests.integration.proxy.conftest import Client
from tests.integration.proxy.knowledge.sites import first_text, found
from tests.integration.proxy.knowledge.worker_process import Worker, working

QUESTION = "What stands on the red table?"
ADD = ("add-file", "--name", "table.png", "--collection", "api")


@pytest.fixture(scope="module")
def seeing() -> Iterator[KoboldcppDouble]:
    with KoboldcppDouble(reply=["A brass", " lighthouse lamp", " stands", " on a red table."], vision=True) as engine:
        yield engine


@pytest.fixture(scope="module")
def worker(native: NativeStack, seeing: KoboldcppDouble, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("seeing")
    with working(native, folder, ENGINE_API="koboldcpp", ENGINE_URL=seeing.url) as running:
        yield running


def picture() -> bytes:
    image = Image.new("RGB", (320, 240), "white")
    ImageDraw.Draw(image).rectangle((40, 120, 280, 220), fill="red")
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()


def test_a_picture_is_found_by_its_description(worker: Worker, desk: Client, seeing: KoboldcppDouble) -> None:
    seeing.fault = Fault(FaultKind.BUSY)
    job = worker.done(*ADD, given=picture())
    (line,) = job["report"]
    assert (job["state"], line["code"]) == ("failed", "document_empty")
    assert "not described: the engine failed: HTTP 503" in line["message"]
    # Read again when the engine is well, it is looked at again.
    seeing.fault = None
    job = worker.done("sync", job["source"])
    assert (job["state"], job["progress"]["read"], job["report"]) == ("done", 1, [])
    assert first_text(desk, "api", QUESTION) == "A brass lighthouse lamp stands on a red table."
    looked = [request for request in seeing.requests if request.path == "/v1/chat/completions"]
    assert looked[-1].json["messages"][0]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")
    assert worker.done("remove", job["source"])["state"] == "done"
    assert found(desk, "api", QUESTION) == []


def test_llama_cpps_own_server_says_whether_it_sees(native: NativeStack) -> None:
    able = requests.get(f"{native.engine_url}/props", timeout=10).json()["modalities"]
    assert able["vision"] is False  # as the tests' model has no eyes
    assert not EngineSight([native.engine_url], api="openai", model="m").sees()
