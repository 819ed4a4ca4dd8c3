"""What users wrote, in etcd: transactions, the reflector, sealed secrets.

`Store.commit` is the only way to write, `Store.reflector` the only way to read.
"""

from control_plane.store import versions
from control_plane.store._access import EtcdAccess
from control_plane.store._layout import PREFIX
from control_plane.store._lkg import Kept, LastKnownGood
from control_plane.store._nodes import NodeKeys
from control_plane.store._right_key import wrong_key
from control_plane.store._upkeep import Policy, Space
from control_plane.store.codec import Codec, SealerLike
from control_plane.store.errors import (
    Conflict,
    KekError,
    KeysApart,
    KeysInUse,
    KeysNotOurs,
    OutcomeUnknown,
    SealError,
    StoreError,
    StoreUnavailable,
    Tampered,
    TooLarge,
    Undecodable,
    WrongKek,
)
from control_plane.store.keyring import KekFile, KeksFromText, Keyring, KeySource
from control_plane.store.model import (
    AuditEntry,
    AuditPage,
    Changes,
    Guard,
    Snapshot,
    Stored,
    StoredProblem,
    StoredRecord,
)
from control_plane.store.reflector import Reflector
from control_plane.store.rotation import KeyUse, Progress, Rotation
from control_plane.store.sealing import Kek, Sealer
from control_plane.store.store import Build, Limits, Store
from control_plane.store.versions import Version

__all__ = [
    "PREFIX",
    "AuditEntry",
    "AuditPage",
    "Build",
    "Changes",
    "Codec",
    "Conflict",
    "EtcdAccess",
    "Guard",
    "Kek",
    "KekError",
    "KekFile",
    "KeksFromText",
    "Kept",
    "KeySource",
    "KeyUse",
    "Keyring",
    "KeysApart",
    "KeysInUse",
    "KeysNotOurs",
    "LastKnownGood",
    "Limits",
    "NodeKeys",
    "OutcomeUnknown",
    "Policy",
    "Progress",
    "Reflector",
    "Rotation",
    "SealError",
    "Sealer",
    "SealerLike",
    "Snapshot",
    "Space",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "Stored",
    "StoredProblem",
    "StoredRecord",
    "Tampered",
    "TooLarge",
    "Undecodable",
    "Version",
    "WrongKek",
    "versions",
    "wrong_key",
]
