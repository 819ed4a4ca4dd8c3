"""`settings`: `NARU_*` → `Settings`, or every problem with them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from control_plane.settings import Address, Settings, SettingsError


def test_defaults() -> None:
    settings = Settings.from_environ({})
    assert settings.data_dir == Path(".naru")
    assert settings.kek_file == Path(".naru/kek")
    assert settings.admin_token_file == Path(".naru/admin-token")
    assert str(settings.api) == "127.0.0.1:10001"
    assert str(settings.xds) == "127.0.0.1:10002"
    assert (settings.gateway.host, settings.gateway.port) == ("127.0.0.1", 10000)
    assert settings.etcd.endpoints == ("127.0.0.1:2379",)
    assert settings.etcd.patience == 3.0
    assert (settings.limits.max_documents, settings.limits.max_apply_bytes) == (5000, 24 << 20)


def test_everything_can_be_set() -> None:
    settings = Settings.from_environ(
        {
            "NARU_DATA_DIR": "/var/lib/naru",
            "NARU_KEK_FILE": "/run/kek",
            "NARU_API_ADDRESS": "[::1]:0",
            "NARU_XDS_ADDRESS": "0.0.0.0:18000",
            "NARU_GATEWAY_ADDRESS": "0.0.0.0:8080",
            "NARU_ETCD_ENDPOINTS": "http://etcd-0:2379, etcd-1:2379,",
            "NARU_ETCD_MAX_TXN_OPS": "128",
            "NARU_ETCD_MAX_REQUEST_BYTES": "1572864",
            "NARU_ETCD_PATIENCE_SECONDS": "0.5",
            "NARU_APPLY_MAX_DOCUMENTS": "10",
            "NARU_APPLY_MAX_BYTES": "4096",
            "NARU_DRAIN_SECONDS": "1.5",
        }
    )
    assert settings.kek_file == Path("/run/kek")
    assert settings.admin_token_file == Path("/var/lib/naru/admin-token")
    assert settings.api == Address("::1", 0)
    assert str(settings.api) == "[::1]:0"
    assert settings.gateway.port == 8080
    assert settings.etcd.endpoints == ("http://etcd-0:2379", "etcd-1:2379")
    assert (settings.etcd.max_operations, settings.etcd.max_bytes) == (128, 1572864)
    assert settings.etcd.patience == 0.5
    assert (settings.limits.max_documents, settings.limits.max_apply_bytes) == (10, 4096)
    assert settings.drain == 1.5


def test_an_empty_variable_is_none() -> None:
    assert Settings.from_environ({"NARU_API_ADDRESS": " "}) == Settings.from_environ({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NARU_API_ADDRESS", "10001"),
        ("NARU_API_ADDRESS", "127.0.0.1:65536"),
        ("NARU_API_ADDRESS", "::1:10001"),
        ("NARU_XDS_ADDRESS", "host:"),
        ("NARU_XDS_ADDRESS", "host:١٢"),
        ("NARU_GATEWAY_ADDRESS", "127.0.0.1:0"),
        ("NARU_ETCD_ENDPOINTS", ","),
        ("NARU_ETCD_ENDPOINTS", "etcd"),
        ("NARU_ETCD_ENDPOINTS", "ftp://etcd:1"),
        ("NARU_ETCD_MAX_TXN_OPS", "1"),
        ("NARU_APPLY_MAX_DOCUMENTS", "0"),
        ("NARU_APPLY_MAX_BYTES", "-5"),
        ("NARU_APPLY_MAX_BYTES", "1e6"),
        ("NARU_DRAIN_SECONDS", "soon"),
    ],
)
def test_what_cannot_be_used_is_named_with_the_mend(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({name: value})
    [problem] = caught.value.problems
    assert problem.startswith(f"{name}: ")


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({"NARU_API_ADDRESS": "x", "NARU_XDS_ADDRESS": "y"})
    assert len(caught.value.problems) == 2


def test_the_key_is_not_shown() -> None:
    settings = Settings.from_environ({"NARU_KEK": "c2VjcmV0"})
    assert settings.kek == "c2VjcmV0"
    assert "c2VjcmV0" not in repr(settings)


def test_settings_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings.from_environ({}).drain = 1  # type: ignore[misc]


def test_where_upstreams_may_point() -> None:
    policy = Settings.from_environ(
        {
            "NARU_API_ADDRESS": "0.0.0.0:10001",
            "NARU_ETCD_ENDPOINTS": "https://etcd-0:2379/",
            "NARU_OWN_ADDRESSES": "127.0.0.1:2380, [::1]:6379,",
            "NARU_UPSTREAM_ALLOW": "169.254.169.254:80, models.internal",
            "NARU_UPSTREAM_DENY": "10.0.0.0/8,[fd12::1]:80",
        }
    ).addresses
    assert {(place.host, place.port) for place in policy.own} == {
        ("0.0.0.0", 10001),
        ("127.0.0.1", 10002),
        ("127.0.0.1", 10000),
        ("127.0.0.1", 10003),
        ("etcd-0", 2379),
        ("127.0.0.1", 2380),
        ("::1", 6379),
    }
    assert policy.allow == (("169.254.169.254", 80), ("models.internal", None))
    assert [str(rule) for rule in policy.deny[:1]] == ["10.0.0.0/8"]
    assert policy.deny[1] == ("fd12::1", 80)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NARU_UPSTREAM_ALLOW", "10.0.0.1/8"),
        ("NARU_UPSTREAM_ALLOW", "a.example,*.example"),
        ("NARU_UPSTREAM_ALLOW", "http://a.example"),
        ("NARU_UPSTREAM_DENY", "10.0.0.0/33"),
        ("NARU_UPSTREAM_DENY", "0x7f.1"),
        ("NARU_OWN_ADDRESSES", "127.0.0.1"),
        ("NARU_ENVOY_ADMIN_ADDRESS", "admin"),
        ("NARU_XDS_ADDRESS", "0x7f000001:1"),
        ("NARU_ETCD_ENDPOINTS", "a..b:1"),
    ],
)
def test_addresses_that_cannot_be_read(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({name: value})
    [problem] = caught.value.problems
    assert problem.startswith(f"{name}: ")
