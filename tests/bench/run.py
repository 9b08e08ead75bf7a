"""make bench [ONLY=name]: each benchmark in turn, figures on stdout. None of them is a test."""

from __future__ import annotations

import os
import sys

from tests.bench import (
    cancel,
    console,
    embedding_backends,
    embeddings,
    fairness,
    first,
    fit,
    footprint,
    latency,
    prefix,
    streams,
    throughput,
    visitors,
    widget,
)
from tests.bench.composed import archives, attacks, faults, load
from tests.bench.knowledge import ingestion, material, quality, speed

BENCHMARKS = {
    "footprint": footprint.run,
    "latency": latency.run,
    "throughput": throughput.run,
    "streams": streams.run,
    "visitors": visitors.run,
    "prefix": prefix.run,
    "first": first.run,
    "cancel": cancel.run,
    "fairness": fairness.run,
    "embeddings": embeddings.run,
    "backends": embedding_backends.run,
    "widget": widget.run,
    "console": console.run,
    "material": material.run,
    "knowledge": quality.run,
    "ingestion": ingestion.run,
    "retrieval": speed.run,
    "fit": fit.run,
}
# These bring up an appliance of their own with Docker, as root, for a quarter of an hour and longer: by name only.
ON_REQUEST = {"faults": faults.run, "load": load.run, "attacks": attacks.run, "backup": archives.run}


def main() -> int:
    only = os.environ.get("ONLY")
    known = {**BENCHMARKS, **ON_REQUEST}
    if only and only not in known:
        print(f"ONLY={only}: there are {', '.join(known)}", file=sys.stderr)
        return 2
    for name, run in known.items():
        if only == name or (not only and name in BENCHMARKS):
            print(f"== {name}")
            run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
