"""HTML pages: their main content, found by their own markup or else by trafilatura, as blocks with anchors.

trafilatura decides what is content; the blocks are made from the original tree, because its own output drops anchors,
joined cells and some code.
"""

from __future__ import annotations

import re

from lxml import etree, html

from chatproxy.adapters.documents_markup import blocks_of, inline_text, is_beside, parsed
from chatproxy.adapters.documents_reading import Reading
from chatproxy.adapters.documents_text import decoded
from chatproxy.core.knowledge import Document, DocumentError

# Below this a <main> holds less than half of what the page says, and is not what it says it is.
_LEAST_SHARE = 0.4
_LEAST_MATCH = 24  # characters of a paragraph that make it that paragraph
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
_MENU_SHARE = 0.8
_SPAN = re.compile(r"\s(?:col|row)span=\"[^\"]*\"", re.IGNORECASE)
_ITSELF = re.compile(r"charset=[\"']?([\w.:-]+)", re.IGNORECASE)


def read_html(reading: Reading) -> Document:
    """See documents_child; the page as it was stored, with the charset that its media type names."""
    content = reading.path.read_bytes()
    declared = _ITSELF.search(reading.media_type) or _ITSELF.search(content[:2048].decode("latin-1"))
    try:
        root = parsed(decoded(content, declared and declared.group(1)))
    except etree.ParserError:
        raise DocumentError("document_empty", "There is no text on the page.") from None
    main = _main(root)
    _drop_menus(main)
    heads = [inline_text(each) for each in main.iterdescendants("h1")]
    title = heads[0] if len(heads) == 1 and heads[0] else _title(root) or (heads[0] if heads else reading.stem)
    return Document(
        title.rstrip("¶# "),
        tuple(blocks_of(main)),
        language=(root.get("lang") or root.get("{http://www.w3.org/XML/1998/namespace}lang") or "").strip(),
        canonical=next(iter(root.xpath('//link[@rel="canonical"]/@href')), ""),
        warnings=tuple(reading.warnings),
    )


def _title(root: html.HtmlElement) -> str:
    for found in root.xpath('//meta[@property="og:title"]/@content|//title'):
        words = found if isinstance(found, str) else inline_text(found)
        if words.strip():
            return " ".join(words.split())
    return ""


def _main(root: html.HtmlElement) -> html.HtmlElement:
    body = root.find("body")
    body = root if body is None else body
    whole = len(inline_text(body)) or 1
    for path in ('//main|//*[@role="main"]', "//article"):
        found = [each for each in root.xpath(path) if not is_beside(each)]
        outer = [each for each in found if not any(other in found for other in each.iterancestors())]
        if len(outer) == 1 and len(inline_text(outer[0])) >= whole * _LEAST_SHARE:
            return outer[0]
    return _chosen(root, body)


def _chosen(root: html.HtmlElement, body: html.HtmlElement) -> html.HtmlElement:
    """The smallest element that holds all of the paragraphs that trafilatura takes for content."""
    import trafilatura

    # trafilatura writes a joined cell as often as it says that it counts.
    page = _SPAN.sub("", etree.tostring(root, encoding="unicode", method="html"))
    extracted = trafilatura.extract(
        page,
        favor_recall=True,
        include_comments=False,
        include_tables=True,
        output_format="txt",
    )
    wanted = {_key(line) for line in (extracted or "").splitlines()} - {""}
    found = [each for each in body.iter() if isinstance(each.tag, str) and _key(_own_text(each)) in wanted]
    if not found:
        return body
    above_all = list(found[0].iterancestors())
    for each in found[1:]:
        ancestors = set(each.iterancestors())
        above_all = [above for above in above_all if above in ancestors]
    main = above_all[0] if above_all else body
    _drop_strangers(main, set(found))
    return main


def _drop_strangers(main: html.HtmlElement, found: set[html.HtmlElement]) -> None:
    """Takes out of `main`, at the level of its children, what holds no content and is mostly links."""
    holding = {above for each in found for above in (each, *each.iterancestors())}
    for child in main:
        if isinstance(child.tag, str) and child not in holding and child.tag not in _HEADINGS:
            linked = sum(len(link.text_content()) for link in child.iterdescendants("a"))
            if linked * 2 > len(child.text_content()):
                child.set("hidden", "")


def _own_text(element: html.HtmlElement) -> str:
    if element.tag not in ("p", "li", "td", "h1", "h2", "h3", "h4", "dd", "dt", "pre", "div", "span"):
        return ""
    if element.tag in ("div", "span") and not (element.text or "").strip():
        return ""
    return str(element.text_content())


def _key(text: str) -> str:
    """What is left of a text when spacing and Markdown's signs do not count, cut to what is sure to be one line."""
    letters = "".join(sign for sign in text[:400] if sign.isalnum())[:80]
    return letters if len(letters) >= _LEAST_MATCH else ""


def _drop_menus(main: html.HtmlElement) -> None:
    """Takes out lists in which nearly everything is a link and nothing a sentence, unless they are all there is."""
    whole = len(inline_text(main))
    menus = [each for each in main.iterdescendants("ul", "ol") if _is_menu(each)]
    if sum(len(inline_text(each)) for each in menus) > whole / 2:
        return  # an index: links are what it says
    for menu in menus:
        if (above := menu.getparent()) is not None and (menu.getprevious() is None and above.tag != "li"):
            menu.set("hidden", "")


def _is_menu(element: html.HtmlElement) -> bool:
    words = inline_text(element)
    linked = sum(len(inline_text(link)) for link in element.iterdescendants("a"))
    items = element.findall("li")
    return (
        len(items) > 2
        and linked >= len(words) * _MENU_SHARE
        and len(words) / len(items) < 30
        and not re.search(r"[.!?。]\s", words)
    )
