"""What is kept: the server's keys, the peers, which address comes next. One folder of the host, for root alone.

    server.json       the server's two keys
    addresses.json    the first number that nobody ever had, and those given back, longest free first
    peers/NAME.json   a peer: public key, preshared key, number, endpoint, what its config was last written with
    NAME.conf         what that peer imports; its private key is nowhere else

Whoever changes something holds the lock, and every file is replaced in one step.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .refusal import RefusedError

_NAME = re.compile(r"[a-z0-9-]{1,32}")
_FIRST_PEER = 2


@dataclass(frozen=True)
class Server:
    public_key: str
    private_key: str = field(repr=False)


@dataclass(frozen=True)
class Peer:
    """number: its place in both subnets; endpoint: the server's address as its config has it, `host:port`.

    own_endpoint: the endpoint was given for this peer, so that the settings' does not take its place.
    written: `config.decided` of the config that was last written, which may be on the device alone; "" = not known.
    """

    name: str
    number: int
    public_key: str
    preshared_key: str = field(repr=False)
    endpoint: str = ""
    own_endpoint: bool = False
    written: str = ""


@dataclass(frozen=True)
class Numbers:
    """next: the first number that was never given; freed: given back, the longest free one first."""

    next: int = _FIRST_PEER
    freed: tuple[int, ...] = ()

    def take(self, last: int) -> tuple[int, Numbers]:
        """(a free number up to `last`, what is left). Those given back come last."""
        if self.next <= last:
            return self.next, Numbers(self.next + 1, self.freed)
        usable = [number for number in self.freed if number <= last]
        if not usable:
            hint = "remove a peer, or set a larger WG_SUBNET in .env"
            raise RefusedError("wireguard.no_address", f"all {last - 1} addresses are taken", hint)
        return usable[0], Numbers(self.next, tuple(number for number in self.freed if number != usable[0]))

    def give_back(self, number: int) -> Numbers:
        return Numbers(self.next, (*self.freed, number))


def check_name(name: str) -> None:
    """RefusedError for what is no name of a peer. It becomes a file name and the name of an interface's config."""
    if not _NAME.fullmatch(name):
        fact = f"{name!r} is no name for a peer"
        raise RefusedError("wireguard.name_invalid", fact, "a-z, 0-9 and dashes, 1 to 32 of them, as NAME=laptop")


class State:
    """The folder. Reading needs no lock: files are whole at any moment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._peers = folder / "peers"

    def prepare(self) -> None:
        """Close the folder to everybody else, and make what is missing in it. RefusedError when it is not ours."""
        try:
            self.folder.chmod(0o700)
            self._peers.mkdir(mode=0o700, exist_ok=True)
            for file in (*self.folder.glob("*.*"), *self._peers.glob("*.json")):
                file.chmod(0o600)
        except OSError as error:
            fact = f"the folder of keys cannot be used: {error.strerror}"
            hint = "it must belong to root: sudo chown -R root:root .appliance/wireguard"
            raise RefusedError("wireguard.state_unusable", fact, hint) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One at a time; others wait. The lock goes with the process."""
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def server(self) -> Server | None:
        """The server's keys; None before the first start."""
        found = self._read(self.folder / "server.json")
        return Server(**found) if found else None

    def keep_server(self, server: Server) -> None:
        self._write(self.folder / "server.json", asdict(server))

    def peers(self) -> list[Peer]:
        """All peers, by number."""
        found = [self._read(file) for file in self._peers.glob("[!.]*.json")]
        return sorted((Peer(**fields) for fields in found if fields), key=lambda peer: peer.number)

    def peer(self, name: str) -> Peer | None:
        found = self._read(self._peers / f"{name}.json")
        return Peer(**found) if found else None

    def keep_peer(self, peer: Peer) -> None:
        self._write(self._peers / f"{peer.name}.json", asdict(peer))

    def forget_peer(self, name: str) -> None:
        for file in (self._peers / f"{name}.json", self.config_file(name)):
            file.unlink(missing_ok=True)

    def numbers(self) -> Numbers:
        found = self._read(self.folder / "addresses.json")
        return Numbers(found["next"], tuple(found["freed"])) if found else Numbers()

    def keep_numbers(self, numbers: Numbers) -> None:
        self._write(self.folder / "addresses.json", asdict(numbers))

    def config_file(self, name: str) -> Path:
        return self.folder / f"{name}.conf"

    def config(self, name: str) -> str | None:
        """Text of a peer's config; None where the operator has taken it away."""
        try:
            return self.config_file(name).read_text(encoding="ascii")
        except FileNotFoundError:
            return None

    def keep_config(self, name: str, text: str) -> None:
        _replace(self.config_file(name), text)

    def _read(self, file: Path) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            fact = f"{file.relative_to(self.folder)} cannot be read: {error}"
            raise RefusedError("wireguard.state_unusable", fact, "put it back from a backup") from error
        return found

    def _write(self, file: Path, fields: dict[str, Any]) -> None:
        _replace(file, json.dumps(fields, indent=1) + "\n")


def _replace(file: Path, text: str) -> None:
    """Old or new, never half, and on the disk before anybody is told."""
    # mkstemp makes it 0600 from the first moment.
    descriptor, draft = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        Path(draft).replace(file)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
