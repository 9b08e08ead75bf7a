"""Where a WSGI server starts: reads the environment, once."""

from __future__ import annotations

import logging
import os
import sys
from wsgiref.types import WSGIApplication

from chatproxy.app import by_listener, create_apps
from chatproxy.errors import ConfigurationError
from chatproxy.settings import Settings

_WORKER_BOOT_ERROR = 3  # gunicorn.arbiter.Arbiter.WORKER_BOOT_ERROR


def _start() -> WSGIApplication:
    try:
        settings = Settings.from_environment(os.environ)
        _log_to_stderr(settings.log_level)
        return by_listener(settings, create_apps(settings))
    except ConfigurationError as error:
        print(f"chatproxy cannot start: {error}", file=sys.stderr, flush=True)
        # gunicorn gives up on this code alone. Any other would make it start workers for ever, behind an open port that
        # answers nobody.
        sys.exit(_WORKER_BOOT_ERROR)


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(level=level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # Drivers tell at these levels what they send, which would put conversations into the log.
    for name in ("pymongo", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)


app = _start()
