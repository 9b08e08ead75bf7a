"""What `make doctor` says of the running appliance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.lib import backup_store, compose, examine, models, observed, switch
from scripts.lib.edge import Edge
from scripts.lib.findings import Finding
from scripts.lib.observed import Running
from scripts.lib.settings import Settings

WELL = Running("mongo", "running", "healthy", 0, False, 0, 60.0, 100, 1000, "")


def _ids(found: Any) -> list[str]:
    findings: list[Finding] = list(found)
    assert all(finding.hint for finding in findings)
    return [finding.id for finding in findings]


def test_a_healthy_container_needs_no_words() -> None:
    assert _ids(examine.judge_containers([WELL], ["mongo"])) == []


@pytest.mark.parametrize(
    ("finding", "changes"),
    [
        ("service.stopped", {"state": "exited", "exit_code": 1}),
        ("service.stopped", {"state": "restarting", "health": ""}),
        ("service.unhealthy", {"health": "unhealthy", "last_check": "no answer"}),
        ("service.starting", {"health": "starting"}),
        ("service.oom_killed", {"oom_killed": True}),
        ("service.memory_nearly_full", {"memory": 950}),
        ("service.restarting", {"restarts": 3}),
    ],
)
def test_container_finding(finding: str, changes: dict[str, Any]) -> None:
    assert _ids(examine.judge_containers([replace(WELL, **changes)], ["mongo"])) == [finding]


def test_a_service_without_a_container_is_named() -> None:
    (finding,) = examine.judge_containers([WELL], ["mongo", "proxy"])
    assert finding.id == "service.missing"
    assert "proxy" in finding.fact


def test_a_memory_finding_names_the_setting_to_raise() -> None:
    (finding,) = examine.judge_containers([replace(WELL, oom_killed=True)], ["mongo"])
    assert "MONGO_MEMORY" in finding.hint


def test_readyz_names_what_is_missing() -> None:
    answer = {"status": "not ready", "checks": {"mongo": {"ok": True}, "chroma": {"ok": False, "reason": "refused"}}}
    (finding,) = examine.judge_readyz(answer)
    assert finding.id == "proxy.not_ready"
    assert "chroma" in finding.fact and "refused" in finding.fact
    assert _ids(examine.judge_readyz(None)) == ["proxy.no_answer"]


def test_a_disk_that_is_nearly_full_is_a_finding_of_its_own() -> None:
    answer = {"checks": {"mongo": {"ok": False, "reason": "its disk is nearly full, nothing new is stored"}}}
    (finding,) = examine.judge_readyz(answer)
    assert finding.id == "storage.full"
    assert "512 MiB" in finding.hint and "make prune" in finding.hint and "by itself" in finding.hint


def test_of_an_engine_elsewhere_there_is_no_log_here_to_look_into() -> None:
    answer = {"checks": {"engine": {"ok": False, "reason": "no answer within 2 s"}, "chroma": {"ok": False}}}
    engine, chroma = examine.judge_readyz(answer, "http://10.0.0.5:8000")
    assert "http://10.0.0.5:8000" in engine.hint and "make logs" not in engine.hint
    assert "make logs SERVICE=chroma" in chroma.hint


@pytest.mark.parametrize("domain", ["localhost", "chat.example.org"])
def test_tls_trouble_is_told_with_its_reason(domain: str) -> None:
    assert _ids(examine.judge_tls(Edge(domain, 443), None)) == []
    (finding,) = examine.judge_tls(Edge(domain, 443), "certificate has expired")
    assert finding.id == "tls.not_ready"
    assert "expired" in finding.fact and finding.hint


def test_settings_that_wait_for_make_up_are_pointed_at(wanted: Callable[..., Settings]) -> None:
    file = "SmolLM2-135M-Instruct.Q4_1.gguf"
    values = {"MODEL_NAME": "smollm2-135m-instruct", "MODEL_FILE": file, "CADDY_SITE": "localhost"}
    assert _ids(examine.judge_applied(wanted(), values)) == []
    assert _ids(examine.judge_applied(wanted(DOMAIN="chat.example.org"), values)) == ["setting.not_applied"]
    assert _ids(examine.judge_applied(wanted(MODEL="other.gguf"), values)) == ["setting.not_applied"]
    assert _ids(examine.judge_applied(wanted(), {})) == []
    assert _ids(examine.judge_applied(wanted(), {**values, "CADDY_SITE": "[2001:db8::1]"})) == ["setting.not_applied"]
    assert _ids(examine.judge_applied(wanted(DOMAIN="2001:db8::1"), {**values, "CADDY_SITE": "[2001:db8::1]"})) == []


def test_another_quantisation_of_the_model_is_another_model(wanted: Callable[..., Settings]) -> None:
    model = next(model for model in models.load_catalog().values() if len(model.files) > 1)
    other = next(name for name in model.files if name != model.quantisation)
    runs = {"MODEL_NAME": model.name, "MODEL_FILE": model.files[other].file}
    assert _ids(examine.judge_applied(wanted(MODEL=f"{model.name}:{other}"), runs)) == []
    assert _ids(examine.judge_applied(wanted(MODEL=f"models/{model.files[other].file}"), runs)) == []
    assert _ids(examine.judge_applied(wanted(MODEL=model.name), runs)) == ["setting.not_applied"]


def test_a_change_of_model_that_was_ended_in_the_middle_is_told(tmp_path: Path) -> None:
    before = tmp_path / "before.env"
    assert not switch.broken_off(before) and _ids(examine.judge_change(False)) == []
    before.touch()
    assert _ids(examine.judge_change(switch.broken_off(before))) == ["model.half_changed"]


@pytest.mark.parametrize(
    ("domain", "port", "url"),
    [
        ("localhost", 443, "https://localhost"),
        ("localhost", 8443, "https://localhost:8443"),
        ("2001:db8::1", 443, "https://[2001:db8::1]"),
    ],
)
def test_the_address_to_give_to_people(domain: str, port: int, url: str) -> None:
    assert Edge(domain, port).url == url


def test_the_first_curl_line_of_a_public_name_needs_no_extra_trust() -> None:
    line = Edge("chat.example.org", 443).curl("kb_x", '{"message": "Hello!"}')
    assert line.startswith("curl https://chat.example.org/api/v1/chat ")
    assert "Bearer kb_x" in line


def test_compose_output_is_read_as_lines_and_as_an_array() -> None:
    assert compose.entries('{"Service": "a"}\n{"Service": "b"}\n') == [{"Service": "a"}, {"Service": "b"}]
    assert compose.entries('[{"Service": "a"}]') == [{"Service": "a"}]
    assert compose.entries("") == []


@pytest.mark.parametrize(("text", "count"), [("0B", 0), ("100KiB", 102400), ("1.5GiB", 3 * 2**29), ("--", 0)])
def test_docker_s_sizes_are_bytes(text: str, count: int) -> None:
    assert observed.bytes_of(text) == count


def test_what_needs_valid_settings_is_not_asked_without_them(
    monkeypatch: pytest.MonkeyPatch, wanted: Callable[..., Settings]
) -> None:
    stack = compose.Compose("chatbot")
    monkeypatch.setattr(compose.Compose, "config", lambda _: {"services": {"caddy": {}}})
    monkeypatch.setattr(observed, "containers", lambda _: [replace(WELL, service="caddy")])
    monkeypatch.setattr(Edge, "save_ca", lambda *_: pytest.fail("asked"))
    for spoilt in ({"DOMAIN": "bad name"}, {"HTTPS_PORT": "many"}):
        # What is said of backups is this folder's own affair: tests/unit/scripts/test_backup_examine.py.
        found = _ids(examine.stack(stack, wanted(**spoilt), {}))
        assert [finding for finding in found if not finding.startswith("backup.")] == []


def test_backups_are_looked_at_too(
    monkeypatch: pytest.MonkeyPatch, wanted: Callable[..., Settings], tmp_path: Path
) -> None:
    monkeypatch.setattr(compose.Compose, "config", lambda _: {"services": {}})
    monkeypatch.setattr(observed, "containers", lambda _: [])
    monkeypatch.setattr(backup_store, "last", lambda: None)
    found = _ids(examine.stack(compose.Compose("chatbot"), wanted(BACKUP_DIR=str(tmp_path)), {}))
    assert "backup.none" in found


def test_a_configuration_that_compose_refuses_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, wanted: Callable[..., Settings]
) -> None:
    monkeypatch.setattr(compose.Compose, "ask", lambda *_, **__: (1, "", "invalid size: potato"))
    assert _ids(examine.stack(compose.Compose("chatbot"), wanted(), {})) == ["compose.invalid"]
