"""What there is of a collection in each store."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import requests
from pymongo import MongoClient

from chatproxy.adapters.chroma import Chroma
from chatproxy.adapters.words import WordIndex
from scripts.lib.native import NativeStack


class Stores:
    """What there is of a collection in each store."""

    def __init__(self, native: NativeStack) -> None:
        password = native.mongo_password_file.read_text()
        self.database: Any = MongoClient(
            native.mongo_url, username="chatproxy", password=password, authSource="chatbot"
        )["chatbot"]
        token = native.chroma_token_file.read_text()
        self._chroma_url, self._headers = native.chroma_url, {"Authorization": f"Bearer {token}"}
        self.chroma = Chroma(native.chroma_url, token=token, model=lambda: "all-MiniLM-L6-v2")
        self.words = WordIndex(Path(native.proxy_environment()["WORDS_DIR"]))

    def chunks(self, collection: str) -> list[dict[str, Any]]:
        return list(self.database["chunks"].find({"collection": collection}).sort([("url", 1), ("position", 1)]))

    def searched(self, collection: str) -> set[str]:
        return {chunk["_id"] for chunk in self.chunks(collection) if not chunk["twin"]}

    def vectors(self, collection: str) -> set[str]:
        """Ids of all vectors that Chroma holds."""
        base = f"{self._chroma_url}/api/v2/tenants/default_tenant/databases/default_database/collections"
        found = requests.get(f"{base}/knowledge-{collection}", headers=self._headers, timeout=30)
        if found.status_code == 404:
            return set()
        url, ids, page = f"{base}/{found.json()['id']}/get", set[str](), [""]
        while page:
            payload = {"limit": 250, "offset": len(ids), "include": []}
            page = requests.post(url, json=payload, headers=self._headers, timeout=30).json()["ids"]
            ids.update(page)
        return ids

    def said(self, collection: str, word: str) -> set[str]:
        time.sleep(1.1)  # readers look for changes once a second
        return {hit.id for hit in self.words.best(collection, word, 10_000)}

    def original_keys(self) -> set[str]:
        return set(self.database["originals.files"].distinct("_id"))


def shape(stores: Stores, collection: str) -> list[Any]:
    """All chunks of a collection, without what depends on the moment of reading."""
    names = ("url", "position", "text", "path", "anchor", "page", "tokens", "language", "digest", "same", "twin")
    return [[chunk[name] for name in names] for chunk in stores.chunks(collection)]
