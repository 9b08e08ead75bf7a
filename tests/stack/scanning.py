"""What nmap finds of this machine from outside, and what of it is the appliance's."""

from __future__ import annotations

import re
import subprocess

from scripts.lib import network_facts
from tests.stack.conftest import Appliance


def scan(command: list[str]) -> set[str]:
    """Ports that are open, or that may be (UDP without an answer)."""
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    return set(re.findall(r"(\d+)/open(?:\|filtered)?/", said))


def foreign(appliance: Appliance, port: str) -> bool:
    """Whether something else on this machine has the port."""
    published = {
        binding["HostPort"]
        for container in appliance.containers().values()
        for bindings in (container["NetworkSettings"]["Ports"] or {}).values()
        for binding in bindings or []
    }
    return port not in published and port in {**network_facts.listening(), **network_facts.bound()}
