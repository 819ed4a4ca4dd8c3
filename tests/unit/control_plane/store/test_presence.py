"""What a replica says of itself while its own files cannot be read."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, cast

import pytest

from control_plane.main import _named_in_files
from control_plane.store._layout import Layout
from control_plane.store.errors import StoreUnavailable
from control_plane.store.presence import Presence, Replica

pytestmark = pytest.mark.anyio
READ = Replica(frozenset({"k"}), frozenset({"k"}))


class Page:
    records = ()


class Client:
    async def page(self, *_: object) -> Page:
        return Page()


class Files:
    def __init__(self) -> None:
        self.error: OSError | None = None

    def describe(self) -> Replica:
        if self.error is not None:
            raise self.error
        return READ


def present(files: Files) -> Presence:
    return Presence(cast(Any, Client()), Layout("/naru"), files.describe)


async def test_the_last_answer_holds(caplog: pytest.LogCaptureFixture) -> None:
    files = Files()
    presence = present(files)
    assert await presence.replicas() == {presence.id: READ}
    files.error = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    for _ in range(2):
        assert await presence.replicas() == {presence.id: READ}
    assert [record.getMessage() for record in caplog.records] == [
        "which keys this replica's files are sealed with: Too many open files"
    ]


async def test_without_an_answer_it_says_nothing() -> None:
    files = Files()
    files.error = PermissionError(errno.EACCES, "Permission denied")
    with pytest.raises(StoreUnavailable):
        await present(files).announce()


def test_files_that_cannot_be_read_are_not_files_without_a_key(tmp_path: Path) -> None:
    (tmp_path / "a.lkg").write_bytes(b"sealed with k1")
    (tmp_path / "other").mkdir()
    assert _named_in_files(tmp_path / "none", ["k1"]) == []
    assert _named_in_files(tmp_path, ["k1", "k2"]) == ["k1"]
    (tmp_path / "b.lkg").mkdir()
    with pytest.raises(OSError, match="directory"):
        _named_in_files(tmp_path, ["k1"])
