"""Reading what `naru apply -f` is given into one stream of YAML documents."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import yaml

_SUFFIXES = {".yaml", ".yml", ".json"}


def read_documents(sources: Iterable[str]) -> str:
    """The text of all sources as one multi-document stream, each known to be readable YAML.

    Raises:
        click.UsageError: a source does not exist, is empty, or is not YAML; it names the source.
    """
    texts = [text for source in sources for text in _texts(source)]
    if not any(texts):
        raise click.UsageError(f"There are no documents in {', '.join(sources)}.")
    return "---\n" + "\n---\n".join(texts)


def _texts(source: str) -> Iterator[str]:
    if source == "-":
        yield _checked("standard input", sys.stdin.read())
        return
    for path in _files(Path(source)):
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"Cannot read {path}: {error}") from error
        yield _checked(str(path), text)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES)
    if not found:
        raise click.UsageError(f"There are no .yaml, .yml or .json files in {path}.")
    return found


def _checked(name: str, text: str) -> str:
    """The text, once it is sure that a mistake in it cannot hide in another file's documents."""
    try:
        empty = all(document is None for document in yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise click.UsageError(f"{name} is not YAML: {error}") from error
    return "" if empty else text
