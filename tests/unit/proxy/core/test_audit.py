"""The record of acts: one line each, stored where it can be, never filled by strangers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chatproxy.core.audit import NOBODY, Audit
from tests.unit.proxy.admins import MemoryAudit


def test_an_act_is_stored_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    store = MemoryAudit()
    Audit(store).note("anna", "10.13.13.2", "key.revoke", "kb_1")
    act = store.acts[0]
    assert (act.actor, act.address, act.what, act.subject, act.outcome) == (
        *("anna", "10.13.13.2", "key.revoke", "kb_1", "done"),
    )
    assert "key.revoke kb_1 by=anna from=10.13.13.2 outcome=done" in caplog.text


def test_an_act_is_not_lost_while_the_store_is_away(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryAudit()
    store.away = True
    Audit(store).note("anna", "10.13.13.2", "key.revoke", "kb_1")
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "not stored: key.revoke kb_1 by=anna outcome=done" in line


def test_a_subject_is_one_line_and_no_book(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    store = MemoryAudit()
    Audit(store).note("anna", "", "source.add", "a\nkey.revoke by=root\x1b[2J\u2028" + "x" * 1000)
    assert store.acts[0].subject.startswith("a key.revoke by=root [2J ") and len(store.acts[0].subject) == 200
    assert all("\n" not in record.getMessage() for record in caplog.records)


def test_what_other_sites_send_leaves_room_for_wrong_passwords() -> None:
    store = MemoryAudit()
    audit = Audit(store)
    for _ in range(300):
        audit.note(NOBODY, "10.13.13.9", "log-in", outcome="not_from_this_page")
    audit.note(NOBODY, "10.13.13.9", "log-in", outcome="wrong_password")
    assert store.acts[-1].outcome == "wrong_password"


def test_strangers_do_not_fill_the_store(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    moment, store = [datetime(2026, 5, 17, 9, 30, tzinfo=UTC)], MemoryAudit()
    audit = Audit(store, clock=lambda: moment[0])
    for _ in range(500):
        audit.note(NOBODY, "10.13.13.9", "log-in", outcome="wrong_password")
    assert len(store.acts) == 200
    assert len(caplog.records) == 500
    audit.note("anna", "10.13.13.2", "log-in")
    moment[0] += timedelta(hours=1)
    audit.note(NOBODY, "10.13.13.9", "log-in", outcome="wrong_password")
    assert len(store.acts) == 202
