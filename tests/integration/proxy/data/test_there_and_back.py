"""What is dumped from a place in use comes back byte for byte in an empty one."""

from __future__ import annotations

import gzip
import json
import threading
from datetime import timedelta

from bson import json_util

from tests.integration.proxy.data.place import Place, archive, chunks, decoded, expiring, teach

_HISTORY = "zz written last"


def test_everything_comes_back_as_it_was(used: Place, blank: Place) -> None:
    before = used.raw()
    members = used.dumped()
    loaded = blank.data("load", given=archive(members))
    assert (loaded.returncode, loaded.stderr) == (0, b"")
    found = blank.compared(members)
    assert found["differences"] == 0, found
    # Not only all that is worth the same: the same ten, in the same order, by meaning and by words.
    assert found["probes"] == {"asked": 20, "same": 20, "lost": []}
    assert blank.raw() == before == used.raw()
    for name in before:
        assert sorted(map(repr, used.mongo[name].list_indexes())) == sorted(map(repr, blank.mongo[name].list_indexes()))
    (view,) = blank.mongo.list_collections(filter={"type": "view"})
    assert view["options"]["viewOn"] == "messages"
    assert blank.mongo["plain words"].options() == used.mongo["plain words"].options()
    # Only once all of it was there.
    assert list(members)[-1] == "data.json"


def test_members_are_what_mongorestore_reads(used: Place) -> None:
    members = used.dumped()
    assert {"mongo/odd%2Fn%C3%A4me%20%25%20+.x.bson.gz", "mongo/messages.bson.gz"} <= set(members)
    long = next(name for name in members if name.startswith("mongo/nnn") and name.endswith(".metadata.json.gz"))
    # Cut, the name's checksum behind a percent-escaped dollar, at mongodump's place.
    assert len(long.removeprefix("mongo/").removesuffix(".metadata.json.gz")) == 238
    described = json_util.loads(gzip.decompress(members[long]))
    assert described["collectionName"] == "n" * 200 + "é" * 20
    assert {document["_id"] for document in decoded(members["mongo/keys.bson.gz"])} == set(
        used.mongo["keys"].distinct("_id")
    )


def test_a_dump_is_one_moment_while_conversations_go_on(used: Place, blank: Place) -> None:
    """The first and the last collection that are read are written in turns: what is in the last is in the first."""
    first, last, filler = used.mongo["aa written first"], used.mongo[_HISTORY], used.mongo["mm filler"]
    filler.insert_many([{"_id": number, "text": f"{number}" * 20_000} for number in range(300)])
    stop, written = threading.Event(), []

    def write() -> None:
        while not stop.is_set():
            number = len(written)
            first.insert_one({"_id": number})
            last.insert_one({"_id": number})
            written.append(number)

    def learn() -> None:
        """A worker's day: chunks come, and go from Chroma before they go from MongoDB."""
        while not stop.is_set():
            lesson = chunks("files", 75)[60:]
            teach(used, lesson)
            used.chroma.remove("files", [each.id for each in lesson])
            used.words.remove([each.id for each in lesson])
            used.mongo["chunks"].delete_many({"_id": {"$in": [each.id for each in lesson]}})

    writers = [threading.Thread(target=write), threading.Thread(target=learn)]
    first.insert_one({"_id": -1})
    last.insert_one({"_id": -1})
    for writer in writers:
        writer.start()
    try:
        before = len(written)
        members = used.dumped()
        after = len(written)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
        for collection in (first, last, filler):
            collection.drop()
    kept = [len(decoded(members[f"mongo/{name}.bson.gz"])) for name in ("aa%20written%20first", "zz%20written%20last")]
    assert kept[1] <= kept[0] <= kept[1] + 1
    assert before < kept[0] < after  # it was taken while they wrote, and they went on
    assert blank.data("load", given=archive(members)).returncode == 0
    assert blank.compared(members)["differences"] == 0


