"""The environment of the container, read once. `make up` has checked it; a bad value stops the start all the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

from .refusal import RefusedError

# Inside the container; WG_PORT is what the host publishes it as.
LISTEN_PORT = 51820
INTERFACE = "wg0"


_SUBNET, _SUBNET6 = IPv4Network("10.13.13.0/24"), IPv6Network("fd13:13:13::/64")


@dataclass(frozen=True)
class Settings:
    """What the operator set.

    Attributes:
        subnet: WG_SUBNET; its first host is the server, peers have the others.
        subnet6: WG_SUBNET6, numbered alike.
        mtu: WG_MTU in bytes, for both ends.
        internet: WG_INTERNET: peers may go out to the internet through this machine.
        folder: where keys and peers are kept.
    """

    subnet: IPv4Network = _SUBNET
    subnet6: IPv6Network = _SUBNET6
    mtu: int = 1420
    internet: bool = False
    folder: Path = Path("/var/lib/wireguard")

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """Read the environment.

        Raises:
            RefusedError: a value is not of its kind; the message names variable and value.
        """

        def value(name: str, default: object) -> str:
            return environment.get(name, "").strip() or str(default)

        try:
            name = "WG_SUBNET"
            subnet = IPv4Network(value(name, cls.subnet))
            name = "WG_SUBNET6"
            subnet6 = IPv6Network(value(name, cls.subnet6))
            name = "WG_MTU"
            mtu = int(value(name, cls.mtu))
        except ValueError as error:
            raise RefusedError("setting.invalid", f"{name}={environment[name]}: {error}", f"correct {name}") from None
        internet = value("WG_INTERNET", "off")
        if internet not in ("on", "off"):
            raise RefusedError("setting.invalid", f"WG_INTERNET={internet} is not on or off", "correct WG_INTERNET")
        return cls(subnet, subnet6, mtu, internet == "on", Path(value("WG_STATE", cls.folder)))

    @property
    def last_number(self) -> int:
        """The highest number that a peer can have: that of the last host, the broadcast address left out."""
        return min(self.subnet.num_addresses - 2, self.subnet6.num_addresses - 1)

    def addresses(self, number: int) -> tuple[IPv4Address, IPv6Address]:
        """Both addresses of a number: 1 is the server, peers begin at 2."""
        if not 1 <= number <= self.last_number:
            fact = f"WG_SUBNET={self.subnet} and WG_SUBNET6={self.subnet6} have no address number {number}"
            raise RefusedError("wireguard.subnet_too_small", fact, "set larger ones in .env, then `make up`")
        return self.subnet[number], self.subnet6[number]

    @property
    def server(self) -> tuple[IPv4Address, IPv6Address]:
        return self.addresses(1)
