"""Starts the packaged mongod with authentication on, as a replica set of one, and has prepare.py bring it to that.

A set, and be it of one, keeps what was before for a while: a backup reads everything as it was at one moment, without
a lock, while conversations go on. What belongs to a set only needs this server: the key that members would know each
other by is made anew at every start.
"""

import base64
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

# How long what was stays readable, in seconds: the longest that a backup's reading may take.
HISTORY_S = 3600
# The set's log of writes, in MB; one server has nobody who must catch up from it.
LOG_MB = 64
_LOOK_EVERY_S = 0.2
# Seconds. A time server moves the clock by less; from this on mongod's own waits, which go by it, would last as long.
_STEPPED_BACK_S = 60.0
# Then a clean end waits by the clock as well, for as long; the journal has all that was acknowledged.
_ENDS_WITHIN_S = 5.0
# Lines of mongod's log by which it tells its version, and that it does not take the data's.
# https://github.com/mongodb/mongo/blob/r6.0.5/src/mongo/db/mongod_main.cpp
# https://github.com/mongodb/mongo/blob/r6.0.5/src/mongo/db/storage/wiredtiger/wiredtiger_kv_engine.cpp
_BUILD, _WRONG_VERSION, _TOO_OLD = 23403, 20573, 4671205
_TELLING = re.compile(rb'"id":(23403|20573|4671205),')
_OF_DATA = re.compile(r'version: "(\d+\.\d+)"|fully upgraded to version (\d+\.\d+)')
_NEWER_FILES = b"unsupported WiredTiger file version"
# entrypoint.sh says the same.
OTHER_VERSION = (
    "put back what ran before (that version of this program, or SOURCES in .env), run `make backup`, and then with the "
    "new one `make restore FROM=` that archive (SOURCES= behind it where that changes), which carries over any step"
)


class Heard:
    """What mongod's log says of versions, a line of JSON at a time.

    A mongod takes the data of its own major version and of the one before it. Data carry theirs with them (MongoDB's
    "feature compatibility version"); prepare.py raises it to the server's own.
    """

    def __init__(self) -> None:
        self._own = self._data = ""

    def line(self, line: bytes) -> None:
        """Take a line in; what is none of these is passed over."""
        if _NEWER_FILES in line:
            self._data = "a newer MongoDB"
        elif _TELLING.search(line):
            try:
                told = json.loads(line)
                self._take(int(told["id"]), told.get("attr", {}))
            except (ValueError, KeyError, TypeError):
                return

    def why(self) -> str:
        """Why mongod does not take its data, and the way out; "" where it is not for their version."""
        return f"the data are of {self._data}, this is {self._own or 'another'}: {OTHER_VERSION}" if self._data else ""

    def _take(self, number: int, told: dict[str, Any]) -> None:
        if number == _BUILD:
            self._own = ".".join(str(told["buildInfo"]["version"]).split(".")[:2])
        elif number == _TOO_OLD:
            self._data = "MongoDB 4.2 or older"
        else:
            found = _OF_DATA.search(str(told["error"]))
            self._data = f"MongoDB {found[1] or found[2]}" if found else "another MongoDB"


def pass_on(log: IO[bytes], sink: IO[bytes], heard: Heard) -> None:
    """Hand mongod's log on as it comes, to its end."""
    for line in log:
        sink.write(line)
        sink.flush()
        heard.line(line)


def command(key_file: Path) -> list[str]:
    """mongod's command line; cache size in GB, because the default (half of the memory) suits a machine of its own."""
    return [
        os.environ.get("MONGOD", "/opt/mongo/bin/mongod"),
        "--dbpath", os.environ.get("MONGO_DATA", "/data/db"),
        "--bind_ip", os.environ.get("MONGO_BIND", "0.0.0.0"),  # noqa: S104 - internal network
        "--port", os.environ.get("MONGO_PORT", "27017"),
        "--replSet", "chatbot",
        "--oplogSize", str(LOG_MB),
        # It switches authentication on, too.
        "--keyFile", str(key_file),
        "--wiredTigerCacheSizeGB", os.environ.get("MONGO_CACHE_GB", "0.25"),
        "--setParameter", "diagnosticDataCollectionEnabled=false",
        "--setParameter", f"minSnapshotHistoryWindowInSeconds={HISTORY_S}",
        # What was written while the clock was years ahead would keep a set from taking any command once it is right
        # again (ClusterTimeFailsRateLimiter, by default from one year on).
        "--setParameter", "maxAcceptableLogicalClockDriftSecs=2147483647",
        # The socket file in /tmp would be one more way in, and a read-only file system has no place for it.
        "--nounixsocket",
        "--quiet",
    ]  # fmt: skip


def _key_file(folder: Path) -> Path:
    file = folder / "replica-set.key"
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_bytes(base64.b64encode(secrets.token_bytes(96)))
    return file


def _lead() -> float:
    return time.time() - time.monotonic()


def watch(
    mongod: "subprocess.Popen[bytes]",
    prepare: "subprocess.Popen[bytes]",
    asked: Callable[[], bool],
    lead: Callable[[], float],
) -> str:
    """Until something ends, or it is `asked` to; returns why, in words for the operator, "" where that is clear.

    `lead` is how far the wall clock is ahead of one that never steps, in seconds.
    """
    known = lead()
    while mongod.poll() is None and not prepare.poll() and not asked():
        time.sleep(_LOOK_EVERY_S)
        now = lead()
        if now < known - _STEPPED_BACK_S:
            return f"the clock was put back by {known - now:.0f} s, and mongod waits by the clock: it has to start anew"
        known = now
    return ""


def end(mongod: "subprocess.Popen[bytes]", within_s: float | None) -> None:
    """Asks it to end, and makes it where that takes more than so many seconds (None: it takes what it takes)."""
    mongod.terminate()
    try:
        mongod.wait(within_s)
    except subprocess.TimeoutExpired:
        mongod.kill()
        mongod.wait()


def main() -> int:
    # Noted, and looked at where everything has been started: in the middle of starting mongod it would be left behind.
    signals: list[int] = []
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda number, _: signals.append(number))
    folder = Path(os.environ.get("MONGO_RUN", "/tmp"))  # noqa: S108 - the container's own
    (folder / "ready").unlink(missing_ok=True)
    mongod = subprocess.Popen(command(_key_file(folder)), stdout=subprocess.PIPE)
    heard = Heard()
    assert mongod.stdout is not None  # noqa: S101 - what PIPE means
    log = threading.Thread(target=pass_on, args=(mongod.stdout, sys.stdout.buffer, heard), name="log")
    log.start()
    # A process of its own: the driver and its threads need 30 MB, and are gone once everything is as it should be.
    prepare = subprocess.Popen([sys.executable, Path(__file__).with_name("prepare.py")], stderr=subprocess.PIPE)
    why = ""
    try:
        why = watch(mongod, prepare, lambda: bool(signals), _lead)
    finally:
        prepare.terminate()
        end(mongod, _ENDS_WITHIN_S if why else None)
        _, said = prepare.communicate()
        log.join()
    # The log's last lines, after all that mongod says while it is shut down again.
    sys.stderr.buffer.write(said)
    if mongod.returncode and not why:
        own = f"mongod ended with code {mongod.returncode}; its own lines above say why"
        print(f"mongo: {heard.why() or own}", file=sys.stderr)
    if why:
        print(f"mongo: {why}", file=sys.stderr)
    if signals:
        return mongod.returncode
    return mongod.returncode or prepare.returncode or int(bool(why))


if __name__ == "__main__":
    sys.exit(main())
