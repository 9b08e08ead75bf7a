"""The first page: figures of the span that was chosen, and warnings that say what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from xml.etree import ElementTree

import pytest
from flask import Flask

from chatproxy.core.condition import Backup, Condition, Machine, Validity
from chatproxy.core.measures import FIRST_TOKEN_S, Figures
from chatproxy.core.slots import GateStatus
from chatproxy.core.types import now
from chatproxy.web.console import charts
from chatproxy.web.console.today import _warnings
from tests.unit.proxy.fakes import FakeCheck, World
from tests.unit.proxy.web.console.browsing import Browser, admitted

GB = 1_000_000_000
BUCKETS = (*(10 if bound == 1.0 else 0 for bound in FIRST_TOKEN_S), 0)
BUSY = Figures(
    requests=1200, errors=3, answers=40, failed=2, refused=7, prompt_tokens=5000, completion_tokens=1500, visitors=4,
    waiting=9, first_token=BUCKETS,
)  # fmt: skip


@pytest.fixture
def world() -> World:
    return World(checks=(FakeCheck("engine"), FakeCheck("mongo", "cannot be reached")))


@pytest.fixture
def browser(world: World) -> Browser:
    return admitted(world)


def put(world: World, figures: Figures, ago: timedelta) -> None:
    world.minutes.add((now() - ago).replace(second=0, microsecond=0), figures)


def test_the_span_decides_what_is_summed_up(world: World, browser: Browser) -> None:
    put(world, BUSY, timedelta(minutes=5))
    put(world, Figures(requests=34), timedelta(hours=3))
    put(world, Figures(requests=5000), timedelta(days=9))
    put(world, Figures(requests=1_000_000), timedelta(days=40))
    for span, requests in {"hour": "1,200", "day": "1,234", "month": "6,234", "nonsense": "1,234", "": "1,234"}.items():
        text = browser.get(f"/?span={span}").text
        assert f'<p class="figure">{requests}</p>' in text, span
    text = browser.get("/?span=hour").text
    assert "0.88 s" in text and "40 answers" in text and "4 visitors" in text
    assert text.count("<svg") == 5 + 4  # charts, and samples in legends


def test_charts_are_well_formed_and_tell_what_they_show(world: World, browser: Browser) -> None:
    put(world, BUSY, timedelta(minutes=5))
    for span in ("hour", "day", "month"):
        text = browser.get(f"/?span={span}").text
        drawn = re.findall(r'<svg viewBox="0 0 360 170".*?</svg>', text, re.DOTALL)
        assert len(drawn) == 5
        for svg in drawn:
            root = ElementTree.fromstring(svg)
            title, desc = root.find("title"), root.find("desc")
            assert root.get("role") == "img" and title is not None and desc is not None
            assert root.get("aria-labelledby") == f"{title.get('id')} {desc.get('id')}"
            assert "style" not in svg  # the page's policy would not let it count
        assert "requests 1.2k at most" in text


def test_the_figures_stand_in_a_table_too(world: World, browser: Browser) -> None:
    put(world, BUSY, timedelta(minutes=5))
    rows = browser.get("/?span=hour").text.partition("<tbody>")[2].partition("</tbody>")[0]
    assert rows.count("<tr>") == 1
    assert re.findall(r'number">([^<]+)<', rows) == ["1200", "40", "5000", "1500", "9", "0.88 s", "0.99 s", "5"]


def test_without_any_figures_it_says_so(browser: Browser) -> None:
    text = browser.get("/").text
    assert "Nothing has happened in the last day." in text


def test_what_does_not_work_is_named_first(world: World, browser: Browser) -> None:
    text = browser.get("/").text
    assert "mongo does not work: cannot be reached." in text and "make logs SERVICE=mongo" in text
    assert text.index("mongo does not work") < text.index("<h2>Model</h2>")


def _condition(world: World) -> Condition:
    return replace(_look(world), dependencies={"engine": None}, machine=Machine(100 * GB, 50 * GB, 8 * GB, 4 * GB))


def _look(world: World) -> Condition:
    from chatproxy.core.condition import Observer
    from chatproxy.core.readiness import Readiness
    from chatproxy.core.tally import Tally
    from tests.unit.proxy.memory import MemoryBackups

    return Observer("m", Tally(), lambda: GateStatus(1, 0, 0, 8), Readiness(()), MemoryBackups()).look()


NOW = datetime.fromisoformat("2026-05-17T12:00:00+00:00")
DAYS = timedelta(days=1)
CASES: Sequence[tuple[str, Callable[[Condition], Condition], Figures, str]] = [
    ("nothing", lambda c: c, Figures(), ""),
    ("engine", lambda c: replace(c, dependencies={"engine-2": "no answer in time"}), Figures(), "SERVICE=engine"),
    ("queue", lambda c: c, Figures(waiting=8, refused=2), "2 questions were refused"),
    ("queue not full", lambda c: c, Figures(waiting=7, refused=2), ""),
    ("no queue", lambda c: replace(c, gate=GateStatus(1, 0, 0, 0)), Figures(waiting=0), ""),
    ("failed", lambda c: c, Figures(answers=10, failed=3), "3 of 13 answers failed"),
    ("one failed", lambda c: c, Figures(answers=1, failed=1), ""),
    ("disk", lambda c: replace(c, machine=Machine(100 * GB, 9 * GB, 8 * GB, 4 * GB)), Figures(), "9.0 GB of the disk"),
    ("small disk", lambda c: replace(c, machine=Machine(10 * GB, GB, 8 * GB, 4 * GB)), Figures(), "1.0 GB of the disk"),
    ("memory", lambda c: replace(c, machine=Machine(100 * GB, 50 * GB, 8 * GB, GB // 10)), Figures(), "of memory are"),
    ("no machine", lambda c: replace(c, machine=None), Figures(), ""),
    ("certificate", lambda c: replace(c, certificate=Validity(NOW - 80 * DAYS, NOW + 10 * DAYS)), Figures(), "ends at"),
    ("new one", lambda c: replace(c, certificate=Validity(NOW - DAYS, NOW + 89 * DAYS)), Figures(), ""),
    ("backup", lambda c: replace(c, backup=Backup(NOW - 8 * DAYS)), Figures(), "The last backup was made"),
    ("new backup", lambda c: replace(c, backup=Backup(NOW - DAYS)), Figures(), ""),
]


@pytest.mark.parametrize(("change", "hour", "told"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_warnings(world: World, change: Callable[[Condition], Condition], hour: Figures, told: str) -> None:
    warned = list(_warnings(change(_condition(world)), hour, NOW))
    assert len(warned) == (1 if told else 0), warned
    assert all(told in f"{each.fact} {each.hint}" and each.hint for each in warned)


@pytest.mark.parametrize(
    ("most", "top"), [(0, 4), (0.3, 0.4), (1, 1), (3, 4), (4, 4), (5, 8), (9, 10), (1200, 2000), (0.1 + 0.2, 0.4)]
)
def test_axes_end_at_a_round_number(most: float, top: float) -> None:
    assert charts.nice(most) == pytest.approx(top)


def test_lines_break_where_nothing_was_measured() -> None:
    moments = [NOW + number * DAYS for number in range(6)]
    chart = charts.draw("x", "X", "lines", moments, [charts.Series("s", [None, 1.0, 2.0, None, 3.0, None])])
    path = chart.shapes[0].path
    assert path.count("M") == 2 and path.count("L") == 1 and path.endswith("h2")
    assert [label.text for label in chart.columns] == ["17 May", "19 May", "20 May", "22 May"]


def test_the_page_is_there_without_any_script(world: World) -> None:
    assert isinstance(world.console, Flask)
    text = admitted(world).get("/").text
    assert 'data-fresh="10"' in text and "<script src=" in text and "onload" not in text
