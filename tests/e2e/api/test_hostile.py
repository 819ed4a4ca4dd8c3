"""Documents and paths that mean harm, to a real API: a clear error, and nothing half done."""

from __future__ import annotations

import json
import socket
from typing import Any, Final

import httpx
import psutil
import pytest

from tests.support.api import credential, proxy, template, upstream
from tests.support.control_plane import ControlPlaneProcess

MIB: Final = 1024 * 1024
JSON, YAML = "application/json", "application/yaml"
GOOD: Final = upstream("good")
_LAUGHS: Final = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(24)
)


def changed(path: str, value: Any, document: dict[str, Any] = GOOD) -> dict[str, Any]:
    """A copy of a document with one field changed."""
    copy: dict[str, Any] = json.loads(json.dumps(document))
    *parents, last = path.split(".")
    place = copy
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    return copy


def text(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


UNREADABLE: Final[dict[str, tuple[str, bytes]]] = {
    "laughs": (YAML, _LAUGHS.encode()),
    "merge key": (YAML, b"a: &a {b: 1}\nc: {<<: *a}\n"),
    "python tag": (YAML, b"!!python/object/apply:os.system ['touch /tmp/x']"),
    "deep YAML": (YAML, b"[" * 900_000),
    "deep flow": (YAML, b"{a: " * 200_000),
    "deep JSON": (JSON, b"[" * 900_000),
    "deep JSON, closed": (JSON, b"[" * 400_000 + b"]" * 400_000),
    "huge integer": (JSON, b'{"a": ' + b"9" * 900_000 + b"}"),
    "huge YAML integer": (YAML, b"a: 18446744073709551616"),
    "huge exponent": (JSON, b'{"a": 1e999999}'),
    "not a number": (JSON, b'{"a": NaN}'),
    "key twice": (JSON, text(GOOD)[:-1] + b', "kind": "Proxy"}'),
    "key twice, escaped": (JSON, text(GOOD)[:-1] + b', "k\\u0069nd": "Proxy"}'),
    "key twice in YAML": (YAML, b"kind: Upstream\nkind: Proxy\n"),
    "lone surrogate": (JSON, b'{"a": "\\ud800"}'),
    "lone surrogate as key": (JSON, b'{"\\udfff": 1}'),
    "surrogates the wrong way": (JSON, b'{"a": "\\udc00\\ud800"}'),
    "overlong UTF-8": (JSON, b'{"a": "\xc0\xaf"}'),
    "overlong NUL": (YAML, b"a: \xc0\x80"),
    "surrogate in UTF-8": (JSON, b'{"a": "\xed\xa0\x80"}'),
    "beyond Unicode": (JSON, b'{"a": "\xf4\x90\x80\x80"}'),
    "UTF-16": (JSON, json.dumps(GOOD).encode("utf-16")),
    "NUL in YAML": (YAML, b"a: \x00"),
    "two values": (JSON, b"{} {}"),
    "nothing": (JSON, b""),
    "many values": (JSON, b"[" + b"1," * 499_999 + b"1]"),
    "many empty documents": (YAML, b"---\n" * 250_000),
}
_NAMES: Final = (
    "../x", "..", ".", "a/b", "/etc/passwd", "%2e%2e", "..%2fx", "a\0", "a\n", "a\r\nb", " a", "a ",
    "аdmin", "ａ", "a\u200b", "\u202ea", "e\u0301", "ß", "ﬁ", "①", "A", "a_b", "a.b", "-", "a" * 64,
    "", "메뉴", "a\ud7ffb", "con\u00ad", "\ufeffa",
)  # fmt: skip
_TEXTS: Final = ("a\0b", "\x1b[2J", "a\u202eb", "\u200b", "\ufeff", "\u2028", "a\nb", "\u0085")
WRONG: Final[dict[str, tuple[dict[str, Any], str]]] = {
    **{f"name {n!a}": (changed("metadata.name", n), "metadata.name") for n in _NAMES},
    **{f"team {n!a}": (changed("metadata.team", n), "metadata.team") for n in _NAMES},
    **{f"label {t!a}": (changed("metadata.labels", {"a": t}), "metadata.labels.a") for t in _TEXTS},
    **{
        f"{field} key {t!a}": (changed(f"metadata.{field}", {t: "a"}), f"metadata.{field}")
        for field in ("labels", "annotations")
        for t in (*_TEXTS, "", "k" * 254)
    },
    **{
        f"host {t!a}": (changed("spec.url", f"http://a{t}.example/"), "spec.url") for t in _TEXTS
    },
    **{
        f"header {t!a}": (
            credential(type="header", header=f"x{t}"), "spec"
        ) for t in (*_TEXTS, "ａ", "K", " ", ":", "\u212a")
    },
    "no object": (changed("metadata", ["name"]), "metadata"),
    "kind": (changed("kind", "Upstreаm"), "kind"),
    "kind in lower case": (changed("kind", "upstream"), "kind"),
    "kind that is an object": (changed("kind", {"Upstream": 1}), "kind"),
    "later version": (changed("apiVersion", "naru/v2"), "apiVersion"),
    "version that looks alike": (changed("apiVersion", "naru/ⅴ1"), "apiVersion"),
    "unknown field": (changed("__class__", {}), "__class__"),
    "unknown field in spec": (changed("spec.__proto__", {}), "spec.__proto__"),
    "revision that is no number": (changed("metadata.revision", True), "metadata.revision"),
    "float for a number": (
        changed("spec.connections", {"maxRequests": 1e3}), "spec.connections.maxRequests"
    ),
    "digits of another script": (changed("spec.timeouts", {"idle": "٤s"}), "spec.timeouts.idle"),
    "reference that is a path": (proxy(to="../credentials/key"), "spec.upstreams.0.name"),
    "template that is a path": (proxy(template="../x@latest"), "spec.template"),
    "escape in a template": (template(content="{{ dish.__class__() }}"), "spec.messages.0.content"),
}  # fmt: skip


@pytest.fixture
def nothing_is_left(http: httpx.Client, running: ControlPlaneProcess) -> Any:
    """Whatever a test sends: no resource comes of it, and the process stays small and well."""
    assert running.process is not None
    memory = psutil.Process(running.process.pid)
    before = memory.memory_info().rss
    yield
    for kind in ("upstreams", "credentials", "templates", "proxies"):
        assert http.get(f"/api/v1/{kind}").json()["items"] == []
    assert http.get("/healthz").status_code == 200
    assert memory.memory_info().rss - before < 160 * MIB
    assert "Traceback" not in running.log()
    assert " failed: " not in running.log()


def refused(answer: httpx.Response) -> dict[str, Any]:
    assert 400 <= answer.status_code < 500, f"{answer.status_code}: {answer.text[:500]}"
    error: dict[str, Any] = answer.json()["error"]
    assert error["code"]
    assert len(answer.content) < 64 * 1024
    assert "\x1b" not in answer.text
    return error


@pytest.mark.usefixtures("nothing_is_left")
@pytest.mark.parametrize("case", UNREADABLE)
def test_bodies_that_cannot_be_read(http: httpx.Client, case: str) -> None:
    kind, body = UNREADABLE[case]
    headers = {"content-type": kind}
    for method, path in (("POST", "/api/v1/apply"), ("PUT", "/api/v1/upstreams/good")):
        refused(http.request(method, path, content=body, headers=headers))


@pytest.mark.usefixtures("nothing_is_left")
def test_documents_that_are_wrong(http: httpx.Client) -> None:
    for case, (document, field) in WRONG.items():
        error = refused(http.post("/api/v1/apply", json=[GOOD, document]))
        fields = [problem["field"] for problem in error["problems"]]
        assert any(f.startswith(f"documents[1].{field}") for f in fields), (case, fields)


@pytest.mark.usefixtures("nothing_is_left")
def test_all_of_them_at_once(http: httpx.Client) -> None:
    documents = [GOOD, *(document for document, _ in WRONG.values())]
    answer = http.post("/api/v1/apply", json=documents)
    assert answer.status_code == 422
    assert len(answer.json()["error"]["problems"]) >= len(WRONG) - 2


@pytest.mark.usefixtures("nothing_is_left")
@pytest.mark.parametrize(
    "name",
    ["../credentials/key", "..", "%2e%2e", "%2e%2e%2fcredentials%2fkey", "..%2f..%2fapply", "a%2fb",
     "a%00", "%00", "%c0%ae", "%ff", "%ed%a0%80", "a%0d%0ax-evil:%201", "%e2%80%ae", "%ef%bd%81",
     "a;b", "a%3fdry_run=true", "%61%2f", "./good", "good/", "/good", "good%20", "%", "%zz",
     "a" * 7000],
)  # fmt: skip
def test_paths_that_mean_another_resource(
    http: httpx.Client, running: ControlPlaneProcess, name: str
) -> None:
    """Sent as they are: a client of ours would tidy them up."""
    for method in ("PUT", "GET", "DELETE", "PATCH"):
        status, head = _raw(http, running, method, f"/api/v1/upstreams/{name}")
        assert 400 <= status < 500, (method, status)
        assert b"x-evil" not in head.lower()


def _raw(
    http: httpx.Client, running: ControlPlaneProcess, method: str, path: str
) -> tuple[int, bytes]:
    body = text(GOOD)
    lines = (
        f"{method} {path} HTTP/1.1",
        "host: api",
        f"authorization: {http.headers['authorization']}",
        f"content-type: {JSON}",
        f"content-length: {len(body)}",
        "connection: close",
    )
    host, _, port = running.api.partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall("\r\n".join((*lines, "", "")).encode() + body)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    head = answer.partition(b"\r\n\r\n")[0]
    return int(head.split(b" ")[1]), head
