"""What the commands of an adapter cost a mongod, by its own profiler, and how it plans them, by explain()."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pymongo.database import Database as MongoDatabase

Document = dict[str, Any]
# Parts of a command that belong to the connection it came over.
_ENVELOPE = {"lsid", "$db", "$readPreference", "txnNumber", "writeConcern", "$clusterTime"}


@dataclass(frozen=True)
class Command:
    """One command as it ran: keys and documents looked at, documents found or changed, ids and ranges asked for."""

    collection: str
    stages: frozenset[str]
    keys: int
    documents: int
    found: int
    asked: int

    def assert_frugal(self) -> None:
        """It went by an index, sorted nothing itself, and looked at little more than what it found."""
        assert self.stages & {"IXSCAN", "IDHACK"}, self
        assert not self.stages & {"COLLSCAN", "SORT"}, self
        assert self.documents <= self.found + 2, self
        assert self.keys <= 2 * (self.found + self.asked) + 2, self


_COLLECTIONS = ("conversations", "messages")


class Profiler:
    """While it is entered, mongod writes every command down."""

    def __init__(self, database: MongoDatabase[Document]) -> None:
        self.database = database

    def __enter__(self) -> Profiler:
        self.database.command("profile", 0)
        self.database.drop_collection("system.profile")
        self.database.command("profile", 2)
        return self

    def __exit__(self, *_: object) -> None:
        self.database.command("profile", 0)

    def commands(self) -> list[Command]:
        """What ran on conversations and messages, inserts aside."""
        names = [f"{self.database.name}.{name}" for name in _COLLECTIONS]
        entries = list(self.database["system.profile"].find({"ns": {"$in": names}, "op": {"$ne": "insert"}}))
        return [_command(self.database, entry) for entry in entries]


def _command(database: MongoDatabase[Document], entry: Document) -> Command:
    collection = entry["ns"].partition(".")[2]
    said = {name: value for name, value in entry["command"].items() if name not in _ENVELOPE}
    if entry["op"] == "update":
        said = {"update": collection, "updates": [said]}
    elif entry["op"] == "remove":
        said = {"delete": collection, "deletes": [said]}
    plan = database.command("explain", said, verbosity="queryPlanner")
    found = max(entry.get(name, 0) for name in ("nreturned", "ndeleted", "nMatched"))
    return Command(
        collection,
        frozenset(_stages(plan["queryPlanner"]["winningPlan"])),
        entry["keysExamined"],
        entry["docsExamined"],
        found,
        _asked(entry["command"]),
    )


def _stages(plan: Any) -> Iterator[str]:
    if isinstance(plan, dict):
        if "stage" in plan:
            yield plan["stage"]
        for value in plan.values():
            yield from _stages(value)
    elif isinstance(plan, list):
        for value in plan:
            yield from _stages(value)


def _asked(command: Any) -> int:
    """Values of every $in and clauses of every $or: each is a place of its own in the index."""
    if isinstance(command, dict):
        own = sum(len(values) for name, values in command.items() if name in ("$in", "$or"))
        return own + sum(_asked(value) for value in command.values())
    if isinstance(command, list):
        return sum(_asked(value) for value in command)
    return 0
