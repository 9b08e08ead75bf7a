"""Model output becomes HTML that can do nothing, in a time that its length bounds.

tests/payloads/xss.jsonl holds what a hostile answer could hold, one JSON string a line: the classes of OWASP's filter
evasion cheat sheet, PortSwigger's cheat sheet, html5sec.org, the published bypasses of DOMPurify, and Markdown's own
ways to write a link. What gets through calls alert(1) or asks evil.example for something.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element

import html5lib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatproxy.web.markdown import to_html

PAYLOADS = [json.loads(line) for line in Path("tests/payloads/xss.jsonl").read_text().splitlines()]
# Tag -> attributes and the values that each may have. Nothing here loads anything by itself.
ADDRESS = re.compile(r"(?:https?|mailto):.*|[^:/?#]*(?:[/?#].*)?", re.IGNORECASE | re.DOTALL)
ALLOWED: dict[str, dict[str, re.Pattern[str]]] = {
    "a": {
        "href": ADDRESS,
        "title": re.compile(r".*", re.DOTALL),
        "target": re.compile("_blank"),
        "rel": re.compile("nofollow noopener noreferrer"),
    },
    "code": {"class": re.compile(r"language-[a-z0-9+-]{1,20}")},
    "div": {"class": re.compile("table-scroll"), "tabindex": re.compile("0")},
    "ol": {"start": re.compile(r"[0-9]{1,9}")},
    **{tag: {} for tag in ("blockquote", "br", "del", "em", "h3", "h4", "h5", "h6", "hr", "li", "p", "pre", "strong")},
    **{tag: {} for tag in ("table", "tbody", "td", "th", "thead", "tr", "ul")},
}
# Whoever has all of these in one answer gets 2,000 tokens of it.
ORDINARY = (
    "## Title\n\nSome **bold** text with `code`, a [link](https://x.test/a) and $x_1$.\n\n- one\n- two\n\n"
    "```python\nprint(1)\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n"
    + "Just words in a paragraph of an answer that goes on. " * 6
    + "\n\n"
) * 16


def elements(html: str) -> Iterator[Element]:
    """What a browser makes of it."""
    yield from html5lib.parseFragment(html, namespaceHTMLElements=False).iter()


def wrong_in(html: str) -> list[str]:
    """Elements and attributes that an answer must not have."""
    found = []
    for element in elements(html):
        if element.tag == "DOCUMENT_FRAGMENT":
            continue
        if element.tag not in ALLOWED:
            found.append(str(element.tag))
            continue
        for name, value in element.attrib.items():
            allowed = ALLOWED[element.tag].get(name)
            if allowed is None or not allowed.fullmatch(value):
                found.append(f"{element.tag} {name}={value}")
    return found


def text_of(html: str) -> str:
    return "".join(html5lib.parseFragment(html, namespaceHTMLElements=False).itertext())


def test_markdown_is_rendered() -> None:
    html = to_html("- a\n- **b**\n\n~~c~~\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nhttps://x.test\nend")
    for part in ("<li>a</li>", "<strong>b</strong>", "<del>c</del>", "<th>a</th>", "<td>2</td>", "</a><br>"):
        assert part in html


def test_the_payloads_are_many_and_distinct() -> None:
    assert len(set(PAYLOADS)) == len(PAYLOADS) > 500


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: ascii(payload)[1:50])
def test_hostile_output_becomes_harmless(payload: str) -> None:
    assert wrong_in(to_html(payload)) == []


@pytest.mark.parametrize(
    "before", ["\n", "> ", "- ", "```\n", "| a |\n|---|\n| ", "[", "**", "`", "$", "\\(", "<p>\n\n"]
)
def test_what_stands_around_hostile_output_does_not_free_it(before: str) -> None:
    wrong = {payload: wrong_in(to_html(f"{before}{payload}")) for payload in PAYLOADS}
    assert {payload: found for payload, found in wrong.items() if found} == {}


def test_hostile_output_all_at_once_becomes_harmless() -> None:
    assert wrong_in(to_html("\n\n".join(PAYLOADS))) == []


@given(st.text(alphabet="<>[]()!\"'`*_# \n$\\|-scriptjavasrcdata:/=&;", max_size=80))
def test_whatever_is_written_only_known_elements_come_out(text: str) -> None:
    assert wrong_in(to_html(text)) == []


@pytest.mark.parametrize("markup", ["<script>alert(1)</script>", "<b>x</b>", "<!-- x -->", "&lt;b&gt;"])
def test_html_in_an_answer_is_shown_as_it_was_written(markup: str) -> None:
    assert text_of(to_html(f"Write `{markup}`")).strip() == f"Write {markup}"


def test_links_open_elsewhere_and_tell_nothing() -> None:
    html = to_html('[a](https://x.test "t") <https://x.test> https://x.test [m](mailto:a@x.test)')
    links = [element for element in elements(html) if element.tag == "a"]
    assert len(links) == 4
    assert all(link.attrib["target"] == "_blank" for link in links)
    assert all(link.attrib["rel"] == "nofollow noopener noreferrer" for link in links)
    assert {urlsplit(link.attrib["href"]).scheme for link in links} == {"https", "mailto"}


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "tel:1", "ftp://x.test", "java&#9;script:x"]
)
def test_a_link_that_nobody_may_follow_is_its_text(url: str) -> None:
    assert to_html(f"[x]({url})") == "<p>x</p>\n"


@pytest.mark.parametrize(
    "image", ["![a *cat*](https://evil.example/x)", "![a *cat*][1]\n\n[1]: https://evil.example/x"]
)
def test_an_image_is_what_stands_in_its_place(image: str) -> None:
    assert to_html(image) == "<p>a cat</p>\n"


def test_headings_stay_below_the_pages_own() -> None:
    html = to_html("".join(f"{'#' * level} {level}\n\n" for level in range(1, 7)) + "a\n=\n\nb\n-\n")
    levels = [int(str(element.tag)[1]) for element in elements(html) if re.fullmatch("h[1-6]", str(element.tag))]
    assert levels == [3, 4, 5, 6, 6, 6, 3, 4]


@pytest.mark.parametrize(
    ("info", "told"),
    [
        ("python", "language-python"),
        ("C++ title=x", "language-c++"),
        ("objective-c", "language-objective-c"),
        ("", None),
        ('"onclick', None),
        ("a" * 21, None),
        ("{.python}", None),
        ("a&quot;b", None),
    ],
)
def test_a_code_block_keeps_its_language_where_it_is_one(info: str, told: str | None) -> None:
    html = to_html(f"```{info}\nx < 1\n```")
    (code,) = [element for element in elements(html) if element.tag == "code"]
    assert (code.attrib.get("class"), code.text) == (told, "x < 1\n")


def test_a_table_stands_in_what_can_scroll_sideways() -> None:
    html = to_html("| a |\n|---|\n| 1 |\n\n- x\n\n  | b |\n  |---|\n  | 2 |\n")
    (wrapper, *_) = [element for element in elements(html) if element.tag == "div"]
    assert wrapper.attrib == {"class": "table-scroll", "tabindex": "0"}
    assert [child.tag for child in wrapper] == ["table"]


@pytest.mark.parametrize(
    "formula",
    [
        "$a_1*b_2*c$",
        "$$a_1*b_2*c$$",
        r"\(a_1*b_2*c\)",
        r"\[a_1*b_2*c\]",
        r"$\{a\}_1 * \$b_2*$",
        r"\(\frac{a_1}{b_1}\)",
        "$a<b>c$",
        "\\[\na_1\n= *b*\n- c\n\\]",
        "$$\n# a_1\n| b_2 | c |\n$$",
    ],
)
def test_a_formula_stays_as_it_was_written(formula: str) -> None:
    space = "\n" if "\n" in formula else " "  # what goes over several lines begins with its own
    for text in (formula, f"Before *that*{space}{formula}{space}and **behind**", "> " + formula.replace("\n", "\n> ")):
        shown = text_of(to_html(text))
        assert formula in shown
        assert "*that*" not in shown
        assert "**" not in shown


@pytest.mark.parametrize(
    "text",
    ["$5 and $6", "It costs $5, or $6 with *tax*.", "US$5 *or* US$10", "$5/$6 per *unit*", "$ 5 *or* 5 $", "*x* $"],
)
def test_prices_are_no_formulas(text: str) -> None:
    html = to_html(text)
    assert text_of(html).strip() == text.replace("*", "")
    assert html.count("<em>") == text.count("*") // 2


def test_a_formula_does_not_reach_over_a_paragraph_or_into_code() -> None:
    html = to_html("$$ is *money*\n\n```\necho $$\n```\n\n\\[ and `\\]` *x*")
    assert html.count("<em>") == 2
    assert "<code>echo $$\n</code>" in html


def test_an_ordinary_answer_takes_milliseconds() -> None:
    to_html(ORDINARY)
    begun = time.process_time()
    for _ in range(10):
        to_html(ORDINARY)
    assert (time.process_time() - begun) / 10 < 0.1  # about 0.01 s on a free core


LONG = 100_000
PIECES = [
    *(
        "[",
        "]",
        "![",
        "[](",
        "[a](<",
        "(",
        "*",
        "_a",
        "`",
        "$",
        "$`",
        "\\(",
        "\\[",
        "$\\$",
        ">",
        "<",
        "<!--",
        "</",
        "&",
    ),
    *("&#", "\\", "|", "|a", "|-", "#", "http://", "a@b.", "-"),
    *("[a]: <", "[a\n", "*a ", "**a *b ", "$a ", "$`a ", "\\[\n", "$$\n", "~~a ", "> ", "- ", "1. ", "<a ", "```\n"),
    *("a\n=\n", "# a\n", " ", "\n", "\t", "> - ", "[x]:\n", "<div>\n"),
]


@pytest.mark.parametrize("piece", PIECES)
def test_no_text_takes_more_time_than_its_length_allows(piece: str) -> None:
    begun = time.process_time()
    assert wrong_in(to_html((piece * LONG)[:LONG])[:1000]) == []
    assert time.process_time() - begun < 10  # under 1 s on a free core; quadratic would be minutes


@pytest.mark.parametrize(
    "text",
    [
        "\n".join("  " * depth + "- a" for depth in range(300)),
        "\n".join("> " * depth + "a" for depth in range(300)),
        "|a" * 20_000 + "|\n" + "|-" * 20_000 + "|\n" + "|b" * 20_000 + "|",
        "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 8_000,
        "[a]: x\n\n" + "[a] " * 25_000,
        "[" * 50_000 + "](x)" * 10_000,
        "*" * 50_000 + "a" + "*" * 50_000,
    ],
    ids=["nested lists", "nested quotes", "wide table", "long table", "references", "unfinished links", "emphasis"],
)
def test_deep_and_huge_structures_take_bounded_time(text: str) -> None:
    begun = time.process_time()
    to_html(text)
    assert time.process_time() - begun < 10
