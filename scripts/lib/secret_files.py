"""Passwords between the services, and what visitors' tokens are signed with: made once, never replaced, readable by the
containers' user alone.
"""

from __future__ import annotations

import os
import secrets
import stat
import subprocess
from pathlib import Path

from scripts.lib import paths, shell
from scripts.lib.failure import Failure

NAMES = ("mongo_root_password", "mongo_password", "chroma_token", "visitor_secret", "grafana_admin_password")
# The user of every image of the appliance (images/base). Compose hands a secret file over as it lies on the host, so
# its owner has to be the container's user.
UID = 10001


def all_there(folder: Path = paths.SECRETS) -> bool:
    # The files may be closed to this user; their names are not.
    return all((folder / name).exists() for name in NAMES)


def there(path: Path) -> bool:
    """Is there such a file? One in a folder that is closed to this user counts: others have made it."""
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def ensure(folder: Path = paths.SECRETS, uid: int = UID) -> list[str]:
    """Make the missing ones; returns their names. Needs root rights when something has to be made."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    made = [name for name in NAMES if not (folder / name).exists()]
    for name in made:
        _write(folder / name, secrets.token_urlsafe(32), uid)
    return made


def kind_of(name: str, uid: int = UID) -> str:
    """What an operator's own file is to the containers' user: "readable", "missing", "closed" or "empty"; "" for none.

    A relative name counts from this folder, as Compose has it.
    """
    if not name:
        return ""
    try:
        found = (paths.ROOT / name).stat()
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "closed"
    if not stat.S_ISREG(found.st_mode):
        return "missing"
    bit = stat.S_IRUSR if found.st_uid == uid else stat.S_IRGRP if found.st_gid == uid else stat.S_IROTH
    if not found.st_mode & bit:
        return "closed"
    return "readable" if found.st_size else "empty"


def problem(setting: str, name: str, kind: str, content: str) -> tuple[str, str] | None:
    """(what is wrong with the file that a setting names, what mends it); None where `kind_of` found nothing."""
    facts = {"missing": "is no file", "empty": "is empty", "closed": "cannot be read by the containers' user"}
    hints = {
        "missing": f"correct {setting} in .env",
        "empty": f"write {content} into it, and nothing else",
        "closed": f"give it to the containers' user: sudo install -m 0400 -o {UID} YOURS {name}",
    }
    return (f"{setting}={name} {facts[kind]}", hints[kind]) if kind in facts else None


def _write(path: Path, value: str, uid: int) -> None:
    if shell.is_root():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(value)
        os.chown(path, uid, uid)
        return
    # Through stdin, never through an argument: arguments can be read by every user.
    command = shell.as_root(["install", "-m", "0600", "-o", str(uid), "-g", str(uid), "/dev/stdin", str(path)])
    done = subprocess.run(command, input=value, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        fact = f"the secret {path.name} could not be written: {done.stderr.strip()}"
        raise Failure("secrets.failed", fact, "run `sudo make up`")
