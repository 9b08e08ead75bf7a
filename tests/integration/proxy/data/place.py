"""Two places: one that is used, one that is empty; and what is carried from the one to the other, as a host does it."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
from bson import Binary, Code, Decimal128, Int64, MaxKey, ObjectId, Regex, Timestamp
from pymongo import MongoClient

from chatproxy import building, parts
from chatproxy.adapters.chroma import Chroma
from chatproxy.adapters.embeddings import Embeddings
from chatproxy.adapters.mongo import Database
from chatproxy.adapters.mongo_history import MongoHistory
from chatproxy.adapters.mongo_knowledge import MongoKnowledge
from chatproxy.adapters.mongo_originals import MongoOriginals
from chatproxy.adapters.words import WordIndex
from chatproxy.core.ingest import embedded, entries
from chatproxy.core.knowledge import Chunk
from chatproxy.core.sources import StoredChunk, chunk_id, sameness
from chatproxy.core.types import Conversation, Image, Message, new_id, now
from chatproxy.settings import Settings
from scripts.lib.native import ROOT, NativeStack

SUBJECTS = ("refunds", "opening hours", "shipping", "guarantee", "gift cards", "repairs", "parking", "newsletter")
# Of two or three syllables: texts that are as unlike each other as real ones.
VOCABULARY = [
    f"{a}{b}{c}" for a in ("ka", "lo", "mi", "ter", "vor") for b in ("den", "ris", "pul") for c in ("", "o", "um")
]


@dataclass
class Place:
    """MongoDB, Chroma and a word index of its own, as the worker has them, and its command line."""

    stack: NativeStack
    embeddings_url: str
    settings: Settings = field(init=False)

    def __post_init__(self) -> None:
        self.settings = Settings.from_environment(self.environment)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.stack.proxy_environment(), "EMBEDDINGS_URL": self.embeddings_url}

    @property
    def database(self) -> Database:
        return building.database(self.settings)

    @property
    def mongo(self) -> Any:
        """With the rights that the proxy has."""
        password = self.stack.mongo_password_file.read_text()
        url = f"{self.stack.mongo_url}/?directConnection=true"
        return MongoClient(url, username="chatproxy", password=password, authSource="chatbot")["chatbot"]

    @property
    def chroma(self) -> Chroma:
        embeddings = Embeddings(self.embeddings_url)
        return Chroma(self.stack.chroma_url, token=self.stack.chroma_token_file.read_text(), model=embeddings.model)

    @property
    def words(self) -> WordIndex:
        return WordIndex(self.settings.words_dir)

    def data(self, *arguments: str, given: bytes = b"", **settings: str) -> subprocess.CompletedProcess[bytes]:
        """`python -m chatproxy data ...`."""
        environment = {**self.environment, **settings}
        words = [sys.executable, "-m", "chatproxy", "data", *arguments]
        folder = ROOT / "proxy"
        return subprocess.run(words, env=environment, cwd=folder, capture_output=True, input=given, check=False)

    def begun(self, *arguments: str) -> subprocess.Popen[bytes]:
        """The same, still running."""
        words = [sys.executable, "-m", "chatproxy", "data", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(words, env=self.environment, cwd=ROOT / "proxy", stdin=pipe, stdout=pipe, stderr=pipe)

    def dumped(self) -> dict[str, bytes]:
        done = self.data("dump")
        assert done.returncode == 0, done.stderr.decode()
        return joined(done.stdout)

    def compared(self, members: Mapping[str, bytes]) -> dict[str, Any]:
        done = self.data("compare", given=members["data.json"])
        assert done.stdout, done.stderr.decode()
        found = dict(json.loads(done.stdout))
        assert done.returncode == (1 if found["differences"] else 0)
        return found

    def raw(self) -> dict[str, bytes]:
        """Every collection's BSON, read without anything of ours."""
        listed = [info["name"] for info in self.mongo.list_collections(filter={"type": "collection"})]
        names = sorted(name for name in listed if not name.startswith("system."))
        return {name: b"".join(self.mongo[name].find_raw_batches({}).sort("_id", 1)) for name in names}

    def emptied(self) -> None:
        """As a blank machine: no database, no vectors, no words."""
        for name in self.mongo.list_collection_names():
            if not name.startswith("system."):
                self.mongo[name].drop()
        for name in self.chroma.names():
            self.chroma.drop(name)
        for collection in ("shop", "files"):
            self.words.drop(collection)


def joined(stream: bytes) -> dict[str, bytes]:
    """The members of a dump, their parts put together, in the order in which they came."""
    members: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(stream)) as tar:
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            name = re.sub(r"\.part\d{4,}$", "", member.name)
            members[name] = members.get(name, b"") + content.read()
    return members


