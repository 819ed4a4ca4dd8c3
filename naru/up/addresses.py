"""Where the parts listen, and the choice of other ports when defaults are taken. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from naru.up.errors import PortTaken, UpError

IsFree = Callable[[str, int], bool]
PickFree = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Address:
    """`host:port`; `explicit` says that somebody asked for exactly this one."""

    host: str
    port: int
    explicit: bool = False

    @classmethod
    def parse(cls, text: str, *, explicit: bool = False) -> Address:
        """`127.0.0.1:10000` or `[::1]:10000`; port 0 means any free port.

        Raises:
            UpError: the text is not an address.
        """
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise UpError(f"{text!r} is not an address; write host:port, such as 127.0.0.1:10000.")
        return cls(host, int(port), explicit)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def local(self) -> Address:
        """The address by which this machine reaches it (a wildcard becomes loopback)."""
        wildcards = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
        return replace(self, host=wildcards.get(self.host, self.host))

    @property
    def url(self) -> str:
        return f"http://{self.local}"


@dataclass(frozen=True, slots=True)
class Settled:
    """Final addresses by name, and a line for each that had to move."""

    addresses: Mapping[str, Address]
    notes: tuple[str, ...]


def settle(wanted: Mapping[str, Address], is_free: IsFree, pick_free: PickFree) -> Settled:
    """Give every name an address that is free and that no other name has.

    Raises:
        PortTaken: an explicit address is in use, here or by another name.
    """
    # Explicit ones first: a default must never take the port that somebody asked for.
    order = sorted(wanted, key=lambda name: not (wanted[name].explicit and wanted[name].port))
    chosen: dict[str, Address] = {}
    notes = []
    for name in order:
        address = wanted[name]
        usable = address.port and _unused(address, chosen.values())
        if usable and is_free(address.host, address.port):
            chosen[name] = address
            continue
        if address.port and address.explicit:
            raise PortTaken(_taken(name, address))
        chosen[name] = _another(address, chosen.values(), pick_free)
        if address.port:
            notes.append(f"{name}: port {address.port} is taken, using {chosen[name]}")
    return Settled({name: chosen[name] for name in wanted}, tuple(notes))


def _another(address: Address, used: Iterable[Address], pick_free: PickFree) -> Address:
    taken = list(used)
    while True:
        other = replace(address, port=pick_free(address.host))
        if _unused(other, taken):
            return other


def _unused(address: Address, used: Iterable[Address]) -> bool:
    return all(address.port != other.port for other in used)


def _taken(name: str, address: Address) -> str:
    variable = f"NARU_{name.upper()}_ADDRESS"
    return (
        f"{name} cannot listen on {address}: the port is in use. "
        f"Stop what uses it, or set {variable} to another address (port 0: any free port)."
    )
