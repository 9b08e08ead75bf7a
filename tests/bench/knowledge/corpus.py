"""The website that retrieval is measured on: Python 3.11's documentation as Debian packages it, its FAQ's questions
withheld.

A question of the FAQ is asked, and what answers it is the section that stood below it. So that nothing finds a section
by the question itself, its words are taken out of the site before any pipeline reads it: out of the headings (which say
"…" instead), tables of contents, links and titles of all pages.

Of the other parts the tutorial, the pages on using and installing Python and the glossary make the haystack; the rest
would take many minutes to embed (FOLDERS="faq library ..." takes others).
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from lxml import html

from tests.bench.knowledge.packages import unpacked

PACKAGE = "python3.11-doc"
_FOLDERS = "faq tutorial using installing"
_ROOT_PAGES = ("index.html", "glossary.html", "about.html", "bugs.html")
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
# What a heading says in place of the question: the page keeps its structure, for whoever can use it. HEADING= leaves
# nothing, as a site would be that has no headings at all.
WITHHELD = os.environ.get("HEADING", "…")
# Where a question can be repeated: all of an element's words, or an attribute.
_REPEATED = "//a|//span|//title|//p|//h1|//h2|//h3|//h4"
# An answer of fewer words is a pointer to another page.
_LEAST_WORDS = 20
_RUN = 5


@dataclass(frozen=True, slots=True)
class Question:
    """`page` (a path of the site) and `section` (an anchor there) answer it; `runs` are the answer's runs of words."""

    text: str
    page: str
    section: str
    runs: frozenset[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Corpus:
    """`pages`: path -> HTML as it is served. `questions` in the order of the site."""

    version: str
    pages: Mapping[str, bytes]
    questions: Sequence[Question]


def corpus() -> Corpus:
    """The website and its questions. Raises NoMaterial."""
    folder = unpacked(PACKAGE)
    documentation = folder / "usr" / "share" / "doc" / "python3.11" / "html"
    files = [documentation / name for name in _ROOT_PAGES]
    for name in (os.environ.get("FOLDERS") or _FOLDERS).split():
        files += sorted((documentation / name).rglob("*.html"))
    trees = {f"/{file.relative_to(documentation)}": html.parse(str(file)).getroot() for file in files}
    found = [each for page, tree in trees.items() if page.startswith("/faq/") for each in _questions(page, tree)]
    times = Counter(text for text, *_ in found)
    for page, tree in trees.items():
        _withhold(tree, times.keys())
        _unlink(page, tree, trees.keys())
    questions = [
        Question(text, page, str(section.get("id")), answer)
        for text, page, section in found
        if times[text] == 1 and len(answer := runs(_own_words(section, found))) >= _LEAST_WORDS
    ]
    return Corpus(folder.name, {page: html.tostring(tree) for page, tree in trees.items()}, questions)


def runs(text: str) -> frozenset[tuple[str, ...]]:
    """All runs of a few words that follow each other: how texts are recognised whatever stands between the words."""
    words = re.findall(r"\w+", text.casefold())
    return (
        frozenset(tuple(words[at : at + _RUN]) for at in range(max(1, len(words) - _RUN + 1))) if words else frozenset()
    )


def _plain(text: str) -> str:
    return " ".join(text.replace("¶", " ").split())


def _questions(page: str, tree: Any) -> Iterator[tuple[str, str, Any]]:
    """(question, page, the section below it)."""
    for heading in tree.xpath(f"//*[@role='main']//section/*[self::{' or self::'.join(_HEADINGS)}]"):
        text = _plain(heading.text_content())
        if text.endswith("?"):
            yield text, page, heading.getparent()


def _withhold(tree: Any, questions: Collection[str]) -> None:
    for element in tree.xpath(_REPEATED):
        if _plain(element.text_content()) in questions:
            for part in element.iter():
                part.text = None
                if part is not element:
                    part.tail = None
            if element.tag in _HEADINGS:
                element.text = WITHHELD
    for element in tree.xpath("//*[@title]"):
        if _plain(element.get("title")) in questions:
            del element.attrib["title"]
    # It names an address that the package was made at.
    for link in tree.xpath('//link[@rel="canonical"]'):
        link.getparent().remove(link)
    said = _plain(tree.text_content())
    for question in questions:
        if question in said:
            raise AssertionError(f"{question!r} still stands on a page")


def _unlink(page: str, tree: Any, pages: Collection[str]) -> None:
    """Takes the address from links to pages that are left out: no crawl should be measured by its 404s."""
    for link in tree.xpath("//*[@href]"):
        target = urljoin(page, link.get("href")).partition("#")[0]
        if "://" in target or target not in pages:
            del link.attrib["href"]


def _own_words(section: Any, found: Sequence[tuple[str, str, Any]]) -> str:
    """A section's text without those of other questions in it."""
    others = {each for _, _, each in found} - {section}
    words: list[str] = []

    def walk(element: Any) -> None:
        words.append(element.text or "")
        for child in element:
            if child not in others and isinstance(child.tag, str):
                walk(child)
            words.append(child.tail or "")

    walk(section)
    return "".join(words)
