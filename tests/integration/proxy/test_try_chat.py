"""`try-chat` asks the running proxy as a client does, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from scripts.lib.native import ROOT, NativeStack
from tests.integration.proxy.conftest import Proxy, running_proxy


def _try(proxy: Proxy) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "chatproxy", "try-chat"]
    return subprocess.run(
        command, env=proxy.environment, cwd=ROOT / "proxy", capture_output=True, text=True, check=False, timeout=120
    )


def _stored(native: NativeStack) -> dict[str, int]:
    password = native.mongo_password_file.read_text()
    with MongoClient[Any](native.mongo_url, username="chatproxy", password=password, authSource="chatbot") as client:
        return {name: client["chatbot"][name].count_documents({}) for name in ("keys", "conversations", "messages")}


def test_a_question_is_answered_and_nothing_is_left(native: NativeStack, tmp_path: Path) -> None:
    with running_proxy(native, tmp_path) as proxy:
        before = _stored(native)
        tried = _try(proxy)
        assert tried.returncode == 0, tried.stderr
        assert len(tried.stdout.strip()) > 1
        assert _stored(native) == before
        assert not [key for key in json.loads(proxy.keys("list", "--json").stdout) if "try" in key["name"]]


def test_what_does_not_answer_is_told(native: NativeStack, tmp_path: Path) -> None:
    with running_proxy(native, tmp_path, ENGINE_URL="http://127.0.0.1:9") as proxy:
        before = _stored(native)
        tried = _try(proxy)
        assert tried.returncode == 1
        assert "chat.no_answer: a question gets no answer: " in tried.stderr
        assert "engine" in tried.stderr
        after = _stored(native)
        assert (after["keys"], after["conversations"]) == (before["keys"], before["conversations"])
    tried = _try(proxy)
    assert "chat.no_answer" in tried.stderr
    assert _stored(native)["keys"] == before["keys"]
