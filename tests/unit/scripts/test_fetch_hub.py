"""A model from the hub: whatever breaks on the way, it is whole and right in the end, or it is not there at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from scripts.lib import fetch, fetch_hub, records
from scripts.lib.failure import Failure
from scripts.lib.hub import Hub
from scripts.lib.models import load_catalog
from tests.doubles.hub import COMMIT, HubDouble, sha256_of
from tests.unit.scripts.hub_shelf import EYES, LORA, WEIGHTS, Get, catalog, gguf, names, refused
from tests.unit.scripts.test_download import small_disk

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "hf_" + "x" * 34


def test_the_file_arrives_checked_and_recorded_and_is_not_asked_for_again(
    hub: HubDouble, shelf: Path, get: Get
) -> None:
    get()
    assert (shelf / "tiny.gguf").read_bytes() == WEIGHTS
    assert names(shelf) == {"tiny.gguf"}
    record = records.read(shelf)["tiny.gguf"]
    assert (record.size, record.sha256) == (len(WEIGHTS), sha256_of(WEIGHTS))
    assert (record.source, record.commit) == ("maker/model", COMMIT)
    hub.asked.clear()
    assert fetch.fetch_model("tiny", shelf) == shelf / "tiny.gguf"
    assert hub.asked == []


@pytest.mark.parametrize("percent", range(10, 100, 10))
def test_a_connection_that_is_cut_goes_on_where_it_was(hub: HubDouble, shelf: Path, get: Get, percent: int) -> None:
    cut = len(WEIGHTS) * percent // 100
    hub.cuts = [cut]
    get()
    assert (shelf / "tiny.gguf").read_bytes() == WEIGHTS
    assert hub.ranges == ["", f"bytes={cut}-"]


def test_the_token_is_for_the_hub_and_not_for_its_storage(hub: HubDouble, shelf: Path, get: Get) -> None:
    hub.token = TOKEN
    hub.cuts = [1000]
    get("tiny", TOKEN)
    assert (shelf / "tiny.gguf").read_bytes() == WEIGHTS


@pytest.mark.parametrize("token", ["", "hf_" + "y" * 34])
def test_a_model_behind_a_licence_says_what_to_do(hub: HubDouble, shelf: Path, get: Get, token: str) -> None:
    hub.token = TOKEN
    failure = refused(get, "tiny", token)
    assert failure.id == "model.gated"
    assert "licence" in failure.fact
    assert "MODEL_TOKEN_FILE" in failure.hint
    assert token not in str(failure) or not token
    assert names(shelf) == set()


@pytest.mark.parametrize("gone", ["maker/model", "model.Q4_K_M.gguf"])
def test_a_source_that_is_gone_is_told(hub: HubDouble, shelf: Path, get: Get, gone: str) -> None:
    hub.gone = {gone}
    assert refused(get).id == "model.source_gone"
    assert names(shelf) == set()


def test_a_source_that_goes_in_the_middle_leaves_no_model(hub: HubDouble, shelf: Path, get: Get) -> None:
    hub.cuts = [len(WEIGHTS) // 2]
    hub.flowing.clear()
    ended: list[str] = []

    def run() -> None:
        ended.append(refused(get).id)

    fetching = threading.Thread(target=run)
    fetching.start()
    while not any("/storage/" in path for path in hub.asked):
        hub.sent.wait(0.05)
    hub.gone = {"model.Q4_K_M.gguf"}
    hub.flowing.set()
    fetching.join(20)
    assert ended == ["model.source_gone"]
    assert not (shelf / "tiny.gguf").exists()


def test_a_hub_that_stumbles_is_asked_again_and_one_that_stays_away_is_told(
    hub: HubDouble, shelf: Path, get: Get
) -> None:
    hub.broken = 2
    get()
    assert names(shelf) == {"tiny.gguf"}
    catalog(shelf, sha256_of(EYES))
    hub.broken = 99
    assert refused(get).id == "model.source_unreachable"


@pytest.mark.parametrize(
    "lie",
    [WEIGHTS[:-1] + b"\0", WEIGHTS[:-100], WEIGHTS + b"more", b"x" * len(WEIGHTS)],
    ids=["another byte", "shorter", "longer", "something else"],
)
def test_bytes_that_are_not_the_hubs_own_never_become_a_model(
    hub: HubDouble, shelf: Path, get: Get, lie: bytes
) -> None:
    hub.lies = {"model.Q4_K_M.gguf": lie}
    assert refused(get).id in ("download.checksum", "download.failed")
    assert not (shelf / "tiny.gguf").exists()
    hub.lies = {}
    get()
    assert (shelf / "tiny.gguf").read_bytes() == WEIGHTS
    assert names(shelf) == {"tiny.gguf"}


def test_a_hub_with_another_checksum_than_the_catalogue_is_refused(shelf: Path, get: Get) -> None:
    catalog(shelf, "0" * 64)
    assert refused(get).id == "download.checksum"
    assert names(shelf) == set()


@pytest.mark.parametrize(
    "lie",
    [
        {"size": -5},
        {"size": "many"},
        {"size": 0, "lfs": {"oid": "0" * 64, "size": 0, "pointerSize": 1}},
        {"lfs": {"oid": "../../../etc/passwd", "size": 9000, "pointerSize": 1}},
        {"lfs": {"size": 9000}},
        {"lfs": None, "oid": None},
        {"path": "../model.Q4_K_M.gguf"},
    ],
)
def test_a_hub_that_tells_nonsense_of_a_file_is_refused(
    hub: HubDouble, shelf: Path, get: Get, lie: dict[str, object]
) -> None:
    honest = hub.entry
    hub.entry = lambda path: {**honest(path), **lie}  # type: ignore[method-assign]
    assert refused(get).id in ("model.source_gone", "model.source_unreachable")
    assert names(shelf) == set()


@pytest.mark.parametrize("page", [b"<html>" + b"x" * 9000, WEIGHTS[: len(WEIGHTS) // 2]], ids=["a page", "half"])
def test_what_the_hub_holds_itself_may_be_no_model(hub: HubDouble, shelf: Path, get: Get, page: bytes) -> None:
    hub.files["model.Q4_K_M.gguf"] = page
    assert refused(get).id in ("model.not_weights", "model.damaged")
    assert names(shelf) == set()


def test_a_full_disk_is_told_before_anything_is_asked_for(hub: HubDouble, shelf: Path, get: Get) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    with small_disk(300 * 1024) as folder:
        catalog(folder)
        model = load_catalog(folder / "catalog.toml")["tiny"]
        with pytest.raises(Failure) as raised:
            fetch_hub.fetch(model, model.source, folder, hub=Hub("", hub.url))  # type: ignore[arg-type]
        assert raised.value.id == "disk.full"
        assert names(folder) == set()
    assert hub.ranges == []


def test_projector_and_adapters_come_along(shelf: Path, get: Get) -> None:
    catalog(
        shelf,
        more=f"""
