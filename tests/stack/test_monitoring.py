"""COMPOSE_PROFILES=monitoring: Prometheus comes, asks everybody, publishes nothing, and goes again."""

from __future__ import annotations

import json
import time

import pytest

from tests.stack.conftest import PROJECT, Appliance, docker

pytestmark = pytest.mark.stack

_ASK = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9090/api/v1/targets').read().decode())"


def _health(container: str) -> dict[str, str]:
    answer = json.loads(docker("exec", container, "python3", "-c", _ASK))
    return {each["labels"]["job"]: each["health"] for each in answer["data"]["activeTargets"]}


def test_prometheus_watches_and_goes_when_it_is_not_wished_for_any_more(appliance: Appliance) -> None:
    done = appliance.make("up", "COMPOSE_PROFILES=monitoring")
    assert done.returncode == 0, done.stdout
    # No package archive carries Grafana, and these stacks are made of packages.
    assert "grafana.no_package" in done.stdout
    containers = appliance.containers()
    assert "grafana" not in containers
    watcher = containers["prometheus"]
    try:
        assert watcher["Config"]["User"].split(":")[0] == "10001"
        assert watcher["HostConfig"]["ReadonlyRootfs"] is True
        assert not any((watcher["NetworkSettings"]["Ports"] or {}).values())
        assert set(watcher["NetworkSettings"]["Networks"]) == {f"{PROJECT}_admin", f"{PROJECT}_metrics"}
        expected = dict.fromkeys(("proxy", "worker", "embeddings", "prometheus"), "up")
        end = time.monotonic() + 60
        while _health(watcher["Id"]) != expected:
            assert time.monotonic() < end, _health(watcher["Id"])
            time.sleep(2)
    finally:
        done = appliance.make("up", "COMPOSE_PROFILES=")
    assert done.returncode == 0, done.stdout
    assert "prometheus" not in appliance.containers()
