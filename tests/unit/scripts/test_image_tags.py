"""Tags that a build has moved go back to the images of before, and the next build knows them as fresh."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from scripts.lib import docker_daemon, image_tags, images
from scripts.lib.failure import Failure
from scripts.lib.former_images import Former
from scripts.lib.images import Stamps

PROXY, ENGINE = "chatbot-proxy:local", "chatbot-koboldcpp:local"


class Docker:
    """Images by id, and which of them each tag is; a build makes a new one and moves its tag."""

    def __init__(self) -> None:
        self.images = set[str]()
        self.tags: dict[str, str] = {}

    def build(self, tag: str, inputs: str, stamps: Path | None = None) -> str:
        image = f"sha256:{len(self.images)}"
        self.images.add(image)
        self.tags[tag] = image
        (Stamps(stamps / "images.json") if stamps else Stamps()).set(tag, inputs)
        return image

    def ask(self, *words: str) -> tuple[int, str, str]:
        name = self.tags.get(words[-1], words[-1])
        if words[:2] == ("image", "inspect"):
            if name not in self.images:
                return 1, "", "No such image"
            names = [tag for tag, image in self.tags.items() if image == name]
            return 0, f"{name}\n" if words[3] == "{{.Id}}" else f"{json.dumps(names)} 7\n", ""
        if words[:2] == ("image", "rm"):
            self.images.remove(name)
            return 0, "", ""
        assert words[:2] == ("image", "tag")
        if words[2] not in self.images:
            return 1, "", "No such image"
        self.tags[words[3]] = words[2]
        return 0, "", ""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    fake = Docker()
    monkeypatch.setattr(docker_daemon, "ask", fake.ask)
    monkeypatch.setattr(Stamps.__init__, "__defaults__", (tmp_path / "stamps" / "images.json",))
    return fake


def former(tmp_path: Path) -> Former:
    return Former(tmp_path / "stamps" / "former-images.json")


def test_what_was_built_over_runs_again_and_needs_no_build(docker: Docker, tmp_path: Path) -> None:
    before = {PROXY: docker.build(PROXY, "proxy, old"), ENGINE: docker.build(ENGINE, "engine")}
    # Whoever keeps it over a crash writes it down.
    known = json.loads(json.dumps(image_tags.remember()))
    newer = docker.build(PROXY, "proxy, new")
    assert docker.tags != before
    assert image_tags.put_back(known) == 1
    assert docker.tags == before
    assert Stamps().fresh(PROXY, "proxy, old")
    assert Stamps().fresh(ENGINE, "engine")
    assert not Stamps().fresh(PROXY, "proxy, new")
    assert image_tags.put_back(known) == 0, "twice is once"
    assert newer in former(tmp_path).replaced, "what was built in vain is removed some day"


def test_what_is_back_is_not_taken_for_old(docker: Docker, tmp_path: Path) -> None:
    """`make up` removes what it had replaced before: never an image that has its tag again."""
    old = docker.build(PROXY, "old")
    known = image_tags.remember()
    newer = docker.build(PROXY, "new")
    image_tags.put_back(known)
    for _ in range(2):
        tidied = former(tmp_path)
        tidied.replaced = tidied.replaced or ["sha256:other"]
        tidied.settle()
        tidied.remove()
    assert old in docker.images
    assert newer not in docker.images


def test_one_that_is_gone_is_named_and_the_others_are_back(docker: Docker) -> None:
    docker.build(PROXY, "proxy, old")
    engine = docker.build(ENGINE, "engine, old")
    known = image_tags.remember()
    newer = docker.build(PROXY, "proxy, new")
    docker.build(ENGINE, "engine, new")
    docker.images.remove(known[PROXY][1])
    with pytest.raises(Failure, match=r"image\.former_gone.*chatbot-proxy:local") as failed:
        image_tags.put_back(known)
    assert "make up" in failed.value.hint
    assert docker.tags == {PROXY: newer, ENGINE: engine}
    assert Stamps().fresh(PROXY, "proxy, new"), "what is there is known as what it is"
    assert Stamps().fresh(ENGINE, "engine, old")


def test_one_of_another_checkout_is_put_back_and_not_taken_for_our_own(docker: Docker) -> None:
    docker.build(PROXY, "ours")
    docker.images.add("sha256:theirs")
    docker.tags[PROXY] = "sha256:theirs"
    known = image_tags.remember()
    docker.build(PROXY, "ours, newer")
    image_tags.put_back(known)
    assert docker.tags[PROXY] == "sha256:theirs"
    assert not Stamps().fresh(PROXY, "ours")
    assert not Stamps().fresh(PROXY, "ours, newer")


def attempted(docker: Docker, tmp_path: Path) -> tuple[image_tags.Tags, str]:
    """An image that runs, and two that a newer version's builds in a folder of its own have put in its place."""
    old = docker.build(PROXY, "old")
    known = image_tags.remember()
    shutil.copytree(tmp_path / "stamps", tmp_path / "before")
    shutil.copytree(tmp_path / "stamps", tmp_path / "next")
    docker.build(PROXY, "new", tmp_path / "next")
    docker.build(PROXY, "newer", tmp_path / "next")
    return known, old


