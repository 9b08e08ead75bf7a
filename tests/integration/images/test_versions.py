"""Data of other versions of MongoDB and of Chroma, on the real servers: brought up, or refused with the way."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from images.chroma import entrypoint
from scripts.lib.native import NativeStack, ServiceFailed
from tests.unit.images.mongo.test_versions import build, wrong

VERSION = {"getParameter": 1, "featureCompatibilityVersion": 1}


def root(stack: NativeStack) -> MongoClient[dict[str, Any]]:
    password = (stack.data / "secrets" / "mongo_root_password").read_text()
    return MongoClient(stack.mongo_url, username="root", password=password)


def test_data_of_the_mongodb_before_are_brought_to_this_ones(stack: NativeStack) -> None:
    """As an upgrade from 5.0 leaves them: this mongod takes them, and the one after it would not."""
    stack.start("mongo")
    with root(stack) as client:
        client["chatbot"]["probe"].insert_one({"_id": 1})
        client.admin.command({"setFeatureCompatibilityVersion": "5.0"})
        assert client.admin.command(VERSION)["featureCompatibilityVersion"] == {"version": "5.0"}
    stack.stop("mongo", kill=True)
    stack.start("mongo")
    with root(stack) as client:
        assert client.admin.command(VERSION)["featureCompatibilityVersion"] == {"version": "6.0"}
        assert client["chatbot"]["probe"].count_documents({}) == 1
    assert "the data were of MongoDB 5.0, and are 6.0's now" in stack.log("mongo").read_text()
    stack.stop("mongo")
    stack.start("mongo")
    assert stack.log("mongo").read_text().count("the data were of") == 1


def test_data_that_mongod_does_not_take_are_told_in_the_last_line(stack: NativeStack, tmp_path: Path) -> None:
    """mongod's part is played by its own words: a server of another version is not to be had here."""
    (tmp_path / "said").write_bytes(build("6.0.5") + wrong("4.4", "'5.0' or '5.3' or '6.0"))
    mongod = tmp_path / "mongod"
    mongod.write_text(f'#!/bin/sh\ncat "{tmp_path / "said"}"\nexit 62\n')
    mongod.chmod(0o755)
    stack.configure("mongo", MONGOD=str(mongod))
    with pytest.raises(ServiceFailed, match="mongo ended with code 62"):
        stack.start("mongo")
    last = stack.log("mongo").read_text().splitlines()[-1]
    assert last.startswith("mongo: the data are of MongoDB 4.4, this is 6.0: put back what ran before")


def test_chroma_makes_the_schema_that_its_start_knows(stack: NativeStack) -> None:
    """With another version pinned the numbers in the entrypoint follow."""
    stack.start("chroma")
    stack.stop("chroma")
    with closing(sqlite3.connect(stack.data / "chroma" / "chroma.sqlite3")) as database:
        made = dict(database.execute("SELECT dir, max(version) FROM migrations GROUP BY dir"))
    assert made == entrypoint.SCHEMA


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            "INSERT INTO migrations VALUES ('sysdb', 11, '00011-x.sqlite.sql', 'SELECT 1', 'x')",
            "sysdb 11 instead of 10",
        ),
        ("UPDATE migrations SET hash = 'x' WHERE dir = 'sysdb' AND version = 9", "name a MigrationError"),
    ],
)
def test_chromas_data_of_another_version_are_told_in_the_last_line(
    stack: NativeStack, statement: str, told: str
) -> None:
    stack.start("chroma")
    stack.stop("chroma")
    with closing(sqlite3.connect(stack.data / "chroma" / "chroma.sqlite3")) as database:
        database.execute(statement)
        database.commit()
    with pytest.raises(ServiceFailed, match="chroma ended with code 2"):
        stack.start("chroma")
    last = stack.log("chroma").read_text().splitlines()[-1]
    assert told in last
    assert "make sources REBUILD=1" in last
