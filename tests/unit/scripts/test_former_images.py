"""Images that were replaced: one generation is kept, what has a name or is used stays, nothing else is touched."""

from __future__ import annotations

import io
import json
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

from scripts.lib import docker_daemon, paths
from scripts.lib.failure import Failure
from scripts.lib.former_images import Former


class Docker:
    """Images by id: their names and bytes; `used` by a container."""

    def __init__(self, **images: list[str]) -> None:
        self.images, self.used = images, set[str]()

    def ask(self, *words: str) -> tuple[int, str, str]:
        image = words[-1]
        if words[:2] == ("image", "inspect"):
            return (
                (0, f"{json.dumps(self.images[image])} 7\n", "") if image in self.images else (1, "", "No such image")
            )
        assert words == ("image", "rm", image), "never by force"
        if image in self.used:
            return 1, "", "conflict"
        del self.images[image]
        return 0, "", ""


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> Docker:
    fake = Docker(a=[], b=[], c=["chatbot-proxy:local"])
    monkeypatch.setattr(docker_daemon, "ask", fake.ask)
    return fake


def _up(file: Path, *replaced: str) -> tuple[int, int]:
    """A `make up` that ended well, and had these images replaced."""
    for image in replaced:
        Former(file).add(image)
    former = Former(file)
    former.settle()
    return former.remove()


def test_the_version_before_stays_until_there_is_another(docker: Docker, tmp_path: Path) -> None:
    file = tmp_path / "former.json"
    assert _up(file, "a") == (0, 0)
    assert _up(file) == (0, 0), "an up that builds nothing moves nothing on"
    assert _up(file, "b") == (1, 7)
    assert set(docker.images) == {"b", "c"}


def test_an_up_that_failed_removes_nothing(docker: Docker, tmp_path: Path) -> None:
    file = tmp_path / "former.json"
    Former(file).add("a")
    Former(file).add("b")
    assert _up(file) == (0, 0)
    assert set(docker.images) == {"a", "b", "c"}


def test_an_image_that_has_its_name_back_is_let_be(docker: Docker, tmp_path: Path) -> None:
    file = tmp_path / "former.json"
    _up(file, "c")
    assert _up(file, "b") == (0, 0)
    assert "c" in docker.images
    assert Former(file).remove(all_of_them=True) == (1, 7)
    assert set(docker.images) == {"a", "c"}


def test_one_in_use_is_tried_again_later(docker: Docker, tmp_path: Path) -> None:
    file = tmp_path / "former.json"
    docker.used.add("a")
    _up(file, "a")
    assert _up(file, "b") == (0, 0)
    docker.used.clear()
    assert Former(file).sizes() == [7, 7]
    assert Former(file).remove() == (1, 7)
    assert "a" not in docker.images


def test_a_spoilt_file_is_an_empty_one(docker: Docker, tmp_path: Path) -> None:
    file = tmp_path / "former.json"
    file.write_text("{")
    assert Former(file).remove(all_of_them=True) == (0, 0)


def _prune() -> ModuleType:
    loader = SourceFileLoader("prune", str(paths.ROOT / "scripts" / "prune"))
    module = ModuleType(loader.name)
    module.__file__ = loader.path
    loader.exec_module(module)
    return module


def test_prune_removes_nothing_where_nobody_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("YES", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(Failure, match=r"prune\.not_asked") as refused:
        _prune().wanted()
    assert "YES=1" in refused.value.hint
    monkeypatch.setenv("YES", "1")
    assert _prune().wanted()


def test_prune_says_when_the_build_cache_stays(docker: Docker, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"system": (0, "Images\t3GB\nBuild Cache\t7GB\n", ""), "builder": (1, "", "is busy")}
    monkeypatch.setattr(docker_daemon, "ask", lambda *words, **_: answers.get(words[0], (1, "", "")))
    monkeypatch.setattr(docker_daemon, "ensure_running", lambda: None)
    monkeypatch.setenv("YES", "1")
    assert _prune().build_cache() == "7GB"
    with pytest.raises(Failure, match=r"prune\.failed"):
        _prune().main()
