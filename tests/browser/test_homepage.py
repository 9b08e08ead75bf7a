"""The widget as a guest on somebody's page: it asks for nothing, leaves nothing, and nothing reaches into it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visits
from tests.browser.hosts import HOSTILE_STYLE, HostPage, embed_line
from tests.browser.stage import Stage
from tests.browser.widget import Widget
from tests.doubles.koboldcpp import KoboldcppDouble

# Own names of the page's global object, less those that the test's traps have made.
_GLOBALS = "() => Object.getOwnPropertyNames(window).filter((name) => name !== '__ran')"
_STYLES = """() => [...document.querySelectorAll('html, body, main, h1, p, a')].map((element) => {
  const style = getComputedStyle(element);
  return [...style].map((name) => name + ':' + style.getPropertyValue(name)).join(';');
})"""


def _bare(visits: Visits, stage: Stage, script: str) -> list[str]:
    """What the same page tells without the widget."""
    page = visits.page()
    page.goto(stage.site.serve(HostPage("")))
    return list(page.evaluate(script))


def test_the_page_keeps_its_globals_its_styles_and_its_focus(stage: Stage, visits: Visits) -> None:
    names, styles = _bare(visits, stage, _GLOBALS), _bare(visits, stage, _STYLES)
    widget = visits.homepage()
    page = widget.page
    page.locator("#own").focus()
    widget.page.evaluate("() => { window.ChatWidget.open(); }")
    expect(widget.field).to_be_visible()
    widget.ask("Hello?")
    assert set(page.evaluate(_GLOBALS)) - set(names) == {"ChatWidget"}
    now = page.evaluate(_STYLES)
    # The page may have become longer than the window or not: its own elements look as before.
    assert now == styles
    assert page.evaluate("() => [document.body.children.length, document.head.children.length]") == [3, 4]
    assert page.evaluate("() => document.adoptedStyleSheets.length + document.styleSheets.length") == 0


def test_opening_by_itself_takes_no_focus(visits: Visits) -> None:
    widget = visits.homepage(open="true", host={"body": "<input id='search' autofocus>"})
    expect(widget.panel).to_be_visible()
    expect(widget.page.locator("#search")).to_be_focused()


def test_the_pages_own_keys_do_not_hear_what_is_typed(visits: Visits) -> None:
    """A shop's shortcut ("s" = search) must not go off while a visitor writes to the chat."""
    widget = visits.homepage().open()
    widget.page.evaluate(
        "() => { window.heard = []; document.addEventListener('keydown', (event) => {"
        " if (!event.composedPath().some((each) => each.localName === 'textarea')) heard.push(event.key); }); }"
    )
    widget.field.press_sequentially("sos")
    assert widget.page.evaluate("() => window.heard") == []


def _measures(widget: Widget) -> list[object]:
    parts = (".launcher", ".panel", ".composer textarea", ".composer .send", ".message.user", ".message.bot")
    return [widget.part(part).first.bounding_box() for part in parts]


def test_a_hostile_style_sheet_does_not_reach_the_widget(visits: Visits) -> None:
    plain, hostile = visits.homepage().open(), visits.homepage(host={"style": HOSTILE_STYLE}).open()
    for widget in (plain, hostile):
        widget.ask("Hello?")
    assert _measures(hostile) == _measures(plain)
    looks = """(element) => { const style = getComputedStyle(element);
      return ['color', 'backgroundColor', 'fontSize', 'fontFamily', 'lineHeight', 'letterSpacing', 'wordSpacing',
              'textTransform', 'textAlign', 'whiteSpace', 'direction', 'visibility', 'opacity', 'cursor',
              'pointerEvents'].map((name) => style[name]); }"""
    for part in (".launcher", ".message.bot .text", ".composer textarea", ".composer .send", ".title"):
        assert hostile.part(part).first.evaluate(looks) == plain.part(part).first.evaluate(looks), part


def test_a_huge_root_font_does_not_make_the_widget_huge(visits: Visits) -> None:
    widget = visits.homepage(host={"style": "html { font-size: 48px }"})
    box = widget.launcher.bounding_box()
    assert box and 44 <= box["width"] <= 80


CSP = "default-src 'none'; script-src {server}; connect-src {server}"
TRUSTED = CSP + "; require-trusted-types-for 'script'; trusted-types chat-widget"


@pytest.mark.parametrize("policy", [CSP, TRUSTED], ids=["script and connect", "trusted types"])
def test_it_works_under_a_strict_policy(stage: Stage, visits: Visits, engine: KoboldcppDouble, policy: str) -> None:
    engine.reply = ("**Bold**", " and", " [a link](https://shop.example/).")
    csp = policy.format(server=stage.server) + "; img-src data:"
    widget = visits.homepage(host={"csp": csp}, greeting="Hi!", quick_replies="A|B").open()
    widget.ask("Hello?")
    expect(widget.text.locator("strong")).to_have_text("Bold")
    widget.action("up", ".message.bot").click()
    widget.choose("new")
    box = widget.panel.bounding_box()
    assert box and box["width"] > 300, "the style sheet did not come"
    assert not any("policy" in each.lower() for each in visits.watch.console)


def test_trusted_types_without_our_policy_show_answers_as_plain_text(
    stage: Stage, visits: Visits, engine: KoboldcppDouble
) -> None:
    engine.reply = ("**Bold**",)
    csp = CSP.format(server=stage.server) + "; require-trusted-types-for 'script'; trusted-types other"
    widget = visits.homepage(host={"csp": csp}).open()
    visits.watch.expect("(?i)trusted.?types|TrustedType|policy broken|without formatting|img-src|default-src")
    assert widget.ask("Hello?") == "**Bold**"
    assert any("trusted-types chat-widget" in each for each in visits.watch.console), "nobody is told what to add"


