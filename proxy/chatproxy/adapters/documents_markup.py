"""HTML's elements as blocks: headings with their anchors, paragraphs, lists, tables, code."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lxml import etree, html

from chatproxy.adapters.documents_reading import even_rows
from chatproxy.core.knowledge import Block, BlockKind

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_NOT_TEXT = {
    "script", "style", "noscript", "template", "svg", "iframe", "object", "canvas", "audio", "video", "map", "head",
    "nav", "footer", "menu", "dialog", "button", "select", "input", "textarea", "datalist",
}  # fmt: skip
_INLINE = {
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins",
    "kbd", "label", "mark", "math", "q", "ruby", "rp", "rt", "s", "samp", "small", "span", "strike", "strong", "sub",
    "sup", "time", "tt", "u", "var", "wbr", "img", "br", "picture",
}  # fmt: skip
# What stands in main content and is none of it, by the class names that themes use for it.
_BESIDE = re.compile(
    r"breadcrumbs?|cookie-(?:banner|notice|consent)|sharedaddy|shar(?:e|ing)-(?:buttons?|links?)|"
    r"social-(?:links|icons|share)|pagination|pager|post-navigation|nav-links|navheader|navfooter|toc|table-of-contents|"
    r"skip-link|comments-area|comment-list|comment-respond|newsletter(?:-signup)?"
)
# These are beside the content where they are links; books have sidebars that are told like the rest.
_BESIDE_IF_LINKS = re.compile(r"sidebar|related(?:-posts?|-articles?)?")
_BESIDE_IN_LINE = re.compile(r"headerlink|anchorjs-link|mw-editsection|screen-reader-text|sr-only|visually-hidden")
# Asides are mostly beside the text, but some generators set notes and warnings in them.
_NOTE = re.compile(r"note|tip|hint|info|important|warning|caution|danger|admonition|callout|alert|example|starlight")
_MARKS = {"¶", "§", "#", "🔗", ""}
_MARK = re.compile(r"[\s¶§#🔗]+$")
_MOST_SPAN = 100
_MOST_CELLS = 400_000
_PARTS_LISTS = (
    "descendant::pre|descendant::table|descendant::dl|descendant::h1|descendant::h2|descendant::h3|descendant::h4"
)


def blocks_of(root: html.HtmlElement, *, anchors: bool = True, level_by: int = 0) -> list[Block]:
    """The blocks of `root` in order, headings `level_by` levels lower than they say."""
    walker = _Walker(anchors, level_by)
    walker.walk(root)
    walker.flush()
    return walker.blocks


def inline_text(element: html.HtmlElement) -> str:
    """An element's words on one line, without what is hidden or no text."""
    return " ".join("".join(_words(element)).split())


def is_beside(element: html.HtmlElement) -> bool:
    """Whether an element is hidden, or stands beside the content: navigation, comments, buttons."""
    if not isinstance(element.tag, str):
        return True
    if element.tag in _NOT_TEXT or "hidden" in element.attrib or element.get("aria-hidden") == "true":
        return True
    if element.get("role") in ("navigation", "search", "banner", "contentinfo", "complementary", "dialog"):
        return True
    if re.search(r"display\s*:\s*none|visibility\s*:\s*hidden", element.get("style", "")):
        return True
    classes = element.get("class", "").lower()
    if element.tag == "aside" and not _NOTE.search(classes):
        return True
    if element.tag == "header" and element.getparent().tag == "body" and element.find(".//h1") is None:
        return True
    if element.tag == "a" and element.get("href", "").startswith("#") and element.text_content().strip() in _MARKS:
        return True  # a heading's link to itself
    names = classes.split()
    if any(map(_BESIDE_IF_LINKS.fullmatch, names)):
        linked = sum(len(link.text_content()) for link in element.iterdescendants("a"))
        return linked * 2 > len(element.text_content())
    return any(map((_BESIDE_IN_LINE if element.tag in _INLINE else _BESIDE).fullmatch, names))


def _words(element: html.HtmlElement) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        if not is_beside(child):
            if child.tag == "br":
                yield "\n"
            inline = child.tag in _INLINE
            yield from (() if inline else (" ",))
            yield from _words(child)
            yield from (() if inline else (" ",))
        yield child.tail or ""


