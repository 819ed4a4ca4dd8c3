from __future__ import annotations

import pytest
from minijinja import Environment, TemplateError

from ext_proc import _filters
from ext_proc._meter import Meter
from ext_proc.errors import TemplateTooExpensive


@pytest.fixture
def environment() -> Environment:
    environment = Environment()
    _filters.install(environment, Meter())
    return environment


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("{{ 'aba'|replace('a', 'x') }}", "xbx"),
        ("{{ ['a', 1, 'b']|join(', ') }}", "a, 1, b"),
        ("{{ 'abc'|join('-') }}", "a-b-c"),
        ("{{ [{'n': 1}, {'n': 2}]|join('/', attribute='n') }}", "1/2"),
        ("{{ {'a': '<김>'}|tojson }}", '{"a": "<김>"}'),
        ("{{ [1]|tojson(indent=1) }}", "[\n 1\n]"),
        ("{{ 'a'|upper }}{{ ' b '|trim }}{{ [3, 1]|sort|first }}", "Ab1"),
    ],
)
def test_results(environment: Environment, source: str, result: str) -> None:
    assert environment.render_str(source) == result


@pytest.mark.parametrize("source", ["{{ debug() }}", "{{ range(3) }}", "{{ namespace() }}"])
def test_no_global_functions(environment: Environment, source: str) -> None:
    with pytest.raises(TemplateError):
        environment.render_str(source)
    assert environment.globals == {}


@pytest.mark.parametrize("name", _filters.REMOVED)
def test_removed_filters_were_there(environment: Environment, name: str) -> None:
    """A filter that minijinja renames would otherwise slip through."""
    assert "unknown filter" in _error(environment, name)
    assert "unknown filter" not in _error(Environment(), name)


@pytest.mark.parametrize(
    "source",
    [
        "{{ big|replace('a', 'aaaaaaaaaa') }}",
        "{{ big|replace('', big) }}",
        "{{ [big, big, big, big, big]|join }}",
        "{{ many|join(big) }}",
        "{{ quotes|tojson|tojson|tojson|tojson }}",
    ],
)
def test_nothing_grows_without_limit(environment: Environment, source: str) -> None:
    big = "a" * (1 << 20)
    with pytest.raises(TemplateTooExpensive):
        environment.render_str(source, big=big, many=[1] * 1000, quotes='"' * (1 << 20))


def _error(environment: Environment, name: str) -> str:
    try:
        environment.render_str("{{ 'a'|" + name + " }}")
    except TemplateError as error:
        return str(error)
    return ""
