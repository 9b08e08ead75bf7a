"""Ids in a path. What has not the shape of one names nothing: the same 404 as for an id that is not there."""

from __future__ import annotations

import re

from chatproxy.errors import NotFound

ID = r"[0-9a-f]{32}"
_SHORT_ID = r"[0-9a-f]{16}"


def conversation_id(given: str) -> str:
    """The id of a conversation. Raises NotFound."""
    return _checked(given, "There is no conversation with this id.")


def message_id(given: str) -> str:
    """The id of a message. Raises NotFound."""
    return _checked(given, "There is no message with this id.")


def source_id(given: str) -> str:
    """The id of a source of knowledge. Raises NotFound."""
    return _checked(given, "There is no source with this id.", _SHORT_ID)


def job_id(given: str) -> str:
    """The id of a job. Raises NotFound."""
    return _checked(given, "There is no job with this id.", _SHORT_ID)


def _checked(given: str, public: str, shape: str = ID) -> str:
    if not re.fullmatch(shape, given):
        raise NotFound("not the shape of an id", public=public)
    return given
