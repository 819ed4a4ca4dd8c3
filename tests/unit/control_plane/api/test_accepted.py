"""What the API accepts, every worker takes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.api._documents import accepted
from control_plane.compile.plans import check_template
from control_plane.resources import InvalidResource, Template


def template(content: str) -> dict[str, Any]:
    spec = {"messages": [{"role": "user", "content": content}]}
    return {"apiVersion": "naru/v1", "kind": "Template", "metadata": {"name": "t"}, "spec": spec}


def test_what_only_a_worker_would_refuse_is_refused() -> None:
    with pytest.raises(InvalidResource) as caught:
        accepted(template("x" * 33_000 + "{{a}}" * 4_000))
    (problem,) = caught.value.problems
    assert problem.field == "spec.messages"
    assert "too long" in problem.message


PIECES = st.sampled_from(
    ["{{ a }}", "{{ a|upper }}", "{% if a %}", "{% endif %}", "{% for b in a %}", "{% endfor %}",
     "text", "{{ b.c }}", "{{ a[0] }}", "{% else %}", "{{ a == 1 }}", "{% set a = 1 %}", "{{ a + a }}",
     "{{ -a }}", "{{ 'x' if a else 'y' }}", "{{ a is defined }}", "{# c #}", "{{ a|join('') }}"]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=8))
def test_accepted_means_that_a_worker_compiles_it(pieces: list[str]) -> None:
    try:
        found = accepted(template("".join(pieces)))
    except InvalidResource:
        return
    assert isinstance(found, Template)
    check_template(found)
