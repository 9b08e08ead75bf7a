"""make backup on the composed appliance: off-site, by cron, and with services that die while it reads from them."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from tests.stack.conftest import Appliance, docker

pytestmark = pytest.mark.stack


def test_a_copy_goes_off_site_and_the_age_is_shown(appliance: Appliance, tmp_path: Path) -> None:
    appliance.wait_healthy()
    made = appliance.make("backup", f"BACKUP_REMOTE=rclone:{tmp_path}")
    assert made.returncode == 0, made.stdout
    (newest, *_) = json.loads(appliance.make("backups", "JSON=1").stdout)
    copy = tmp_path / Path(newest["path"]).name
    assert copy.read_bytes() == Path(newest["path"]).read_bytes()
    assert newest["remote"] == f"rclone:{tmp_path}"
    assert "s old" in next(line for line in appliance.make("status").stdout.splitlines() if line.startswith("backup"))
    ask = "import urllib.request as r; print(r.urlopen('http://proxy-admin:8081/metrics').read().decode())"
    metrics = appliance.execute("proxy", "python3", "-c", ask).stdout
    (told,) = [line for line in metrics.splitlines() if line.startswith("chatbot_backup_timestamp_seconds ")]
    assert 0 <= time.time() - float(told.split()[1]) < 600


@pytest.mark.long
@pytest.mark.parametrize("service", ["worker", "mongo"])
def test_a_service_that_dies_in_the_middle_costs_that_backup_alone(appliance: Appliance, service: str) -> None:
    appliance.wait_healthy()
    assert appliance.make("backup", "BACKUP_KEEP=all").returncode == 0
    folder = appliance.folder / ".appliance" / "backups"
    before = {path.name: path.read_bytes() for path in folder.glob("*.tar")}
    outputs: list[tuple[int, str]] = []

    def back_up() -> None:
        done = appliance.make("backup", "BACKUP_KEEP=all")
        outputs.append((done.returncode, done.stdout))

    running = threading.Thread(target=back_up)
    running.start()
    until = time.monotonic() + 60
    while not list(folder.glob(".*.part")) and time.monotonic() < until:
        time.sleep(0.02)
    docker("kill", appliance.containers()[service]["Id"])
    running.join(120)
    try:
        ((status, said),) = outputs
        assert status == 1, said
        assert "error backup." in said and "  -> " in said
        assert {path.name: path.read_bytes() for path in folder.glob("*.tar")} == before
        assert not list(folder.glob(".*.part"))
        refused = appliance.make("backup")
        assert refused.returncode == 1 and f"backup.not_running: {service} is exited" in refused.stdout
        doctor = appliance.make("doctor").stdout
        assert "backup.failed" in doctor
    finally:
        assert appliance.make("up", SOURCES="packages").returncode == 0
    appliance.wait_healthy()
    assert appliance.make("backup").returncode == 0
    assert appliance.make("backups", "CHECK=1").returncode == 0
