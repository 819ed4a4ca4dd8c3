"""One running product and one provider for all tests that do not break them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway import Gateway, document, running_gateway
from tests.support.provider import Provider, running_provider


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
    with running_provider() as running:
        yield running


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[Gateway]:
    """`naru up`, with the proxies `menu-copy` (a template) and `plain` (none)."""
    data_dir: Path = tmp_path_factory.mktemp("gateway") / "data"
    with running_gateway(data_dir) as running:
        running.apply(*tour(provider))
        yield running


def tour(provider: Provider) -> list[dict[str, object]]:
    """A credential, an upstream, a template and two proxies that use them."""
    variables = {
        "type": "object",
        "properties": {
            "dish": {"type": "string", "maxLength": 200},
            "mood": {"enum": ["warm", "fresh"]},
            "extras": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["dish", "mood"],
    }
    messages = [
        {"role": "system", "content": "Voice: {{ mood }}"},
        {
            "role": "user",
            "content": "Dish: {{ dish }}{% for e in extras|default([]) %} +{{ e }}{% endfor %}",
        },
    ]
    choice = {"name": "provider", "model": "gpt-4o-mini"}
    return [
        document("Proxy", "plain", {"upstreams": [choice], "allowParams": ["temperature"]}),
        document(
            "Proxy",
            "menu-copy",
            {
                "upstreams": [choice],
                "template": "menu-copy@latest",
                "params": {"temperature": 0.2},
                "allowParams": ["max_tokens"],
            },
        ),
        document(
            "Template",
            "menu-copy",
            {
                "variables": variables,
                "messages": messages,
                "params": {"temperature": 0.7, "top_p": 0.9},
            },
        ),
        document(
            "Upstream",
            "provider",
            {
                "dialect": "openai",
                "url": provider.url,
                "credential": "provider-key",
                "timeouts": {"request": "10s"},
            },
        ),
        document(
            "Credential",
            "provider-key",
            {"type": "bearer", "secret": provider.key, "allowedHosts": ["127.0.0.1"]},
        ),
    ]
