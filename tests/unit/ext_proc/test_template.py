from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc._meter import MAX_OUTPUT
from ext_proc.errors import (
    InvalidVariable,
    MissingVariable,
    PlanRejected,
    ProcError,
    TemplateFailed,
    TemplateTooExpensive,
    UnknownVariable,
)
from ext_proc.plan import Message, TemplatePlan
from ext_proc.template import Template
from tests.unit.ext_proc.make import CANARY, SCHEMA, TEMPLATE, template

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def render(
    *sources: str, schema: dict[str, Any] | None = None, size: int = 100, **given: Any
) -> str:
    messages = Template(template(*sources, schema=schema)).render(given, size)
    return "".join(message["content"] for message in messages)


def test_messages_keep_role_and_order() -> None:
    assert Template(TEMPLATE).render({"dish": "김치볶음밥", "mood": "cold"}, 50) == [
        {"role": "system", "content": "You write menus, cold."},
        {"role": "user", "content": "Describe 김치볶음밥."},
    ]


def test_a_default_fills_in() -> None:
    assert "menus, warm" in Template(TEMPLATE).render({"dish": "x"}, 50)[0]["content"]


def test_rendering_leaves_no_trace() -> None:
    compiled, given = Template(TEMPLATE), {"dish": "a"}
    first = compiled.render(given, 50)
    assert given == {"dish": "a"}
    compiled.render({"dish": "b" * 100}, 50)
    assert compiled.render(given, 50) == first


@pytest.mark.parametrize(
    ("source", "given", "result"),
    [
        ("{{ a }}", {"a": "<b>&\"'"}, "<b>&\"'"),
        ("{{ a }}", {"a": 1.5}, "1.5"),
        ("{{ a }}", {"a": [1, "x", None]}, "[1, 'x', None]"),
        ("{{ a.b.c }}", {"a": {"b": {"c": "deep"}}}, "deep"),
        ("{% for k, v in a|items %}{{ k }}={{ v }};{% endfor %}", {"a": {"x": 1}}, "x=1;"),
        ("{{ a }}\n", {"a": "x"}, "x\n"),
        ("{{ a }}", {"a": "{{ b }}"}, "{{ b }}"),
        ("{{ items }}", {"items": "x"}, "x"),
    ],
)
def test_renders(source: str, given: dict[str, Any], result: str) -> None:
    assert render(source, **given) == result


def test_without_a_schema_all_used_variables_are_required_and_no_others_taken() -> None:
    with pytest.raises(MissingVariable, match=r"Missing variables: a, b\."):
        render("{{ a }}", "{{ b }}")
    with pytest.raises(UnknownVariable, match=r"only the variables a\."):
        render("{{ a }}", a=1, other=2)
    with pytest.raises(UnknownVariable, match="takes no variables"):
        render("no variables", other=2)
    assert render("no variables") == "no variables"


def _schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("constraint", "value", "expected"),
    [
        ({"type": "string"}, 1, "The variable v is wrong: it must be of type string."),
        ({"type": ["string", "null"]}, 1, "must be of type null or string."),
        ({"type": "integer", "minimum": 3}, 2, "it must fit minimum 3."),
        ({"enum": ["a", "b"]}, "c", 'it must fit enum ["a","b"].'),
        ({"pattern": "^[a-z]+$"}, "9", 'it must fit pattern "^[a-z]+$".'),
        ({"maxLength": 2}, "abc", "it must fit maxLength 2."),
        ({"items": {"type": "string"}}, ["a", 1], "a value inside it must be of type string."),
        (
            {"anyOf": [{"type": "string"}, {"type": "null"}]},
            1,
            "it does not fit the schema's anyOf.",
        ),
        ({"enum": ["x" * 500]}, "c", "it does not fit the schema's enum."),
        ({"required": ["inner"]}, {}, "it does not fit the schema's required."),
    ],
)
def test_a_wrong_variable_is_told_what_the_schema_expects(
    constraint: dict[str, Any], value: object, expected: str
) -> None:
    with pytest.raises(InvalidVariable) as caught:
        render("{{ v }}", schema=_schema(v=constraint), v=value)
    assert expected in caught.value.public_message
    assert caught.value.param == "variables"


@pytest.mark.parametrize(
    "extra",
    [
        {"additionalProperties": True},
        {"additionalProperties": {"type": "string"}},
        {"unevaluatedProperties": True},
    ],
)
def test_a_schema_may_take_unknown_variables(extra: dict[str, Any]) -> None:
    assert render("{{ a }}", schema={**_schema(a={}), **extra}, a=1, other="x") == "1"


