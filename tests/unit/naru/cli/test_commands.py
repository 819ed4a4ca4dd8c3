"""Every command against a scripted control plane on a real socket: what is sent, printed, returned."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml
from click.testing import CliRunner, Result

from naru.cli import main
from naru.cli._kinds import KINDS

PROXY = {
    "apiVersion": "naru/v1",
    "kind": "Proxy",
    "metadata": {"name": "menu-copy", "team": "메뉴", "revision": 7},
    "spec": {"upstreams": [{"name": "u"}]},
}
NODE = {
    "id": "gateway",
    "cluster": "gateway",
    "connected": True,
    "applied_revision": 7,
    "types": {},
}


class ControlPlane:
    """Answers by (method, path); keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], list[tuple[int, Any]]] = {}
        self.requests: list[dict[str, Any]] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def on(self, method: str, path: str, status: int, *bodies: Any) -> None:
        self.answers[method, path] = [(status, body) for body in bodies]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        plane = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                plane.requests.append(
                    {
                        "query": dict(parse_qsl(parts.query)),
                        "authorization": self.headers["authorization"],
                        "content-type": self.headers["content-type"],
                        "body": body.decode(),
                    }
                )
                queue = plane.answers[self.command, parts.path]
                status, document = queue.pop(0) if len(queue) > 1 else queue[0]
                content = b"" if document is None else json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    plane = ControlPlane()
    thread = threading.Thread(target=plane.server.serve_forever, args=(0.01,))
    thread.start()
    yield plane
    plane.server.shutdown()
    thread.join()
    plane.server.server_close()


def naru(plane: ControlPlane | None, *arguments: str, stdin: str | None = None) -> Result:
    env = {"NARU_API_URL": plane.url, "NARU_TOKEN": "t0ken"} if plane else {}
    blank: dict[str, str | None] = dict.fromkeys(("NARU_API_URL", "NARU_TOKEN", "NARU_DATA_DIR"))
    return CliRunner().invoke(main, arguments, input=stdin, env={**blank, **env})


def applied(state: str = "applied", *changes: tuple[str, str, str]) -> dict[str, Any]:
    results = [{"kind": k, "name": n, "change": c} for k, n, c in changes]
    nodes = {"gateway": {"state": state, "detail": "bad cluster" * (state == "rejected")}}
    return {"revision": 8, "results": results, "status": {"state": state, "nodes": nodes}}


# -- apply