def test_a_policy_that_forbids_the_widget_is_explained_on_the_console(stage: Stage, visits: Visits) -> None:
    csp = f"default-src 'none'; script-src {stage.server}; connect-src 'none'"
    page = visits.page()
    visits.watch.expect("")
    page.goto(stage.site.serve(HostPage(embed_line(stage.server, bot="shop", site_key=stage.site_key), csp=csp)))
    page.wait_for_event("console", lambda said: "connect-src" in said.text and "[chat widget]" in said.text)


def test_nothing_is_kept_in_cookies_and_none_are_sent(stage: Stage, visits: Visits) -> None:
    widget = visits.homepage()
    page = widget.page
    server = stage.server
    page.context.add_cookies([{"name": "session", "value": "secret", "url": server}])
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.headers.get("cookie", "")))
    widget.open().ask("Hello?")
    assert seen and not any(seen)
    assert [cookie["name"] for cookie in page.context.cookies()] == ["session"]
    kept = page.evaluate("() => [Object.keys(localStorage), Object.keys(sessionStorage)]")
    assert kept == [[f"chat-widget:{stage.site_key}"], []]


def test_an_origin_that_the_site_key_does_not_list_is_told_what_to_do(stage: Stage, visits: Visits) -> None:
    page = visits.page()
    visits.watch.expect("origin_not_allowed|Failed to load resource.*403")
    page.goto(stage.site.serve(HostPage(embed_line(stage.server, bot="assistant", site_key=stage.site_key)), "other"))
    widget = Widget(page)
    widget.launcher.click()
    expect(widget.panel).to_contain_text("The chat is not available on this page.")
    expect(widget.field).to_be_hidden()
    told = [each for each in visits.watch.console if "origin_not_allowed" in each]
    assert told, visits.watch.console
    origin = re.escape(stage.site.origin("other"))
    assert re.search(origin, told[0]) and "ORIGINS=" in told[0], "the owner reads neither what nor how to mend it"
    assert stage.site.origin("shop") not in told[0], "another site's address is told"


def test_a_revoked_site_key_says_so(stage: Stage, visits: Visits) -> None:
    key = stage.new_site_key([stage.site.origin("shop")])
    widget = visits.homepage(site_key=key).open()
    widget.ask("Hello?")
    assert stage.proxy.keys("revoke", key).returncode == 0
    visits.watch.expect("origin_not_allowed|Failed to load resource.*(401|403)")
    widget.write("Still there?")
    widget.reaches("error")
    expect(widget.answer.locator(".note")).to_have_text("The chat is not available on this page.")


def test_a_page_from_right_to_left_has_the_chat_that_way_too(visits: Visits, engine: KoboldcppDouble) -> None:
    engine.reply = ("An English answer",)
    widget = visits.homepage(host={"direction": "rtl"}, quick_replies="Where is it?|B").open()
    direction = "(element) => getComputedStyle(element).direction"
    assert widget.panel.evaluate(direction) == "rtl"
    # Texts have the direction of their own language, and stand on their speaker's side all the same.
    assert widget.part(".quick button").first.evaluate(direction) == "ltr"
    widget.ask("Short?")
    assert widget.text.evaluate(direction) == "ltr"
    panel, question, answer = (
        part.bounding_box() for part in (widget.panel, widget.questions.locator(".text"), widget.text)
    )
    assert panel and question and answer
    assert question["x"] - panel["x"] < 40, "the visitor's own words stand at the line's end"
    assert panel["x"] + panel["width"] - answer["x"] - answer["width"] < 40
    widget.ask("שאלה")
    assert widget.questions.last.locator(".text").evaluate(direction) == "rtl"


def test_two_embed_lines_make_one_widget(stage: Stage, visits: Visits) -> None:
    page = visits.page()
    line = embed_line(stage.server, bot="assistant", site_key=stage.site_key)
    page.goto(stage.site.serve(HostPage(line + line)))
    widget = Widget(page)
    widget.launcher.first.wait_for()
    page.wait_for_timeout(300)
    expect(widget.launcher).to_have_count(1)


def test_the_embed_line_works_in_the_head_too(stage: Stage, visits: Visits) -> None:
    page = visits.page()
    line = embed_line(stage.server, bot="assistant", site_key=stage.site_key)
    page.goto(stage.site.serve(HostPage("", head=line)))
    assert Widget(page).open().ask("Hello?") == "Hello there."


def test_a_page_that_forbids_scripts_can_have_the_chat_in_a_frame(stage: Stage, visits: Visits) -> None:
    frame = (
        f'<iframe title="Chat" src="{stage.server}/embed?bot=assistant&amp;site_key={stage.site_key}"'
        ' width="400" height="600"></iframe>'
    )
    page = visits.page()
    csp = f"default-src 'none'; img-src data:; frame-src {stage.server}"
    page.goto(stage.site.serve(HostPage(frame, csp=csp)))
    widget = Widget(page, page.frame_locator("iframe"))
    assert widget.ask("Hello?") == "Hello there."
    expect(widget.panel).to_be_visible()


def test_a_frame_on_a_page_that_is_not_listed_stays_empty(stage: Stage, visits: Visits) -> None:
    frame = f'<iframe title="Chat" src="{stage.server}/embed?bot=assistant&amp;site_key={stage.site_key}"></iframe>'
    page = visits.page()
    visits.watch.expect("frame-ancestors|ERR_BLOCKED|violates")
    page.goto(stage.site.serve(HostPage(frame), "other"))
    page.wait_for_timeout(500)
    assert any("frame-ancestors" in each for each in visits.watch.console)
    assert page.frames[1].url.startswith("chrome-error:")
