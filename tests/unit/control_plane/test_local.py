"""`_local`: the rule for addresses, as one machine sees it."""

from __future__ import annotations

from control_plane._local import is_local, seen_from_here
from control_plane.resources.addresses import AddressPolicy, Place
from control_plane.resources.upstream import parse_url
from control_plane.settings import Address


def test_what_is_local() -> None:
    assert is_local("127.0.0.1")
    assert not is_local("192.0.2.1")
    assert not is_local("2001:db8::1")


def test_the_real_ports_count() -> None:
    here = seen_from_here(AddressPolicy(), (Address("127.0.0.1", 34567),))
    assert here.denied(parse_url("http://localhost:34567"))
    assert here.denied(parse_url("http://localhost:34568")) is None


def test_the_settings_stay() -> None:
    settings = AddressPolicy(own=(Place("127.0.0.1", 2379),))
    assert seen_from_here(settings, ()).denied(parse_url("http://127.0.0.1:2379"))
