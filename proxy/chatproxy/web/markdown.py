"""An answer's Markdown as HTML that is safe to insert into a page.

What it may hold: headings from h3 down (the page has its own above), links that open elsewhere and tell nothing, code
with its language as `class="language-x"`, tables inside `<div class="table-scroll" tabindex="0">` (which can scroll
sideways, by keyboard too), and formulas as the text that was written. No images: a model talked into writing one would
send the conversation to a stranger's server in its address.
"""

from __future__ import annotations

import re
from re import Match
from typing import Any

import mistune
import nh3
from mistune.block_parser import BlockParser
from mistune.core import BlockState, InlineState
from mistune.inline_parser import InlineParser
from mistune.util import escape, striptags

_HEADINGS = ("h3", "h4", "h5", "h6")
_TAGS = {
    *("a", "blockquote", "br", "code", "del", "div", "em", *_HEADINGS, "hr", "li", "ol", "p"),
    *("pre", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, "code": {"class"}, "div": {"class"}}
_ALWAYS = {"a": {"target": "_blank"}, "div": {"tabindex": "0"}}
_CLASSES = {"code": re.compile(r"language-[a-z0-9+-]{1,20}"), "div": re.compile(r"table-scroll")}
_SCHEMES = {"http", "https", "mailto"}
_NO_LINK = "#harmful-link"  # what mistune puts in the place of an address that it does not let through

# Each of these looks no further than to the next delimiter, so that a hundred thousand open ones take no longer than
# any other text. Without white space inside and a digit behind, as Pandoc has it, prices stay prices: "$5 and $6".
_BETWEEN_DOLLARS = r"\$(?![\s$])(?:[^$\\\n]|\\[^\n])*(?<!\s)\$(?!\d)"
_BETWEEN_TWO_DOLLARS = r"\$\$(?:(?!\n[ \t]*\n)[^$])+\$\$"
_IN_PARENTHESES = r"\\\((?:[^\\\n]|\\[^()\n])*\\\)"
_IN_BRACKETS = r"\\\[(?:(?!\n[ \t]*\n)[^\\]|\\[^\[\]])*\\\](?!\()"
_INLINE_FORMULA = "|".join((_BETWEEN_TWO_DOLLARS, _BETWEEN_DOLLARS, _IN_PARENTHESES, _IN_BRACKETS))
_BLOCK_FORMULA = rf"^ {{0,3}}(?:{_BETWEEN_TWO_DOLLARS}|{_IN_BRACKETS})[ \t]*(?:\n|$)"


class _Renderer(mistune.HTMLRenderer):
    """HTML as a page can use it; what is dangerous in it the sanitiser takes out, whatever this class does."""

    SAFE_PROTOCOLS = ("http:", "https:", "mailto:")
    GOOD_DATA_PROTOCOLS = ()

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        tag = _HEADINGS[min(level, len(_HEADINGS)) - 1]
        return f"<{tag}>{text}</{tag}>\n"

    def link(self, text: str, url: str, title: str | None = None) -> str:
        return text if self.sanitize_url(url) == _NO_LINK else super().link(text, url, title)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return striptags(text)

    def block_code(self, code: str, info: str | None = None) -> str:
        language = f"language-{info.split()[0].lower()}" if info and info.strip() else ""
        named = f' class="{language}"' if _CLASSES["code"].fullmatch(language) else ""
        return f"<pre><code{named}>{escape(code)}</code></pre>\n"

    def block_formula(self, text: str) -> str:
        return "<p>" + escape(text).replace("\n", "<br />\n") + "</p>\n"


def _formulas(md: mistune.Markdown) -> None:
    """A mistune plugin: what stands in a formula is no Markdown."""
    md.inline.register("formula", _INLINE_FORMULA, _inline_formula, before="escape", start_chars=("$", "\\"))
    md.block.register("block_formula", _BLOCK_FORMULA, _block_formula, before="list")
    for rules in (md.block.list_rules, md.block.block_quote_rules):
        md.block.insert_rule(rules, "block_formula", before="list")


def _inline_formula(inline: InlineParser, match: Match[str], state: InlineState) -> int:
    inline.process_text(match[0], state, parse_emphasis=False)
    return match.end()


def _block_formula(block: BlockParser, match: Match[str], state: BlockState) -> int:
    state.append_token({"type": "block_formula", "raw": match[0].strip()})
    return match.end()


def _scrolling_tables(md: mistune.Markdown) -> None:
    """A mistune plugin, to come behind `table`."""
    if md.renderer:
        md.renderer.register("table", _scrolling_table)


def _scrolling_table(_: mistune.HTMLRenderer, text: str) -> str:
    return f'<div class="table-scroll"><table>\n{text}</table></div>\n'


def _attribute(tag: str, name: str, value: str) -> str | None:
    return value if name != "class" or _CLASSES[tag].fullmatch(value) else None


_render = mistune.create_markdown(
    renderer=_Renderer(escape=True),
    hard_wrap=True,
    plugins=["strikethrough", "table", "url", _scrolling_tables, _formulas],
)
_cleaner = nh3.Cleaner(
    tags=_TAGS,
    attributes=_ATTRIBUTES,
    set_tag_attribute_values=_ALWAYS,
    attribute_filter=_attribute,
    url_schemes=_SCHEMES,
    link_rel="nofollow noopener noreferrer",
)


def to_html(text: str) -> str:
    """Render, then sanitise: what is sanitised before rendering can be put together by the renderer again.

    Takes a few milliseconds for an answer of 2,000 tokens, and time in proportion to its length for any text.
    """
    html = _render(text)
    return _cleaner.clean(html if isinstance(html, str) else "")
