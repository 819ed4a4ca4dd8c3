"""`/api/v1/keys` and `naru keys` on a running control plane, with a node that sees every push."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from naru.cli import main
from tests.support.api import credential, proxy, upstream
from tests.support.control_plane import AdsClient, ControlPlaneProcess, until
from tests.support.etcd import EtcdProcess

OLD = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ControlPlaneProcess]:
    """A control plane whose key is in a file of its own, on an etcd of its own."""
    kek = tmp_path / "one" / "kek"
    kek.parent.mkdir()
    kek.touch(0o600)
    kek.write_text(OLD)
    with (
        EtcdProcess(tmp_path / "etcd") as etcd,
        ControlPlaneProcess(tmp_path / "one", etcd.endpoint, NARU_KEK="") as process,
    ):
        yield process


def test_a_rotation_is_seen_by_no_node_and_in_no_revision(process: ControlPlaneProcess) -> None:
    with process.client() as http, AdsClient(process.xds, "envoy") as node:
        documents = [credential(), upstream(credential="key"), proxy()]
        done = http.post("/api/v1/apply?wait=10s", json=documents)
        assert done.status_code == 200, done.text
        before, sent = http.get("/api/v1/credentials/key"), len(node.received)
        rotated = http.post("/api/v1/keys/rotate")
        assert rotated.status_code == 200, rotated.text
        assert rotated.json()["resealed"] == 1
        after = http.get("/api/v1/credentials/key")
        assert (after.json(), after.headers["etag"]) == (before.json(), before.headers["etag"])
        until(lambda: http.get("/api/v1/status").json()["state"] == "applied", 10)
        assert len(node.received) == sent, "a node was told"
        changed = http.put("/api/v1/credentials/key?wait=10s", json=credential(secret="sk-new"))
        assert changed.status_code == 200, changed.text
        assert any(b"sk-new" in each.value for r in node.received[sent:] for each in r.resources)


def test_the_command_rotates_lists_and_drops(process: ControlPlaneProcess) -> None:
    token = process.token_file.read_text().strip()

    def naru(*command: str) -> str:
        place = ("--api-url", f"http://{process.api}", "--token", token)
        done = CliRunner().invoke(main, [*place, "keys", *command])
        assert done.exit_code == 0, done.output
        return done.output

    with process.client() as http:
        for i in range(250):  # more than one transaction of an etcd as it comes
            put = http.put(f"/api/v1/credentials/c{i}", json=credential(f"c{i}"))
            assert put.status_code == 201, put.text
        said = naru("rotate")
        assert "Done: 250 values" in said
        (old_line,) = [line for line in naru("list").splitlines()[1:] if "primary" not in line]
        old = old_line.split()[0]
        assert naru("prune") == f"Dropped: {old}.\n"
        assert old not in naru("list")
        (entry,) = http.get(f"/api/v1/audit?resource=keys/{old}").json()["items"]
        assert (entry["action"], entry["resources"]) == (
            "POST /api/v1/keys/prune",
            [{"kind": "Key", "name": old, "change": "deleted"}],
        )
        assert OLD not in (process.directory / "kek").read_text()
        assert (process.directory / "control_plane.lkg").read_bytes()[:16] not in (
            b"",
            old.encode(),
        )
        refused = http.post("/api/v1/keys/prune")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "keys_in_use")
        process.stop()
    process.start()
    with process.client() as http:
        assert http.get("/api/v1/status").json()["store"]["unreadable"] == []


def test_whoever_has_no_token_learns_nothing(process: ControlPlaneProcess) -> None:
    with process.client() as http:
        for method, path in (("GET", ""), ("POST", "/rotate"), ("POST", "/prune")):
            refused = http.request(
                method, f"/api/v1/keys{path}", headers={"authorization": "Bearer wrong-token-1234"}
            )
            assert refused.status_code == 401
        wrong = http.post("/api/v1/keys/rotate?to=0123456789abcdef")
        assert wrong.status_code == 409


def test_only_an_admin_comes_near(process: ControlPlaneProcess) -> None:
    """And a rotation leaves an entry in the audit trail, of whoever began it."""
    with process.client() as http:
        http.put("/api/v1/credentials/key", json=credential())
        made = http.post(
            "/api/v1/tokens", json={"name": "op", "roles": ["operator"], "teams": ["*"]}
        )
        assert made.status_code == 201, made.text
        operator = {"authorization": f"Bearer {made.json()['token']}"}
        for method, path in (
            ("GET", "keys"), ("POST", "keys/rotate"), ("POST", "keys/prune"),
            ("GET", "credentials/key/versions"), ("POST", "credentials/key/rollback"),
        ):  # fmt: skip
            refused = http.request(method, f"/api/v1/{path}", headers=operator)
            assert refused.status_code == 403, path
        rotated = http.post("/api/v1/keys/rotate?message=as+every+year")
        assert rotated.status_code == 200, rotated.text
        entries = http.get("/api/v1/audit").json()["items"]
        (entry,) = [each for each in entries if each["action"] == "POST /api/v1/keys/rotate"]
        assert entry["message"] == "as every year"
        primary = {"kind": "Key", "name": "primary", "change": "created"}
        assert entry["resources"] == [primary | {"id": rotated.json()["primary"]}]
        assert http.get("/api/v1/audit?resource=keys/primary").json()["items"] == [entry]
