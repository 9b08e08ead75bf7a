"""Kobold's clients against the running proxy: real libraries, and SillyTavern's and KoboldAI Lite's own call sequences.

The sequences were read in SillyTavern's src/endpoints/backends/kobold.js (1.13) and in KoboldAI Lite's index.html as
koboldcpp ships it.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from koboldapi import KoboldAPI, KoboldAPIError
from langchain_community.llms import KoboldApiLLM

from scripts.lib.native import NativeStack
from tests.integration.proxy.conftest import Client, Proxy, until
from tests.integration.proxy.test_disconnects import engine_is_idle, proxy_is_idle

PROMPT = "Once upon a time there was a lighthouse keeper who"
LITE_ORIGIN = "https://lite.koboldai.net"


def with_basic_credentials(proxy: Proxy, key: str) -> str:
    """The base URL for clients that have no field for a key."""
    parts = urlsplit(proxy.url)
    return f"{parts.scheme}://key:{key}@{parts.netloc}"


def test_langchain_generates_with_the_key_in_its_base_url(proxy: Proxy) -> None:
    llm = KoboldApiLLM(endpoint=with_basic_credentials(proxy, proxy.new_key("kobold")), max_length=24)
    assert llm.invoke(PROMPT).strip()
    assert "." not in llm.invoke("Count: one. two. three.", stop=["."])


def test_langchain_is_refused_without_a_key(proxy: Proxy) -> None:
    with pytest.raises(requests.HTTPError, match="401"):
        KoboldApiLLM(endpoint=proxy.url).invoke(PROMPT)


@pytest.fixture
def kobold(proxy: Proxy) -> KoboldAPI:
    return KoboldAPI(proxy.url, api_password=proxy.new_key("kobold"))


def test_koboldapi_finds_model_version_context_and_state(kobold: KoboldAPI, native: NativeStack) -> None:
    assert kobold.get_model() == f"koboldcpp/{native.model.stem}"
    assert kobold.get_version()["result"] == "KoboldCpp"
    assert kobold.get_max_context_length() == 4096
    assert kobold.get_performance_stats()["idle"] == 1


def test_koboldapi_generates_whole_and_streamed_the_same(kobold: KoboldAPI) -> None:
    asked = {"prompt": PROMPT, "max_length": 24, "temperature": 0, "top_k": 1}
    whole = kobold.generate(**asked)
    assert whole.strip()
    assert kobold.generate_sync(**asked) == whole
    assert kobold.get_performance_stats()["last_token_count"] == 24


def test_koboldapi_reads_along_and_aborts(kobold: KoboldAPI, native: NativeStack) -> None:
    other = KoboldAPI(kobold.api_url, api_password=kobold.api_password)
    pieces: list[str] = []

    async def collect() -> None:
        async for piece in kobold.stream_generate(PROMPT, max_length=2000, ban_eos_token=True):
            pieces.append(piece)

    thread = threading.Thread(target=lambda: asyncio.run(collect()))
    thread.start()
    until(lambda: len(pieces) > 5)
    assert kobold.check_generation().startswith("".join(pieces[:5]))
    other.genkey = "KCPP0000"
    assert other.check_generation() == ""
    assert other.abort_generation() == "false"
    assert not engine_is_idle(native)
    assert kobold.abort_generation() == "true"
    thread.join(10)
    assert not thread.is_alive()
    until(lambda: engine_is_idle(native), 2)


def test_another_key_with_the_same_genkey_neither_reads_nor_aborts(proxy: Proxy, native: NativeStack) -> None:
    own, other = proxy.as_("kobold"), proxy.as_("kobold")
    body = {"prompt": PROMPT, "genkey": "KCPP1234", "max_length": 2000, "ban_eos_token": True}
    with own.session.post(f"{proxy.url}/api/extra/generate/stream", json=body, stream=True, timeout=60) as running:
        events = tokens_of(running)
        next(events)
        checked = other.session.post(f"{proxy.url}/api/extra/generate/check", json={"genkey": "KCPP1234"}, timeout=10)
        assert checked.json() == {"results": [{"text": ""}]}
        aborted = other.session.post(f"{proxy.url}/api/extra/abort", json={"genkey": "KCPP1234"}, timeout=10)
        assert aborted.json() == {"success": "false", "done": "false"}
        next(events)
        assert not engine_is_idle(native)
    until(lambda: engine_is_idle(native) and proxy_is_idle(proxy), 3)


def test_koboldapi_tells_a_wrong_key(proxy: Proxy) -> None:
    with pytest.raises(KoboldAPIError, match="401"):
        KoboldAPI(proxy.url, api_password="kb_wrong").generate(PROMPT)


def tokens_of(response: requests.Response) -> Any:
    """KoboldAI Lite's reader: an event is a line `event: `, a line `data: ` and an empty one; all else is skipped."""
    assert response.status_code == 200, response.text
    buffer = ""
    for chunk in response.iter_content(None):
        buffer += chunk.decode()
        while found := re.search(r"^event: (.*)\ndata: (.*)\n\n", buffer, re.MULTILINE):
            buffer = buffer[found.end() :]
            if found[1] == "message":
                yield json.loads(found[2])


def test_sillytaverns_classic_cannot_connect_for_want_of_a_key(proxy: Proxy) -> None:
    """POST /status: three GETs without any header, and no setting adds one."""
    for path in ("v1/info/version", "extra/version", "v1/model"):
        assert requests.get(f"{proxy.url}/api/{path}", timeout=10).status_code == 401


