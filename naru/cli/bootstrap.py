"""`naru bootstrap`: what any Envoy needs to join."""

from __future__ import annotations

import click

from naru.bootstrap import BootstrapSettings
from naru.bootstrap import bootstrap as build
from naru.cli._options import envoy_options
from naru.cli._output import Format, print_document


@click.command()
@click.option("-o", "--output", "form", type=click.Choice(["yaml", "json"]), default="yaml")
@envoy_options
def bootstrap(form: Format, settings: BootstrapSettings) -> None:
    """Print the bootstrap with which any Envoy joins this gateway."""
    print_document(build(settings), form)
