"""Starts the packaged mongod with authentication on, as a replica set of one, and has prepare.py bring it to that.

A set, and be it of one, keeps what was before for a while: a backup reads everything as it was at one moment, without
a lock, while conversations go on. What belongs to a set only needs this server: the key that members would know each
other by is made anew at every start.
"""

import base64
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

# How long what was stays readable, in seconds: the longest that a backup's reading may take.
HISTORY_S = 3600
# The set's log of writes, in MB; one server has nobody who must catch up from it.
LOG_MB = 64
_LOOK_EVERY_S = 0.2
# Seconds. A time server moves the clock by less; from this on mongod's own waits, which go by it, would last as long.
_STEPPED_BACK_S = 60.0
# Then a clean end waits by the clock as well, for as long; the journal has all that was acknowledged.
_ENDS_WITHIN_S = 5.0


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
    mongod = subprocess.Popen(command(_key_file(folder)))
    # A process of its own: the driver and its threads need 30 MB, and are gone once everything is as it should be.
    prepare = subprocess.Popen([sys.executable, Path(__file__).with_name("prepare.py")], stderr=subprocess.PIPE)
    why = ""
    try:
        why = watch(mongod, prepare, lambda: bool(signals), _lead)
    finally:
        prepare.terminate()
        end(mongod, _ENDS_WITHIN_S if why else None)
        _, said = prepare.communicate()
    # The log's last lines, after all that mongod says while it is shut down again.
    sys.stderr.buffer.write(said)
    if mongod.returncode and not why:
        print(f"mongo: mongod ended with code {mongod.returncode}; its own lines above say why", file=sys.stderr)
    if why:
        print(f"mongo: {why}", file=sys.stderr)
    if signals:
        return mongod.returncode
    return mongod.returncode or prepare.returncode or int(bool(why))


if __name__ == "__main__":
    sys.exit(main())
