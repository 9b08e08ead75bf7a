"""A machine and settings where nothing is wrong, to be spoilt one fact at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.lib import settings, sources
from scripts.lib.findings import Finding
from scripts.lib.host import Host
from scripts.lib.preflight import Verdict, run
from scripts.lib.settings import Settings
from tests.unit.scripts.hub_shelf import get, hub, shelf  # noqa: F401  fixtures

ALL_HOMES = {sources.GITHUB: True, sources.HUB: True, sources.TORCH: True, sources.ARCHIVE: True}
GOOD = Host(addresses=("192.0.2.2",), reachable=ALL_HOMES)

Judge = Callable[..., dict[str, Finding]]


@pytest.fixture
def wanted(tmp_path: Path) -> Callable[..., Settings]:
    """Settings as from a `.env` with the given lines."""

    def make(**values: str) -> Settings:
        file = tmp_path / ".env"
        file.write_text("".join(f"{name}='{value}'\n" for name, value in values.items()), encoding="utf-8")
        return settings.load(file, environ={})

    return make


@pytest.fixture
def verdict(wanted: Callable[..., Settings]) -> Callable[..., Verdict]:
    """verdict(facts that differ, SETTING=value ...) of the preflight."""

    def judge(facts: dict[str, Any] | None = None, *, gpu: bool = False, earlier: str = "", **values: str) -> Verdict:
        return run(replace(GOOD, **(facts or {})), wanted(**values), gpu=gpu, earlier_sources=earlier)

    return judge


@pytest.fixture
def judge(verdict: Callable[..., Verdict]) -> Judge:
    """{id: finding} of the preflight; every finding must carry a hint unless it is mere information."""

    def findings(*arguments: Any, **options: Any) -> dict[str, Finding]:
        found = verdict(*arguments, **options).findings
        assert all(finding.hint or finding.level == "info" for finding in found)
        return {finding.id: finding for finding in found}

    return findings
