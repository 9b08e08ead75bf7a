"""A backup as one file: verified as a whole before anything of it is used, then read from.

    FORMAT          "chatbot backup 1": what this is, told before anything else
    data/...        MongoDB as `mongodump --gzip` lays it out, vectors; data/data.json, the last, says what it is
    settings/...    .env, secrets, WireGuard's keys, bots, formats
    caddy/...       certificates and Caddy's own authority
    manifest.json   who made it, when, of which version; size and SHA-256 of every member
    SHA256          of every byte before it

The checksums tell a damaged archive from a whole one. Who wrote it they do not tell: that is what the password is for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from scripts.lib import backup_gpg
from scripts.lib.archive_bson import Contents, check_counts
from scripts.lib.archive_tar import BrokenArchiveError, Reader, Reads, Writer, Writes
from scripts.lib.failure import Failure

FORMAT_MEMBER, MANIFEST, DATA = "FORMAT", "manifest.json", "data/data.json"
FORMAT = 1
_MAGIC = b"chatbot backup "
_TOPS = ("data/", "settings/", "caddy/")
# What is kept in memory after verifying, so that settings are read without going through gigabytes again.
_SMALL, _SMALL_IN_ALL = 2**20, 64 * 2**20
_JSON_LIMIT = 64 * 2**20
_OTHER = "`make backups` lists the archives that there are: take another one"


@dataclass(frozen=True)
class Member:
    """A file within: its whole name, size in bytes, SHA-256."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ModelFile:
    """A file in models/ by reference: what it must be, and where it came from ("" where the operator put it there)."""

    name: str
    bytes: int
    sha256: str
    source: str = ""
    commit: str = ""