def test_apply_sends_every_document_and_prints_every_change(
    plane: ControlPlane, tmp_path: Path
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.yaml").write_text("a: 1\n---\na: 2\n")
    (tmp_path / "deep" / "b.json").write_text('{"b": "김치"}')
    (tmp_path / "c.yml").write_text("# nothing\n")
    (tmp_path / "notes.txt").write_text("not: read")
    answer = applied("applied", ("Proxy", "p", "created"), ("Template", "t", "unchanged"))
    plane.on("POST", "/api/v1/apply", 200, answer)
    result = naru(plane, "apply", "-f", str(tmp_path), "-f", "-", "--wait", stdin="c: 3")
    assert (result.exit_code, result.output) == (0, "proxy/p created\ntemplate/t unchanged\n")
    (request,) = plane.requests
    assert request["query"] == {"wait": "5s"}
    assert request["content-type"] == "application/yaml"
    assert request["authorization"] == "Bearer t0ken"
    documents = [d for d in yaml.safe_load_all(request["body"]) if d is not None]
    assert documents == [{"a": 1}, {"a": 2}, {"b": "김치"}, {"c": 3}]


def test_a_dry_run_says_so(plane: ControlPlane) -> None:
    plane.on("POST", "/api/v1/apply", 200, applied("pending", ("Proxy", "p", "updated")))
    result = naru(plane, "apply", "-f", "-", "--dry-run", stdin="a: 1")
    assert (result.exit_code, result.output) == (0, "proxy/p updated (dry run)\n")
    assert plane.requests[0]["query"] == {"dry_run": "true"}


def test_refusals_are_shown_as_the_api_says_them(plane: ControlPlane) -> None:
    problem = {"field": "documents[0].spec.url", "message": "is missing", "mend": "Write a URL"}
    body = {"error": {"code": "invalid_resource", "message": "1 problem", "problems": [problem]}}
    plane.on("POST", "/api/v1/apply", 422, body)
    result = naru(plane, "apply", "-f", "-", stdin="a: 1")
    assert result.exit_code == 1
    for words in ("invalid_resource", "documents[0].spec.url: is missing", "→ Write a URL"):
        assert words in result.output


def test_not_live_yet_is_status_4(plane: ControlPlane) -> None:
    plane.on("POST", "/api/v1/apply", 202, applied("pending", ("Proxy", "p", "created")))
    result = naru(plane, "apply", "-f", "-", "--wait", "1s", stdin="a: 1")
    assert result.exit_code == 4
    assert "proxy/p created" in result.output
    assert "gateway: pending" in result.output


def test_a_node_that_refuses_is_status_1_with_its_words(plane: ControlPlane) -> None:
    problem = {"field": "nodes.gateway", "message": "no such certificate", "mend": "Mend it"}
    error = {"code": "rejected_by_node", "message": "refused", "problems": [problem]}
    plane.on("POST", "/api/v1/apply", 422, {"error": error})
    result = naru(plane, "apply", "-f", "-", "--wait", "1s", stdin="a: 1")
    assert result.exit_code == 1
    assert "nodes.gateway: no such certificate" in result.output


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (("-f", "/nonexistent.yaml"), None, "Cannot read /nonexistent.yaml"),
        (("-f", "-"), "a: [", "standard input is not YAML"),
        (("-f", "-"), "", "no documents"),
        (("-f", "-", "--wait", "soon"), "a: 1", "not a duration"),
        ((), None, "Missing option"),
    ],
)
def test_apply_used_wrongly_is_status_2(
    plane: ControlPlane, arguments: tuple[str, ...], stdin: str | None, message: str
) -> None:
    result = naru(plane, "apply", *arguments, stdin=stdin)
    assert (result.exit_code, plane.requests) == (2, [])
    assert message in result.output


# -- get, delete


@pytest.mark.parametrize("name", ["proxies", "proxy", "Proxy", "PROXIES"])
def test_get_one_by_any_name_of_its_kind(plane: ControlPlane, name: str) -> None:
    plane.on("GET", "/api/v1/proxies/menu-copy", 200, PROXY)
    result = naru(plane, "get", name, "menu-copy", "-o", "yaml")
    assert (result.exit_code, yaml.safe_load(result.output)) == (0, PROXY)


def test_get_follows_pages(plane: ControlPlane) -> None:
    pages = [{"items": [PROXY], "continue": "next"}, {"items": [PROXY], "continue": None}]
    plane.on("GET", "/api/v1/proxies", 200, *pages)
    result = naru(plane, "get", "proxies", "-o", "json")
    assert json.loads(result.output) == {"items": [PROXY, PROXY]}
    assert [r["query"].get("continue") for r in plane.requests] == [None, "next"]


def test_get_all_as_a_table_and_as_documents(plane: ControlPlane) -> None:
    for plural in KINDS:
        items = [PROXY] if plural == "proxies" else []
        plane.on("GET", f"/api/v1/{plural}", 200, {"items": items, "continue": None})
    table = naru(plane, "get", "all").output.splitlines()
    assert [line.split() for line in table] == [
        ["KIND", "NAME", "TEAM", "REVISION"],
        ["Proxy", "menu-copy", "메뉴", "7"],
    ]
    assert list(yaml.safe_load_all(naru(plane, "get", "all", "-o", "yaml").output)) == [PROXY]


def test_get_of_nothing(plane: ControlPlane) -> None:
    plane.on("GET", "/api/v1/proxies", 200, {"items": [], "continue": None})
    assert naru(plane, "get", "proxies").output == "Nothing yet.\n"


def test_an_unknown_kind_lists_the_kinds(plane: ControlPlane) -> None:
    result = naru(plane, "get", "pods")
    assert result.exit_code == 2
    assert "upstreams, credentials, templates, proxies" in result.output


