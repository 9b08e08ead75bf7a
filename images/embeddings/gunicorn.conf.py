"""One process: the model is 90 MB of weights on 350 MB of libraries, and torch uses all cores anyway."""

import os

wsgi_app = "serve:create_app()"
bind = f"{os.environ.get('HOST', '0.0.0.0')}:{os.environ.get('PORT', '8080')}"  # noqa: S104 - internal network
worker_class = "gthread"
workers = 1
threads = 8
# A big batch on a small VPS is slow, not dead; loading the model on a cold disk likewise.
timeout = 300
graceful_timeout = 30
# gunicorn touches a file to show that it lives; on a read-only file system only memory can hold it.
worker_tmp_dir = "/dev/shm"  # noqa: S108
control_socket_disable = True
accesslog = None
errorlog = "-"
