"""Bodies that are sent in chunks, read by gunicorn's own parser: whole, over the limit, and malformed."""

from __future__ import annotations

import json

import pytest
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser
from werkzeug.test import TestResponse

from chatproxy.settings import Settings
from tests.unit.proxy.fakes import World

MOST = 1000  # bytes
HEAD = b"POST /api/v1/chat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
QUESTION = b'{"message": "Hello"}'
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def send(sent: bytes, path: str = "/api/v1/chat") -> TestResponse:
    """What the proxy answers to a body of these bytes on the wire."""
    world = World(settings=Settings(trusted_hops=0, max_body_bytes=MOST))
    request = next(RequestParser(Config(), iter([HEAD + sent]), ("127.0.0.1", 1)))
    # As gunicorn has it: the reader knows the end.
    body = {"wsgi.input": request.body, "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    return world.client().post(path, environ_overrides=body)


def question_of(size: int) -> bytes:
    frame = json.dumps({"message": ""}).encode()
    return frame.replace(b'""', b'"' + b"x" * (size - len(frame)) + b'"')


@pytest.mark.parametrize("pieces", [[QUESTION], [QUESTION[:5], QUESTION[5:]], [question_of(MOST)]])
def test_chunks_are_put_together(pieces: list[bytes]) -> None:
    assert send(b"".join(map(chunk, pieces)) + END).status_code == 200


def test_a_body_over_the_limit_is_413_and_not_cut_to_it() -> None:
    whole = question_of(MOST + 1)
    for pieces in ([whole], [whole[:MOST], whole[MOST:]]):
        response = send(b"".join(map(chunk, pieces)) + END)
        assert response.status_code == 413
        assert response.get_json()["error"]["code"] == "too_large"
    # Its first MOST bytes would be good JSON.
    assert send(chunk(question_of(MOST)) + chunk(b" ") + END).status_code == 413


@pytest.mark.parametrize(
    "sent",
    [b"zz\r\n" + QUESTION + b"\r\n" + END, chunk(QUESTION) + b"-4\r\n", chunk(QUESTION)[:-2] + b"XX" + END],
    ids=["no size", "negative size", "no end of a chunk"],
)
def test_malformed_chunks_are_the_clients_mistake(sent: bytes) -> None:
    response = send(sent)
    assert response.status_code == 400
    assert response.get_json() == {
        "error": {"code": "invalid_request", "message": "The body is not sent in proper chunks."}
    }
    assert send(sent, "/api/extra/abort").get_json()["detail"]["type"] == "invalid_request"
