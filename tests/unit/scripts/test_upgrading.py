"""What an upgrade has exchanged is put back whole, also by who comes after a kill, and nothing else is touched."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime, timezone
from pathlib import Path

import pytest

from scripts.lib import backup_keep, cli, generations, paths, shell, upgrade_beside, upgrading
from scripts.lib.backup_store import Store
from scripts.lib.failure import Failure
from scripts.lib.upgrade_git import Repository
from scripts.lib.upgrading import BESIDE, EXCHANGED, Journal
from tests.unit.scripts.upgrade_checkout import Counted, Docker, Tags, commit, contents, exchanged, git

pytest_plugins = ["tests.unit.scripts.upgrade_checkout"]
_STEPS = 60


def test_the_new_version_is_laid_out_with_what_is_the_operators(root: Path, home: Path, tags: Tags) -> None:
    before = contents(root)
    commit(home, "New", {"sub/b.txt": "new\n"})
    repository = Repository(root)
    version = repository.fetch("")
    upgrading.begin(repository, repository.current().commit, version.commit, "chatbot")
    upgrade_beside.check_out(repository, version)
    upgrade_beside.lay_out(repository, root / "backups")
    beside = contents(upgrading.NEXT)
    assert beside.pop("sub/b.txt") == b"new\n"
    assert beside == {name: text for name, text in before.items() if name not in ("sub/b.txt", "backups/chatbot-1.tar")}
    assert (upgrading.NEXT / "models/weights.gguf").samefile(root / "models/weights.gguf")
    assert (upgrading.NEXT / ".env").stat().st_mode & 0o777 == 0o600
    assert contents(root) == before


def test_the_new_version_is_taken_and_put_back(root: Path, home: Path, tags: Tags, docker: Docker) -> None:
    before, old = contents(root), git(root, "rev-parse", "HEAD")
    journal = exchanged(root, home)
    taken = contents(root)
    assert (taken["sub/b.txt"], taken["c.txt"], taken["a.txt"]) == (b"new\n", b"new\n", b"edited\n")
    assert taken[".appliance/generation"] == b"2\n"
    assert taken[".appliance/stamps/images.json"] == b'{"new": 1}'
    assert taken["models/other.gguf"] == b"GGUF"
    upgrading.put_back(journal)
    after = contents(root)
    # It costs nothing, and the next try needs it.
    assert after.pop("models/other.gguf") == b"GGUF"
    assert after == before
    assert git(root, "rev-parse", "HEAD") == old
    assert (root / ".env").stat().st_mode & 0o777 == 0o600
    assert tags.back == [tags.before]
    assert docker == Docker(set(), set(), {f"chatbot_{name}" for name in generations.VOLUMES})
    assert not upgrading.FOLDER.exists()
    assert upgrading.recover() is False


@pytest.mark.parametrize("step", range(_STEPS))
def test_killed_on_the_way_back_it_is_put_back_by_who_comes_next(
    root: Path, home: Path, tags: Tags, docker: Docker, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(root)
    exchanged(root, home)
    with monkeypatch.context() as patch:
        counted = Counted(patch, step)
        with contextlib.suppress(KeyboardInterrupt):
            assert upgrading.recover() is True
    # The last of these steps is behind all that there are.
    assert step < _STEPS - 1 or counted.left >= 0
    upgrading.recover()
    after = contents(root)
    assert after.pop("models/other.gguf") == b"GGUF"
    assert after == before
    assert not upgrading.FOLDER.exists()
    assert docker.volumes == {f"chatbot_{name}" for name in generations.VOLUMES}


def test_what_was_killed_before_anything_stopped_is_left_alone(
    root: Path, home: Path, tags: Tags, docker: Docker
) -> None:
    repository = Repository(root)
    old = repository.current().commit
    upgrading.begin(repository, old, commit(home, "New", {"a.txt": "x"}), "chatbot")
    # Days go by, and the operator goes on.
    commit(root, "Ours", {"d.txt": "ours\n"})
    (root / "a.txt").write_text("edited again\n")
    before = contents(root)
    assert upgrading.recover() is True
    assert contents(root) == before
    assert docker.containers == {"c1", "c2"}
    assert tags.back == [tags.before]


def test_the_data_in_force_is_never_removed(root: Path, home: Path, tags: Tags, docker: Docker) -> None:
    exchanged(root, home)
    (upgrading._BEFORE / "resolved.env").write_text("COMPOSE_PROJECT_NAME=chatbot\nDATA_NAME=chatbot.2\n")
    with pytest.raises(Failure) as stuck:
        upgrading.recover()
    assert stuck.value.id == "upgrade.stuck"
    assert "chatbot.2_mongo_data" in docker.volumes


def test_containers_that_stay_keep_everything_as_it_is(root: Path, home: Path, tags: Tags, docker: Docker) -> None:
    journal = exchanged(root, home)
    taken, docker.stuck = contents(root), True
    with pytest.raises(Failure) as refused:
        upgrading.put_back(journal)
    assert refused.value.id == "upgrade.not_stopped"
    assert contents(root) == taken
    assert upgrading.read() == journal


def test_an_image_that_is_gone_is_told_once_all_else_is_back(
    root: Path, home: Path, tags: Tags, docker: Docker
) -> None:
    before = contents(root)
    journal = exchanged(root, home)
    tags.gone = True
    with pytest.raises(Failure) as gone:
        upgrading.put_back(journal)
    assert gone.value.id == "image.former_gone"
    assert contents(root).keys() - before.keys() == {"models/other.gguf"}
    assert upgrading.read() is None
    exchanged(root, home)
    # `make up` builds it.
    assert upgrading.recover() is True


def test_a_file_that_was_added_by_hand_keeps_no_edit_from_coming_back(
    root: Path, home: Path, tags: Tags, docker: Docker
) -> None:
    (root / "mine.txt").write_text("mine\n")
    git(root, "add", "mine.txt")
    before = contents(root)
    journal = exchanged(root, home)
    assert (root / "mine.txt").read_text() == "mine\n"
    upgrading.put_back(journal)
    after = contents(root)
    assert after.pop("models/other.gguf") == b"GGUF"
    assert after == before


def test_what_was_changed_while_images_were_built_is_not_lost(root: Path, home: Path, tags: Tags) -> None:
    new = commit(home, "New", {"c.txt": "new\n"})
    repository = Repository(root)
    repository.fetch("")
    journal = upgrading.begin(repository, repository.current().commit, new, "chatbot")
    upgrading.check_unchanged(repository, journal)
    (root / "a.txt").write_text("edited again\n")
    with pytest.raises(Failure) as refused:
        upgrading.check_unchanged(repository, journal)
    assert refused.value.id == "upgrade.changed_meanwhile"
    (root / "a.txt").write_text("edited\n")
    upgrading.check_unchanged(repository, journal)
    commit(root, "Ours", {"d.txt": "ours\n"})
    with pytest.raises(Failure):
        upgrading.check_unchanged(repository, journal)


def test_edits_that_cannot_be_put_back_are_kept(
    root: Path, home: Path, tags: Tags, docker: Docker, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = exchanged(root, home)
    patch = upgrading.edits().read_text()
    upgrading.edits().write_text(patch.replace("-a\n", "-never there\n"))
    upgrading.put_back(journal)
    assert "upgrade.edits_left" in capsys.readouterr().err
    assert "+edited" in (root / ".appliance/edits-before-upgrade.patch").read_text()


def test_edits_that_meet_the_new_versions_are_refused_and_kept(root: Path, home: Path, tags: Tags) -> None:
    commit(home, "New", {"a.txt": "theirs\n"})
    repository = Repository(root)
    version = repository.fetch("")
    upgrading.begin(repository, repository.current().commit, version.commit, "chatbot")
    with pytest.raises(Failure) as refused:
        upgrade_beside.check_out(repository, version)
    assert refused.value.id == "upgrade.edits_conflict"
    assert "meet in a.txt" in refused.value.fact
    assert "+edited" in (root / ".appliance/edits-before-upgrade.patch").read_text()


def test_a_journal_that_cannot_be_read_is_told(root: Path) -> None:
    assert upgrading.read() is None
    upgrading.FOLDER.mkdir()
    for text in ("", "[]", '{"phase": "beside"}'):
        paths.UPGRADE_JOURNAL.write_text(text)
        with pytest.raises(Failure) as refused:
            upgrading.read()
        assert refused.value.id == "upgrade.journal_damaged"


def test_a_newer_versions_journal_is_read(root: Path) -> None:
    upgrading.FOLDER.mkdir()
    Journal(BESIDE, "1", "2", "chatbot", {}).write()
    told = json.loads(paths.UPGRADE_JOURNAL.read_text())
    paths.UPGRADE_JOURNAL.write_text(json.dumps({**told, "added": "later"}))
    assert upgrading.read() == Journal(BESIDE, "1", "2", "chatbot", {})


def test_once_it_is_in_force_the_data_of_before_goes(root: Path, home: Path, tags: Tags, docker: Docker) -> None:
    exchanged(root, home)
    upgrading.end()
    new = {f"chatbot.2_{name}" for name in generations.VOLUMES}
    assert docker.volumes == new
    assert upgrading.recover() is False
    assert not upgrading.FOLDER.exists()
    # Killed before they were gone, which who comes next sees to; never the data in force.
    docker.volumes |= {f"chatbot_{name}" for name in generations.VOLUMES}
    for named in ("chatbot", "chatbot.2"):
        (root / ".appliance/former-data").write_text(named)
        upgrading.recover()
        assert docker.volumes == new
        assert not (root / ".appliance/former-data").exists()


@pytest.mark.parametrize(
    "wrong", [("chatbot.2", "chatbot.3"), ("=chatbot\n", "=lanterns\n"), ("DATA_NAME", "DATA_PLACE")]
)
def test_a_version_that_answers_on_other_data_never_costs_those_of_before(
    root: Path, home: Path, tags: Tags, docker: Docker, wrong: tuple[str, str]
) -> None:
    exchanged(root, home)
    resolved = root / ".appliance/resolved.env"
    resolved.write_text(resolved.read_text().replace(*wrong))
    volumes = set(docker.volumes)
    with pytest.raises(Failure) as refused:
        upgrading.end()
    assert refused.value.id == "upgrade.other_data"
    assert docker.volumes == volumes
    assert upgrading.read() is not None


def test_other_commands_leave_a_killed_upgrade_alone(root: Path) -> None:
    with cli.exclusive():
        pass
    upgrading.FOLDER.mkdir()
    Journal(EXCHANGED, "1", "2", "chatbot", {}).write()
    with pytest.raises(Failure) as refused, cli.exclusive():
        pass
    assert refused.value.id == "upgrade.broken_off"
    with cli.exclusive(leads_back=True):
        pass


def test_of_the_backups_before_upgrades_the_newest_stay_and_those_of_other_projects(tmp_path: Path) -> None:
    days = ["20260101T000000Z", "20260102T000000Z", "20260103T000000Z"]
    mine = [backup_keep.name_of("chatbot", moment(day), encrypted=False) for day in days]
    others = [backup_keep.name_of("chatbot-two", moment(day), encrypted=False) for day in days]
    for name in (*mine, *others):
        (tmp_path / name).write_text("")
    Store(tmp_path, "chatbot").keep_newest(2)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*mine[1:], *others])


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)


def test_what_cannot_be_removed_is_said_with_the_way(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (upgrading.NEXT / "secrets").mkdir(parents=True)
    asked: list[list[str]] = []

    def refused(command: list[str], **_: object) -> tuple[int, str, str]:
        asked.append(command)
        return 1, "", f"{'sudo: a password is required' if command[0] == 'sudo' else 'rm: Permission denied'}\n"

    monkeypatch.setattr(shell, "is_root", lambda: False)
    with monkeypatch.context() as patch:
        patch.setattr(shell, "capture", refused)
        assert upgrading.recover() is False
        assert [command[0] for command in asked] == ["rm", "sudo"]
        told = capsys.readouterr().err
        assert f"upgrade.left: {upgrading.FOLDER} holds" in told
        assert f"sudo: a password is required -> sudo rm -rf {upgrading.FOLDER}" in told
        with pytest.raises(Failure) as in_the_way:
            upgrading.begin(Repository(root), "1", "2", "chatbot")
        assert in_the_way.value.id == "upgrade.left"
    # What this user has made needs no sudo.
    monkeypatch.setattr(shell, "as_root", lambda words: ["false"])
    upgrading.discard()
    assert not upgrading.FOLDER.exists()
    assert capsys.readouterr().err.count("upgrade.left") == 1
