"""What can go wrong between the product and etcd.

    StoreError                 500  store_error
    ├── Conflict               409  conflict            others wrote first, too many times in a row
    ├── TooLarge               413  too_large           refused before anything was written
    ├── StoreUnavailable       503  store_unavailable   etcd does not answer; nothing was written
    │   └── StoreFull          503  store_full          etcd is above its quota; nothing was written
    ├── KeysApart              409  keys_apart          a replica does not have the new key yet
    ├── KeysInUse              409  keys_in_use         something is still sealed with them
    ├── OutcomeUnknown         503  outcome_unknown     etcd fell silent in the middle of a write
    ├── Undecodable            500  undecodable         a stored document is not a valid resource
    └── SealError              500  seal_error
        ├── KekError           500  kek_unusable        the key-encryption key cannot be used
        │   └── KeysNotOurs    409  keys_not_ours       only who provides the keys can change them
        ├── WrongKek           500  wrong_kek           sealed with another key-encryption key
        └── Tampered           500  tampered            the sealed value is not what was sealed here

Every message is fit for an API answer and a log: it never holds a secret or a stored document.
"""

from __future__ import annotations

from typing import ClassVar


class StoreError(Exception):
    """Base of everything that this package raises on purpose.

    `code` is stable, `status` is the HTTP status that fits, `message` says the next step.
    """

    code: ClassVar[str] = "store_error"
    status: ClassVar[int] = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Conflict(StoreError):
    """Each try met a write that was made in between."""

    code = "conflict"
    status = 409


class TooLarge(StoreError):
    """The change does not fit into one transaction."""

    code = "too_large"
    status = 413


class KeysApart(StoreError):
    """Nothing was re-sealed: a replica could not read it."""

    code = "keys_apart"
    status = 409


class KeysInUse(StoreError):
    """No key can be dropped."""

    code = "keys_in_use"
    status = 409


class StoreUnavailable(StoreError):
    """etcd cannot be reached, or does not answer in time. Nothing was written."""

    code = "store_unavailable"
    status = 503


class OutcomeUnknown(StoreError):
    """etcd fell silent after the write was sent: it may or may not have been applied."""

    code = "outcome_unknown"
    status = 503


class Undecodable(StoreError):
    """A document in etcd is not a valid resource."""

    code = "undecodable"


class SealError(StoreError):
    """A secret could not be sealed or unsealed."""

    code = "seal_error"


class KekError(SealError):
    """The key-encryption key is missing, malformed, or readable by others."""

    code = "kek_unusable"


class KeysNotOurs(KekError):
    """The keys come from outside; the message says who has to do what."""

    code = "keys_not_ours"
    status = 409


class WrongKek(SealError):
    """The secret was sealed with a key-encryption key that this process does not have."""

    code = "wrong_kek"


class Tampered(SealError):
    """The sealed value was altered, cut, or moved here from another place."""

    code = "tampered"
