"""The compiler's output is what it was, unless someone says otherwise by `make golden`."""

from __future__ import annotations

import pytest

from control_plane.compile import Compiler, GatewaySettings
from tests.support import golden


@pytest.mark.parametrize("case", golden.cases())
def test_outputs_have_not_drifted(case: str) -> None:
    for path, text in golden.outputs(case).items():
        assert path.read_text() == text, f"{path.name} has drifted; see `make golden`"


def test_every_output_has_an_input() -> None:
    expected = {path for case in golden.cases() for path in golden.outputs(case)}
    assert set((golden.ROOT / "out").glob("*.yaml")) == expected


def test_order_of_resources_does_not_matter() -> None:
    resources = golden.load("menu-copy")
    backwards = dict(reversed(resources.items()))
    compiler = Compiler(GatewaySettings())
    assert compiler.compile(1, backwards) == golden.compile_case("menu-copy")


def test_no_secret_in_any_golden_file() -> None:
    assert not [
        path.name for path in (golden.ROOT / "out").iterdir() if "golden-secret" in path.read_text()
    ]
