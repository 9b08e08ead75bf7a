"""The pages of bots, and one question put to two of them: through everybody's queue, and nothing kept."""

from __future__ import annotations

import html
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chatproxy.adapters.bots import BotFiles
from chatproxy.core.passages import Passage
from chatproxy.core.prompts import Formats
from chatproxy.core.sampling import PRESETS
from chatproxy.core.types import BotProblem, Rule
from chatproxy.errors import EngineFailure
from chatproxy.settings import Settings
from tests.unit.proxy.fakes import ASSISTANT, MIRA, FakeBots, FakePassages, World, blocked_until
from tests.unit.proxy.waiting import until
from tests.unit.proxy.web.console.browsing import Browser, admitted

GOOD = "name: Desk\nsystem: Help.\nknowledge: [site]\nmode: sources-only\n"
HOURS = Passage("a", "a", 0, "We open at nine.", ("Hours",), "https://shop.example/hours")


@pytest.fixture
def world() -> World:
    assistant = replace(ASSISTANT, rules=(Rule(("refund",), "Within 30 days."),))
    return World(bots=FakeBots(assistant, replace(MIRA, knowledge=("site",))), passages=FakePassages(HOURS))


@pytest.fixture
def browser(world: World) -> Browser:
    return admitted(world)


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    frames = [frame for frame in text.split("\n\n") if frame.startswith("event:")]
    return [(frame.split("\n")[0][7:], json.loads(frame.partition("data: ")[2])) for frame in frames]


def test_good_and_broken_files_are_listed(world: World, browser: Browser) -> None:
    world.bots.problems = [
        BotProblem("mira", "mira.yaml", 3, "there is no mode 'loud'", in_use=True),
        BotProblem("Bad Name", "Bad Name.yaml", None, "a bot's file name is lower-case letters"),
    ]
    text = html.unescape(browser.get("/bots").text)
    assert "there is no mode 'loud'" in text and "its last good version answers" in text
    assert "Bad Name.yaml" in text and "there is no such bot" in text
    assert "/bots/assistant" in text and "the default" in text
    assert "line 3:" in browser.get("/bots/mira").text
    assert "Within 30 days." in browser.get("/bots/assistant").text
    assert browser.get("/bots/nobody").status_code == 404


def test_a_bot_without_what_it_needs_is_remarked_upon(browser: Browser) -> None:
    text = html.unescape(browser.get("/bots/mira").text)
    assert "knowledge names the collection 'site', which holds nothing yet" in text


@pytest.fixture
def filed(tmp_path: Path) -> Browser:
    """A console over real files."""
    (tmp_path / "assistant.yaml").write_text("name: Assistant\nsystem: Help.\n")
    bots = BotFiles(tmp_path, formats=Formats().names, presets=PRESETS)
    return admitted(World(bots=bots))  # type: ignore[arg-type]  # what implements the same port


