"""The key-encryption keys (KEKs) of this process: where they come from, and which one seals.

A source holds several keys, newest first, so that what an older one has sealed still opens. Which
one seals is not the source's to say, but a record in etcd's (`keys/primary`, see `rotation.py`):
all replicas change over in one transaction, whatever they were started with and when. Before the
first rotation it is the oldest key, the last of the source: a newer one that is put before it can
be handed to one replica after the other, and nobody seals with it until all can read it.

A source is a file or an environment variable. A key management service would be another
`KeySource`, whose keys wrap and unwrap where they are; nothing else here would change.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from control_plane.store.errors import KekError, KeysNotOurs, WrongKek
from control_plane.store.sealing import Kek, Sealer

log = logging.getLogger(__name__)

_LARGEST: Final = 64 * 1024
_PAUSE: Final = 1.0
"""Seconds between two readings of the source for keys that are not known."""
_HEAD: Final = "# Key-encryption keys, newest first. Changed by `naru keys rotate` and `prune`.\n"


class KeySource(Protocol):
    """Where keys come from; `name` is what an operator calls it."""

    @property
    def name(self) -> str: ...

    def load(self) -> tuple[Kek, ...]:
        """The keys, newest first, at least one; raises `KekError`."""
        ...

    def add(self, kek: Kek) -> None:
        """Put a key before the others; raises `KeysNotOurs`, saying who has to do it instead."""
        ...

    def drop(self, ids: Collection[str]) -> None:
        """Take keys away; raises as `add`."""
        ...


class KeksFromText:
    """Keys out of an environment variable: only its owner can change them."""

    def __init__(self, text: str, name: str = "NARU_KEK") -> None:
        self._text = text
        self.name = name

    def load(self) -> tuple[Kek, ...]:
        return keks_from_text(self._text, self.name)

    def add(self, kek: Kek) -> None:
        raise KeysNotOurs(
            f"{self.name} comes from outside, so a new key must, too: make one with `openssl rand "
            f"-base64 32`, put it before the present one in {self.name} of every control plane "
            '("NEW,OLD"), restart one after the other, and run this again'
        )

    def drop(self, ids: Collection[str]) -> None:
        raise KeysNotOurs(
            f"{self.name} comes from outside: take {_listed(ids)} out of it on every control plane"
        )


class KekFile:
    """Keys in a file of mode 0600, one a line, `#` begins a comment.

    The gateway changes it only where it is the gateway's own: no link, this user's, in a directory
    that it may write to. A mounted secret is none of it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = f"the key-encryption key {path}"

    def load(self) -> tuple[Kek, ...]:
        """Refuses a file that the group or others may use."""
        try:
            with self._path.open("rb") as file:
                self._check_mode(os.fstat(file.fileno()).st_mode)
                content = file.read(_LARGEST)
        except OSError as error:
            raise KekError(
                f"cannot read {self.name}: {error.strerror}; "
                "set NARU_KEK_FILE to a file of mode 0600, or NARU_KEK to the key in base64"
            ) from error
        return keks_from_text(content.decode("ascii", "replace"), str(self._path))

    def add(self, kek: Kek) -> None:
        self._change(lambda keks: (kek, *keks), kek.id)

    def drop(self, ids: Collection[str]) -> None:
        self._change(lambda keks: tuple(kek for kek in keks if kek.id not in ids), _listed(ids))

    def _change(self, change: Callable[[tuple[Kek, ...]], Sequence[Kek]], what: str) -> None:
        if not self._is_ours():
            raise KeysNotOurs(
                f"{self.name} is not the gateway's to write, so change it where it comes from. A "
                "new key (`openssl rand -base64 32`) goes on a line before the others, in the file "
                f"of every control plane; one that is not used any more is taken out ({what}). "
                "They read the file again by themselves; then run this again"
            )
        try:
            with self._locked():
                keks = change(self.load())
                if not keks:
                    raise KekError(f"no key would be left in {self._path}")
                _write(self._path, _HEAD + "".join(f"{kek.to_base64()}\n" for kek in keks))
        except OSError as error:
            raise KekError(f"cannot write {self.name}: {error.strerror}") from error

    def _is_ours(self) -> bool:
        with contextlib.suppress(OSError):
            found = self._path.lstat()
            mine = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
            return mine and os.access(self._path.parent, os.W_OK)
        return False

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Two replicas on one file must not undo each other's change."""
        path = self._path.with_name(f".{self._path.name}.lock")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _check_mode(self, mode: int) -> None:
        if not stat.S_ISREG(mode):
            raise KekError(f"{self.name} is not a regular file")
        if mode & 0o077:
            raise KekError(
                f"{self.name} has mode {stat.S_IMODE(mode):04o}, so others may use it: run "
                f"`chmod 600 {self._path}`; if they did read it, change the secrets as well"
            )


