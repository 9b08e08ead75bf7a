"""Does an answer keep to /openapi.json? What schemathesis leaves out: the events and lines of streams."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from schemathesis import Case, Response
from schemathesis.checks import CHECKS

# Limits that no schema can say, as the refusals begin; everything else that a schema allows must be accepted.
_UNSAYABLE = re.compile(
    r"user_id: (must be|is missing)|cursor: |all_users: does not go with|title: must be one line"
    r"|comment: needs a rating|(message|question|title): is missing|bot: this conversation belongs"
    r"|grammar: has more than|model: '.*' is a bot|raw mode does not support|messages: the last one must be"
    r"|input: has more than|context_length_exceeded|email: |(url|include|exclude|allow_private|file): "
    r"|([a-z0-9_.\[\]]+\.)?(images|image_url)[a-z0-9_.\[\]]*: |(messages\[\d+\]\S+) only messages of the role user"
    r"|bot: .* answers from no collection|collection: either it or"
)


def operations(document: dict[str, Any]) -> list[tuple[str, str]]:
    """(method, path) of everything that is described."""
    return [(method, path) for path, item in document["paths"].items() for method in item if method != "parameters"]


def body_schema(document: dict[str, Any], method: str, path: str) -> dict[str, Any] | None:
    """The schema of an operation's JSON body, None where it takes none."""
    body = document["paths"][path][method].get("requestBody")
    if body is None:
        return None
    schema = dict(body["content"]["application/json"]["schema"])
    reference = schema.get("$ref", "").rpartition("/")[2]
    return dict(document["components"]["schemas"][reference]) if reference else schema


def success(document: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    """How an operation's answer is described where all goes well."""
    responses = document["paths"][path][method]["responses"]
    return dict(next(responses[status] for status in sorted(responses) if status.startswith("2")))


def example_body(document: dict[str, Any], method: str, path: str, *, streamed: bool) -> dict[str, Any] | None:
    """A body as the description shows it, with the model and the bots of the fakes."""
    schema = body_schema(document, method, path)
    if schema is None:
        return None
    example = {**schema.get("example", {}), **({"stream": streamed} if "stream" in schema["properties"] else {})}
    return {**example, "model": "model"} if "model" in example else example


def call_and_check(
    case: Case, document: dict[str, Any], headers: dict[str, str], *, base_url: str | None = None
) -> None:
    """Send what schemathesis has thought of, and hold the answer against the description."""
    response = case.call(base_url=base_url, headers=headers)
    excluded = ["positive_data_acceptance"] if _is_unsayable(response) else []
    if base_url:
        # Wrong keys from one address are soon told 429 instead of 401; test_authorization.py has them all.
        excluded.append("ignored_auth")
    case.validate_response(
        response,
        headers=headers,
        excluded_checks=CHECKS.get_by_names(excluded),
        transport_kwargs={"base_url": base_url} if base_url else None,
    )
    content_type = response.headers.get("content-type", [""])[0]
    check_stream(document, case.operation.path, case.operation.method.lower(), content_type, response.text)


def _is_unsayable(refused: Response) -> bool:
    """Whether a request may have been refused although its schema allows it."""
    return refused.status_code == 422 or (refused.status_code == 400 and bool(_UNSAYABLE.search(refused.text)))


def check_stream(document: dict[str, Any], path: str, method: str, content_type: str, body: str) -> None:
    """Every event or line of a stream is of its described form; other answers have none."""
    media = content_type.partition(";")[0]
    described = success(document, method, path).get("content", {}).get(media, {})
    if "x-line" in described:
        schemas, told = {"": described["x-line"]}, _lines(body)
    else:
        schemas, told = described.get("x-events"), _events(body)
    if schemas is None:
        return
    for name, data in told:
        assert name in schemas, f"{method} {path} sends an event {name!r} that is not described"
        Draft202012Validator({**schemas[name], "components": document["components"]}).validate(data)


def _lines(body: str) -> Iterator[tuple[str, Any]]:
    for line in body.splitlines():
        yield "", json.loads(line)


def _events(body: str) -> Iterator[tuple[str, Any]]:
    """(name, data) as a browser reads them; the [DONE] of OpenAI's API is no data."""
    for frame in body.split("\n\n"):
        fields = [line.partition(": ")[::2] for line in frame.split("\n") if line and not line.startswith(":")]
        if fields and (data := dict(fields)["data"]) != "[DONE]":
            yield dict(fields).get("event", "message"), json.loads(data)
