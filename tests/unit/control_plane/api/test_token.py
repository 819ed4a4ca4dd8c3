"""`_token`: the file, and who is let in."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from control_plane.api._token import AdminToken, TokenError, load_or_create_token


def test_a_missing_file_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "admin-token"
    token = load_or_create_token(path)
    text = path.read_text().strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(text) >= 40
    assert token.admits([f"Bearer {text}".encode()])
    assert load_or_create_token(path).admits([f"Bearer {text}".encode()])
    assert [*path.parent.iterdir()] == [path]


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        load_or_create_token(tmp_path / "token")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


def test_several_makers_agree_on_one(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(lambda _: load_or_create_token(path), range(32)))
    authorization = [f"Bearer {path.read_text().strip()}".encode()]
    assert all(token.admits(authorization) for token in tokens)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o620])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    path.write_text("a-token-that-is-long-enough")
    path.chmod(mode)
    with pytest.raises(TokenError, match="others can use it"):
        load_or_create_token(path)


@pytest.mark.parametrize("text", ["", "short", "한" * 20, "two words that are long", "\n"])
def test_a_file_without_a_token_is_refused_and_not_quoted(tmp_path: Path, text: str) -> None:
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(TokenError) as caught:
        load_or_create_token(path)
    assert not text.strip() or text not in str(caught.value)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenError):
        load_or_create_token(tmp_path)


@pytest.mark.parametrize(
    ("authorization", "admitted"),
    [
        ([b"Bearer the-token-0123456789"], True),
        ([b"bearer   the-token-0123456789"], True),
        ([], False),
        ([b""], False),
        ([b"Bearer"], False),
        ([b"Bearer the-token-012345678"], False),
        ([b"Bearer the-token-0123456789x"], False),
        ([b"Bearer the-token-0123456789 x"], False),
        ([b"Basic the-token-0123456789"], False),
        ([b"the-token-0123456789"], False),
        ([b"Bearer \xff"], False),
        ([b"Bearer the-token-0123456789", b"Bearer the-token-0123456789"], False),
    ],
)
def test_who_is_let_in(authorization: list[bytes], admitted: bool) -> None:
    assert AdminToken("the-token-0123456789").admits(authorization) is admitted


def test_the_token_is_not_shown() -> None:
    assert "secret" not in repr(AdminToken("a-secret-token-of-ours")) + str(
        vars(AdminToken("a-secret-token"))
    )
