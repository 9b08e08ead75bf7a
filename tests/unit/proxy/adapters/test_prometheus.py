"""The pages for Prometheus: in its format, complete from the first look on, and honest about what is not known."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from chatproxy.adapters import machine
from chatproxy.adapters.prometheus import ProxyMetrics
from chatproxy.adapters.prometheus_worker import WorkerMetrics
from chatproxy.core.condition import Machine, Observer, Validity
from chatproxy.core.measures import ENDS, Answer
from chatproxy.core.readiness import Readiness
from chatproxy.core.slots import Gate
from chatproxy.core.sources import Job
from chatproxy.core.tally import Tally
from chatproxy.core.working import Worked
from chatproxy.errors import ConfigurationError, StorageUnavailable
from scripts.lib.native import free_port
from tests.unit.proxy.fakes import FakeCheck
from tests.unit.proxy.memory import MemoryBackups

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def _read(page: str) -> Samples:
    families = text_string_to_metric_families(page)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


class Page:
    """A proxy's page over a tally, a gate and whatever surrounds them."""

    def __init__(self) -> None:
        self.tally, self.gate, self.backups = Tally(), Gate(2, 8), MemoryBackups()
        self.checks = [FakeCheck("engine"), FakeCheck("mongo")]
        self.machine: Machine | None = Machine(100, 40, 8, 2)
        self.certificate: Validity | None = Validity(NOON, NOON + timedelta(days=90))

    def samples(self) -> Samples:
        observer = Observer(
            'a "model"',
            self.tally,
            self.gate.status,
            Readiness(self.checks),
            self.backups,
            machine=lambda: self.machine,
            certificate=lambda: self.certificate,
        )
        page, content_type = ProxyMetrics(observer.look).render()
        assert content_type.startswith("text/plain; version=0.0.4")
        return _read(page.decode())

    def value(self, name: str, /, **labels: str) -> float | None:
        return self.samples().get((name, frozenset(labels.items())))


def test_answers_are_told_by_end_and_bot() -> None:
    page = Page()
    page.tally.answered(Answer("stop", "mira", 0.2, 1.2, 100, 20))
    page.tally.answered(Answer("failed", "mira"))
    assert page.value("chatbot_answers_total", end="stop", bot="mira") == 1
    assert page.value("chatbot_answers_total", end="failed", bot="mira") == 1
    assert page.value("chatbot_tokens_total", kind="prompt") == 100
    assert page.value("chatbot_tokens_total", kind="completion") == 20


def test_a_histogram_counts_upwards() -> None:
    page = Page()
    for seconds in (0.2, 1.2, 1.4, 999.0):
        page.tally.answered(Answer("stop", "", 0.0, seconds))
    buckets = [
        page.value("chatbot_first_token_seconds_bucket", le=le) for le in ("0.25", "1.0", "1.5", "300.0", "+Inf")
    ]
    assert buckets == [1, 1, 3, 3, 4]
    assert page.value("chatbot_first_token_seconds_sum") == pytest.approx(1001.8)
    assert page.value("chatbot_first_token_seconds_count") == 4


def test_before_the_first_answer_every_end_is_there_as_zero() -> None:
    page = Page()
    assert [page.value("chatbot_answers_total", end=end, bot="") for end in ENDS] == [0] * len(ENDS)
    assert page.value("chatbot_first_token_seconds_count") == 0


def test_the_gate_tells_how_busy_the_engine_is() -> None:
    page = Page()
    for _ in range(5):
        page.gate.enter("key:a")
    told = [
        page.value(f"chatbot_{name}") for name in ("engine_slots", "engine_slots_busy", "queue_waiting", "queue_size")
    ]
    assert told == [2, 2, 3, 8]
    assert (page.value("chatbot_engine_slot_busy_seconds_total") or 0) > 0


def test_dependencies_are_up_or_down_by_name() -> None:
    page = Page()
    page.checks[0].reason = "no answer"
    assert page.value("chatbot_engine_up") == 0
    assert page.value("chatbot_dependency_up", name="engine") == 0
    assert page.value("chatbot_dependency_up", name="mongo") == 1


