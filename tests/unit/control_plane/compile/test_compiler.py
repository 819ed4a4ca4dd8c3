"""What changes with which edit: the promises that the switch builds on."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.compile import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    PLAN,
    ROUTE,
    SECRET,
    Compiled,
    Compiler,
    GatewaySettings,
)
from control_plane.resources import Key, Resource, parse
from ext_proc.plan import decode
from tests.support import golden


def edited(plural: str, name: str, **spec: Any) -> dict[Key, Resource]:
    """The tour's resources, with some fields of one spec replaced."""
    resources = golden.load("menu-copy")
    key = Key(plural, name)
    document = resources[key].to_document(reveal=True)
    document["spec"] |= spec
    return resources | {key: parse(document)}


def changed_types(before: Compiled, after: Compiled) -> set[str]:
    return {
        type_url
        for type_url in before.resources
        if before.resources[type_url] != after.resources[type_url]
    }


def compile_fresh(resources: dict[Key, Resource]) -> Compiled:
    return Compiler(GatewaySettings()).compile(1, resources)


BEFORE = golden.compile_case("menu-copy")
MESSAGE = [{"role": "user", "content": "{{ dish }} {{ mood }}"}]


def test_a_template_edit_changes_one_plan_under_its_name_and_no_route() -> None:
    after = compile_fresh(edited("templates", "menu-copy", messages=MESSAGE))
    assert changed_types(BEFORE, after) == {PLAN}
    assert after.resources[PLAN].keys() == BEFORE.resources[PLAN].keys()


def test_params_are_content_too() -> None:
    after = compile_fresh(edited("proxies", "menu-copy", params={"temperature": 1.5}))
    assert changed_types(BEFORE, after) == {PLAN}


def test_a_new_secret_changes_the_secret_alone() -> None:
    after = compile_fresh(edited("credentials", "menu-key", secret="rotated"))
    assert changed_types(BEFORE, after) == {SECRET}


@pytest.mark.parametrize(
    ("plural", "name", "spec"),
    [
        ("upstreams", "menu-writer", {"url": "http://127.0.0.1:9001/v1"}),
        ("upstreams", "menu-writer", {"url": "http://127.0.0.1:9000/v2"}),
        ("upstreams", "menu-writer", {"credential": None}),
        ("upstreams", "menu-writer", {"timeouts": {"request": "10s"}}),
        ("credentials", "menu-key", {"type": "header", "header": "api-key"}),
        ("proxies", "menu-copy", {"template": None}),
    ],
)
def test_a_change_of_wiring_makes_new_names_and_alters_none(
    plural: str, name: str, spec: dict[str, Any]
) -> None:
    after = compile_fresh(edited(plural, name, **spec))
    assert ROUTE in changed_types(BEFORE, after)
    assert not after.resources[PLAN].keys() & BEFORE.resources[PLAN].keys()
    for type_url in (CLUSTER, ENDPOINT):
        old, new = BEFORE.resources[type_url], after.resources[type_url]
        assert all(old[shared] == new[shared] for shared in old.keys() & new.keys())


def test_a_credential_that_moves_to_another_server_is_another_secret() -> None:
    """Plans that still send to the old server must never get the new value."""
    resources = edited("upstreams", "menu-writer", url="http://127.0.0.1:9001/v1")
    key = Key("credentials", "menu-key")
    document = resources[key].to_document(reveal=True)
    document["spec"]["secret"] = "secret-of-the-new-server"
    after = compile_fresh(resources | {key: parse(document)})
    assert not after.resources[SECRET].keys() & BEFORE.resources[SECRET].keys()
    (plan,) = after.resources[PLAN].values()
    (secret,) = after.resources[SECRET]
    credential = decode(plan.body).credential
    assert credential is not None
    assert credential.secret == secret


def test_a_credential_that_moves_to_another_header_is_another_secret() -> None:
    spec = {"type": "header", "header": "api-key", "secret": "secret-of-the-new-header"}
    after = compile_fresh(edited("credentials", "menu-key", **spec))
    assert not after.resources[SECRET].keys() & BEFORE.resources[SECRET].keys()


def test_a_credential_that_no_proxy_uses_is_sent_to_nobody() -> None:
    resources = golden.load("menu-copy")
    unused = resources[Key("credentials", "menu-key")].to_document(reveal=True)
    unused["metadata"]["name"] = "unused"
    extra = parse(unused)
    assert compile_fresh(resources | {extra.key: extra}) == BEFORE


def test_no_resource_changes_the_listener() -> None:
    listeners = {
        golden.compile_case(case).resources[LISTENER]["gateway"] for case in golden.cases()
    }
    assert len(listeners) == 1


def test_a_warm_compiler_gives_the_same_bytes_as_a_fresh_one() -> None:
    compiler = Compiler(GatewaySettings())
    compiler.compile(1, golden.load("menu-copy"))
    resources = edited("upstreams", "menu-writer", url="http://127.0.0.1:9001/v1")
    assert compiler.compile(1, resources) == compile_fresh(resources)


def test_a_secret_is_in_no_repr() -> None:
    assert "golden-secret" not in repr(BEFORE)
    assert "golden-secret" not in repr(list(BEFORE.resources[SECRET].values()))
