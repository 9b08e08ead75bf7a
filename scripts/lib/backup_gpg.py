"""Archives under a password: gpg, symmetric, AES-256. No key ring, no agent, nothing of the operator's own gpg.

`gpg --decrypt FILE` with the password is all that opening one by hand takes.
"""

from __future__ import annotations

import errno
import io
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from scripts.lib import apt, log, paths, shell
from scripts.lib.archive_tar import BrokenArchiveError
from scripts.lib.failure import Failure

_COMMON = ("gpg", "--batch", "--no-tty", "--quiet", "--no-options", "--no-symkey-cache", "--pinentry-mode=loopback")
# What is packed already is not packed again. The password is hashed for a quarter of a second: guessing gets dear.
_ENCRYPT = (
    *("--symmetric", "--cipher-algo=AES256", "--compress-algo=none"),
    *("--s2k-mode=3", "--s2k-digest-algo=SHA512", "--s2k-count=65011712"),
)
# gpg takes no longer ones.
_LONGEST = 255


def password(setting: str) -> str:
    """The password in the operator's file; "" where there is no such setting.

    A relative name counts from this folder. Failure for a file that holds no password, or more than one line.
    """
    if not setting:
        return ""
    path = paths.ROOT / Path(setting).expanduser()
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        fact = f"the password's file {path} cannot be read: {getattr(error, 'strerror', 'it is no text')}"
        hint = "correct BACKUP_PASSWORD_FILE in .env; the file must be readable for whoever runs `make backup`"
        raise Failure("backup.password_unreadable", fact, hint) from error
    if not text or len(text.splitlines()) > 1 or len(text) > _LONGEST:
        fact = f"the password's file {path} holds {'more than one short line' if text else 'nothing'}"
        hint = "write the password into it as its only line: head -c 24 /dev/urandom | base64"
        raise Failure("backup.password_invalid", fact, hint)
    return text


def ensure() -> None:
    """Install gpg where it is missing."""
    if shell.which("gpg"):
        return
    log.step("installing gpg")
    apt.update()
    apt.install(["gpg", "gpg-agent"])


def is_encrypted(file: BinaryIO | io.FileIO) -> bool:
    """By its first byte, which is above 127 in everything that OpenPGP writes. The place in the file stays."""
    first = os.pread(file.fileno(), 1, 0)
    return bool(first) and first[0] > 127


@contextmanager
def encrypting(secret: str, sink: BinaryIO) -> Iterator[IO[bytes]]:
    """A pipe whose content arrives in `sink` encrypted. Failure where gpg ends badly; an OSError of the pipe stays."""
    with _running(secret, _ENCRYPT, stdin=subprocess.PIPE, stdout=sink) as (process, status):
        if process.stdin is None:
            raise RuntimeError("no pipe to gpg")
        # Where gpg has gone, it says why below.
        with suppress(BrokenPipeError):
            yield process.stdin
            process.stdin.close()
        if process.wait() != 0:
            said = _last(status)
            if "No space left" in said:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise Failure(
                "backup.gpg_failed", f"gpg could not encrypt: {said}", "see that the disk has space; try again"
            )


@contextmanager
def decrypting(secret: str, source: BinaryIO | io.FileIO) -> Iterator[IO[bytes]]:
    """A pipe with what is in `source`, decrypted. What comes out counts only once this has ended without an error.

    Failure backup.password_wrong; BrokenArchiveError where gpg finds the file changed or cut off.
    """
    with _running(secret, ("--decrypt",), stdin=source, stdout=subprocess.PIPE) as (process, status):
        if process.stdout is None:
            raise RuntimeError("no pipe from gpg")
        try:
            yield process.stdout
        except BrokenArchiveError:
            process.stdout.close()
            process.wait()
            _raise_wrong_password(status)
            raise
        # Something behind the archive would keep gpg from ending.
        extra = process.stdout.read(1)
        process.stdout.close()
        code = process.wait()
        _raise_wrong_password(status)
        if code != 0 or extra:
            raise BrokenArchiveError(f"gpg says: {_last(status)}")


@contextmanager
def _running(
    secret: str, words: Sequence[str], stdin: int | BinaryIO | io.FileIO, stdout: int | BinaryIO
) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    # Not below this folder: gpg puts sockets there, whose paths may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="chatbot-gpg-") as home, tempfile.TemporaryFile() as status:
        read_end, write_end = os.pipe()
        # Far less than what a pipe holds, so this never waits. An argument could be read by every user of the machine.
        os.write(write_end, secret.encode() + b"\n")
        os.close(write_end)
        command = [*_COMMON, f"--homedir={home}", f"--passphrase-fd={read_end}", "--status-fd=2", *words]
        try:
            process = subprocess.Popen(
                command, stdin=stdin, stdout=stdout, stderr=status, pass_fds=[read_end], env=shell.environment()
            )
        except OSError as error:
            hint = "`apt-get install gpg`, then try again"
            raise Failure("backup.gpg_missing", f"gpg cannot be started: {error.strerror}", hint) from error
        finally:
            os.close(read_end)
        try:
            yield process, status
        finally:
            if process.poll() is None:
                process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None and not pipe.closed:
                    with suppress(OSError):
                        pipe.close()
            process.wait()


def _said(status: IO[bytes]) -> str:
    status.seek(0)
    return status.read().decode(errors="replace")


def _last(status: IO[bytes]) -> str:
    lines = [line.removeprefix("gpg: ") for line in _said(status).splitlines() if not line.startswith("[GNUPG:]")]
    return lines[-1] if lines else "nothing"


def _raise_wrong_password(status: IO[bytes]) -> None:
    if "BAD_PASSPHRASE" in _said(status):
        fact = "the password does not open the archive, or its first bytes are damaged"
        hint = "give the password that BACKUP_PASSWORD_FILE held when it was made"
        raise Failure("backup.password_wrong", fact, hint)