def archive(members: Mapping[str, bytes]) -> bytes:
    """What `load` is given: whole members, data.json first."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(members, key=lambda each: each != "data.json"):
            member = tarfile.TarInfo(name)
            member.size = len(members[name])
            tar.addfile(member, io.BytesIO(members[name]))
    return written.getvalue()


# --- what a used appliance has ---------------------------------------------------------------------------------------


def talk(history: MongoHistory, turns: int, *, retention_days: int | None = None, picture: bytes = b"") -> Conversation:
    conversation = Conversation(new_id(), f"key:{new_id()}", "bot", "title", now(), now(), retention_days)
    images = (Image("image/png", 1, 1, picture),) if picture else ()
    for turn in range(turns):
        question = Message(new_id(), conversation.id, "user", f"Question {turn} — ß 漢字 🚢", now())
        if images and turn == 0:
            given = Image("image/png", 1, 1, picture, f"{question.id}-0")
            question = Message(
                question.id, conversation.id, "user", question.text, question.created_at, images=(given,)
            )
        answer = Message(new_id(), conversation.id, "assistant", "", now(), "interrupted")
        history.begin(conversation, [question, answer], new=turn == 0)
    return conversation


def chunks(collection: str, many: int) -> list[StoredChunk]:
    stored, chosen = [], random.Random(collection)
    for number in range(many):
        subject = SUBJECTS[number % len(SUBJECTS)]
        rule = " ".join(chosen.choice(VOCABULARY) for _ in range(24))
        text = f"Rule {number} about {subject}: {rule}."
        chunk = Chunk(text, ("Handbook", subject), f"r{number}", None, number, 20)
        document = f"{number // 50:032x}"
        stored.append(
            StoredChunk(
                chunk_id(document, chunk), collection, "source", document, "v1", "https://a.example/", "en", chunk,
                sameness(chunk), twin=number % 25 == 24,
            )
        )  # fmt: skip
    return stored


def teach(place: Place, stored: Iterable[StoredChunk]) -> None:
    """As a worker takes chunks in: MongoDB, vectors, words."""
    all_of_them = list(stored)
    searched = [each for each in all_of_them if not each.twin]
    MongoKnowledge(place.database).put_chunks(all_of_them)
    place.chroma.put(searched[0].collection, embedded(Embeddings(place.embeddings_url), searched))
    place.words.put(entries(searched))


def odd_documents() -> list[dict[str, Any]]:
    """One of everything that BSON has, and _ids of other kinds."""
    key, code = ObjectId("5f1f2a3b4c5d6e7f80919293"), Code("return 1", {"x": 1})
    return [
        {"_id": key, "big": Int64(1), "small": 1, "real": 1.0, "exact": Decimal128("1.10")},
        {"_id": 7, "bytes": Binary(bytes(range(256)), 0x80), "pattern": Regex("a+", "i"), "code": code},
        {"_id": 7.5, "moment": datetime(1969, 12, 31, 23, 59, tzinfo=UTC), "stamp": {"inner": Timestamp(5, 6)}},
        {"_id": {"b": 1, "a": 2}, "most": MaxKey(), "none": None, "nested": [[], {}, [{"a": ["", "\0"]}]]},
        {"_id": "far", "text": "🚢" * 40_000, "": "a field without a name", "a.b": 1, "$c": 2},
    ]


def use(place: Place) -> None:
    """Conversations with and without an end, pictures, keys, knowledge, originals, and what nobody expects."""
    history = MongoHistory(place.database)
    for number in range(30):
        talk(
            history, 3, retention_days=30 if number % 2 else None, picture=bytes([number]) * 5000 if number < 3 else b""
        )
    parts.keyring(place.settings).create("widget", frozenset({"chat"}))
    teach(place, chunks("shop", 400))
    teach(place, chunks("files", 60))
    MongoOriginals(place.database).keep("original-1", os.urandom(700_000))
    mongo = place.mongo
    for document in odd_documents():
        mongo["odd/näme % +.x"].insert_one(document)
    mongo.create_collection("n" * 200 + "é" * 20).insert_one({"_id": 1})
    mongo.create_collection("plain words", collation={"locale": "de", "strength": 1})
    mongo["plain words"].insert_many([{"_id": word} for word in ("b", "Ä", "z", "a1", "ö")])
    mongo.create_collection("newest", viewOn="messages", pipeline=[{"$sort": {"created_at": -1}}, {"$limit": 3}])
    mongo["empty"].create_index([("place", "2dsphere"), ("at", -1)], name="where", sparse=True)


def expiring(place: Place, many: int, after: timedelta) -> None:
    moment = datetime.now(UTC) + after
    documents = [{"_id": f"{after.days}-{number}", "owner": "x", "expires_at": moment} for number in range(many)]
    place.mongo["usage"].insert_many(documents)


def decoded(member: bytes) -> list[dict[str, Any]]:
    return [dict(each) for each in bson.decode_all(gzip.decompress(member))]


def changed(members: Mapping[str, bytes], name: str, data: bytes | None) -> bytes:
    """The archive with another member in place of one, or without it."""
    others = {key: value for key, value in members.items() if key != name}
    return archive(others if data is None else {**members, name: data})
