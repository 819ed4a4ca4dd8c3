"""Medians, goals, tables, plots and README: what becomes of rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench import plot, publish, report, soak
from bench.load import Load
from bench.rounds import Round


def round_(rps: float, envoy: float, server: float = 0.0, *problems: str) -> Round:
    load = Load("wrk", int(rps * 2), 2.0, {}, 1.0, 2.0, 3.0, 0.1)
    cpu = {"envoy": envoy} | ({"server": server, "etcd": 1.0} if server else {})
    return Round(
        load, cpu, {"upstream": 10.0, "load": 8.0}, 0.3, 0.1, {"envoy": 70.0}, list(problems)
    )


def result(**contestants: list[Round]) -> dict[str, Any]:
    bare = contestants["bare"]
    found = {
        name: report.summary(rounds) | report.against(rounds, bare[: len(rounds)])
        for name, rounds in contestants.items()
    }
    return {"contestants": found, "machine": "a <machine>", "connections": 32, "rounds": 3}


@pytest.fixture
def found() -> dict[str, Any]:
    bare, ours = [round_(300, 30), round_(100, 32), round_(200, 28)], [round_(50, 60, 30)]
    return result(bare=bare, request=ours, litellm=[round_(1, 0, 9000)])


def test_a_summary_is_the_median_with_its_spread(found: dict[str, Any]) -> None:
    bare = found["contestants"]["bare"]
    assert (bare["rps"], bare["spread"]["rps"]) == (200, [100, 300])
    assert (bare["cpu_us"], bare["spread"]["cpu_us.envoy"]) == (
        {"envoy": 30, "server": 0},
        [28, 32],
    )
    ours = found["contestants"]["request"]
    assert (ours["cpu_us"], ours["other_cpu_us"]) == ({"envoy": 60, "server": 30}, {"etcd": 1})


def test_goals(found: dict[str, Any]) -> None:
    goals = {goal.what: goal for goal in report.goals(found["contestants"], {})}
    against_bare = goals["request: CPU per request against bare Envoy"]
    assert (against_bare.value, against_bare.met) == (3.0, True)
    assert not [what for what in goals if "native" in what or "portkey" in what]


def test_only_the_same_job_has_a_goal_against_a_peer(found: dict[str, Any]) -> None:
    contestants = found["contestants"]
    contestants["native"] = contestants["request"]
    same, more = report.goals(contestants, {})[-2:]
    assert same.to_json() == {
        "what": "native: req/s against litellm", "value": 50.0, "goal": "≥ 60.0", "met": False,
    }  # fmt: skip
    assert (more.value, more.to_json()["goal"], more.met) == (50.0, None, None)
    assert report.goal_table([same, more]).splitlines()[2:] == [
        "| native: req/s against litellm | 50 | ≥ 60.0 | **no** |",
        "| request: req/s against litellm, with a template on top | 50 | – | – |",
    ]


def test_what_ran_beside_is_told() -> None:
    line = report.idle({"bare": 0.0, "naru": 3.0, "litellm": 5.0}, {"litellm"})
    assert line.endswith("CPU of one core: bare 0 %, naru 3 %.")


def test_ratios_are_of_rounds_that_were_neighbours() -> None:
    bare = [round_(1, 10), round_(1, 20), round_(1, 40)]
    twice = [round_(1, 20), round_(1, 30, 10), round_(1, 100)]
    assert report.against(twice, bare) == {"x_bare": 2.0, "x_bare_range": [2.0, 2.5]}


def test_the_table_names_who_is_missing_and_what_is_invalid() -> None:
    bad = result(bare=[round_(1, 1, 0, "errors: 5")])
    text = report.table(bad["contestants"], {"native": "its lane is not native"})
    assert "| bare (invalid) |" in text
    assert "Not measured: native: its lane is not native" in text


def test_warnings(found: dict[str, Any]) -> None:
    assert list(report.warnings(found["contestants"])) == []
    found["contestants"]["bare"] |= {"strangers": 1.5, "upstream_share": 0.9}
    busy, slow = report.warnings(found["contestants"])
    assert "1.5 cores meanwhile (bare)" in busy
    assert "the provider" in slow


def test_the_plots_are_xml(found: dict[str, Any]) -> None:
    bars = plot.bars(found)
    words = "".join(ElementTree.fromstring(bars).itertext())
    assert "litellm" in words
    assert "a <machine>" in words
    assert bars.count("fill='white'") == 2  # the ground, and the gap in the one bar that is cut
    sample = {"requests": 0, "rss_mb": {"envoy": 70.0, "server": 71.0}}
    lines = plot.memory([sample, sample | {"requests": 10}])
    assert "envoy 70" in "".join(ElementTree.fromstring(lines).itertext())


def test_the_readme_keeps_the_rest(found: dict[str, Any]) -> None:
    text = f"before\n{publish.OPEN}\nold\n{publish.CLOSE}\nafter\n"
    table = publish.table(found, Path("gateway-2026-01-01.json"))
    new = publish.replaced(text, table)
    assert new.startswith("before\n")
    assert new.endswith("\nafter\n")
    assert "old" not in new
    assert "| request | 50 | 1.0 | 2.0 | 60 + 30 | 70 |" in new


def sample(requests: int, **rss: float) -> dict[str, Any]:
    return {"requests": requests, "rss_mb": rss}


def test_slopes_are_per_million_requests_after_the_first_tenth() -> None:
    samples = [sample(0, envoy=10, server=5), sample(1_000_000, envoy=100, server=7)]
    samples += [sample(n * 1_000_000, envoy=100, server=5 + 2 * n) for n in range(2, 11)]
    assert soak.slopes(samples) == {"envoy": 0.0, "server": 2.0}


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({}, []),
        ({"peak": {"errors": {"status 503": 1}}}, ["no errors"]),
        ({"mistakes": {"credential": 1}}, ["no errors"]),
        ({"peak": {"p99_ms": 25.0}}, ["p99 below 25 ms"]),
        ({"peak": {"requests": 9000}}, ["100 req/s held"]),
        ({"mb_per_million": {"envoy": 1.5}}, ["envoy: memory flat (+1.5 MB per million)"]),
    ],
)
def test_verdicts(change: dict[str, Any], missed: list[str]) -> None:
    peak = {"rate": 100.0, "requests": 10000, "seconds": 100.0, "p99_ms": 5.0, "errors": {}}
    whole: dict[str, Any] = {
        "peak": peak,
        "rest": {"errors": {}},
        "mistakes": {},
        "mb_per_million": {"envoy": 0.1},
    }
    merged = whole | {k: v for k, v in change.items() if k != "peak"}
    merged["peak"] = peak | change.get("peak", {})
    assert [what for what, met in soak.verdicts(merged).items() if not met] == missed
