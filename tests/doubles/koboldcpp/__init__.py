"""A protocol double of koboldcpp's HTTP server: real sockets, its real quirks, no model.

Use it in a test::

    with KoboldcppDouble(version="1.76", reply=["Hel", "lo"]) as engine:
        requests.post(engine.url + "/api/v1/generate", json={"prompt": "Hi", "max_length": 8})
        assert engine.requests[-1].json["prompt"] == "Hi"

or as a program, from the repository's root: ``python -m tests.doubles.koboldcpp --version 1.76 --port 0``,
which prints ``listening on http://127.0.0.1:PORT`` once it is ready.

The quirks are on purpose: they are what an adapter has to live with. Where versions differ, `dialects` says how.
"""

from .dialects import DIALECTS, Dialect
from .faults import Fault
from .received import GenerationParameters, RecordedRequest
from .server import KoboldcppDouble
from .slot import Generation, Reply, Slot, StopReason
from .tokenizer import Tokenizer

__all__ = [
    "DIALECTS",
    "Dialect",
    "Fault",
    "Generation",
    "GenerationParameters",
    "KoboldcppDouble",
    "RecordedRequest",
    "Reply",
    "Slot",
    "StopReason",
    "Tokenizer",
]
