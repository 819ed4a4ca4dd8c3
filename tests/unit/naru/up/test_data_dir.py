"""What `naru up` finds and makes on disk, and what it is told by the environment."""

from __future__ import annotations

import base64
import os
import socket
import stat
from pathlib import Path

import pytest

from naru.up import binaries, files
from naru.up.errors import AlreadyRunning, MissingPart, UnusableData, UpError
from naru.up.layout import lay_out
from naru.up.settings import read_settings
from naru.up.sockets import MAX_SOCKET_PATH, is_free, pick_free, socket_dir


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def any_ports(**more: str) -> dict[str, str]:
    names = ("GATEWAY", "API", "XDS", "ENVOY_ADMIN", "ETCD_PEER")
    ports = {f"NARU_{name}_ADDRESS": "127.0.0.1:0" for name in names}
    return ports | {"NARU_ETCD_ENDPOINTS": "127.0.0.1:0"} | more


# -- files


def test_the_data_dir_is_private(tmp_path: Path) -> None:
    loose = tmp_path / "loose"
    loose.mkdir(mode=0o755)
    for path in (loose, tmp_path / "new" / "deep"):
        assert mode(files.prepare_data_dir(path)) == 0o700


def test_a_data_dir_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnusableData, match="Cannot use"):
        files.prepare_data_dir(tmp_path / "file" / "below")


def test_the_lock_is_exclusive_and_names_its_owner(tmp_path: Path) -> None:
    held = files.lock(tmp_path)
    with pytest.raises(AlreadyRunning, match=f"pid {os.getpid()}"):
        files.lock(tmp_path)
    os.close(held)
    os.close(files.lock(tmp_path))


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    first = files.secret_file(path)
    assert len(base64.b64decode(first, validate=True)) == 32
    assert files.secret_file(path) == first
    assert mode(path) == 0o600


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    files.secret_file(path)
    path.chmod(0o640)
    with pytest.raises(UnusableData, match="chmod 600"):
        files.secret_file(path)


def test_an_empty_secret_is_refused(tmp_path: Path) -> None:
    files.write_atomically(tmp_path / "kek", b"\n")
    with pytest.raises(UnusableData, match="empty"):
        files.secret_file(tmp_path / "kek")


def test_a_token_travels_in_a_header(tmp_path: Path) -> None:
    token = files.token_file(tmp_path / "admin-token")
    assert len(token) >= 43
    assert token.replace("-", "").replace("_", "").isalnum()


def test_writing_leaves_nothing_else_behind(tmp_path: Path) -> None:
    files.write_endpoints(tmp_path, {"ready": False})
    files.write_endpoints(tmp_path, {"ready": True})
    assert [path.name for path in tmp_path.iterdir()] == ["endpoints.json"]
    assert '"ready": true' in (tmp_path / "endpoints.json").read_text()


@pytest.mark.parametrize(
    ("stamp", "ours", "fits"),
    [
        ("3.5.1", "3.5.1", True),
        ("3.5.1", "3.5.21", True),
        ("3.4.9", "3.5.1", True),
        ("3.6.0", "3.5.1", False),
        ("3.3.0", "3.5.1", False),
        ("2.3.0", "3.5.1", False),
    ],
)
def test_etcds_data_of_another_version(tmp_path: Path, stamp: str, ours: str, fits: bool) -> None:
    files.check_etcd_version(tmp_path, stamp)
    (tmp_path / "etcd").mkdir()
    if fits:
        files.check_etcd_version(tmp_path, ours)
        return
    with pytest.raises(UnusableData, match=f"written by etcd {stamp}"):
        files.check_etcd_version(tmp_path, ours)


# -- sockets


def test_a_listening_port_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free("127.0.0.1", port)
    assert is_free("127.0.0.1", port)
    assert is_free("127.0.0.1", pick_free("127.0.0.1"))


def test_an_address_of_another_machine() -> None:
    with pytest.raises(UpError, match="Cannot listen on"):
        is_free("192.0.2.1", 10000)


def test_socket_paths_fit(tmp_path: Path) -> None:
    run, temporary = socket_dir(tmp_path, "a.sock")
    assert (run, temporary, mode(run)) == (tmp_path / "run", False, 0o700)
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    elsewhere, temporary = socket_dir(deep, "a.sock")
    try:
        assert temporary
        assert mode(elsewhere) == 0o700
        assert len(str(elsewhere / "a.sock")) <= MAX_SOCKET_PATH
    finally:
        elsewhere.rmdir()


# -- binaries


