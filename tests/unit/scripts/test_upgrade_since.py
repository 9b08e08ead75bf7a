"""What is edited between a kill of the upgrade and the way back is nobody's to throw away."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from scripts.lib import upgrade_since, upgrading
from scripts.lib.failure import Failure
from scripts.lib.upgrade_git import Repository
from tests.unit.scripts.upgrade_checkout import Counted, Docker, Tags, commit, contents, exchanged, git

pytest_plugins = ["tests.unit.scripts.upgrade_checkout"]
# All that there are, of which the last is behind them.
_STEPS = range(0, 121, 4)


def kept(root: Path) -> dict[str, bytes]:
    (folder,) = (root / ".appliance").glob("edited-since-upgrade-*")
    assert folder.stat().st_mode & 0o777 == 0o700
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def back(root: Path) -> dict[str, bytes]:
    """Everything, but for what an upgrade may leave."""
    return {
        name: content
        for name, content in contents(root).items()
        if not name.startswith(".appliance/edited-since-upgrade-") and name != "models/other.gguf"
    }


def test_edits_after_the_kill_are_kept_and_named(
    root: Path, home: Path, tags: Tags, docker: Docker, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(root)
    exchanged(root, home)
    since = {
        ".env": b"DOMAIN=new.example.org\nLANTERNS=12\n",
        "a.txt": b"edited again\n",
        "c.txt": b"a file of the new version's, edited\n",
        "sub/b.txt": b"t\xfcr\n",
        "mine/staged.txt": b"nowhere else\n",
    }
    for name, content in since.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
    git(root, "add", "mine/staged.txt")
    (root / "untracked.txt").write_bytes(b"stays where it is\n")
    assert upgrading.recover() is True
    assert back(root) == before | {"untracked.txt": b"stays where it is\n"}
    assert kept(root) == since
    (folder,) = (root / ".appliance").glob("edited-since-upgrade-*")
    assert (folder / ".env").stat().st_mode & 0o077 == 0
    told = capsys.readouterr().err
    assert "upgrade.edits_kept: " in told
    assert f"kept in {folder}: .env, a.txt, c.txt, mine/staged.txt, sub/b.txt" in told


@pytest.mark.parametrize(
    "mixture",
    [
        {},
        # What git, killed on the way there or back, leaves: of one version, of the other, with the edits and without.
        {"a.txt": "a\n", "sub/b.txt": "b\n"},
        {"a.txt": "a\n"},
        {"sub/b.txt": "b\n", ".env": "DOMAIN=chat.example.org\n"},
        {"a.txt": None, "c.txt": None, ".env": None},
    ],
)
def test_what_the_upgrade_itself_has_left_is_no_edit(
    root: Path, home: Path, tags: Tags, docker: Docker, mixture: dict[str, str | None]
) -> None:
    before = contents(root)
    exchanged(root, home)
    for name, text in mixture.items():
        (root / name).unlink() if text is None else (root / name).write_text(text)
    upgrading.recover()
    assert not list((root / ".appliance").glob("edited-since-upgrade-*"))
    assert back(root) == before


@pytest.mark.parametrize("step", _STEPS)
def test_killed_while_they_are_kept_they_are_kept_by_who_comes_next(
    root: Path, home: Path, tags: Tags, docker: Docker, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(root)
    exchanged(root, home)
    (root / "a.txt").write_text("edited again\n")
    (root / ".env").write_text("DOMAIN=new.example.org\n")
    with monkeypatch.context() as patch:
        counted = Counted(patch, step)
        with contextlib.suppress(KeyboardInterrupt):
            upgrading.recover()
    assert step < _STEPS[-1] or counted.left >= 0
    upgrading.recover()
    assert back(root) == before
    folders = list((root / ".appliance").glob("edited-since-upgrade-*"))
    for name, text in (("a.txt", "edited again\n"), (".env", "DOMAIN=new.example.org\n")):
        assert text in [(folder / name).read_text() for folder in folders if (folder / name).exists()], name


def test_without_the_new_versions_folder_edits_are_still_told_from_what_it_brought(
    root: Path, home: Path, tags: Tags, docker: Docker
) -> None:
    before = contents(root)
    exchanged(root, home)
    (upgrading.NEXT / "sub/b.txt").unlink()
    (upgrading.NEXT / "a.txt").unlink()
    (root / "c.txt").write_text("mine\n")
    upgrading.recover()
    assert kept(root) == {"c.txt": b"mine\n"}
    assert back(root) == before


def test_a_commit_of_ones_own_becomes_a_branch(
    root: Path, home: Path, tags: Tags, docker: Docker, capsys: pytest.CaptureFixture[str]
) -> None:
    old = git(root, "rev-parse", "HEAD")
    exchanged(root, home)
    own = commit(root, "Ours", {"d.txt": "ours\n"})
    upgrading.recover()
    assert git(root, "rev-parse", "HEAD") == old
    assert git(root, "rev-parse", f"since-upgrade-{own[:10]}") == own
    assert f"since-upgrade-{own[:10]}" in capsys.readouterr().err


def test_two_kills_keep_two_folders(root: Path, home: Path, tags: Tags, docker: Docker) -> None:
    for text in ("one\n", "two\n"):
        exchanged(root, home)
        (root / "a.txt").write_text(text)
        upgrading.recover()
    folders = sorted((root / ".appliance").glob("edited-since-upgrade-*"))
    assert sorted((folder / "a.txt").read_text() for folder in folders) == ["one\n", "two\n"]


def test_where_they_cannot_be_kept_nothing_is_overwritten(
    root: Path, home: Path, tags: Tags, docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchanged(root, home)
    (root / "a.txt").write_text("edited again\n")
    taken = contents(root)
    with monkeypatch.context() as patch:

        def full() -> Path:
            raise OSError(28, "No space left on device")

        patch.setattr(upgrade_since, "_folder", full)
        with pytest.raises(Failure) as refused:
            upgrading.recover()
    assert refused.value.id == "upgrade.edits_not_kept"
    assert "No space left on device" in refused.value.fact
    assert contents(root) == taken
    assert upgrading.read() is not None
    upgrading.recover()
    assert kept(root) == {"a.txt": b"edited again\n"}


def test_edits_of_env_while_images_are_built_are_taken_along_by_the_next(root: Path, home: Path, tags: Tags) -> None:
    new = commit(home, "New", {"c.txt": "new\n"})
    repository = Repository(root)
    repository.fetch("")
    journal = upgrading.begin(repository, repository.current().commit, new, "chatbot")
    (root / ".env").write_text("DOMAIN=new.example.org\n")
    with pytest.raises(Failure) as refused:
        upgrading.check_unchanged(repository, journal)
    assert refused.value.id == "upgrade.changed_meanwhile"


def test_a_settings_file_that_is_a_link_stays_one(root: Path, home: Path, tags: Tags, docker: Docker) -> None:
    elsewhere = root.parent / "etc" / "chatbot.env"
    elsewhere.parent.mkdir()
    (root / ".env").rename(elsewhere)
    (root / ".env").symlink_to("../etc/chatbot.env")
    exchanged(root, home)
    # Not the operator's own file, which the new version's `make up` would write to.
    assert not (upgrading.NEXT / ".env").is_symlink()
    upgrading.recover()
    assert (root / ".env").readlink() == Path("../etc/chatbot.env")
    assert elsewhere.read_text() == "DOMAIN=chat.example.org\n"
    assert elsewhere.stat().st_mode & 0o777 == 0o600
    exchanged(root, home)
    (root / ".env").write_text("DOMAIN=new.example.org\n")
    upgrading.recover()
    assert kept(root) == {".env": b"DOMAIN=new.example.org\n"}
    assert elsewhere.read_text() == "DOMAIN=chat.example.org\n"
