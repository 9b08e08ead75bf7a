"""A composed appliance of our own, brought up by `make up` from a clean copy of this tree, to be ill-treated.

Its volumes can lie on small file systems of their own, and its programs can be told another time, as no container
can be otherwise: they share the machine's clock.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from scripts.lib import apt, cli
from tests.bench.composed import crowd
from tests.bench.composed.crowd import Line
from tests.stack.conftest import Appliance, brought_up, clean_copy

MIB = 2**20
# MiB that each can hold; mongod's journal must have room above what the proxy keeps free.
SMALL = {"mongo_data": 1800, "chroma_data": 64, "words_data": 64, "caddy_data": 16}
# Where the programs of a container find what moves their clock, and by how much.
_LIBRARY, _CLOCK = "/opt/clock.so", "/run/clock"
# Caddy is a static binary and asks the kernel itself.
CLOCKED = ("proxy", "worker", "mongo", "chroma", "embeddings", "engine")


@contextmanager
def appliance(*, small: bool = False, clocks: bool = False, **settings: str) -> Iterator[Appliance]:
    """Up and healthy; gone with its volumes afterwards. `settings` as `make up` takes them."""
    cli.undo_when_ended()
    with ExitStack() as held:
        folder = clean_copy(Path(held.enter_context(tempfile.TemporaryDirectory(prefix="appliance-"))) / "checkout")
        crowd.write_bots(folder)
        if small:
            held.enter_context(small_volumes(folder))
        if clocks:
            give_clocks(folder)
        yield held.enter_context(brought_up(folder, **settings))


def line_to(running: Appliance) -> Line:
    """With a key that may do everything."""
    made = running.execute(
        "proxy", "python3", "-m", "chatproxy", "keys", "create", "--name=bench", "--scopes=chat,admin"
    )
    key = next(word for word in made.stdout.split() if word.startswith("kb_"))
    return Line("https://localhost", key, str(running.session.verify))


# --- small disks ----------------------------------------------------------------------------------------------------


@contextmanager
def small_volumes(folder: Path) -> Iterator[None]:
    """The volumes of SMALL on file systems of their own: files on this disk, mounted by the kernel's loop driver."""
    beside = folder.parent
    with ExitStack() as held:
        file = folder / "docker-compose.yml"
        described = yaml.safe_load(file.read_text())
        for name, size in SMALL.items():
            mount = beside / "disks" / name
            held.enter_context(_mounted(beside / f"{name}.img", mount, size))
            (mount / "data").mkdir()
            os.chown(mount / "data", 10001, 10001)
            options = {"type": "none", "o": "bind", "device": str(mount / "data")}
            described["volumes"][name] = {**(described["volumes"][name] or {}), "driver_opts": options}
        file.write_text(yaml.safe_dump(described, sort_keys=False))
        yield


@contextmanager
def _mounted(image: Path, mount: Path, size: int) -> Iterator[None]:
    mount.mkdir(parents=True)
    with image.open("wb") as made:
        made.truncate(size * MIB)
    # No share reserved for root, who does not run anything here.
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def disk_of(running: Appliance, volume: str) -> Path:
    return running.folder.parent / "disks" / volume


# --- clocks ---------------------------------------------------------------------------------------------------------


def give_clocks(folder: Path) -> None:
    """Lets the programs of every service in CLOCKED read the time through clock.c."""
    if not shutil.which("gcc"):
        apt.update()
        apt.install(["gcc", "libc6-dev"])
    library = folder.parent / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    for service in CLOCKED:
        (folder.parent / "clocks" / service).mkdir(parents=True)
        put_clock(folder, service, 0)
        file = folder / "compose" / f"{service}.yml"
        described = yaml.safe_load(file.read_text())
        mine = described["services"][service]
        moved = {"LD_PRELOAD": _LIBRARY, "CLOCK_OFFSET": f"{_CLOCK}/offset"}
        mine["environment"] = {**mine.get("environment", {}), **moved}
        mounts = [f"{library}:{_LIBRARY}:ro", f"{folder.parent / 'clocks' / service}:{_CLOCK}:ro"]
        mine["volumes"] = [*mine.get("volumes", []), *mounts]
        file.write_text(yaml.safe_dump(described, sort_keys=False))


def put_clock(folder: Path, service: str, seconds: int) -> None:
    """So far ahead (or, below zero, behind) from now on."""
    clock = folder.parent / "clocks" / service
    draft = clock / "draft"
    draft.write_text(f"{seconds}\n")
    draft.replace(clock / "offset")