def test_vectors_that_chroma_has_lost_are_made_again(used: Place, blank: Place) -> None:
    lost = [each.id for each in chunks("shop", 400)[:30] if not each.twin]
    kept = used.chroma.stored("shop", lost)
    used.chroma.remove("shop", lost)
    try:
        members = used.dumped()
    finally:
        used.chroma.put("shop", kept)
    assert blank.data("load", given=archive(members)).returncode == 0
    again = blank.chroma.stored("shop", lost)
    assert all(abs(a - b) < 1e-3 for key in lost for a, b in zip(kept[key], again[key], strict=True))
    assert blank.compared(members)["vectors"] == {}


def test_vectors_of_another_model_are_left_to_the_worker(used: Place, blank: Place) -> None:
    used.chroma.begin("files")  # as a change of model does, before it has begun to make them anew
    try:
        members = used.dumped()
    finally:
        teach(used, chunks("files", 60))
        used.chroma.finish("files")
    assert "vectors/files.jsonl.gz" not in members
    done = blank.data("load", given=archive(members))
    assert (done.returncode, done.stderr.decode()) == (
        0,
        "The vectors of files were not whole when it was backed up: the worker makes them anew.\n",
    )
    # What core/syncing.py looks for.
    assert blank.chroma.fit("files") in ("unfinished", "foreign")
    assert blank.chroma.fit("shop") == "whole"
    assert blank.compared(members)["differences"] == 0


def test_what_expired_meanwhile_is_no_difference(used: Place, blank: Place) -> None:
    expiring(used, 5, timedelta(days=-2))
    expiring(used, 5, timedelta(days=40))
    try:
        members = used.dumped()
    finally:
        used.mongo["usage"].delete_many({"owner": "x"})
    assert blank.data("load", given=archive(members)).returncode == 0
    (index,) = [each for each in blank.mongo["usage"].list_indexes() if "expireAfterSeconds" in each]
    assert index["expireAfterSeconds"] == 0
    # As mongod does, which looks once a minute.
    blank.mongo["usage"].delete_many({"_id": {"$in": [f"-2-{number}" for number in range(5)]}})
    found = blank.compared(members)
    assert (found["differences"], found["expired"]) == (0, 5)
    blank.mongo["usage"].delete_one({"_id": "40-3"})
    assert list(blank.compared(members)["collections"]) == ["usage"]


def test_a_change_is_named_without_what_was_said(used: Place, blank: Place) -> None:
    members = used.dumped()
    assert blank.data("load", given=archive(members)).returncode == 0
    message = blank.mongo["messages"].find_one({"role": "user"})
    blank.mongo["messages"].update_one({"_id": message["_id"]}, {"$set": {"text": "a secret that was not said"}})
    blank.mongo["jobs"].drop_index("expiry")
    blank.mongo["stranger"].insert_one({})
    blank.mongo["newest"].drop()
    chunk = next(each for each in chunks("shop", 400) if not each.twin)
    (moved,) = blank.chroma.stored("shop", [chunk.id]).values()
    blank.chroma.put("shop", {chunk.id: [moved[-1], *moved[:-1]]})
    done = blank.data("compare", given=members["data.json"])
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert message["_id"] in found["collections"]["messages"]["among"]
    assert found["collections"]["jobs"] == {"indexes": ["expiry"]}
    assert found["collections"]["stranger"] == {"unknown": True}
    assert found["collections"]["newest"] == {"missing": True}
    assert set(found["collections"]) == {"messages", "jobs", "stranger", "newest"}
    assert chunk.id in found["vectors"]["shop"]["among"]
    assert set(found["vectors"]) == {"shop"}
    assert b"secret" not in done.stdout
    assert found["differences"] == 5


def test_a_lost_word_index_is_a_difference(used: Place, blank: Place) -> None:
    members = used.dumped()
    assert blank.data("load", given=archive(members)).returncode == 0
    blank.words.drop("shop")
    found = blank.compared(members)
    assert found["probes"]["lost"]
    assert found["differences"] == sum(
        each["collection"] == "shop" for each in json.loads(members["data.json"])["probes"]
    )
