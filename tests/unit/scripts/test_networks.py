"""Subnets and endpoints of WireGuard, taken apart and put together."""

from __future__ import annotations

import pytest

from scripts.lib import networks


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("vpn.example.org", ("vpn.example.org", None)),
        ("vpn.example.org:443", ("vpn.example.org", 443)),
        ("203.0.113.5:51820", ("203.0.113.5", 51820)),
        ("2001:db8::1", ("2001:db8::1", None)),
        ("[2001:db8::1]:51820", ("2001:db8::1", 51820)),
        ("[2001:db8::1]", ("2001:db8::1", None)),
    ],
)
def test_an_endpoint_is_a_host_with_or_without_a_port(text: str, parts: tuple[str, int | None]) -> None:
    assert networks.split(text) == parts
    assert networks.split(networks.join(parts[0], parts[1] or 51820)) == (parts[0], parts[1] or 51820)


@pytest.mark.parametrize("text", ["", "a b", "a.org:", "[10.0.0.1]", "1.2.3", "-a.org", "a.org\n", "a.org;PostUp=x"])
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        networks.split(text)


def test_networks_overlap_within_one_family_alone() -> None:
    routes = ("10.13.0.0/16", "10.14.0.0/16", "10.13.13.128/25", "fd13::/16")
    assert networks.overlapping("10.13.13.0/24", routes) == ["10.13.0.0/16", "10.13.13.128/25"]
    assert networks.overlapping("fd13:13:13::/64", routes) == ["fd13::/16"]
