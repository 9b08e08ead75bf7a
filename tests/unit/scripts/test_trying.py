"""What was started is asked a question, and its door tried, before visitors are let in."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from scripts.lib import docker_daemon, trying
from scripts.lib.compose import Compose
from scripts.lib.failure import Failure


class Asked(Compose):
    """An appliance whose proxy answers so."""

    said: tuple[int, str, str] = (0, "", "")
    doors: tuple[str, ...] = ("caddy",)

    def run_in(self, service: str, command: Sequence[str], timeout: float = 60) -> tuple[int, str, str]:
        assert (service, command[-1]) == ("proxy", "try-chat")
        return self.said

    def command(self, *arguments: str) -> list[str]:
        assert arguments[:3] == ("run", "--detach", "--no-deps")
        assert "--service-ports" not in arguments
        return [sys.executable, "-c", ""]

    def config(self) -> dict[str, Any]:
        return {"services": dict.fromkeys(("proxy", *self.doors))}


def appliance(status: int = 0, out: str = "", err: str = "") -> Asked:
    made = Asked("chatbot-test")
    object.__setattr__(made, "said", (status, out, err))
    return made


def test_an_answer_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    trying.answer(appliance(0, "Paris is the capital\n"))
    assert "'Paris is the capital'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("err", "wanted"),
    [
        ("chat.no_answer: a question gets no answer: 500\n  -> `make logs`", "chat.no_answer"),
        ("Traceback\nModuleNotFoundError: No module named 'chatproxy'", "upgrade.no_answer"),
        ("", "upgrade.no_answer"),
    ],
)
def test_without_an_answer_it_is_said_why(err: str, wanted: str) -> None:
    with pytest.raises(Failure) as refused:
        trying.answer(appliance(1, "", err))
    assert refused.value.id == wanted


@dataclass
class Docker:
    """A container that is in these states, one after the other."""

    states: list[str]
    removed: list[str] = field(default_factory=list)

    def ask(self, *words: str, timeout: float = 60) -> tuple[int, str, str]:
        if words[0] == "rm":
            self.removed.append(words[-1])
        if words[0] == "inspect":
            return 0, self.states.pop(0) if len(self.states) > 1 else self.states[0], ""
        return 0, "", "adapting config using caddyfile: unrecognized directive" if words[0] == "logs" else ""


@pytest.mark.parametrize(
    ("states", "well"),
    [
        (["running starting", "running healthy"], True),
        (["exited unhealthy"], False),
        (["running starting", ""], False),
        (["running unhealthy"], False),
    ],
)
def test_the_door_is_tried_and_taken_away(
    states: list[str], well: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    docker = Docker(states)
    monkeypatch.setattr(docker_daemon, "ask", docker.ask)
    monkeypatch.setattr(trying, "_POLL_S", 0.001)
    monkeypatch.setattr(trying, "_DOOR_S", 0.2)
    if well:
        trying.doors(appliance())
    else:
        with pytest.raises(Failure) as refused:
            trying.doors(appliance())
        assert refused.value.id == "service.unhealthy"
        assert "unrecognized directive" in capsys.readouterr().err
    assert docker.removed == ["chatbot-test-try-caddy"] * 2


def test_the_vpns_door_is_tried_too_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    docker = Docker(["running healthy"])
    monkeypatch.setattr(docker_daemon, "ask", docker.ask)
    both = appliance()
    object.__setattr__(both, "doors", ("caddy", "wireguard", "grafana"))
    trying.doors(both)
    assert docker.removed == ["chatbot-test-try-caddy"] * 2 + ["chatbot-test-try-wireguard"] * 2
