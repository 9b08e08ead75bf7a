"""make bench [ONLY=name]: each benchmark in turn, figures on stdout. None of them is a test."""

from __future__ import annotations

import os
import sys

from tests.bench import cancel, fairness, footprint, latency, prefix, streams, throughput, widget

BENCHMARKS = {
    "footprint": footprint.run,
    "latency": latency.run,
    "throughput": throughput.run,
    "streams": streams.run,
    "prefix": prefix.run,
    "cancel": cancel.run,
    "fairness": fairness.run,
    "widget": widget.run,
}


def main() -> int:
    only = os.environ.get("ONLY")
    if only and only not in BENCHMARKS:
        print(f"ONLY={only}: there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    for name, run in BENCHMARKS.items():
        if only in (None, "", name):
            print(f"== {name}")
            run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
