"""The composition root: the real engine adapter under the real web layer, and starts that must not succeed."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from chatproxy.app import create_apps
from chatproxy.core.keys import Keyring
from chatproxy.core.types import Bot
from chatproxy.errors import ConfigurationError
from chatproxy.parts import Given
from chatproxy.settings import Settings
from tests.doubles.gguf import Value, write_gguf
from tests.doubles.koboldcpp import DIALECTS, Fault, KoboldcppDouble
from tests.unit.proxy.fakes import FakeBots, World
from tests.unit.proxy.memory import MemoryHistory, MemoryKeys
from tests.unit.proxy.web.test_kobold import CALL_OF_2023

PROXY = Path(__file__).resolve().parents[3] / "proxy"
BOTS = PROXY.parent / "compose" / "bots"


@pytest.mark.parametrize("version", DIALECTS)
def test_a_call_of_2023_and_a_chat_on_koboldcpp(version: str) -> None:
    keys, history = MemoryKeys(), MemoryHistory()
    key, _ = Keyring(keys).create("t", frozenset({"chat", "kobold"}))
    with KoboldcppDouble(version=version, reply=["I am", " sorry.", "<|user|>", "No"]) as double:
        settings = Settings(engine_api="koboldcpp", engine_urls=(double.url,), bots_dir=BOTS, prompt_format="metharme")
        client = create_apps(settings, Given(history=history, keys=keys, checks=())).public.test_client()
        headers = {"Authorization": f"Bearer {key}"}
        response = client.post("/api/v1/generate/", json=CALL_OF_2023, headers=headers)
        assert response.json is not None
        assert response.json["results"][0]["text"] == "I am sorry.<|user|>No"  # no stop was asked for
        response = client.post("/api/v1/chat", json={"message": "Late!", "bot": "support"}, headers=headers)
        assert response.json is not None
        assert (response.json["answer"], response.json["finish_reason"]) == ("I am sorry.", "stop")
        sent = double.requests_to("/generate/stream")[-1].json
        assert sent["prompt"].startswith("<|system|>You are a customer service chatbot.")
        assert sent["prompt"].endswith("<|user|>Late!<|model|>")
        double.fault = Fault.busy()
        response = client.post("/api/v1/chat", json={"message": "Still late!"}, headers=headers)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")


def test_a_default_bot_or_format_that_is_not_there_stops_the_start() -> None:
    with pytest.raises(ConfigurationError, match="DEFAULT_BOT='nobody'"):
        create_apps(Settings(default_bot="nobody", bots_dir=BOTS))
    with pytest.raises(ConfigurationError, match="no prompt format 'alpacka'"):
        create_apps(Settings(prompt_format="alpacka"), Given(bots=FakeBots()))
    with pytest.raises(ConfigurationError, match="BOTS_DIR"):
        create_apps(Settings(bots_dir=Path("/nowhere")))


CHATML = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
CHATML += "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"


def _prompt(settings: Settings, message: str) -> str:
    world = World(settings=settings, bots=FakeBots(Bot("assistant", "Assistant")))
    world.client().post("/api/v1/chat", json={"message": message, "bot": "assistant"})
    return world.engine.generations[-1].prompt


def test_auto_takes_format_and_control_tokens_from_the_model_file(tmp_path: Path) -> None:
    tokens: dict[str, Value] = {
        "tokenizer.chat_template": CHATML,
        "tokenizer.ggml.tokens": ["<|im_start|>", "<|im_end|>", "<own>"],
        "tokenizer.ggml.token_type": [3, 3, 3],
    }
    file = write_gguf(tmp_path / "m.gguf", values=tokens)
    prompt = _prompt(Settings(prompt_format="auto", model_file=file, trusted_hops=0), "a<own>b<s>")
    assert prompt == "<|im_start|>user\na< own>b<s><|im_end|>\n<|im_start|>assistant\n"


def test_auto_without_metadata_stops_the_start_and_says_what_to_set(tmp_path: Path) -> None:
    old = tmp_path / "old.bin"
    old.write_bytes(b"tjgg\x03\x00\x00\x00")
    for file in (old, None):
        settings = Settings(prompt_format="auto", model="old", model_file=file)
        with pytest.raises(ConfigurationError, match=r"'old': .* set PROMPT_FORMAT to one of: alpaca"):
            create_apps(settings, Given(bots=FakeBots()))


def test_a_model_file_that_cannot_be_read_matters_only_to_auto(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03")
    settings = Settings(prompt_format="chatml", model_file=tmp_path / "cut.gguf", trusted_hops=0)
    assert "< |im_end|>" in _prompt(settings, "<|im_end|>")
    assert "cut.gguf' cannot be read" in caplog.text
    with pytest.raises(ConfigurationError, match=r"cut\.gguf' cannot be read"):
        create_apps(replace(settings, prompt_format="auto"), Given(bots=FakeBots()))


def test_an_operators_own_format_is_used(tmp_path: Path) -> None:
    text = "control = []\nline_markers = []\nstops = []\ntemplate = '{% for t in turns %}({{ t.text }}){% endfor %}'"
    (tmp_path / "mine.toml").write_text(text)
    assert _prompt(Settings(prompt_format="mine", formats_dir=tmp_path, trusted_hops=0), "Hi") == "(Hi)"


@pytest.mark.parametrize("module", ["wsgi", "gunicorn"])
def test_a_bad_setting_ends_the_start_in_one_line(module: str) -> None:
    environment = {**os.environ, "ENGINE_SLOTS": "many"}
    gunicorn = ["-m", "gunicorn", "-c", "gunicorn.conf.py"]
    words = [sys.executable, *(gunicorn if module == "gunicorn" else ["-c", "import chatproxy.wsgi"])]
    ended = subprocess.run(words, cwd=PROXY, env=environment, capture_output=True, text=True, timeout=60, check=False)
    # 3 is what makes gunicorn give up instead of starting workers for ever.
    assert ended.returncode == (1 if module == "gunicorn" else 3)
    assert ended.stderr.strip() == (
        "chatproxy cannot start: ENGINE_SLOTS='many' is not a whole number from 1 to 1024 "
        "(answers each engine generates at the same time)"
    )


def test_an_app_that_cannot_start_ends_gunicorn_instead_of_leaving_an_open_port(tmp_path: Path) -> None:
    (tmp_path / "assistant.yaml").write_text("name: [unclosed")
    environment = {**os.environ, "BOTS_DIR": str(tmp_path)}
    words = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "--bind", "127.0.0.1:0"]
    ended = subprocess.run(words, cwd=PROXY, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert "DEFAULT_BOT='assistant' cannot answer" in ended.stderr
    assert "assistant.yaml, line 1" in ended.stderr
