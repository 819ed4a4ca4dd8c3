"""Real Envoy takes what the compiler makes of every golden case."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from naru.up import binaries
from tests.support import golden
from tests.support.bootstrap import ext_proc_cluster, static_bootstrap, write


@pytest.mark.parametrize("case", golden.cases())
def test_envoy_validates(case: str, tmp_path: Path) -> None:
    bootstrap = static_bootstrap(golden.compile_case(case), (ext_proc_cluster("/nowhere.sock"),))
    path = write(bootstrap, tmp_path / "bootstrap.pb")
    command = [binaries.find("envoy"), "--mode", "validate", "-c", path, "--disable-hot-restart"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
