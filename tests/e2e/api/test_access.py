"""Tokens, teams and the trail, over two real control planes on one real etcd."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from naru.cli import main
from tests.support.access import of_team, whole_team
from tests.support.api import template, upstream
from tests.support.control_plane import ControlPlaneProcess, until
from tests.support.etcd import EtcdProcess


@pytest.fixture(scope="module")
def other(
    shared_etcd: EtcdProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlaneProcess]:
    with ControlPlaneProcess(tmp_path_factory.mktemp("second"), shared_etcd.endpoint) as process:
        yield process


def made(admin: httpx.Client, role: str, team: str) -> dict[str, Any]:
    asked = {"name": f"{role}-{team}", "roles": [role], "teams": [team]}
    answer = admin.post("/api/v1/tokens", json=asked)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def holder(process: ControlPlaneProcess, token: dict[str, Any]) -> httpx.Client:
    headers = {"authorization": f"Bearer {token['token']}"}
    return httpx.Client(base_url=f"http://{process.api}", headers=headers, timeout=20)


def trail(admin: httpx.Client) -> list[dict[str, Any]]:
    found, more = [], ""
    while True:
        page = admin.get(f"/api/v1/audit?limit=1000{more}").json()
        found += page["items"]
        if page["continue"] is None:
            return found
        more = f"&continue={page['continue']}"


def test_a_token_works_and_is_revoked_everywhere(
    http: httpx.Client, running: ControlPlaneProcess, other: ControlPlaneProcess
) -> None:
    token = made(http, "developer", "a")
    with holder(running, token) as here, holder(other, token) as there:
        until(lambda: there.get("/api/v1/whoami").status_code == 200, 5)
        assert there.put("/api/v1/templates/t", json=of_team("Template", "a", "t")).is_success
        with other.client() as rival:
            assert rival.delete(f"/api/v1/tokens/{token['id']}").status_code == 200
        start = time.monotonic()
        assert there.get("/api/v1/whoami").status_code == 401
        until(lambda: here.get("/api/v1/whoami").status_code == 401, 1)
        assert time.monotonic() - start < 1
        late = of_team("Template", "a", "late")
        assert here.put("/api/v1/templates/late", json=late).status_code == 401


def test_one_foreign_document_stops_an_apply(
    http: httpx.Client, running: ControlPlaneProcess
) -> None:
    assert http.post("/api/v1/apply", json=[*whole_team("a"), *whole_team("b")]).is_success
    before = http.get("/api/v1/status").json()["revision"], len(trail(http))
    token = made(http, "developer", "a")
    with holder(running, token) as dev:
        documents = [of_team("Template", "a", "new"), of_team("Template", "b", labels={"x": "y"})]
        assert dev.post("/api/v1/apply", json=documents).status_code == 403
        assert dev.get("/api/v1/templates/new").status_code == 404
        assert [i["metadata"]["team"] for i in dev.get("/api/v1/proxies").json()["items"]] == ["a"]
    after = http.get("/api/v1/status").json()["revision"], len(trail(http))
    assert (after[0] - before[0], after[1] - before[1]) == (1, 1)  # the token's own


def test_one_entry_for_each_write_however_many_writers(
    http: httpx.Client,
    running: ControlPlaneProcess,
    other: ControlPlaneProcess,
    shared_etcd: EtcdProcess,
) -> None:
    """Two replicas write at once, so guards are lost and tried again; some conflict on purpose."""
    first = http.put("/api/v1/upstreams/contested", json=upstream("contested"))
    seen = first.headers["etag"]
    before = trail(http)

    def write(i: int) -> tuple[str, httpx.Response]:
        process, name = (running, other)[i % 2], f"menu-{i % 5}"
        with process.client() as client:
            if i % 4 == 3:
                body, headers = upstream("contested", labels={"i": str(i)}), {"if-match": seen}
                path = "/api/v1/upstreams/contested"
                return str(i), client.put(f"{path}?message={i}", json=body, headers=headers)
            body = template(name, f"text {i}")
            return str(i), client.put(f"/api/v1/templates/{name}?message={i}", json=body)

    with ThreadPoolExecutor(8) as pool:
        answers = dict(pool.map(write, range(40)))
    done = {i: a for i, a in answers.items() if a.is_success}
    assert sum(a.status_code == 409 for a in answers.values()) == 9
    assert len(done) == 31
    found = trail(http)[len(before) :]
    assert {e["message"]: e["revision"] for e in found} == {
        i: int(a.headers["x-naru-revision"]) for i, a in done.items()
    }
    assert len(found) == len(done)
    numbers = sorted(e["number"] for e in found)
    assert numbers == list(range(len(before) + 1, len(before) + len(done) + 1))
    assert {e["message"]: e["request_id"] for e in found} == {
        i: a.headers["x-request-id"] for i, a in done.items()
    }
    assert http.get("/api/v1/audit/verification").json()["whole"]
    raw = json.loads(shared_etcd.ctl("get", "/naru/v1-audit/", "--prefix", "-w", "json"))
    assert raw["count"] == len(trail(http))


def test_what_is_taken_out_of_etcd_shows(http: httpx.Client, shared_etcd: EtcdProcess) -> None:
    for i in range(3):
        http.put("/api/v1/upstreams/u", json=upstream("u", labels={"i": str(i)}))
    assert http.get("/api/v1/audit/verification").json()["whole"]
    key = shared_etcd.ctl("get", "/naru/v1-audit/", "--prefix", "--keys-only").split()[-2]
    value = shared_etcd.ctl("get", key, "--print-value-only").removesuffix("\n")
    shared_etcd.ctl("del", key)
    found = http.get("/api/v1/audit/verification").json()
    assert (found["whole"], len(found["problems"])) == (False, 1)
    shared_etcd.ctl("put", key, stdin=value)
    http.put("/api/v1/upstreams/u", json=upstream("u", labels={"i": "last"}))
    assert http.get("/api/v1/audit/verification").json()["whole"]


def test_no_token_lies_in_etcd_or_a_log(
    http: httpx.Client, running: ControlPlaneProcess, shared_etcd: EtcdProcess
) -> None:
    token = made(http, "developer", "a")
    with holder(running, token) as dev:
        dev.put("/api/v1/templates/x", json=of_team("Template", "a", "x"))
        dev.put("/api/v1/templates/x", json=of_team("Template", "b", "x"))
    secret = token["token"].split("_", 2)[2]
    files = [path for path in shared_etcd.data_dir.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if secret.encode() in path.read_bytes()]
    assert secret not in running.log()
    assert "403" in running.log()
    assert f"by {token['id']} from 127.0.0.1" in running.log()


def test_a_token_works_while_etcd_is_away(tmp_path: Path) -> None:
    with (
        EtcdProcess(tmp_path / "etcd") as etcd,
        ControlPlaneProcess(tmp_path / "cp", etcd.endpoint) as process,
        process.client() as admin,
    ):
        token = made(admin, "developer", "a")
        with holder(process, token) as dev:
            assert dev.put("/api/v1/templates/x", json=of_team("Template", "a", "x")).is_success
            etcd.kill()
            assert dev.get("/api/v1/templates/x").status_code == 200
            refused = dev.put("/api/v1/templates/y", json=of_team("Template", "a", "y"))
            assert refused.status_code == 503
            assert admin.get("/api/v1/whoami").json()["id"] == "admin-token"
            assert admin.get("/api/v1/audit").status_code == 503


def test_the_command_says_which_role_is_missing(
    http: httpx.Client, running: ControlPlaneProcess, tmp_path: Path
) -> None:
    def naru(token: str, *arguments: str) -> Result:
        env = {"NARU_API_URL": f"http://{running.api}", "NARU_TOKEN": token}
        return CliRunner().invoke(main, arguments, env=env)

    admin = running.token_file.read_text().strip()
    asked = ("tokens", "create", "prompts", "--role", "prompt-editor", "--team", "a")
    made = naru(admin, *asked, "--expires", "1h", "-m", "for the writers")
    assert made.exit_code == 0, made.output
    token = made.stdout.strip()
    (tmp_path / "proxy.yaml").write_text(json.dumps(of_team("Proxy", "a")))
    refused = naru(token, "apply", "-f", str(tmp_path / "proxy.yaml"))
    assert refused.exit_code == 1
    assert "the role prompt-editor may not write proxies" in refused.output
    assert "Use a token with the role admin or operator or developer" in refused.output
    assert "Use a token with the role admin" in naru(token, "audit").output
    assert "prompts" in naru(token, "whoami").output
    shown = naru(admin, "audit", "--since", "1h").output
    assert "for the writers" in shown
    assert naru(admin, "audit", "verify").exit_code == 0
    assert naru(admin, "tokens", "revoke", token.split("_")[1]).exit_code == 0
    assert "set NARU_TOKEN to another" in naru(token, "whoami").output
