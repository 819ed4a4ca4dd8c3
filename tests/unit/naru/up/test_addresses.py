from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from naru.up.addresses import Address, settle
from naru.up.errors import PortTaken, UpError


def picker(ports: Iterable[int]) -> Callable[[str], int]:
    remaining = iter(ports)
    return lambda host: next(remaining)


def default(port: int) -> Address:
    return Address("127.0.0.1", port)


def asked(port: int) -> Address:
    return Address("127.0.0.1", port, explicit=True)


@pytest.mark.parametrize(
    ("text", "host", "port", "shown"),
    [
        ("127.0.0.1:10000", "127.0.0.1", 10000, "127.0.0.1:10000"),
        ("[::1]:1", "::1", 1, "[::1]:1"),
        ("localhost:0", "localhost", 0, "localhost:0"),
    ],
)
def test_parse(text: str, host: str, port: int, shown: str) -> None:
    address = Address.parse(text)
    assert (address.host, address.port, str(address)) == (host, port, shown)


@pytest.mark.parametrize("text", ["", "10000", ":1", "host:", "host:x", "host:70000", "host:-1"])
def test_not_an_address(text: str) -> None:
    with pytest.raises(UpError, match="host:port"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("example.com", False),
        ("::", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert Address(host, 1).loopback is loopback


def test_a_wildcard_is_reached_by_loopback() -> None:
    assert Address("0.0.0.0", 5).url == "http://127.0.0.1:5"
    assert Address("::", 5).url == "http://[::1]:5"


def test_free_defaults_stay() -> None:
    settled = settle({"a": default(1), "b": default(2)}, lambda *_: True, picker([]))
    assert settled.addresses == {"a": default(1), "b": default(2)}
    assert settled.notes == ()


def test_a_taken_default_moves_and_says_so() -> None:
    settled = settle({"gateway": default(1)}, lambda host, port: port != 1, picker([77]))
    assert settled.addresses["gateway"].port == 77
    assert settled.notes == ("gateway: port 1 is taken, using 127.0.0.1:77",)


def test_a_taken_explicit_port_is_an_error_that_names_the_variable() -> None:
    with pytest.raises(PortTaken, match="NARU_GATEWAY_ADDRESS"):
        settle({"gateway": asked(1)}, lambda *_: False, picker([77]))


def test_port_0_is_any_free_port_without_a_note() -> None:
    settled = settle({"a": asked(0)}, lambda *_: True, picker([77]))
    assert (settled.addresses["a"].port, settled.notes) == (77, ())


def test_no_two_names_share_a_port() -> None:
    wanted = {"a": default(5), "b": asked(5), "c": asked(0)}
    settled = settle(wanted, lambda *_: True, picker([5, 8, 8, 9]))
    ports = [address.port for address in settled.addresses.values()]
    assert (ports[1], len(set(ports))) == (5, 3)
    assert list(settled.addresses) == ["a", "b", "c"]


def test_two_explicit_addresses_on_one_port() -> None:
    with pytest.raises(PortTaken):
        settle({"a": asked(5), "b": asked(5)}, lambda *_: True, picker([]))