@dataclass(frozen=True)
class Manifest:
    """What an archive says of itself. `version` and `commit` are the program's; `sources` as SOURCES was resolved."""

    project: str
    made_at: datetime
    version: str
    commit: str = ""
    sources: str = ""
    models: tuple[ModelFile, ...] = ()
    members: Mapping[str, Member] = field(default_factory=dict)
    format: int = FORMAT

    def to_json(self) -> bytes:
        told = {**asdict(self), "made_at": self.made_at.strftime("%Y-%m-%dT%H:%M:%SZ")}
        told["members"] = {one.name: {"bytes": one.bytes, "sha256": one.sha256} for one in self.members.values()}
        return json.dumps(told, indent=1, sort_keys=True).encode() + b"\n"

    @classmethod
    def of_json(cls, raw: bytes) -> Manifest:
        """BrokenArchiveError for what is no manifest."""
        try:
            told: dict[str, Any] = json.loads(raw)
            told["made_at"] = datetime.strptime(told["made_at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
            told["models"] = tuple(ModelFile(**model) for model in told["models"])
            told["members"] = {name: Member(name, **fields) for name, fields in told["members"].items()}
            return cls(**told)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise BrokenArchiveError(f"its manifest cannot be read ({error})") from error


class ArchiveWriter:
    """Writes one, member by member. What is not closed with `finish` is no archive."""

    def __init__(self, sink: Writes, made_at: datetime) -> None:
        self.made_at = made_at
        self._tar = Writer(sink, int(made_at.timestamp()))
        self.members: dict[str, Member] = {}
        self.add_bytes(FORMAT_MEMBER, _MAGIC + f"{FORMAT}\n".encode())

    @property
    def length(self) -> int:
        """Bytes so far, before any encryption."""
        return self._tar.length

    def add(self, name: str, size: int, source: Reads) -> None:
        """One member of exactly `size` bytes. EOFError where the source holds less."""
        _check_place(name, self.members)
        self.members[name] = Member(name, size, self._tar.add(name, size, source))

    def add_bytes(self, name: str, content: bytes) -> None:
        self.add(name, len(content), _Bytes(content))

    def finish(self, manifest: Manifest) -> None:
        """`manifest` without its members, which are filled in here."""
        filled = Manifest(**{**_shallow(manifest), "members": self.members})
        raw = filled.to_json()
        self._tar.add(MANIFEST, len(raw), _Bytes(raw))
        self._tar.seal()


def _shallow(manifest: Manifest) -> dict[str, Any]:
    return {name: getattr(manifest, name) for name in Manifest.__dataclass_fields__}


class _Bytes:
    def __init__(self, content: bytes) -> None:
        self._rest = content

    def read(self, size: int = -1, /) -> bytes:
        size = len(self._rest) if size < 0 else size
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def _check_place(name: str, known: Mapping[str, Member]) -> None:
    if name in known:
        raise BrokenArchiveError(f"it holds {name} twice")
    if name not in (FORMAT_MEMBER, MANIFEST) and not name.startswith(_TOPS):
        raise BrokenArchiveError(f"{name[:80]!r} has no place in it")
    parts = name.split("/")
    if any("/".join(parts[:n]) in known for n in range(1, len(parts))):
        raise BrokenArchiveError(f"{name} is below another file")


@dataclass(frozen=True)
class Archive:
    """A verified one. The file is opened anew at each reading, and each member is compared with its checksum again."""

    path: Path
    encrypted: bool
    size: int
    manifest: Manifest
    # data/data.json, as `python3 -m chatproxy data dump` made it.
    data: Mapping[str, Any]
    small: Mapping[str, bytes] = field(repr=False)
    secret: str = field(default="", repr=False)

    def members(self) -> Sequence[Member]:
        """All but manifest.json and SHA256, in their order."""
        return list(self.manifest.members.values())

    def read(self, name: str) -> bytes:
        """A whole member. KeyError where there is none."""
        member = self.manifest.members[name]
        if name in self.small:
            return self.small[name]
        with self._entries() as (reader, entries):
            for found, _ in entries:
                if found == name:
                    return b"".join(self._checked(reader, member))
                _skip(reader)
        raise self._changed()

    def stream(self, prefix: str, into: Writes, first: str = "data.json") -> None:
        """The members below `prefix`, as a tar without it. `first`, if there is such a member, comes first of all.

        Failure backup.broken where the file is no longer what was verified: then the tar has no end.
        """
        moment = int(self.manifest.made_at.timestamp())
        tar = Writer(into, moment)
        early = self.read(prefix + first) if prefix + first in self.manifest.members else None
        if early is not None:
            tar.add(first, len(early), _Bytes(early))
        with self._entries() as (reader, entries):
            for name, size in entries:
                if not name.startswith(prefix) or (early is not None and name == prefix + first):
                    _skip(reader)
                    continue
                member = self.manifest.members.get(name)
                if member is None or member.bytes != size:
                    raise self._changed()
                tar.add_chunks(name[len(prefix) :], size, self._checked(reader, member))
        tar.close()

    @contextmanager
    def _entries(self) -> Iterator[tuple[Reader, Iterator[tuple[str, int]]]]:
        try:
            with _opened(self.path, self.secret) as source:
                reader = Reader(source)
                yield reader, reader.entries()
                _drain(source, self.encrypted)
        except BrokenArchiveError as error:
            raise self._changed() from error

    def _checked(self, reader: Reader, member: Member) -> Iterator[bytes]:
        digest = hashlib.sha256()
        for chunk in reader.content():
            digest.update(chunk)
            yield chunk
        if digest.hexdigest() != member.sha256:
            raise self._changed()

    def _changed(self) -> Failure:
        return Failure("backup.broken", f"{self.path} has changed since it was verified", _OTHER)


def _skip(reader: Reader) -> None:
    for _ in reader.content():
        pass


def _drain(source: Reads, encrypted: bool) -> None:
    # Else gpg would find nobody to write to, and end as if the file were broken.
    while encrypted and source.read(2**20):
        pass


@contextmanager
def _opened(path: Path, secret: str) -> Iterator[Reads]:
    # Unbuffered: gpg goes on from where the file really is.
    with path.open("rb", buffering=0) as file:
        if not backup_gpg.is_encrypted(file):
            yield file
            return
        with backup_gpg.decrypting(secret, file) as plain:
            yield plain


def verify(  # nosec B107 - empty: no password
    path: Path, password_file: str = "", *, deep: bool = False
) -> Archive:
    """Read the whole file and compare every checksum; `deep`: those of the documents inside the packed files too.

    Failure backup.missing, backup.foreign (no backup of this program), backup.newer (of a newer one), backup.broken,
    backup.encrypted (no password was given), backup.password_wrong and others of the password's file.
    """
    try:
        with path.open("rb") as file:
            encrypted = backup_gpg.is_encrypted(file)
            size = file.seek(0, 2)
        if encrypted and not password_file:
            hint = "name the file with its password: BACKUP_PASSWORD_FILE"
            raise Failure("backup.encrypted", f"{path} is encrypted", hint)
        secret = backup_gpg.password(password_file) if encrypted else ""
        if encrypted:
            backup_gpg.ensure()
        with _opened(path, secret) as source:
            manifest, data, small = _read(source, Contents() if deep else None)
    except _ForeignError as error:
        fact = f"{path} is no backup of this program, or its very beginning is damaged"
        raise Failure("backup.foreign", fact, _OTHER) from error
    except _NewerError as error:
        fact = f"{path} was made by a newer version of this program (its format is {error}, this one reads {FORMAT})"
        raise Failure("backup.newer", fact, "bring the program to that version first: `git pull`") from error
    except BrokenArchiveError as error:
        raise Failure("backup.broken", f"{path} is damaged: {error}", _OTHER) from error
    except OSError as error:
        raise Failure("backup.missing", f"{path} cannot be read: {error.strerror}", _OTHER) from error
    return Archive(path, encrypted, size, manifest, data, small, secret)


class _ForeignError(BrokenArchiveError):
    pass


class _NewerError(BrokenArchiveError):
    pass


def _read(source: Reads, contents: Contents | None) -> tuple[Manifest, Mapping[str, Any], Mapping[str, bytes]]:
    reader = Reader(source)
    members: dict[str, Member] = {}
    small: dict[str, bytes] = {}
    kept = 0
    for name, size in _known(reader):
        _check_place(name, members)
        if MANIFEST in members:
            raise BrokenArchiveError(f"{name} stands behind the manifest")
        keep = name in (DATA, MANIFEST) or (size <= _SMALL and kept + size <= _SMALL_IN_ALL)
        if keep and size > _JSON_LIMIT:
            raise BrokenArchiveError(f"{name} is far too large")
        digest, chunks = hashlib.sha256(), []
        for chunk in reader.content():
            digest.update(chunk)
            if keep:
                chunks.append(chunk)
            if contents:
                contents.take(name, chunk)
        members[name] = Member(name, size, digest.hexdigest())
        if keep:
            small[name], kept = b"".join(chunks), kept + size
        if name == FORMAT_MEMBER:
            _check_format(small[name])
    manifest = Manifest.of_json(small.pop(MANIFEST, b""))
    del members[MANIFEST]
    if manifest.members != members:
        raise BrokenArchiveError("its manifest names other members than it has")
    try:
        data: Mapping[str, Any] = dict(json.loads(small.get(DATA, b"")))
        check_counts(data)
    except (ValueError, TypeError, RecursionError) as error:
        raise BrokenArchiveError(f"{DATA} cannot be read") from error
    if contents:
        contents.compare(data)
    return Manifest(**{**_shallow(manifest), "members": members}), data, small


def _known(reader: Reader) -> Iterator[tuple[str, int]]:
    """The entries. _ForeignError where not even the first is one of this program."""
    known = False
    try:
        for name, size in reader.entries():
            if not known and name != FORMAT_MEMBER:
                raise _ForeignError
            known = True
            yield name, size
    except BrokenArchiveError as error:
        if not known:
            raise _ForeignError from error
        raise


def _check_format(content: bytes) -> None:
    told = content.removeprefix(_MAGIC).strip()
    if not content.startswith(_MAGIC) or not told.isdigit():
        raise _ForeignError
    if int(told) != FORMAT:
        raise _NewerError(told.decode())
