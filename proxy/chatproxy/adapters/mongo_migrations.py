"""The schema's versions: version N is reached by the N-th step.

Steps are only ever appended, and each may be run again after a crash.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pymongo.database import Database as MongoDatabase

# Seconds, the most that mongod takes: 68 years.
_NEVER = 2**31 - 1
Step = Callable[[MongoDatabase[dict[str, Any]]], None]


def _create_indexes(database: MongoDatabase[dict[str, Any]]) -> None:
    database["conversations"].create_index([("owner", 1), ("updated_at", -1), ("_id", -1)], name="by_owner")
    # Unique: two requests in the same conversation can never share a place in it.
    database["messages"].create_index([("conversation_id", 1), ("seq", 1)], name="by_conversation", unique=True)


def _create_expiry(database: MongoDatabase[dict[str, Any]]) -> None:
    # Documents without `expires_at`, those of version 1 among them, stay for ever.
    for name in ("conversations", "messages"):
        _create_ttl(database, name, "expires_at", 0)


def _create_usage_expiry(database: MongoDatabase[dict[str, Any]]) -> None:
    database["usage"].create_index("expires_at", name="by_expiry", expireAfterSeconds=0)


def _create_knowledge_indexes(database: MongoDatabase[dict[str, Any]]) -> None:
    database["documents"].create_index([("source_id", 1), ("_id", 1)], name="by_source")
    database["chunks"].create_index([("document_id", 1), ("version", 1)], name="by_document")
    database["chunks"].create_index([("collection", 1), ("same", 1), ("twin", 1)], name="by_sameness")
    database["sources"].create_index("next_sync", name="by_next_sync")
    database["jobs"].create_index([("source_id", 1), ("created_at", -1)], name="by_source")
    # Unique: whoever asks twice for the same work gets the same job.
    database["jobs"].create_index(
        [("kind", 1), ("source_id", 1)], name="one_open", unique=True, partialFilterExpression={"open": True}
    )
    database["jobs"].create_index("expires_at", name="expiry", expireAfterSeconds=0)


def _create_job_indexes(database: MongoDatabase[dict[str, Any]]) -> None:
    # A job holds a crawl's state, or a report: neither a list of the newest nor the worker's look reads all of them.
    newest = [("created_at", 1), ("_id", 1)]
    database["jobs"].create_index(newest, name="by_time")
    database["jobs"].create_index(newest, name="open_by_time", partialFilterExpression={"open": True})


def _create_admin_indexes(database: MongoDatabase[dict[str, Any]]) -> None:
    database["admin_sessions"].create_index("expires_at", name="expiry", expireAfterSeconds=0)
    # Newest first, and gone after a year.
    _create_ttl(database, "audit", "at", 366 * 86_400)


def _create_minutes_expiry(database: MongoDatabase[dict[str, Any]]) -> None:
    _create_ttl(database, "minutes", "expires_at", 0)


def _create_archive_indexes(database: MongoDatabase[dict[str, Any]]) -> None:
    newest = [("created_at", -1), ("_id", -1)]
    conversations, messages = database["conversations"], database["messages"]
    conversations.create_index([("updated_at", -1), ("_id", -1)], name="by_time")
    conversations.create_index([("bot", 1), ("updated_at", -1), ("_id", -1)], name="by_bot")
    # "none": every word of every language as it is written. Without a field that overrules it in a document.
    messages.create_index([("text", "text")], name="by_words", default_language="none", language_override="_none")
    rated = {"feedback.rating": {"$exists": True}}
    messages.create_index([("feedback.rating", 1), *newest], name="by_rating", partialFilterExpression=rated)
    interrupted = {"status": "interrupted"}
    messages.create_index(newest, name="interrupted_by_time", partialFilterExpression=interrupted)
    acts = [("at", -1), ("_id", -1)]
    database["audit"].create_index(acts, name="by_time")
    database["audit"].create_index([("actor", 1), *acts], name="by_actor")


def _create_image_indexes(database: MongoDatabase[dict[str, Any]]) -> None:
    database["images"].create_index("conversation_id", name="by_conversation")
    _create_ttl(database, "images", "expires_at", 0)


def _delete_by_hand(database: MongoDatabase[dict[str, Any]]) -> None:
    # mongod believes any clock; what deletes instead is core/expiry.py. The indexes are still how it finds what is old.
    for name in ("conversations", "messages", "images", "minutes", "audit"):
        database.command("collMod", name, index={"name": "expiry", "expireAfterSeconds": _NEVER})


def _create_ttl(database: MongoDatabase[dict[str, Any]], name: str, field: str, seconds: int) -> None:
    """An index by which mongod deletes; one that a later step has set to never stays so."""
    if "expiry" not in database[name].index_information():
        database[name].create_index(field, name="expiry", expireAfterSeconds=seconds)


MIGRATIONS: tuple[Step, ...] = (
    _create_indexes,
    _create_expiry,
    _create_usage_expiry,
    _create_knowledge_indexes,
    _create_job_indexes,
    _create_admin_indexes,
    _create_minutes_expiry,
    _create_archive_indexes,
    _create_image_indexes,
    _delete_by_hand,
)
