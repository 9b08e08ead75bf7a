"""What the reader of documents takes from itself before it opens one: memory, time, files and the network.

The network goes by a seccomp filter, because that needs no privilege and holds for the reader's own children too:
`socket` and `io_uring_setup` (which can make sockets) answer EACCES.
Numbers: linux/seccomp.h, linux/filter.h, linux/audit.h, asm/unistd.h.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct

_SET_DEATH_SIGNAL, _SET_SECCOMP, _SET_NO_NEW_PRIVILEGES = 1, 22, 38
_FILTER = 2
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 13  # SECCOMP_RET_ERRNO with EACCES
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4  # offsets in struct seccomp_data
_IO_URING_SETUP = 425
# Machine -> its AUDIT_ARCH, the number of its socket call.
_MACHINES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
_X32 = 0x40000000
_LARGEST_FILE = 256 << 20
_MOST_OPEN_FILES = 64
_CPU_GRACE_S = 5


def confine(*, memory: int, cpu_s: int) -> None:
    """Take it all away, for good. Raises OSError where the kernel cannot: then nothing is to be read."""
    for name, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, _LARGEST_FILE),
        (resource.RLIMIT_NOFILE, _MOST_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(name)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(name, (most, most))
    # The softer limit comes first: its signal says that it was time, where the harder one's is anybody's.
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + _CPU_GRACE_S))
    libc = ctypes.CDLL(None, use_errno=True)
    _control(libc, _SET_DEATH_SIGNAL, signal.SIGKILL)
    _control(libc, _SET_NO_NEW_PRIVILEGES, 1)
    _without_network(libc)


def _without_network(libc: ctypes.CDLL) -> None:
    machine = platform.machine()
    if machine not in _MACHINES:
        raise OSError(f"no filter for {machine}")
    architecture, socket_call = _MACHINES[machine]
    # (operation, jump if true, jump if false, operand); jumps count from the next line.
    lines = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 0, 5, architecture),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 3, 0, _X32),  # the same calls under other numbers
        (_EQUAL, 2, 0, socket_call),
        (_EQUAL, 1, 0, _IO_URING_SETUP),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
    described = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(lines), ctypes.addressof(program)))
    _control(libc, _SET_SECCOMP, _FILTER, ctypes.addressof(described))


def _control(libc: ctypes.CDLL, option: int, value: int, address: int = 0) -> None:
    none = ctypes.c_ulong(0)
    if libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(address), none, none):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
