"""Back-off, the log's lines, orphans, live-ness, Envoy's statistics: all without processes."""

from __future__ import annotations

import io
import json
import signal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.up.console import Console
from naru.up.guard import GRACE, Orphans
from naru.up.lines import MAX_LINE, LineSplitter, Prefixer, Redactor, tidy_zap
from naru.up.live import not_live
from naru.up.probes import count_active
from naru.up.restart import Backoff

# -- restart


def test_delays_grow_up_to_the_limit() -> None:
    backoff = Backoff(first=1, factor=2, limit=5, calm=10)
    assert [backoff.delay(0.1) for _ in range(5)] == [0, 1, 2, 4, 5]


def test_a_calm_run_starts_over() -> None:
    backoff = Backoff(first=1, factor=2, limit=5, calm=10)
    assert [backoff.delay(ran) for ran in (0, 0, 10, 0, 0)] == [0, 1, 0, 1, 2]


# -- lines


@given(st.lists(st.text(alphabet="ab김\r\n\x1b", max_size=9).map(str.encode)))
def test_splitting_does_not_depend_on_how_bytes_arrive(pieces: list[bytes]) -> None:
    splitter, whole = LineSplitter(), LineSplitter()
    cut = [line for piece in pieces for line in splitter.feed(piece)] + splitter.end()
    assert cut == whole.feed(b"".join(pieces)) + whole.end()


def test_a_line_without_an_end_is_cut() -> None:
    splitter = LineSplitter()
    lines = splitter.feed(b"x" * (2 * MAX_LINE + 1))
    assert [len(line) for line in lines + splitter.end()] == [MAX_LINE, MAX_LINE, 1]
    assert [len(line) for line in splitter.feed(b"y" * (MAX_LINE + 1) + b"\n")] == [MAX_LINE, 1]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\x1b[31mred\x1b[0m", "red"),
        (b"a\x07\x08b\r", "a  b"),
        (b"\xff\xed\x95\x9c", "\ufffd한"),
        (b"tab\tstays", "tab\tstays"),
        (b"forged\x0b\x0cline", "forged  line"),
    ],
)
def test_control_characters_do_not_reach_the_terminal(raw: bytes, text: str) -> None:
    assert LineSplitter().feed(raw + b"\n") == [text]


def test_secrets_are_hidden_and_short_ones_ignored() -> None:
    redact = Redactor(["hunter2hunter2", "hunter2hunter2-longer", "", "abc"])
    assert redact("x hunter2hunter2-longer y hunter2hunter2 abc") == "x [hidden] y [hidden] abc"


def test_prefixes_are_aligned_and_coloured_only_if_asked() -> None:
    assert Prefixer(6, colour=False)("etcd", "hello") == "etcd   | hello"
    coloured = Prefixer(6, colour=True)
    one, two, again = coloured("etcd", "a"), coloured("envoy", "a"), coloured("etcd", "a")
    assert one == again
    assert one.startswith("\x1b[")
    assert one[:5] != two[:5]


def test_etcds_json_becomes_text() -> None:
    line = json.dumps(
        {"level": "warn", "ts": "t", "caller": "c", "msg": "slow", "took": "2s", "n": 1}
    )
    assert tidy_zap(line) == "warn: slow took=2s n=1"
    assert tidy_zap("plain") == "plain"
    assert tidy_zap('["json"]') == '["json"]'


def test_the_console_redacts_everything_and_survives_a_closed_stream() -> None:
    stream = io.StringIO()
    console = Console(4, Redactor(["very-secret"]), stream)
    console.line("etcd", "key very-secret")
    console.say("two\nlines very-secret")
    console.plain("curl very-secret")
    assert stream.getvalue() == (
        "etcd | key [hidden]\nnaru | two\nnaru | lines [hidden]\ncurl [hidden]\n"
    )
    stream.close()
    console.say("nobody listens")


# -- guard


def test_orphans_are_terminated_once_and_killed_after_the_grace() -> None:
    orphans = Orphans()
    assert orphans.due([7], 0.0) == [(7, signal.SIGTERM)]
    assert orphans.due([7, 8], GRACE - 1) == [(8, signal.SIGTERM)]
    assert orphans.due([7, 8], GRACE) == [(7, signal.SIGKILL)]
    assert orphans.due([8], GRACE) == []


def test_a_pid_that_comes_again_is_another_process() -> None:
    orphans = Orphans()
    orphans.due([7], 0.0)
    orphans.due([], 1.0)
    assert orphans.due([7], GRACE) == [(7, signal.SIGTERM)]


# -- live


def node(
    name: str, applied: int | None, *, connected: bool = True, error: str = ""
) -> dict[str, Any]:
    types = {"x.Cluster": {"version": "1", "pending": False, "error": error}}
    return {"id": name, "connected": connected, "applied_revision": applied, "types": types}


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([node("gateway", 5)], ""),
        ([node("gateway", 6), node("other", 0)], ""),
        ([], "has not connected"),
        ([node("gateway", 5, connected=False)], "has not connected"),
        ([node("gateway", 4)], "has not applied revision 5"),
        ([node("gateway", None)], "has not applied revision 5"),
        ([node("gateway", 4, error="bad cluster")], "it refused: bad cluster"),
    ],
)
def test_not_live(nodes: list[dict[str, Any]], reason: str) -> None:
    found = not_live({"revision": 5, "nodes": nodes}, ["gateway"])
    assert (reason in found[0]) if reason else found == []


def test_a_silent_control_plane_is_not_live() -> None:
    assert not_live(None, []) == ["the control plane does not answer"]


# -- drain


def test_active_requests_of_all_listeners_but_the_admin_page() -> None:
    stats = (
        "http.admin.downstream_rq_active: 1\n"
        "http.gateway.downstream_rq_active: 2\n"
        "http.other.downstream_rq_active: 3\n"
        "cluster.x.upstream_rq_active: 9\n"
        "listener.1.http.gateway.downstream_rq_active: 9\n"
    )
    assert count_active(stats) == 5
    assert count_active("") == 0
