"""`rfcalc list`: the architectures that rfcalc brings along."""

from __future__ import annotations

import click

from rfcalc.cli.options import debug_option, output_options
from rfcalc.cli.output import Output
from rfcalc.report import zoo_report


@click.command("list", short_help="The architectures of rfcalc's own.")
@output_options
@debug_option
def command(output: Output) -> None:
    """List the architectures of rfcalc's own, with their papers and default inputs."""
    from rfcalc.zoo import CATALOG

    output.emit(zoo_report(CATALOG.values()))
