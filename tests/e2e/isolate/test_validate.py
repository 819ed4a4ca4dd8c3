"""What a real Envoy says offline of units that are good, and of ones that are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from control_plane.compile import Compiler, GatewaySettings, Unit
from control_plane.isolate import EnvoyValidator
from control_plane.isolate.validate import ValidatorError
from control_plane.resources import parse
from tests.support import golden
from tests.support.api import proxy, upstream
from tests.support.envoy import envoy_binary

pytestmark = pytest.mark.anyio
SETTINGS = GatewaySettings()


def units(*documents: dict[str, Any]) -> list[Unit]:
    resources = [parse(each) for each in documents]
    return list(Compiler(SETTINGS).compile(1, {r.key: r for r in resources}).units.values())


@pytest.mark.parametrize("case", golden.cases())
async def test_every_broken_case_is_accepted(case: str) -> None:
    compiled = golden.compile_case(case)
    assert await EnvoyValidator(envoy_binary(), SETTINGS).accepts(compiled.units.values())


async def test_a_bad_cluster_is_refused_and_a_proxy_without_its_upstream_is_not() -> None:
    bad = upstream("bad")
    bad["spec"] |= {"url": "https://127.0.0.1:1", "tls": {"ca": broken_ca()}}
    validator = EnvoyValidator(envoy_binary(), SETTINGS)
    cluster, user = units(bad, proxy("user", "bad"))
    assert not await validator.accepts([cluster])
    assert await validator.accepts([user])


def broken_ca() -> str:
    return "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n"


async def test_an_envoy_that_cannot_be_started_is_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(ValidatorError, match="cannot start"):
        await EnvoyValidator(tmp_path / "none", SETTINGS).accepts([])
