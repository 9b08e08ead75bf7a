"""How long a certificate is good is asked of a real TLS server, whoever has signed it and whether it is still good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chatproxy.adapters.certificate import Certificate
from scripts.lib.native import free_port
from tests.doubles.tls_server import certificate, serving


@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2096, 1, 1, tzinfo=UTC)),
        (datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 3, 31, tzinfo=UTC)),
    ],
    ids=["good", "expired"],
)
def test_it_tells_its_time(tmp_path: Path, begins: datetime, ends: datetime) -> None:
    file = certificate(tmp_path, "chat.example.org", f"{begins:%Y%m%d%H%M%SZ}", f"{ends:%Y%m%d%H%M%SZ}")
    with serving(file) as (port, asked):
        validity = Certificate("127.0.0.1", port, "chat.example.org").validity()
    assert validity is not None
    assert (validity.begins_at, validity.ends_at) == (begins, ends)
    assert set(asked) == {"chat.example.org"}


def test_it_is_looked_at_once_an_hour(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    file = certificate(tmp_path, "a.example", f"{now:%Y%m%d%H%M%SZ}", f"{now + timedelta(days=9):%Y%m%d%H%M%SZ}")
    with serving(file) as (port, asked):
        looked_at = Certificate("127.0.0.1", port, "a.example")
        assert looked_at.validity() == looked_at.validity()
    assert len(asked) == 2  # the two handshakes of one look


def test_a_server_that_is_away_is_no_error() -> None:
    assert Certificate("127.0.0.1", free_port(), "a.example").validity() is None
    assert Certificate("no.such.name.invalid", 443, "a.example").validity() is None
