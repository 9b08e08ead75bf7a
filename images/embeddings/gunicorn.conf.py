"""One process: the model is 90 MB of weights on 350 MB of libraries, and one computation uses all cores anyway."""

import os

# torch's threads spin while they wait for each other. Where the engine computes beside them that takes the very cores
# away that they wait for: one question then takes some 500 ms instead of 40 (2 cores, both busy).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

wsgi_app = "serve:create_app()"
bind = f"{os.environ.get('HOST', '0.0.0.0')}:{os.environ.get('PORT', '8080')}"  # noqa: S104 - internal network
worker_class = "gthread"
workers = 1
# Those that embed much hold one each; somebody's question must still find one free.
threads = 32
# A big batch on a small VPS is slow, not dead; loading the model on a cold disk likewise.
timeout = 300
graceful_timeout = 30
# gunicorn touches a file to show that it lives; on a read-only file system only memory can hold it.
worker_tmp_dir = "/dev/shm"  # noqa: S108 - the container's own
control_socket_disable = True
accesslog = None
errorlog = "-"
