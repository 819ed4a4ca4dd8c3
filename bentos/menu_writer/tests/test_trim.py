import itertools

import pytest

from menu_writer.trim import Trimmer


@pytest.mark.parametrize("text", ["", "  ", " a", "a ", "\n a \n b \n\n", "따뜻한 밥\n", "a"])
def test_any_cut_gives_the_stripped_text(text: str) -> None:
    positions = range(len(text) + 1)
    for cuts in itertools.combinations_with_replacement(positions, 2):
        pieces = [text[: cuts[0]], text[cuts[0] : cuts[1]], text[cuts[1] :]]
        trimmer = Trimmer()
        assert "".join(map(trimmer.feed, pieces)) == text.strip()


def test_inner_space_is_passed_on_with_what_follows() -> None:
    trimmer = Trimmer()
    assert [trimmer.feed(p) for p in (" a", " ", "b")] == ["a", "", " b"]
