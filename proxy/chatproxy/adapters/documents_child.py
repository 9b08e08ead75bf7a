"""The child process of adapters.documents: reads one document and says it as JSON, then ends.

    python -m chatproxy.adapters.documents_child ORDER      (JSON: path, media_type, name, languages and the limits)

Says {"title", "language", "canonical", "warnings", "blocks": [[kind, text, level, rows, page, anchor], ...]} or
{"error": {"code", "public", "detail"?}}.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chatproxy.adapters.documents_kind import Kind, kind_of
from chatproxy.adapters.documents_limits import confine
from chatproxy.adapters.documents_reading import Reading
from chatproxy.core.knowledge import Document, DocumentError

# Characters. They are copied into every chunk, and a hostile page would make each a book.
_LONGEST_TITLE, _LONGEST_ANCHOR, _LONGEST_LANGUAGE = 300, 300, 35
# Module and function for each kind. Only the one that is needed is imported: libraries take memory and time.
_READERS: dict[Kind, str] = {
    "pdf": "documents_pdf.read_pdf",
    "docx": "documents_docx.read_docx",
    "pptx": "documents_pptx.read_pptx",
    "xlsx": "documents_xlsx.read_xlsx",
    "opendocument": "documents_opendocument.read_opendocument",
    "epub": "documents_epub.read_epub",
    "html": "documents_html.read_html",
    "markdown": "documents_text.read_markdown",
    "csv": "documents_text.read_csv",
    "text": "documents_text.read_text",
    "image": "documents_ocr.read_image",
}


def main() -> int:
    order = json.loads(sys.argv[1])
    # What libraries print must not come between our own words.
    said = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    with said:
        try:
            answer = _described(_read(order), order["characters"])
        except DocumentError as error:
            answer = {"error": {"code": error.code, "public": error.public}}
        except MemoryError:
            most = order["memory"] >> 20
            public = f"The file needs more than {most} MB of memory to be read. Please split it."
            answer = {"error": {"code": "document_too_large", "public": public}}
        except Exception as error:
            # Libraries fail on damaged files in every way there is; the type is enough to find the place.
            public = "The file is damaged, or is not what its name says."
            detail = f"{type(error).__module__}.{type(error).__qualname__}"
            answer = {"error": {"code": "document_broken", "public": public, "detail": detail}}
        json.dump(answer, said)
    return 0


def _read(order: dict[str, Any]) -> Document:
    try:
        confine(memory=order["memory"], cpu_s=order["cpu_s"])
    except OSError:
        public = "This system cannot confine the reader of documents (seccomp is missing), so that nothing is read."
        raise DocumentError("document_unsupported", public) from None
    path = Path(order["path"])
    reading = Reading(path, order["name"], order["media_type"], order["languages"], order["wall_s"], order["memory"])
    kind = kind_of(path, order["media_type"], order["name"])
    module, function = _READERS[kind].split(".")
    reader: Callable[[Reading], Document] = getattr(importlib.import_module(f"chatproxy.adapters.{module}"), function)
    return reader(reading)


def _described(document: Document, characters: int) -> dict[str, Any]:
    blocks, held = [], 0
    for block in document.blocks:
        rows = [[_clean(cell) for cell in row] for row in block.rows]
        text = _clean(block.text)
        if not text.strip() and not any(cell.strip() for row in rows for cell in row):
            continue
        held += len(text) + sum(len(cell) + 1 for row in rows for cell in row)
        if held > characters:
            public = f"There are more than {characters:,} characters of text in the file. Please split it."
            raise DocumentError("document_too_large", public)
        # An anchor that is cut would lead nowhere.
        anchor = block.anchor if len(block.anchor) <= _LONGEST_ANCHOR else ""
        blocks.append([block.kind, text, block.level, rows, block.page, anchor])
    if not blocks:
        why = f" ({'; '.join(document.warnings)})" if document.warnings else ""
        raise DocumentError("document_empty", f"There is no text in the file{why}.")
    return {
        "title": _clean(" ".join(document.title.split()))[:_LONGEST_TITLE],
        "language": document.language if len(document.language) <= _LONGEST_LANGUAGE else "",
        "canonical": document.canonical,
        "warnings": list(document.warnings),
        "blocks": blocks,
    }


def _clean(text: str) -> str:
    """Without what no database takes: NUL and other control characters, halves of surrogate pairs."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        sign for sign in text if (sign >= " " or sign in "\n\t") and sign != "\x7f" and not "\ud800" <= sign <= "\udfff"
    )


if __name__ == "__main__":
    sys.exit(main())
