"""The images' own programs, run natively: what they refuse, and in which words."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from chatproxy.adapters.token_counts import TokenCounts
from scripts.lib.native import ROOT, NativeStack, ServiceFailed
from tests.integration.proxy.conftest import until


def _serve(model: Path | str, **environment: str) -> subprocess.CompletedProcess[str]:
    """llama.cpp's start with something wrong: it must end by itself."""
    return subprocess.run(
        [sys.executable, "serve.py"],
        cwd=ROOT / "images" / "llamacpp",
        env={**os.environ, "MODEL": str(model), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_llamacpp_names_a_missing_model() -> None:
    done = _serve("/models/none.gguf")
    assert done.returncode == 2
    assert "/models/none.gguf is not a file" in done.stderr


def test_llamacpp_refuses_what_is_no_gguf(tmp_path: Path) -> None:
    file = tmp_path / "old.bin"
    file.write_bytes(b"lmgg" + bytes(64))
    done = _serve(file)
    assert done.returncode == 2
    assert "no GGUF file" in done.stderr


@pytest.mark.parametrize(("name", "value"), [("CONTEXT_SIZE", "much"), ("ENGINE_SLOTS", "0"), ("THREADS", "-3")])
def test_llamacpp_names_a_bad_number(starter_model: Path, name: str, value: str) -> None:
    done = _serve(starter_model, **{name: value})
    assert done.returncode == 2
    assert name in done.stderr
    assert value in done.stderr


def test_every_service_listens_on_loopback_alone(native: NativeStack) -> None:
    listening: dict[int, set[str]] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == "0A":
                address, port = local.split(":")
                listening.setdefault(int(port, 16), set()).add(address)
    used = {name: listening[port] for name, port in native.ports.items() if port in listening}
    assert {"mongo", "chroma", "chroma_inner", "embeddings", "engine"} <= used.keys()
    assert used == {name: {"0100007F"} for name in used}


def test_every_slot_has_the_whole_context(native: NativeStack) -> None:
    slots = requests.get(f"{native.engine_url}/slots", timeout=10).json()
    assert [slot["n_ctx"] for slot in slots] == [native.context_size] * native.slots


def test_embeddings_give_out_the_tokenizer_that_they_count_with(native: NativeStack) -> None:
    """What the worker counts by itself is what the service says it read, but for [CLS] and [SEP] around each text."""
    counts = TokenCounts(native.embeddings_url)
    for text in ("A lamp can be sent back.", "Ünïcode, 漢字 and FH-1987", "word " * 100):
        asked = requests.post(f"{native.embeddings_url}/v1/embeddings", json={"input": text}, timeout=30).json()
        assert counts.count([text]) == [asked["usage"]["prompt_tokens"] - 2]
    assert counts.most_read() == 254
    assert counts.count(["word " * 5000]) == [5000]  # neither cut nor filled up


def test_embeddings_are_unit_vectors_that_know_meaning(native: NativeStack) -> None:
    texts = ["The cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates rose in March."]
    answer = requests.post(f"{native.embeddings_url}/v1/embeddings", json={"input": texts}, timeout=60).json()
    cat, kitten, rates = (each["embedding"] for each in answer["data"])
    assert len(cat) == 384
    assert sum(x * x for x in cat) == pytest.approx(1, abs=1e-3)
    close = sum(a * b for a, b in zip(cat, kitten, strict=True))
    far = sum(a * b for a, b in zip(cat, rates, strict=True))
    assert close > far + 0.3
    assert answer["usage"]["total_tokens"] > 15


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"{}", b'{"input": []}', b'{"input": [1]}', b'{"input": "x", "encoding_format": "base64"}']
)
def test_embeddings_say_what_is_wrong_with_a_request(native: NativeStack, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{native.embeddings_url}/v1/embeddings", data=body, headers=headers, timeout=30)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("token", [None, "", "x" * 43])
def test_chroma_is_closed_without_its_token(native: NativeStack, token: str | None) -> None:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    for path in ("/api/v2/heartbeat", "/api/v2/version", "/docs"):
        assert requests.get(f"{native.chroma_url}{path}", headers=headers, timeout=10).status_code == 401


def test_chroma_opens_with_its_token(native: NativeStack) -> None:
    headers = {"Authorization": f"Bearer {native.chroma_token_file.read_text()}"}
    answer = requests.get(f"{native.chroma_url}/api/v2/heartbeat", headers=headers, timeout=10)
    assert answer.json()["nanosecond heartbeat"] > 0


def _open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_chroma_that_is_killed_leaves_no_server_behind_its_door(tmp_path: Path, starter_model: Path) -> None:
    """Two servers on one folder would each keep an index of their own."""
    stack = NativeStack(tmp_path, starter_model)
    try:
        stack.start("chroma")
        stack.stop("chroma", kill=True)
        until(lambda: not _open(stack.ports["chroma_inner"]))
    finally:
        stack.close()


def test_chroma_does_not_start_with_an_empty_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    done = subprocess.run(
        [sys.executable, "entrypoint.py"],
        cwd=ROOT / "images" / "chroma",
        env={**os.environ, "CHROMA_TOKEN_FILE": str(tmp_path / "token")},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert "at least 32" in done.stderr


def test_mongo_lets_the_proxys_user_into_its_own_database_only(native: NativeStack) -> None:
    password = native.mongo_password_file.read_text()
    with MongoClient[dict[str, object]](
        native.mongo_url, username="chatproxy", password=password, authSource="chatbot"
    ) as client:
        client["chatbot"]["probe"].insert_one({"x": 1})
        client["chatbot"].drop_collection("probe")
        with pytest.raises(OperationFailure):
            client["other"]["probe"].insert_one({"x": 1})
        with pytest.raises(OperationFailure):
            client.admin.command("usersInfo", 1)


def test_mongo_heals_a_start_that_broke_between_its_users_and_keeps_to_the_old_root(
    tmp_path: Path, starter_model: Path
) -> None:
    """The first start done by hand up to root alone, as a crash would leave it; then with another root password."""
    stack = NativeStack(tmp_path / "stack", starter_model)
    try:
        stack.start("mongo")
        root = (tmp_path / "stack" / "secrets" / "mongo_root_password").read_text()
        with MongoClient[dict[str, object]](stack.mongo_url, username="root", password=root) as client:
            client["chatbot"].command("dropUser", "chatproxy")
        stack.stop("mongo", kill=True)
        stack.start("mongo")
        password = stack.mongo_password_file.read_text()
        with MongoClient[dict[str, object]](
            stack.mongo_url, username="chatproxy", password=password, authSource="chatbot"
        ) as c:
            assert c["chatbot"].command("ping")["ok"]
        stack.stop("mongo")
        (tmp_path / "stack" / "secrets" / "mongo_root_password").write_text("another-root-password-altogether")
        with pytest.raises(ServiceFailed, match="another root password"):
            stack.start("mongo")
    finally:
        stack.close()
        shutil.rmtree(tmp_path / "stack")


def test_embeddings_count_what_they_read_while_they_read_for_others(native: NativeStack) -> None:
    """One tokenizer for both made a call fail now and then: what one thread had set, the other one read."""
    texts = ["short", "a rather longer text about refunds and opening hours", "x y z"] * 2

    def ask(_: int) -> int:
        answer = requests.post(f"{native.embeddings_url}/v1/embeddings", json={"input": texts}, timeout=60)
        return answer.status_code

    with ThreadPoolExecutor(max_workers=4) as pool:
        assert set(pool.map(ask, range(120))) == {200}