def test_unknown_variables_are_refused_beside_composed_schemas() -> None:
    schema = {"allOf": [_schema(b={})], **_schema(a={})}
    assert render("{{ a }}{{ b }}", schema=schema, a=1, b=2) == "12"
    with pytest.raises(UnknownVariable):
        render("{{ a }}", schema=schema, a=1, b=2, c=3)


def test_an_optional_variable_that_is_used_but_missing_is_named() -> None:
    schema = _schema(a={}, items={})
    with pytest.raises(MissingVariable, match=r"Missing variables: a\."):
        render("{{ a }}", schema=schema)
    with pytest.raises(MissingVariable, match=r"Missing variables: items\."):
        render("{{ items|default('') }}", schema=schema)  # also a method of dict
    assert render("{{ a|default('none') }}", schema=schema) == "none"


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "bogus"}, "variables: "),
        ({"properties": 1}, "properties must be an object"),
        ({"properties": {"a": {"pattern": "(?=x)"}}}, "variables: "),
        ({"properties": {"a": {"pattern": "(a{1000}){1000}"}}}, "variables: "),
        ({"$ref": "http://127.0.0.1:9/x.json"}, "variables: "),
        ({"$ref": "file:///etc/hostname"}, "variables: "),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(PlanRejected) as caught:
        Template(template("{{ a }}", schema=schema))
    assert reason in str(caught.value)


def test_patterns_take_linear_time() -> None:
    compiled = Template(template("{{ a }}", schema=_schema(a={"pattern": "^(a+)+$"})))
    begin = time.perf_counter()
    with pytest.raises(InvalidVariable):
        compiled.render({"a": "a" * 100_000 + "!"}, 100_000)
    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize("given", ["x" * 1024, "é" * 512, {"x" * 1024: 1}, [["x" * 512] * 2]])
def test_patterns_read_a_bounded_text(monkeypatch: pytest.MonkeyPatch, given: Any) -> None:
    monkeypatch.setattr("ext_proc._schema.MAX_MATCHED", 2 * 1024)  # and "a" is one byte more
    schema = _schema(a={"allOf": [{"pattern": "x"}, {"patternProperties": {"x": {}}}]})
    with pytest.raises(InvalidVariable, match=r"may hold 1,024 bytes of text"):
        render("{{ a }}", schema=schema, a=given)
    assert render("{{ a }}", schema=_schema(a={}), a=given)
    assert render("{{ a }}", schema=schema, a="x" * 1023)


@pytest.mark.parametrize("source", ["{{ a", "{% if a %}", "{{ a }", "{% for %}{% endfor %}"])
def test_a_message_that_does_not_parse_is_refused(source: str) -> None:
    with pytest.raises(PlanRejected):
        Template(template("ok", source))


def test_minijinjas_own_words_reach_the_author() -> None:
    with pytest.raises(PlanRejected, match=r"message 2: syntax error"):
        Template(template("ok", "{% if a %}"))


@pytest.mark.parametrize(
    "source", ["{{ a|nosuchfilter }}", "{{ a / 0 }}", "{{ a.b.c }}", "{{ a is nosuchtest }}"]
)
def test_what_cannot_be_rendered(source: str) -> None:
    with pytest.raises(TemplateFailed):
        render(source, a=1)


@pytest.mark.parametrize("source", ["{{ a.keys }}", "{{ a.update }}"])
def test_methods_of_python_objects_are_not_printed(source: str) -> None:
    with pytest.raises(TemplateFailed):
        render(source, a={"x": 1})


LOOPS = "{% for a in x %}{% for b in x %}{% for c in x %}{% for d in x %}@{% endfor %}" + (
    "{% endfor %}" * 3
)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        (LOOPS.replace("@", ""), list(range(1000))),
        (LOOPS.replace("@", "x" * 10_000), list(range(1000))),
        ("{% for a in x %}" + "x" * 500_000 + "{% endfor %}", list(range(1000))),
        ("{% for a in x %}{{ x }}{% endfor %}", ["y" * 100_000] * 100),
        ("{% for a in x %}{{ x|tojson|length }}{% endfor %}", ["y" * 100] * 9_000),
        ("{{ x|replace('a', '" + "b" * 64 + "')|replace('b', '" + "c" * 64 + "') }}", "a" * 9999),
        ("{{ x }}" * 50, "a" * 100_000),
        ("{{ x|replace('', x) }}", "a" * 100_000),
    ],
)
def test_what_runs_away_ends_soon(source: str, value: object) -> None:
    compiled = Template(template(source))
    begin = time.perf_counter()
    with pytest.raises(TemplateTooExpensive):
        compiled.render({"x": value}, 1_000_000)
    assert time.perf_counter() - begin < 2
    with pytest.raises(TemplateTooExpensive):
        compiled.render({"x": value}, 1_000_000)  # the limits begin anew


