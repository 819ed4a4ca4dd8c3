"""Resource ↔ the bytes in etcd: the JSON document, its write-only fields sealed in place.

`spec.secret: "…"` is stored as `spec.secret: {"sealed": {…}}`; the context of each seal names the
resource and the field (`credentials/menu-key#secret`). A secret that lies in etcd in the clear is
refused rather than used: only another program can have put it there. A document whose secrets were
sealed anew, and nothing else, says in `written` since when it is what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import orjson

from control_plane.resources import KINDS, InvalidResource, Key, Resource, parse
from control_plane.store.errors import Undecodable

_WRITTEN: Final = "written"
_WRITTEN_BYTES: Final = b'"written":'
Rewrap = Callable[[Mapping[str, Any], str], dict[str, Any]]


class SealerLike(Protocol):
    """What the codec needs of `keyring.Keyring`."""

    @property
    def primary(self) -> str: ...

    def choose(self, kek_id: str | None) -> None: ...

    def seal(self, plaintext: str, context: str) -> dict[str, Any]: ...

    def unseal(self, sealed: Mapping[str, Any], context: str) -> str: ...


class Codec:
    """Encodes and decodes with one sealer."""

    def __init__(self, sealer: SealerLike) -> None:
        self._sealer = sealer

    @property
    def primary(self) -> str:
        """The id of the key that seals."""
        return self._sealer.primary

    def use(self, kek_id: str | None) -> None:
        """Seal with this key from now on; None: there was no rotation yet."""
        self._sealer.choose(kek_id)

    def encode(self, resource: Resource) -> bytes:
        """The stored form: JSON with sorted keys."""
        document = resource.to_document(reveal=True)
        spec = document["spec"]
        for name in resource.write_only & spec.keys():
            context = _context(resource.key, name)
            spec[name] = {"sealed": self._sealer.seal(spec[name], context)}
        return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)

    def decode(self, key: Key, data: bytes) -> Resource:
        """The resource under `key`. Raises `Undecodable` or a `SealError`, without any content."""
        document = _object(key, data)
        document.pop(_WRITTEN, None)
        spec = document.get("spec")
        kind = KINDS.get(key.plural)
        if kind is not None and isinstance(spec, dict):
            for name in kind.write_only & spec.keys():
                spec[name] = self._unseal(spec[name], key, name)
        resource = _parse(key, document)
        if resource.key != key:
            raise Undecodable(f"{key} holds a document with another kind or name: apply it again")
        return resource

    def _unseal(self, value: object, key: Key, name: str) -> str:
        sealed = value.get("sealed") if isinstance(value, dict) else None
        if not isinstance(sealed, dict):
            raise Undecodable(
                f"spec.{name} of {key} is not sealed, so it was not written by this product: "
                f"apply {key} again, with a new secret"
            )
        return self._sealer.unseal(sealed, _context(key, name))


def written(data: bytes) -> int | None:
    """The revision of the last change of a document's meaning, where it is not the key's own: its
    secrets were sealed with another key since."""
    if _WRITTEN_BYTES not in data:
        return None
    try:
        found = orjson.loads(data).get(_WRITTEN)
    except (orjson.JSONDecodeError, AttributeError):
        return None
    return found if isinstance(found, int) else None


def resealed(key: Key, data: bytes, revision: int, rewrap: Rewrap) -> bytes:
    """The document with its secrets sealed by `rewrap`; `revision` is what the key had before."""
    document = _object(key, data)
    document.setdefault(_WRITTEN, revision)
    reseal(key, document, rewrap)
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def reseal(key: Key, document: dict[str, Any], rewrap: Rewrap) -> None:
    """Seals the secrets of a stored document by `rewrap`, in place."""
    for name, value in document["spec"].items():
        if isinstance(value, dict) and isinstance(value.get("sealed"), dict):
            value["sealed"] = rewrap(value["sealed"], _context(key, name))


def _context(key: Key, name: str) -> str:
    return f"{key}#{name}"


def _object(key: Key, data: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise Undecodable(f"{key} is not a JSON object: apply it again")
    return document


def _parse(key: Key, document: dict[str, Any]) -> Resource:
    try:
        return parse(document)
    except InvalidResource as error:
        fields = ", ".join(problem.field for problem in error.problems)
        raise Undecodable(f"{key} is not valid ({fields}): apply it again") from None
