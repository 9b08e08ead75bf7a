"""The schema's versions: version N is reached by the N-th step.

Steps are only ever appended, and each may be run again after a crash.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pymongo.database import Database as MongoDatabase

Step = Callable[[MongoDatabase[dict[str, Any]]], None]


def _create_indexes(database: MongoDatabase[dict[str, Any]]) -> None:
    database["conversations"].create_index([("owner", 1), ("updated_at", -1), ("_id", -1)], name="by_owner")
    # Unique: two requests in the same conversation can never share a place in it.
    database["messages"].create_index([("conversation_id", 1), ("seq", 1)], name="by_conversation", unique=True)


def _create_expiry(database: MongoDatabase[dict[str, Any]]) -> None:
    # Documents without `expires_at`, those of version 1 among them, stay for ever. mongod looks once a minute.
    for name in ("conversations", "messages"):
        database[name].create_index("expires_at", name="expiry", expireAfterSeconds=0)


def _create_usage_expiry(database: MongoDatabase[dict[str, Any]]) -> None:
    database["usage"].create_index("expires_at", name="by_expiry", expireAfterSeconds=0)


MIGRATIONS: tuple[Step, ...] = (_create_indexes, _create_expiry, _create_usage_expiry)
