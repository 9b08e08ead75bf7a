"""A composed appliance of our own, brought up by `make up` from a clean copy of this tree, to be ill-treated.

Its volumes can lie on small file systems of their own, and its programs can be told another time, as no container
can be otherwise: they share the machine's clock.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from tests.bench.composed import crowd
from tests.bench.composed.crowd import Line
from tests.stack.conftest import Appliance, brought_up, clean_copy

MIB = 2**20
# MiB that each can hold; mongod's journal must have room above what the proxy keeps free.
SMALL = {"mongo_data": 1800, "chroma_data": 64, "words_data": 64, "caddy_data": 16}
# Where the programs of a container find what they take for the time: libfaketime reads it at each look at the clock.
_CLOCK_INSIDE = "/run/clock"
_LIBRARY = "libfaketimeMT.so.1"
# Caddy is a static binary and asks the kernel itself.
CLOCKED = ("proxy", "worker", "mongo", "chroma", "embeddings", "engine")


@contextmanager
def appliance(*, small: bool = False, clocks: bool = False, **settings: str) -> Iterator[Appliance]:
    """Up and healthy; gone with its volumes afterwards. `settings` as `make up` takes them."""
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
    """Lets every service's programs in CLOCKED read the time through libfaketime (Debian's `faketime`)."""
    library = next(Path("/usr/lib").glob(f"*/faketime/{_LIBRARY}"))
    for service in CLOCKED:
        clock = folder.parent / "clocks" / service
        clock.mkdir(parents=True)
        file = folder / "compose" / f"{service}.yml"
        described = yaml.safe_load(file.read_text())
        mine = described["services"][service]
        mine["environment"] = {
            **mine.get("environment", {}),
            "LD_PRELOAD": f"/opt/{_LIBRARY}",
            "FAKETIME_TIMESTAMP_FILE": f"{_CLOCK_INSIDE}/offset",
            "FAKETIME_NO_CACHE": "1",
            # What measures durations goes on as it does when a real clock jumps.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        mine["volumes"] = [*mine.get("volumes", []), f"{library}:/opt/{_LIBRARY}:ro", f"{clock}:{_CLOCK_INSIDE}:ro"]
        file.write_text(yaml.safe_dump(described, sort_keys=False))
    for service in CLOCKED:
        put_clock(folder, service, "+0")


def put_clock(folder: Path, service: str, offset: str) -> None:
    """`offset` as libfaketime takes it, such as "+400d"."""
    clock = folder.parent / "clocks" / service
    draft = clock / "draft"
    draft.write_text(offset + "\n")
    draft.replace(clock / "offset")
