"""The grade that SSL Labs' rating guide gives for what sslyze finds; no scanner of Debian's or PyPI's gives one itself.

https://github.com/ssllabs/research/wiki/SSL-Server-Rating-Guide (2009q): protocols, key exchange and ciphers are scored
by their best and their worst, 30, 30 and 40 of 100; what is known to be broken caps the grade. Whether a browser trusts
the certificate is left out: for `localhost` the appliance's own authority signs, and the operator says whom to trust.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scripts.lib import venv

_PROTOCOLS = {"ssl_2_0": 0, "ssl_3_0": 80, "tls_1_0": 90, "tls_1_1": 95, "tls_1_2": 100, "tls_1_3": 100}
_GRADES = ((80, "A"), (65, "B"), (50, "C"), (35, "D"), (20, "E"), (0, "F"))
# Bits of an elliptic curve, and of an RSA key that is as strong (NIST SP 800-57 part 1, table 2).
_CURVES = ((512, 15360), (384, 7680), (250, 3072), (224, 2048), (0, 1024))
_LONG_S = 180 * 86_400


def scan(address: str) -> dict[str, Any]:
    """All that sslyze finds of host:port, and the answer's headers."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        words = [venv.ensure_audit().parent / "sslyze", f"--json_out={report}", "--mozilla_config=disable"]
        checks = (
            "--certinfo --sslv2 --sslv3 --tlsv1 --tlsv1_1 --tlsv1_2 --tlsv1_3 --compression --heartbleed --openssl_ccs"
        )
        words += [*checks.split(), "--robot", "--reneg", "--http_headers", address]
        subprocess.run(words, capture_output=True, check=True, timeout=300)
        (result,) = json.loads(report.read_text())["server_scan_results"]
    return {name: each["result"] for name, each in result["scan_result"].items()}


def grade(found: dict[str, Any]) -> str:
    """A+ to F."""
    suites = {name: found[f"{name}_cipher_suites"]["accepted_cipher_suites"] for name in _PROTOCOLS}
    spoken = {name: each for name, each in suites.items() if each}
    ciphers = [_cipher(each["cipher_suite"]["key_size"]) for each in _all(spoken)]
    score = (
        0.3 * _middle([_PROTOCOLS[name] for name in spoken])
        + 0.3 * _exchange(min(_strengths(found, spoken)))
        + 0.4 * _middle(ciphers)
    )
    reached = next(letter for least, letter in _GRADES if score >= least)
    caps = list(_caps(found, spoken))
    worst = max([reached, *caps], key=_rank)
    headers = found.get("http_headers") or {}
    long = ((headers.get("strict_transport_security_header") or {}).get("max_age") or 0) >= _LONG_S
    return "A+" if worst == "A" and long else worst


def _caps(found: dict[str, Any], spoken: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    names = [each["cipher_suite"]["name"] for each in _all(spoken)]
    broken = (
        "ssl_2_0" in spoken,
        any("NULL" in name or "EXPORT" in name or "_anon_" in name for name in names),
        found["heartbleed"]["is_vulnerable_to_heartbleed"],
        found["openssl_ccs_injection"]["is_vulnerable_to_ccs_injection"],
        not found["robot"]["robot_result"].startswith("NOT_VULNERABLE"),
        not found["session_renegotiation"]["supports_secure_renegotiation"],
    )
    if any(broken):
        yield "F"
    if found["tls_compression"]["supports_compression"] or not spoken.keys() & {"tls_1_2", "tls_1_3"}:
        yield "C"
    if any("3DES" in name for name in names):
        yield "C"
    if spoken.keys() & {"ssl_3_0", "tls_1_0", "tls_1_1"} or any("RC4" in name for name in names):
        yield "B"
    if any(not each["ephemeral_key"] for each in _all({k: v for k, v in spoken.items() if k != "tls_1_3"})):
        yield "B"
    if not any("GCM" in name or "CHACHA20" in name for name in names):
        yield "B"
    if "tls_1_3" not in spoken:
        yield "A-"


def _strengths(found: dict[str, Any], spoken: dict[str, list[dict[str, Any]]]) -> Iterator[int]:
    """Bits, as of RSA, of each key that a session hangs on."""
    for deployed in found["certificate_info"]["certificate_deployments"]:
        key = deployed["received_certificate_chain"][0]["public_key"]
        yield _as_rsa(key["key_size"]) if key["algorithm"] == "ECPublicKey" else key["key_size"]
    for each in _all(spoken):
        if key := each["ephemeral_key"]:
            yield _as_rsa(key["size"]) if key["type_name"].startswith("EC") else key["size"]


def _as_rsa(curve: int) -> int:
    return next(bits for least, bits in _CURVES if curve >= least)


def _exchange(bits: int) -> int:
    return next(
        score for least, score in ((4096, 100), (2048, 90), (1024, 80), (512, 40), (1, 20), (0, 0)) if bits >= least
    )


def _cipher(bits: int) -> int:
    return next(score for least, score in ((256, 100), (128, 80), (1, 20), (0, 0)) if bits >= least)


def _middle(scores: Sequence[int]) -> float:
    return (max(scores) + min(scores)) / 2


def _all(spoken: dict[str, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    for suites in spoken.values():
        yield from suites


def _rank(letter: str) -> int:
    return ["A+", "A", "A-", "B", "C", "D", "E", "F"].index(letter)