[tiny.projector]
file = "tiny-mmproj.gguf"
path = "mmproj.gguf"
size = {len(EYES)}
[[tiny.adapters]]
file = "kind.gguf"
path = "loras/kind.gguf"
size = {len(LORA)}
""",
    )
    get()
    assert names(shelf) == {"tiny.gguf", "tiny-mmproj.gguf", "kind.gguf"}
    assert (shelf / "kind.gguf").read_bytes() == LORA
    model = load_catalog(shelf / "catalog.toml")["tiny"]
    assert fetch.is_known(model, shelf)
    (shelf / "tiny-mmproj.gguf").unlink()
    assert not fetch.is_known(model, shelf)


def test_a_file_that_is_there_already_is_checked_and_not_fetched(hub: HubDouble, shelf: Path, get: Get) -> None:
    (shelf / "tiny.gguf").write_bytes(WEIGHTS)
    get()
    assert hub.ranges == []
    assert records.read(shelf)["tiny.gguf"].commit == COMMIT


def test_half_a_file_under_the_final_name_is_fetched_anew_and_a_whole_other_one_is_left_alone(
    shelf: Path, get: Get
) -> None:
    (shelf / "tiny.gguf").write_bytes(WEIGHTS[:-1])
    get()
    assert (shelf / "tiny.gguf").read_bytes() == WEIGHTS
    own = gguf(fill=b"\x09")
    (shelf / "tiny.gguf").write_bytes(own)
    assert refused(get).id == "model.changed"
    assert (shelf / "tiny.gguf").read_bytes() == own


def test_a_file_brought_by_hand_needs_no_hub_but_half_of_one_does(hub: HubDouble, shelf: Path, get: Get) -> None:
    hub.broken = 99
    (shelf / "tiny.gguf").write_bytes(WEIGHTS)
    get()
    hub.asked.clear()
    get()
    assert hub.asked == []
    (shelf / "tiny.gguf").write_bytes(WEIGHTS[:-1])
    assert refused(get).id in ("model.damaged", "model.source_unreachable")


def _program(hub: HubDouble, shelf: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.lib.fetch", "tiny", "--models", str(shelf)],
        cwd=ROOT,
        env={**os.environ, "HF_ENDPOINT": hub.url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_killed_in_the_middle_it_goes_on_and_two_at_once_fetch_it_once(hub: HubDouble, shelf: Path) -> None:
    hub.flowing.clear()
    first = _program(hub, shelf)
    while not any("/storage/" in path for path in hub.asked):
        assert first.poll() is None
        hub.sent.wait(0.02)
    # Some of it flows, and then nothing.
    hub.sent.clear()
    hub.flowing.set()
    hub.sent.wait(10)
    hub.flowing.clear()
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not (shelf / "tiny.gguf").exists()
    hub.flowing.set()
    both = [_program(hub, shelf) for _ in range(2)]
    assert [program.wait(60) for program in both] == [0, 0]
    assert (shelf / "tiny.gguf").read_bytes() == WEIGHTS
    assert names(shelf) == {"tiny.gguf"}


def test_the_token_is_read_from_its_file(shelf: Path, tmp_path: Path) -> None:
    empty = tmp_path / "token"
    empty.write_text("\n")
    for file in (empty, tmp_path / "nowhere"):
        with pytest.raises(Failure) as raised:
            fetch.fetch_model("tiny", shelf, environ={"MODEL_TOKEN_FILE": str(file)})
        assert raised.value.id == "model.token_unreadable"


def test_records_survive_what_is_damaged(shelf: Path) -> None:
    (shelf / ".records.json").write_text(json.dumps({"tiny.gguf": {"size": 1}}))
    assert records.read(shelf) == {}
    (shelf / "tiny.gguf").write_bytes(WEIGHTS)
    records.put(shelf, {"tiny.gguf": records.of(shelf / "tiny.gguf"), "away.gguf": records.of(shelf / "tiny.gguf")})
    assert records.unchanged(shelf, ["tiny.gguf"])
    assert not records.unchanged(shelf, ["tiny.gguf"], {"tiny.gguf": "0" * 64})
