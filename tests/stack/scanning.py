"""What nmap finds of this machine from outside, and what of it is the appliance's."""

from __future__ import annotations

import re
import subprocess

from scripts.lib import network_facts
from tests.stack import laptops
from tests.stack.conftest import Appliance, docker
from tests.stack.laptops import Laptop

# TCP and UDP.
OURS = ({"80", "443"}, {"443", "51820"})
_UDP = "53,67,69,123,161,443,500,1194,4500,5001,5353,8080,51820"


def from_outside(appliance: Appliance) -> tuple[set[str], set[str]]:
    """TCP and UDP ports of the appliance that may be open to a machine outside (laptops.begin() made the network)."""
    stranger = Laptop("scanner")
    try:
        pid = docker("inspect", stranger.name, "--format", "{{.State.Pid}}").strip()
        enter = ["nsenter", f"--net=/proc/{pid}/ns/net", "nmap", "-n", "-Pn", "-oG", "-", laptops.gateway()]
        tcp = _scan([*enter, "-sS", "-p1-65535", "--min-rate", "3000", "--max-retries", "2"])
        # Slowly: Linux says "closed" about once a second and stays silent otherwise, which looks like an open port.
        udp = _scan([*enter, "-sU", "-p", _UDP, "--scan-delay", "1100ms"])
    finally:
        stranger.remove()
    # What this machine runs beside the appliance is not the appliance's.
    found = [{port for port in ports if not _foreign(appliance, port)} for ports in (tcp, udp)]
    return found[0], found[1]


def _scan(command: list[str]) -> set[str]:
    """Ports that are open, or that may be (UDP without an answer)."""
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    return set(re.findall(r"(\d+)/open(?:\|filtered)?/", said))


def _foreign(appliance: Appliance, port: str) -> bool:
    """Whether something else on this machine has the port."""
    published = {
        binding["HostPort"]
        for container in appliance.containers().values()
        for bindings in (container["NetworkSettings"]["Ports"] or {}).values()
        for binding in bindings or []
    }
    return port not in published and port in {**network_facts.listening(), **network_facts.bound()}
