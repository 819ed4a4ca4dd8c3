"""No secret is anywhere but sealed: canaries go in by every way, and are searched for everywhere."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import yaml

from control_plane.compile import Compiler, GatewaySettings
from control_plane.compile.model import SECRET
from control_plane.resources import parse
from control_plane.store import Changes, Snapshot, Stored
from ext_proc.plans import PlanTable
from tests.support.canary import Canaries
from tests.support.etcd import etcd_binary
from tests.support.gateway import Gateway, document, running_gateway, wait_for
from tests.support.provider import Provider, running_provider

HOSTS = ["127.0.0.1"]
NO_CERTIFICATE = "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n"
ENVOY_PAGES = (
    "/config_dump?include_eds",
    "/config_dump",
    "/init_dump",
    "/clusters?format=json",
    "/listeners?format=json",
    "/certs",
    "/stats",
    "/server_info",
)


class Scene:
    """A running product, what was put into it, and every answer that it gave."""

    def __init__(self, gateway: Gateway, provider: Provider) -> None:
        self.gateway = gateway
        self.provider = provider
        self.canaries = Canaries()
        self.answers: list[tuple[str, bytes]] = []
        for client in (gateway.api, gateway.caller):
            client.event_hooks = {"response": [self._record]}

    def _record(self, response: httpx.Response) -> None:
        response.read()
        head = f"{response.status_code} {response.headers}"
        name = f"{response.request.method} {response.request.url}"
        self.answers.append((name, head.encode() + response.content))

    def credential(self, name: str, **spec: Any) -> dict[str, Any]:
        held = {"secret": self.canaries.make(), "allowedHosts": HOSTS}
        return document("Credential", name, {"type": "bearer"} | held | spec)

    def put(self, document: dict[str, Any], status: int, query: str = "") -> httpx.Response:
        plural = {"Proxy": "proxies"}.get(document["kind"], f"{document['kind'].lower()}s")
        path = f"/api/v1/{plural}/{document['metadata']['name']}{query}"
        response = self.gateway.api.put(path, json=document)
        assert response.status_code == status, response.text
        return response


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    data_dir: Path = tmp_path_factory.mktemp("canary") / "data"
    with running_provider() as provider, running_gateway(data_dir) as gateway:
        scene = Scene(gateway, provider)
        use(scene)
        misuse(scene)
        be_refused_by_envoy(scene)
        rotate_keys(scene)
        read_everything(scene)
        yield scene


def use(scene: Scene) -> None:
    """Every type of credential in every lane, with calls; changed, patched and put back."""
    message = {"messages": [{"role": "user", "content": "hello"}]}
    scene.gateway.apply(document("Template", "t", message))
    kinds: dict[str, dict[str, Any]] = {
        "bearer": {},
        "header": {"type": "header", "header": "x-provider-key"},
    }
    for kind, spec in kinds.items():
        held = scene.credential(kind, **spec)
        upstream = {"dialect": "openai", "url": scene.provider.url, "credential": kind}
        choice = {"name": kind, "model": "m"}
        scene.gateway.apply(
            held,
            document("Upstream", kind, upstream),
            document("Proxy", f"{kind}-native", {"upstreams": [{"name": kind}]}),
            document("Proxy", f"{kind}-request", {"upstreams": [choice], "template": "t"}),
            document(
                "Proxy",
                f"{kind}-duplex",
                {"upstreams": [choice], "template": "t", "restore": {"[[A]]": "b"}},
            ),
        )
        call(scene, kind, held["spec"]["secret"])
        held["spec"]["secret"] = second = scene.canaries.make()
        scene.put(held, 200, "?wait=20s")
        call(scene, kind, second)
        patch = {"spec": {"secret": scene.canaries.make()}}
        path = f"/api/v1/credentials/{kind}"
        headers = {"content-type": "application/merge-patch+json"}
        patched = scene.gateway.api.patch(f"{path}?wait=20s", json=patch, headers=headers)
        assert patched.status_code == 200, patched.text
        call(scene, kind, patch["spec"]["secret"])
        assert scene.gateway.api.post(f"{path}/rollback?wait=20s").status_code == 200
        call(scene, kind, second)


def call(scene: Scene, kind: str, secret: str) -> None:
    """Calls through each lane: one that the provider takes, if it is a bearer's, and one not."""
    native = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    for key in (secret, "another"):
        scene.provider.key = key
        answers = [scene.gateway.caller.post(f"/p/{kind}-native/v1/chat/completions", json=native)]
        answers += [scene.gateway.run(f"{kind}-{lane}", {}) for lane in ("request", "duplex")]
        wanted = 200 if kind == "bearer" and key == secret else 401
        assert [answer.status_code for answer in answers] == [wanted] * 3, answers[0].text


