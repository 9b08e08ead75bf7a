"""What make.py does with the appliance of an earlier commit; PYTHONPATH leads into that commit's tree.

The clients are visitors, an owner with a key, and the commit's own commands: nothing reaches around them into the
stores but what reads at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from pymongo import MongoClient

# Of the earlier commit.
from scripts.lib.native import ROOT, NativeStack

ORIGIN = "https://shop.example"
PASSWORD = "correct horse battery"
# What deletes itself with time, or is written by every start.
PASSING = {"usage", "jobs", "minutes", "admin_sessions", "audit", "schema", "backups", "system.views"}
SHOP = """# Handbook of the lighthouse shop

## Opening hours

The shop is open from Tuesday to Saturday, from nine in the morning to five in the afternoon. On Mondays we repair.

## Returns

A lamp can be sent back within thirty days for a full refund. Lenses that were ground to order stay with their owner.

## Guarantee

Lamps have a guarantee of five years, lenses one of ten. A burnt wick is no defect.

## Shipping

Parcels leave on Thursdays. Islands without a ferry are served by the mail boat, which takes two weeks.

## Foghorns

The brass foghorn FH-1987 sounds every forty seconds. Its reed has to be oiled each spring.
"""
PRICES = """Price list of the lighthouse shop

A storm lantern costs 48 crowns, the large one 72 crowns.

A Fresnel lens of the sixth order costs 900 crowns; smaller ones are made on request.

Wicks are sold by the dozen, at 6 crowns. Oil is sold by the litre, at 11 crowns.

Logbooks with waterproof paper cost 15 crowns, and 12 crowns from the third on.

Gift cards are sold for 20, 50 and 100 crowns, and never expire.
"""
PLACES = ("Skerry", "Holm", "Ness", "Voe", "Stack", "Reef", "Point", "Sound", "Haven", "Bight")
THINGS = ("lantern room", "boat shed", "signal mast", "oil store", "fog station", "keeper's house", "landing stage")


def handbook() -> str:
    """The shop's, and a chapter on each of thirty lights: enough that the best ten are a choice."""
    chosen, chapters = random.Random(1987), []
    for number in range(30):
        place = f"{chosen.choice(('North', 'South', 'Outer', 'Inner', 'Old'))} {chosen.choice(PLACES)} {number}"
        lines = [f"## The light of {place}", ""]
        for _ in range(9):
            thing, metres = chosen.choice(THINGS), chosen.randrange(3, 90)
            year, crowns = chosen.randrange(1790, 1990), chosen.randrange(20, 900)
            lines.append(
                f"The {thing} of {place} stands {metres} metres above the sea. It was built in {year}, and its"
            )
            lines.append(f"upkeep costs {crowns} crowns a year, which the harbour of {chosen.choice(PLACES)} pays.")
        chapters.append("\n".join(lines))
    return SHOP + "\n" + "\n\n".join(chapters) + "\n"


QUERIES = (
    "When is the shop open?",
    "How long can I send a lamp back?",
    "What does a storm lantern cost?",
    "FH-1987",
    "How do parcels reach an island?",
    "Do gift cards expire?",
    "When was the fog station of Outer Reef built?",
    "What does the upkeep of the boat shed cost the harbour of Haven?",
)


