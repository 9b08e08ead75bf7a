"""The bytes of a backup's tar: one way to write each member, and a reader that takes no other.

POSIX pax: a plain ustar header wherever that holds the member, and before it an extended one where it does not (a
member of 8 GiB and more, a name longer than 100 bytes or not ASCII), which every tar since 2001 reads. Owner 0:0, mode
0600, one time for all. Headers are written here and not by tarfile, whose bytes differ between versions of Python: what
is read has to be, byte for byte, what would be written. So there is no room for links, devices or a flipped bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Protocol

BLOCK = 512
# What tar calls a record: the whole is a multiple of it.
_RECORD = 20 * BLOCK
_CHUNK = 2**20
_OCTAL_LIMIT = 8**11
_NAME_LIMIT = 100
_PLAIN, _EXTENDED = b"0", b"x"
_EXTENDED_NAME = b"././@PaxHeader"
# Names are bounded below, so an extended header never comes near this.
_EXTENDED_LIMIT = 4096
CHECKSUM = "SHA256"


class BrokenArchiveError(Exception):
    """The bytes are not those of a whole archive; the text says in what way."""


class Reads(Protocol):
    """A file to read from."""

    def read(self, size: int = -1, /) -> bytes: ...


class Writes(Protocol):
    """A file to write to."""

    def write(self, content: bytes, /) -> int: ...


def check_name(name: str) -> None:
    """BrokenArchiveError for a name that could lead anywhere but below the folder that it is unpacked into."""
    parts = name.split("/")
    bad = any(part in ("", ".", "..") for part in parts) or not name.isprintable() or "\\" in name
    if bad or len(name.encode("utf-8", "surrogatepass")) > 1024:
        raise BrokenArchiveError(f"a member is called {name[:80]!r}")


def header(name: str, size: int, moment: int) -> bytes:
    """What stands before a member's content; `moment` in seconds since 1970."""
    raw = name.encode()
    records = b""
    if len(raw) > _NAME_LIMIT or not name.isascii():
        records += _pax("path", raw)
        raw = name.encode("ascii", "replace")[:_NAME_LIMIT]
    shown = size
    if size >= _OCTAL_LIMIT:
        records += _pax("size", str(size).encode())
        shown = 0
    extended = _ustar(_EXTENDED_NAME, len(records), moment, _EXTENDED) + padded(records) if records else b""
    return extended + _ustar(raw, shown, moment, _PLAIN)


def _ustar(name: bytes, size: int, moment: int, kind: bytes) -> bytes:
    before = name.ljust(100, b"\0") + b"0000600\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"%011o\0" % moment
    behind = kind + b"\0" * 100 + b"ustar\x0000" + b"\0" * (32 + 32 + 8 + 8 + 155 + 12)
    checksum = sum(before) + sum(behind) + 8 * ord(" ")
    return before + b"%06o\0 " % checksum + behind


def _pax(key: str, value: bytes) -> bytes:
    # The length counts its own digits.
    rest = b" " + key.encode() + b"=" + value + b"\n"
    length = len(rest)
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest


def padded(content: bytes) -> bytes:
    """`content` up to the end of its last block."""
    return content + b"\0" * (-len(content) % BLOCK)


def end(length: int) -> bytes:
    """What closes a tar that is `length` bytes long so far."""
    return b"\0" * (2 * BLOCK + -(length + 2 * BLOCK) % _RECORD)


def tail(digest: str, length: int, moment: int) -> bytes:
    """The last member and the end, behind `length` bytes whose SHA-256 is `digest`."""
    last = header(CHECKSUM, 65, moment) + padded(f"{digest}\n".encode())
    return last + end(length + len(last))


class Writer:
    """Writes members in the order in which they come, and at last their checksum."""

    def __init__(self, sink: Writes, moment: int) -> None:
        self._sink, self._moment = sink, moment
        self._digest, self.length = hashlib.sha256(), 0

    def _put(self, content: bytes) -> None:
        self._sink.write(content)
        self._digest.update(content)
        self.length += len(content)

    def add(self, name: str, size: int, source: Reads) -> str:
        """One member of exactly `size` bytes; returns their SHA-256. EOFError where the source holds less."""
        return self.add_chunks(name, size, _chunks(name, size, source))

    def add_chunks(self, name: str, size: int, chunks: Iterable[bytes]) -> str:
        """The same of chunks, which together have to be `size` bytes; they are taken to their end."""
        check_name(name)
        self._put(header(name, size, self._moment))
        own = hashlib.sha256()
        for chunk in chunks:
            own.update(chunk)
            self._put(chunk)
        self._put(b"\0" * (-size % BLOCK))
        return own.hexdigest()

    def seal(self) -> None:
        """The checksum of all before, and the end."""
        self._sink.write(tail(self._digest.hexdigest(), self.length, self._moment))

    def close(self) -> None:
        """The end alone: a tar that is no archive."""
        self._sink.write(end(self.length))


