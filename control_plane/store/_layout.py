"""Where things lie in etcd.

{prefix}/guard                       the guard, see `_guard.py`
{prefix}/resources/{plural}/{name}   one resource, see `codec.py`
"""

from __future__ import annotations

from dataclasses import dataclass

from control_plane.resources import Key


@dataclass(frozen=True, slots=True)
class Layout:
    """The keys under one prefix (no slash at its end), and the range that holds them all."""

    prefix: str = "/naru/v1"

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
