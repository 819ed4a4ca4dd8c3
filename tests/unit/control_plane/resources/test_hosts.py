"""`_hosts`: two texts that mean one host are one text; what could mean two is refused."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.resources._hosts import Place, canonical, ip_of


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("api.openai.com", "api.openai.com"),
        ("API.OpenAI.com", "api.openai.com"),
        ("api.openai.com.", "api.openai.com"),
        ("xn--9t4b11yi5a.example", "xn--9t4b11yi5a.example"),
        ("_dmarc.a-b.example", "_dmarc.a-b.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("FD00:EC2::254", "fd00:ec2::254"),
        ("::ffff:169.254.169.254", "::ffff:a9fe:a9fe"),
    ],
)
def test_one_text_for_each_host(written: str, meant: str) -> None:
    assert canonical(written) == meant


@pytest.mark.parametrize(
    "written",
    [
        "",
        ".",
        "a..b",
        "-a.example",
        "a-.example",
        "a" * 64 + ".example",
        "a." * 127 + "abc",
        "*.example",
        "a b",
        "a\0b",
        "a/b",
        "a\\b",
        "a%2eb",
        "a@b",
        "메뉴.example",
        "аpi.openai.com",
        "api．openai．com",
        "api\u200b.openai.com",
        "api.openai.com\u202e",
        "ⓐpi.openai.com",
        "１27.0.0.1",
        "2852039166",
        "0xa9fea9fe",
        "0xA9.254.169.254",
        "0251.0376.0251.0376",
        "169.254.43518",
        "169.16689662",
        "127.1",
        "127.0.0.1.",
        "0",
        "1.2.3.4.5",
        "1.2.3.256",
        "a.example.1",
        "a.example.0x",
        "fe80::1%eth0",
        "[::1]",
        "1::2::3",
    ],
)
def test_what_is_no_host(written: str) -> None:
    with pytest.raises(ValueError, match=r"host|IPv4"):
        canonical(written)


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("a.example", ("a.example", None)),
        ("A.example.:443", ("a.example", 443)),
        ("127.0.0.1:9000", ("127.0.0.1", 9000)),
        ("::1", ("::1", None)),
        ("[::1]", ("::1", None)),
        ("[0::1]:9000", ("::1", 9000)),
        ("::1:9000", ("::1:9000", None)),
    ],
)
def test_a_place(written: str, place: tuple[str, int | None]) -> None:
    assert Place.parse(written) == place


@pytest.mark.parametrize(
    "written",
    ["a:0", "a:65536", "a:", ":1", "a:b", "a:１", "[a]:1", "[::1", "::1]", "[1.2.3.4]", "u@a:1"],
)
def test_what_is_no_place(written: str) -> None:
    with pytest.raises(ValueError, match=r"host|port|IPv4"):
        Place.parse(written)


def test_an_address_with_a_port_is_not_a_longer_address() -> None:
    assert not Place.parse("::1:9000").covers("::1", 9000)
    assert Place.parse("[::1]:9000").covers("::1", 9000)


@given(st.text(st.sampled_from("0123456789abcdefxX.-_ooAF"), min_size=1, max_size=24))
def test_what_is_taken_as_a_name_is_no_address_to_anybody_else(written: str) -> None:
    """libc's `inet_aton` reads octal, hexadecimal, short and single numbers."""
    try:
        host = canonical(written)
    except ValueError:
        return
    assert canonical(host) == host
    if ip_of(host) is None:
        with pytest.raises(OSError, match="illegal IP address"):
            socket.inet_aton(host)
    else:
        assert socket.inet_aton(host) == ipaddress.ip_address(host).packed


@given(st.text(max_size=24))
def test_any_text_is_refused_or_has_one_form(written: str) -> None:
    try:
        host = canonical(written)
    except ValueError:
        return
    assert canonical(host) == host
    assert host.isascii()
    assert host == host.lower()
