"""etcd, a flawed control plane, one worker and one Envoy, each a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from naru.up import binaries
from tests.support.control_plane import ControlPlaneProcess
from tests.support.etcd import EtcdProcess
from tests.support.gateway import document, wait_for
from tests.support.provider import Provider, running_provider
from tests.support.roles import Places, connected, role

FLAWED = "tests.support.flawed_control_plane"
BASIS = {"credentials/key", "upstreams/provider", "proxies/first"}
REFUSED = ("http.gateway.rds.naru.update_rejected", "cluster_manager.cds.update_rejected")


@dataclass
class Fleet:
    """See the module. `api` is the first control plane's."""

    places: Places
    etcd: EtcdProcess
    control_plane: ControlPlaneProcess
    api: httpx.Client
    caller: httpx.Client
    provider: Provider

    def apply(self, *documents: dict[str, Any], wait: str = "20s") -> httpx.Response:
        return self.api.post("/api/v1/apply", params={"wait": wait}, json=list(documents))

    def upstream(self, name: str, **spec: Any) -> dict[str, Any]:
        good = {"dialect": "openai", "url": self.provider.url, "credential": "key"}
        return document("Upstream", name, {**good, **spec})

    def proxy(self, name: str, upstream: str = "provider", **spec: Any) -> dict[str, Any]:
        # With a param a worker has a part in it.
        params = {"temperature": 0.5}
        use = {"upstreams": [{"name": upstream, "model": "m"}], "params": params, **spec}
        return document("Proxy", name, use)

    def call(self, proxy: str) -> httpx.Response:
        messages = [{"role": "user", "content": "hello"}]
        return self.caller.post(f"/p/{proxy}/v1/chat/completions", json={"messages": messages})

    def aside(self, api: httpx.Client | None = None) -> set[str]:
        listed = (api or self.api).get("/api/v1/status").json()["set_aside"]
        return {each["resource"] for each in listed}

    def refusals(self) -> int:
        """How often Envoy has refused anything."""
        text = httpx.get(f"http://{self.places.admin}/stats?type=Counters").text
        lines = (line.rpartition(": ") for line in text.splitlines())
        return sum(int(value) for name, _, value in lines if name.endswith("update_rejected"))

    def clusters(self) -> set[str]:
        """The clusters that Envoy has from the control plane."""
        url = f"http://{self.places.admin}/config_dump?resource=dynamic_active_clusters"
        found = httpx.get(url).json().get("configs", [])
        return {each["cluster"]["name"] for each in found}

    def records(self) -> set[str]:
        """The names of the records in etcd."""
        keys = self.etcd.ctl("get", "/naru/v1/records/parked/", "--prefix", "--keys-only")
        return {line.rpartition("parked/")[2] for line in keys.split()}

    def stored(self) -> set[str]:
        """The resources in etcd."""
        keys = self.etcd.ctl("get", "/naru/v1/resources/", "--prefix", "--keys-only")
        return {line.rpartition("resources/")[2] for line in keys.split()}

    def forget(self, *names: str) -> None:
        """Deletes proxies and upstreams of these names."""
        for plural in ("proxies", "upstreams"):
            for name in names:
                self.api.delete(f"/api/v1/{plural}/{name}")

    def start(self) -> None:
        """The control plane, once more; at another address of its API."""
        self.control_plane.start()
        self.api.base_url = f"http://{self.control_plane.api}"
        wait_for(lambda: connected(self.api) == {"envoy", "worker"}, 40, "both nodes connected")

    def restore(self) -> None:
        """As it was before a test, however that ended."""
        if not self.etcd.is_running:
            self.etcd.start()
        if not self.control_plane.is_running:
            self.start()
        wait_for(self._is_clean, 20, "nothing but what was there before")
        wait_for(lambda: not self.aside() and not self.records(), 20, "nothing set aside")

    def _is_clean(self) -> bool:
        """Deletes the users before what they use, again if the API has yet to find etcd."""
        left = self.stored() - BASIS
        for plural in ("proxies", "upstreams", "credentials"):
            for name in left:
                if name.startswith(f"{plural}/"):
                    self.api.delete(f"/api/v1/{name}")
        return not left


@pytest.fixture
def fleet(running: Fleet) -> Iterator[Fleet]:
    """Nothing in it but a proxy, its upstream and a credential."""
    yield running
    running.restore()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    root: Path = tmp_path_factory.mktemp("fleet")
    with ExitStack() as stack:
        provider = stack.enter_context(running_provider())
        etcd = stack.enter_context(EtcdProcess(root / "etcd"))
        places = Places.pick(root, etcd.endpoint)
        control_plane = stack.enter_context(replica(root / "data", places, etcd, xds=places.xds))
        worker = {"NARU_XDS_ADDRESS": places.xds, "NARU_NODE_ID": "worker"}
        command = ("ext-proc", "--socket", str(places.socket))
        stack.enter_context(role(places, *command, **worker))
        stack.enter_context(role(places, "envoy", "--concurrency", "1", NARU_NODE_ID="envoy"))
        api = stack.enter_context(control_plane.client(60))
        caller = httpx.Client(base_url=f"http://{places.gateway}", timeout=60)
        stack.enter_context(caller)
        wait_for(lambda: connected(api) == {"envoy", "worker"}, 40, "both nodes connected")
        made = Fleet(places, etcd, control_plane, api, caller, provider)
        key = {"type": "bearer", "secret": provider.key, "allowedHosts": ["127.0.0.1"]}
        first = made.apply(
            document("Credential", "key", key), made.upstream("provider"), made.proxy("first")
        )
        assert first.status_code == 200, first.text
        yield made


def replica(
    directory: Path, places: Places, etcd: EtcdProcess, xds: str = "127.0.0.1:0", **environ: str
) -> ControlPlaneProcess:
    """A flawed control plane, not yet started."""
    directory.mkdir(mode=0o700, exist_ok=True)
    known = {
        "NARU_XDS_ADDRESS": xds,
        "NARU_GATEWAY_ADDRESS": places.gateway,
        "NARU_EXT_PROC_SOCKETS": str(places.socket),
        "NARU_ENVOY_BINARY": str(binaries.find("envoy")),
        "NARU_ETCD_MAX_TXN_OPS": "128",
        "NARU_ETCD_MAX_REQUEST_BYTES": "1572864",
    }
    return ControlPlaneProcess(directory, etcd.endpoint, FLAWED, **{**known, **environ})
