"""A whole conversation as one file, written page by page: its length does not show in the proxy's memory.

A failure in the middle breaks the transfer off, which every HTTP client notices; a file that ends properly is whole.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from flask import Response
from werkzeug.utils import secure_filename

from chatproxy.core.types import Conversation, Image, Message, Page
from chatproxy.web import shown

Pages = Callable[[str | None], Page[Message]]
Images = Callable[[Sequence[str]], Sequence[Image]]  # by their ids, with their data
_LONGEST_NAME = 60  # characters of the title in the file's name


def json_file(conversation: Conversation, page: Pages, images: Images) -> Response:
    """The object that GET /api/v1/conversations/ID shows, with all of its messages, and their images as data: URIs."""
    pieces = _json(conversation, page, page(None), images)
    return _file(conversation, "json", "application/json; charset=utf-8", pieces)


def markdown_file(conversation: Conversation, page: Pages, _images: Images) -> Response:
    """Who said what, each text as a quotation, so that nothing inside it passes for another speaker. Of images it says
    that they were there."""
    return _file(conversation, "md", "text/markdown; charset=utf-8", _markdown(conversation, page, page(None)))


def _file(conversation: Conversation, ending: str, content_type: str, pieces: Iterator[str]) -> Response:
    response = Response((piece.encode() for piece in pieces), content_type=content_type)
    # Letters, digits, dots, dashes and underscores of ASCII: no quotes, no path, nothing that needs RFC 5987.
    name = secure_filename(conversation.title)[:_LONGEST_NAME].strip("._-") or conversation.id
    response.headers["Content-Disposition"] = f'attachment; filename="conversation-{name}.{ending}"'
    return response


def _messages(page: Pages, first: Page[Message]) -> Iterator[Message]:
    """`first` is read before the answer begins: until then an error has its own status."""
    current = first
    yield from current.items
    while current.next_cursor is not None:
        current = page(current.next_cursor)
        yield from current.items


def _json(conversation: Conversation, page: Pages, first: Page[Message], images: Images) -> Iterator[str]:
    yield _dumped(shown.conversation(conversation))[:-1] + ',"messages":['
    for number, message in enumerate(_messages(page, first)):
        told = shown.message(message)
        if message.images:
            data = {each.id: _data_uri(each) for each in images([image.id for image in message.images])}
            told["images"] = [{**image, "data": data.get(image["id"])} for image in told["images"]]
        yield ("," if number else "") + "\n" + _dumped(told)
    yield "\n]}\n"


def _data_uri(image: Image) -> str:
    return f"data:{image.media_type};base64,{base64.b64encode(image.data).decode()}"


def _dumped(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _markdown(conversation: Conversation, page: Pages, first: Page[Message]) -> Iterator[str]:
    title = " ".join(conversation.title.split())
    yield f"# {title}\n\nWith {conversation.bot}, begun {shown.time(conversation.created_at)}\n"
    for message in _messages(page, first):
        speaker = "User" if message.role == "user" else "Assistant"
        interrupted = " (interrupted)" if message.status == "interrupted" else ""
        yield f"\n**{speaker}**{interrupted}, {shown.time(message.created_at)}\n\n{_quoted(message.text)}\n"
        for image in message.images:
            yield f"\nWith an image: {image.media_type}, {image.width} x {image.height} pixels\n"
        if message.feedback:
            yield f"\nRated {message.feedback.rating}\n"
            if message.feedback.comment:
                yield f"\n{_quoted(message.feedback.comment)}\n"


def _quoted(text: str) -> str:
    # Markdown knows three ends of a line.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(f"> {line}".rstrip() for line in lines)