class _Walker:
    def __init__(self, anchors: bool, level_by: int) -> None:
        self.blocks: list[Block] = []
        self._anchors, self._level_by = anchors, level_by
        self._line: list[str] = []

    def walk(self, element: html.HtmlElement) -> None:
        """The blocks inside `element`, whatever it is itself."""
        self._line.append(element.text or "")
        for child in element:
            if not is_beside(child):
                self._take(child)
            self._line.append(child.tail or "")

    def flush(self, kind: BlockKind = "text", anchor: str = "") -> None:
        """End the paragraph that has been gathered."""
        lines = [" ".join(line.split()) for line in "".join(self._line).split("\x00")]
        self._line = []
        self._add(kind, "\n".join(line for line in lines if line), anchor)

    def _take(self, element: html.HtmlElement) -> None:
        tag = element.tag
        if tag == "br":
            self._line.append("\x00")
        elif tag in _INLINE and not element.xpath("descendant::p|descendant::div|descendant::pre|descendant::table"):
            self._line.extend(_words(element))
        else:
            self.flush()
            self._block(element, tag)

    def _block(self, element: html.HtmlElement, tag: str) -> None:
        if tag in _HEADINGS:
            level = min(6, _HEADINGS[tag] + self._level_by)
            self._add("heading", _MARK.sub("", inline_text(element)), self._anchor_of_heading(element), level)
        elif tag == "pre":
            self._add("code", "".join(_verbatim(element)).strip("\n"), self._own_anchor(element))
        elif tag == "table" and _is_data(element):
            self._table(element)
        elif tag in ("ul", "ol") and not element.xpath(_PARTS_LISTS):
            self._add("list", "\n".join(_items(element)), self._own_anchor(element))
        elif tag in ("figcaption", "caption"):
            self._add("caption", inline_text(element))
        elif tag == "dt":
            self._add("text", _MARK.sub("", inline_text(element)), self._own_anchor(element))
        else:
            self.walk(element)
            self.flush(anchor=self._own_anchor(element) if tag == "p" else "")

    def _add(self, kind: BlockKind, text: str, anchor: str = "", level: int = 0) -> None:
        if text.strip():
            self.blocks.append(Block(kind, text, level=level, anchor=anchor))

    def _table(self, table: html.HtmlElement) -> None:
        for caption in table.iterchildren("caption"):
            self._add("caption", inline_text(caption), self._own_anchor(table))
        rows = even_rows(_rows(table))
        if rows:
            self.blocks.append(Block("table", "", rows=rows, anchor=self._own_anchor(table)))

    def _own_anchor(self, element: html.HtmlElement) -> str:
        return (element.get("id") or "") if self._anchors else ""

    def _anchor_of_heading(self, heading: html.HtmlElement) -> str:
        """Its id, that of an anchor in or before it or of the section that it opens, or its own link to itself."""
        if not self._anchors:
            return ""
        inside: list[str] = heading.xpath("@id|descendant::*/@id|descendant::a/@name")
        before = heading.getprevious()
        if inside:
            return inside[0]
        if before is not None and before.tag in ("a", "span") and not inline_text(before):
            named: str = before.get("id") or before.get("name") or ""
            if named:
                return named
        opened = heading
        while (parent := opened.getparent()) is not None and _opens(opened):
            if parent.get("id") and parent.tag in ("section", "article", "div", "header"):
                return str(parent.get("id"))
            opened = parent
        links: list[str] = heading.xpath('descendant::a[starts-with(@href, "#")]/@href')
        return links[0][1:] if links else ""


def _opens(element: html.HtmlElement) -> bool:
    """Whether nothing with words stands before `element` in its parent."""
    parent = element.getparent()
    return not (parent.text or "").strip() and all(
        not inline_text(each) and not (each.tail or "").strip() for each in element.itersiblings(preceding=True)
    )


def _verbatim(element: html.HtmlElement) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        if child.tag == "br":
            yield "\n"
        elif isinstance(child.tag, str) and not is_beside(child):
            yield from _verbatim(child)
        yield child.tail or ""


def _items(element: html.HtmlElement, indent: str = "") -> Iterator[str]:
    for at, item in enumerate(element.iterchildren("li"), 1):
        if is_beside(item):
            continue
        below = [each for each in item.iterdescendants("ul", "ol") if _list_above(each) is element]
        own = " ".join("".join(_words_but(item, below)).split())
        if own:
            yield f"{indent}{f'{at}.' if element.tag == 'ol' else '-'} {own}"
        for each in below:
            yield from _items(each, f"{indent}  ")


def _list_above(element: html.HtmlElement) -> html.HtmlElement | None:
    return next(element.iterancestors("ul", "ol"), None)


def _words_but(element: html.HtmlElement, left_out: list[html.HtmlElement]) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        if child not in left_out and not is_beside(child):
            inline = child.tag in _INLINE
            yield "" if inline else " "
            yield from _words_but(child, left_out)
            yield "" if inline else " "
        yield child.tail or ""


def _is_data(table: html.HtmlElement) -> bool:
    """Tables with tables in them, or one column, are there for the layout."""
    if table.get("role") in ("presentation", "none") or table.xpath("descendant::table"):
        return False
    return any(len(row.xpath("td|th")) > 1 for row in table.iterdescendants("tr"))


def _rows(table: html.HtmlElement) -> list[list[str]]:
    """Its cells, one that spans several repeated in each of them, so that every row says all of it."""
    rows: list[list[str]] = []
    held: dict[int, tuple[int, str]] = {}  # column -> rows that it still reaches into, its text
    cells = 0
    for line in table.iterdescendants("tr"):
        row: list[str] = []
        for cell in line.iterchildren("td", "th"):
            _take_held(row, held)
            text = inline_text(cell)
            down = _span(cell, "rowspan")
            for _ in range(_span(cell, "colspan")):
                if down > 1:
                    held[len(row)] = (down - 1, text)
                row.append(text)
        _take_held(row, held)
        rows.append(row)
        cells += len(row)
        if cells > _MOST_CELLS:
            raise MemoryError
    return rows


def _take_held(row: list[str], held: dict[int, tuple[int, str]]) -> None:
    while len(row) in held:
        at = len(row)
        left, text = held[at]
        row.append(text)
        if left > 1:
            held[at] = (left - 1, text)
        else:
            del held[at]


def _span(cell: html.HtmlElement, name: str) -> int:
    given = cell.get(name, "1").strip()
    return min(max(int(given), 1), _MOST_SPAN) if given.isdecimal() and given.isascii() and len(given) < 6 else 1


def parsed(text: str) -> html.HtmlElement:
    """A tree of `text`; libxml2 itself bounds its depth. Raises etree.ParserError where there is nothing in it."""
    parser = html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=False)
    root = html.document_fromstring(text.encode("utf-8", "replace"), parser=parser)
    if root is None:
        raise etree.ParserError("empty")
    return root
