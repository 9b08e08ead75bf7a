"""Upstream where everything answers, packages where not; the reason is said."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scripts.lib import sources
from scripts.lib.settings import Settings
from tests.unit.scripts.conftest import ALL_HOMES

Wanted = Callable[..., Settings]


def test_auto_takes_upstream_when_all_homes_answer(wanted: Wanted) -> None:
    choice = sources.decide(wanted(), ALL_HOMES)
    assert (choice.kind, choice.engine) == ("upstream", "koboldcpp")
    assert "all answer" in choice.reason


@pytest.mark.parametrize("silent", [sources.GITHUB, sources.HUB, sources.TORCH])
def test_auto_takes_packages_when_one_is_silent_and_names_it(wanted: Wanted, silent: str) -> None:
    choice = sources.decide(wanted(), {**ALL_HOMES, silent: False})
    assert choice.kind == "packages"
    assert silent in choice.reason


def test_a_home_that_nothing_is_taken_from_does_not_count(wanted: Wanted) -> None:
    choice = sources.decide(wanted(ENGINE="llamacpp"), {**ALL_HOMES, sources.GITHUB: False})
    assert (choice.kind, choice.engine) == ("upstream", "llamacpp")


def test_auto_stays_with_what_an_earlier_run_chose(wanted: Wanted) -> None:
    assert sources.decide(wanted(), {}, "upstream").kind == "upstream"
    assert sources.decide(wanted(), ALL_HOMES, "packages").kind == "packages"


def test_an_explicit_choice_is_kept_whatever_answers(wanted: Wanted) -> None:
    assert sources.decide(wanted(SOURCES="upstream"), {}, "packages").kind == "upstream"
    assert sources.decide(wanted(SOURCES="packages"), ALL_HOMES).kind == "packages"


def test_packages_have_no_koboldcpp_so_llama_cpp_answers_and_it_is_said(wanted: Wanted) -> None:
    choice = sources.decide(wanted(SOURCES="packages"), {})
    assert choice.engine == "llamacpp"
    assert "KOBOLDCPP_SOURCE" in choice.engine_reason


def test_packages_with_a_local_source_build_koboldcpp(wanted: Wanted) -> None:
    choice = sources.decide(wanted(SOURCES="packages", KOBOLDCPP_SOURCE="/src"), {})
    assert (choice.engine, choice.engine_reason) == ("koboldcpp", "")


def test_an_engine_elsewhere_stays_elsewhere(wanted: Wanted) -> None:
    assert sources.decide(wanted(SOURCES="packages", ENGINE="external"), {}).engine == "external"


def test_nothing_upstream_is_asked_under_packages(wanted: Wanted) -> None:
    assert set(sources.probe(wanted(SOURCES="packages"))) <= {sources.ARCHIVE}


def test_an_address_that_nobody_listens_on_does_not_answer() -> None:
    assert sources.answers("http://127.0.0.1:9/") is False
