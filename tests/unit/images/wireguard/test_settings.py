"""The container's environment."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from images.wireguard.vpn.refusal import RefusedError
from images.wireguard.vpn.settings import Settings


def test_nothing_set_means_the_defaults() -> None:
    assert Settings.read({}) == Settings()
    assert Settings.read({"WG_SUBNET": "", "WG_INTERNET": "off"}) == Settings()
    assert Settings().server == (IPv4Address("10.13.13.1"), IPv6Address("fd13:13:13::1"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("WG_SUBNET", "10.13.13.1/24"), ("WG_SUBNET6", "10.0.0.0/8"), ("WG_MTU", "big"), ("WG_INTERNET", "yes")],
)
def test_a_bad_value_names_variable_and_value(name: str, value: str) -> None:
    with pytest.raises(RefusedError) as caught:
        Settings.read({name: value})
    assert f"{name}={value}" in str(caught.value)


def test_both_families_are_numbered_alike() -> None:
    wide = Settings.read({"WG_SUBNET": "10.0.0.0/16", "WG_SUBNET6": "fd00:1::/64"})
    assert wide.addresses(258) == (IPv4Address("10.0.1.2"), IPv6Address("fd00:1::102"))


@pytest.mark.parametrize("number", [0, 255, -1])
def test_a_number_that_a_network_does_not_have_is_refused(number: int) -> None:
    with pytest.raises(RefusedError) as caught:
        Settings().addresses(number)
    assert caught.value.id == "wireguard.subnet_too_small"


def test_the_broadcast_address_is_nobodys() -> None:
    assert Settings().last_number == 254
    assert str(Settings().addresses(254)[0]) == "10.13.13.254"