def test_what_surrounds_the_proxy_is_told() -> None:
    page = Page()
    page.backups.finished_at = NOON
    assert page.value("chatbot_disk_free_bytes") == 40
    assert page.value("chatbot_memory_available_bytes") == 2
    assert page.value("chatbot_certificate_start_timestamp_seconds") == NOON.timestamp()
    assert page.value("chatbot_certificate_expiry_timestamp_seconds") == NOON.timestamp() + 90 * 86400
    assert page.value("chatbot_backup_timestamp_seconds") == NOON.timestamp()
    assert page.value("chatbot_model_info", model='a "model"') == 1


def test_no_backup_is_zero_and_what_is_not_known_is_not_told() -> None:
    page = Page()
    assert page.value("chatbot_backup_timestamp_seconds") == 0
    page.backups.down, page.machine, page.certificate = True, None, None
    names = {name for name, _ in page.samples()}
    assert not {name for name in names if name.startswith(("chatbot_backup", "chatbot_disk", "chatbot_certificate"))}


def test_names_keep_to_prometheus_conventions() -> None:
    """https://prometheus.io/docs/practices/naming/: one prefix, base units, counters end in _total."""
    tally = Tally()
    tally.requested("chat", 200)
    observer = Observer("m", tally, Gate(1, 1).status, Readiness([FakeCheck("engine")]), MemoryBackups())
    page, _ = ProxyMetrics(observer.look).render()
    for family in text_string_to_metric_families(page.decode()):
        assert family.name.startswith(("chatbot_", "process_"))
        assert not family.name.endswith(("_ms", "_minutes", "_mb", "_percent"))
        assert (family.type == "counter") == any(sample.name.endswith("_total") for sample in family.samples)
        assert family.documentation


# --- the worker -----------------------------------------------------------------------------------------------------


def _jobs(*states: str) -> list[Job]:
    return [Job(str(number), "sync", "", NOON, state) for number, state in enumerate(states)]  # type: ignore[arg-type]


def test_the_worker_tells_on_a_listener_of_its_own() -> None:
    port = free_port()
    worked = Worked(7, 40, 1, 12.5, {"done": 2, "failed": 1})
    WorkerMetrics(lambda: worked, lambda: _jobs("waiting", "running", "waiting")).listen("127.0.0.1", port)
    samples = _read(requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text)
    told = {name: value for (name, labels), value in samples.items() if name.startswith("chatbot_") and not labels}
    assert told == {
        "chatbot_knowledge_documents_total": 7,
        "chatbot_knowledge_chunks_total": 40,
        "chatbot_knowledge_errors_total": 1,
        "chatbot_knowledge_work_seconds_total": 12.5,
    }
    states = {
        dict(labels)["state"]: value for (name, labels), value in samples.items() if name == "chatbot_knowledge_jobs"
    }
    assert states == {"waiting": 2, "running": 1, "paused": 0}
    assert samples["chatbot_knowledge_jobs_ended_total", frozenset({("state", "failed")})] == 1


def test_while_the_database_is_away_the_worker_tells_the_rest() -> None:
    def away() -> list[Job]:
        raise StorageUnavailable("away")

    port = free_port()
    WorkerMetrics(lambda: Worked(documents=3), away).listen("127.0.0.1", port)
    page = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
    assert "chatbot_knowledge_documents_total 3.0" in page
    assert "chatbot_knowledge_jobs{" not in page


def test_a_listener_that_cannot_be_had_is_named() -> None:
    port = free_port()
    metrics = WorkerMetrics(Worked, list)
    metrics.listen("127.0.0.1", port)
    with pytest.raises(ConfigurationError, match=f"METRICS_LISTEN=127.0.0.1:{port}"):
        metrics.listen("127.0.0.1", port)


# --- the machine ----------------------------------------------------------------------------------------------------


def test_disk_and_memory_are_the_machines(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:        8000 kB\nMemFree:  10 kB\nMemAvailable:    2000 kB\n")
    found = machine.look(tmp_path, meminfo)
    assert found is not None
    assert (found.memory_size, found.memory_available) == (8000 * 1024, 2000 * 1024)
    assert 0 < found.disk_free < found.disk_size


def test_a_system_that_does_not_tell_is_no_error(tmp_path: Path) -> None:
    assert machine.look(tmp_path, tmp_path / "none") is None
    assert machine.look(tmp_path / "none") is None
