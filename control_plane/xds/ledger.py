"""What every node has: its types, its revision, and its own words when it refused something.

Pure. A node is known by its id and may have several streams (an Envoy that reconnects before its
old stream has died). Words are kept after the node has gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from control_plane.compile.model import CLUSTER
from control_plane.xds.serving import NOTHING, Serving, Stamp
from control_plane.xds.stream import Stream, is_pending

State = Literal["pending", "applied", "rejected"]
MAX_REJECTIONS = 256
MAX_ABSENT = 1024


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """One type at one node: the version it acknowledged last, and why it refused the newest."""

    version: str
    pending: bool
    error: str


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node. `applied_revision` is the revision whose routes and all it uses (0: none yet)."""

    id: str
    cluster: str
    user_agent: str
    connected: bool
    applied_revision: int
    types: Mapping[str, TypeStatus]


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
    last: NodeStatus | None = None

    @property
    def applied_revision(self) -> int:
        return min(self.applied.values(), default=self.last.applied_revision if self.last else 0)


class Ledger:
    """Read with `nodes` and `status`; written by the hub."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}
        self._attempts: dict[int, _Attempt] = {}
        self._rejected: list[_Attempt] = []
        # Refused revisions of which nobody knows yet what is bad: how many refusals of each.
        self._examined: Counter[int] = Counter()
        self._newest = self._before = 0  # the newest revision tried, and the one before it
        self._again = -1  # the generation of routes at which the newest was tried again
        self._serving = NOTHING

    def nodes(self) -> tuple[NodeStatus, ...]:
        """Every node that is connected, and those that were, by id."""
        return tuple(self._node(name) for name in sorted(self._records))

    def status(self, revision: int) -> RevisionStatus:
        """Where a revision stands, at the nodes that are connected and those that refused it."""
        rejected = next((a for a in reversed(self._rejected) if a.carried(revision)), None)
        nodes = {}
        for name, record in sorted(self._records.items()):
            words = record.words.get(rejected.revision if rejected else revision)
            if record.streams or words:
                nodes[name] = self._at(record, revision, words, rejected is not None)
        states = {node.state for node in nodes.values()}
        if rejected is not None and self._examined[rejected.revision]:
            return RevisionStatus(revision, "pending", nodes)
        if rejected or "rejected" in states:
            return RevisionStatus(revision, "rejected", nodes)
        return RevisionStatus(revision, "applied" if states == {"applied"} else "pending", nodes)

    def examine(self, revision: int) -> None:
        """Somebody is finding out what is wrong with a refused revision: it is pending again."""
        self._examined[revision] += 1

    def judge(self, revision: int, *, isolated: bool) -> None:
        """What was wrong has been set aside, so the refusal says nothing of the rest any more; or
        nobody could tell, and all of it is rejected."""
        self._examined -= Counter((revision,))
        if isolated and not self._examined[revision]:
            self._rejected = [a for a in self._rejected if a.revision != revision]
            for record in self._records.values():
                record.words.pop(revision, None)

    def attempt(self, serving: Serving, revision: int) -> None:
        """A move to `revision` began with what is served now."""
        self._attempts[serving.stamp.epoch] = _Attempt(self._newest, revision)
        if revision > self._newest:
            self._before, self._newest = self._newest, revision
        elif revision == self._newest == serving.revision:
            self._try_again(serving)
        _bound(self._attempts, MAX_REJECTIONS)
        self._rejected = [a for a in self._rejected if a.revision != revision]
        for record in self._records.values():
            record.words.pop(revision, None)

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
        record.streams.pop(number, None)
        record.applied.pop(number, None)

    def observe(self, number: int, stream: Stream) -> None:
        """The stream changed: it has the served revision if it has answered and accepted all."""
        if any(s.error or is_pending(s, self._serving) for s in stream.subscriptions.values()):
            return
        if self._still_starts(stream):
            return
        record, revision = self._records[stream.node.id], self._serving.revision
        if self._serving.stamp.generation == self._again:
            revision = min(revision, self._before)
        record.applied[number] = revision
        if record.applied_revision == revision:
            record.words.pop(revision, None)

    def _still_starts(self, stream: Stream) -> bool:
        """Whether it is an Envoy that uses no routes yet: it asks for clusters first, and for
        listeners and routes only when it has those."""
        if CLUSTER not in stream.subscriptions or not self._serving.routed:
            return False
        return stream.progress(self._serving).confirmed is None

    def refuse(self, stream: Stream, stamp: Stamp, error: str, *, rejected: bool) -> None:
        """A node refused a response; `rejected` if that rejects the revision of that moment."""
        attempt = self._attempts.get(stamp.epoch)
        if attempt is None:
            return
        words = self._records[stream.node.id].words
        words[attempt.revision] = error
        _bound(words, MAX_REJECTIONS)
        if rejected:
            self._rejected = [*self._rejected, attempt][-MAX_REJECTIONS:]

    def _at(
        self, record: _Record, revision: int, words: str | None, rejected: bool
    ) -> NodeRevision:
        if words:
            return NodeRevision("rejected", words)
        if rejected:
            return NodeRevision("pending", "withdrawn: another node refused it")
        if record.applied_revision >= revision:
            return NodeRevision("applied")
        return NodeRevision("pending", _waited_for(record, self._serving))

    def _node(self, name: str) -> NodeStatus:
        record = self._records[name]
        if not record.streams and record.last is not None:
            last = record.last
            return NodeStatus(
                last.id, last.cluster, last.user_agent, False, last.applied_revision, last.types
            )
        node = next(reversed(record.streams.values())).node
        types: dict[str, TypeStatus] = {}
        for stream in record.streams.values():
            types.update(_types(stream, self._serving))
        return NodeStatus(
            node.id, node.cluster, node.user_agent, True, record.applied_revision, types
        )

    def _forget_absent(self) -> None:
        absent = [name for name, record in self._records.items() if not record.streams]
        for name in absent[: max(0, len(absent) - MAX_ABSENT)]:
            del self._records[name]


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


def _bound(entries: dict[int, Any], limit: int) -> None:
    while len(entries) > limit:
        del entries[next(iter(entries))]
