"""What is to be read, as requests give it: a website as JSON, a file as a form.

What core/library.py refuses is told under the names that the fields have here.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from flask import request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from werkzeug.datastructures import FileStorage

from chatproxy.core.library import LARGEST_FILE, MOST_HOURS, Library, collection_of, scope_from
from chatproxy.core.ports import Bots
from chatproxy.core.sources import Job, Source
from chatproxy.core.telling import SETTINGS
from chatproxy.errors import Busy, InvalidRequest
from chatproxy.web.body import Fields, read_object

_WHERE = ("bot", "collection", "language")
_WEBSITE = frozenset(("url", "every_hours", *SETTINGS, *_WHERE))
_FILE = frozenset(("file", *_WHERE))
_LONGEST_ADDRESS, _LONGEST_PATTERN, _MOST_PATTERNS = 2000, 300, 50
# Bytes of a form that holds a file.
LARGEST_FORM = LARGEST_FILE + (1 << 20)
# A file takes memory until it is stored, with the operator's own patience: one at a time, others wait so many seconds.
_UPLOAD_WAITS_S = 20.0
# What core calls them -> what they are called here.
_NAMES = {stored: given for given, stored in SETTINGS.items()} | {
    "start": "url",
    "every": "every_hours",
    "name": "file",
}


class Uploads:
    """Lets one file in at a time, whichever listener it comes to. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Wait for the turn. Raises Busy."""
        if not self._lock.acquire(timeout=_UPLOAD_WAITS_S):
            raise Busy(public="Another file is being taken in. Please try again shortly.", retry_after=5)

    def end(self) -> None:
        """Let the next one in."""
        self._lock.release()


class Given:
    """Takes in what requests give. Every method raises InvalidRequest naming the field, NotFound for an unknown bot."""

    def __init__(self, library: Library, bots: Bots, uploads: Uploads) -> None:
        self._library, self._bots, self._uploads = library, bots, uploads

    def add(self) -> tuple[Source, Job]:
        """The source of the current request, and the job that reads it."""
        if request.mimetype != "multipart/form-data":
            return self.website(Fields(read_object(request, known=_WEBSITE)))
        self._uploads.begin()
        try:
            return self.file(*_form())
        finally:
            self._uploads.end()

    def website(self, fields: Fields) -> tuple[Source, Job]:
        """A website with these settings, and the job that reads it."""
        url = fields.text("url", most=_LONGEST_ADDRESS)
        if not url:
            raise InvalidRequest("url: is missing or empty")
        collection, language = self._collection(fields), _language(fields)
        patterns = {
            name: fields.texts(name, most=_MOST_PATTERNS, longest=_LONGEST_PATTERN)
            for name in ("include", "exclude", "allow_private")
        }
        numbers = {
            "depth": fields.whole("depth", 0, 100),
            "pages": fields.whole("pages", 1, 50_000),
            "rate": fields.number("rate", 0, 3600),
        }
        every_hours = hours(fields)
        with as_given():
            scope = scope_from(url, **{SETTINGS[name]: value for name, value in {**patterns, **numbers}.items()})
            return self._library.add_website(collection, scope, language=language, every_hours=every_hours)

    def file(self, file: FileStorage, fields: Fields) -> tuple[Source, Job]:
        """A file, closed at the end, and the job that reads it."""
        with contextlib.closing(file), as_given():
            return self._library.add_file(
                self._collection(fields),
                file.filename or "",
                file.stream,  # type: ignore[arg-type]  # what werkzeug spools into is read and sought
                media_type=file.content_type or "",
                language=_language(fields),
            )

    def _collection(self, fields: Fields) -> str:
        """The one that is named, or the bot's first."""
        bot = fields.pattern("bot", r"[a-z0-9][a-z0-9_-]{0,63}", "the name of a bot")
        collection = fields.pattern(
            "collection", r"[a-z0-9][a-z0-9_-]{0,63}", "1 to 64 of a-z, 0-9, - and _, beginning with a letter or digit"
        )
        if (bot is None) == (collection is None):
            raise InvalidRequest("collection: either it or bot says what this belongs to")
        return collection if bot is None else collection_of(self._bots.get(bot))  # type: ignore[return-value]


def hours(fields: Fields) -> int | None:
    """`every_hours`; None for never."""
    return fields.whole("every_hours", 1, MOST_HOURS)


@contextlib.contextmanager
def as_given() -> Iterator[None]:
    """Let a refusal name its field as the request does."""
    try:
        yield
    except InvalidRequest as error:
        field, colon, wrong = error.public.partition(": ")
        raise InvalidRequest(f"{_NAMES.get(field, field)}{colon}{wrong}") from None


def _language(fields: Fields) -> str:
    return fields.pattern("language", r"[a-z]{2}", "two letters, as en or de") or ""


def _form() -> tuple[FileStorage, Fields]:
    """The form's one file, spooled to the disk behind TMPDIR, and its other fields. RequestEntityTooLarge."""
    # This route's own bound: MAX_CONTENT_LENGTH is for what is held in memory.
    request.max_content_length = LARGEST_FORM
    request.max_form_parts = 2 * len(_FILE)
    try:
        form, files = request.form, request.files
    except ParseException:
        raise InvalidRequest("The body is not sent in proper chunks.") from None
    except TimeoutError:
        raise InvalidRequest("The body stopped coming.") from None
    for name, count in [*((n, len(v)) for n, v in form.lists()), *((n, len(v)) for n, v in files.lists())]:
        if name not in _FILE:
            raise InvalidRequest(f"{name[:60]}: no such field; known are {', '.join(sorted(_FILE))}")
        if count > 1:
            raise InvalidRequest(f"{name}: is given {count} times")
    if "file" not in files or any(name != "file" for name in files):
        raise InvalidRequest("file: must be there as a file with its name, and nothing else as one")
    # A browser's form sends what was left empty too.
    return files["file"], Fields({name: value for name, value in form.items() if value or name != "language"})
