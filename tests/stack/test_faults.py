"""A few telling cells of `make bench ONLY=faults` while people use the appliance, and a minute of many visitors.

The crashes themselves are in test_recovery.py; disks and clocks want an appliance of their own, which the bench makes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench.composed import crowd, faults, ledger, load, stack
from tests.bench.composed.crowd import Crowd
from tests.bench.composed.ledger import Ledger
from tests.stack.conftest import Appliance

pytestmark = pytest.mark.stack

_LOAD_S, _VISITORS = 60, 25


@pytest.fixture(scope="module")
def people(appliance: Appliance) -> Iterator[Crowd]:
    crowd.write_bots(appliance.folder)
    appliance.wait_healthy()
    with crowd.crowd(stack.line_to(appliance)) as running:
        yield running


@pytest.mark.parametrize(
    ("cause", "service"), [("cut", "mongo"), ("pause", "chroma"), ("memory", "proxy"), ("hang", "engine")]
)
def test_people_are_told_the_truth_and_lose_nothing(
    appliance: Appliance, people: Crowd, cause: str, service: str
) -> None:
    made = faults.cell(appliance, people, cause, service)
    print(faults.HEADING, faults.told(made), sep="\n")
    assert made.back is not None, f"{made.last} was not answered again"
    assert not made.dishonest
    assert not made.lost


def test_without_names_and_registries_it_runs_restarts_and_comes_up(appliance: Appliance) -> None:
    """With nobody who answers for a name, no registry and no package archive can be asked either."""
    appliance.wait_healthy()
    blind = ("unshare", "--mount", "sh", "-c", 'mount --bind /dev/null /etc/resolv.conf && exec "$@"', "sh")
    for words in (("restart", "SERVICE=proxy"), ("up", "SOURCES=packages"), ("status",)):
        done = appliance.make(*words, before=blind, timeout=180)
        assert done.returncode == 0, done.stdout
    assert appliance.chat("Still there?")["answer"].strip()


def test_a_minute_of_many_visitors(appliance: Appliance) -> None:
    appliance.wait_healthy()
    before = {name: each["RestartCount"] for name, each in appliance.containers().items()}
    line, book = stack.line_to(appliance), Ledger()
    memory = load.Memory(appliance)
    load.people(line, book, _LOAD_S, _VISITORS)
    memory.stop()
    outcomes = book.since(0)
    print(ledger.counted(outcomes))
    assert sum(each.good for each in outcomes) > _VISITORS
    assert not {each.dishonest for each in outcomes} - {""}
    assert {each.said for each in outcomes if not each.good} <= load.HONEST
    assert not list(ledger.lost(line.address, book.conversations()))
    containers = appliance.containers()
    assert {name: each["RestartCount"] for name, each in containers.items()} == before
    for slope in memory.slopes():
        print(slope)
        assert slope.at_end * stack.MIB < 0.9 * containers[slope.service]["HostConfig"]["Memory"]
