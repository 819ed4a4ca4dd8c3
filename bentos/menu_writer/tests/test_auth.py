import pytest

from menu_writer import Token

TOKEN = Token("right-token")


@pytest.mark.parametrize("value", [b"Bearer right-token", b"bearer right-token", b"BEARER  right-token "])
def test_the_token_is_admitted(value: bytes) -> None:
    assert TOKEN.admits([(b"host", b"x"), (b"authorization", value)])


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"right-token",
        b"Basic right-token",
        b"Bearer right-toke",
        b"Bearer Right-token",
    ],
)
def test_anything_else_is_not(value: bytes) -> None:
    assert not TOKEN.admits([(b"authorization", value)])


def test_two_headers_are_not_one() -> None:
    header = (b"authorization", b"Bearer right-token")
    assert not TOKEN.admits([header, header])
    assert not TOKEN.admits([])


def test_the_token_itself_is_not_kept() -> None:
    assert b"right-token" not in vars(TOKEN).values()
