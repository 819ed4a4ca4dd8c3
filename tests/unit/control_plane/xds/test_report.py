"""Reports as they lie in etcd."""

from __future__ import annotations

import pytest

from control_plane.compile.model import CLUSTER
from control_plane.xds.report import Report, TypeStatus, decode, encode

FULL = Report(
    "worker/0 \u00e9", "one", "ext_proc", "naru", False, 7, 2, True, True, 6, frozenset({5, 6}),
    True, 7, True, {7: "no"}, {CLUSTER: TypeStatus("1.2", True, "bad")},
)  # fmt: skip


@pytest.mark.parametrize("report", [FULL, Report("a", "b")])
def test_there_and_back(report: Report) -> None:
    found = decode(encode(report))
    assert found == report
    assert found is not None
    assert found.types == report.types


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"[]", b"1", b'{"node":1,"replica":"b"}', b'{"node":"a"}',
     b'{"node":"a","replica":"b","holds":["x"]}', b'{"node":"a","replica":"b","types":{"Cluster":1}}'],
)  # fmt: skip
def test_what_is_no_report(value: bytes) -> None:
    assert decode(value) is None


def test_what_a_later_day_adds() -> None:
    later = b'{"node":"a","replica":"b","new":1,"types":{"Other":["",0,""]}}'
    assert decode(later) == Report("a", "b")
