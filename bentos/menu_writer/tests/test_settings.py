from pathlib import Path

import pytest

from menu_writer import SettingsError, from_environment


def test_the_token_is_required_and_never_shown() -> None:
    with pytest.raises(SettingsError, match="MENU_WRITER_TOKEN is not set"):
        from_environment({})
    with pytest.raises(SettingsError, match="MENU_WRITER_TOKEN is not set"):
        from_environment({"MENU_WRITER_TOKEN": ""})
    assert "hidden" not in repr(from_environment({"MENU_WRITER_TOKEN": "hidden"}))


@pytest.mark.parametrize("token", ["two words", "열쇠", "line\nbreak"])
def test_a_token_that_no_header_could_carry_is_refused_without_being_quoted(token: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        from_environment({"MENU_WRITER_TOKEN": token})
    assert token not in str(refusal.value)


def test_the_model_lives_below_bentoml_home_unless_told_otherwise() -> None:
    base = {"MENU_WRITER_TOKEN": "t", "BENTOML_HOME": "/data/bentoml"}
    assert from_environment(base).model_dir == Path("/data/bentoml/menu_writer")
    assert from_environment(base | {"MENU_WRITER_MODEL_DIR": "/models"}).model_dir == Path("/models")


@pytest.mark.parametrize("threads", ["0", "-1", "many", "1.5"])
def test_threads_must_be_a_number(threads: str) -> None:
    with pytest.raises(SettingsError, match="MENU_WRITER_THREADS"):
        from_environment({"MENU_WRITER_TOKEN": "t", "MENU_WRITER_THREADS": threads})