def test_delete(plane: ControlPlane) -> None:
    plane.on("DELETE", "/api/v1/proxies/menu-copy", 204, None)
    result = naru(plane, "delete", "proxy", "menu-copy")
    assert (result.exit_code, result.output) == (0, "proxy/menu-copy deleted\n")


def test_deleting_what_is_used_names_the_users(plane: ControlPlane) -> None:
    problem = {"field": "templates/t", "message": "is used by proxies/p", "mend": "Delete it"}
    error = {"code": "in_use", "message": "in use", "problems": [problem]}
    plane.on("DELETE", "/api/v1/templates/t", 409, {"error": error})
    result = naru(plane, "delete", "template", "t")
    assert result.exit_code == 1
    assert "is used by proxies/p" in result.output


# -- status


def test_status_shows_each_node(plane: ControlPlane) -> None:
    types = {"type.googleapis.com/envoy.config.cluster.v3.Cluster": {"error": "no such file"}}
    nodes = [
        NODE,
        NODE | {"id": "old", "connected": False, "applied_revision": 2},
        NODE | {"id": "slow", "applied_revision": None},
        NODE | {"id": "bad", "applied_revision": 6, "types": types},
    ]
    plane.on("GET", "/api/v1/status", 200, {"revision": 7, "state": "pending", "nodes": nodes})
    lines = naru(plane, "status").output.splitlines()
    assert lines[0] == "Revision 7: pending"
    states = {line.split()[0]: line.split()[2] for line in lines[3:]}
    assert states == {"gateway": "applied", "old": "gone", "slow": "pending", "bad": "rejected"}
    assert "Cluster: no such file" in lines[-1]


def test_status_says_who_refused_the_newest_revision_and_why(plane: ControlPlane) -> None:
    status = {"revision": 7, "state": "rejected", "refused": {"gateway": "no such file"}}
    plane.on("GET", "/api/v1/status", 200, status | {"nodes": []})
    output = naru(plane, "status").output
    assert "Revision 7: rejected" in output
    assert "gateway refused it: no such file" in output


def test_status_shows_what_is_set_aside_and_that_etcd_is_away(plane: ControlPlane) -> None:
    aside = {
        "resource": "proxies/menu",
        "revision": 9,
        "serving": "its last good version",
        "reason": "gateway refused it: bad certificate",
    }
    status = {"revision": 10, "state": "applied", "nodes": [NODE], "set_aside": [aside]}
    status["store"] = {"trouble": "etcd at h:1 cannot be reached"}
    plane.on("GET", "/api/v1/status", 200, status)
    output = naru(plane, "status").output
    assert output.startswith("Revision 10: applied, with 1 set aside\n")
    assert "Nothing can be written: etcd at h:1 cannot be reached" in output
    (row,) = [line for line in output.splitlines() if line.startswith("proxies/menu")]
    assert row.split()[:2] == ["proxies/menu", "9"]
    assert "last good version" in row
    assert row.endswith("gateway refused it: bad certificate")


def test_status_says_what_is_served_instead_of_etcd(plane: ControlPlane) -> None:
    facts = ["revision 7 is served as it was saved", "etcd is away: is it running?"]
    store = {"degraded": facts, "trouble": "is it running?"}
    status = {"revision": 7, "state": "applied", "nodes": [NODE], "store": store}
    plane.on("GET", "/api/v1/status", 200, status)
    lines = naru(plane, "status").output.splitlines()
    assert lines[1:3] == [f"  {fact}" for fact in facts]
    assert "Nothing can be written" not in "".join(lines)


