"""A tar stream whose members are longer than memory and have no length yet when they begin.

A tar header comes first and tells the member's length. So a long member is written as consecutive members
NAME.part0000, NAME.part0001 and so on, which whoever reads the stream puts together again; a short one as it is.
Compressed members are one gzip stream from the first part to the last.
"""

from __future__ import annotations

import io
import json
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PART_BYTES = 4 << 20
_PACKED_AT_ONCE = 1 << 20  # so that a part is never much longer
# On text the fastest level leaves a third more than the default, in a fifth of its time: a backup takes CPU from those
# who wait for an answer, and an archive's bytes are cheap.
_LEVEL = 1
_GZIP = 31  # zlib's window bits for gzip's own header and checksum


class MemberStream:
    """Writes the members in the order in which they are begun, one after the other."""

    def __init__(self, write: Callable[[bytes], object], moment: float, *, part_bytes: int = PART_BYTES) -> None:
        """`moment` is every member's time of change, in seconds since 1970."""
        self._write, self._moment, self._part_bytes = write, int(moment), part_bytes

    def json(self, name: str, told: Any) -> None:
        """A short member of JSON."""
        self.whole(name, json.dumps(told, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode() + b"\n")

    def whole(self, name: str, data: bytes) -> None:
        """A short member."""
        member = tarfile.TarInfo(name)
        member.size, member.mtime, member.mode = len(data), self._moment, 0o600
        header = member.tobuf(tarfile.PAX_FORMAT, errors="surrogatepass")
        self._write(header + data + bytes(-len(data) % tarfile.BLOCKSIZE))

    @contextmanager
    def compressed(self, name: str) -> Iterator[Callable[[bytes], None]]:
        """A member of any length: call what this gives with its bytes, before they are compressed."""
        packer, pieces, parts = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP), io.BytesIO(), 0

        def add(packed: bytes, *, last: bool = False) -> None:
            nonlocal parts
            pieces.write(packed)
            if pieces.tell() < self._part_bytes and not last:
                return
            self.whole(name if last and not parts else f"{name}.part{parts:04d}", pieces.getvalue())
            parts += 1
            pieces.seek(0)
            pieces.truncate()

        def write(data: bytes) -> None:
            for begin in range(0, len(data), _PACKED_AT_ONCE):
                add(packer.compress(data[begin : begin + _PACKED_AT_ONCE]))

        yield write
        add(packer.flush(), last=True)

    def end(self) -> None:
        """The end that tells a whole stream from one that broke off."""
        self._write(bytes(2 * tarfile.BLOCKSIZE))
