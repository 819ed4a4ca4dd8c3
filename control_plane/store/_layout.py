"""Where things lie in etcd.

{prefix}/guard                       the guard, see `_guard.py`
{prefix}/resources/{plural}/{name}   one resource, see `codec.py`
{prefix}/records/{family}/{name}     a document of the product's own, see `Snapshot.records`
{prefix}-audit/{milliseconds}-{id}   one write, by whom and why; never followed
{prefix}-replicas/{id}               a control plane that runs (leased), see `presence.py`
{prefix}-nodes/{node id}             where a node stands, under a lease; followed by itself
{prefix}-maintenance                 leased: the replica that looks after etcd
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from control_plane.resources import Key

PREFIX: Final = "/naru/v1"
_LONGEST_ID: Final = 256
_RECORD: Final = re.compile(r"[a-z]+(/[a-z0-9][a-z0-9._-]*){1,2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Layout:
    """The keys under one prefix (no slash at its end), and the range that holds them all."""

    prefix: str = PREFIX

    def __post_init__(self) -> None:
        if not self.prefix.startswith("/") or self.prefix.endswith("/"):
            raise ValueError('the prefix must begin with a slash and not end with one: "/naru/v1"')

    @property
    def guard(self) -> bytes:
        return f"{self.prefix}/guard".encode()

    @property
    def start(self) -> bytes:
        return f"{self.prefix}/".encode()

    @property
    def end(self) -> bytes:
        """The first key after the range: '0' is the character after '/'."""
        return f"{self.prefix}0".encode()

    def resource(self, key: Key) -> bytes:
        return f"{self.prefix}/resources/{key.plural}/{key.name}".encode()

    def record(self, name: str) -> bytes:
        """The key of a record, named `family/name`."""
        if not _RECORD.fullmatch(name):
            raise ValueError(f"not the name of a record: {name!r}")
        return f"{self.prefix}/records/{name}".encode()

    def record_name(self, raw: bytes) -> str | None:
        """The record that a raw key names; `None` for every other key."""
        head = f"{self.prefix}/records/".encode()
        name = raw[len(head) :].decode("utf-8", "replace") if raw.startswith(head) else ""
        return name if _RECORD.fullmatch(name) else None

    @property
    def audit(self) -> bytes:
        """What the keys of the audit trail begin with; they lie outside of the range."""
        return f"{self.prefix}-audit/".encode()

    @property
    def maintenance(self) -> bytes:
        """The lock of the replica that looks after etcd; outside of the range."""
        return f"{self.prefix}-maintenance".encode()

    def audit_entry(self, milliseconds: int, write_id: str) -> bytes:
        """The key of an entry: in the order of time (Unix), and unique."""
        return self.audit + f"{milliseconds:013d}-{write_id}".encode()

    @property
    def replicas(self) -> bytes:
        """What the keys of the control planes that run begin with; outside of the range, too."""
        return f"{self.prefix}-replicas/".encode()

    def resources(self, plural: str) -> bytes:
        """What the keys of all resources of a kind begin with."""
        return f"{self.prefix}/resources/{plural}/".encode()

    @property
    def records(self) -> bytes:
        """What the keys of all records begin with."""
        return f"{self.prefix}/records/".encode()

    @property
    def nodes(self) -> tuple[bytes, bytes]:
        """The range of the nodes' keys; it lies outside of the other."""
        return f"{self.prefix}-nodes/".encode(), f"{self.prefix}-nodes0".encode()

    def node(self, name: str) -> bytes:
        """The key of a node. Its id may hold anything, and be of any length."""
        escaped = quote(name, safe="", errors="surrogatepass")
        if len(escaped) > _LONGEST_ID:
            digest = hashlib.blake2b(escaped.encode(), digest_size=16).hexdigest()
            escaped = f"{escaped[:_LONGEST_ID]}~{digest}"
        return self.nodes[0] + escaped.encode()

    def audit_range(self, since: int, until: int, after: str | None) -> tuple[bytes, bytes]:
        """The range of the entries of [since, until) in milliseconds, after the one named."""
        start = self.audit + f"{max(since, 0):013d}".encode()
        if after is not None:
            start = max(start, self.audit + after.encode() + b"\0")
        return start, max(start, self.audit + f"{max(until, 0):013d}".encode())

    def audit_name(self, raw: bytes) -> str:
        """The name of an entry, as `audit_range` takes it."""
        return raw.decode("utf-8", "replace").removeprefix(self.audit.decode())

    def short(self, raw: bytes) -> str:
        """A key for people: without the prefix."""
        return raw.decode("utf-8", "replace").removeprefix(f"{self.prefix}/resources/")

    def key(self, raw: bytes) -> Key | None:
        """The resource that a raw key names; `None` for every other key."""
        head = f"{self.prefix}/resources/".encode()
        if not raw.startswith(head):
            return None
        plural, slash, name = raw[len(head) :].decode("utf-8", "replace").partition("/")
        return Key(plural, name) if plural and slash and name and "/" not in name else None
