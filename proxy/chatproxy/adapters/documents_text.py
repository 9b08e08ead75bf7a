"""Plain text, Markdown and CSV."""

from __future__ import annotations

import codecs
import csv
import io
import re

import mistune
from charset_normalizer import from_bytes

from chatproxy.adapters.documents_markup import blocks_of, parsed
from chatproxy.adapters.documents_reading import Reading, even_rows
from chatproxy.core.knowledge import Block, Document, DocumentError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_GUESSED_FROM = 64 << 10
_UNDERLINED = re.compile(r"(?m)^(\S[^\n]{0,118})\n(={3,}|-{3,}|~{3,}|\^{3,})[ \t]*$")
_UNDERLINES = "=-~^"
_SNIFFED = 64 << 10
_DELIMITERS = ",;\t|"
_LONGEST_FIELD = 1 << 20
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*\n", re.DOTALL)


def decoded(content: bytes, declared: str | None = None) -> str:
    """`content` as text: by its byte order mark, as UTF-8 where it is that, as declared, or by what it looks like."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        # A file that is UTF-8 for its first half and then breaks once is UTF-8.
        if error.start > _GUESSED_FROM:
            return content.decode("utf-8", "replace")
    if declared:
        try:
            return content.decode(declared, "replace")
        except (LookupError, UnicodeError):
            pass
    best = from_bytes(content[:_GUESSED_FROM]).best()
    if best is None:
        raise DocumentError("document_unsupported", "This kind of file is not read: it is neither text nor a document.")
    return content.decode(best.encoding, "replace")


def read_text(reading: Reading) -> Document:
    """Paragraphs between empty lines; underlined lines are headings."""
    text = _lines(reading)
    levels: dict[str, int] = {}
    blocks: list[Block] = []
    at = 0
    for found in _UNDERLINED.finditer(text):
        if abs(len(found.group(1)) - len(found.group(2).strip())) > max(3, len(found.group(1)) // 4):
            continue  # a rule below a line, or a table's
        blocks.extend(_paragraphs(text[at : found.start()]))
        level = levels.setdefault(found.group(2)[0], len(levels) + 1)
        blocks.append(Block("heading", found.group(1).strip(), level=level))
        at = found.end()
    blocks.extend(_paragraphs(text[at:]))
    return Document(reading.stem, tuple(blocks), warnings=tuple(reading.warnings))


def _paragraphs(text: str) -> list[Block]:
    return [Block("text", part.strip("\n")) for part in re.split(r"\n\s*\n|\f", text) if part.strip()]


def read_markdown(reading: Reading) -> Document:
    """By way of HTML, so that there is one way from markup to blocks. HTML inside Markdown is read along."""
    text = _lines(reading)
    front = _FRONT_MATTER.match(text)
    title = ""
    if front:
        text = text[front.end() :]
        named = re.search(r"(?m)^title:\s*[\"']?(.+?)[\"']?\s*$", front.group(1))
        title = named.group(1) if named else ""
    to_html = mistune.create_markdown(escape=False, plugins=["table", "strikethrough", "def_list", "footnotes"])
    blocks = blocks_of(parsed(f"<body>{to_html(text)}</body>"))
    first = next((block.text for block in blocks if block.kind == "heading" and block.level == 1), "")
    return Document(title or first or reading.stem, tuple(blocks), warnings=tuple(reading.warnings))


def read_csv(reading: Reading) -> Document:
    """One table, whatever the delimiter."""
    text = _lines(reading)
    try:
        dialect: type[csv.Dialect] | csv.Dialect = csv.Sniffer().sniff(text[:_SNIFFED], _DELIMITERS)
    except csv.Error:
        dialect = csv.excel_tab if "\t" in text[:_SNIFFED] else csv.excel
    csv.field_size_limit(_LONGEST_FIELD)
    try:
        rows = [row for row in csv.reader(io.StringIO(text), dialect) if any(cell.strip() for cell in row)]
    except csv.Error:
        raise DocumentError("document_broken", "The CSV file has a field without an end: is a quote missing?") from None
    return Document(reading.stem, (Block("table", "", rows=even_rows(rows)),), warnings=tuple(reading.warnings))


def _lines(reading: Reading) -> str:
    return decoded(reading.path.read_bytes()).replace("\r\n", "\n").replace("\r", "\n")
