"""GET /metrics for Prometheus. On the listener of the other routes: only this appliance's own services reach any of it,
and a page on a listener of its own would look well while nobody gets a vector."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from turns import Turns

EMBED, RERANK = "embed", "rerank"


class Measures:
    """What the service has done, and who waits."""

    def __init__(self, turns: Turns) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Queue(turns))
        ProcessCollector(registry=self._registry)
        named = {"labelnames": ("kind",), "registry": self._registry}
        self._calls = Counter("chatbot_embeddings_calls", "Calls that were answered.", **named)
        self._texts = Counter("chatbot_embeddings_texts", "Texts in them.", **named)
        self._tokens = Counter("chatbot_embeddings_tokens", "Tokens that the model read of them.", **named)
        for kind in (EMBED, RERANK):
            # There from the beginning: a rate over a counter that appears with its first event misses that one.
            for counter in (self._calls, self._texts, self._tokens):
                counter.labels(kind)

    def answered(self, kind: str, texts: int, tokens: int) -> None:
        """Count one call."""
        self._calls.labels(kind).inc()
        self._texts.labels(kind).inc(texts)
        self._tokens.labels(kind).inc(tokens)

    def page(self) -> tuple[bytes, str]:
        """The page, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4


class _Queue(Collector):
    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def collect(self):  # type: ignore[no-untyped-def]
        state = self._turns.state()
        yield CounterMetricFamily("chatbot_embeddings_batches", "Batches computed, one at a time.", state.batches)
        yield CounterMetricFamily("chatbot_embeddings_compute_seconds", "Seconds that they took.", state.seconds)
        waiting = GaugeMetricFamily("chatbot_embeddings_waiting", "Batches that wait to be computed.", labels=("kind",))
        waiting.add_metric(("question",), state.questions)
        waiting.add_metric(("reading",), state.readings)
        yield waiting
