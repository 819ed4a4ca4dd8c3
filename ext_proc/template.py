"""A prompt template, compiled once and rendered for every request.

minijinja (https://docs.rs/minijinja) with undefined variables as errors, without a loader, without
escaping and without functions; bounded in time by fuel and in size by an output limit. A template
knows nothing of HTTP: it turns variables into messages.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from minijinja import Environment, TemplateError

from ext_proc import _filters
from ext_proc._guard import Measure, measure
from ext_proc._meter import MAX_OUTPUT, Meter
from ext_proc._schema import Variables
from ext_proc.errors import (
    InvalidVariable,
    MissingVariable,
    PlanRejected,
    TemplateFailed,
    TemplateTooExpensive,
)
from ext_proc.plan import TemplatePlan

MAX_FUEL: Final = 200_000
"""Instructions of one message; about 20 ms."""
_TEXT_BUDGET: Final = 16 << 20  # characters of literal text that fuel may print
_WORK_BUDGET: Final = 1 << 32  # instructions × characters of variables

MAX_DEPTH: Final = 64
"""How deep a variable may be nested: comparing two takes the third power of it."""

# A name that is not among the variables is looked up as an attribute of the dict that holds them.
_DICT_METHODS: Final = frozenset(name for name in dir(dict) if not name.startswith("_"))


class Template:
    """A compiled `TemplatePlan`; immutable, but not to be rendered by two threads at once.

    Raises:
        PlanRejected: a message or the schema of the variables cannot be compiled; the text is for
            the author of the template.
    """

    __slots__ = ("_environment", "_fuel", "_meter", "_needed", "_roles", "_used", "_variables")

    def __init__(self, plan: TemplatePlan) -> None:
        self._meter = Meter()
        measures = [measure(message.content) for message in plan.messages]
        self._fuel = _Fuel(measures)
        self._environment = _environment(plan, self._meter)
        self._roles = tuple((m.role, str(index)) for index, m in enumerate(plan.messages))
        find = self._environment.undeclared_variables_in_template
        self._used = frozenset[str]().union(*(find(key) for _, key in self._roles))
        self._needed = self._used & _DICT_METHODS
        self._variables = Variables(plan.variables, self._used)

    def render(self, given: dict[str, Any], size: int) -> list[dict[str, str]]:
        """The messages with the variables filled in.

        Args:
            given: the variables, as parsed from JSON; not changed.
            size: bytes of the JSON that they came in; the larger, the fewer steps are granted.

        Raises:
            MissingVariable, UnknownVariable, InvalidVariable: the variables do not fit.
            TemplateTooExpensive: it takes too many steps or gives too long a text.
            TemplateFailed: minijinja cannot render it with these variables.
        """
        variables = self._variables.complete(given)
        if any(map(_is_deep, variables.values())):
            raise InvalidVariable(f"Variables may be nested {MAX_DEPTH} deep.", param="variables")
        if missing := self._needed - variables.keys():
            raise _missing(missing)
        self._environment.fuel = self._fuel.grant(size)
        self._meter.reset()
        texts = [self._text(key, variables) for _, key in self._roles]
        if sum(map(len, texts)) > MAX_OUTPUT:
            raise TemplateTooExpensive
        return [
            {"role": role, "content": text}
            for (role, _), text in zip(self._roles, texts, strict=True)
        ]

    def _text(self, key: str, variables: dict[str, Any]) -> str:
        try:
            return self._environment.render_template(key, **variables)
        except TemplateError as error:
            self._fail(error, variables)
        except TemplateTooExpensive:  # from a filter or the meter
            raise
        except Exception as error:
            raise TemplateFailed from error

    def _fail(self, error: TemplateError, variables: dict[str, Any]) -> NoReturn:
        if error.kind == "OutOfFuel":
            raise TemplateTooExpensive from error
        if error.kind == "UndefinedError" and (missing := self._used - variables.keys()):
            raise _missing(missing) from error
        raise TemplateFailed from error


class _Fuel:
    """How many instructions a message may take: fewer when each can touch more memory."""

    __slots__ = ("_floor", "_most")

    def __init__(self, measures: list[Measure]) -> None:
        self._floor = 64 + 2 * max((m.steps for m in measures), default=0)
        longest = max((m.longest for m in measures), default=0)
        self._most = min(MAX_FUEL, _TEXT_BUDGET // (longest + 1))
        if self._floor * longest > 16 * _TEXT_BUDGET:
            raise PlanRejected("a message is too long for so many tags")

    def grant(self, size: int) -> int:
        return max(self._floor, min(self._most, _WORK_BUDGET // (size + 1)))


def _missing(names: frozenset[str]) -> MissingVariable:
    return MissingVariable(f"Missing variables: {', '.join(sorted(names))}.", param="variables")


def _environment(plan: TemplatePlan, meter: Meter) -> Environment:
    environment = Environment(
        undefined_behavior="strict",
        auto_escape_callback=_no_escape,
        finalizer=meter,
        debug=False,
        pycompat=False,
        keep_trailing_newline=True,
    )
    _filters.install(environment, meter)
    for index, message in enumerate(plan.messages):
        try:
            environment.add_template(str(index), message.content)
        except TemplateError as error:
            reason = str(error).splitlines()[0]
            raise PlanRejected(f"message {index + 1}: {reason}") from error
    return environment


def _is_deep(value: object, depth: int = MAX_DEPTH) -> bool:
    if isinstance(value, dict):
        return depth == 0 or any(_is_deep(item, depth - 1) for item in value.values())
    if isinstance(value, list):
        return depth == 0 or any(_is_deep(item, depth - 1) for item in value)
    return False


def _no_escape(_name: str) -> bool:
    return False
