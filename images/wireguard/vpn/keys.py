"""WireGuard's keys, made by `wg` itself. They go through pipes alone: everybody on a machine can read arguments."""

from __future__ import annotations

import re
import subprocess

from .refusal import RefusedError

# 32 bytes in base64.
KEY = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")


def private() -> str:
    return _wg("genkey")


def preshared() -> str:
    return _wg("genpsk")


def public(private_key: str) -> str:
    """The public key of a private one."""
    return _wg("pubkey", given=private_key)


def _wg(verb: str, given: str = "") -> str:
    done = subprocess.run(["wg", verb], input=given, capture_output=True, text=True, check=False)
    key = done.stdout.strip()
    if done.returncode != 0 or not KEY.fullmatch(key):
        # Whatever came out may be a key, so it is not shown.
        raise RefusedError("wireguard.keys_failed", f"`wg {verb}` made no key (exit status {done.returncode})")
    return key
