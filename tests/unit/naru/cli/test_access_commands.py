"""`naru tokens`, `naru whoami` and `naru audit` against a scripted control plane."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from naru.cli.tokens import ROLES
from tests.unit.naru.cli.test_commands import ControlPlane, naru, plane

__all__ = ["plane"]
TOKEN: dict[str, Any] = {
    "id": "0123456789ab", "name": "ci", "roles": ["developer"], "teams": ["menu"],
    "createdAt": "2026-01-01T00:00:00Z", "createdBy": "admin-token", "expiresAt": None,
}  # fmt: skip
ENTRY: dict[str, Any] = {
    "number": 1, "previous": "0" * 64, "time": "2026-01-01T00:00:00.000Z", "revision": 7,
    "actor": {"id": "0123456789ab", "name": "ci"}, "client": "10.0.0.7", "message": "새 메뉴",
    "action": "POST /api/v1/apply", "request_id": "r",
    "resources": [{"kind": "Proxy", "name": f"p{i}", "change": "created"} for i in range(5)],
}  # fmt: skip


def test_the_roles_are_the_servers() -> None:
    from control_plane.access import ROLES as SERVER

    assert ROLES == SERVER


def test_create_prints_the_token_alone(plane: ControlPlane) -> None:
    plane.on("POST", "/api/v1/tokens", 201, TOKEN | {"token": "nt_x_y"})
    arguments = ("ci", "--role", "developer", "--team", "menu", "--expires", "90d", "-m", "for CI")
    result = naru(plane, "tokens", "create", *arguments)
    assert (result.exit_code, result.stdout) == (0, "nt_x_y\n")
    assert "nt_x_y" not in result.stderr
    [request] = plane.requests
    assert request["query"] == {"message": "for CI"}
    body: dict[str, Any] = json.loads(request["body"])
    expires = datetime.fromisoformat(body.pop("expiresAt"))
    assert abs(expires - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=5)
    assert body == {"name": "ci", "roles": ["developer"], "teams": ["menu"]}


@pytest.mark.parametrize("arguments", [
    ("ci", "--team", "a"), ("ci", "--role", "developer"), ("ci", "--role", "root", "--team", "a"),
    ("ci", "--role", "viewer", "--team", "a", "--expires", "soon"),
])  # fmt: skip
def test_create_used_wrongly_is_status_2(plane: ControlPlane, arguments: tuple[str, ...]) -> None:
    result = naru(plane, "tokens", "create", *arguments)
    assert (result.exit_code, plane.requests) == (2, [])


def test_list(plane: ControlPlane) -> None:
    plane.on("GET", "/api/v1/tokens", 200, {"items": [TOKEN]})
    lines = naru(plane, "tokens", "list").output.splitlines()
    assert [line.split() for line in lines] == [
        ["ID", "NAME", "ROLES", "TEAMS", "EXPIRES"],
        ["0123456789ab", "ci", "developer", "menu", "-"],
    ]


def test_revoke(plane: ControlPlane) -> None:
    plane.on("DELETE", "/api/v1/tokens/0123456789ab", 200, {"revision": 9})
    result = naru(plane, "tokens", "revoke", "0123456789ab")
    assert (result.exit_code, result.output) == (0, "Token 0123456789ab revoked\n")
    assert naru(plane, "tokens", "revoke", "../status").exit_code == 2


def test_whoami(plane: ControlPlane) -> None:
    plane.on("GET", "/api/v1/whoami", 200, TOKEN)
    result = naru(plane, "whoami")
    assert result.output.splitlines()[0] == "ci (0123456789ab)"
    assert "  teams: menu" in result.output


def test_a_token_that_is_no_more(plane: ControlPlane) -> None:
    plane.on("GET", "/api/v1/whoami", 401, {"error": {"code": "unauthorized", "message": "x"}})
    result = naru(plane, "whoami")
    assert result.exit_code == 1
    assert "set NARU_TOKEN to another" in result.output


def test_audit(plane: ControlPlane) -> None:
    pages = [{"items": [ENTRY], "continue": "next"}, {"items": [ENTRY], "continue": None}]
    plane.on("GET", "/api/v1/audit", 200, *pages)
    result = naru(plane, "audit", "--since", "7d", "--resource", "proxies/p1")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) == 3
    for words in ("ci (0123456789ab)", "10.0.0.7", "proxy/p2 created and 2 more", "새 메뉴"):
        assert words in result.output
    first, second = (request["query"] for request in plane.requests)
    since = datetime.fromisoformat(first["since"])
    assert abs(datetime.now(UTC) - since - timedelta(days=7)) < timedelta(minutes=5)
    assert (first["resource"], second["continue"]) == ("proxies/p1", "next")
    assert second["since"] == first["since"]


@pytest.mark.parametrize(("found", "code", "words"), [
    ({"whole": True, "entries": 5, "first": 1, "problems": []}, 0, "5 entries, the newest 5 abc"),
    ({"whole": True, "entries": 3, "first": 3, "problems": []}, 0, "before 3 are not there"),
    ({"whole": False, "entries": 4, "first": 1, "problems": ["entry 2 was altered"]}, 1, "entry 2"),
])  # fmt: skip
def test_verify(plane: ControlPlane, found: dict[str, Any], code: int, words: str) -> None:
    head = {"head": {"number": 5, "hash": "abc"}}
    plane.on("GET", "/api/v1/audit/verification", 200, found | head)
    result = naru(plane, "audit", "verify")
    assert result.exit_code == code
    assert words in result.output
