"""Where the nodes of other replicas stand with the move that this one makes.

A worker at another replica must have a plan before routes that name it are served here, and may not
lose it while an Envoy there uses routes that name it. All that is known of those nodes are reports
(`report.py`), which come late, or never: a node that does not follow is waited for once, for as
long as the switch says, and then not again until it has.

Each replica moves by itself, and may skip revisions that another one takes. Nodes that are *ahead*
have, or are getting, something newer, and need not have what this move is about. Pure.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from control_plane.xds.report import Report

Phase = Literal["settled", "adding", "routing"]


class Move(NamedTuple):
    """What the switch is at: the newest revision that it tried, how many times it did, and whether
    that was refused and it goes back."""

    revision: int = 0
    turn: int = 1
    back: bool = False


class Elsewhere:
    """Nodes by their id. `move` and `enter` say what this replica does, `hear` what those do."""

    def __init__(self) -> None:
        self.expected = False
        """Reports are to come, and have not yet: somebody may be there."""
        self._reports: dict[str, Report] = {}
        self._move = Move()
        self._phase: Phase = "settled"
        self._owing: set[str] = set()
        self._ahead: set[str] = set()
        self._silent: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._reports)

    @property
    def waited_for(self) -> bool:
        """Whether anybody keeps the phase from ending."""
        return self._phase != "settled" and (self.expected or not self._owing <= self._silent)

    @property
    def passed(self) -> bool:
        """Whether anybody is ahead, so that this move cannot end without a gap."""
        return bool(self._ahead)

    @property
    def holds(self) -> frozenset[int]:
        """The revisions whose routes anybody there may be using."""
        return frozenset().union(*(report.holds for report in self._reports.values()))

    def proves(self, revision: int) -> bool:
        """Whether an Envoy there uses the routes that this move has brought."""
        return any(
            report.routed and _move(report) == self._move and revision in report.holds
            for report in self._reports.values()
        )

    def give_up(self) -> None:
        """Patience is over."""
        self._silent |= self._owing
        self.expected = False

    def enter(self, phase: Phase, move: Move) -> None:
        self._phase, self._move = phase, move
        for node, report in self._reports.items():
            self._judge(node, report)

    def hear(self, node: str, report: Report | None) -> None:
        """The newest report of a node; None if there is none any more."""
        if report is None:
            self._reports.pop(node, None)
            for nodes in (self._owing, self._ahead, self._silent):
                nodes.discard(node)
            return
        self._reports[node] = report
        self._judge(node, report)

    def _judge(self, node: str, report: Report) -> None:
        ahead = (report.added, report.turn) > self._move[:2]
        same = _move(report) == self._move
        there = same and (self._phase == "adding" or report.routed)
        if there or ahead:
            self._silent.discard(node)
        _mark(self._ahead, node, ahead and not report.silent)
        enough = ahead and self._phase == "routing"  # it had what these routes name before
        # One that has just left is not there to answer; only what needs it waits for it.
        needed = report.connected or (self._phase == "adding" and not self._move.back)
        _mark(self._owing, node, needed and not (there or enough or report.silent))


def _move(report: Report) -> Move:
    return Move(report.added, report.turn, report.back)


def _mark(nodes: set[str], node: str, holds: bool) -> None:
    if holds:
        nodes.add(node)
    else:
        nodes.discard(node)
