"""The pure core of the menu_writer bento: everything but BentoML itself."""

from .app import attach, build_app
from .auth import Token
from .engine import Engine, Limits
from .llama import LlamaServer
from .settings import Settings, SettingsError, from_environment
from .weights import ensure_model_file

__all__ = [
    "Engine",
    "Limits",
    "LlamaServer",
    "Settings",
    "SettingsError",
    "Token",
    "attach",
    "build_app",
    "ensure_model_file",
    "from_environment",
]
