"""Builders for CEL expressions as syntax trees, the form that Envoy's RBAC takes them in.

Specification: https://github.com/google/cel-spec/blob/master/doc/langdef.md
"""

from __future__ import annotations

from google.api.expr.v1alpha1.syntax_pb2 import Constant, Expr


def text(value: str) -> Expr:
    """A string constant."""
    return Expr(const_expr=Constant(string_value=value))


def select(name: str, field: str) -> Expr:
    """`name.field`."""
    operand = Expr(ident_expr=Expr.Ident(name=name))
    return Expr(select_expr=Expr.Select(operand=operand, field=field))


def index(value: Expr, key: str) -> Expr:
    """`value["key"]`."""
    return call("_[_]", value, text(key))


def call(function: str, *arguments: Expr) -> Expr:
    """A function or an operator, by its name in CEL."""
    return Expr(call_expr=Expr.Call(function=function, args=arguments))
