"""Small writes that nobody waits for: a key's last use, tokens used."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from chatproxy.errors import ChatProxyError

_log = logging.getLogger(__name__)


class Later:
    """Runs jobs one after another on a thread of its own, which starts with the first one.

    When the process ends, the interpreter waits until what was handed over is done (see concurrent.futures). Whoever
    hands over jobs bounds how many wait: they may be as slow as a database that does not answer.
    """

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    def do(self, job: Callable[[], None]) -> None:
        """Never raises and never waits. A job that fails is one line in the log."""
        try:
            self._pool.submit(_run, job)
        except RuntimeError as error:  # the interpreter is ending and takes no more
            _log.warning("not done any more: %s", error)


def _run(job: Callable[[], None]) -> None:
    try:
        job()
    except ChatProxyError as error:
        _log.warning("%s", error)
    except Exception as error:  # nobody looks at the future, so it would be lost
        _log.error("internal_error: %s", type(error).__name__, exc_info=error)