def test_a_pasted_file_is_looked_at_and_not_saved(filed: Browser, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    good = html.unescape(filed.post("/bots/-/check", {"text": GOOD}).text)
    assert "This file is good." in good and "compose/bots/NAME.yaml" in good
    wrong = filed.post("/bots/-/check", {"text": "name: Desk\nmode: loud\nsystem: Help.\nmax_tokens: many\n"})
    assert wrong.status_code == 200
    text = html.unescape(wrong.text)
    assert "Line 2:" in text and "there is no mode 'loud'" in text
    assert "Line 4:" in text and "max_tokens is" in text
    assert "max_tokens: many" in text  # what was pasted is still there
    assert filed.post("/bots/-/check", {"text": " "}).status_code == 400
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_file_that_was_broken_is_told_with_all_its_lines(filed: Browser, tmp_path: Path) -> None:
    (tmp_path / "desk.yaml").write_text("name: Desk\nmode: loud\nsampling: wild\n")
    (tmp_path / "Wrong Name.yaml").write_text("name: x\n")
    text = html.unescape(filed.get("/bots").text)
    for told in ("desk.yaml", "there is no mode 'loud'", "there is no sampling preset 'wild'", "Wrong Name.yaml"):
        assert told in text


def test_two_bots_answer_side_by_side_without_any_script(world: World, browser: Browser) -> None:
    answer = browser.post("/bots/-/try", {"question": "A refund?", "left": "assistant", "right": "mira"})
    text = html.unescape(answer.text)
    assert answer.status_code == 200
    assert "Within 30 days." in text and "by a rule, without the model" in text
    assert "Hello there." in text and "https://shop.example/hours" in text and "We open at nine." in text
    assert len(world.engine.generations) == 1
    assert not world.history.conversations_by_id
    assert world.audit.acts[-1].subject == "assistant, mira"
    assert "refund" not in str(world.audit.acts)


def test_a_trial_is_streamed_with_its_figures_and_nothing_is_kept(world: World, browser: Browser) -> None:
    response = browser.post("/bots/-/try/answer", {"question": "When?", "bot": "mira"})
    assert response.content_type.startswith("text/event-stream")
    told = events(response.text)
    assert [name for name, _ in told if name != "token"] == ["sources", "done"]
    done = told[-1][1]
    assert done["answer"] == "Hello there." and done["sources"][0]["title"] == "Hours"
    assert 0 <= done["first_token_s"] <= done["total_s"]
    assert not world.history.conversations_by_id and not world.history.stored


def test_what_fails_is_the_streams_own_event_with_its_status(world: World, browser: Browser) -> None:
    unknown = browser.post("/bots/-/try/answer", {"question": "When?", "bot": "nobody"})
    assert (unknown.status_code, events(unknown.text)[0][1]["code"]) == (404, "not_found")
    assert world.audit.acts[-1].outcome == "not_found"
    empty = browser.post("/bots/-/try/answer", {"question": " ", "bot": "mira"})
    assert (empty.status_code, events(empty.text)[0][1]["code"]) == (400, "invalid_request")
    world.engine.script = [EngineFailure("it is gone")]
    broken = browser.post("/bots/-/try/answer", {"question": "When?", "bot": "mira"})
    assert events(broken.text)[-1][1]["code"] == "engine_error"
    plain = browser.post("/bots/-/try", {"question": "When?", "left": "mira", "right": "mira"})
    assert plain.status_code == 200 and plain.text.count('role="alert"') == 2


@pytest.mark.parametrize("fields", [{"question": "", "left": "mira"}, {"question": "x", "left": "nobody"}])
def test_a_form_that_is_wrong_comes_back(browser: Browser, fields: dict[str, str]) -> None:
    answer = browser.post("/bots/-/try", {"right": "mira", **fields})
    assert answer.status_code == 400 and 'role="alert"' in answer.text


def test_limits_of_keys_do_not_bound_the_owners_trials(world: World) -> None:
    limited = World(settings=replace(world.settings, key_streams=1, key_requests_per_minute=1))
    browser = admitted(limited)
    for _ in range(2):
        answer = browser.post("/bots/-/try", {"question": "Hello?", "left": "assistant", "right": "mira"})
        assert "Hello there." in answer.text and 'role="alert"' not in answer.text


def test_a_visitor_comes_before_the_owners_second_trial() -> None:
    """All trials are one payer's, and what waits is served in turn by payer."""
    going = threading.Event()
    crowd = World(settings=Settings(trusted_hops=0, engine_slots=1, queue_size=4))
    crowd.engine.script = blocked_until(going)
    client, browsers = crowd.client("chat"), [admitted(crowd), Browser(crowd)]
    browsers[1].log_in()

    def trial(browser: Browser, question: str) -> None:
        assert "late" in browser.post("/bots/-/try/answer", {"question": question, "bot": "assistant"}).text

    def at_the_gate() -> int:
        engine = crowd.app.test_client().get("/readyz").get_json()["engine"]
        return int(engine["busy"] + engine["waiting"])

    def begin(ask: Callable[[], object], place: int) -> threading.Thread:
        thread = threading.Thread(target=ask)
        thread.start()
        until(lambda: at_the_gate() == place)
        return thread

    threads = [
        begin(lambda: trial(browsers[0], "The first trial?"), 1),
        begin(lambda: trial(browsers[1], "The second trial?"), 2),
        begin(lambda: client.post("/api/v1/chat", json={"message": "The visitor?"}), 3),
    ]
    going.set()
    for thread in threads:
        thread.join(10)
    prompts = [generation.prompt for generation in crowd.engine.generations]
    served = [who for prompt in prompts for who in ("first", "second", "visitor") if f"The {who}" in prompt]
    assert served == ["first", "visitor", "second"]
