"""What only this process knows of addresses: its real ports, and those of its machine.

What is compiled knows the settings alone, so that every replica compiles the same; the API, which
judges what is written here, knows this as well.
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterable

from control_plane.resources.addresses import AddressPolicy, Place
from control_plane.settings import Address


def seen_from_here(policy: AddressPolicy, bound: Iterable[Address]) -> AddressPolicy:
    """The policy, with the addresses that this process listens on and this machine has."""
    own = (*policy.own, *(Place.parse(str(address)) for address in bound))
    return dataclasses.replace(policy, own=own, is_local=is_local)


def is_local(host: str) -> bool:
    """Whether an address is one of this machine's: only such a one can be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True
