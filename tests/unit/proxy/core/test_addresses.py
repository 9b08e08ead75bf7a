"""What counts as one address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatproxy.core.addresses import counted_as


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
        ("unknown", ""),
        ("192.0.2.7:443", "192.0.2.7"),
        ("[2001:db8:1:2::9]:443", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::9]", "2001:db8:1:2::/64"),
        ("unknown:443", ""),
        ('{"$gt": ""}', ""),
    ],
)
def test_counted_as(address: str, counted: str) -> None:
    assert counted_as(address) == counted


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_a_64_is_one_address(address: object, rest: int) -> None:
    from ipaddress import IPv6Address

    assert isinstance(address, IPv6Address)
    neighbour = IPv6Address(int(address) >> 64 << 64 | rest)
    if not (address.ipv4_mapped or neighbour.ipv4_mapped):
        assert counted_as(str(address)) == counted_as(str(neighbour))
