"""What every node has: its types, its revision, and its own words when it refused something.

Pure. A node is known by its id and may have several streams (an Envoy that reconnects before its
old stream has died). Words are kept after the node has gone. What is known of nodes that other
replicas of the control plane are connected with, are their reports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from control_plane.compile.model import CLUSTER
from control_plane.xds.report import MAX_TEXT, MAX_WORDS, Report, TypeStatus
from control_plane.xds.roll import Standing
from control_plane.xds.serving import NOTHING, Serving, Stamp
from control_plane.xds.stream import Stream, is_pending

State = Literal["pending", "applied", "rejected"]
WORKERS = "ext_proc"
"""The cluster that workers say they are of (`ext_proc/ads.py`)."""
MAX_REJECTIONS = 256
MAX_ABSENT = 1024


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node. `applied_revision` is the revision whose routes and all it uses (0: none yet);
    `replica` is the control plane that it is connected with, or was last; `old`: nobody knows
    whether that is still so, for etcd is away.
    """

    id: str
    cluster: str
    user_agent: str
    connected: bool
    applied_revision: int
    types: Mapping[str, TypeStatus]
    replica: str = ""
    silent: bool = False
    old: bool = False


@dataclass(frozen=True, slots=True)
class NodeRevision:
    """One revision at one node; `detail` is the node's own error text, or what it is waited for."""

    state: State
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RevisionStatus:
    """One revision everywhere: applied when every connected node has it; pending without any."""

    revision: int
    state: State
    nodes: Mapping[str, NodeRevision]


class _Attempt(NamedTuple):
    """A move to `revision`, which carried every revision after `after`."""

    after: int
    revision: int

    def carried(self, revision: int) -> bool:
        return revision == self.revision or self.after < revision < self.revision


@dataclass(slots=True)
class _Record:
    """One node: streams by number, the revision applied on each, its words by revision."""

    streams: dict[int, Stream] = field(default_factory=dict)
    applied: dict[int, int] = field(default_factory=dict)
    words: dict[int, str] = field(default_factory=dict)
    rejects: int = 0
    silent: bool = False
    last: NodeStatus | None = None

    @property
    def applied_revision(self) -> int:
        return min(self.applied.values(), default=self.last.applied_revision if self.last else 0)


