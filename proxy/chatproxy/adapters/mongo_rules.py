"""Rules made in the console, in MongoDB: collection `rules` with _id, bot, phrases, answer, made_by, created_at,
message_id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from chatproxy.adapters.mongo import Database, insert_once
from chatproxy.core.added_rules import AddedRule


class MongoRules:
    """Implements core.added_rules.RuleStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, rule: AddedRule) -> None:
        """See core.added_rules.RuleStore."""
        fields = asdict(rule)
        with self._database.collection("rules") as rules:
            insert_once(rules, {"_id": fields.pop("id"), **fields})

    def all(self) -> Sequence[AddedRule]:
        """See core.added_rules.RuleStore."""
        with self._database.collection("rules") as rules:
            found = list(rules.find().sort([("created_at", -1), ("_id", -1)]))
        return [AddedRule(id=each.pop("_id"), phrases=tuple(each.pop("phrases")), **each) for each in found]

    def remove(self, rule_id: str) -> bool:
        """See core.added_rules.RuleStore."""
        with self._database.collection("rules") as rules:
            return rules.delete_one({"_id": rule_id}).deleted_count == 1
