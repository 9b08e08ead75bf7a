"""Chroma's server is started anew when its disk had been full: it would keep its database locked."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from images.chroma.entrypoint import Disk

MIB = 2**20


def test_only_a_disk_that_was_full_is_mended_by_room(monkeypatch: pytest.MonkeyPatch) -> None:
    free = 100 * MIB
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=free // 4096, f_frsize=4096))
    disk = Disk("/data")
    told = []
    for free in (100 * MIB, 5 * MIB, 100 * MIB, MIB, 0, 8 * MIB, 20 * MIB):  # noqa: B007 - read by the lambda
        told.append(disk.mended())
    assert told == [False] * 6 + [True]
