"""`secrets`: a secret's name holds where it goes, so no push brings it anywhere else."""

from __future__ import annotations

from itertools import combinations

import pytest

from control_plane.compile.secrets import compile_secret, secret_name
from control_plane.resources import Credential, parse
from control_plane.resources.upstream import parse_url
from tests.support.api import credential

URLS = (
    "https://api.openai.com/v1",
    "http://api.openai.com/v1",
    "https://api.openai.com:8443/v1",
    "http://api.openai.com:443/v1",
    "https://api.openai.com.evil.example/v1",
    "http://127.0.0.1:9000",
    "http://127.0.0.1:9001",
    "http://[::1]:9000",
    "http://[::1:9000]",
)


def made(**spec: str) -> Credential:
    found = parse(credential(**spec))
    assert isinstance(found, Credential)
    return found


@pytest.mark.parametrize(("one", "other"), list(combinations(URLS, 2)))
def test_each_server_has_a_secret_of_its_own(one: str, other: str) -> None:
    key = made()
    assert secret_name(key, parse_url(one)) != secret_name(key, parse_url(other))


@pytest.mark.parametrize(
    "same",
    ["https://API.openai.com/v1", "https://api.openai.com:443/v2", "HTTPS://api.openai.com"],
)
def test_one_server_has_one(same: str) -> None:
    assert secret_name(made(), parse_url(URLS[0])) == secret_name(made(), parse_url(same))


def test_each_header_and_each_credential_has_its_own() -> None:
    keys = (
        made(),
        made(name="other"),
        made(type="header", header="x-key"),
        made(type="header", header="x-other"),
        made(type="header", header="authorization"),
    )
    assert len({secret_name(key, parse_url(URLS[0])) for key in keys}) == len(keys)


def test_a_rotation_keeps_the_name() -> None:
    old, new = made(secret="sk-1"), made(secret="sk-2")
    name = secret_name(old, parse_url(URLS[0]))
    assert name == secret_name(new, parse_url(URLS[0]))
    assert compile_secret(old, name).version != compile_secret(new, name).version
