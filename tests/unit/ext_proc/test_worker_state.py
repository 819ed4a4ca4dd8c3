"""A worker and its snapshot: used when the control plane is away, and never when it is there."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from ext_proc._snapshot import Snapshot
from ext_proc.ads import PLAN as PLAN_URL
from ext_proc.ads import SECRET as SECRET_URL
from ext_proc.plan import encode
from ext_proc.worker import WorkerSettings
from tests.unit.ext_proc.ads_server import AdsServer, ads_server, delta
from tests.unit.ext_proc.make import PLAN, error, request, secret, sent
from tests.unit.ext_proc.test_transport import ask
from tests.unit.ext_proc.test_worker import GOOD, path, push, worker

__all__ = ["path"]
pytestmark = pytest.mark.anyio

KEY = bytes(range(32))
AWAY = "127.0.0.1:1"
Settings = Callable[..., WorkerSettings]


@pytest.fixture
def settings(path: Path, tmp_path: Path) -> Settings:
    key_file = tmp_path / "key"
    key_file.touch(0o600)
    key_file.write_bytes(base64.b64encode(KEY))

    def make(address: str, patience: float = 60) -> WorkerSettings:
        return WorkerSettings(
            path, address, "w1", state_dir=tmp_path, state_key_file=key_file, patience=patience
        )

    return make


def stored(settings: WorkerSettings) -> Snapshot:
    assert settings.state_dir is not None
    return Snapshot(settings.state_dir / "w1.lkg", "w1", KEY)


def spoil(settings: WorkerSettings) -> None:
    stored(settings).path.write_bytes(b"naru-lkg\x01 and nothing good")


async def served_once(settings: Settings) -> None:
    """A worker that gets its plans, and ends."""
    async with ads_server() as (server, address), worker(settings(address)) as ready:
        await push(server, "1", SECRET_URL, "menu-key", secret())
        await push(server, "2", PLAN_URL, PLAN.name, encode(PLAN))
        await ready.wait()


async def model(settings: WorkerSettings) -> str:
    return str(sent(await ask(settings.socket, request(GOOD)))["model"])


async def test_without_a_control_plane_it_starts_from_the_snapshot(settings: Settings) -> None:
    await served_once(settings)
    async with worker(settings(AWAY)) as ready:
        await ready.wait()  # long before its patience ends
        assert await model(settings(AWAY)) == "gpt-x"


async def test_what_the_control_plane_sends_later_replaces_it(settings: Settings) -> None:
    await served_once(settings)
    async with ads_server() as (_, address):
        pass  # now nobody listens there
    async with worker(settings(address)) as ready:
        await ready.wait()
        async with ads_server(address) as (server, _):
            known = [dict((await server.received()).initial_resource_versions) for _ in range(2)]
            assert known == [{"menu-key": "v-1"}, {PLAN.name: "v-2"}]
            await push(server, "3", PLAN_URL, PLAN.name, encode(replace(PLAN, model="gpt-y")))
            assert await model(settings(address)) == "gpt-y"
            await server.send(delta(PLAN_URL, "4", {}, removed=(PLAN.name,)))
            while (await server.received()).response_nonce != "4":
                pass
            answer = await ask(settings(address).socket, request(GOOD))
            assert error(answer)[:2] == (503, "plan_unavailable")


async def test_with_a_control_plane_the_snapshot_is_not_used(settings: Settings) -> None:
    await served_once(settings)
    async with ads_server() as (server, address), worker(settings(address)) as ready:
        await push(server, "1", SECRET_URL, "menu-key", secret())
        assert not ready.is_set()
        assert (await server_knows(server)) == {}
        await push(server, "2", PLAN_URL, PLAN.name, encode(replace(PLAN, model="gpt-z")))
        await ready.wait()
        assert await model(settings(address)) == "gpt-z"


async def server_knows(server: AdsServer) -> dict[str, str]:
    """What the worker said on the newest stream that it has of plans."""
    await server.send(None)
    while (answer := await server.received()).type_url != PLAN_URL or answer.response_nonce:
        pass
    return dict(answer.initial_resource_versions)


async def test_a_silent_control_plane_is_not_waited_for(settings: Settings) -> None:
    await served_once(settings)
    async with ads_server() as (server, address), worker(settings(address, 1.0)) as ready:
        await ready.wait()
        assert await model(settings(address)) == "gpt-x"
        known: dict[str, str] = {}
        while not known:  # the stream is made anew, and says what came from the snapshot
            known = dict((await server.received()).initial_resource_versions)
        assert known == {"menu-key": "v-1"}


async def test_a_snapshot_that_cannot_be_used_is_said_once(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(settings(AWAY))
    async with worker(settings(AWAY, 0.5)) as ready:
        await ready.wait()
        answer = await ask(settings(AWAY).socket, request(GOOD))
        assert error(answer)[:2] == (503, "plan_unavailable")
    assert caplog.text.count("is not used") == 1
    assert "another key" in caplog.text


async def test_a_plan_that_this_worker_cannot_use(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    bad = encode(replace(PLAN, dialect="morse"))
    response = delta(PLAN_URL, "1", {PLAN.name: bad})
    known = [(SECRET_URL, []), (PLAN_URL, [response.resources[0].SerializeToString()])]
    stored(settings(AWAY)).write(known)
    async with worker(settings(AWAY, 0.5)) as ready:
        await ready.wait()
    assert "is not used: plan" in caplog.text


async def test_without_a_key_it_works_without_a_snapshot(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    await served_once(settings)
    with_key = settings(AWAY, 0.1)
    assert with_key.state_key_file is not None
    with_key.state_key_file.unlink()
    async with worker(with_key) as ready:
        await ready.wait()
    assert "no snapshot is read or written: its key cannot be read" in caplog.text


async def test_it_waits_for_every_part_of_a_large_set(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ext_proc.worker._QUIET", 60)
    names = [f"p{number}" for number in range(300)]
    part = {name: encode(replace(PLAN, name=name)) for name in names}
    async with (
        ads_server() as (server, address),
        worker(WorkerSettings(path, address, "w1", patience=60)) as ready,
    ):
        await push(server, "1", SECRET_URL, "menu-key", secret())
        await server.send(delta(PLAN_URL, "2", part))
        while (await server.received()).response_nonce != "2":
            pass
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({waiting}, timeout=0.05)
        assert not waiting.done()
        assert await push(server, "3", PLAN_URL, PLAN.name, encode(PLAN)) == ""
        await waiting
        assert sent(await ask(path, request(GOOD)))["model"] == "gpt-x"
