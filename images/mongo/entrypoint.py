"""Starts the packaged mongod with authentication on and two users: root, and the proxy's own with rights to one
database.

First start: a private mongod on loopback creates the users through MongoDB's localhost exception, is shut down cleanly,
and only then the real one listens. Every later start makes sure of the same users and passwords (a restore may bring
other secrets), so a crash between the two steps heals itself. At the end this process becomes mongod, so that signals
reach it as PID 1.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote_plus

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

# Only the private mongod uses it; nothing but this process can reach a container's loopback.
SETUP_PORT = int(os.environ.get("MONGO_SETUP_PORT", "27018"))
START_TIMEOUT_S = 120.0
UNAUTHORIZED, AUTHENTICATION_FAILED = 13, 18


class Refused(Exception):
    """Why this start cannot go on, in words for the operator."""


def _fail(text: str) -> NoReturn:
    raise Refused(text)


def _secret(variable: str) -> str:
    path = os.environ.get(variable, "")
    try:
        value = Path(path).read_text().strip()
    except OSError as error:
        _fail(f"{variable}={path!r} cannot be read ({error.strerror}); it must belong to uid {os.getuid()}")
    if len(value) < 16:
        _fail(f"{variable}={path!r} holds fewer than 16 characters")
    return value


def command(*extra: str) -> list[str]:
    """mongod's command line; cache size in GB, because the default (half of the memory) suits a machine of its own."""
    return [
        os.environ.get("MONGOD", "/opt/mongo/bin/mongod"),
        "--dbpath", os.environ.get("MONGO_DATA", "/data/db"),
        "--auth",
        "--wiredTigerCacheSizeGB", os.environ.get("MONGO_CACHE_GB", "0.25"),
        "--setParameter", "diagnosticDataCollectionEnabled=false",
        # The socket file in /tmp would be one more way in, and a read-only file system has no place for it.
        "--nounixsocket",
        "--quiet",
        *extra,
    ]  # fmt: skip


def _wait(process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            _fail(f"mongod ended with code {process.returncode} while starting; its own lines above say why")
        client = _client(None, patience_ms=500)
        try:
            client.admin.command("ping")
        except PyMongoError:
            continue
        else:
            return
        finally:
            client.close()
    process.terminate()
    _fail(f"mongod did not answer within {START_TIMEOUT_S:.0f} s")


def _client(password: str | None, patience_ms: int = 5000) -> "MongoClient[dict[str, object]]":
    login = f"root:{quote_plus(password)}@" if password else ""
    address = f"mongodb://{login}127.0.0.1:{SETUP_PORT}/admin"
    return MongoClient(address, directConnection=True, serverSelectionTimeoutMS=patience_ms)


def _create_root(password: str) -> None:
    """Through the localhost exception, which ends with the first user: refused = root is there already."""
    client = _client(None)
    try:
        client.admin.command("createUser", "root", pwd=password, roles=["root"])
    except OperationFailure as refused:
        if refused.code != UNAUTHORIZED:
            raise
    finally:
        client.close()


def ensure_users() -> None:
    """Creates or updates both users. A root password that no longer fits is an error: nothing here may reset it."""
    root, proxy = _secret("MONGO_ROOT_PASSWORD_FILE"), _secret("MONGO_PASSWORD_FILE")
    user, database = os.environ.get("MONGO_USER", "chatproxy"), os.environ.get("MONGO_DATABASE", "chatbot")
    process = subprocess.Popen(command("--bind_ip", "127.0.0.1", "--port", str(SETUP_PORT)))
    try:
        _wait(process)
        _create_root(root)
        client = _client(root)
        try:
            known = client[database].command("usersInfo", user)["users"]
            client[database].command(
                "updateUser" if known else "createUser", user, pwd=proxy, roles=[{"role": "dbOwner", "db": database}]
            )
        except OperationFailure as refused:
            if refused.code != AUTHENTICATION_FAILED:
                raise
            _fail("the data was made with another root password: put the old secret mongo_root_password back")
        finally:
            client.close()
    finally:
        process.terminate()
        process.wait()


def _stop(_signal: int, _frame: object) -> None:
    raise SystemExit(0)


def main() -> None:
    # PID 1 has no default action for these, and elsewhere it would leave the private mongod behind.
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, _stop)
    try:
        ensure_users()
    except Refused as why:
        # The last line of the log, after all that mongod says while it is shut down again.
        sys.exit(f"mongo: {why}")
    bind, port = os.environ.get("MONGO_BIND", "0.0.0.0"), os.environ.get("MONGO_PORT", "27017")  # noqa: S104 - internal network
    arguments = command("--bind_ip", bind, "--port", port)
    os.execv(arguments[0], arguments)  # noqa: S606 - becoming mongod is the point


if __name__ == "__main__":
    main()
