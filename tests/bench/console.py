"""How long the console's pages take on the server: 1,000 conversations, 10,000 messages, 30 days of minutes.

Asked over HTTP of a real proxy with a real mongod; every GET page of the console's own route table.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

from chatproxy.adapters.mongo import Database
from scripts.lib.native import ROOT, NativeStack
from tests.bench import figures, talks

GOAL_MS = 300
_PASSWORD = "a password for the benchmark"
# What else is looked at: each filter, and pages behind the first.
_WISHES = (
    "/?span=hour",
    "/?span=month",
    "/conversations?text=warranty",
    "/conversations?text=warranty+battery+shade",
    "/conversations?text=send+it+back",
    "/conversations?text=%E8%AE%A2%E5%8D%95",
    "/conversations?text=nowhere",
    "/conversations?rating=bad",
    "/conversations?rating=any&bot=guide",
    "/conversations?interrupted=1",
    "/conversations?bot=support",
)


def run() -> None:
    figures.heading("the console's pages: median and worst, server and loopback together")
    with tempfile.TemporaryDirectory() as folder:
        stack = NativeStack(Path(folder), ROOT / "models" / "none.gguf", with_proxy=True)
        try:
            stack.start("mongo")
            database = Database(
                stack.mongo_url, "chatbot", user="chatproxy", password=stack.mongo_password_file.read_text().strip()
            )
            talks.fill(database)
            stack.start("proxy")
            _measure(stack, database)
        finally:
            stack.close()


def _measure(stack: NativeStack, database: Database) -> None:
    session = _logged_in(stack)
    for path in [*_pages(database), *_WISHES]:
        times = []
        for _ in range(figures.counted("RUNS", 9)):
            begun = time.perf_counter()
            answer = session.get(f"{stack.console_url}{path}", timeout=30, allow_redirects=False)
            times.append((time.perf_counter() - begun) * 1000)
            answer.raise_for_status()
        shown = re.sub(r"[0-9a-f]{32}", "ID", path)
        figures.figure(f"{shown}, median", figures.median(times), "ms", goal=GOAL_MS)
        figures.figure("  worst", max(times), "ms", goal=GOAL_MS)


def _logged_in(stack: NativeStack) -> requests.Session:
    words = [sys.executable, "-m", "chatproxy", "admins", "put", "--name=bench", "--password-stdin"]
    environment = {**os.environ, **stack.proxy_environment()}
    subprocess.run(words, env=environment, cwd=ROOT / "proxy", input=f"{_PASSWORD}\n".encode(), check=True)
    session = requests.Session()
    session.post(
        f"{stack.console_url}/login",
        data={"name": "bench", "password": _PASSWORD},
        headers={"Origin": stack.console_url},
        timeout=30,
    ).raise_for_status()
    return session


def _pages(database: Database) -> list[str]:
    """GET routes of the console, with what is there in the place of ids; those that need something else are named."""
    from tests.unit.proxy.fakes import World

    with database.opened() as opened:
        answer = opened["messages"].find_one({"role": "assistant", "seq": 9})
    assert answer
    known = {"conversation_id": answer["conversation_id"], "message_id": answer["_id"], "bot_id": "support"}
    pages = []
    for rule in sorted(World().console.url_map.iter_rules(), key=lambda rule: rule.rule):
        if "GET" not in (rule.methods or set()) or rule.endpoint == "static":
            continue
        if set(rule.arguments) <= set(known):
            pages.append(re.sub(r"<(?:\w+:)?(\w+)>", lambda found: str(known[found[1]]), rule.rule))
        else:
            print(f"  {rule.rule:<46}not asked: nothing of that kind is stored here")
    return pages
