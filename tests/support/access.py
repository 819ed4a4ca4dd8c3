"""Callers with API tokens, for the tests of who may do what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx

from tests.support.api import Api, document


class As:
    """One token's holder on a running API."""

    def __init__(self, api: Api, token: str, token_id: str = "") -> None:
        self._api = api
        self.id = token_id
        self.headers = {"authorization": f"Bearer {token}"}

    async def call(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        headers = self.headers | kwargs.pop("headers", {})
        return await self._api.call(method, path, headers=headers, **kwargs)

    async def put(self, resource: dict[str, Any], query: str = "") -> httpx.Response:
        return await self._api.put(resource, query, headers=self.headers)

    async def apply(self, *documents: Any, query: str = "") -> httpx.Response:
        return await self.call("POST", f"/apply{query}", json=list(documents))


async def holder(api: Api, *roles: str, teams: Sequence[str] = ("a",), **more: Any) -> As:
    """A new token's holder."""
    asked = {"name": "-".join(roles), "roles": list(roles), "teams": list(teams), **more}
    made = await api.call("POST", "/tokens", json=asked)
    assert made.status_code == 201, made.text
    return As(api, made.json()["token"], made.json()["id"])


SPECS: dict[str, dict[str, Any]] = {
    "Upstream": {"dialect": "openai", "url": "http://127.0.0.1:9000/v1"},
    "Credential": {
        "type": "bearer",
        "secret": "sk-of-a-team",
        "allowedHosts": ["127.0.0.1"],
    },
    "Template": {"messages": [{"role": "user", "content": "Describe {{ dish }}."}]},
}


def of_team(kind: str, team: str, name: str = "", **metadata: Any) -> dict[str, Any]:
    """A resource of a team, called `{team}-{kind}`; a proxy names the team's own parts."""
    spec = SPECS.get(kind) or {
        "upstreams": [{"name": f"{team}-upstream", "credential": f"{team}-credential"}],
        "template": f"{team}-template",
    }
    return document(kind, name or f"{team}-{kind.lower()}", spec, team=team, **metadata)


KINDS = ("Upstream", "Credential", "Template", "Proxy")


def whole_team(team: str, **metadata: Any) -> list[dict[str, Any]]:
    """One resource of each kind, and a spare template that nothing names."""
    spare = of_team("Template", team, f"{team}-spare", **metadata)
    return [*(of_team(kind, team, **metadata) for kind in KINDS), spare]
