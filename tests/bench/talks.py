"""A database as an appliance has it after some weeks: conversations, feedback, figures by the minute, acts."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from chatproxy.adapters.mongo import Database
from chatproxy.adapters.mongo_documents import conversation_document, message_document
from chatproxy.adapters.mongo_minutes import MongoMinutes
from chatproxy.core.measures import FIRST_TOKEN_S, Figures
from chatproxy.core.types import Conversation, Feedback, Message, Source, Usage, new_id, now

BOTS = ("assistant", "support", "guide")
_QUESTIONS = (
    "Where is my order? It should have come last Tuesday.",
    "How do I send the lamp back, and who pays for that?",
    "Wie lange dauert die Lieferung nach Österreich?",
    "Can I pay by invoice?",
    "我的订单在哪里？",
    "Which bulbs fit into the blue lamp of the winter catalogue?",
)
_ANSWER = (
    "You can send it back within **30 days**:\n\n1. print the label from your account,\n2. put it on the parcel,\n"
    "3. bring it to any post office.\n\n| parcel | price |\n|---|---|\n| small | free |\n| large | 4.90 euros |\n\n"
    "More on [our page about returns](https://shop.example/returns) [1]. "
)
_WORDS = ("delivery", "invoice", "warranty", "voucher", "parcel", "colour", "socket", "battery", "shade", "discount")


def fill(
    database: Database,
    conversations: int = 1000,
    messages: int = 10_000,
    *,
    days: int = 28,
    minutes_of_days: int = 30,
) -> None:
    """So many, spread over the last `days`; figures for every second minute, and 2,000 acts beside them."""
    chosen, each = random.Random(20260517), messages // conversations
    wheres: list[dict[str, Any]] = []
    whats: list[dict[str, Any]] = []
    for number in range(conversations):
        begun = now() - timedelta(days=days) * (number / conversations)
        people = (f"site:site_{number % 3:016x}/visitor:{new_id()}", f"key:{number % 7:016x}", f"key:1/user:{new_id()}")
        asked = chosen.choice(_QUESTIONS)
        where = Conversation(new_id(), chosen.choice(people), chosen.choice(BOTS), asked[:80], begun, begun, 30)
        wheres.append(conversation_document(where, each))
        for place in range(each):
            whats.append(message_document(_message(where, place, chosen, asked), place, 30) | _rated(place, chosen))
    with database.opened() as opened:
        opened["conversations"].insert_many(wheres)
        opened["messages"].insert_many(whats)
        acts = [
            {"at": now() - timedelta(minutes=number), "actor": "anna", "address": "10.13.13.2", "what": "log-in",
             "subject": "anna", "outcome": "done"}
            for number in range(2000)
        ]  # fmt: skip
        opened["audit"].insert_many(acts)
    _fill_minutes(database, chosen, minutes_of_days)


def _message(where: Conversation, place: int, chosen: random.Random, asked: str) -> Message:
    moment = where.created_at + timedelta(seconds=20 * place)
    if place % 2 == 0:
        return Message(new_id(), where.id, "user", f"{asked} {chosen.choice(_WORDS)}" if place else asked, moment)
    text = _ANSWER + " ".join(chosen.choices(_WORDS, k=80))
    source = Source(1, "Returns", "https://shop.example/returns", "Goods can be sent back within 30 days.")
    if chosen.random() < 0.03:
        return Message(new_id(), where.id, "assistant", text[:90], moment, "interrupted", None, Usage(None, None))
    return Message(
        new_id(), where.id, "assistant", text, moment, "complete", "stop", Usage(400, 130), sources=(source,)
    )


def _rated(place: int, chosen: random.Random) -> dict[str, Any]:
    if place % 2 == 0 or chosen.random() > 0.1:
        return {}
    rated = Feedback("down", "That is not what I asked.") if chosen.random() < 0.4 else Feedback("up")
    return {"feedback": {"rating": rated.rating, "comment": rated.comment}}


def _fill_minutes(database: Database, chosen: random.Random, days: int) -> None:
    """Busier by day than by night; in every second minute something."""
    store, begun = MongoMinutes(database), now().replace(second=0, microsecond=0)
    for number in range(0, days * 24 * 60, 2):
        minute = begun - timedelta(minutes=number)
        count = chosen.randint(0, 1 + 10 * max(0, 7 - abs(13 - minute.hour)) // 7)
        first_token = [0] * (len(FIRST_TOKEN_S) + 1)
        for _ in range(count):
            first_token[min(len(FIRST_TOKEN_S), max(0, int(chosen.gauss(4, 2))))] += 1
        if not count:
            continue
        figures = Figures(
            requests=count * 4,
            errors=int(chosen.random() < 0.01),
            answers=count,
            prompt_tokens=count * 400,
            completion_tokens=count * 130,
            visitors=count // 3,
            waiting=max(0, count - 4),
            busy_s=count * 4.0,
            first_token=tuple(first_token),
        )
        store.add(minute, figures)
