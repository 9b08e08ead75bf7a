"""ENGINE=external against real servers: llama.cpp's own behind a key, two of them, and another maker's in front."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatproxy.adapters.openai_engine import OpenAiEngine
from chatproxy.core.types import Finish, Generation, Text
from chatproxy.errors import EngineFailure, Unhealthy
from scripts.lib.native import NativeStack
from tests.bench import litellm
from tests.integration.proxy.conftest import STORY, events_of, running_proxy, until
from tests.integration.proxy.keyed_engine import KEY, KeyedEngine, running

NAME = "meta-llama/Llama-3.1-8B-Instruct"
COUNTING = Generation("1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,", 60, (", 18",))


@pytest.fixture(scope="module")
def elsewhere(native: NativeStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyedEngine]:
    with running(native.model, tmp_path_factory.mktemp("elsewhere") / "engine.log") as engine:
        yield engine


def written(engine: OpenAiEngine) -> tuple[str, Finish]:
    events = list(engine.generate(COUNTING))
    assert isinstance(events[-1], Finish)
    return "".join(event.text for event in events if isinstance(event, Text)), events[-1]


def test_llama_cpp_behind_a_key_is_as_good_as_the_inner_one(elsewhere: KeyedEngine, native: NativeStack) -> None:
    """Exact tokens, its context, the same words; by whatever name."""
    theirs = OpenAiEngine(elsewhere.url, model=NAME, api_key=KEY)
    ours = OpenAiEngine(native.engine_url, model="m")
    theirs.check()
    assert theirs.context_size() == 2048
    assert theirs.count_tokens("a<|im_end|>b") == 3
    text, finish = written(theirs)
    assert ", 18" not in text
    assert finish.prompt_tokens == written(ours)[1].prompt_tokens == theirs.count_tokens(COUNTING.prompt)


@pytest.mark.parametrize("key", ["", "sk-wrong"])
def test_a_wrong_key_is_seen_before_anybody_asks(elsewhere: KeyedEngine, key: str) -> None:
    """Its list of models is open to all."""
    engine = OpenAiEngine(elsewhere.url, model=NAME, api_key=key)
    with pytest.raises(Unhealthy, match="refuses the key"):
        engine.check()
    with pytest.raises(EngineFailure):
        written(engine)


def test_the_appliance_chats_through_it(elsewhere: KeyedEngine, native: NativeStack, tmp_path: Path) -> None:
    file = tmp_path / "key.txt"
    file.write_text(f"{KEY}\n")
    settings = {"ENGINE_URL": elsewhere.url, "ENGINE_MODEL": NAME, "ENGINE_API_KEY_FILE": str(file), "MODEL": "ours"}
    with running_proxy(native, tmp_path, **settings, ENGINE_SLOTS="1") as proxy:
        assert proxy.ready()[0] == 200
        answer = proxy.as_().chat("Say hello.")
        assert answer.status_code == 200
        assert answer.json()["usage"]["prompt_tokens"] > 0
        assert KEY not in proxy.log.read_text()
        assert KEY not in str(proxy.environment)


def test_of_two_engines_one_dies_in_mid_stream_and_comes_back(
    elsewhere: KeyedEngine, native: NativeStack, tmp_path: Path
) -> None:
    """What it had begun fails aloud, what waits goes to the other one, and once it is well it gets work again."""
    file = tmp_path / "key.txt"
    file.write_text(KEY)
    urls = f"{elsewhere.url},{native.engine_url}"
    with running_proxy(native, tmp_path, ENGINE_URL=urls, ENGINE_API_KEY_FILE=str(file), ENGINE_SLOTS="1") as proxy:
        client = proxy.as_()
        streams = [events_of(client.stream(STORY, bot="steady")) for _ in range(2)]
        for stream in streams:
            assert next(data for name, data in stream if name == "token")
        waiting: list[int] = []
        asker = threading.Thread(target=lambda: waiting.append(client.chat("Say hello.").status_code))
        asker.start()
        until(lambda: proxy.ready()[1]["engine"]["waiting"] == 1)
        elsewhere.kill()
        endings = [list(stream)[-1] for stream in streams]
        asker.join(240)
        assert sorted(name for name, _ in endings) == ["done", "error"]
        assert next(data["code"] for name, data in endings if name == "error") == "engine_error"
        assert waiting == [200]
        assert proxy.ready()[0] == 200
        # It is looked at now and then: back before that, it would never have been seen to be away.
        until(lambda: "given no work" in proxy.log.read_text(), 30)
        elsewhere.start()
        until(lambda: "well again" in proxy.log.read_text(), 90)
        both = [events_of(client.stream("Say hello.", bot="brief")) for _ in range(2)]
        assert [list(stream)[-1][0] for stream in both] == ["done", "done"]
        assert elsewhere.tasks() > 0


@pytest.mark.long
def test_another_makers_server_in_front_with_a_key_of_its_own(native: NativeStack, tmp_path: Path) -> None:
    """LiteLLM's proxy: OpenAI's completions route, written by others, with names and keys that it insists on."""
    with litellm.running(tmp_path, {NAME: native.engine_url}) as url:
        engine = OpenAiEngine(url, model=NAME, api_key=litellm.KEY)
        engine.check()
        assert engine.context_size() is None
        text, finish = written(engine)
        assert text
        assert finish.reason in ("stop", "length")
        # Without a database it says 400 to a key that is not its own.
        with pytest.raises(Unhealthy, match=r"HTTP 400|refuses the key"):
            OpenAiEngine(url, model=NAME, api_key="sk-wrong").check()
