"""What an upgrade has exchanged is put back whole, also by who comes after a kill, and nothing else is touched."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scripts.lib import cli, docker_daemon, generations, image_tags, paths, upgrade_beside, upgrading
from scripts.lib.failure import Failure
from scripts.lib.upgrade_git import Repository
from scripts.lib.upgrading import BESIDE, EXCHANGED, STOPPED, Journal
from tests.unit.scripts.upgrade_checkout import commit, git

pytest_plugins = ["tests.unit.scripts.upgrade_checkout"]


@dataclass
class Docker:
    """Containers, networks and volumes by name, and which image each tag is."""

    containers: set[str] = field(default_factory=lambda: {"c1", "c2"})
    networks: set[str] = field(default_factory=lambda: {"n1"})
    volumes: set[str] = field(default_factory=set)
    stuck: bool = False

    def ask(self, *words: str, timeout: float = 60) -> tuple[int, str, str]:
        if words[0] in ("container", "network") and words[1] == "ls":
            assert "label=com.docker.compose.project=chatbot" in words
            return 0, "\n".join(self.containers if words[0] == "container" else self.networks), ""
        if words[:2] == ("rm", "--force") and not self.stuck:
            self.containers -= set(words[2:])
        if words[:2] == ("network", "rm"):
            assert not self.containers
            self.networks -= set(words[2:])
        if words[:2] == ("volume", "ls"):
            return 0, "\n".join(self.volumes), ""
        if words[:2] == ("volume", "rm"):
            self.volumes -= set(words[3:])
        return 0, "", ""


@dataclass
class Tags:
    """In place of image_tags, which has tests of its own."""

    before: dict[str, list[str]] = field(default_factory=lambda: {"chatbot-proxy:local": ["inputs", "sha256:1"]})
    back: list[object] = field(default_factory=list)
    gone: bool = False

    def put_back(self, former: object) -> int:
        self.back.append(former)
        if self.gone:
            raise Failure(image_tags.GONE, "of chatbot-proxy:local the image of before is gone", "`make up`")
        return 1


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> Docker:
    fake = Docker(volumes={f"{data}_{name}" for data in ("chatbot", "chatbot.2") for name in generations.VOLUMES})
    monkeypatch.setattr(docker_daemon, "ask", fake.ask)
    monkeypatch.setattr(docker_daemon, "ensure_running", lambda: None)
    return fake


@pytest.fixture
def tags(monkeypatch: pytest.MonkeyPatch) -> Tags:
    fake = Tags()
    monkeypatch.setattr(image_tags, "remember", lambda: fake.before)
    monkeypatch.setattr(image_tags, "put_back", fake.put_back)
    return fake


@pytest.fixture
def root(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout in which an appliance runs, and a file of the version's is edited."""
    state = checkout / ".appliance"
    places = {
        "ROOT": checkout,
        "ENV_FILE": checkout / ".env",
        "STATE": state,
        "RESOLVED_ENV": state / "resolved.env",
        "SECRETS": state / "secrets",
        "WIREGUARD": state / "wireguard",
        "STAMPS": state / "stamps",
        "LOGS": state / "logs",
        "MODELS": checkout / "models",
        "UPGRADE_JOURNAL": state / "upgrade" / "journal.json",
    }
    for name, path in places.items():
        monkeypatch.setattr(paths, name, path)
    monkeypatch.setattr(generations, "FILE", state / "generation")
    monkeypatch.setattr(upgrading, "FOLDER", state / "upgrade")
    monkeypatch.setattr(upgrading, "NEXT", state / "upgrade" / "next")
    monkeypatch.setattr(upgrading, "_BEFORE", state / "upgrade" / "before")
    monkeypatch.setattr(upgrading, "_FORMER", state / "former-data")
    monkeypatch.setattr(upgrading, "_JOURNAL", state / "upgrade" / "journal.json")
    kept = (checkout / ".env", state / "resolved.env", state / "generation", state / "stamps")
    monkeypatch.setattr(upgrading, "_KEPT", kept)
    monkeypatch.setattr(upgrade_beside, "_FOLDERS", (state / "secrets", state / "wireguard", state / "stamps"))
    monkeypatch.setattr(upgrade_beside, "_FILES", kept[:3])
    for name, text in {
        ".env": "DOMAIN=chat.example.org\n",
        ".appliance/resolved.env": "COMPOSE_PROJECT_NAME=chatbot\nDATA_NAME=chatbot\nDOMAIN=other.example.org\n",
        ".appliance/stamps/images.json": '{"old": 1}',
        ".appliance/secrets/mongo_password": "hidden",
        "models/weights.gguf": "GGUF",
        "models/.records.json": "{}",
        "sub/own.yaml": "mine\n",
        "backups/chatbot-1.tar": "large",
        "a.txt": "edited\n",
    }.items():
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text(text)
    (checkout / ".env").chmod(0o600)
    return checkout


def contents(root: Path) -> dict[str, bytes]:
    """Everything in the checkout but git's own, and the upgrade's."""
    files = (path for path in root.rglob("*") if path.is_file())
    names = {path.relative_to(root).as_posix(): path for path in files}
    left_out = (".git/", ".appliance/upgrade/", ".appliance/logs/")
    return {name: path.read_bytes() for name, path in names.items() if not name.startswith(left_out)}


def exchanged(root: Path, home: Path) -> Journal:
    """An upgrade up to the moment when the new version is started."""
    new = commit(home, "New", {"sub/b.txt": "new\n", "c.txt": "new\n"})
    repository = Repository(root)
    version = repository.fetch("")
    journal = upgrading.begin(repository, repository.current().commit, new, "chatbot")
    upgrade_beside.check_out(repository, version)
    upgrade_beside.lay_out(repository, root / "backups")
    # What its `make up` leaves there.
    (upgrading.NEXT / ".appliance/stamps/images.json").write_text('{"new": 1}')
    (upgrading.NEXT / "models/other.gguf").write_text("GGUF")
    journal = journal.at(STOPPED, data="chatbot.2").at(EXCHANGED)
    upgrade_beside.take(repository, version, 2)
    # What its `make up` does next.
    (root / ".env").write_text("DOMAIN=chat.example.org\nLANTERNS=12\n")
    (root / ".appliance/resolved.env").write_text("COMPOSE_PROJECT_NAME=chatbot\nDATA_NAME=chatbot.2\n")
    (root / ".appliance/stamps/sources").write_text("packages")
    return journal


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


@pytest.mark.parametrize("step", range(60))
def test_killed_on_the_way_back_it_is_put_back_by_who_comes_next(
    root: Path, home: Path, tags: Tags, docker: Docker, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(root)
    exchanged(root, home)
    with monkeypatch.context() as patch:
        left = [step]

        def counted(function: object) -> object:
            def call(*words: object, **more: object) -> object:
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
                return function(*words, **more)  # type: ignore[operator]

            return call

        for module, name in ((os, "rename"), (os, "replace"), (os, "unlink"), (os, "fsync"), (os, "mkdir")):
            patch.setattr(module, name, counted(getattr(module, name)))
        patch.setattr(docker_daemon, "ask", counted(docker_daemon.ask))
        patch.setattr(upgrading.shell, "capture", counted(upgrading.shell.capture))
        with contextlib.suppress(KeyboardInterrupt):
            assert upgrading.recover() is True
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
    assert upgrading.recover() is False
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


@pytest.mark.parametrize("wrong", [("chatbot.2", "chatbot.3"), ("=chatbot\n", "=lanterns\n"), ("DATA_NAME", "DATA_PLACE")])
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