class Ledger:
    """Read with `nodes` and `status`; written by the hub.

    `replica` is this control plane's own name. `expected`: reports are to come, and nothing is
    applied before they have; `old`: they are what etcd said before it went away.
    """

    def __init__(self, replica: str = "") -> None:
        self.replica = replica
        self.expected = self.old = False
        self._reports: dict[str, Report] = {}
        self._records: dict[str, _Record] = {}
        self._attempts: dict[int, _Attempt] = {}
        self._rejected: list[_Attempt] = []
        # Refused revisions of which nobody knows yet what is bad: how many refusals of each.
        self._examined: Counter[int] = Counter()
        self._newest = self._before = 0  # the newest revision tried, and the one before it
        self._again = -1  # the generation of routes at which the newest was tried again
        self._acquitted = 0  # the last refused one that was not at fault as a whole
        self._serving = NOTHING

    def nodes(self) -> tuple[NodeStatus, ...]:
        """Every node that is connected to any replica, and those that were to this, by id."""
        here = {name: self._node(name) for name in self._records}
        there = {name: self._reported(report) for name, report in self._elsewhere().items()}
        return tuple(node for _, node in sorted({**here, **there}.items()))

    def status(self, revision: int) -> RevisionStatus:
        """Where a revision stands, at the nodes that are connected and those that refused it."""
        rejected = self._rejection(revision)
        nodes: dict[str, NodeRevision] = {}
        for name, record in sorted(self._records.items()):
            words = record.words.get(rejected.revision if rejected else revision)
            if record.streams or words:
                nodes[name] = self._at(record, revision, words, rejected is not None)
        for name, report in sorted(self._elsewhere().items()):
            nodes[name] = self._at_report(report, revision, rejected)
        return RevisionStatus(revision, self.state(revision), nodes)

    def state(self, revision: int) -> State:
        """Where a revision stands everywhere: without what is said of each node it costs little."""
        if rejected := self._rejection(revision):
            return "pending" if self._is_examined(rejected.revision) else "rejected"
        states: set[State] = {"pending"} if self.expected else set()
        for record in self._records.values():
            words = record.words.get(revision)
            if record.streams or words:
                states.add(_state(words, record.applied_revision >= revision))
        for report in self._elsewhere().values():
            states.add(_state(report.words.get(revision), report.applied >= revision))
        if "rejected" in states:
            return "rejected"
        return "applied" if states == {"applied"} and self._has_envoy() else "pending"

    def _has_envoy(self) -> bool:
        """Whether anybody is there who serves calls: what only workers have is not live."""
        here = (record.streams.values() for record in self._records.values())
        clusters = {stream.node.cluster for streams in here for stream in streams}
        clusters |= {report.cluster for report in self._elsewhere().values()}
        return bool(clusters - {WORKERS})

    def hear(self, name: str, report: Report | None) -> None:
        """What another replica says of a node; None: it says nothing any more.

        A refusal that has been examined, and was found to say nothing of the rest, is withdrawn.
        """
        old = self._reports.pop(name, None)
        if report is not None:
            self._reports[name] = report
        if old is None or report is None or not old.rejects or report.rejects:
            return
        own = any(record.rejects == old.rejects for record in self._records.values())
        if not own and report.replica == old.replica:
            self._rejected = [a for a in self._rejected if a.revision != old.rejects]

    def report(self, name: str, standing: Standing) -> Report | None:
        """What the other replicas are told of a node; None if it is not connected."""
        record = self._records.get(name)
        if record is None or not record.streams:
            return None
        node = self._node(name)
        words = sorted(record.words.items())[-MAX_WORDS:]
        return Report(
            node=name,
            replica=self.replica,
            cluster=node.cluster,
            user_agent=node.user_agent,
            added=standing.added.revision,
            turn=standing.added.turn,
            back=standing.added.back,
            routed=standing.routed,
            applied=node.applied_revision,
            holds=standing.holds,
            silent=record.silent,
            rejects=record.rejects,
            examining=bool(self._examined[record.rejects]),
            words={revision: text[:MAX_TEXT] for revision, text in words},
            types=node.types,
        )

    def hush(self, name: str, silent: bool) -> None:
        """A connected node has fallen silent, or has answered."""
        self._records[name].silent = silent

    def is_silent(self, name: str) -> bool:
        record = self._records.get(name)
        return record is not None and record.silent

    def streams(self, name: str) -> Collection[int]:
        """The numbers of a node's streams."""
        record = self._records.get(name)
        return record.streams if record is not None else ()

    def examine(self, revision: int) -> None:
        """Somebody is finding out what is wrong with a refused revision: it is pending again."""
        self._examined[revision] += 1

    def judge(self, revision: int, *, isolated: bool) -> None:
        """What was wrong has been set aside, so the refusal says nothing of the rest any more; or
        nobody could tell, and all of it is rejected."""
        self._examined -= Counter((revision,))
        if isolated and not self._examined[revision]:
            self._rejected = [a for a in self._rejected if a.revision != revision]
            self._take_back(revision)
            self._acquitted = revision

    def attempt(self, serving: Serving, revision: int) -> None:
        """A move to `revision` began with what is served now."""
        self._attempts[serving.stamp.epoch] = _Attempt(self._newest, revision)
        if revision > self._newest:
            self._before, self._newest = self._newest, revision
        elif revision == self._newest == serving.revision:
            self._try_again(serving)
        _bound(self._attempts, MAX_REJECTIONS)
        self._rejected = [a for a in self._rejected if a.revision != revision]
        self._take_back(revision)

    def reject(self, stamp: Stamp) -> None:
        """A node of another replica refused what is moving here, too."""
        if attempt := self._attempts.get(stamp.epoch):
            self._rejected = [*self._rejected, attempt][-MAX_REJECTIONS:]

    def _try_again(self, serving: Serving) -> None:
        """The newest revision once more, with less or more set aside: nobody has it as it is now
        before the routes have moved."""
        self._again = serving.stamp.generation
        for record in self._records.values():
            record.applied = {n: min(had, self._before) for n, had in record.applied.items()}

    def serve(self, serving: Serving) -> None:
        self._serving = serving

    def join(self, number: int, stream: Stream) -> None:
        record = self._records.pop(stream.node.id, None) or _Record()
        record.streams[number] = stream
        record.applied[number] = 0
        self._records[stream.node.id] = record
        self._forget_absent()

    def leave(self, number: int, stream: Stream) -> None:
        """The stream is gone; if it was the node's last, what it had is remembered."""
        record = self._records[stream.node.id]
        if len(record.streams) == 1:
            record.last = self._node(stream.node.id)
            record.silent = False
        record.streams.pop(number, None)
        record.applied.pop(number, None)

    def observe(self, number: int, stream: Stream) -> bool:
        """The stream changed: it has the served revision if it has answered and accepted all.

        Returns whether that is new.
        """
        if any(s.error or is_pending(s, self._serving) for s in stream.subscriptions.values()):
            return False
        if not self._serving.routed or self._still_starts(stream):
            return False
        record, revision = self._records[stream.node.id], self._serving.revision
        if self._serving.stamp.generation == self._again:
            revision = min(revision, self._before)
        before, record.applied[number] = record.applied[number], revision
        if record.applied_revision == revision:
            record.words.pop(revision, None)
            record.rejects = 0 if record.rejects == revision else record.rejects
        return before != revision

    def _still_starts(self, stream: Stream) -> bool:
        """Whether it is an Envoy that uses no routes yet: it asks for clusters first, and for
        listeners and routes only when it has those."""
        if CLUSTER not in stream.subscriptions or not self._serving.routed:
            return False
        return stream.progress(self._serving).confirmed is None

    def refuse(self, stream: Stream, stamp: Stamp, error: str, *, rejected: bool) -> None:
        """A node refused a response; `rejected` if that rejects the revision of that moment."""
        attempt = self._attempts.get(stamp.epoch)
        if attempt is None or self._is_over(attempt, stamp):
            return
        record = self._records[stream.node.id]
        record.words[attempt.revision] = error
        _bound(record.words, MAX_REJECTIONS)
        if rejected:
            record.rejects = attempt.revision
            self._rejected = [*self._rejected, attempt][-MAX_REJECTIONS:]

    def _is_over(self, attempt: _Attempt, stamp: Stamp) -> bool:
        """Whether it is known already what was at fault then: one refusal seldom comes alone."""
        return attempt.revision == self._acquitted and stamp.epoch != next(reversed(self._attempts))

    def _take_back(self, revision: int) -> None:
        """What nodes said of a revision counts no more."""
        for record in self._records.values():
            record.words.pop(revision, None)
            record.rejects = 0 if record.rejects == revision else record.rejects

    def _rejection(self, revision: int) -> _Attempt | None:
        return next((a for a in reversed(self._rejected) if a.carried(revision)), None)

    def _is_examined(self, revision: int) -> bool:
        elsewhere = (r for r in self._reports.values() if r.rejects == revision)
        return bool(self._examined[revision]) or any(report.examining for report in elsewhere)

    def _elsewhere(self) -> dict[str, Report]:
        """The reports of nodes that are not connected here."""
        return {name: r for name, r in self._reports.items() if not self.streams(name)}

    def _reported(self, report: Report) -> NodeStatus:
        return NodeStatus(
            report.node,
            report.cluster,
            report.user_agent,
            report.connected,
            report.applied,
            report.types,
            report.replica,
            report.silent,
            self.old,
        )

    def _at_report(self, report: Report, revision: int, rejected: _Attempt | None) -> NodeRevision:
        words = report.words.get(rejected.revision if rejected else revision)
        if words:
            return NodeRevision("rejected", words)
        if rejected is not None:
            return NodeRevision("pending", "withdrawn: another node refused it")
        if report.applied >= revision:
            return NodeRevision("applied")
        return NodeRevision("pending", _waited_for_elsewhere(report, old=self.old))

    def _at(
        self, record: _Record, revision: int, words: str | None, rejected: bool
    ) -> NodeRevision:
        if words:
            return NodeRevision("rejected", words)
        if rejected:
            return NodeRevision("pending", "withdrawn: another node refused it")
        if record.applied_revision >= revision:
            return NodeRevision("applied")
        detail = "does not answer: " if record.silent else ""
        return NodeRevision("pending", detail + _waited_for(record, self._serving))

    def _node(self, name: str) -> NodeStatus:
        record = self._records[name]
        if not record.streams and record.last is not None:
            last = record.last
            return replace(last, connected=False)
        node = next(reversed(record.streams.values())).node
        types: dict[str, TypeStatus] = {}
        for stream in record.streams.values():
            types.update(_types(stream, self._serving))
        applied = record.applied_revision
        return NodeStatus(
            node.id,
            node.cluster,
            node.user_agent,
            True,
            applied,
            types,
            self.replica,
            record.silent,
        )

    def _forget_absent(self) -> None:
        absent = [name for name, record in self._records.items() if not record.streams]
        for name in absent[: max(0, len(absent) - MAX_ABSENT)]:
            del self._records[name]


def _state(words: str | None, applied: bool) -> State:
    if words:
        return "rejected"
    return "applied" if applied else "pending"


def _types(stream: Stream, serving: Serving) -> dict[str, TypeStatus]:
    return {
        type_url: TypeStatus(s.version, is_pending(s, serving), s.error)
        for type_url, s in stream.subscriptions.items()
    }


def _waited_for(record: _Record, serving: Serving) -> str:
    pending = {
        type_url.rpartition(".")[2]
        for stream in record.streams.values()
        for type_url, subscription in stream.subscriptions.items()
        if is_pending(subscription, serving)
    }
    return f"waiting for {', '.join(sorted(pending)) or 'the other nodes'}"


def _waited_for_elsewhere(report: Report, *, old: bool) -> str:
    where = f"at the control plane {report.replica}"
    if not report.connected:
        detail = f"has left the control plane {report.replica} just now"
    elif report.silent:
        detail = f"does not answer {where}"
    else:
        detail = f"waiting for it {where}, where it has revision {report.applied}"
    return f"{detail} (as last seen: etcd is away)" if old else detail


def _bound(entries: dict[int, Any], limit: int) -> None:
    while len(entries) > limit:
        del entries[next(iter(entries))]
