from __future__ import annotations

import minijinja
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc._guard import MAX_SOURCE, measure
from ext_proc.errors import PlanRejected


@pytest.mark.parametrize(
    "source",
    [
        "",
        "plain text, 100% {braces} and a { b",
        "{{ dish }}{{- dish -}}{{ dish|upper }}",
        "{% if a and (b or not (c)) %}{{ a|default('x') }}{% elif b is divisibleby(3) %}{% endif %}",
        "{% if b is not divisibleby(3) %}x{% endif %}",
        "{% for a, b in pairs %}{{ loop.index }}{% else %}none{% endfor %}",
        "{% for x in ['a', \"b~*\"] %}{{ x }}{% endfor %}",
        "{{ {'a': {'b': 1}} }}",
        "{{ '}}' }}{{ '%}' }}",
        "{# {% macro x() %} ~ #}",
        "{% raw %}{% macro f() %}{{ a ~ b }}{%- endraw -%}",
        "{{ a if b else c }} {{ a - 1 }} {{ a / b }} {{ a // 2 }} {{ a % 2 }} {{ a[1:2] }}",
        "{{ a|join(', ') }}{{ a|replace('x', 'y')|trim }}",
    ],
)
def test_what_prompts_need_is_available(source: str) -> None:
    measure(source)
    minijinja.Environment().add_template("t", source)


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("{% set a = 1 %}", "'set'"),
        ("{%- set a %}{{ b }}{% endset %}", "'set'"),
        ("{% macro f() %}{% endmacro %}", "'macro'"),
        ("{% call f() %}{% endcall %}", "'call'"),
        ("{% include 'x' %}", "'include'"),
        ("{% extends 'x' %}", "'extends'"),
        ("{% block x %}{% endblock %}", "'block'"),
        ("{% with a = b %}{% endwith %}", "'with'"),
        ("{% filter upper %}{% endfilter %}", "'filter'"),
        ("{% for a in b recursive %}{{ loop(a) }}{% endfor %}", "recursive"),
        ("{{ a ~ b }}", "~"),
        ("{{ a + b }}", "+"),
        ("{{ 'a' * 1000000 }}", "*"),
        ("{{ 2 ** 99 }}", "**"),
        ("{{ range(10) }}", "calls"),
        ("{{ dict.fromkeys (range) }}", "calls"),
        ("{{ a.update(b) }}", "calls"),
        ("{{ a['update'](b) }}", "calls"),
        ("{{ a|first(1)(2) }}", "calls"),
        ("{% if x(1) %}{% endif %}", "calls"),
        ("{# #}{{ '#}' }}{{ a ~ b }}", "~"),
        ("{% raw %}{% endraw %}{{ a ~ b }}", "~"),
        ("{% raw %}{{ a }}{% endraw %}{% set x = 1 %}", "'set'"),
        ('{{ "a\\"" ~ \'\' }}', "~"),
        ("\n\n{{ a", "line 3"),
        ("{{ a ? b }}", "syntax error"),
        ("{% %}", "''"),
        ("x" * (MAX_SOURCE + 1), "longer"),
    ],
)
def test_what_can_run_away_is_refused_and_named(source: str, named: str) -> None:
    with pytest.raises(PlanRejected) as caught:
        measure(source)
    assert named in str(caught.value)


def test_measures_text_and_steps() -> None:
    assert measure("12345{{ a }}123").longest == 5
    assert measure("{% raw %}1234567{% endraw %}").longest == 7
    assert measure("{# not text, however long #}ab").longest == 2
    assert measure("{{ a }}" * 10).steps >= 10


_PIECES = st.sampled_from((
    "{{", "}}", "{%", "%}", "{#", "#}", "{%-", "-%}", "{% raw %}", "{%endraw%}", "{{ a }}",
    "{% if a %}", "{% endif %}", "{# {{ #}", "'", '"', "\\", "(", ")", "[", "]", "{", "}", "a", "if",
    "|", ".", "-", "1", ",", " ", "\n",
))  # fmt: skip


@given(st.lists(_PIECES, max_size=12).map("".join))
def test_the_lexer_agrees_with_minijinjas_where_code_begins(source: str) -> None:
    """Whatever text stands before it, an operator that minijinja sees is seen here too."""
    planted = source + "{{ a ~ b }}"
    environment = minijinja.Environment()
    try:
        environment.add_template("t", planted)
        measure(source)
    except (minijinja.TemplateError, PlanRejected):
        return
    with pytest.raises(PlanRejected, match="operator ~"):
        measure(planted)