def test_sillytaverns_generation_whole_streamed_and_stopped(proxy: Proxy, native: NativeStack) -> None:
    api_server = f"{proxy.url}/api"
    # POST /generate: the settings as it builds them, the header from requestOverrides.
    settings = {
        "prompt": PROMPT,
        "use_story": False,
        "use_memory": False,
        "use_authors_note": False,
        "use_world_info": False,
        "max_context_length": 2048,
        "max_length": 24,
        "rep_pen": 1.1,
        "rep_pen_range": 600,
        "rep_pen_slope": 0,
        "temperature": 0.5,
        "tfs": 1,
        "top_a": 0,
        "top_k": 0,
        "top_p": 0.9,
        "min_p": 0,
        "typical": 1,
        "sampler_order": [6, 0, 1, 2, 3, 4, 5],
        "singleline": False,
        "use_default_badwordsids": False,
        "mirostat": 0,
        "mirostat_eta": 0.1,
        "mirostat_tau": 5,
        "grammar": "",
        "sampler_seed": 1,
        "stop_sequence": ["\nYou:"],
    }
    headers = {"Authorization": f"Bearer {proxy.new_key('kobold')}"}
    body = {"json": settings, "headers": headers, "timeout": 60}
    whole = requests.post(f"{api_server}/v1/generate", **body).json()["results"][0]["text"]
    streamed = list(tokens_of(requests.post(f"{api_server}/extra/generate/stream", stream=True, **body)))
    assert "".join(event["token"] for event in streamed) == whole
    assert streamed[-1]["finish_reason"] in ("stop", "length")
    # On stop: an abort without header and body, which changes nothing, and a closed connection, which does.
    assert requests.post(f"{api_server}/extra/abort", timeout=10).status_code == 401
    with requests.post(
        f"{api_server}/extra/generate/stream",
        json={**settings, "max_length": 2000, "use_default_badwordsids": True},
        headers=headers,
        stream=True,
        timeout=60,
    ) as running:
        next(tokens_of(running))
    until(lambda: engine_is_idle(native) and proxy_is_idle(proxy), 3)


class Lite:
    """KoboldAI Lite in a browser: every call carries the origin and, from the settings panel, the key."""

    def __init__(self, client: Client) -> None:
        self.url = client.url
        self.headers = {"Origin": LITE_ORIGIN, "Authorization": f"Bearer {client.key}"}

    def get(self, path: str) -> Any:
        return requests.get(self.url + path, headers=self.headers, timeout=10).json()

    def post(self, path: str, body: dict[str, Any], **more: Any) -> requests.Response:
        return requests.post(self.url + path, json=body, headers=self.headers, timeout=60, **more)


def test_koboldai_lite_connects_and_streams(proxy: Proxy) -> None:
    lite = Lite(proxy.as_("kobold"))
    # connect_custom_endpoint: the model first, then the two versions and context lengths, then a preloaded story.
    assert lite.get("/api/v1/model")["result"] not in ("", "ReadOnly", "inactive")
    assert lite.get("/api/v1/info/version")["result"] == "1.2.5"
    assert lite.get("/api/v1/config/max_context_length")["value"] == 4096
    told = lite.get("/api/extra/version")
    assert tuple(map(int, told["version"].split("."))) >= (1, 74)  # memory, min_p, DRY and XTC are sent from here on
    assert lite.get("/api/extra/true_max_context_length")["value"] == 4096
    assert lite.get("/api/extra/preloadstory") == {}
    # submit_generation and dispatch_submit_generation: its defaults in chat mode, everything switched on.
    payload = {
        "n": 1,
        "max_context_length": 4096,
        "max_length": 24,
        "rep_pen": 1.07,
        "temperature": 0.75,
        "top_p": 0.92,
        "top_k": 100,
        "top_a": 0,
        "typical": 1,
        "tfs": 1,
        "rep_pen_range": 360,
        "rep_pen_slope": 0.7,
        "sampler_order": [6, 0, 1, 3, 4, 2, 5],
        "memory": "[The following is a story.]\n",
        "trim_stop": True,
        "genkey": "KCPP4321",
        "mirostat": 2,
        "mirostat_tau": 5,
        "mirostat_eta": 0.1,
        "min_p": 0,
        "dynatemp_range": 0.2,
        "dynatemp_exponent": 1,
        "smoothing_factor": 0,
        "banned_tokens": [],
        "render_special": False,
        "dry_multiplier": 0.8,
        "dry_base": 1.75,
        "dry_allowed_length": 2,
        "dry_penalty_last_n": 360,
        "dry_sequence_breakers": ["\n", ":", '"', "*"],
        "xtc_threshold": 0.2,
        "xtc_probability": 0.5,
        "presence_penalty": 0,
        "logit_bias": {},
        "quiet": True,
        "stop_sequence": ["User:", "\nUser ", ""],
        "use_default_badwordsids": False,
        "bypass_eos": False,
        "prompt": PROMPT,
    }
    events = list(tokens_of(lite.post("/api/extra/generate/stream", payload, stream=True)))
    assert "".join(event["token"] for event in events).strip()
    # Its other way to stream: generate beside a check every second, by genkey; and its token counter.
    assert lite.post("/api/v1/generate", payload).json()["results"][0]["text"]
    assert lite.post("/api/extra/generate/check", {"genkey": "KCPP4321"}).json() == {"results": [{"text": ""}]}
    assert lite.post("/api/extra/tokencount", {"prompt": PROMPT}).json()["value"] == 10
    assert lite.get("/api/extra/perf")["last_token_count"] == 24
