"""A restore's settings and volumes are taken into use all together, and UNDO leads back and forth; killed or failed at
any step, nothing is lost, and nobody else's volumes are touched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from scripts.lib import generations, paths, resolve, restoring
from scripts.lib.failure import Failure
from tests.unit.scripts.restore_checkout import SETTINGS, Docker, archived

pytest_plugins = ["tests.unit.scripts.restore_checkout"]


class Killed(BaseException):
    pass


def set_up(root: Path, docker: Docker, project: str = "chatbot", env: str = "old") -> None:
    """An appliance in this checkout, on volumes of its first generation."""
    (root / ".env").write_text(f"DOMAIN={env}\n")
    (root / ".appliance/secrets").mkdir()
    (root / ".appliance/secrets/mongo_password").write_text("old")
    resolve.write({"COMPOSE_PROJECT_NAME": project, "DATA_NAME": project}, paths.RESOLVED_ENV)
    (root / ".appliance/stamps").mkdir()
    (root / ".appliance/stamps/version").write_text("")
    docker.add(project)


def taken(tmp_path: Path, docker: Docker, generation: int, project: str = "chatbot", env: str = "") -> None:
    """All of a restore up to the moment that its settings are in force."""
    text = {".env": f"DOMAIN={env}\n"} if env else {}
    staged = restoring.stage(archived(tmp_path, {**SETTINGS, **text}), restoring.STAGE)
    data = generations.data_name(project, generation)
    staged.resolve({"COMPOSE_PROJECT_NAME": project, "DATA_NAME": data})
    docker.add(data)
    staged.take(generation)


def restored(tmp_path: Path, docker: Docker, generation: int, project: str = "chatbot", env: str = "") -> None:
    taken(tmp_path, docker, generation, project, env)
    restoring.keep()
    restoring.discard(restoring.STAGE)


def domain(root: Path) -> str:
    return (root / ".env").read_text().strip().removeprefix("DOMAIN=") if (root / ".env").exists() else ""


def data_names(docker: Docker) -> set[str]:
    return {name.removesuffix("_mongo_data") for name in docker.volumes if name.endswith("_mongo_data")}


def test_all_of_it_is_taken_into_force_and_back_and_forth(tmp_path: Path, root: Path, docker: Docker) -> None:
    set_up(root, docker)
    (root / "compose/bots").mkdir(parents=True)
    (root / "compose/bots/old.yaml").write_text("")
    restored(tmp_path, docker, 2)
    assert domain(root) == "chat.example.org"
    assert {each.name for each in (root / "compose/bots").iterdir()} == {"assistant.yaml", "harbour.yaml"}
    assert "SECRETS_DIR" not in paths.RESOLVED_ENV.read_text()
    assert generations.current(root / ".appliance/generation") == 2
    for number, expected in ((1, "old"), (2, "chat.example.org"), (1, "old")):
        assert restoring.leads_back()
        restoring.undo()
        assert domain(root) == expected
        assert generations.current(root / ".appliance/generation") == number
    assert {each.name for each in (root / "compose/bots").iterdir()} == {"old.yaml"}
    assert data_names(docker) == {"chatbot", "chatbot.2"}


def test_a_restore_that_fails_after_the_exchange_leaves_the_way_back_as_it_was(
    tmp_path: Path, root: Path, docker: Docker
) -> None:
    """Else UNDO would lead to settings whose volumes were removed, and Compose would make empty ones."""
    set_up(root, docker)
    restored(tmp_path, docker, 2, env="second")
    taken(tmp_path, docker, 3, env="third")
    assert restoring.taken()
    restoring.give_up()
    restoring.discard(restoring.STAGE)
    assert (domain(root), data_names(docker)) == ("second", {"chatbot", "chatbot.2"})
    restoring.undo()
    assert domain(root) == "old"
    assert (root / ".appliance/secrets/mongo_password").read_text() == "old"


def test_without_a_restore_there_is_nothing_to_go_back_to(tmp_path: Path, root: Path, docker: Docker) -> None:
    set_up(root, docker)
    with pytest.raises(Failure) as refused:
        restoring.undo()
    assert refused.value.id == "restore.nothing_before"
    taken(tmp_path, docker, 2)
    restoring.give_up()
    with pytest.raises(Failure) as refused:
        restoring.undo()
    assert refused.value.id == "restore.nothing_before"
    assert domain(root) == "old"


def test_volumes_that_somebody_pruned_are_not_made_anew_empty(tmp_path: Path, root: Path, docker: Docker) -> None:
    set_up(root, docker)
    restored(tmp_path, docker, 2)
    docker.volumes -= {f"chatbot_{name}" for name in generations.VOLUMES}
    assert not restoring.leads_back()
    with pytest.raises(Failure) as refused:
        restoring.undo()
    assert refused.value.id == "restore.nothing_before"
    assert "chatbot_mongo_data" in refused.value.fact
    assert domain(root) == "chat.example.org"


def test_a_checkout_that_was_moved_does_not_put_files_where_it_was(
    tmp_path: Path, root: Path, docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(root, docker)
    restored(tmp_path, docker, 2)
    monkeypatch.setattr(paths, "RESOLVED_ENV", tmp_path / "moved" / "resolved.env")
    with pytest.raises(Failure) as refused:
        restoring.undo()
    assert refused.value.id == "restore.nothing_before"
    assert domain(root) == "chat.example.org"


def test_the_volumes_of_two_restores_ago_go_and_no_others(tmp_path: Path, root: Path, docker: Docker) -> None:
    set_up(root, docker)
    docker.add("chatbot.7")
    restored(tmp_path, docker, 8)
    assert data_names(docker) == {"chatbot", "chatbot.7", "chatbot.8"}
    restored(tmp_path, docker, 9)
    assert data_names(docker) == {"chatbot.7", "chatbot.8", "chatbot.9"}


def test_another_appliance_of_the_archives_name_keeps_its_volumes(tmp_path: Path, root: Path, docker: Docker) -> None:
    """Its checkout lies elsewhere, and it is stopped: nothing but its volumes is to be seen of it."""
    set_up(root, docker, "mine")
    docker.add("theirs")
    docker.add("theirs.3")
    restored(tmp_path, docker, 4, "theirs")
    restored(tmp_path, docker, 5, "theirs")
    restoring.undo()
    restored(tmp_path, docker, 6, "theirs")
    assert data_names(docker) == {"theirs", "theirs.3", "theirs.4", "theirs.6"}


def test_volumes_that_docker_did_not_remove_are_remembered(tmp_path: Path, root: Path, docker: Docker) -> None:
    set_up(root, docker)
    staged = restoring.stage(archived(tmp_path, SETTINGS), restoring.STAGE)
    staged.resolve({"COMPOSE_PROJECT_NAME": "other", "DATA_NAME": "other.2"})
    docker.add("other.2")
    docker.answers = False
    restoring.discard(restoring.STAGE)
    # Without a secret among what stays.
    assert {each.name for each in restoring.STAGE.iterdir()} == {"resolved.env"}
    docker.answers = True
    restoring.remove_left("chatbot")
    assert (restoring.STAGE.exists(), data_names(docker)) == (False, {"chatbot"})


@pytest.mark.parametrize("at", range(60))
@pytest.mark.parametrize("what", ["keep", "give_up", "undo"])
def test_killed_at_any_step_what_is_in_force_is_whole_and_leads_back_to_what_is(
    tmp_path: Path, root: Path, docker: Docker, monkeypatch: pytest.MonkeyPatch, what: str, at: int
) -> None:
    """It goes from "second" to "third" and maybe back again, or back to "old"."""
    set_up(root, docker)
    restored(tmp_path, docker, 2, env="second")
    with monkeypatch.context() as patch:
        try:
            _killed_after(patch, at)
            if what != "undo":
                taken(tmp_path, docker, 3, env="third")
            getattr(restoring, what)()
            restoring.discard(restoring.STAGE)
        except Killed:
            pass
    restoring.recover()
    restoring.remove_left("chatbot")
    assert domain(root) in ({"second", "old"} if what == "undo" else {"second", "third"})
    before = {"third": "second", "second": "old", "old": "second"}
    for _ in range(2):
        here = domain(root)
        data = {"old": "chatbot", "second": "chatbot.2", "third": "chatbot.3"}[here]
        assert (resolve.earlier(paths.RESOLVED_ENV)["DATA_NAME"], data in data_names(docker)) == (data, True)
        secret = (root / ".appliance/secrets/mongo_password").read_text()
        assert secret == ("old" if here == "old" else "mongo_password-of-the-archive")
        assert restoring.leads_back()
        restoring.undo()
        assert domain(root) == before[here]
        before[before[here]] = here


def _killed_after(patch: pytest.MonkeyPatch, steps: int) -> None:
    """Renaming and removing are what a kill can come between."""
    left = [steps]

    def counted(done: Any) -> Any:
        def do(*words: Any, **named: Any) -> Any:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return done(*words, **named)

        return do

    for name in ("rename", "replace", "unlink", "rmdir"):
        patch.setattr(os, name, counted(getattr(os, name)))