def misuse(scene: Scene) -> None:
    """Secrets in what is refused, or only tried."""
    api, make = scene.gateway.api, scene.canaries.make
    scene.put(scene.credential("tried"), 200, "?dry_run=true")
    scene.put(scene.credential("wrong", unknown="x"), 422)
    scene.put(scene.credential("wrong", type="telepathy"), 422)
    scene.put(scene.credential("wrong", secret=f"{make()}\n"), 422)
    scene.put(scene.credential("wrong", secret=[make()]), 422)
    scene.put(scene.credential("wrong", secret={"sealed": make()}), 422)
    scene.put(scene.credential("wrong", allowedHosts=["http://no"]), 422)
    broken = yaml.safe_dump(scene.credential("wrong")) + "\n  : : ]["
    for content, kind in ((broken, "yaml"), (json.dumps(scene.credential("w"))[:-2], "json")):
        headers = {"content-type": f"application/{kind}"}
        answer = api.post("/api/v1/apply", content=content, headers=headers)
        assert answer.status_code in (400, 422), answer.text
    with_a_mistake = [scene.credential("half"), document("Proxy", "half", {"upstreams": []})]
    assert api.post("/api/v1/apply", json=with_a_mistake).status_code == 422
    stale = scene.credential("bearer") | {"metadata": {"name": "bearer", "revision": 1}}
    scene.put(stale, 409)
    nobody = httpx.get(
        f"{scene.gateway.endpoints['api']}/api/v1/status", headers={"authorization": make()}
    )
    scene.answers.append(("wrong token", nobody.content))
    file = scene.gateway.data_dir.parent / "given.yaml"
    file.write_text(yaml.safe_dump_all([scene.credential("cli"), scene.credential("no", x=1)]))
    for arguments in (("apply", "-f", str(file)), ("apply", "-f", str(file), "--dry-run")):
        command = [sys.executable, "-m", "naru", "--data-dir", str(scene.gateway.data_dir)]
        done = subprocess.run([*command, *arguments], capture_output=True, timeout=30)
        assert done.returncode == 1
        scene.answers.append(("naru apply", done.stdout + done.stderr))
    file.unlink()


def be_refused_by_envoy(scene: Scene) -> None:
    upstream = {"dialect": "openai", "url": "https://127.0.0.1:1/v1", "credential": "refused"}
    refused = scene.gateway.apply_any(
        scene.credential("refused"),
        document("Upstream", "refused", upstream | {"tls": {"ca": NO_CERTIFICATE}}),
        document("Proxy", "refused", {"upstreams": [{"name": "refused"}]}),
    )
    assert refused.status_code == 422, refused.text


def rotate_keys(scene: Scene) -> None:
    api = scene.gateway.api
    rotated = api.post("/api/v1/keys/rotate")
    assert rotated.status_code == 200, rotated.text
    pid = scene.gateway.endpoints["pids"]["control_plane"][0]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: answers(scene), 30, "the control plane is back")


def answers(scene: Scene) -> bool:
    try:
        return scene.gateway.api.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def read_everything(scene: Scene) -> None:
    """All that can be read of the API and of Envoy."""
    api = scene.gateway.api
    paths: dict[str, Any] = api.get("/openapi.json").json()["paths"]
    plurals = ("credentials", "upstreams", "templates", "proxies")
    names = ["bearer", "header", "refused", "wrong", "tried"]
    for path, methods in paths.items():
        if "get" not in methods:
            continue
        for plural in plurals if "{kinds}" in path else ("",):
            for name in names if "{name}" in path else ("",):
                filled = path.replace("{kinds}", plural).replace("{name}", name)
                api.get(re.sub(r"\{\w+\}", "1", filled))
    for number in range(1, 60):
        api.get(f"/api/v1/revisions/{number}")
    admin = scene.gateway.endpoints["envoy_admin"]
    for page in ENVOY_PAGES:
        scene.answers.append((page, httpx.get(f"{admin}{page}", timeout=20).content))


def test_no_answer_holds_a_secret(scene: Scene) -> None:
    assert len(scene.answers) > 100
    assert scene.canaries.found_among(scene.answers) == {}


