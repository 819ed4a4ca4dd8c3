"""The nodes' keys as they are followed: nothing is lost, nothing told twice."""

from __future__ import annotations

from control_plane.store._layout import Layout
from control_plane.store._nodes_state import NodesState
from control_plane.store._records import Compacted, Created, Deleted, Events, Record


def put(key: bytes, value: bytes, revision: int) -> Record:
    return Record(key, value, revision, revision, 1)


def test_a_listing_tells_what_is_different() -> None:
    state = NodesState()
    assert state.listed(1, 5, [put(b"a", b"1", 3), put(b"b", b"1", 4)]) == {b"a": b"1", b"b": b"1"}
    assert state.position == 6
    assert state.receive(Compacted(9)) == {}
    assert state.position is None
    assert state.listed(1, 10, [put(b"a", b"2", 9)]) == {b"a": b"2", b"b": None}


def test_events_are_told_once_and_fragments_together() -> None:
    state = NodesState()
    state.listed(1, 5, [])
    assert state.receive(Events((put(b"a", b"1", 6),), fragment=True)) == {}
    assert state.receive(Events((Deleted(b"b", 6), put(b"a", b"2", 7)))) == {b"a": b"2", b"b": None}
    assert state.receive(Events((put(b"a", b"1", 6),))) == {}
    assert state.position == 8


def test_another_history_is_listed_anew() -> None:
    state = NodesState()
    state.listed(1, 5, [])
    state.receive(Created(1, 5))
    assert state.position == 6
    state.receive(Created(2, 5))
    assert state.position is None


def test_a_nodes_key_holds_any_id() -> None:
    layout = Layout()
    start, end = layout.nodes
    keys = {
        layout.node(name) for name in ("a", "a/b", "a%2Fb", "\u00e9", "../../guard", "x" * 5000)
    }
    assert len(keys) == 6
    for key in keys:
        assert start < key < end
        assert b"/" not in key[len(start) :]
        assert len(key) < 400
