"""What stands where the engine's own page would: when it has none, and when it does not answer."""

from __future__ import annotations

from html import escape

from flask import Response

AWAY = (
    "The engine does not answer. `make status` shows what runs, `make logs SERVICE=engine` what the engine says; "
    "while it loads its model this is so for some minutes."
)


def away(status: int) -> Response:
    """The engine cannot be reached, or stays silent."""
    return _page(status, "The engine does not answer", AWAY)


def no_page(engine: str) -> Response:
    """An engine that has an API alone."""
    text = f"The engine is {engine}. It has no page of its own; its API answers here, on the paths that it has."
    return _page(404, "This engine has no page", text)


def _page(status: int, title: str, text: str) -> Response:
    title, text = escape(title), escape(text)
    return Response(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><h1>{title}</h1><p>{text}</p></html>",
        status,
        content_type="text/html; charset=utf-8",
    )
