"""Keys in etcd."""

from __future__ import annotations

import pytest

from control_plane.resources import Key
from control_plane.store._layout import Layout


def test_a_key_comes_back() -> None:
    layout, key = Layout(), Key("credentials", "menu-key")
    assert layout.resource(key) == b"/naru/v1/resources/credentials/menu-key"
    assert layout.key(layout.resource(key)) == key
    assert layout.short(layout.resource(key)) == str(key)


def test_the_range_holds_everything_of_the_product_and_nothing_else() -> None:
    layout = Layout("/team/naru")
    for inside in (layout.guard, layout.resource(Key("a", "b")), b"/team/naru/\xff"):
        assert layout.start <= inside < layout.end
    for outside in (b"/team/naru", b"/team/naru0", b"/team/naru2/guard", b"/team/narw"):
        assert not layout.start <= outside < layout.end


@pytest.mark.parametrize(
    "raw",
    [
        b"/naru/v1/guard",
        b"/naru/v1/resources/",
        b"/naru/v1/resources/credentials",
        b"/naru/v1/resources/credentials/",
        b"/naru/v1/resources/a/b/c",
        b"/naru/v1/history/credentials/a",
        b"/other",
    ],
)
def test_other_keys_name_no_resource(raw: bytes) -> None:
    assert Layout().key(raw) is None


@pytest.mark.parametrize("prefix", ["", "naru", "/naru/", "/"])
def test_a_prefix_begins_with_a_slash_and_ends_without(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        Layout(prefix)


def test_a_record_comes_back_and_is_in_the_range() -> None:
    layout = Layout()
    raw = layout.record("parked/proxies/menu-copy")
    assert raw == b"/naru/v1/records/parked/proxies/menu-copy"
    assert layout.record_name(raw) == "parked/proxies/menu-copy"
    assert layout.key(raw) is None
    assert layout.start <= raw < layout.end


@pytest.mark.parametrize("name", ["", "tokens", "tokens/", "tokens/../guard", "a/b/c/d", "A/b"])
def test_a_record_needs_a_family_and_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="not the name"):
        Layout().record(name)
    assert Layout().record_name(f"/naru/v1/records/{name}".encode()) is None


def test_the_audit_trail_is_outside_of_the_range_and_in_the_order_of_time() -> None:
    layout = Layout()
    entries = [
        layout.audit_entry(milliseconds, "ab") for milliseconds in (9, 10, 1_700_000_000_000)
    ]
    assert entries == sorted(entries)
    assert not any(layout.start <= entry < layout.end for entry in entries)
    assert all(entry.startswith(layout.audit) for entry in entries)


def test_a_span_of_the_audit_trail() -> None:
    layout = Layout()
    entries = [layout.audit_entry(milliseconds, "ab") for milliseconds in (1000, 1000, 2000, 3000)]
    start, end = layout.audit_range(1000, 3000, None)
    assert [start <= entry < end for entry in entries] == [True, True, True, False]
    start, end = layout.audit_range(0, 9999, layout.audit_name(entries[2]))
    assert [start <= entry < end for entry in entries] == [False, False, False, True]
    start, end = layout.audit_range(3000, 1000, None)
    assert start >= end
