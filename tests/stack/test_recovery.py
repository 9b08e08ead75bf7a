"""A crash of any one container mends itself; meanwhile /readyz names it, and what was acknowledged is still there."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.stack.conftest import SERVICES, Appliance

pytestmark = pytest.mark.stack


def _crash(appliance: Appliance, service: str) -> None:
    """SIGKILL to the container's first process, as the kernel does when memory runs out.

    Not `docker kill`: Docker takes that for the operator's wish and does not start the container again.
    """
    os.kill(appliance.containers()[service]["State"]["Pid"], signal.SIGKILL)


def _crash_until_named(appliance: Appliance, service: str) -> bool:
    """Crashes it; again, at most 5 times, if it was back before anybody could notice (Chroma takes a second)."""
    for _ in range(5):
        _crash(appliance, service)
        deadline = time.monotonic() + 8
        while time.monotonic() < deadline:
            status, body = appliance.readyz()
            if status == 503 and body["checks"][service]["ok"] is False:
                return True
        appliance.wait_healthy()
    return False


@pytest.mark.parametrize("service", sorted(SERVICES - {"caddy", "proxy", "worker"}))
def test_a_crashed_dependency_is_named_and_comes_back(appliance: Appliance, service: str) -> None:
    appliance.wait_healthy()
    conversation = appliance.chat(f"Before the crash of {service}.")["conversation_id"]
    before = appliance.messages(conversation)
    restarts = appliance.containers()[service]["RestartCount"]
    assert _crash_until_named(appliance, service), f"/readyz never named {service}"
    print(f"{service}: healthy again after {appliance.wait_healthy():.1f} s")
    assert appliance.containers()[service]["RestartCount"] > restarts
    assert appliance.messages(conversation) == before
    assert appliance.chat("Still there?", conversation_id=conversation)["answer"].strip()


@pytest.mark.parametrize("service", ["caddy", "proxy"])
def test_a_crash_on_the_way_in_comes_back_with_everything(appliance: Appliance, service: str) -> None:
    appliance.wait_healthy()
    conversation = appliance.chat(f"Before the crash of {service}.")["conversation_id"]
    before = appliance.messages(conversation)
    _crash(appliance, service)
    time.sleep(0.2)
    print(f"{service}: healthy again after {appliance.wait_healthy():.1f} s")
    assert appliance.messages(conversation) == before
