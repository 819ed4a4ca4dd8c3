"""A client of either variant that talks to one stream in real messages, and a server's table.

It says what it wants as a whole (`want`), and each variant says it in its own way. What it gets is
held against what the document forbids in any response.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from envoy.service.discovery.v3 import discovery_pb2 as pb

from control_plane.compile.model import XdsResource
from control_plane.xds.messages import read, write
from control_plane.xds.serving import NOTHING, Serving, Stamp, Table
from control_plane.xds.stream import Node, Stream, Variant
from control_plane.xds.subscription import Answer
from tests.unit.control_plane.xds._clients import resource

WILDCARD = "*"


@dataclass(frozen=True, slots=True)
class Heard:
    """One response. `bodies` by name; state of the world gives names as the bodies' first word."""

    type_url: str
    nonce: str
    version: str
    bodies: Mapping[str, str]
    removed: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return sorted(self.bodies)


class Peer:
    """One stream of one node; it answers nothing by itself."""

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.serving: Serving = NOTHING
        self.join()

    def join(self) -> None:
        """A new stream: nothing of the old one counts any more."""
        self.stream = Stream(Node("n"), self.variant, lambda: None)
        self.wanted: dict[str, frozenset[str]] = {}
        self.versions: dict[str, str] = {}
        self.nonces: dict[str, str] = {}
        self._seen: set[str] = set()
        self._replied: set[str] = set()

    def serve(self, type_url: str, **bodies: str) -> None:
        """From now on exactly these exist of the type; the other types stay."""
        made = [resource(type_url, name, f"{name} {body}") for name, body in bodies.items()]
        self.serve_table(type_url, made)

    def serve_table(self, type_url: str, resources: Iterable[XdsResource]) -> None:
        old, table = self.serving, Table({each.name: each for each in resources})
        stamp = Stamp(old.stamp.epoch + 1, old.stamp.generation + 1)
        tables = {**old.tables, type_url: table}
        self.serving = Serving(stamp, stamp.epoch, tables, routed=True)
        changed = {type_url: table.changed_since(old.tables.get(type_url))}
        self.stream.serve(old, self.serving, changed)

    def want(
        self,
        type_url: str,
        *names: str,
        initial: Mapping[str, str] | None = None,
        version: str = "",
        nonce: str = "",
    ) -> Answer | None:
        """From now on exactly these are wanted: the next request of the type, no answer."""
        before, now = self.wanted.get(type_url, frozenset()), frozenset(names)
        self.wanted[type_url] = now
        if self.variant == "sotw":
            version = version or self.versions.get(type_url, "")
            nonce = nonce or self.nonces.get(type_url, "")
            message = pb.DiscoveryRequest(version_info=version, resource_names=sorted(names))
            return self.send(type_url, message, nonce)
        return self.send(
            type_url,
            pb.DeltaDiscoveryRequest(
                resource_names_subscribe=sorted(now - before),
                resource_names_unsubscribe=sorted(before - now),
                initial_resource_versions=initial or {},
            ),
            nonce,
        )

    def reply(self, heard: Heard, error: str | None = None) -> Answer | None:
        """The ACK of a response, or its NACK."""
        self.nonces[heard.type_url] = heard.nonce
        self._replied.add(heard.nonce)
        if error is None:
            self.versions[heard.type_url] = heard.version
        if self.variant == "delta":
            return self.send(heard.type_url, pb.DeltaDiscoveryRequest(), heard.nonce, error)
        message = pb.DiscoveryRequest(
            version_info=self.versions.get(heard.type_url, ""),
            resource_names=sorted(self.wanted.get(heard.type_url, ())),
        )
        return self.send(heard.type_url, message, heard.nonce, error)

    def send(
        self,
        type_url: str,
        message: pb.DiscoveryRequest | pb.DeltaDiscoveryRequest,
        nonce: str = "",
        error: str | None = None,
    ) -> Answer | None:
        message.type_url, message.response_nonce = type_url, nonce
        if error is not None:
            message.error_detail.SetInParent()
            message.error_detail.message = error
        request = read(self.variant, message.SerializeToString())
        return self.stream.request(request.type_url, request.body, self.serving)

    def hear(self) -> list[Heard]:
        """All that the server sends now, by itself or as an answer."""
        heard = []
        while (response := self.stream.next(self.serving)) is not None:
            heard.append(self._read(write(self.variant, response)))
        return heard

    def talk(self) -> list[Heard]:
        """Hears and ACKs until the server is done."""
        everything: list[Heard] = []
        while heard := self.hear():
            everything += heard
            for each in heard:
                self.reply(each)
        return everything

    def _read(self, data: bytes) -> Heard:
        if self.variant == "sotw":
            full = pb.DiscoveryResponse.FromString(data)
            assert {any_.type_url for any_ in full.resources} <= {full.type_url}
            pairs = [_pair(any_.value) for any_ in full.resources]
            heard = Heard(full.type_url, full.nonce, full.version_info, dict(pairs), ())
            identifier = full.control_plane.identifier
        else:
            delta = pb.DeltaDiscoveryResponse.FromString(data)
            assert {each.resource.type_url for each in delta.resources} <= {delta.type_url}
            pairs = [_pair(each.resource.value) for each in delta.resources]
            assert [name for name, _ in pairs] == [each.name for each in delta.resources]
            assert all(each.version for each in delta.resources)
            version, gone = delta.system_version_info, tuple(delta.removed_resources)
            heard = Heard(delta.type_url, delta.nonce, version, dict(pairs), gone)
            identifier = delta.control_plane.identifier
        self._check(heard, [name for name, _ in pairs], identifier)
        return heard

    def _check(self, heard: Heard, names: list[str], identifier: str) -> None:
        """ "Basic Protocol Overview", "Duplicate Resource Names": true of every response."""
        assert identifier == "naru"
        assert heard.nonce
        assert heard.nonce not in self._seen
        self._seen.add(heard.nonce)
        assert len(set(names)) == len(names)
        assert len(set(heard.removed)) == len(heard.removed)
        assert not set(names) & set(heard.removed)


def _pair(body: bytes) -> tuple[str, str]:
    name, _, content = body.decode().partition(" ")
    return name, content
