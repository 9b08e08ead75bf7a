"""gunicorn's settings: `gunicorn --config gunicorn.conf.py`.

One process, since the queue in front of the engine is in its memory; a thread for every request that waits or
generates, and some in reserve, so that short requests (/healthz above all) never stand behind long ones.
"""

import os
import sys

from chatproxy.errors import ConfigurationError
from chatproxy.settings import Settings

try:
    _settings = Settings.from_environment(os.environ)
except ConfigurationError as error:
    # Here and not in the worker, which would only be reported as "failed to boot".
    sys.exit(f"chatproxy cannot start: {error}")

_RESERVE = 16
# Seconds that a thread may keep the interpreter while others want it. Each of those wakes after this time only to ask
# for it: at Python's 5 ms, hundreds of streams spend more on asking than on tokens. What waits for a socket, and nearly
# all here does, gives it up at once anyway.
sys.setswitchinterval(0.05)

wsgi_app = "chatproxy.wsgi:app"
# The console and the engine's own page listen where only the VPN's gate reaches them.
_listeners = (_settings.listen, _settings.console_listen, _settings.engine_ui_listen)
bind = [f"{host}:{port}" for host, port in filter(None, _listeners)]
workers = 1
worker_class = "gthread"
threads = _settings.stream_cap + _RESERVE
# Every open connection counts, idle ones that are kept alive too.
worker_connections = 4 * threads
keepalive = 150  # longer than Caddy's two minutes, so that it never writes into a connection we are closing
timeout = 60  # the worker's heartbeat, not a request's length: that has the engine's time-outs
graceful_timeout = 180  # an answer from a CPU takes minutes; compose's stop_grace_period must be longer
worker_tmp_dir = "/dev/shm"  # noqa: S108  the heartbeat file; on a disk that is slow, the worker would be taken for dead
control_socket_disable = True  # nothing in here is to be controlled, and the file system is read-only
loglevel = "warning" if _settings.log_level == "info" else _settings.log_level
