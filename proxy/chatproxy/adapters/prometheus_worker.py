"""The worker's page for Prometheus, on a listener of its own: the worker has no other that anybody reaches."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from chatproxy.core.sources import Job, JobState
from chatproxy.core.working import Worked
from chatproxy.errors import ConfigurationError, StorageUnavailable

_log = logging.getLogger(__name__)
_OPEN: tuple[JobState, ...] = ("waiting", "running", "paused")
_ENDED: tuple[JobState, ...] = ("done", "failed", "cancelled")


class WorkerMetrics:
    """What the worker has done, and what waits for it."""

    def __init__(self, worked: Callable[[], Worked], open_jobs: Callable[[], Sequence[Job]]) -> None:
        """`open_jobs` may raise StorageUnavailable: then the page does not tell of them."""
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(_Work(worked, open_jobs))
        ProcessCollector(registry=self.registry)

    def listen(self, host: str, port: int) -> None:
        """Answer there, on threads that end with the process. Raises ConfigurationError."""
        try:
            start_http_server(port, host, self.registry)
        except OSError as error:
            raise ConfigurationError(f"METRICS_LISTEN={host}:{port} cannot be used: {error.strerror}") from None


class _Work(Collector):
    def __init__(self, worked: Callable[[], Worked], open_jobs: Callable[[], Sequence[Job]]) -> None:
        self._worked, self._open_jobs = worked, open_jobs

    def describe(self) -> Iterator[Metric]:
        """Nothing, so that registering it does not look already."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        try:
            states = Counter(job.state for job in self._open_jobs())
        except StorageUnavailable as error:
            _log.warning("the jobs cannot be counted: %s", error)
        else:
            jobs = GaugeMetricFamily("chatbot_knowledge_jobs", "Jobs that are not done.", labels=("state",))
            for state in _OPEN:
                jobs.add_metric((state,), states[state])
            yield jobs
        worked = self._worked()
        ended = CounterMetricFamily("chatbot_knowledge_jobs_ended", "Jobs by how they ended.", labels=("state",))
        for state in _ENDED:
            ended.add_metric((state,), worked.jobs.get(state, 0))
        yield ended
        yield CounterMetricFamily("chatbot_knowledge_documents", "Documents read, new or changed.", worked.documents)
        yield CounterMetricFamily("chatbot_knowledge_chunks", "Chunks made of them.", worked.chunks)
        yield CounterMetricFamily("chatbot_knowledge_errors", "Documents that could not be read.", worked.errors)
        yield CounterMetricFamily("chatbot_knowledge_work_seconds", "Seconds at work on jobs.", worked.seconds)
