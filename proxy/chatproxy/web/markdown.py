"""An answer's Markdown as HTML that is safe to insert into a page."""

from __future__ import annotations

import mistune
import nh3

_render = mistune.create_markdown(escape=True, hard_wrap=True, plugins=["strikethrough", "table", "url"])
# No images: a model talked into writing one would send the conversation to a stranger's server in its address.
_TAGS = {
    *("a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p"),
    *("pre", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
_SCHEMES = {"http", "https", "mailto"}


def to_html(text: str) -> str:
    """Render, then sanitise: what is sanitised before rendering can be put together by the renderer again."""
    html = _render(text)
    return nh3.clean(
        html if isinstance(html, str) else "",
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes=_SCHEMES,
        link_rel="nofollow noopener noreferrer",
    )