class Keyring:
    """Seals with the primary key, opens with every key of the source.

    A key that is not known makes it read the source again: another replica may have put it there.
    """

    def __init__(self, source: KeySource) -> None:
        self.source = source
        self._keks: Mapping[str, Kek] = {}
        self._chosen: str | None = None
        self._read_at = 0.0
        self._take(source.load())

    @property
    def ids(self) -> tuple[str, ...]:
        """Of all keys, newest first."""
        return tuple(self._keks)

    @property
    def primary(self) -> str:
        """The id of the key that seals; it may be one that this process does not have."""
        return self._chosen or self.ids[-1]

    def choose(self, kek_id: str | None) -> None:
        """Seal with this key from now on; None: there was no rotation yet."""
        self._chosen = kek_id
        if self.primary not in self._keks:
            self._look_again()

    def refresh(self) -> None:
        """Read the source again; if that fails, the keys stay what they were."""
        self._read_at = time.monotonic()
        try:
            self._take(self.source.load())
        except KekError as error:
            log.error("%s; the keys read before stay in use", error.message)

    def seal(self, plaintext: str, context: str) -> dict[str, Any]:
        """See `Sealer.seal`."""
        return self._sealer().seal(plaintext, context)

    def unseal(self, sealed: Mapping[str, Any], context: str) -> str:
        """See `Sealer.unseal`."""
        try:
            return self._opener().unseal(sealed, context)
        except WrongKek:
            if not self._look_again():
                raise
            return self._opener().unseal(sealed, context)

    def rewrap(self, sealed: Mapping[str, Any], context: str) -> dict[str, Any]:
        """See `Sealer.rewrap`."""
        return self._sealer().rewrap(sealed, context)

    def derive(self, purpose: str, kek_id: str | None = None) -> tuple[str, bytes]:
        """A key for another purpose, and the id of the KEK that it comes from: the primary, or
        the one that is asked for. Raises `KekError` if that is not here."""
        kek = self._kek(kek_id or self.primary)
        return kek.id, kek.derive(purpose)

    def _sealer(self) -> Sealer:
        return Sealer(self._kek(self.primary), tuple(self._keks.values()))

    def _opener(self) -> Sealer:
        keks = tuple(self._keks.values())
        return Sealer(keks[0], keks)

    def _kek(self, kek_id: str) -> Kek:
        if kek_id not in self._keks and not (self._look_again() and kek_id in self._keks):
            raise KekError(
                f"the key-encryption key in use is {kek_id} by now, which {self.source.name} "
                f"does not hold (it has {_listed(self.ids)}): add it there, as it is at the other "
                "control planes"
            )
        return self._keks[kek_id]

    def _look_again(self) -> bool:
        """Whether the source was read again; not more often than now and then."""
        if time.monotonic() - self._read_at < _PAUSE:
            return False
        before = self.ids
        self.refresh()
        return self.ids != before

    def _take(self, keks: Sequence[Kek]) -> None:
        self._keks = {kek.id: kek for kek in keks}


def keks_from_text(text: str, source: str) -> tuple[Kek, ...]:
    """The keys in `text`, newest first: base64, with commas, spaces or line ends between them.

    One key that is broken over several lines is one key. `source` names the text in errors.
    """
    lines = (line.partition("#")[0] for line in text.splitlines())
    parts = " ".join(lines).replace(",", " ").split()
    try:
        keks = tuple(Kek.from_base64(part, source) for part in parts)
    except KekError:
        keks = (Kek.from_base64("".join(parts), source),)
    return keks or (Kek.from_base64("", source),)


def _listed(ids: Collection[str]) -> str:
    return ", ".join(ids)


def _write(path: Path, text: str) -> None:
    """Replace the file in one step; it is on the disk when this returns."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        draft.unlink(missing_ok=True)
