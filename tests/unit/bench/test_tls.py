"""Grades by SSL Labs' rating guide, of what sslyze says."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.composed import tls

_MODERN = ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", 128), ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", 256)


def _suites(*suites: tuple[str, int]) -> dict[str, Any]:
    return {
        "accepted_cipher_suites": [
            {
                "cipher_suite": {"name": name, "key_size": bits},
                "ephemeral_key": {"type_name": "ECDH", "size": 253} if "ECDHE" in name or "TLS_AES" in name else None,
            }
            for name, bits in suites
        ]
    }


def _found(*, hsts: int | None = None, bits: int = 2048, **other: Any) -> dict[str, Any]:
    """What sslyze says of a server as it should be, but for `other`."""
    headers = {"strict_transport_security_header": hsts and {"max_age": hsts}}
    key = {"algorithm": "RSAPublicKey", "key_size": bits}
    return {
        **{f"{name}_cipher_suites": _suites() for name in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1")},
        "tls_1_2_cipher_suites": _suites(*_MODERN),
        "tls_1_3_cipher_suites": _suites(("TLS_AES_128_GCM_SHA256", 128)),
        "certificate_info": {"certificate_deployments": [{"received_certificate_chain": [{"public_key": key}]}]},
        "heartbleed": {"is_vulnerable_to_heartbleed": False},
        "openssl_ccs_injection": {"is_vulnerable_to_ccs_injection": False},
        "robot": {"robot_result": "NOT_VULNERABLE_NO_ORACLE"},
        "session_renegotiation": {"supports_secure_renegotiation": True},
        "tls_compression": {"supports_compression": False},
        "http_headers": headers,
        **other,
    }


@pytest.mark.parametrize(
    ("found", "letter"),
    [
        (_found(), "A"),
        (_found(hsts=63072000), "A+"),
        (_found(hsts=3600), "A"),
        (_found(tls_1_3_cipher_suites=_suites()), "A-"),
        (_found(tls_1_0_cipher_suites=_suites(("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", 128)), hsts=63072000), "B"),
        (_found(tls_1_2_cipher_suites=_suites(*_MODERN, ("TLS_RSA_WITH_AES_128_GCM_SHA256", 128))), "B"),
        (_found(tls_1_2_cipher_suites=_suites(*_MODERN, ("TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", 112))), "C"),
        (_found(tls_compression={"supports_compression": True}), "C"),
        (_found(heartbleed={"is_vulnerable_to_heartbleed": True}), "F"),
        (_found(robot={"robot_result": "VULNERABLE_STRONG_ORACLE"}), "F"),
        (_found(bits=512, tls_1_2_cipher_suites=_suites(("TLS_RSA_WITH_RC4_40_MD5", 40))), "C"),
    ],
)
def test_a_servers_tls_is_graded(found: dict[str, Any], letter: str) -> None:
    assert tls.grade(found) == letter
