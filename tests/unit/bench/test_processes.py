"""CPU and memory belong to the right role, and the dead are not forgotten."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.processes import cpu_by_role, members, running, tree
from tests.support.gateway import wait_for

CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}]); sys.stdin.read()"
WORK = "import time\nwhile time.process_time() < 0.6: pass"


def test_a_child_that_was_reaped_still_counts(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD.format(work=WORK)]
    with running(command, tmp_path / "log", stdin=subprocess.PIPE) as process:
        wait_for(lambda: cpu_by_role({"server": [process.pid]})["server"] >= 0.3)
        wait_for(lambda: len(tree([process.pid])) == 1)
        assert cpu_by_role({"server": [process.pid]})["server"] >= 0.3


def test_a_role_inside_another_is_counted_once(tmp_path: Path) -> None:
    waits = "import sys; sys.stdin.read()"
    command = [sys.executable, "-c", CHILD.format(work=waits)]
    with running(command, tmp_path / "log", stdin=subprocess.PIPE) as process:
        wait_for(lambda: len(tree([process.pid])) == 2)
        parent, child = tree([process.pid])
        split = members({"supervisor": [parent], "envoy": [child]})
        assert split == {"supervisor": [parent], "envoy": [child]}
        assert members({"server": [parent]}) == {"server": [parent, child]}
    assert not any(Path(f"/proc/{pid}").exists() for pid in (parent, child))
