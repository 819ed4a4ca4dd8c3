"""Thirty seconds in which parts are killed at random; `make soak` does the same for ten minutes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.chaos import run


@pytest.mark.timeout(300)
def test_everything_agrees_after_parts_were_killed_at_random(tmp_path: Path) -> None:
    """No mixture, no acknowledged write lost, every node at what etcd has."""
    seed = int(os.environ.get("NARU_CHAOS_SEED", "7"))
    outcome = run(tmp_path, 30.0, seed, print)
    print(outcome)
    assert outcome.problems == []
    assert outcome.answered > 1000
    assert outcome.strikes.total() >= 5
    assert outcome.writes["200"] >= 10
