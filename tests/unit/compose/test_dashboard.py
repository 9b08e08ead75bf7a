"""Grafana's dashboard is what Grafana's own types say that one is, complete, and asks nobody but our Prometheus."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from chatproxy.core.measures import ENDS

GRAFANA = Path(__file__).resolve().parents[3] / "compose" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "chatbot.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def _lost(given: Any, kept: Any, where: str = "") -> list[str]:
    """What of `given` is not in `kept`; what was added, as defaults are, does not matter."""
    if isinstance(given, dict) and isinstance(kept, dict):
        missing = [f"{where}/{name}" for name in given if name not in kept]
        return missing + [
            each for name in given if name in kept for each in _lost(given[name], kept[name], f"{where}/{name}")
        ]
    if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        return [
            each
            for number, pair in enumerate(zip(given, kept, strict=True))
            for each in _lost(*pair, f"{where}/{number}")
        ]
    return [] if given == kept else [f"{where}: {given!r} became {kept!r}"]


def test_grafanas_own_types_know_every_field() -> None:
    """A name that they do not know, as a mistyped one, would be lost on the way through them; and by Grafana."""
    register_default_plugins()
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(DASHBOARD)))
    assert _lost(DASHBOARD, again) == []


def test_a_mistyped_field_is_noticed() -> None:
    register_default_plugins()
    wrong = json.loads(json.dumps(DASHBOARD))
    panel = next(panel for panel in wrong["panels"] if panel["type"] == "timeseries")
    panel["fieldConfig"]["defaults"]["custom"]["fillOpcity"] = panel["gridPos"]["hight"] = 3
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(wrong)))
    assert {each.rpartition("/")[2] for each in _lost(wrong, again)} == {"fillOpcity", "hight"}


def test_panels_have_ids_of_their_own_and_do_not_lie_on_each_other() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for one, other in combinations([panel["gridPos"] for panel in DASHBOARD["panels"]], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)
        assert one["x"] + one["w"] <= 24


def test_every_panel_says_what_it_shows() -> None:
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"].endswith((".", ";")), panel["title"]
        assert panel["targets"]


def test_all_come_from_the_provisioned_prometheus_and_nothing_from_elsewhere() -> None:
    source = {"type": "prometheus", "uid": "prometheus"}
    for panel in PANELS:
        assert panel["datasource"] == source
        assert all(target["datasource"] == source for target in panel["targets"])
    assert "uid: prometheus" in (GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text()
    assert "://" not in json.dumps(DASHBOARD)


def test_every_end_of_an_answer_has_its_own_colour() -> None:
    panel = next(panel for panel in PANELS if panel["title"] == "Answers by end")
    assert {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]} == set(ENDS)
