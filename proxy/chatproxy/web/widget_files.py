"""The files of the chat widget (chatproxy/widget), read once, and the version that is a hash over all of them.

They are written for people and sent without comments and spaces: half of their size.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import rcssmin  # type: ignore[import-untyped]
import rjsmin  # type: ignore[import-untyped]

from chatproxy.errors import ConfigurationError

FOLDER = Path(__file__).resolve().parents[1] / "widget"
LOADER = "widget.js"
# Those with places that are filled in for each request.
PAGES = ("chat.html", "demo.html")
PLACES = {"VERSION", "BOT", "SITE_KEY", "LINE"}
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
}
_PLACE = re.compile(r"__([A-Z_]+?)__")
_VERSION_LENGTH = 16  # hexadecimal digits


@dataclass(frozen=True, slots=True)
class File:
    """What is sent for it."""

    content: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class WidgetFiles:
    """`files` by their path inside the folder, without pages and loader; `loader` has its version filled in."""

    version: str
    loader: File
    files: Mapping[str, File]
    pages: Mapping[str, str]

    def page(self, name: str, *, bot: str, site_key: str, origin: str) -> str:
        """A page with its places (__BOT__ and so on) filled, the values as text. One pass: what a value holds is never
        a place."""
        known = {"VERSION": self.version, "BOT": bot, "SITE_KEY": site_key, "LINE": _line(origin, bot, site_key)}
        return _PLACE.sub(lambda place: html.escape(known[place[1]]), self.pages[name])


def read(folder: Path = FOLDER) -> WidgetFiles:
    """Everything that the folder holds. Raises ConfigurationError where something is missing or of no known kind."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    missing = {LOADER, *PAGES} - set(names)
    if missing:
        raise ConfigurationError(f"chatproxy/widget lacks {', '.join(sorted(missing))}")
    contents = {name: _small(name, (folder / name).read_text("utf-8")).encode() for name in names}
    version = _version(contents)
    loader = contents[LOADER].replace(b"__VERSION__", version.encode())
    files = {name: File(content, _type(name)) for name, content in contents.items() if name not in (LOADER, *PAGES)}
    pages = {name: contents[name].decode() for name in PAGES}
    for name, text in pages.items():
        if unknown := set(_PLACE.findall(text)) - PLACES:
            raise ConfigurationError(f"chatproxy/widget/{name}: nothing is known for {', '.join(sorted(unknown))}")
    return WidgetFiles(version, File(loader, _type(LOADER)), files, pages)


def _line(origin: str, bot: str, site_key: str) -> str:
    """The line that brings the widget into a page, to be shown."""
    attributes = [f'data-bot="{bot}"'] if bot else []
    return " ".join(
        [f'<script src="{origin}/widget.js"', *attributes, f'data-site-key="{site_key or "site_..."}" async></script>']
    )


def _small(name: str, text: str) -> str:
    match Path(name).suffix:
        case ".js":
            return str(rjsmin.jsmin(text))
        case ".css":
            return str(rcssmin.cssmin(text))
        case ".json":
            return json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
        case _:
            return text


def _version(contents: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in contents.items():
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:_VERSION_LENGTH]


def _type(name: str) -> str:
    try:
        return _TYPES[Path(name).suffix]
    except KeyError:
        raise ConfigurationError(f"chatproxy/widget/{name}: no content type is known for such files") from None
