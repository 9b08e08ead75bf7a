"""mongod as the image starts it: a replica set of one, also on data of a server that was none."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from scripts.lib.native import NativeStack
from tests.integration.proxy.conftest import until

ROOT = Path(__file__).resolve().parents[3]


def proxys(stack: NativeStack) -> MongoClient[dict[str, Any]]:
    """A client with the rights of the proxy's user."""
    password = stack.mongo_password_file.read_text()
    return MongoClient(stack.mongo_url, username="chatproxy", password=password, authSource="chatbot", journal=True)


def test_what_was_at_one_moment_can_be_read_while_others_write(stack: NativeStack) -> None:
    stack.start("mongo")
    with proxys(stack) as client, client.start_session(snapshot=True) as session:
        first, second = client["chatbot"]["first"], client["chatbot"]["second"]
        # A collection that is made later cannot be read as it was before (SnapshotUnavailable).
        second.insert_one({"_id": 0})
        first.insert_one({"_id": 1})
        assert [each["_id"] for each in first.find(session=session)] == [1]
        first.insert_one({"_id": 2})
        second.insert_one({"_id": 3})
        assert [each["_id"] for each in first.find(session=session)] == [1]
        assert [each["_id"] for each in second.find(session=session)] == [0]


def test_what_an_acknowledged_write_brought_is_there_after_a_kill(stack: NativeStack) -> None:
    stack.start("mongo")
    with proxys(stack) as client:
        for number in range(200):
            client["chatbot"]["probe"].insert_one({"_id": number})
    stack.stop("mongo", kill=True)
    stack.start("mongo")
    with proxys(stack) as client:
        assert client["chatbot"]["probe"].count_documents({}) == 200


def test_data_of_a_server_that_was_no_set_and_was_killed_become_a_sets(stack: NativeStack) -> None:
    """What every installation before has; its users and its last writes are only in the journal."""
    service = stack.services["mongo"]
    port = str(stack.ports["mongo"])
    words = [service.environment["MONGOD"], "--dbpath", service.environment["MONGO_DATA"], "--bind_ip", "127.0.0.1"]
    log = (stack.data / "logs" / "before.log").open("wb")
    before = subprocess.Popen([*words, "--port", port, "--auth", "--nounixsocket"], stdout=log)
    try:
        until(lambda: _pings(stack))
        root = (stack.data / "secrets" / "mongo_root_password").read_text()
        with MongoClient[dict[str, Any]](stack.mongo_url) as client:
            client.admin.command("createUser", "root", pwd=root, roles=["root"])
        with MongoClient[dict[str, Any]](stack.mongo_url, username="root", password=root) as client:
            roles = [{"role": "dbOwner", "db": "chatbot"}]
            password = stack.mongo_password_file.read_text()
            client["chatbot"].command("createUser", "chatproxy", pwd=password, roles=roles)
        with proxys(stack) as client:
            for number in range(100):
                client["chatbot"]["probe"].insert_one({"_id": number})
    finally:
        before.send_signal(signal.SIGKILL)
        before.wait()
        log.close()
    stack.start("mongo")
    with proxys(stack) as client, client.start_session(snapshot=True) as session:
        assert len(list(client["chatbot"]["probe"].find(session=session))) == 100


def test_a_set_finds_itself_at_another_port(stack: NativeStack, starter_model: Path) -> None:
    stack.start("mongo")
    with proxys(stack) as client:
        client["chatbot"]["probe"].insert_one({"_id": 1})
    stack.stop("mongo")
    elsewhere = NativeStack(stack.data, starter_model)
    try:
        assert elsewhere.ports["mongo"] != stack.ports["mongo"]
        elsewhere.start("mongo")
        with proxys(elsewhere) as client:
            client["chatbot"]["probe"].insert_one({"_id": 2})
    finally:
        elsewhere.close()


def test_another_proxy_password_is_taken_over(stack: NativeStack) -> None:
    """As after a restore; root's own is never reset (test_services.py)."""
    stack.start("mongo")
    stack.stop("mongo")
    stack.mongo_password_file.write_text("another-password-altogether")
    stack.start("mongo")
    with proxys(stack) as client:
        client["chatbot"]["probe"].insert_one({"_id": 1})


def test_a_sigterm_while_it_is_still_being_prepared_ends_it_all(stack: NativeStack) -> None:
    service = stack.services["mongo"]
    started = subprocess.Popen(
        service.arguments, cwd=service.folder, env={**os.environ, **service.environment}, stderr=subprocess.PIPE
    )
    until(lambda: (stack.data / "run" / "replica-set.key").exists())
    started.terminate()
    started.communicate(timeout=30)
    with pytest.raises(PyMongoError):
        MongoClient[dict[str, Any]](stack.mongo_url, serverSelectionTimeoutMS=500).admin.command("ping")
    stack.start("mongo")


def test_the_official_images_start_adds_the_set_and_a_key_for_its_owner_alone(tmp_path: Path) -> None:
    """The official image itself can be had where its hub can; here its entrypoint is one that shows its words."""
    shown = tmp_path / "docker-entrypoint.sh"
    shown.write_text('#!/bin/sh\nstat -c "%a %s" /tmp/replica-set.key\necho "$@"\n')
    shown.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    words = ["bash", str(ROOT / "images" / "mongo" / "entrypoint.sh"), "mongod", "--quiet"]
    started = subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        assert started.stdout is not None
        assert started.stdout.readline().split() == [b"600", b"128"]
        assert started.stdout.readline() == b"mongod --quiet --replSet chatbot --keyFile /tmp/replica-set.key\n"
    finally:
        os.killpg(started.pid, signal.SIGKILL)
        started.communicate()
        Path("/tmp/replica-set.key").unlink()


def _pings(stack: NativeStack) -> bool:
    try:
        return bool(MongoClient[dict[str, Any]](stack.mongo_url, serverSelectionTimeoutMS=500).admin.command("ping"))
    except PyMongoError:
        return False
