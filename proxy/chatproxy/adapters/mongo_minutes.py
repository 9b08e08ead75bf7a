"""Figures by the minute in MongoDB: collection `minutes`, one document for each minute in which anything happened.

    _id          minutes since 1970 (UTC), so that a span is a range of it
    expires_at   90 days later; a TTL index deletes it then
    first_token  {"250": 3, ..., "more": 1}: answers by the upper bound of their bucket, in ms

and the other fields of core.measures.Figures under their own names, zeros left out. Increments from several proxies add
up. Acknowledged in memory, as usage counters are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo

from chatproxy.adapters.mongo import UNFLUSHED, Database
from chatproxy.core.measures import FIRST_TOKEN_S, Figures

_KEPT = timedelta(days=90)
_EPOCH = datetime.fromtimestamp(0, UTC)
_MINUTE = timedelta(minutes=1)
# The writer ends with the process, and a chart is looked at: neither waits longer for a database that hangs.
_WRITE_S, _READ_S = 4.0, 10.0
_BUCKETS = (*(f"{bound * 1000:.0f}" for bound in FIRST_TOKEN_S), "more")
_SUMS = tuple(field.name for field in fields(Figures) if field.name not in ("waiting", "first_token"))


class MongoMinutes:
    """Implements core.measures.MinuteStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, minute: datetime, figures: Figures) -> None:
        """See core.measures.MinuteStore."""
        values = {name: getattr(figures, name) for name in _SUMS}
        values |= {f"first_token.{key}": count for key, count in zip(_BUCKETS, figures.first_token, strict=True)}
        update = {
            "$inc": {name: value for name, value in values.items() if value},
            "$max": {"waiting": figures.waiting},
            "$setOnInsert": {"expires_at": minute + _KEPT},
        }
        with self._database.collection("minutes") as minutes, pymongo.timeout(_WRITE_S):
            minutes.with_options(write_concern=UNFLUSHED).update_one(
                {"_id": _number(minute)}, {name: part for name, part in update.items() if part}, upsert=True
            )

    def read(self, since: datetime, until: datetime, step: timedelta) -> Mapping[datetime, Figures]:
        """See core.measures.MinuteStore. Summed up by the server: 90 days are 130,000 documents."""
        first, last, length = _number(since), _number(until), step // _MINUTE
        behind = {"$mod": [{"$subtract": ["$_id", first]}, length]}
        group: dict[str, Any] = {"_id": {"$subtract": ["$_id", behind]}, "waiting": {"$max": "$waiting"}}
        group |= {name: {"$sum": f"${name}"} for name in _SUMS}
        group |= {f"first_token_{key}": {"$sum": f"$first_token.{key}"} for key in _BUCKETS}
        stages = [{"$match": {"_id": {"$gte": first, "$lt": last}}}, {"$group": group}]
        with self._database.collection("minutes") as minutes, pymongo.timeout(_READ_S):
            return {_EPOCH + each["_id"] * _MINUTE: _figures(each) for each in minutes.aggregate(stages)}


def _number(moment: datetime) -> int:
    return (moment - _EPOCH) // _MINUTE


def _figures(group: dict[str, Any]) -> Figures:
    sums = {name: group[name] for name in _SUMS}
    return Figures(
        **sums, waiting=group["waiting"] or 0, first_token=tuple(group[f"first_token_{key}"] for key in _BUCKETS)
    )
