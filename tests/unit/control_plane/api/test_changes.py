"""`_changes`: (snapshot, request) → changes, without HTTP and without a store."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.api import _changes
from control_plane.api._preconditions import of_headers
from control_plane.api.errors import NotFound, VersionConflict
from control_plane.resources import (
    BrokenReferences,
    Credential,
    InUse,
    InvalidResource,
    Key,
    Resource,
    parse,
)
from control_plane.store import Changes, Snapshot, Stored
from tests.support.api import credential, proxy, template, upstream

KEY = Key("credentials", "key")


def snapshot(*documents: dict[str, Any], revision: int = 5) -> Snapshot:
    stored = [Stored(parse(document), revision, revision) for document in documents]
    return Snapshot().with_changes(revision, stored)


def secret(resource: Resource) -> str:
    assert isinstance(resource, Credential)
    assert resource.spec.secret is not None
    return resource.spec.secret.get_secret_value()


def numbered(*documents: dict[str, Any]) -> dict[int, Resource]:
    return dict(enumerate(map(parse, documents)))


class TestPut:
    def test_a_new_resource(self) -> None:
        resource = parse(upstream())
        assert _changes.put(Snapshot(), resource) == Changes(puts={resource.key: resource})

    def test_nothing_when_nothing_changes(self) -> None:
        before = snapshot(upstream())
        again = upstream(revision=5)
        again["spec"]["timeouts"] = {"idle": "4000ms"}
        assert not _changes.put(before, parse(again))

    def test_the_revision_is_not_stored(self) -> None:
        changes = _changes.put(Snapshot(), parse(upstream(revision=0)))
        assert changes.puts[Key("upstreams", "openai")].metadata.revision is None

    def test_a_dangling_reference(self) -> None:
        with pytest.raises(BrokenReferences) as caught:
            _changes.put(Snapshot(), parse(upstream(credential="gone")))
        assert "credentials/gone" in str(caught.value)

    def test_a_secret_is_kept(self) -> None:
        before = snapshot(credential(secret="sk-old"))
        changes = _changes.put(before, parse(credential(secret=None, allowedHosts=["127.0.0.1"])))
        assert secret(changes.puts[KEY]) == "sk-old"

    def test_a_secret_is_replaced(self) -> None:
        before = snapshot(credential(secret="sk-old"))
        changes = _changes.put(before, parse(credential(secret="sk-new")))
        assert secret(changes.puts[KEY]) == "sk-new"

    def test_nothing_when_only_the_secret_is_left_out(self) -> None:
        assert not _changes.put(snapshot(credential()), parse(credential(secret=None)))

    def test_a_new_credential_needs_a_secret(self) -> None:
        with pytest.raises(InvalidResource) as caught:
            _changes.put(Snapshot(), parse(credential(secret=None)))
        assert [problem.field for problem in caught.value.problems] == ["spec.secret"]

    def test_others_must_stay_right(self) -> None:
        """Narrowing allowedHosts hurts the upstream that names the credential."""
        before = snapshot(credential(), upstream(credential="key"))
        narrowed = parse(credential(secret=None, allowedHosts=["api.openai.com"]))
        with pytest.raises(BrokenReferences) as caught:
            _changes.put(before, narrowed)
        assert caught.value.problems[0].field == "upstreams/openai"

    def test_an_upstream_cannot_move_to_a_host_that_its_users_credential_forbids(self) -> None:
        theirs = proxy(upstreams=[{"name": "openai", "credential": "key"}])
        before = snapshot(credential(allowedHosts=["127.0.0.1:9000"]), upstream(), theirs)
        moved = upstream()
        moved["spec"]["url"] = "https://elsewhere.example/v1"
        with pytest.raises(BrokenReferences) as caught:
            _changes.put(before, parse(moved))
        assert caught.value.problems[0].field == "proxies/menu-copy"

    def test_the_revision_of_the_document_counts(self) -> None:
        with pytest.raises(VersionConflict) as caught:
            _changes.put(snapshot(upstream()), parse(upstream(revision=4, team="menu")))
        assert caught.value.problems[0].field == "metadata.revision"


class TestPatch:
    def test_merges(self) -> None:
        key = Key("upstreams", "openai")
        changes = _changes.patch(
            snapshot(upstream()), key, {"spec": {"timeouts": {"request": "9s"}}}
        )
        shown = changes.puts[key].to_document()["spec"]
        assert shown["timeouts"] == {"connect": "2s", "idle": "4s", "request": "9s"}
        assert shown["url"] == "http://127.0.0.1:9000/v1"

    def test_null_removes(self) -> None:
        key = Key("upstreams", "openai")
        before = snapshot(credential(), upstream(credential="key"))
        changes = _changes.patch(before, key, {"spec": {"credential": None}})
        assert "credential" not in changes.puts[key].to_document()["spec"]

    @pytest.mark.parametrize("patch", [{}, {"spec": {"secret": None}}, {"spec": {}}])
    def test_never_removes_a_secret(self, patch: object) -> None:
        assert not _changes.patch(snapshot(credential()), KEY, patch)

    def test_of_what_does_not_exist(self) -> None:
        with pytest.raises(NotFound):
            _changes.patch(Snapshot(), KEY, {})

    @pytest.mark.parametrize(
        "patch",
        [
            {"metadata": {"name": "other"}},
            {"kind": "Upstream"},
            {"kind": None},
            {"spec": None},
            {"spec": {"type": "what"}},
            [],
            "x",
            None,
        ],
    )
    def test_what_is_no_such_resource_any_more(self, patch: object) -> None:
        with pytest.raises(InvalidResource):
            _changes.patch(snapshot(credential()), KEY, patch)

    def test_its_revision_counts(self) -> None:
        with pytest.raises(VersionConflict):
            _changes.patch(snapshot(credential()), KEY, {"metadata": {"revision": 4}})


class TestDelete:
    def test_deletes(self) -> None:
        assert _changes.delete(snapshot(credential()), KEY) == Changes(deletes=frozenset({KEY}))

    def test_of_what_does_not_exist(self) -> None:
        with pytest.raises(NotFound):
            _changes.delete(Snapshot(), KEY)

    def test_of_what_is_in_use_names_all_users(self) -> None:
        theirs = proxy(upstreams=[{"name": "openai", "credential": "key"}])
        before = snapshot(credential(), upstream(credential="key"), theirs)
        with pytest.raises(InUse) as caught:
            _changes.delete(before, KEY)
        fields = [problem.field for problem in caught.value.problems]
        assert fields == ["proxies/menu-copy", "upstreams/openai"]

    def test_of_another_version(self) -> None:
        with pytest.raises(VersionConflict):
            _changes.delete(snapshot(credential()), KEY, of_headers('"4"', None))


class TestApply:
    def test_order_does_not_matter(self) -> None:
        documents = [proxy(template="menu"), template(), upstream(credential="key"), credential()]
        for order in (documents, documents[::-1]):
            assert len(_changes.apply(Snapshot(), numbered(*order)).puts) == 4

    def test_only_what_changes_is_written(self) -> None:
        before = snapshot(credential(), upstream())
        resources = numbered(credential(secret=None), upstream(), template())
        assert [*_changes.apply(before, resources).puts] == [Key("templates", "menu")]

    def test_all_problems_at_once_with_their_documents(self) -> None:
        resources = numbered(
            upstream(credential="gone"), credential(secret=None), proxy(to="nowhere"), template()
        )
        with pytest.raises(InvalidResource) as caught:
            _changes.apply(Snapshot(), resources)
        fields = [problem.field for problem in caught.value.problems]
        assert fields == ["documents[1].spec.secret", "documents[2]", "documents[0]"]
        assert "upstreams/nowhere" in caught.value.problems[1].message

    def test_dangling_references_alone_have_their_own_code(self) -> None:
        with pytest.raises(BrokenReferences):
            _changes.apply(Snapshot(), numbered(proxy(to="nowhere"), template()))

    def test_naming_a_document_that_cannot_be_read_is_no_mistake(self) -> None:
        broken = [Key("upstreams", "openai")]
        assert _changes.apply(Snapshot(), numbered(proxy()), broken).puts

    def test_what_is_hurt_but_not_applied_is_told_by_its_key(self) -> None:
        before = snapshot(credential(), upstream(credential="key"))
        resources = numbered(credential(secret=None, allowedHosts=["api.openai.com"]))
        with pytest.raises(BrokenReferences) as caught:
            _changes.apply(before, resources)
        assert caught.value.problems[0].field == "upstreams/openai"

    def test_all_conflicts_at_once(self) -> None:
        before = snapshot(credential(), upstream())
        late = credential()
        late["metadata"]["revision"] = 1
        with pytest.raises(VersionConflict) as caught:
            _changes.apply(before, numbered(template(), late, upstream(revision=2)))
        fields = [problem.field for problem in caught.value.problems]
        assert fields == ["documents[1].metadata.revision", "documents[2].metadata.revision"]


def test_results_say_what_became_of_each() -> None:
    before = snapshot(credential(), upstream())
    changes = _changes.apply(before, numbered(credential(), upstream(team="menu"), template()))
    keys = [(Key("templates", "menu"), "Template"), (KEY, "Credential"),
            (Key("upstreams", "openai"), "Upstream")]  # fmt: skip
    found = _changes.results(before, changes, keys)
    assert [result.change for result in found] == ["created", "unchanged", "updated"]
    gone = _changes.results(before, Changes(deletes=frozenset({KEY})), [(KEY, "Credential")])
    assert gone == [("Credential", "key", "deleted")]
