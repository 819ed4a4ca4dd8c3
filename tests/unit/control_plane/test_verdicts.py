"""`_verdicts`: what was refused of which revision, and which revision brings the rest."""

from __future__ import annotations

from control_plane._verdicts import MOST, Verdicts, written
from control_plane.compile import Aside, Compiled, Unit
from control_plane.resources import Key, Resource, parse
from control_plane.store import Snapshot, Stored
from tests.support.api import proxy, upstream

U, P = Key("upstreams", "openai"), Key("proxies", "menu-copy")


def snapshot(**revisions: int) -> Snapshot:
    found: dict[str, Resource] = {"u": parse(upstream()), "p": parse(proxy())}
    puts = [Stored(found[name], at, at) for name, at in revisions.items()]
    return Snapshot().with_changes(max(revisions.values()), puts)


def compiled(revision: int, now: Snapshot, **aside: Aside) -> Compiled:
    keys = {"u": U, "p": P}
    units = {k: Unit(((k, now.resources[k]),), ()) for k in now.stored}
    return Compiled(revision, {}, units, {keys[name]: why for name, why in aside.items()})


REFUSED = Aside("refused", serving=False, node="gateway", since=5)


def test_a_refusal_is_remembered_after_it_was_mended() -> None:
    verdicts, now, later = Verdicts(), snapshot(u=5, p=4), snapshot(u=6, p=4)
    verdicts.note(compiled(5, now, u=REFUSED), now)
    verdicts.note(compiled(6, later), later)
    assert verdicts.of(5) == {U: REFUSED}
    assert not verdicts.of(6)


def test_one_that_is_served_after_all_as_it_is_was_not_at_fault() -> None:
    verdicts, now = Verdicts(), snapshot(u=5, p=4)
    verdicts.note(compiled(5, now, u=REFUSED), now)
    verdicts.note(compiled(6, now), now)
    assert not verdicts.of(5)


def test_a_suspect_revision_is_carried_by_the_one_that_lets_it_go() -> None:
    verdicts, now = Verdicts(), snapshot(u=5, p=4)
    suspect = Aside("refused", serving=False, node="gateway", certain=False, since=5)
    assert verdicts.carrier(5) == 5
    verdicts.note(compiled(5, now, u=suspect), now)
    verdicts.note(compiled(8, now), now)
    verdicts.note(compiled(9, now), now)
    assert verdicts.carrier(5) == 8
    assert not verdicts.of(5), "suspicion is no verdict"


def test_whose_write_it_was() -> None:
    now = snapshot(u=5, p=7)
    below = Aside("uses it", serving=False, node="gateway", below=U)
    aside = {U: REFUSED, P: below}
    assert written(U, aside, now) == 5
    assert written(P, aside, now) == 7, "it was written to use what is aside"
    assert written(P, aside, snapshot(u=9, p=4)) == 5, "later changes of others are not to blame"
    assert written(P, {P: Aside("missing", serving=False)}, snapshot(u=9, p=4)) == 9


def test_the_memory_is_bounded() -> None:
    verdicts, now = Verdicts(), snapshot(u=5, p=4)
    for revision in range(MOST + 10):
        why = Aside("refused", serving=False, node="gateway", since=revision + 1)
        verdicts.note(compiled(revision + 1, now, u=why), now)
    assert not verdicts.of(1)
    assert verdicts.of(MOST + 10)
