"""A thousand slow connections in front of the door: who chats notices nothing. `make bench ONLY=attacks` measures."""

from __future__ import annotations

import shutil

import pytest

from scripts.lib import apt
from tests.bench.composed import attacks, crowd, ledger, stack
from tests.stack.conftest import Appliance

pytestmark = pytest.mark.stack

_SECONDS = 12


@pytest.mark.parametrize("name", ["slow headers (-H)", "slow body (-B)"])
def test_who_dribbles_takes_nobodys_place(appliance: Appliance, name: str) -> None:
    if not shutil.which("slowhttptest"):
        apt.update()
        apt.install(["slowhttptest"])
    crowd.write_bots(appliance.folder)
    appliance.wait_healthy()
    line = stack.line_to(appliance)
    attacks.asking(line, 2)
    with attacks.Attack(line.address, attacks.SLOW[name]) as attack:
        outcomes = attacks.asking(line, _SECONDS)
    print(f"{attack.made} made, {attack.most} at once; p95 of a question {attacks.p95(outcomes):.2f} s")
    assert attack.most > attacks.CONNECTIONS / 2, "that was no attack"
    assert set(ledger.counted(outcomes)) == {"200"}
    assert len(outcomes) >= 3
