"""Sources and jobs in plain words."""

from __future__ import annotations

from chatproxy.core.library import Shelf
from chatproxy.core.telling import SETTINGS

# The fields of the forms, as they are labelled.
LABELS = {
    "url": "Address",
    "file": "File",
    "collection": "Collection",
    "language": "Language",
    "depth": "Links to follow from the start",
    "pages": "Pages at most",
    "rate": "Seconds between two requests",
    "every_hours": "Read again every so many hours",
    "include": "Only addresses like these",
    "exclude": "Never addresses like these",
    "allow_private": "Hosts of your own network that may be read",
}
# (field, its name in core.crawling.Scope), in the order of the form.
SCOPE = tuple(SETTINGS.items())

KINDS = {"sync": "reading a website", "file": "reading a file", "remove": "removing", "rebuild": "indexing anew"}
STATES = {
    "waiting": "waits for its turn",
    "running": "at work",
    "paused": "paused",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
}
# What a line of a report is about, by its code.
ABOUT = {
    "document_broken": "Damaged: the file could not be read",
    "document_empty": "No text in it",
    "document_encrypted": "Protected by a password",
    "document_timed_out": "It took too long to read",
    "document_too_large": "Too large",
    "document_unsupported": "A kind of file that cannot be read",
    "duplicate": "The same as another page",
    "fetch_failed": "The server did not answer, or not to the end",
    "fetch_refused": "An address that is not allowed: a private network, or an odd port",
    "fetch_robots": "The website's robots.txt does not allow it",
    "fetch_status": "The server answered with an error",
    "fetch_too_large": "Too large",
    "internal_error": "Something went wrong on our side",
    "invalid": "Not a web address",
    "limit": "Left out: over a limit",
    "media_type": "Nothing to read in it: a picture, a program, an archive",
    "moved": "Moved to another address",
    "moved_for_now": "Moved for now: maintenance, or a page to log in",
    "noindex": "The page asks not to be found",
    "out_of_scope": "Outside what was asked for",
    "source_removed": "The source is no longer there",
    "trap": "Left out: too many addresses of one kind",
    "unreachable": "The website could not be reached again and again",
    "vanished": "No longer there",
    "warning": "Read, but not all of it",
    "worker_killed": "The worker ended again and again at this place",
}


def errors(shelf: Shelf) -> int:
    """Those of the last reading; or the documents that could not be read, where these are more: a later reading that
    finds them unchanged says nothing of them."""
    return max(shelf.counts.errors, shelf.job.progress.errors if shelf.job else 0)


def about(code: str) -> str:
    """A code in words; one that has none as it is."""
    return ABOUT.get(code, code.replace("_", " "))
