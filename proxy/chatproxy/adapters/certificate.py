"""How long the certificate is good that visitors are shown: asked of the TLS server itself, as they would.

The standard library tells a certificate's fields only once it has verified it, and Caddy's own authority is no
authority to this process. So the certificate is fetched first, and then trusted for a second handshake: X.509 lets
any certificate be a trust anchor (PARTIAL_CHAIN), and an expired one must still tell when it expired (NO_CHECK_TIME).
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from chatproxy.adapters.remembered import Remembered
from chatproxy.core.condition import Validity

_log = logging.getLogger(__name__)
_TIMEOUT_S = 2.0
# It changes every few weeks. A server that did not answer is asked again sooner.
_LASTS_S, _FAILURE_LASTS_S = 3600.0, 300.0
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, x509_vfy.h


class Certificate:
    """The certificate of one TLS server for one name. Thread-safe."""

    def __init__(self, host: str, port: int, name: str) -> None:
        """`name` is what is asked for (SNI), as in a browser's address bar."""
        self._host, self._port, self._name = host, port, name
        self._good = Remembered(self._read, lasts_s=_LASTS_S)
        self._answer = Remembered(self._try, lasts_s=_FAILURE_LASTS_S)

    def validity(self) -> Validity | None:
        """None where the server does not answer; looked at once an hour."""
        return self._answer.get()

    def _try(self) -> Validity | None:
        try:
            return self._good.get()
        except (OSError, ValueError) as error:  # ssl's errors are OSErrors
            _log.warning("the certificate of %s cannot be looked at: %s", self._name, type(error).__name__)
            return None

    def _read(self) -> Validity:
        with self._shaken_hands(_trusting_all()) as connection:
            anchor = connection.getpeercert(binary_form=True)
        with self._shaken_hands(_trusting(anchor or b"")) as connection:
            fields = connection.getpeercert()
        if not fields:
            raise ValueError("no certificate")
        return Validity(_moment(fields["notBefore"]), _moment(fields["notAfter"]))

    @contextmanager
    def _shaken_hands(self, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
        with (
            socket.create_connection((self._host, self._port), timeout=_TIMEOUT_S) as connection,
            context.wrap_socket(connection, server_hostname=self._name) as secured,
        ):
            yield secured


def _moment(told: object) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(told)), UTC)


def _trusting_all() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _trusting(anchor: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME)
    context.load_verify_locations(cadata=anchor)
    return context
