"""Every panel of the dashboard, every alert and every target: on a real Prometheus, after a load run."""

from __future__ import annotations

import json
import math
import subprocess
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from chatproxy.adapters.mongo_minutes import MongoMinutes
from chatproxy.core.measures import Figures, minutes
from chatproxy.core.types import now
from scripts.lib.native import ROOT
from tests.integration.monitoring.conftest import ANSWERED, CANCELLED, REFUSED, Watched

PANELS = json.loads((ROOT / "compose" / "grafana" / "dashboards" / "chatbot.json").read_text())["panels"]
TARGETS = [
    pytest.param(target, id=f"{panel['title']}-{target['refId']}")
    for panel in PANELS
    for target in panel.get("targets", [])
]


@pytest.mark.parametrize("target", TARGETS)
def test_every_panel_shows_data(loaded: Watched, target: dict[str, Any]) -> None:
    expr = target["expr"].replace("$__rate_interval", "10s").replace("$__range", "10m")
    if target["instant"]:
        values = [series["value"][1] for series in loaded.ask("query", query=expr)["result"]]
    else:
        end = time.time()
        found = loaded.ask("query_range", query=expr, start=end - 300, end=end, step=1)["result"]
        values = [value for series in found for _, value in series["values"]]
    assert any(math.isfinite(float(value)) for value in values), (expr, values[:5])


def _sum(watched: Watched, expr: str) -> float:
    (series,) = watched.ask("query", query=f"sum({expr})")["result"]
    return float(series["value"][1])


def test_prometheus_counts_what_the_load_did(loaded: Watched) -> None:
    ends = {end: _sum(loaded, f'chatbot_answers_total{{end="{end}"}}') for end in ("refused", "cancelled", "failed")}
    assert ends == {"refused": REFUSED, "cancelled": CANCELLED, "failed": 0}
    assert _sum(loaded, 'chatbot_answers_total{end=~"stop|length"}') == ANSWERED
    assert _sum(loaded, "chatbot_first_token_seconds_count") == ANSWERED + CANCELLED
    assert 0 < _sum(loaded, 'chatbot_tokens_total{kind="completion"}') <= 12 * ANSWERED + 512
    assert _sum(loaded, "chatbot_knowledge_documents_total") == 1
    assert _sum(loaded, 'chatbot_embeddings_texts_total{kind="embed"}') > 0


def test_every_target_is_up_and_every_rule_can_be_evaluated(loaded: Watched) -> None:
    health = {each["labels"]["job"]: each["health"] for each in loaded.ask("targets")["activeTargets"]}
    assert health == dict.fromkeys(("proxy", "worker", "embeddings", "prometheus"), "up")
    rules = loaded.ask("rules")["groups"][0]["rules"]
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []


def test_on_a_well_appliance_no_alert_is_pending_or_fires(loaded: Watched) -> None:
    machines = {"DiskFull", "MemoryShort"}  # that is the machine's affair on which the tests run
    assert {alert["labels"]["alertname"] for alert in loaded.ask("alerts")["alerts"]} <= machines


@pytest.mark.parametrize("job", ["proxy", "worker", "embeddings"])
def test_promtool_finds_nothing_wrong_with_the_pages(loaded: Watched, tools: Path, job: str) -> None:
    page = loaded.page(job)
    words = [str(tools / "promtool"), "check", "metrics"]
    done = subprocess.run(words, input=page, capture_output=True, text=True, check=False)
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("chatbot_")]
    assert complaints == []
    assert done.returncode in (0, 3)  # 3: it would name the library's own process_... differently


def test_nobody_can_be_told_from_the_pages(loaded: Watched) -> None:
    text = "".join(loaded.page(job) for job in ("proxy", "worker", "embeddings"))
    key_id = loaded.key.split("_")[1][:8]
    for secret in (loaded.key, key_id, "127.0.0.1", "lighthouse", "handbook", "Count to"):
        assert secret not in text


def test_metrics_are_not_on_the_public_listener(loaded: Watched) -> None:
    assert requests.get(f"{loaded.stack.proxy_url}/metrics", timeout=10).status_code == 404


def test_a_killed_engine_is_an_alert(loaded: Watched) -> None:
    loaded.stack.stop("engine", kill=True)
    try:
        end = time.monotonic() + 20
        names: set[str] = set()
        while "EngineDown" not in names:
            assert time.monotonic() < end, names
            time.sleep(0.5)
            names = {alert["labels"]["alertname"] for alert in loaded.ask("alerts")["alerts"]}
        assert _sum(loaded, "chatbot_engine_up") == 0
    finally:
        loaded.stack.start("engine")


def test_the_minutes_are_complete_once_the_proxy_has_ended(loaded: Watched) -> None:
    """Last, since it ends it: what was counted within the last ten seconds is written on the way out."""
    begun = time.monotonic()
    loaded.stack.stop("proxy")
    assert time.monotonic() - begun < 10
    whole = Figures()
    for point in minutes(MongoMinutes(loaded.database()), now() - timedelta(minutes=30), now() + timedelta(minutes=1)):
        whole = whole.plus(point.figures)
    assert (whole.answers, whole.refused, whole.cancelled, whole.failed) == (ANSWERED, REFUSED, CANCELLED, 0)
    assert sum(whole.first_token) == ANSWERED + CANCELLED
    assert whole.requests >= ANSWERED + 3
    assert whole.waiting >= 1
    assert whole.busy_s > 0
    assert whole.completion_tokens > 0
