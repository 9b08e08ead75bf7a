"""The rules as text, the gate's ports, and what WG_INTERNET opens."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from images.wireguard.vpn import firewall, gate
from images.wireguard.vpn.settings import Settings

CLOSED = firewall.rules(Settings(), "eth1")
OPEN = firewall.rules(replace(Settings(), internet=True), "eth1")
CADDYFILE = (Path(gate.__file__).parents[1] / "Caddyfile").read_text()


def _chain(text: str, name: str) -> list[str]:
    found = re.search(rf"chain {name} {{\n(.*?)\n    }}", text, re.DOTALL)
    assert found
    return [line.strip() for line in found[1].splitlines()]


def test_the_tunnel_reaches_the_gates_ports_and_an_echo_and_is_dropped_otherwise() -> None:
    rules = _chain(CLOSED, "input")
    assert "policy drop" in rules[0]
    inside = [rule for rule in rules if rule.startswith('iifname "wg0"')]
    assert inside == [
        'iifname "wg0" ip daddr 10.13.13.1 tcp dport { 80, 3000, 5001, 9090 } accept',
        'iifname "wg0" ip6 daddr fd13:13:13::1 tcp dport { 80, 3000, 5001, 9090 } accept',
        'iifname "wg0" ip daddr 10.13.13.1 icmp type echo-request accept',
        'iifname "wg0" ip6 daddr fd13:13:13::1 icmpv6 type echo-request accept',
        'iifname "wg0" drop',
    ]


def test_other_interfaces_reach_wireguards_port_alone() -> None:
    rules = _chain(CLOSED, "input")[1:]
    rest = [rule for rule in rules if not rule.startswith(('iifname "wg0"', 'iifname "lo"', "ct state", "icmpv6"))]
    assert rest == ['iifname "eth1" udp dport 51820 accept']


def test_nothing_is_forwarded_unless_the_operator_wants_it() -> None:
    assert _chain(CLOSED, "forward") == ["type filter hook forward priority filter; policy drop;"]
    assert "masquerade" not in CLOSED


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "10.1.2.3", "172.17.0.1", "192.168.0.1", "100.100.100.200", "127.0.0.1", "224.0.0.1"]
)
def test_an_opened_way_never_leads_to_private_networks_or_the_metadata_service(address: str) -> None:
    (rule,) = [rule for rule in _chain(OPEN, "forward") if "ip daddr" in rule]
    assert rule.startswith('iifname "wg0" oifname "eth1" ip daddr != {') and rule.endswith("accept")
    refused = map(IPv4Network, re.findall(r"[\d.]+/\d+", rule))
    assert any(IPv4Address(address) in network for network in refused)


def test_an_opened_way_leads_out_and_only_answers_come_back() -> None:
    ways = _chain(OPEN, "forward")
    assert "policy drop" in ways[0]
    assert ways[1] == 'iifname "eth1" oifname "wg0" ct state established,related accept'
    assert "ip6 daddr 2000::/3" in ways[3]
    assert len(ways) == 4
    assert _chain(OPEN, "postrouting")[1:] == [
        'oifname "eth1" ip saddr 10.13.13.0/24 masquerade',
        'oifname "eth1" ip6 saddr fd13:13:13::/64 masquerade',
    ]


def test_only_our_own_table_is_replaced_and_in_one_step() -> None:
    for text in (CLOSED, OPEN):
        assert text.startswith("table inet gate {}\ndelete table inet gate\ntable inet gate {\n")
        assert "flush" not in text and text.count("{") == text.count("}")


def test_the_firewall_and_the_gate_know_the_same_ports() -> None:
    assert set(gate.PORTS) == {int(port) for port in re.findall(r"^http://:(\d+) {", CADDYFILE, re.MULTILINE)}


def test_the_gate_binds_the_tunnels_addresses_alone_and_knows_nothing_else() -> None:
    assert re.findall(r"^\tbind (.+)$", CADDYFILE, re.MULTILINE) == ["{$GATE_IPV4} {$GATE_IPV6}"]
    given = gate.environment(Settings())
    assert (given["GATE_IPV4"], given["GATE_IPV6"]) == ("10.13.13.1", "fd13:13:13::1")
    assert set(re.findall(r"{\$(\w+)}", CADDYFILE)) <= set(given)
    assert not [name for name in given if name.startswith("WG_")]