def note_vain(known: image_tags.Tags, tmp_path: Path) -> None:
    stamps = tmp_path / "stamps"
    image_tags.note_vain(known, tmp_path / "before", (tmp_path / "next", stamps), stamps)


def test_what_was_built_in_vain_goes_and_what_runs_stays(docker: Docker, tmp_path: Path) -> None:
    known, old = attempted(docker, tmp_path)
    for _ in range(2):
        note_vain(known, tmp_path)
        image_tags.put_back(known)
    assert len(former(tmp_path).older) == 2, "twice is once"
    assert former(tmp_path).sizes() == [7, 7], "make prune sees them"
    assert former(tmp_path).remove() == (2, 14)
    assert docker.images == {old}


def test_what_a_killed_build_left_without_a_stamp_goes_too(docker: Docker, tmp_path: Path) -> None:
    known, old = attempted(docker, tmp_path)
    docker.images.add("sha256:unstamped")
    docker.tags[PROXY] = "sha256:unstamped"
    note_vain(known, tmp_path)
    image_tags.put_back(known)
    assert former(tmp_path).remove() == (3, 21)
    assert docker.images == {old}


def test_the_version_before_this_one_stays_kept_as_it_was(docker: Docker, tmp_path: Path) -> None:
    """The new version's build out of the cache may give back what this one has replaced."""
    first = docker.build(PROXY, "first")
    docker.build(PROXY, "second")
    settled = former(tmp_path)
    settled.settle()
    known = image_tags.remember()
    shutil.copytree(tmp_path / "stamps", tmp_path / "before")
    shutil.copytree(tmp_path / "stamps", tmp_path / "next")
    docker.tags[PROXY] = first
    Stamps(tmp_path / "next" / "images.json").set(PROXY, "first")
    note_vain(known, tmp_path)
    image_tags.put_back(known)
    assert (former(tmp_path).before, former(tmp_path).older) == ([first], [])


def test_stamps_of_a_version_that_writes_others_do_not_keep_it_from_going_back(docker: Docker, tmp_path: Path) -> None:
    known, _ = attempted(docker, tmp_path)
    (tmp_path / "next" / "images.json").write_text(json.dumps({PROXY: {"inputs": "new", "image": "sha256:9"}, "v": 2}))
    note_vain(known, tmp_path)
    assert former(tmp_path).older == ["sha256:1", "sha256:2"]


def test_where_nothing_was_ever_built_there_is_nothing_to_put_back(
    docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*words: str) -> tuple[int, str, str]:
        raise AssertionError("Docker may not be there yet")

    monkeypatch.setattr(docker_daemon, "ask", ask)
    assert image_tags.remember() == {}
    assert image_tags.put_back({}) == 0


def test_an_image_that_docker_has_lost_is_not_remembered(docker: Docker) -> None:
    docker.images.remove(docker.build(PROXY, "old"))
    del docker.tags[PROXY]
    assert image_tags.remember() == {}
    assert images.image_id(PROXY) == ""
