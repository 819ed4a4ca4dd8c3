"""The second line of defence against templates that run away: checked before they are compiled.

The control plane decides what a prompt may contain. A worker does not take that on trust, because
one bad instruction can end the whole process: fuel bounds how many instructions run, not what one
of them allocates, and forty times `{% set s = s ~ s %}` costs 160 of them and 2^40 bytes. So
whatever carries a growing value on (`set`, macros, `~`, `+`, `*`, calls) is refused here too.

This is a lexer, not a parser: minijinja itself says what is valid syntax. It follows minijinja's
lexical rules: https://github.com/mitsuhiko/minijinja/blob/main/minijinja/src/compiler/lexer.rs
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ext_proc.errors import PlanRejected

MAX_SOURCE = 1 << 20
"""The longest source of one message, in characters."""

TAGS = frozenset(("for", "endfor", "if", "elif", "else", "endif"))
_OPERATORS = frozenset(("~", "+", "*", "**"))
_WORDS = frozenset(("and", "elif", "else", "for", "if", "in", "is", "not", "or"))

_START = re.compile(r"\{(?:\{|%|#)[-+]?")
_RAW = re.compile(r"\{%[-+]?[ \t\n\r\f]*raw[ \t\n\r\f]*[-+]?%\}")
_ENDRAW = re.compile(r"\{%[-+]?[ \t\n\r\f]*endraw[ \t\n\r\f]*[-+]?%\}")
_CLOSE = {"%": re.compile(r"\s*[-+]?%\}"), "{": re.compile(r"\s*[-+]?\}\}")}
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<number>\d\w*(?:\.\d\w*)?)
    |(?P<name>[^\W\d]\w*)
    |(?P<operator>\*\*|//|==|!=|<=|>=|[-+*/%~|.,:()\[\]{}<>=]))""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Measure:
    """The size of a template, from which its limits at render time follow.

    `steps`: about how many instructions it takes without loops; `longest`: its longest literal
    text, in characters.
    """

    steps: int
    longest: int


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


_NOTHING = _Token("", "")


def measure(source: str) -> Measure:
    """Check a template's source and measure it.

    Raises:
        PlanRejected: it contains what is not available; the text says what.
    """
    if len(source) > MAX_SOURCE:
        raise PlanRejected(f"a message is longer than {MAX_SOURCE} characters")
    steps, longest = 0, 0
    for part in _parts(source):
        if isinstance(part, int):
            longest = max(longest, part)
            steps += 1
        else:
            steps += len(part) + 2
    return Measure(steps, longest)


def _parts(source: str) -> Iterator[int | list[_Token]]:
    """The lengths of the literal texts, and the tokens of the tags, in order."""
    at = 0
    while start := _START.search(source, at):
        yield start.start() - at
        if source[start.start() + 1] == "#":
            # the `+` or `-` of `{#-` is no part of the end, but that of `-#}` may be: as minijinja
            end = source.find("#}", start.end())
            at = len(source) if end < 0 else end + 2
        elif raw := _RAW.match(source, start.start()):
            stop = _ENDRAW.search(source, raw.end())
            yield (stop.start() if stop else len(source)) - raw.end()
            at = stop.end() if stop else len(source)
        else:
            tokens, at = _tag(source, start.start(), start.end())
            _check(tokens, is_block=source[start.start() + 1] == "%")
            yield tokens
    yield len(source) - at


def _tag(source: str, start: int, at: int) -> tuple[list[_Token], int]:
    close = _CLOSE[source[start + 1]]
    tokens: list[_Token] = []
    depth = 0
    while True:
        if depth == 0 and (end := close.match(source, at)):
            return tokens, end.end()
        found = _TOKEN.match(source, at)
        if not found or not found.lastgroup:
            line = source.count("\n", 0, start) + 1
            raise PlanRejected(f"syntax error in the tag that begins on line {line}")
        token = _Token(found.lastgroup, found[found.lastgroup])
        depth += (token.text in ("(", "[", "{")) - (token.text in (")", "]", "}"))
        tokens.append(token)
        at = found.end()


def _check(tokens: list[_Token], *, is_block: bool) -> None:
    word = tokens[0].text if is_block and tokens else ""
    if is_block and word not in TAGS:
        raise PlanRejected(f"the tag {word!r} is not available in prompt templates")
    if word == "for" and tokens[-1] == _Token("name", "recursive"):
        raise PlanRejected("a recursive 'for' is not available in prompt templates")
    for index, token in enumerate(tokens):
        if token.kind == "operator" and token.text in _OPERATORS:
            raise PlanRejected(f"the operator {token.text} is not available in prompt templates")
        if token == _Token("operator", "(") and _is_call(tokens[:index]):
            raise PlanRejected("calls are not available in prompt templates; use filters")


def _is_call(before: list[_Token]) -> bool:
    """Whether a `(` after these tokens calls something that is neither a filter nor a test."""
    previous = before[-1] if before else _NOTHING
    if previous.text in (")", "]", "}") or previous.kind == "string":
        return True
    if previous.kind != "name" or previous.text in _WORDS:
        return False
    earlier = [token.text for token in before[-3:-1]]
    return not (earlier[-1:] in (["|"], ["is"]) or earlier == ["is", "not"])