@pytest.mark.parametrize("name", ["envoy", "etcd"])
def test_binaries_are_found(name: binaries.Binary) -> None:
    path = binaries.find(name, {})
    assert path.name == name
    assert os.access(path, os.X_OK)
    assert binaries.version(name)


def test_a_missing_binary_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingPart, match=r"naru-gateway\[server,local\]"):
        binaries.find("envoy", {"NARU_ENVOY_BINARY": str(tmp_path / "none")})


def test_a_binary_that_may_not_be_executed(tmp_path: Path) -> None:
    plain = tmp_path / "etcd"
    plain.write_text("")
    plain.chmod(0o600)
    with pytest.raises(MissingPart, match="chmod"):
        binaries.find("etcd", {"NARU_ETCD_BINARY": str(plain)})


# -- settings


def test_defaults() -> None:
    settings = read_settings({})
    assert str(settings.wanted["gateway"]) == "127.0.0.1:10000"
    assert not any(address.explicit for address in settings.wanted.values())
    assert settings.data_dir == Path.cwd() / ".naru"
    assert settings.workers >= 1
    assert "menu_writer" not in settings.wanted
    assert "menu_writer" in read_settings({}, demo=True).wanted


def test_the_environment_is_explicit() -> None:
    settings = read_settings(
        {"NARU_API_ADDRESS": "0.0.0.0:1", "NARU_ETCD_ENDPOINTS": "http://127.0.0.1:5"}
    )
    assert settings.wanted["api"].explicit
    assert settings.wanted["etcd"].port == 5


@pytest.mark.parametrize(
    ("environment", "open_", "message"),
    [
        ({"NARU_ENVOY_ADMIN_ADDRESS": "0.0.0.0:1"}, False, "loopback"),
        ({"NARU_ETCD_ENDPOINTS": "10.0.0.1:2379"}, False, "loopback"),
        ({"NARU_ETCD_ENDPOINTS": "127.0.0.1:1,127.0.0.1:2"}, False, "naru control-plane"),
        ({"NARU_GATEWAY_ADDRESS": "0.0.0.0:1"}, True, "--open"),
        ({"NARU_WORKERS": "many"}, False, "NARU_WORKERS"),
        ({"NARU_WORKERS": "0"}, False, "NARU_WORKERS"),
        ({"NARU_TRANSPORT": "pigeon"}, False, "native or grpcio"),
        ({"NARU_KEK_FILE": "/nonexistent/kek"}, False, "NARU_KEK_FILE"),
        ({"NARU_XDS_ADDRESS": "x"}, False, "host:port"),
    ],
)
def test_settings_that_cannot_be(environment: dict[str, str], open_: bool, message: str) -> None:
    with pytest.raises(UpError, match=message):
        read_settings(environment, open_=open_)


def test_a_public_gateway_is_fine_without_open() -> None:
    read_settings({"NARU_GATEWAY_ADDRESS": "0.0.0.0:10000"})


def test_the_kek_is_in_no_repr() -> None:
    assert "c2VjcmV0" not in repr(read_settings({"NARU_KEK": "c2VjcmV0"}))


# -- layout


def test_a_first_start_makes_everything(tmp_path: Path) -> None:
    settings = read_settings(any_ports(NARU_WORKERS="3"), data_dir=tmp_path, demo=True)
    layout = lay_out(settings)
    assert [path.name for path in layout.sockets] == [f"ext-proc-{i}.sock" for i in range(3)]
    assert len({address.port for address in layout.at.values()}) == len(layout.at) == 7
    for path in (
        layout.kek_file,
        layout.admin_token_file,
        layout.state_key_file,
        layout.failover_key_file,
    ):
        assert mode(path) == 0o600
    assert all(secret not in repr(layout) for secret in layout.secrets)
    assert len(set(layout.secrets)) == 5
    again = lay_out(settings)
    assert again.secrets == layout.secrets


def test_a_lost_kek_is_not_replaced(tmp_path: Path) -> None:
    settings = read_settings(any_ports(), data_dir=tmp_path)
    lay_out(settings)
    (tmp_path / "etcd").mkdir()
    (tmp_path / "kek").unlink()
    with pytest.raises(UnusableData, match="kek is missing"):
        lay_out(settings)
    assert not (tmp_path / "kek").exists()


def test_a_given_kek_is_not_written_to_disk(tmp_path: Path) -> None:
    kek = base64.b64encode(b"k" * 32).decode()
    lay_out(read_settings(any_ports(NARU_KEK=kek), data_dir=tmp_path))
    assert not (tmp_path / "kek").exists()