def test_status_watches_until_it_is_interrupted(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = ({"revision": n, "state": "applied", "nodes": [NODE]} for n in (7, 8))
    plane.on("GET", "/api/v1/status", 200, first, second)
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", nap)
    output = naru(plane, "status", "--watch").output
    assert "Revision 7: applied" in output
    assert "Revision 8: applied" in output


def test_status_finds_a_running_up(plane: ControlPlane, tmp_path: Path) -> None:
    plane.on("GET", "/api/v1/status", 200, {"revision": 0, "state": "pending", "nodes": []})
    (tmp_path / "token").write_text("from-file\n")
    endpoints = {"api": plane.url, "gateway": "http://127.0.0.1:1", "pids": {"envoy": [42]}}
    endpoints["admin_token_file"] = str(tmp_path / "token")
    (tmp_path / "endpoints.json").write_text(json.dumps(endpoints))
    result = naru(None, "--data-dir", str(tmp_path), "status")
    assert result.exit_code == 0
    assert "No node has connected yet." in result.output
    assert "http://127.0.0.1:1" in result.output
    assert "42" in result.output
    assert plane.requests[0]["authorization"] == "Bearer from-file"


def test_the_local_token_is_not_sent_to_another_control_plane(
    plane: ControlPlane, tmp_path: Path
) -> None:
    (tmp_path / "admin-token").write_text("mine")
    result = naru(None, "--data-dir", str(tmp_path), "--api-url", plane.url, "status")
    assert (result.exit_code, plane.requests) == (3, [])
    assert "NARU_TOKEN" in result.output


# -- unreachable


def test_nobody_there_is_status_3(tmp_path: Path) -> None:
    result = naru(None, "--data-dir", str(tmp_path), "status")
    assert result.exit_code == 3
    assert "naru up" in result.output


def test_a_closed_port_is_status_3() -> None:
    plane = ControlPlane()
    plane.server.server_close()
    result = naru(plane, "get", "proxies")
    assert result.exit_code == 3
    assert "does not answer" in result.output
    assert "t0ken" not in result.output


def test_something_else_that_answers(plane: ControlPlane) -> None:
    plane.on("GET", "/api/v1/status", 200, ["hello"])
    result = naru(plane, "status")
    assert result.exit_code == 3
    assert "not a control plane" in result.output


# -- the rest


def test_the_kinds_are_those_of_the_server() -> None:
    from control_plane.resources import KINDS as SERVER

    assert {plural: kind.__name__ for plural, kind in SERVER.items()} == dict(KINDS)


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_bootstrap_prints_a_document(form: str) -> None:
    arguments = ("--xds-address", "cp:5", "--node-id", "edge", "--ext-proc-sockets", "/a,/b")
    result = naru(None, "bootstrap", "-o", form, *arguments)
    document = yaml.safe_load(result.output)
    assert document["node"]["id"] == "edge"
    assert "/b" in result.output


def test_bootstrap_refuses_a_public_admin_page() -> None:
    result = naru(None, "bootstrap", "--admin-address", "0.0.0.0:1")
    assert result.exit_code == 2
    assert "loopback" in result.output


@pytest.mark.parametrize("command", ["control-plane", "ext-proc"])
def test_the_light_install_says_what_to_install(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'grpc'", name="grpc.aio")

    monkeypatch.setattr("naru.cli.roles.importlib.import_module", missing)
    result = naru(None, command, *(["--socket", "/tmp/x"] if command == "ext-proc" else []))
    assert result.exit_code == 1
    assert "naru-gateway[server]" in result.output


@pytest.mark.parametrize("command", ["", *sorted(main.commands)])
def test_every_command_has_help(command: str) -> None:
    result = naru(None, *command.split(), "--help")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 4


@pytest.mark.parametrize("name", ["../templates/menu", "a/b", "", "?limit=1", "Menu", "%2e%2e"])
@pytest.mark.parametrize("command", ["get", "delete"])
def test_what_can_be_no_name_never_becomes_a_path(
    plane: ControlPlane, command: str, name: str
) -> None:
    result = naru(plane, command, "proxy", name)
    assert result.exit_code == 2
    assert "is no name" in result.output
    assert plane.requests == []


def test_a_workers_state_needs_both_its_place_and_its_key(tmp_path: Path) -> None:
    command = ["ext-proc", "--socket", str(tmp_path / "w.sock"), "--state-dir", str(tmp_path)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert "--state-dir and --state-key-file need each other" in result.output
