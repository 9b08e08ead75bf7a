"""The double as a program: ``python -m tests.doubles.koboldcpp --version 1.76 --port 0``."""

from __future__ import annotations

import argparse
import re
import signal
import threading

from .dialects import DIALECTS
from .faults import Fault, FaultKind
from .server import THREADS, KoboldcppDouble


def main() -> None:
    parser = argparse.ArgumentParser(description="A protocol double of koboldcpp's HTTP server.")
    parser.add_argument("--version", choices=list(DIALECTS), default="1.115.1")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--reply", default="Hello there.", help="cut into words, one token each")
    parser.add_argument("--token-delay", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--first-token-delay", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--first-event-delay", type=float, default=0.35, metavar="SECONDS")
    parser.add_argument("--password")
    parser.add_argument("--context-size", type=int, default=4096, metavar="TOKENS")
    parser.add_argument("--model", default="double")
    parser.add_argument("--multiuser", type=int, default=10)
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--fault", choices=[kind.value for kind in FaultKind])
    options = vars(parser.parse_args())
    fault = options.pop("fault")
    options["reply"] = re.findall(r"\s*\S+", options["reply"])

    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with KoboldcppDouble(**options) as engine:
        engine.fault = Fault(FaultKind(fault)) if fault else None
        print(f"listening on {engine.url}", flush=True)
        stopped.wait()


if __name__ == "__main__":
    main()
