"""Which version comes next, what it brings, and what of the operator's is in its way: a real git in real folders."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from scripts.lib import upgrade_git, upgrade_show
from scripts.lib.failure import Failure
from scripts.lib.upgrade_git import Repository
from tests.unit.scripts.upgrade_checkout import WHO, commit, git

pytest_plugins = ["tests.unit.scripts.upgrade_checkout"]


def refused(call: object, *arguments: object) -> Failure:
    with pytest.raises(Failure) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value


def test_the_newest_of_the_branch_is_fetched(checkout: Path, home: Path) -> None:
    repository = Repository(checkout)
    repository.check()
    old = repository.current()
    assert repository.fetch("") == old
    made = commit(home, "Second\n\nWith a reason.", {"a.txt": "b\n"})
    new = repository.fetch("")
    assert (new.commit, new.title) == (made, "Second")
    assert repository.current() == old
    repository.check_newer(old, new)
    assert repository.titles(old, new) == ["Second"]
    assert repository.changed(old, new) == ["a.txt"]
    assert repository.file(new, "a.txt") == "b\n"
    assert repository.file(new, "none.txt") == ""


def test_merges_are_no_changes_of_their_own(checkout: Path, home: Path) -> None:
    git(home, "checkout", "--quiet", "-b", "lanterns")
    commit(home, "Lanterns", {"c.txt": "c\n"})
    git(home, "checkout", "--quiet", "main")
    git(home, "merge", "--quiet", "--no-ff", "--message=Merge branch 'lanterns'", "lanterns")
    repository = Repository(checkout)
    old, new = repository.current(), repository.fetch("")
    assert new.title.startswith("Merge")
    assert repository.titles(old, new) == ["Lanterns"]


def test_another_branch_tag_or_commit_by_its_name(checkout: Path, home: Path) -> None:
    repository = Repository(checkout)
    git(home, "checkout", "--quiet", "-b", "next")
    made = commit(home, "On a branch", {"a.txt": "c\n"})
    git(home, "tag", "v2")
    for name in ("next", "origin/next", "v2", made, made[:12]):
        assert repository.fetch(name).commit == made, name
    # The branch as it is at home, not the one here that was never brought up to date.
    git(checkout, "branch", "--quiet", "next", "HEAD")
    assert repository.fetch("next").commit == made
    assert refused(repository.fetch, "v3").id == "upgrade.unknown"
    assert refused(repository.fetch, "--all").id == "upgrade.unknown"


def test_a_home_that_does_not_answer_or_is_not_known(checkout: Path) -> None:
    repository = Repository(checkout)
    git(checkout, "remote", "set-url", "origin", "/nowhere/at/all")
    assert refused(repository.fetch, "").id == "upgrade.fetch_failed"
    git(checkout, "checkout", "--quiet", "--detach")
    git(checkout, "remote", "remove", "origin")
    assert refused(repository.fetch, "").id == "upgrade.no_home"
    assert repository.fetch("HEAD") == repository.current()


def test_a_detached_head_needs_a_name(checkout: Path) -> None:
    git(checkout, "checkout", "--quiet", "--detach")
    failure = refused(Repository(checkout).fetch, "")
    assert (failure.id, failure.hint) == ("upgrade.no_home", "name one: TO=origin/main, or a tag")


def test_no_checkout_or_an_unfinished_one(tmp_path: Path, checkout: Path, home: Path) -> None:
    (tmp_path / "plain").mkdir()
    assert refused(Repository(tmp_path / "plain").check).id == "upgrade.no_git"
    # A folder inside another repository is not its checkout.
    (checkout / "inside").mkdir()
    assert refused(Repository(checkout / "inside").check).id == "upgrade.no_git"
    commit(home, "Theirs", {"a.txt": "theirs\n"})
    commit(checkout, "Ours", {"a.txt": "ours\n"})
    git(checkout, "fetch", "--quiet")
    merging = ["git", *WHO, "-C", str(checkout), "merge", "origin/main"]
    assert subprocess.run(merging, capture_output=True, check=False).returncode == 1
    assert refused(Repository(checkout).check).id == "upgrade.unfinished"


def test_older_versions_and_commits_of_ones_own_are_refused_with_the_way(checkout: Path, home: Path) -> None:
    repository = Repository(checkout)
    first = repository.current()
    commit(checkout, "Ours", {"b.txt": "x"})
    ours = repository.current()
    older = refused(repository.check_newer, ours, first)
    assert older.id == "upgrade.older"
    assert "make restore FROM=" in older.hint
    commit(home, "Theirs", {"a.txt": "y"})
    apart = refused(repository.check_newer, ours, repository.fetch(""))
    assert apart.id == "upgrade.apart"
    assert "Ours" in apart.fact


def test_own_files_where_the_new_version_has_some(checkout: Path, home: Path) -> None:
    repository = Repository(checkout)
    commit(home, "Many", {"new.txt": "", "taken.txt": "", "folder/inside.txt": "", "deep/er/est.txt": "", "kept/b": ""})
    (checkout / "taken.txt").write_text("mine")
    (checkout / "folder").write_text("mine")
    (checkout / "deep").mkdir()
    (checkout / "deep" / "er").symlink_to("/tmp")
    (checkout / ".gitignore").write_text("ignored.txt\n")
    commit(home, "And an ignored one", {"ignored.txt": ""})
    (checkout / "ignored.txt").write_text("mine")
    assert repository.in_the_way(repository.fetch("")) == ["deep/er", "folder", "ignored.txt", "taken.txt"]


def test_edits_go_over_into_a_copy_and_meet_what_changed(checkout: Path, home: Path, tmp_path: Path) -> None:
    repository = Repository(checkout)
    lines = [f"{number}\n" for number in range(20)]
    commit(home, "Long", {"long.txt": "".join(lines)})
    git(checkout, "pull", "--quiet")
    (checkout / "long.txt").write_text("".join(["mine\n", *lines[1:]]))
    (checkout / "a.txt").unlink()
    (checkout / "binary").write_bytes(bytes(range(256)))
    (checkout / "sub" / "b.txt").write_bytes("Tür\r\n".encode("latin-1"))
    git(checkout, "add", "binary")
    assert repository.edited() == ["a.txt", "binary", "long.txt", "sub/b.txt"]
    patch = tmp_path / "edits.patch"
    git(checkout, "config", "diff.noprefix", "true")
    git(checkout, "config", "color.ui", "always")
    repository.keep_edits(patch)
    kept = patch.read_bytes()
    commit(home, "At the end", {"long.txt": "".join([*lines[:-1], "theirs\n"])})
    beside = upgrade_git.copy(checkout, repository.fetch(""), tmp_path / "beside")
    assert beside.apply(patch, "--3way") == []
    assert (tmp_path / "beside/long.txt").read_text() == "".join(["mine\n", *lines[1:-1], "theirs\n"])
    assert not (tmp_path / "beside/a.txt").exists()
    assert (tmp_path / "beside/binary").read_bytes() == bytes(range(256))
    assert (tmp_path / "beside/sub/b.txt").read_bytes() == "Tür\r\n".encode("latin-1")
    commit(home, "At the same place", {"long.txt": "".join(["theirs\n", *lines[1:]])})
    beside = upgrade_git.copy(checkout, repository.fetch(""), tmp_path / "again")
    assert beside.apply(patch, "--3way") != []
    # None of this has touched the checkout itself.
    repository.keep_edits(patch)
    assert patch.read_bytes() == kept


def test_a_version_is_gone_to_over_a_lock_that_was_left(checkout: Path, home: Path) -> None:
    repository = Repository(checkout)
    made = commit(home, "Second", {"a.txt": "b\n"})
    (checkout / ".git" / "index.lock").write_text("")
    repository.go_to(repository.fetch("").commit)
    assert repository.current().commit == made
    assert git(checkout, "rev-parse", "--abbrev-ref", "HEAD") == "main"
    assert (checkout / "a.txt").read_text() == "b\n"
    assert refused(repository.go_to, "0" * 40).id == "upgrade.git_failed"


def test_own_files_are_told_folder_by_folder(checkout: Path) -> None:
    (checkout / ".env").write_text("")
    (checkout / "own").mkdir()
    (checkout / "own" / "a").write_text("")
    (checkout / "sub").mkdir(exist_ok=True)
    (checkout / "sub" / "mine.yaml").write_text("")
    assert sorted(Repository(checkout).own_files()) == [".env", "own/", "sub/mine.yaml"]


def test_what_will_change_is_told(checkout: Path, home: Path) -> None:
    repository = Repository(checkout)
    migrations = "proxy/chatproxy/adapters/mongo_migrations.py"
    commit(
        home,
        "Before",
        {".env.example": "A=1\nB=2\nC=\n", migrations: "MIGRATIONS: tuple[Step, ...] = (\n    one,\n    two,\n)\n"},
    )
    git(checkout, "pull", "--quiet")
    (checkout / "a.txt").write_text("mine\n")
    (checkout / ".env.example").write_text("A=1\nB=2\nC=\n# mine\n")
    for number in range(20):
        commit(home, f"Step {number}", {"sub/b.txt": str(number)})
    commit(home, "After", {".env.example": "A=1\nB=3\nD=4\n", migrations: "MIGRATIONS = (one, two, three)\n"})
    old, new = repository.current(), repository.fetch("")
    told = list(upgrade_show.lines(repository, old, new))
    assert told[:4] == [f"from {old}", f"to   {new}", "21 changes:", "  - After"]
    assert f"and 6 more: git log --no-merges {old.commit[:10]}..{new.commit[:10]}" in told[18]
    assert told[19:] == [
        "new setting: D=4",
        "no setting any more: C",
        "another default: B=3 (was 2); what .env says stays",
        "the data goes from schema 2 to 3; a copy of it, until the new version has answered",
        "edited by you, and kept: .env.example (changed by the new version too)",
        "edited by you, and kept: a.txt",
    ]


@pytest.mark.parametrize("text", ["", "def (", "MIGRATIONS = load()\n", "OTHER = (1, 2)\n"])
def test_a_schema_that_cannot_be_told_is_not_told(text: str) -> None:
    assert upgrade_show.schema(text) == 0


def test_own_folders_and_links_that_git_would_take_away_are_in_the_way(checkout: Path, home: Path) -> None:
    repository = Repository(checkout)
    commit(home, "New", {"extra": "theirs\n"})
    (checkout / "extra").mkdir()
    (checkout / "extra" / "mine").write_text("mine\n")
    assert repository.in_the_way(repository.fetch("")) == ["extra"]
    (checkout / "extra" / "mine").unlink()
    assert repository.in_the_way(repository.fetch("")) == []
    # As models/ that lies on another disk.
    (checkout / "sub").rename(checkout.parent / "disk")
    (checkout / "sub").symlink_to(checkout.parent / "disk")
    assert repository.in_the_way(repository.fetch("")) == ["sub"]


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_edits_that_git_was_told_to_hide_are_refused(checkout: Path, flag: str) -> None:
    git(checkout, "update-index", flag, "a.txt")
    (checkout / "a.txt").write_text("mine\n")
    failure = refused(Repository(checkout).check)
    assert (failure.id, failure.hint.split()[-1]) == ("upgrade.hidden_files", "a.txt")
    (checkout / "a.txt").unlink()
    Repository(checkout).check()


def test_a_file_that_was_renamed_by_hand_does_not_come_back(checkout: Path) -> None:
    git(checkout, "mv", "a.txt", "mine.txt")
    assert Repository(checkout).edited() == ["a.txt", "mine.txt"]


def test_a_shallow_checkout_has_a_copy_too(tmp_path: Path, home: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{home}", str(tmp_path / "shallow"))
    commit(home, "New", {"a.txt": "new\n"})
    repository = Repository(tmp_path / "shallow")
    old, new = repository.current(), repository.fetch("")
    repository.check_newer(old, new)
    (tmp_path / "shallow" / "sub" / "b.txt").write_text("mine\n")
    repository.keep_edits(tmp_path / "edits.patch")
    beside = upgrade_git.copy(tmp_path / "shallow", new, tmp_path / "beside")
    assert beside.apply(tmp_path / "edits.patch", "--3way") == []
    assert (tmp_path / "beside/a.txt").read_text() == "new\n"
    assert (tmp_path / "beside/sub/b.txt").read_text() == "mine\n"


@pytest.mark.parametrize("lock", ["HEAD.lock", "refs/heads/main.lock"])
def test_the_locks_of_a_git_that_was_killed_are_in_nobodys_way(checkout: Path, home: Path, lock: str) -> None:
    made = commit(home, "Second", {"a.txt": "b\n"})
    repository = Repository(checkout)
    repository.fetch("")
    (checkout / ".git" / lock).write_text("")
    repository.go_to(made)
    assert repository.current().commit == made
