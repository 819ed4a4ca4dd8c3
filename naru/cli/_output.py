"""Tables, YAML and JSON on standard output. Pure but for `print_document`."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from typing import Any, Literal

import click
import yaml

Format = Literal["table", "yaml", "json"]


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns aligned by what a terminal shows: a Korean syllable is two cells wide."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(_width(row[column]) for row in cells) for column in range(len(header))]
    return "\n".join(
        "  ".join(_pad(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def to_yaml(documents: Sequence[Any]) -> str:
    return yaml.safe_dump_all(documents, allow_unicode=True, sort_keys=False, width=100)


def print_document(document: Any, form: Format) -> None:
    """Print one document as YAML or JSON."""
    if form == "json":
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        click.echo(to_yaml([document]), nl=False)


def _cell(value: object) -> str:
    text = "-" if value is None or value == "" else str(value)
    return " ".join(text.split())


def _pad(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
