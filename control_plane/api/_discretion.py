"""What a caller may be told: answers and errors without other teams' resources in them.

A node's words about a refusal can quote what it refused, and a broken reference can lie in a
resource that the caller may not see. Where a text cannot be told apart, all of it is left out.
Who sees every resource is told everything, unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Set
from functools import cached_property
from typing import Any, Final, TypeVar

from control_plane.access import Caller, may, sees_everything
from control_plane.api._difference import Difference
from control_plane.api.errors import ApiError, NotCompiled, RejectedByNode
from control_plane.resources import KINDS, InUse, Key, Problem, ResourceError
from control_plane.store import Snapshot

E = TypeVar("E", bound=Exception)

HIDDEN: Final = "(speaks of other teams' resources; an operator can read it)"
_ASK: Final = "Ask an operator, who sees which"
_STATES: Final = frozenset({
    "id", "cluster", "user_agent", "version", "state", "kind", "change", "code", "type", "node",
    "serving",
})  # fmt: skip
"""Fields whose text is the product's own or a node's name for itself."""
_WORD: Final = re.compile(r"[a-z0-9-]+", re.ASCII | re.IGNORECASE)
_VERSIONED: Final = re.compile(r"([a-z0-9-]+)#[0-9a-f]", re.ASCII)
"""What the compiler names things: `menu-copy#5f3a…`; also of resources that are gone."""
_PLURALS: Final = {kind.__name__: plural for plural, kind in KINDS.items()}


class Discretion:
    """What one caller may be told of one snapshot; `own` are the keys that his request names."""

    def __init__(self, caller: Caller, snapshot: Snapshot, own: Collection[Key] = ()) -> None:
        self._caller = caller
        self._snapshot = snapshot
        self._own = frozenset(own)
        self.open = sees_everything(caller)

    def hides(self, key: Key) -> bool:
        """Whether the caller must not learn of it; true of what does not exist, too."""
        if self.open or key in self._own:
            return False
        stored = self._snapshot.stored.get(key)
        return stored is None or not may(self._caller, "read", stored.resource)

    def words(self, text: str) -> str:
        """A text that quotes what it likes, if nothing in it is another team's."""
        if self.open or not text:
            return text
        gone = any(name not in self._seen for name in _VERSIONED.findall(text))
        foreign = not self._foreign.isdisjoint(_WORD.findall(text.lower()))
        return HIDDEN if gone or foreign else text

    def told(self, value: Any) -> Any:
        """A JSON value without what the caller must not learn of."""
        if self.open:
            return value
        if isinstance(value, str):
            return self.words(value)
        if isinstance(value, list):
            return [self.told(item) for item in value if not self._is_about_others(item)]
        if isinstance(value, dict):
            return {
                name: item if name in _STATES else self.told(item)
                for name, item in value.items()
                if not self._is_hidden(name)
            }
        return value

    def differences(self, found: list[Difference]) -> list[Difference]:
        """Those that name nothing of another team."""
        return [each for each in found if self.open or self._is_plain(each.name)]

    def error(self, error: E) -> E | ApiError | ResourceError:
        """The error, as this caller may read it."""
        match error:
            case _ if self.open:
                return error
            case ResourceError():
                return type(error)(self._problems(error), error.subject)
            case NotCompiled() | RejectedByNode():
                told = [self._told_problem(problem) for problem in error.problems]
                return type(error)(error.message, dict.fromkeys(told), error.headers)
            case _:
                return error

    def _problems(self, error: ResourceError) -> tuple[Problem, ...]:
        """The problems, those in others' resources as one that names none."""
        what = "names it" if isinstance(error, InUse) else "would be broken by it"
        hidden = Problem("another team", f"a resource of another team {what}", _ASK)
        return tuple(dict.fromkeys(
            hidden if self._is_hidden(problem.field) else problem for problem in error.problems
        ))  # fmt: skip

    def _told_problem(self, problem: Problem) -> Problem:
        if self._is_hidden(problem.field):
            return Problem("another team", "a resource of another team is in the way", _ASK)
        return Problem(problem.field, self.words(problem.message), problem.mend)

    def _is_plain(self, name: str) -> bool:
        head, versioned, _ = name.partition("#")
        return head not in self._foreign and (not versioned or head in self._seen)

    def _is_about_others(self, item: Any) -> bool:
        if not isinstance(item, dict):
            return isinstance(item, str) and self._is_hidden(item)
        kind, name = item.get("kind"), item.get("name")
        if isinstance(kind, str) and isinstance(name, str) and kind in _PLURALS:
            return self.hides(Key(_PLURALS[kind], name))
        return any(self._is_hidden(item.get(field)) for field in ("field", "key", "resource"))

    def _is_hidden(self, text: object) -> bool:
        """Whether a text is a resource's key that is not the caller's to know."""
        plural, slash, name = text.partition("/") if isinstance(text, str) else ("", "", "")
        return bool(slash) and plural in KINDS and self.hides(Key(plural, name))

    @property
    def _foreign(self) -> Set[str]:
        """Names that a resource of others has, even if one of the caller's has it as well."""
        return self._names[False]

    @property
    def _seen(self) -> Set[str]:
        return self._names[True]

    @cached_property
    def _names(self) -> Mapping[bool, Set[str]]:
        """All names, by whether the caller sees what has them."""
        names: dict[bool, set[str]] = {True: {key.name for key in self._own}, False: set()}
        for key, stored in self._snapshot.stored.items():
            seen = key in self._own or may(self._caller, "read", stored.resource)
            names[seen].add(key.name)
        return names