def _chunks(name: str, size: int, source: Reads) -> Iterator[bytes]:
    left = size
    while left:
        chunk = source.read(min(_CHUNK, left))
        if not chunk:
            raise EOFError(f"{name} ended {left} bytes early")
        left -= len(chunk)
        yield chunk


class Reader:
    """Reads what Writer wrote. BrokenArchiveError for everything else."""

    def __init__(self, source: Reads) -> None:
        self._source = source
        self._digest, self._length = hashlib.sha256(), 0
        self._left = self._padding = self._begun = 0
        self.moment = -1

    def entries(self) -> Iterator[tuple[str, int]]:
        """(name, bytes) of each member; its `content` is to be read before the next. Ends behind the checksum."""
        while True:
            if self._left:
                raise RuntimeError("the member before was not read to its end")
            before = self._digest.copy()
            name, size = self._header()
            if name == CHECKSUM:
                self._check_tail(before.hexdigest())
                return
            check_name(name)
            self._left, self._padding = size, -size % BLOCK
            if not size:
                self._end_member()
            yield name, size

    def content(self) -> Iterator[bytes]:
        """The present member's bytes, in chunks."""
        while self._left:
            chunk = self._exactly(min(_CHUNK, self._left))
            self._left -= len(chunk)
            if not self._left:
                self._end_member()
            yield chunk

    def _end_member(self) -> None:
        if self._exactly(self._padding).strip(b"\0"):
            raise BrokenArchiveError("there is something between two members")

    def _header(self) -> tuple[str, int]:
        self._begun = self._length
        block = found = self._exactly(BLOCK)
        told: dict[str, bytes] = {}
        if block[156:157] == _EXTENDED:
            size = _octal(block[124:136])
            if size > _EXTENDED_LIMIT:
                raise BrokenArchiveError("an extended header is too large")
            records = self._exactly(size + -size % BLOCK)
            told = _records(records[:size])
            block = self._exactly(BLOCK)
            found += records + block
        try:
            name = told.get("path", block[:100].rstrip(b"\0")).decode()
            size = int(told["size"]) if "size" in told else _octal(block[124:136])
        except ValueError as error:
            raise BrokenArchiveError("a header cannot be read") from error
        if self.moment < 0:
            self.moment = _octal(block[136:148])
        if size < 0 or header(name, size, self.moment) != found:
            raise BrokenArchiveError(f"the header at byte {self._begun} is not as it was written")
        return name, size

    def _check_tail(self, digest: str) -> None:
        expected = tail(digest, self._begun, self.moment)[BLOCK:]
        rest = _all_of(self._source, len(expected) + 1)
        if len(rest) < len(expected) and expected.startswith(rest):
            raise BrokenArchiveError("it ends too early")
        if rest != expected:
            raise BrokenArchiveError("its checksum is another one")

    def _exactly(self, size: int) -> bytes:
        content = _all_of(self._source, size)
        if len(content) < size:
            raise BrokenArchiveError("it ends too early")
        self._digest.update(content)
        self._length += size
        return content


def _all_of(source: Reads, size: int) -> bytes:
    """Up to `size` bytes; a pipe gives them in pieces."""
    content = source.read(size) if size else b""
    while 0 < len(content) < size:
        more = source.read(size - len(content))
        if not more:
            break
        content += more
    return content


def _octal(field: bytes) -> int:
    digits = field[:-1]
    if not digits.isdigit() or set(digits) & set(b"89"):
        raise BrokenArchiveError("a header holds no number where one belongs")
    return int(digits, 8)


def _records(raw: bytes) -> dict[str, bytes]:
    told = {}
    while raw:
        length, _, _ = raw.partition(b" ")
        if not length.isdigit() or not 0 < int(length[:5]) <= len(raw):
            raise BrokenArchiveError("an extended header cannot be read")
        key, _, value = raw[len(length) + 1 : int(length)].removesuffix(b"\n").partition(b"=")
        told[key.decode("ascii", "replace")] = value
        raw = raw[int(length) :]
    return told
