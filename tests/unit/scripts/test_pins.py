"""Digests behind tags: asked for, told, written. tests/stack/test_pins.py does the same with a real registry."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import stat
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

from scripts.lib import docker_install, image_names, majors, pins, sbom, sources
from scripts.lib.failure import Failure
from scripts.lib.findings import ERROR, WARNING
from scripts.lib.image_names import Place

ROOT = Path(__file__).resolve().parents[3]
OLD = f"sha256:{'0' * 64}"


def manifest(which: str) -> bytes:
    """An index with line ends as a registry may have them: they count."""
    return json.dumps({"schemaVersion": 2, "manifests": [], "which": which}, indent=1).replace("\n", "\r\n").encode()


def digest(which: str) -> str:
    return f"sha256:{hashlib.sha256(manifest(which)).hexdigest()}"


class Registry:
    """Answers as `docker buildx imagetools inspect --raw` does, and remembers what it was asked."""

    def __init__(self, **known: str) -> None:
        self.known, self.asked = known, list[str]()

    def __call__(self, name: str) -> tuple[int, bytes, str]:
        self.asked.append(name)
        if name.partition(":")[0] in self.known:
            return 0, manifest(self.known[name.partition(":")[0]]), ""
        return 1, b"", f"ERROR: docker.io/library/{name}: not found\n"


FILES = {
    "images/base/Dockerfile": "ARG BASE_IMAGE=debian:12\r\nFROM ${BASE_IMAGE}\r\n",
    "images/mongo/Dockerfile": f"FROM mongo:8.0@{OLD} AS one\nFROM debian:12 AS two\nFROM redis@{OLD}\n",
    "compose/engine.yml": "services: {engine: {build: {args: {BASE_IMAGE: '${BASE_IMAGE:-debian:12}'}}}}\n",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(text.encode())
    (tmp_path / "images/base/Dockerfile").chmod(0o664)
    return tmp_path


def texts(folder: Path) -> Mapping[str, str]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {str(file.relative_to(folder)): file.read_bytes().decode() for file in files}


def test_each_name_is_asked_about_once_and_by_its_tag(checkout: Path) -> None:
    registry = Registry(debian="new", mongo="newer")
    digests, silent = pins.ask(image_names.places(checkout), registry)
    assert (digests, silent) == ({"debian:12": digest("new"), "mongo:8.0": digest("newer")}, [])
    assert sorted(registry.asked) == ["debian:12", "mongo:8.0"]


def test_digests_are_written_behind_every_name_and_nothing_else_is_touched(checkout: Path) -> None:
    found = image_names.places(checkout)
    digests, _ = pins.ask(found, Registry(debian="new", mongo="newer"))
    assert sorted(map(str, pins.write(found, digests, checkout))) == sorted(FILES)
    assert texts(checkout) == {
        name: text.replace("debian:12", f"debian:12@{digest('new')}").replace(f"8.0@{OLD}", f"8.0@{digest('newer')}")
        for name, text in FILES.items()
    }
    assert stat.S_IMODE((checkout / "images/base/Dockerfile").stat().st_mode) == 0o664
    # The second time there is nothing left to do.
    found = image_names.places(checkout)
    assert pins.write(found, digests, checkout) == []
    assert (pins.unpinned(found), pins.moved(found, digests)) == ([], [])


def test_what_is_loose_and_what_has_moved_is_told_with_its_places(checkout: Path) -> None:
    found = image_names.places(checkout)
    digests, _ = pins.ask(found, Registry(debian="new", mongo="newer"))
    (loose,) = pins.unpinned(found)
    assert (loose.id, loose.level) == ("pins.unpinned", WARNING)
    assert loose.fact == (
        "debian:12 has no digest in images/base/Dockerfile:1, images/mongo/Dockerfile:2, compose/engine.yml:1"
    )
    assert loose.hint == "`make pins` where its registry can be reached"
    (gone,) = pins.moved(found, digests)
    assert (gone.id, gone.level) == ("pins.moved", ERROR)
    assert gone.fact == f"mongo:8.0 is {digest('newer')} by now, and {OLD} in images/mongo/Dockerfile:1"


def test_one_that_cannot_be_had_is_told_and_the_others_are_still_known(checkout: Path) -> None:
    digests, silent = pins.ask(image_names.places(checkout), Registry(debian="new"))
    assert list(digests) == ["debian:12"]
    assert [(each.id, each.level) for each in silent] == [("pins.tag_missing", ERROR)]
    assert silent[0].hint == "correct it in images/mongo/Dockerfile:1"


@pytest.mark.parametrize(
    ("status", "sent", "said", "expected"),
    [
        (1, b"", "ERROR: docker.io/library/mongo:9: not found", "pins.tag_missing"),
        (
            1,
            b"",
            "ERROR: pull access denied, repository does not exist or may require authorization: "
            "server message: insufficient_scope: authorization failed",
            "pins.refused",
        ),
        (1, b"", "ERROR: unexpected status code [manifests 9]: 429 Too Many Requests", "pins.refused"),
        (1, b"", "ERROR: toomanyrequests: You have reached your pull rate limit.", "pins.refused"),
        (
            1,
            b"",
            'ERROR: failed to do request: Head "https://r.example/v2/mongo/manifests/9": dial tcp: lookup r.example: '
            "no such host",
            "pins.registry_silent",
        ),
        (124, b"", "no answer within 60 s", "pins.registry_silent"),
        (0, b"", "", "pins.registry_silent"),
        (0, b"<html>log in to this network</html>", "", "pins.registry_silent"),
        (0, b'{"schemaVersion": 1, "signatures": []}', "", "pins.registry_silent"),
    ],
)
def test_why_there_is_no_digest_is_told_by_what_was_said(
    checkout: Path, status: int, sent: bytes, said: str, expected: str
) -> None:
    digests, silent = pins.ask(image_names.places(checkout), lambda _: (status, sent, said))
    assert digests == {}
    assert {each.id for each in silent} == {expected}
    assert all(each.hint for each in silent)
    if said:
        assert said.removeprefix("ERROR: ") in silent[0].fact


def test_a_file_that_was_edited_meanwhile_stops_all_of_it(checkout: Path) -> None:
    found = image_names.places(checkout)
    digests, _ = pins.ask(found, Registry(debian="new", mongo="newer"))
    edited = checkout / "images/mongo/Dockerfile"
    edited.write_text("# a line above\n" + edited.read_text())
    before = texts(checkout)
    with pytest.raises(Failure) as failure:
        pins.write(found, digests, checkout)
    assert failure.value.id == "pins.edited"
    assert texts(checkout) == before


def test_a_disk_that_is_full_stops_all_of_it(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = image_names.places(checkout)
    digests, _ = pins.ask(found, Registry(debian="new", mongo="newer"))
    before, synced = texts(checkout), list[int]()

    def fsync(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space"):
        pins.write(found, digests, checkout)
    assert texts(checkout) == before


def test_without_a_client_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_install, "plugin_version", lambda plugin: ())
    with pytest.raises(Failure) as failure:
        pins.check_client()
    assert failure.value.id == "pins.docker_missing"
    assert "`make up`" in failure.value.hint


def test_bytes_are_taken_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line end read as another one would be another digest."""
    docker = tmp_path / "docker"
    (tmp_path / "sent").write_bytes(manifest("sent"))
    docker.write_text(f'#!/bin/sh\necho "$*" >{tmp_path}/words\ncat {tmp_path}/sent\necho "WARN: x" >&2\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert pins.inspect("mongo:8.0") == (0, manifest("sent"), "WARN: x\n")
    assert (tmp_path / "words").read_text() == "buildx imagetools inspect --raw mongo:8.0\n"
    docker.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert pins.inspect("mongo:8.0")[0] == 127


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def command(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    loader = SourceFileLoader("pins_command", str(ROOT / "scripts" / "pins"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    places, write = image_names.places, pins.write
    monkeypatch.setattr(image_names, "places", lambda: places(checkout))
    monkeypatch.setattr(pins, "write", lambda found, digests: write(found, digests, checkout))
    monkeypatch.setattr(pins, "check_client", lambda: None)
    monkeypatch.delenv("CHECK", raising=False)
    return module


def answering(monkeypatch: pytest.MonkeyPatch, **known: str) -> None:
    ask = pins.ask
    monkeypatch.setattr(pins, "ask", lambda found: ask(found, Registry(**known)))


def test_a_registry_that_is_silent_about_one_changes_nothing(
    command: ModuleType, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = texts(checkout)
    answering(monkeypatch, debian="new")
    assert command.main() == 1
    assert texts(checkout) == before
    told = capsys.readouterr().err
    assert "pins.tag_missing" in told and "nothing was changed" in told


def test_a_check_changes_nothing_and_fails_until_all_is_pinned(
    command: ModuleType, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch, debian="new", mongo="newer")
    before = texts(checkout)
    monkeypatch.setenv("CHECK", "1")
    assert command.main() == 1
    told = capsys.readouterr().err
    assert "pins.unpinned" in told and "pins.moved" in told
    assert texts(checkout) == before
    monkeypatch.setenv("CHECK", "0")
    assert command.main() == 0
    told = capsys.readouterr().err
    assert f"debian:12: no digest -> {digest('new')}" in told
    assert f"mongo:8.0: {OLD} -> {digest('newer')}" in told
    monkeypatch.setenv("CHECK", "1")
    assert command.main() == 0


# --- who reads these names ------------------------------------------------------------------------------------------


def test_a_checkout_with_digests_is_the_same_to_everybody_who_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps between versions, the bill of materials and what is built look past a digest, or take it along."""
    for name in ("base", "chroma", "grafana", "koboldcpp", "mongo"):
        for file in (ROOT / "images" / name).glob("*"):
            if file.is_file() and file.suffix != ".tar":
                (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
                (tmp_path / "images" / name / file.name).write_bytes(file.read_bytes())
    found = image_names.places(tmp_path)
    pins.write(found, {place.image.tagged: digest(place.image.tagged) for place in found}, tmp_path)
    assert pins.unpinned(image_names.places(tmp_path)) == []
    assert majors.pinned(tmp_path, "upstream") == majors.pinned(ROOT, "upstream")
    monkeypatch.setattr("scripts.lib.paths.IMAGES", tmp_path / "images")
    (base,) = {place.image.tagged for place in found if place.image.repository == "debian"}
    assert sources.official_base() == f"{base}@{digest(base)}"
    (mongo,) = sbom.complete("mongo-upstream", sbom.IMAGES["mongo-upstream"], {})["components"]
    name = next(place.image for place in found if place.image.repository == "mongo")
    assert mongo["purl"] == f"pkg:docker/mongo@{name.tag}?digest={digest(name.tagged)}"
    assert mongo["version"] == name.tag


def test_the_hub_is_asked_for_the_very_image_that_is_built_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that still has the tag, and no longer what is pinned, could not build it."""
    asked: list[str] = []
    monkeypatch.setattr(sources, "official_base", lambda: f"debian:12@{OLD}")
    monkeypatch.setattr(sources.docker_daemon, "ask", lambda *words, timeout: asked.append(words[-1]) or (0, "", ""))
    monkeypatch.setattr(sources.shell, "capture", lambda words, timeout: (0, "", ""))
    assert sources.hub_answers()
    assert asked == [f"debian:12@{OLD}"]


def test_places_are_shown_as_a_person_finds_them() -> None:
    place = Place(Path("images/mongo/Dockerfile"), 3, 10, image_names.ImageName("mongo", "8"))
    assert (str(place), place.end) == ("images/mongo/Dockerfile:3", 17)
