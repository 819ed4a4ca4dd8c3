"""The BentoML service: starts the core and hands it to BentoML. What it does is in `menu_writer/`."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import bentoml
from bentoml.exceptions import BentoMLException

from menu_writer import (
    Engine,
    LlamaServer,
    Settings,
    SettingsError,
    Token,
    attach,
    build_app,
    ensure_model_file,
    from_environment,
)
from menu_writer.lifeline import die_with_parent

VERSION = (Path(__file__).parent / "VERSION").read_text().strip()

app = build_app(VERSION)


def _settings() -> Settings:
    try:
        return from_environment(os.environ)
    except SettingsError as error:
        raise BentoMLException(str(error)) from None


@bentoml.service(name="menu_writer", workers=1, traffic={"timeout": 300})
@bentoml.asgi_app(app, path="/")
class MenuWriter:
    """Gemma 3 270M (base model) behind OpenAI's wire format."""

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    def prepare() -> None:  # BentoML calls it without an instance
        """Once, before any worker: a bad setting ends `bentoml serve` here and not in a restart loop."""
        ensure_model_file(_settings().model_dir)

    def __init__(self) -> None:
        die_with_parent()
        settings = _settings()
        llama = LlamaServer(ensure_model_file(settings.model_dir), settings.threads)
        self._engine = Engine(llama)
        attach(app, Token(settings.token), self._engine)
        gc.collect()
        gc.freeze()  # what is loaded stays: no collection ever walks through it again

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close(self) -> None:
        self._engine.close()
