"""`_documents`: bodies → documents → resources."""

from __future__ import annotations

import json
from typing import Any

import pytest

from control_plane.api._documents import PATCH_MEDIA_TYPES, Batch, batch, one, syntax_of
from control_plane.api.errors import BadDocument, BodyTooLarge, UnsupportedMediaType
from control_plane.resources import Key
from tests.support.api import credential, proxy, upstream


@pytest.mark.parametrize(
    ("content_type", "syntax"),
    [
        ("application/json", "json"),
        ("application/json; charset=utf-8", "json"),
        ('Application/JSON;charset="UTF-8"', "json"),
        ("application/yaml", "yaml"),
        ("text/x-yaml", "yaml"),
    ],
)
def test_content_types(content_type: str, syntax: str) -> None:
    assert syntax_of(content_type) == syntax


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1",
     "application/json; charset=utf-8; charset=utf-16", "application/merge-patch+json"],
)  # fmt: skip
def test_content_types_that_are_not_taken(content_type: str | None) -> None:
    with pytest.raises(UnsupportedMediaType, match="application/yaml"):
        syntax_of(content_type)


def test_a_patch_is_json() -> None:
    assert syntax_of("application/merge-patch+json", PATCH_MEDIA_TYPES) == "json"
    with pytest.raises(UnsupportedMediaType):
        syntax_of("application/yaml", PATCH_MEDIA_TYPES)


@pytest.mark.parametrize("body", [b"", b"---\n", b"a: 1\n---\nb: 2\n", b"\xff", b"a: \xed\xa0\x80"])
def test_a_single_write_takes_exactly_one_document(body: bytes) -> None:
    with pytest.raises(BadDocument):
        one(body, "yaml")


def test_a_byte_order_mark_is_harmless() -> None:
    assert one(b"\xef\xbb\xbf{}", "json") == {}


def test_a_batch_is_one_object_or_many() -> None:
    single, many = upstream(), [upstream("a"), upstream("b")]
    assert len(of_json(single).resources) == 1
    assert len(of_json(many).resources) == 2
    stream = "\n---\n".join(map(json.dumps, many)).encode()
    assert len(batch(stream, "yaml", 9).resources) == 2


def test_every_problem_of_every_document_has_its_index() -> None:
    bad = upstream("bad")
    bad["spec"] |= {"url": "ftp://x", "what": 1}
    found = of_json([upstream(), bad, "text", {"kind": "Upstream"}, {**upstream("B")}])
    fields = [problem.field for problem in found.problems]
    assert fields == [
        "documents[1].spec.url",
        "documents[1].spec.what",
        "documents[2]",
        "documents[3].apiVersion",
        "documents[4].metadata.name",
    ]
    assert Key("upstreams", "bad") in found.broken
    assert [*found.resources] == [0]


def test_a_key_can_be_there_once() -> None:
    found = of_json([upstream(), credential(), upstream(team="menu")])
    assert [str(problem) for problem in found.problems] == [
        "documents[2]: upstreams/openai is in documents[0] already. Keep one of the two"
    ]


def test_names_are_kinds_own() -> None:
    assert not of_json([upstream("same"), credential("same"), proxy("same")]).problems


def test_nothing_is_no_batch() -> None:
    with pytest.raises(BadDocument, match="holds no document"):
        batch(b"[]", "json", 9)


def test_a_list_in_a_list_is_no_document() -> None:
    assert [problem.field for problem in of_json([[]]).problems] == ["documents[0]"]


def test_the_number_of_documents_is_bounded() -> None:
    documents = [upstream(f"u{i}") for i in range(4)]
    assert len(of_json(documents, most=4).resources) == 4
    with pytest.raises(BodyTooLarge, match="more than 3 documents"):
        of_json(documents, most=3)


def of_json(documents: Any, most: int = 99) -> Batch:
    return batch(json.dumps(documents).encode(), "json", most)
