"""What is measured in Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats/).

Nothing is counted here: the numbers are read when Prometheus asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from chatproxy.core.condition import Condition
from chatproxy.core.measures import ENDS, FIRST_TOKEN_S
from chatproxy.core.tally import Histogram

_BOUNDS = (*map(str, FIRST_TOKEN_S), "+Inf")


class ProxyMetrics:
    """The proxy's page for Prometheus."""

    def __init__(self, look: Callable[[], Condition]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Conditions(look))
        ProcessCollector(registry=self._registry)

    def render(self) -> tuple[bytes, str]:
        """The page, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4


class _Conditions(Collector):
    def __init__(self, look: Callable[[], Condition]) -> None:
        self._look = look

    def describe(self) -> Iterator[Metric]:
        """Nothing, so that registering it does not look already."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        condition = self._look()
        yield from _answers(condition)
        yield from _engine(condition)
        yield from _dependencies(condition)
        yield from _surroundings(condition)


def _answers(condition: Condition) -> Iterator[Metric]:
    totals = condition.totals
    answers = CounterMetricFamily("chatbot_answers", "Questions by how they ended, and bot.", labels=("end", "bot"))
    for end in ENDS:
        # From the beginning: a rate over a counter that appears with its first event misses that one.
        answers.add_metric((end, ""), totals.answers.get((end, ""), 0))
    for (end, bot), count in sorted(totals.answers.items()):
        if bot:
            answers.add_metric((end, bot), count)
    yield answers
    requests = CounterMetricFamily(
        "chatbot_requests", "HTTP requests by family of routes and class of status.", labels=("family", "status")
    )
    for key, count in sorted(totals.requests.items()):
        requests.add_metric(key, count)
    yield requests
    tokens = CounterMetricFamily("chatbot_tokens", "Tokens read (prompt) and written (completion).", labels=("kind",))
    tokens.add_metric(("prompt",), totals.prompt_tokens)
    tokens.add_metric(("completion",), totals.completion_tokens)
    yield tokens
    yield _histogram(
        "chatbot_first_token_seconds", "From the place in the queue to the answer's first token.", totals.first_token
    )
    yield _histogram("chatbot_queue_wait_seconds", "From the place in the queue to the engine.", totals.waited)
    yield CounterMetricFamily(
        "chatbot_visitors", "Visitors of web pages, with their first question of the day.", totals.visitors
    )


def _engine(condition: Condition) -> Iterator[Metric]:
    gate = condition.gate
    model = GaugeMetricFamily("chatbot_model_info", "The loaded model.", labels=("model",))
    model.add_metric((condition.model,), 1)
    yield model
    yield GaugeMetricFamily("chatbot_engine_slots", "Answers that can be written at the same time.", gate.slots)
    yield GaugeMetricFamily("chatbot_engine_slots_busy", "Answers that are being written.", gate.busy)
    yield CounterMetricFamily("chatbot_engine_slot_busy_seconds", "Seconds that slots were taken.", gate.busy_s)
    yield GaugeMetricFamily("chatbot_queue_waiting", "Questions that wait for the engine.", gate.waiting)
    yield GaugeMetricFamily("chatbot_queue_size", "Questions that may wait for the engine.", gate.queue)


def _dependencies(condition: Condition) -> Iterator[Metric]:
    up = GaugeMetricFamily("chatbot_dependency_up", "Whether a service beside the proxy is well.", labels=("name",))
    for name, reason in condition.dependencies.items():
        up.add_metric((name,), reason is None)
    yield up
    if "engine" in condition.dependencies:
        is_up = condition.dependencies["engine"] is None
        yield GaugeMetricFamily("chatbot_engine_up", "Whether an engine answers.", is_up)


def _surroundings(condition: Condition) -> Iterator[Metric]:
    machine = condition.machine
    if machine:
        yield GaugeMetricFamily("chatbot_disk_size_bytes", "The disk that holds the data.", machine.disk_size)
        yield GaugeMetricFamily("chatbot_disk_free_bytes", "What of it is free.", machine.disk_free)
        yield GaugeMetricFamily("chatbot_memory_size_bytes", "The machine's memory.", machine.memory_size)
        yield GaugeMetricFamily("chatbot_memory_available_bytes", "What of it can be had.", machine.memory_available)
    certificate = condition.certificate
    if certificate:
        start, expiry = certificate.begins_at.timestamp(), certificate.ends_at.timestamp()
        name = "chatbot_certificate_{}_timestamp_seconds"
        yield GaugeMetricFamily(name.format("start"), "Since when the certificate that visitors see is good.", start)
        yield GaugeMetricFamily(name.format("expiry"), "When it expires.", expiry)
    if condition.backup:
        moment = condition.backup.finished_at
        yield GaugeMetricFamily(
            "chatbot_backup_timestamp_seconds",
            "When the last backup was finished; 0 = there is none.",
            moment.timestamp() if moment else 0,
        )


def _histogram(name: str, meaning: str, histogram: Histogram) -> HistogramMetricFamily:
    counts = zip(_BOUNDS, accumulate(histogram.counts), strict=True)
    return HistogramMetricFamily(name, meaning, [(bound, count) for bound, count in counts], histogram.sum_s)
