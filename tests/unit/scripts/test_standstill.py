"""How long nobody was answered is told by the clock of the door, not by when the command ended."""

from __future__ import annotations

import time
from datetime import datetime, timezone

import pytest

from scripts.lib import docker_daemon, standstill
from scripts.lib.compose import Compose, Container
from scripts.lib.failure import Failure

STOPPED = datetime(2026, 11, 22, 15, 3, 2, tzinfo=timezone.utc).timestamp()


class Running(Compose):
    def containers(self) -> list[Container]:
        return [
            Container(f"id-{service}", service, service, "running", "healthy", 0, "")
            for service in ("proxy", "caddy", "mongo")
        ]


@pytest.mark.parametrize(
    ("started", "seconds"),
    [
        ("2026-11-22T15:04:05.623456789Z", 64),
        ("2026-11-22T15:04:05.1Z", 63),
        ("2026-11-22T15:04:05Z", 63),
        # The clock was put back meanwhile.
        ("2026-11-22T15:00:00Z", 0),
    ],
)
def test_it_lasts_until_the_door_was_started(started: str, seconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*words: str, timeout: float = 60) -> tuple[int, str, str]:
        assert (words[0], words[-1]) == ("inspect", "id-caddy")
        return 0, f"{started}\n", ""

    monkeypatch.setattr(docker_daemon, "ask", ask)
    assert standstill.told(Running("chatbot"), STOPPED) == f"nobody was answered for {seconds} s"


def test_without_docker_it_is_told_as_until_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_daemon, "ask", lambda *_, **__: (1, "", "no such object"))
    assert standstill.told(Running("chatbot"), time.time() - 30) == "nobody was answered for 30 s"

    class Silent(Compose):
        def containers(self) -> list[Container]:
            raise Failure("docker.no_answer", "it does not answer")

    assert standstill.told(Silent("chatbot"), time.time() - 30) == "nobody was answered for 30 s"
