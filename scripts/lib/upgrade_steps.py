"""What `make upgrade` tells the `make up` that it calls: an older version's upgrade calls a newer version's `make up`.

So these names and words stay as they are, and so does what comes of each (scripts/up).
"""

from __future__ import annotations

import os

# Which part of its work is wanted: PREPARE makes everything and starts nothing; TRY starts everything but what lets
# visitors and the VPN's peers in, and has a question answered; without it, all of it.
STEP, PREPARE, TRY = "UPGRADE_STEP", "prepare", "try"
# The folder whose appliance it is, where that is not the folder of the `make up`.
OWNER = "UPGRADE_OWNER"
# The descriptor of the lock (cli.exclusive) that the caller holds, and hands on.
LOCK = "UPGRADE_LOCK"


def wanted() -> str:
    """The part that is wanted; "" = all."""
    return os.environ.get(STEP, "")


def called() -> bool:
    """Whether this is called by an upgrade, which leads back by itself where something fails."""
    return bool(wanted() or os.environ.get(LOCK))


def owner() -> str:
    """The folder whose appliance it is; "" for this one."""
    return os.environ.get(OWNER, "")


def lock() -> int | None:
    """The descriptor of the lock that the caller holds."""
    given = os.environ.get(LOCK, "")
    return int(given) if given.isdigit() else None
