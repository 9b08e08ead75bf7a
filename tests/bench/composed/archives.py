"""How long a backup and its way back take per GB of conversations, and how long nobody is answered meanwhile.

    MEGABYTES=300 make bench ONLY=backup

Everything is done once with next to nothing stored and once with that much, by the operator's own commands on a
composed appliance: the difference is what a GB takes, what both have is the containers' restart. A real conversation is
stored as often as it takes, with other words each time, so that documents are as the proxy makes them. GB are 10^9
bytes of documents as MongoDB counts them, before any compression.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.bench.composed import stack
from tests.bench.figures import counted, figure, heading
from tests.stack.conftest import Appliance

_MB = 1_000_000
_POLL_S = 0.1
# Runs where pymongo and the way to the database are: in the proxy. Prints MongoDB's own count of bytes.
_STORE = """
import os, random, sys, uuid
import pymongo
from chatproxy import building
from chatproxy.adapters.mongo_migrations import MIGRATIONS
from chatproxy.settings import Settings
words = [f"{a}{b}{c}" for a in ("ka", "lo", "mi", "ter", "vor", "sul") for b in ("den", "ris", "pul", "gat")
         for c in ("", "o", "um", "ing")]
wanted = int(sys.argv[1])
with building.database(Settings.from_environment(os.environ)).opened() as database:
    conversation = database["conversations"].find_one({"_id": sys.argv[2]})
    messages = list(database["messages"].find({"conversation_id": sys.argv[2]}))
    stored = 0
    # Each message's words one by one would take an hour.
    database["messages"].drop_index("by_words")
    while stored < wanted:
        several, said = [], []
        for _ in range(200):
            several.append({**conversation, "_id": uuid.uuid4().hex})
            for place in range(0, 10, len(messages)):
                for message in messages:
                    text = " ".join(random.choices(words, k=random.randrange(20, 200)))
                    own = {"_id": uuid.uuid4().hex, "conversation_id": several[-1]["_id"], "text": text}
                    said.append({**message, **own, "seq": message["seq"] + place})
        database["conversations"].insert_many(several)
        database["messages"].insert_many(said)
        stored = sum(database.command("collStats", each)["size"] for each in ("conversations", "messages"))
    with pymongo.timeout(3600):
        for step in MIGRATIONS:
            step(database)
print(database.command("dbStats")["dataSize"])
"""


@dataclass(frozen=True)
class Round:
    """Of one amount of documents: their bytes, the archive's, and seconds."""

    documents: int
    archive: int
    backup: float
    check: float
    restore: float
    silence: float


def measured(running: Appliance, conversation: str, megabytes: int) -> Round:
    """Store so much, then carry it out and back in."""
    words = ("python3", "-c", _STORE, str(megabytes * _MB), conversation)
    stored = running.execute("proxy", *words, check=False)
    if stored.returncode:
        raise RuntimeError(f"{megabytes} MB could not be stored:\n{stored.stderr}")
    backup = _timed(running, "backup")
    (newest, *_) = json.loads(running.make("backups", "JSON=1").stdout)
    archive = Path(newest["path"])
    check = _timed(running, "backup-check", f"FROM={archive}")
    silences: list[float] = []
    with _listened(running, silences):
        restore = _timed(running, "restore", f"FROM={archive}")
    return Round(int(float(stored.stdout)), archive.stat().st_size, backup, check, restore, max(silences))


def _timed(running: Appliance, *words: str) -> float:
    begun = time.monotonic()
    done = running.make(*words)
    if done.returncode:
        raise RuntimeError(f"make {' '.join(words)} ended with {done.returncode}:\n{done.stdout}")
    return time.monotonic() - begun


@contextmanager
def _listened(running: Appliance, silences: list[float]) -> Iterator[None]:
    """Gives the seconds between one answer of /readyz and the next, as somebody outside has them."""
    enough = threading.Event()

    def listen() -> None:
        last = time.monotonic()
        while not enough.wait(_POLL_S):
            try:
                ready = requests.get("https://localhost/readyz", verify=running.session.verify, timeout=2).ok
            except requests.RequestException:
                ready = False
            if ready:
                silences.append(time.monotonic() - last)
                last = time.monotonic()

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        yield
        running.wait_healthy()
    finally:
        enough.set()
        listener.join()


def run() -> None:
    megabytes = counted("MEGABYTES", 300)
    with stack.appliance() as running:
        conversation = running.chat("What do lighthouses do in fog?")["conversation_id"]
        heading(f"next to nothing, then {megabytes} MB of conversations, out and back in")
        least, most = measured(running, conversation, 0), measured(running, conversation, megabytes)
    gigabytes = (most.documents - least.documents) / 1e9
    figure("documents", most.documents / _MB, "MB")
    figure("archive", most.archive / _MB, "MB")
    for name in ("backup", "check", "restore", "silence"):
        few, many = getattr(least, name), getattr(most, name)
        shown = {"check": "backup-check", "silence": "nobody is answered during the restore"}.get(name, name)
        figure(f"{shown}, next to nothing stored", few, "s")
        figure(f"  with {megabytes} MB", many, "s")
        figure("  more per GB", (many - few) / gigabytes, "s/GB", digits=0)


if __name__ == "__main__":
    run()
