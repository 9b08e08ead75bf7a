"""Room on mongod's disk: nothing new is taken in where there is little."""

from __future__ import annotations

from typing import Any, cast

import pytest

from chatproxy.adapters.mongo_space import LEAST_FREE, Space
from chatproxy.errors import StorageFull


class Server:
    """The one command that is asked."""

    def __init__(self, **told: float) -> None:
        self.told, self.asked = told, 0

    def command(self, name: str) -> dict[str, float]:
        assert name == "dbStats"
        self.asked += 1
        return self.told


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _space(server: Server, clock: Clock | None = None) -> Space:
    return Space(cast(Any, server), clock or Clock())


def test_enough_is_enough() -> None:
    _space(Server(fsTotalSize=10.0 * LEAST_FREE, fsUsedSize=9.0 * LEAST_FREE)).require()


def test_one_byte_less_is_refused_with_what_a_client_needs() -> None:
    with pytest.raises(StorageFull) as refused:
        _space(Server(fsTotalSize=10.0 * LEAST_FREE, fsUsedSize=9.0 * LEAST_FREE + 1)).require()
    assert (refused.value.status, refused.value.code) == (503, "storage_full")
    assert refused.value.retry_after
    assert "MiB" in str(refused.value) and "MiB" not in refused.value.public


def test_a_server_that_does_not_tell_is_believed_to_have_room() -> None:
    _space(Server(ok=1.0)).require()


def test_it_is_asked_again_after_a_while_and_room_that_is_back_counts() -> None:
    server, clock = Server(fsTotalSize=100.0, fsUsedSize=99.0), Clock()
    space = _space(server, clock)
    for _ in range(5):
        with pytest.raises(StorageFull):
            space.require()
    assert server.asked == 1
    server.told = {"fsTotalSize": 10.0 * LEAST_FREE, "fsUsedSize": 0.0}
    clock.now += 3
    space.require()
    assert server.asked == 2
