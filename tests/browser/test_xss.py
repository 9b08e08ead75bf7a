"""Hostile texts as questions and as answers: none of them runs, loads or leads anywhere, now or after a reload."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visits
from tests.browser.payloads import PAYLOADS, ask_all, dangers
from tests.browser.stage import Stage
from tests.browser.widget import PATIENCE_MS
from tests.doubles.koboldcpp import KoboldcppDouble

# As many in one conversation: a log of thousands of messages is slow to lay out and tells nothing more.
_BATCH = 96
_SHORTEST = 50
_BATCHES = [PAYLOADS[n : n + _BATCH] for n in range(0, len(PAYLOADS), _BATCH)]


def _through(visits: Visits, engine: KoboldcppDouble, texts: Sequence[str]) -> None:
    """Each text is a question, and its answer is the same text."""
    asked = [text for text in texts if text.strip()]
    replies = iter(asked)
    engine.reply = lambda parameters: [next(replies)]
    widget = visits.homepage().open()
    ask_all(widget, asked)
    expect(widget.questions).to_have_count(len(asked))
    assert dangers(widget) == []
    # What is typed is shown as it was typed, to the letter.
    shown = widget.page.evaluate(
        "() => [...document.querySelector('chat-widget').shadowRoot.querySelectorAll('.message.user .text')]"
        ".map((each) => each.textContent)"
    )
    assert shown == asked
    # And as it comes from the store.
    widget.page.reload()
    widget.open()
    expect(widget.questions).to_have_count(len(asked), timeout=PATIENCE_MS)
    assert dangers(widget) == []
    _touch(widget.page)
    visits.watch.check()


def _touch(page: Page) -> None:
    """Move, press and focus everything that an answer has left: some payloads wait for that."""
    page.evaluate(
        """() => {
          for (const element of document.querySelector('chat-widget').shadowRoot.querySelectorAll('.message .text *'))
            for (const name of ['mouseover', 'mouseenter', 'pointerover', 'focus', 'focusin', 'animationstart',
                                'toggle', 'error', 'load'])
              element.dispatchEvent(new Event(name, {bubbles: true, composed: true}));
        }"""
    )
    page.wait_for_timeout(50)


@pytest.mark.parametrize("batch", range(len(_BATCHES)))
def test_no_hostile_text_runs_or_loads_anything(visits: Visits, engine: KoboldcppDouble, batch: int) -> None:
    _through(visits, engine, _BATCHES[batch])


def test_the_payloads_are_many_and_the_traps_catch(visits: Visits) -> None:
    """Else the test above could not fail."""
    assert len(PAYLOADS) >= 1000
    page = visits.homepage().page
    page.evaluate("() => { document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=alert(1)>'); }")
    page.wait_for_function("() => __ran.length > 0")
    with pytest.raises(AssertionError, match="code from outside"):
        visits.watch.check()
    page.evaluate("() => { __ran.length = 0; }")
    visits.watch.expect("404|stranger")


def _splits(payload: str) -> list[str]:
    """Every way to send it in two tokens, one paragraph each: a token ends one paragraph and begins the next."""
    pieces = [(payload[:n], payload[n:]) for n in range(1, len(payload))] or [(payload, "")]
    ends = ["", *(f"{end}\n\n" for _, end in pieces)]
    return [end + begin for end, begin in itertools.zip_longest(ends, (begin for begin, _ in pieces), fillvalue="")]


@pytest.mark.parametrize("part", range(2))
def test_no_way_to_cut_a_hostile_text_makes_it_run(visits: Visits, engine: KoboldcppDouble, part: int) -> None:
    """The shortest ones token by token, at every place; the page shows each beginning of them for at least a frame."""
    shortest = [text for text in sorted(PAYLOADS, key=len) if text.strip()][:_SHORTEST]
    mine = shortest[part::2]
    replies = iter([_splits(text) for text in mine])
    engine.reply = lambda parameters: next(replies)
    engine.slot.token_delay = 0.021  # the double's own bundles are 20 ms long
    widget = visits.homepage().open()
    ask_all(widget, [f"Answer {n}?" for n in range(len(mine))])
    assert dangers(widget) == []
    _touch(widget.page)


def test_links_of_answers_lead_to_the_web_alone(visits: Visits, engine: KoboldcppDouble, stage: Stage) -> None:
    schemes = ("javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,<script>alert(1)</script>",
               "vbscript:x", "file:///etc/passwd", "//shop.example/x", "java\tscript:alert(1)")  # fmt: skip
    engine.reply = ["\n\n".join(f"[press {n}]({scheme})" for n, scheme in enumerate(schemes))]
    widget = visits.homepage().open()
    widget.ask("Where?")
    for link in widget.text.locator("a").all():
        assert link.evaluate("(element) => element.protocol") in ("http:", "https:", "mailto:")
    expect(widget.text).to_contain_text("press 0")


def test_hostile_words_of_bot_and_page_stay_words(visits: Visits) -> None:
    evil = "<img src=x onerror=alert(1)>"
    widget = visits.homepage(title=evil, greeting=evil, placeholder=evil, quick_replies=f"{evil}|b", consent=evil)
    widget.launcher.click()
    expect(widget.part(".consent p")).to_have_text(evil)
    widget.action("agree").click()
    expect(widget.part(".title")).to_have_text(evil)
    expect(widget.part(".greeting .text")).to_have_text(evil)
    assert dangers(widget) == []


def test_hostile_colours_cannot_break_out(visits: Visits) -> None:
    evil = "red;} * { display: none } a { background: url(https://evil.example/x)"
    widget = visits.homepage(
        accent=evil, accent_text=evil, position=evil, color_scheme=evil, language="../../api"
    ).open()
    expect(widget.panel).to_be_visible()
    assert not any("evil" in url for url in visits.watch.requests)
