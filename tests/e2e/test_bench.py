"""The benchmark runs from end to end, so that it cannot rot: a second each, only our own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import gateway, soak


@pytest.mark.timeout(180)
def test_the_gateway_is_measured(tmp_path: Path) -> None:
    kept = tmp_path / "result.json"
    assert gateway.main(["--smoke", "--out", str(kept)]) == 0
    result = json.loads(kept.read_text())
    for name in ("bare", "request", "request-v1", "request-grpcio"):
        found = result["contestants"][name]
        assert found["rps"] > 0
        assert found["problems"] == []
        assert found["cpu_us"]["envoy"] > 0
        assert (found["cpu_us"]["server"] > 0) == (name != "bare")
    # The native lane shows in the cost of ext_proc, whatever its name says.
    for name in result["contestants"].keys() & {"native", "native-v1"}:
        assert result["contestants"][name]["cpu_us"]["server"] < 5
    assert {"naru", "naru-grpcio", "bare"} <= result["systems"].keys()
    assert "bare burst" in result["streams"]


@pytest.mark.timeout(120)
def test_the_soak_is_measured(tmp_path: Path) -> None:
    kept = tmp_path / "result.json"
    soak.main(["--rate", "50", "--minutes", "0.05", "--requests", "151", "--out", str(kept)])
    result = json.loads(kept.read_text())
    assert result["peak"]["errors"] == {}
    assert result["peak"]["requests"] == result["peak"]["sent"]
    assert result["rest"]["requests"] > 0
    assert (result["mistakes"], result["samples"][0]["phase"]) == ({}, "start")
    assert (tmp_path / "result.svg").exists()
