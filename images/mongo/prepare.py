"""Brings a mongod that was just started to what the appliance needs: a replica set of one that takes writes, and two
users: root, and the proxy's own with rights to one database. The last thing it does is to make ready_file().

Data of the MongoDB version before this one are brought to this one's, so that they are ready for the next.

Each step looks first and may be repeated, so a crash between two of them heals itself at the next start; data of a
server that was no set yet, and data that a restore put under other secrets, are brought here the same way.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

Client = MongoClient[dict[str, Any]]

START_TIMEOUT_S = 120.0
# https://github.com/mongodb/mongo/blob/r6.0.5/src/mongo/base/error_codes.yml
UNAUTHORIZED, AUTHENTICATION_FAILED, ALREADY_INITIALIZED = 13, 18, 23
_OTHER_ROOT = "the data was made with another root password: put the old secret mongo_root_password back"


def ready_file() -> Path:
    """There once everything is done; entrypoint.py removes what an earlier start left."""
    return Path(os.environ.get("MONGO_RUN", "/tmp")) / "ready"  # noqa: S108 - the container's own


def fail(text: str) -> NoReturn:
    """End with the reason, in words for the operator."""
    sys.exit(f"mongo: {text}")


def secret(variable: str) -> str:
    """What the file holds that the variable names."""
    path = os.environ.get(variable, "")
    try:
        value = Path(path).read_text().strip()
    except OSError as error:
        fail(f"{variable}={path!r} cannot be read ({error.strerror}); it must belong to uid {os.getuid()}")
    if len(value) < 16:
        fail(f"{variable}={path!r} holds fewer than 16 characters")
    return value


def address() -> str:
    """The set's only member, as it names itself: nobody else asks, and it can always find itself there."""
    return f"127.0.0.1:{os.environ.get('MONGO_PORT', '27017')}"


def connected(password: str | None = None, user: str = "root", database: str = "admin") -> Client:
    """A client of this very server. Does not connect yet."""
    login: dict[str, Any] = {"username": user, "password": password, "authSource": database} if password else {}
    return MongoClient(address(), directConnection=True, serverSelectionTimeoutMS=1000, **login)


def wait_for_answer(deadline: float) -> None:
    """Until it answers a ping; a large journal takes it a while."""
    while True:
        try:
            with connected() as client:
                client.admin.command("ping")
                return
        except PyMongoError:
            if time.monotonic() > deadline:
                fail(f"mongod did not answer within {START_TIMEOUT_S:.0f} s")


def lets_in(password: str, user: str = "root", database: str = "admin") -> bool:
    """Whether there is this user with this password."""
    with connected(password, user, database) as client:
        try:
            client[database].command("connectionStatus")
        except OperationFailure as refused:
            if refused.code != AUTHENTICATION_FAILED:
                raise
            return False
        return True


def initiate(client: Client) -> None:
    """Make it a set of one, or tell a set that it listens at another port now."""
    members = [{"_id": 0, "host": address()}]
    try:
        client.admin.command("replSetInitiate", {"_id": "chatbot", "members": members})
    except OperationFailure as refused:
        if refused.code == UNAUTHORIZED:
            fail(_OTHER_ROOT)
        if refused.code != ALREADY_INITIALIZED:
            raise
        known = client.admin.command("replSetGetConfig")["config"]
        if [member["host"] for member in known["members"]] != [address()]:
            changed = {**known, "version": known["version"] + 1, "members": members}
            client.admin.command("replSetReconfig", changed, force=True)


def wait_for_writes(deadline: float) -> None:
    """Until the set has elected its only member."""
    with connected() as client:
        while not client.admin.command("hello").get("isWritablePrimary"):
            if time.monotonic() > deadline:
                fail("mongod does not take writes: the replica set of one has not come about")
            time.sleep(0.05)


def create_root(password: str) -> None:
    """Through the localhost exception, which ends with the first user."""
    try:
        with connected() as client:
            client.admin.command("createUser", "root", pwd=password, roles=["root"])
    except OperationFailure as refused:
        if refused.code != UNAUTHORIZED:
            raise
        fail(_OTHER_ROOT)


def ensure_user(root: Client, user: str, password: str, database: str) -> None:
    """The proxy's user, with this password."""
    if lets_in(password, user, database):
        return
    known = root[database].command("usersInfo", user)["users"]
    roles = [{"role": "dbOwner", "db": database}]
    root[database].command("updateUser" if known else "createUser", user, pwd=password, roles=roles)


def raise_version(root: Client) -> None:
    """Bring the data's version (MongoDB's "feature compatibility version") up to the server's own.

    A server takes data of one version before its own, so what is left behind would be refused by the next one. Where
    it cannot be done now everything works all the same, and the next start tries again.
    """
    own = ".".join(str(number) for number in root.admin.command("buildInfo")["versionArray"][:2])
    parameter = {"getParameter": 1, "featureCompatibilityVersion": 1}
    known = root.admin.command(parameter)["featureCompatibilityVersion"]
    # With a target: a server was ended in the middle of it.
    if known["version"] == own and "targetVersion" not in known:
        return
    # Asked for from 7.0 on, and unknown before.
    confirmed = {"confirm": True} if int(own.split(".")[0]) >= 7 else {}
    try:
        root.admin.command({"setFeatureCompatibilityVersion": own, **confirmed})
        print(f"mongo: the data were of MongoDB {known['version']}, and are {own}'s now", flush=True)
    except OperationFailure as refused:
        print(f"mongo: the data stay of MongoDB {known['version']} on {own}: {refused}", flush=True)


def main() -> None:
    root, proxy = secret("MONGO_ROOT_PASSWORD_FILE"), secret("MONGO_PASSWORD_FILE")
    user, database = os.environ.get("MONGO_USER", "chatproxy"), os.environ.get("MONGO_DATABASE", "chatbot")
    deadline = time.monotonic() + START_TIMEOUT_S
    wait_for_answer(deadline)
    known = lets_in(root)
    # Without a user in it, the localhost exception lets it be initiated.
    with connected(root if known else None) as client:
        initiate(client)
    wait_for_writes(deadline)
    if not known:
        create_root(root)
    with connected(root) as client:
        ensure_user(client, user, proxy, database)
        raise_version(client)
    ready_file().touch()


if __name__ == "__main__":
    try:
        main()
    except PyMongoError as error:
        fail(f"mongod could not be made ready: {error}")
