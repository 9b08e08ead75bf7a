"""The shipped configuration is what Prometheus takes, each alert fires when it should, and each expression is one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.lib.native import ROOT

HERE = Path(__file__).parent
SHIPPED = ROOT / "compose" / "prometheus"
DASHBOARD = ROOT / "compose" / "grafana" / "dashboards" / "chatbot.json"
RULES: list[dict[str, Any]] = yaml.safe_load((SHIPPED / "rules.yml").read_text())["groups"][0]["rules"]


def _promtool(tools: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(tools / "promtool"), *words], cwd=HERE, capture_output=True, text=True, check=False)


def test_prometheus_takes_the_shipped_configuration(tools: Path) -> None:
    done = _promtool(tools, "check", "config", str(SHIPPED / "prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_when_they_should(tools: Path) -> None:
    done = _promtool(tools, "test", "rules", "alerts.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", [rule["alert"] for rule in RULES])
def test_every_alert_is_tested(rule: str) -> None:
    assert rule in (HERE / "alerts.yml").read_text()


def test_every_alert_says_what_to_do() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "hint"}


def test_every_expression_of_the_dashboard_is_one(tools: Path, tmp_path: Path) -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    found = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    plain = [expr.replace("$__rate_interval", "1m").replace("$__range", "6h") for expr in found]
    assert not any("$" in expr for expr in plain)
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(plain)]
    file = tmp_path / "expressions.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = _promtool(tools, "check", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(found)} rules found" in done.stdout