def test_a_large_template_works() -> None:
    source = "{% for a in x %}{{ a }}{% endfor %}" + "가나다라" * 260_000
    assert len(render(source, x=[1, 2])) == 2 + 4 * 260_000
    assert render("{{ a }} " * 20_000, a="x") == "x " * 20_000


def test_a_large_template_cannot_be_made_larger_by_loops() -> None:
    with pytest.raises(TemplateTooExpensive):
        render("{% for a in x %}" + "x" * 1_000_000 + "{% endfor %}", x=list(range(9)))
    with pytest.raises(PlanRejected, match="too long for so many tags"):
        Template(template("x" * 500_000 + "{{ a }}" * 50_000))


def test_large_variables_still_render() -> None:
    assert len(render("{{ a }}", a="x" * (MAX_OUTPUT - 1), size=MAX_OUTPUT)) == MAX_OUTPUT - 1
    with pytest.raises(TemplateTooExpensive):
        render("{{ a }}!", a="x" * MAX_OUTPUT, size=MAX_OUTPUT)


def refusal(compiled: Template, variables: dict[str, Any]) -> ProcError | None:
    try:
        compiled.render(variables, 1000)
    except ProcError as error:
        return error
    return None


@pytest.mark.parametrize(("depth", "right"), [(64, True), (65, False), (900, False)])
def test_how_deep_variables_may_be(depth: int, right: bool) -> None:
    value: Any = "x"
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    error = refusal(Template(template("{{ a }}{{ a == [a] }}{{ a in a }}")), {"a": value})
    assert (error is None) == right
    assert error is None or error.code == "invalid_variable"


@given(st.dictionaries(st.sampled_from(["dish", "mood", "other"]) | st.text(), JSON, max_size=4))
def test_any_variables_render_or_are_refused(variables: dict[str, Any]) -> None:
    error = refusal(COMPILED, variables)
    if error is None:
        assert variables["dish"] in COMPILED.render(variables, 1000)[1]["content"]
    else:
        assert error.status == 400


@given(
    st.dictionaries(
        st.sampled_from(["dish", "mood", CANARY, CANARY + "2"]),
        st.sampled_from([CANARY, [CANARY], {CANARY: CANARY}, "x" * 101 + CANARY, 1, None]),
        max_size=4,
    )
)
def test_errors_never_hold_what_the_caller_sent(variables: dict[str, Any]) -> None:
    error = refusal(COMPILED, variables)
    assert error is None or CANARY.encode() not in error.body("")


COMPILED = Template(template("{{ mood }}", "{{ dish }}", schema=SCHEMA))


def test_a_caller_cannot_make_the_check_of_variables_expensive() -> None:
    """One error object for each of a million wrong items filled the memory."""
    schema = {"type": "object", "properties": {"x": {"type": "array", "items": {"type": "string"}}}}
    compiled = Template(TemplatePlan("t", (Message("user", "{{ x }}"),), schema))
    with pytest.raises(InvalidVariable, match="10,000 values"):
        compiled.render({"x": [1] * 10_001}, 1_000_000)
    with pytest.raises(InvalidVariable, match="must be of type string"):
        compiled.render({"x": [1] * 9_999}, 1_000_000)


@pytest.mark.parametrize(
    "inside",
    [
        {"$ref": "#/$defs/a"},
        {"anyOf": [{"$dynamicRef": "#a"}]},
        {"enum": list(range(501))},
        {"enum": [{"a": 1}]},
        {"anyOf": [{"type": "string"}] * 1_000},
    ],
)
def test_a_schema_whose_check_could_run_away_is_refused(inside: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"x": inside}, "$defs": {"a": {}}}
    with pytest.raises(PlanRejected, match="variables: "):
        Template(TemplatePlan("t", (Message("user", "{{ x }}"),), schema))