class Used:
    """The appliance of that commit, while it is used."""

    def __init__(self, folder: Path) -> None:
        models = ROOT / "models"
        self.stack = NativeStack(
            folder, next(models.glob("SmolLM2*.gguf")), context_size=1024, slots=1, with_proxy=True
        )
        self.session = requests.Session()
        self.let_in: dict[str, Any] = {}
        self.told: dict[str, Any] = {}

    def run(self, *words: str, given: str = "") -> str:
        """One of the commit's own commands, `python -m chatproxy ...`."""
        done = subprocess.run(
            [sys.executable, "-m", "chatproxy", *words],
            cwd=ROOT / "proxy",
            env={**os.environ, **self.stack.proxy_environment()},
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{words}: {done.stderr}")
        return done.stdout

    def call(self, method: str, path: str, who: str = "", **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {who or self.let_in['key']}"}
        if who:
            headers["Origin"] = ORIGIN
        answer = self.session.request(method, f"{self.stack.proxy_url}{path}", headers=headers, timeout=120, **more)
        answer.raise_for_status()
        return answer.json()

    def chat(self, message: str, who: str = "", **more: Any) -> dict[str, Any]:
        return dict(self.call("POST", "/api/v1/chat", who, json={"message": message, **more}))

    # --- what is done -----------------------------------------------------------------------------------------------

    def keys(self, *, sites: bool) -> None:
        """A key that works, one that was revoked, and where there are such a site key."""
        self.let_in["key"] = json.loads(
            self.run("keys", "create", "--name=home", "--scopes=chat,kobold,admin", "--json")
        )["key"]
        gone = json.loads(self.run("keys", "create", "--name=old laptop", "--scopes=chat", "--json"))
        self.run("keys", "revoke", gone["id"])
        if sites:
            words = ("--name=the shop", f"--origins={ORIGIN}", "--bots=assistant,support", "--json")
            self.let_in["site"] = json.loads(self.run("keys", "create", *words))["id"]

    def owner(self) -> None:
        """Conversations of the key's owner."""
        first = self.chat("What is a lighthouse? Answer in one sentence.")
        self.chat("And who keeps it?", conversation_id=first["conversation_id"])
        self.chat("Grüße aus Köln: ß 漢字 🚢 <b>&amp;</b>", bot="support")

    def owner_later(self) -> None:
        """What came with the second stage: edits, retries, feedback, titles, users of the owner's own."""
        first = self.chat("Name a colour.")
        place = first["conversation_id"]
        kept = self.call("GET", f"/api/v1/conversations/{place}")["messages"]
        self.chat("Name a fruit.", conversation_id=place, edit=kept[0]["id"])
        second = self.chat("Name a river.", conversation_id=place)
        self.call("POST", f"/api/v1/messages/{second['message_id']}/regenerate", json={})
        answer = self.call("GET", f"/api/v1/conversations/{place}")["messages"][-1]["id"]
        self.call("POST", f"/api/v1/messages/{answer}/feedback", json={"rating": "down", "comment": "That is a lake."})
        self.call("PATCH", f"/api/v1/conversations/{place}", json={"title": "Fruit & rivers"})
        self.call("POST", "/api/question", json={"question": "Hello?", "user_id": "anna"})
        self.call("POST", "/api/question", json={"question": "Still there?", "user_id": "anna"})

    def visitors(self) -> list[tuple[str, str]]:
        """Two visitors of a page; (id, token) each."""
        found = []
        for number in range(2):
            body = json.dumps({"site_key": self.let_in["site"]})
            headers = {"Origin": ORIGIN, "Content-Type": "text/plain"}
            url = f"{self.stack.proxy_url}/api/v1/visitors"
            given = requests.post(url, data=body, headers=headers, timeout=30).json()
            found.append((given["visitor_id"], given["token"]))
            asked = self.chat(f"Do you sell lamps? I need {number + 2}.", given["token"], bot="support")
            self.chat("Thank you.", given["token"], conversation_id=asked["conversation_id"])
            self.chat("Another matter: gift cards.", given["token"], bot="assistant")
            rating = {"rating": "up"}
            self.call("POST", f"/api/v1/messages/{asked['message_id']}/feedback", given["token"], json=rating)
        return found

    def knowledge(self) -> None:
        """A file of headings and one of plain text, read by the worker; an admin of the console."""
        self.let_in |= {"admin": "anna", "password": PASSWORD}
        self.run("admins", "put", "--name=anna", "--password-stdin", given=f"{PASSWORD}\n")
        for name, text in (("handbook.md", handbook()), ("prices.txt", PRICES)):
            job = json.loads(self.run("sources", "add-file", f"--name={name}", "--collection=site", given=text))["job"]
            last = json.loads(self.run("sources", "watch", job).splitlines()[-1])
            if last["state"] != "done":
                raise RuntimeError(f"{name}: {last}")

    def website(self, url: str) -> None:
        """One that is read again every year: the earliest that the commit would take."""
        words = ("--collection=site", "--rate=0", "--every=8760", f"--allow-private={url.split('/')[2]}")
        job = json.loads(self.run("sources", "add-url", url, *words))["job"]
        last = json.loads(self.run("sources", "watch", job).splitlines()[-1])
        if last["state"] != "done":
            raise RuntimeError(f"{url}: {last}")

    def interrupted(self) -> dict[str, str]:
        """A question whose answer is being made, and stays so: what follows is the kill."""
        headers = {"Authorization": f"Bearer {self.let_in['key']}"}
        body = {"message": "Write a very long story about a lighthouse keeper.", "stream": True}
        url = f"{self.stack.proxy_url}/api/v1/chat"
        stream = requests.post(url, json=body, headers=headers, stream=True, timeout=60)
        lines = stream.iter_lines()
        while not next(lines).startswith(b"event: token"):
            pass
        newest = self.call("GET", "/api/v1/conversations?limit=1")["conversations"][0]["id"]
        return {"conversation": newest, "question": body["message"], "message": stream.headers["X-Message-Id"]}

    # --- what it says of it -----------------------------------------------------------------------------------------

    def tell(self, visitors: list[tuple[str, str]], *, users: bool, search: bool) -> None:
        """Everything that an upgrade has to keep, as the commit's own API gives it."""
        owners = [("key", "", "")] + ([("user:anna", "", "&user_id=anna")] if users else [])
        owners += [(f"visitor:{name}", token, "") for name, token in visitors]
        self.told["conversations"] = [
            {"owner": owner, "told": self.call("GET", f"/api/v1/conversations/{each['id']}?limit=200{more}", token)}
            for owner, token, more in owners
            for each in self.call("GET", f"/api/v1/conversations?limit=200{more}", token)["conversations"]
        ]
        self.told["keys"] = json.loads(self.run("keys", "list", "--json"))
        if search:
            self.told["searches"] = [
                {
                    "query": query,
                    "found": self.call("POST", "/api/v1/search", json={"query": query, "bot": "guide", "k": 10})[
                        "passages"
                    ],
                }
                for query in QUERIES
            ]
            self.told["sources"] = json.loads(self.run("sources", "list", "--json"))
            self.told["admins"] = json.loads(self.run("admins", "list", "--json"))

    def count(self) -> None:
        """Documents and the SHA-256 of their BSON in _id order, of all that stays as it is."""
        password = self.stack.mongo_password_file.read_text()
        with MongoClient(self.stack.mongo_url, username="chatproxy", password=password, authSource="chatbot") as client:
            database = client["chatbot"]
            self.told["schema"] = database["schema"].find_one({"_id": "version"})["number"]
            stays = sorted(set(database.list_collection_names()) - PASSING)
            self.told["stored"] = {name: dict(_stored(database[name])) for name in stays}

    # --- how it ends ------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """As a power cut: nothing is asked to end."""
        for process in self.stack.processes.values():
            os.killpg(process.pid, signal.SIGKILL)
        for process in self.stack.processes.values():
            process.wait()
        self.stack.processes.clear()


def _stored(collection: Any) -> Iterator[tuple[str, Any]]:
    digest = hashlib.sha256()
    for batch in collection.find_raw_batches({}).sort("_id", 1):
        digest.update(batch)
    yield "documents", collection.count_documents({})
    yield "sha256", digest.hexdigest()


def use(folder: Path, *, stage: int, killed: bool, site: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Start, use and end the appliance of stage 1 (keys and chat), 2 (visitors) or 3 (knowledge, console).

    Returns what it told, and with what one gets in.
    """
    used = Used(folder)
    try:
        used.stack.start()
        used.keys(sites=stage > 1)
        used.owner()
        visitors = []
        if stage > 1:
            used.owner_later()
            visitors = used.visitors()
        if stage > 2:
            used.knowledge()
            used.website(site)
        used.tell(visitors, users=stage > 1, search=stage > 2)
        used.count()
        used.told["ended"] = "killed" if killed else "stopped"
        if killed:
            used.told["interrupted"] = used.interrupted()
            used.kill()
    finally:
        used.stack.close()
    return used.told, used.let_in


if __name__ == "__main__":
    told, let_in = use(Path(sys.argv[1]), stage=int(sys.argv[2]), killed=sys.argv[3] == "killed", site=sys.argv[4])
    Path(sys.argv[1], "told.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    Path(sys.argv[1], "let-in.json").write_text(json.dumps(let_in), encoding="utf-8")
