"""What the schema of a template's variables may ask of whoever reads it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import jsonschema_rs
import pytest
from pydantic import ValidationError

from control_plane.resources.template import TemplateSpec
from ext_proc._schema import MAX_NODES, MAX_PATTERNS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PLACES = ("top", "properties", "items", "$defs", "default")


def spec(schema: dict[str, Any]) -> TemplateSpec:
    messages = [{"role": "user", "content": "{{ a }}"}]
    return TemplateSpec.model_validate({"variables": schema, "messages": messages})


def asking(place: str, uri: Any) -> dict[str, Any]:
    odd = {"$schema": uri}
    schema: dict[str, Any] = {"type": "object", "properties": {"a": {}}}
    if place == "top":
        return {**schema, **odd}
    if place == "properties":
        return {**schema, "properties": {"a": odd}}
    if place == "items":
        return {**schema, "properties": {"a": {"items": {"not": {"anyOf": [odd]}}}}}
    return {**schema, place: {"x": odd}}


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    paths: list[str] = []

    class Counting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Counting) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/x", paths
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("place", PLACES)
def test_a_schema_makes_nobody_fetch(place: str, asked: tuple[str, list[str]]) -> None:
    uri, paths = asked
    with pytest.raises(ValidationError, match=r"variables: \$schema may only be"):
        spec(asking(place, uri))
    assert paths == []


def test_a_schema_makes_nobody_read_a_file(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # With an end that writes open, who opens the fifo is not held up for ever.
    end = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    os.write(end, b"{}")
    try:
        with pytest.raises(ValidationError, match=r"variables: \$schema may only be"):
            spec(asking("top", fifo.as_uri()))
        assert os.read(end, 2) == b"{}"
    finally:
        os.close(end)


@pytest.mark.parametrize("place", ["top", "properties"])
def test_a_schema_may_name_its_dialect(place: str) -> None:
    assert spec(asking(place, DIALECT)).variables


def patterned(count: int, keyword: str, regex: str = "x") -> dict[str, Any]:
    if keyword == "patternProperties":
        a: dict[str, Any] = {keyword: {f"{regex}{i}": {} for i in range(count)}}
    else:
        a = {"allOf": [{keyword: f"{regex}{i}"} for i in range(count)]}
    return {"type": "object", "properties": {"a": a}}


@pytest.mark.parametrize("keyword", ["pattern", "patternProperties"])
@pytest.mark.parametrize("more", [0, 1])
def test_the_number_of_patterns_is_bounded(
    monkeypatch: pytest.MonkeyPatch, keyword: str, more: int
) -> None:
    seen = _count_compiled(monkeypatch)
    schema = patterned(MAX_PATTERNS + more, keyword)
    if more:
        with pytest.raises(ValidationError, match=r"variables: pattern and .* may hold 32 "):
            spec(schema)
    else:
        spec(schema)
    assert bool(seen) is not bool(more)


def test_the_size_of_a_schema_is_judged_before_it_is_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = _count_compiled(monkeypatch)
    with pytest.raises(ValidationError, match=r"may hold 1,000 objects"):
        spec({"type": "object", "properties": {f"a{i}": {} for i in range(MAX_NODES)}})
    assert seen == []


def test_a_pattern_that_compiles_to_much_is_refused() -> None:
    with pytest.raises(ValidationError, match="variables: "):
        spec(patterned(1, "pattern", r"\pL{24}N"))
    assert spec(patterned(1, "pattern", r"^[\w .,-]{1,64}$")).variables


def _count_compiled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    seen: list[Any] = []
    check = jsonschema_rs.meta.validate

    def counting(schema: Any) -> None:
        seen.append(schema)
        check(schema)

    monkeypatch.setattr(jsonschema_rs.meta, "validate", counting)
    return seen