def test_no_file_holds_a_secret(scene: Scene) -> None:
    """etcd's log and database, before and after what removes old revisions; snapshots; all."""
    data_dir = scene.gateway.data_dir
    assert scene.canaries.found_under(data_dir) == {}
    assert b"credentials/bearer" in b"".join(
        path.read_bytes() for path in (data_dir / "etcd").rglob("*") if path.is_file()
    ), "the search sees what etcd has"
    etcdctl(scene, "compact", str(revision(scene)))
    etcdctl(scene, "defrag")
    etcdctl(scene, "snapshot", "save", str(data_dir / "backup.db"))
    assert scene.canaries.found_under(data_dir) == {}
    assert {path.suffix for path in data_dir.rglob("*")} >= {".wal", ".lkg", ".db"}


def test_no_log_holds_a_secret(scene: Scene) -> None:
    log = scene.gateway.log.read_bytes()
    assert b"PUT '/api/v1/credentials/bearer' 200" in log
    assert scene.canaries.found_in(log) == []


def test_no_command_line_and_no_environment_holds_a_secret(scene: Scene) -> None:
    pids = [pid for group in scene.gateway.endpoints["pids"].values() for pid in group]
    assert len(pids) >= 4
    files = [Path(f"/proc/{pid}/{name}") for pid in pids for name in ("cmdline", "environ")]
    assert scene.canaries.found_among((str(path), path.read_bytes()) for path in files) == {}


def test_the_provider_did_get_it(scene: Scene) -> None:
    """The canaries are the real secrets: they arrive, and nowhere else."""
    received = [f"{each.headers}".encode() for each in scene.provider.received]
    assert scene.canaries.found_among(("request", data) for data in received)


def test_the_search_finds_what_is_there(scene: Scene, tmp_path: Path) -> None:
    """In a file, in every spelling; and in etcd, where somebody put one in plain text."""
    canaries = Canaries()
    secret = canaries.make()
    written = {
        "plain": secret,
        "json": json.dumps({"a": secret}),
        "json in json": json.dumps(json.dumps(secret)),
        "url": quote(secret, safe=""),
        "hex": secret.encode().hex().upper(),
        "reversed": secret[::-1],
        "header": base64.b64encode(f"Bearer {secret}".encode()).decode(),
        "urlsafe": base64.urlsafe_b64encode(f"x{secret}".encode()).decode(),
        "twice": base64.b64encode(base64.b64encode(secret.encode())).decode(),
        "repr": repr(secret.encode()),
    }
    for name, text in written.items():
        (tmp_path / name).write_text(f"before {text} after")
    found = canaries.found_under(tmp_path)
    assert {Path(path).name for path in found} == written.keys()
    with leaking(scene, canaries.make()):
        assert canaries.found_under(scene.gateway.data_dir)


def test_no_repr_shows_a_secret() -> None:
    canaries = Canaries()
    upstream = {"dialect": "openai", "url": "http://127.0.0.1:1/v1", "credential": "c"}
    documents = [
        document(
            "Credential", "c", {"type": "bearer", "secret": canaries.make(), "allowedHosts": HOSTS}
        ),
        document("Upstream", "u", upstream),
        document("Template", "t", {"messages": [{"role": "user", "content": "x"}]}),
        document("Proxy", "p", {"upstreams": [{"name": "u", "model": "m"}], "template": "t"}),
    ]
    resources = {resource.key: resource for resource in map(parse, documents)}
    stored = [Stored(resource, 1, 1) for resource in resources.values()]
    snapshot = Snapshot().with_changes(1, stored)
    compiled = Compiler(GatewaySettings()).compile(1, resources)
    bodies = {name: xds.body for name, xds in compiled.resources[SECRET].items()}
    assert canaries.found_in(b"".join(bodies.values())), "it is what must not be shown"
    table = PlanTable().with_secrets(bodies, ())
    for shown in (*resources.values(), *stored, snapshot, Changes(resources), compiled, table):
        assert canaries.found_in(repr(shown).encode()) == [], type(shown)


@contextmanager
def leaking(scene: Scene, secret: str) -> Iterator[None]:
    """A secret in plain text in etcd, outside of what the product looks at."""
    etcdctl(scene, "put", "/elsewhere", secret)
    try:
        yield
    finally:
        etcdctl(scene, "del", "/elsewhere")


def etcdctl(scene: Scene, *arguments: str) -> str:
    endpoint = f"--endpoints={scene.gateway.endpoints['etcd']}"
    command = [etcd_binary("etcdctl"), endpoint, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def revision(scene: Scene) -> int:
    found = json.loads(etcdctl(scene, "get", "/naru/v1/guard", "-w", "json"))
    return int(found["header"]["revision"])
