"""`machine`: what is read from /proc, and what is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from naru.up.addresses import Address
from naru.up.machine import local_hosts, own_addresses, system_ca

FIB = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 127.0.0.0
        /8 host LOCAL
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 192.0.2.0
        /24 link UNICAST
     |-- 192.0.2.2
        /32 host LOCAL
     |-- 192.0.2.255
        /32 link BROADCAST
"""
SIX = "fd000000000000000000000000000002 04 40 00 82     eth0\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/fib_trie").write_text(FIB)
    (tmp_path / "net/if_inet6").write_text(SIX)
    return tmp_path


def at(**addresses: str) -> dict[str, Address]:
    return {name: Address.parse(text) for name, text in addresses.items()}


def test_the_machines_addresses(proc: Path) -> None:
    assert local_hosts(proc) == ("127.0.0.1", "192.0.2.2", "fd00::2")


def test_without_proc_none_is_known(tmp_path: Path) -> None:
    assert local_hosts(tmp_path) == ()


def test_loopback_is_known_by_itself(proc: Path) -> None:
    found = own_addresses(at(etcd_peer="127.0.0.1:2380", api="127.0.0.1:1"), proc)
    assert list(map(str, found)) == ["127.0.0.1:2380"]


@pytest.mark.parametrize("wildcard", ["0.0.0.0:10001", "[::]:10001"])
def test_a_part_on_every_address_has_them_all(proc: Path, wildcard: str) -> None:
    found = own_addresses(at(etcd_peer="127.0.0.1:2380", api=wildcard), proc)
    assert [str(address) for address in found[1:]] == [
        "127.0.0.1:10001",
        "192.0.2.2:10001",
        "[fd00::2]:10001",
    ]


def test_whom_a_machine_trusts(tmp_path: Path) -> None:
    there = tmp_path / "ca.pem"
    assert system_ca([str(there)]) is None
    there.touch()
    assert system_ca(["/nowhere", str(there)]) == str(there)
