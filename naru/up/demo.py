"""`naru up --demo`: a local model, the resources that lead to it, and one real call."""

from __future__ import annotations

import importlib.resources
import json
from pathlib import Path
from typing import Any

import httpx
import yaml

from naru import AsyncClient, NaruError
from naru._problems import describe_answer
from naru.up import probes, python
from naru.up.child import ChildSpec
from naru.up.console import Console
from naru.up.errors import MissingPart, UpError
from naru.up.layout import Layout

PROXY = "menu-copy"
VARIABLES = {"dish": "김치볶음밥", "mood": "warm"}
_APPLY_WAIT = 30
_EDITED = {"Template": "templates", "Proxy": "proxies"}
_MODEL_TIMEOUT = 600.0
"""Seconds for the model's first start, which puts 250 MB of weights together."""


def models(layout: Layout, http: httpx.AsyncClient) -> list[ChildSpec]:
    """The model services of the demo.

    Raises:
        MissingPart: this is not a checkout, or the model's environment has not been made.
    """
    folder = _folder()
    address = layout.at["menu_writer"]
    where = ("--host", address.host, "--port", str(address.port))
    # 75 s: Envoy must be the one that gives an idle connection up (bentoml's default is 5 s).
    serve = ("-m", "bentoml", "serve", "service:MenuWriter", "--timeout-keep-alive", "75")
    stop = ("--timeout-graceful-shutdown", "5")
    env = {"MENU_WRITER_TOKEN": layout.model_token, "BENTOML_DO_NOT_TRACK": "True"}
    return [
        ChildSpec(
            name="menu_writer",
            group="bentos",
            argv=(str(folder / ".venv" / "bin" / "python"), *serve, *stop, *where),
            env=python.plain_environment() | {"PYTHONUNBUFFERED": "1"} | env,
            cwd=folder,
            ready=probes.http_ok(http, f"{address.url}/readyz"),
            ready_timeout=_MODEL_TIMEOUT,
        )
    ]


async def apply(console: Console, layout: Layout) -> None:
    """Apply the demo's resources, and wait until they are live.

    The model's address and token may be new; a template or proxy that is there already may have
    been edited, and stays as it is.

    Raises:
        UpError: they were refused, or are not live in time; in the control plane's words.
    """
    console.say("demo: applying the resources of menu-copy")
    headers = {"authorization": f"Bearer {layout.admin_token}"}
    timeout = _APPLY_WAIT + 10
    async with httpx.AsyncClient(
        base_url=f"{layout.at['api'].url}/api/v1", trust_env=False, timeout=timeout, headers=headers
    ) as api:
        try:
            await _apply(api, fill(_read("menu-copy.yaml"), layout))
        except httpx.HTTPError as error:
            raise UpError("The control plane did not answer the demo's apply.") from error


async def show(console: Console, layout: Layout) -> None:
    """Call the proxy once, and print the answer and how to repeat it.

    Raises:
        UpError: the call failed; in the gateway's words.
    """
    gateway = layout.at["gateway"].url
    console.say(f"demo: asking for {VARIABLES['dish']} …")
    try:
        async with AsyncClient(gateway) as client:
            answer = await client.proxy(PROXY).run(VARIABLES)
    except NaruError as error:
        raise UpError(f"The demo's call failed: {error}") from error
    console.plain(card(gateway, answer.text))


def fill(document: str, layout: Layout) -> str:
    """The demo's resources, with the model's address and token in their places."""
    values = {
        "${MENU_WRITER_URL}": layout.at["menu_writer"].url,
        "${MENU_WRITER_TOKEN}": layout.model_token,
    }
    for place, value in values.items():
        document = document.replace(place, value)
    return document


def card(gateway: str, text: str) -> str:
    """The answer, and the command that asks again."""
    body = json.dumps({"variables": VARIABLES}, ensure_ascii=False)
    quoted = "\n".join(f"    {line}" for line in text.strip().splitlines())
    return f"\n{quoted}\n\n  Ask again:\n    curl {gateway}/p/{PROXY} -d '{body}'\n"


async def _apply(api: httpx.AsyncClient, documents: str) -> None:
    wanted = [each for each in yaml.safe_load_all(documents) if not await _is_kept(api, each)]
    answer = await api.post(
        f"/apply?wait={_APPLY_WAIT}s",
        content=yaml.safe_dump_all(wanted, allow_unicode=True).encode(),
        headers={"content-type": "application/yaml"},
    )
    if answer.status_code not in (httpx.codes.OK, httpx.codes.CREATED):
        why = describe_answer(answer.status_code, answer.content)
        raise UpError(f"The demo's resources are not live: {why}")


async def _is_kept(api: httpx.AsyncClient, document: dict[str, Any]) -> bool:
    """Whether it is one that people edit, and is there."""
    plural = _EDITED.get(document["kind"])
    if plural is None:
        return False
    found = await api.get(f"/{plural}/{document['metadata']['name']}")
    return found.status_code == httpx.codes.OK


def _folder() -> Path:
    root = python.checkout()
    if root is None:
        raise MissingPart(
            "--demo needs a checkout of the repository: it serves bentos/menu_writer."
        )
    folder = root / "bentos" / "menu_writer"
    if not (folder / ".venv" / "bin" / "python").exists():
        raise MissingPart(f"The demo's model is not installed in {folder}/.venv. Run: make setup")
    return folder


def _read(name: str) -> str:
    return (importlib.resources.files("naru") / "demo" / name).read_text(encoding="utf-8")
