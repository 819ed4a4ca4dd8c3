"""Which part of the Jinja language a prompt may use.

Prompts are edited by many and rendered on the hot path, so the language is cut to what cannot run
away: output, filters, tests, `if` and `for`. What multiplies text (`set`, macros, `*`, string
repetition, filters with computed arguments) is left out; fuel and an output limit in the worker
bound the rest. Checked on the syntax tree that jinja2 gives; minijinja, which renders, must accept
the text as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import jinja2
import minijinja
from jinja2 import nodes

FILTERS: Final = frozenset({
    "abs", "bool", "capitalize", "default", "d", "first", "float", "int", "items", "join", "last",
    "length", "lower", "lines", "list", "max", "min", "replace", "reverse", "round", "sort",
    "string", "sum", "title", "tojson", "trim", "unique", "upper",
})  # fmt: skip
_ALLOWED: Final = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr,
    nodes.Getitem, nodes.Slice, nodes.Filter, nodes.Test, nodes.If, nodes.For, nodes.CondExpr,
    nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Sub, nodes.Div,
    nodes.FloorDiv, nodes.Mod, nodes.List, nodes.Tuple, nodes.Keyword, nodes.Pair, nodes.Dict,
)  # fmt: skip
_SYNTAX: Final = jinja2.Environment(autoescape=True)  # only ever parses
_MOST_ARGUMENT: Final = 64  # characters of a filter's constant argument


def problems(source: str) -> Iterator[str]:
    """Everything in `source` that a prompt may not use, or that does not parse."""
    try:
        tree = _SYNTAX.parse(source)
        minijinja.Environment().undeclared_variables_in_str(source)
    except jinja2.TemplateSyntaxError as error:
        yield f"line {error.lineno}: {error.message}"
        return
    except (minijinja.TemplateError, RecursionError) as error:
        yield str(error).splitlines()[0]
        return
    for node in _walk(tree):
        yield from _node_problems(node)


def undeclared(source: str) -> frozenset[str]:
    """The variables that a source without problems takes."""
    return frozenset(minijinja.Environment().undeclared_variables_in_str(source))


def _walk(root: nodes.Node) -> Iterator[nodes.Node]:
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(node.iter_child_nodes())


def _node_problems(node: nodes.Node) -> Iterator[str]:
    if not isinstance(node, _ALLOWED):
        yield f"line {node.lineno}: {type(node).__name__} cannot be used in a prompt"
    elif isinstance(node, nodes.For) and node.recursive:
        yield f"line {node.lineno}: a recursive for cannot be used in a prompt"
    elif isinstance(node, nodes.Filter):
        yield from _filter_problems(node)


def _filter_problems(node: nodes.Filter) -> Iterator[str]:
    if node.name not in FILTERS:
        yield f"line {node.lineno}: filter {node.name} cannot be used in a prompt"
    for argument in [*node.args, *(keyword.value for keyword in node.kwargs)]:
        if not _is_short_constant(argument):
            yield (
                f"line {node.lineno}: the arguments of filter {node.name} must be constants of at "
                f"most {_MOST_ARGUMENT} characters"
            )


def _is_short_constant(node: nodes.Node) -> bool:
    parts = [node, *node.find_all(nodes.Node)]
    if not all(isinstance(part, (nodes.Const, nodes.List, nodes.Neg)) for part in parts):
        return False
    try:
        value = node.as_const() if isinstance(node, nodes.Expr) else None
    except nodes.Impossible:  # as -"x" is
        return False
    return len(str(value)) <= _MOST_ARGUMENT
