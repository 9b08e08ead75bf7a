"""How much of real websites and files arrives: pages against the site's own files, tables' cells against the chunks.

Two documentation sites are served on loopback and crawled from their front page. A cell counts as intact where its text
stands, in one piece, in one chunk of its document; white space is not compared, nor are hyphens (a PDF has them at line
ends) and quotes (the editions of a book have other ones). The tables of a PDF are known from the same book's HTML
edition, whose cells count from three characters on.
"""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import openpyxl
from docx import Document as Docx
from lxml import html

from chatproxy.adapters.crawler import Crawler
from chatproxy.adapters.documents import Documents
from chatproxy.adapters.fetching import Fetcher
from chatproxy.adapters.token_counts import TokenCounts
from chatproxy.core.chunking import chunk
from chatproxy.core.crawling import Page, Scope, Skipped
from tests.bench.appliance import services
from tests.bench.figures import heading
from tests.bench.knowledge.packages import unpacked
from tests.unit.proxy.adapters.crawled_site import Site

# (package, the site's folder in it, its front page)
_SITES = (
    ("python3.11-doc", "usr/share/doc/python3.11/html", "index.html"),
    ("debian-handbook", "usr/share/doc/debian-handbook/html/en-US", "index.html"),
)
_SHEETS = ("r-cran-readxl", "usr/lib/R/site-library/readxl/extdata")
_LETTERS = ("r-cran-officer", "usr/lib/R/site-library/officer/doc_examples")
_BOOK = ("debian-reference-en", "usr/share/debian-reference")
_LEAST_CELL = 3
Cells = Callable[[Path], Sequence[str]]


def run() -> None:
    """Both parts; fetches the packages where they are not there yet."""
    pages: list[Path] = []
    heading("websites: pages read of the site's own files")
    for package, below, front in _SITES:
        folder = unpacked(package) / below
        files = _linked(folder, front)
        read, outside = _crawled(folder, front)
        print(f"  {package:<20}{len(read & files)} of {len(files)} pages, {outside} outside; missing: "
              f"{', '.join(sorted(files - read)[:5]) or 'none'}", flush=True)  # fmt: skip
        pages += [folder / name for name in sorted(files)]
    heading("tables: cells intact in chunks")
    with services("embeddings") as stack, tempfile.TemporaryDirectory():
        count = TokenCounts(stack.embeddings_url).count
        sheets, letters = unpacked(_SHEETS[0]) / _SHEETS[1], unpacked(_LETTERS[0]) / _LETTERS[1]
        book = unpacked(_BOOK[0]) / _BOOK[1]
        of_book = functools.partial(_cells_of_book, sorted(book.glob("*.en.html")))
        for name, files_of, cells in (
            ("HTML, two websites", [page for page in pages if _has_tables(page)], _cells_of_page),
            ("XLSX", sorted(sheets.glob("*.xlsx")), _cells_of_workbook),
            ("DOCX", sorted(letters.glob("*.docx")), _cells_of_letter),
            ("PDF, a book", sorted(book.glob("*.en.pdf")), of_book),
        ):
            _show(name, files_of, cells, count)


def _linked(folder: Path, front: str) -> set[str]:
    """The site's files that a reader can come to from its front page: some of a package are linked from nowhere."""
    seen, waiting = {front}, [front]
    while waiting:
        page = waiting.pop()
        for link in re.findall(rb'href="([^"#?:]+\.html)', (folder / page).read_bytes()):
            target = urljoin(page, unquote(link.decode()))
            if target not in seen and (folder / target).is_file():
                seen.add(target)
                waiting.append(target)
    return seen


def _crawled(folder: Path, front: str) -> tuple[set[str], int]:
    """(files of the site that were read, pages that are none of its files)."""
    with Site() as site:
        for file in folder.rglob("*"):
            if file.is_file():
                kind = "text/html" if file.suffix == ".html" else "application/octet-stream"
                site.answers[f"/docs/{file.relative_to(folder).as_posix()}"] = (
                    200,
                    {"Content-Type": kind},
                    file.read_bytes(),
                )
        start = f"{site.url}/docs/{front}"
        scope = Scope(start=(start,), rate=0, most_pages=5000, allowed_private=(site.authority,))
        read: set[str] = set()
        outside = 0
        for each in Crawler(Fetcher("Bench/1.0")).crawl(scope):
            if isinstance(each, Page):
                path = unquote(urlsplit(each.url).path).removeprefix("/docs/")
                outside += not each.url.startswith(f"{site.url}/docs/")
                read.add(path)
            elif isinstance(each, Skipped) and each.code not in ("duplicate", "out_of_scope", "media_type"):
                print(f"  | {each.code} {each.url} {each.reason}")
        return read, outside


def _show(name: str, files: Sequence[Path], cells_of: Cells, count: Callable[[Sequence[str]], list[int]]) -> None:
    intact = total = 0
    lost: list[str] = []
    for file in files:
        cells = [squeezed for cell in cells_of(file) if (squeezed := _squeezed(cell))]
        if not cells:
            continue
        chunks = [_squeezed(each.text) for each in chunk(Documents().parse(file, "", file.name), count)]
        for cell in cells:
            total += 1
            if any(cell in text for text in chunks):
                intact += 1
            else:
                lost.append(f"{file.name}: {cell[:50]}")
    share = intact / total if total else 0.0
    verdict = "met" if share >= 0.95 else "MISSED"
    print(f"  {name:<20}{intact} of {total} cells of {len(files)} files, {share:.1%}   goal >= 95 %   {verdict}")
    for each in lost[:3]:
        print(f"  | {each}")


def _has_tables(page: Path) -> bool:
    # The pages of an index put their lists into a table, two columns side by side.
    return not page.name.startswith("genindex") and b"<table" in page.read_bytes()


def _squeezed(text: str) -> str:
    """What is compared: white space, hyphens and the shape of quotes are the layout's, backslashes the table's."""
    return re.sub(r"[\s\u00ad\u200b\\\-\u2010-\u2015\"'`\u2018-\u201f]+", "", text)


def _cells_of_page(file: Path) -> list[str]:
    tree = html.parse(str(file)).getroot()
    return list(_cells(tree, "//*[@role='main']//td|//main//td|//div[@class='book' or @class='section']//td"))


def _cells_of_book(editions: Sequence[Path], _: Path) -> list[str]:
    cells = [cell for file in editions for cell in _cells(html.parse(str(file)).getroot(), "//tbody//td")]
    return [cell for cell in cells if len(cell) >= _LEAST_CELL]


def _cells(tree: html.HtmlElement, path: str) -> Iterator[str]:
    for cell in tree.xpath(path):
        # Of cells with a table in them the inner ones count.
        if not cell.xpath(".//td"):
            yield cell.text_content().replace("¶", "")


def _cells_of_workbook(file: Path) -> list[str]:
    workbook = openpyxl.load_workbook(file, data_only=True, read_only=True)
    values = (value for sheet in workbook.worksheets for row in sheet.iter_rows(values_only=True) for value in row)
    return [value for value in values if isinstance(value, str)]


def _cells_of_letter(file: Path) -> list[str]:
    return [cell.text for table in Docx(str(file)).tables for row in table.rows for cell in row.cells]
