"""The record of what was done to the appliance, by whom and from where."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from chatproxy.core.admin_ports import Act, AuditStore
from chatproxy.core.types import Page, now
from chatproxy.errors import ChatProxyError

_log = logging.getLogger("chatproxy.audit")
_LONGEST_SUBJECT = 200  # characters
# Actors that are no admins: where nobody is logged in, and the command line.
NOBODY, OPERATOR = "nobody", "operator"
# Acts of nobody that are stored in an hour, of each outcome: whoever knocks all day does not fill the database, and
# what another site's page sends here by hundreds leaves room for wrong passwords.
_OF_NOBODY = 200


class Audit:
    """Writes down acts, in the database and in the log. Thread-safe."""

    def __init__(self, store: AuditStore, *, clock: Callable[[], datetime] = now) -> None:
        self._store, self._clock = store, clock
        self._lock = threading.Lock()
        self._hour: datetime | None = None
        self._of_nobody: Counter[str] = Counter()

    def note(self, actor: str, address: str, what: str, subject: str = "", *, outcome: str = "done") -> None:
        """Never fails: what has been done is not undone because it could not be written down; the log has it then."""
        subject = "".join(sign if sign.isprintable() else " " for sign in subject)[:_LONGEST_SUBJECT]
        act = Act(self._clock(), actor, address, what, subject, outcome)
        _log.info("%s %s by=%s from=%s outcome=%s", what, subject or "-", actor, address or "-", outcome)
        if actor == NOBODY and not self._is_room(act):
            return
        try:
            self._store.add(act)
        except ChatProxyError as error:
            _log.error("not stored: %s %s by=%s outcome=%s: %s", what, subject or "-", actor, outcome, error)

    def newest(self, count: int, *, cursor: str | None = None, actor: str = "") -> Page[Act]:
        """See AuditStore.newest."""
        return self._store.newest(count, cursor=cursor, actor=actor)

    def _is_room(self, act: Act) -> bool:
        hour = act.at.replace(minute=0, second=0, microsecond=0)
        with self._lock:
            if hour != self._hour:
                self._hour, self._of_nobody = hour, Counter()
            self._of_nobody[act.outcome] += 1
            return self._of_nobody[act.outcome] <= _OF_NOBODY
