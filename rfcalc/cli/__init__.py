"""The command line. A new command is one file and one line in `COMMANDS`.

A command is imported when it is run, and imports torch when it needs it.
"""

from __future__ import annotations

import click

from rfcalc.cli.group import RfcalcGroup
from rfcalc.cli.options import show_version

#: Each is a module of this package, with the command under the name ``command``.
COMMANDS = (
    "show",
    "compare",
    "plot",
    "report",
    "trace",
    "verify",
    "erf",
    "stream",
    "tile",
    "explain",
    "memory",
    "sweep",
    "init",
    "lock",
    "check",
    "diff",
    "list",
    "ops",
)

EPILOG = """\b
Exit status:
  0    fine
  1    a check failed
  2    usage: an unknown name or option, a malformed shape, a file that cannot be written
  3    the model could not be loaded or traced, or an internal error
  4    incomplete, under --strict; a limit that cannot be told
  130  interrupted;  141  the reader of a pipe went away

Naming a file or module of yours runs its code. Nothing is ever downloaded; models are built without weights.
"""


@click.group(
    cls=RfcalcGroup,
    names=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    subcommand_metavar="MODEL | COMMAND [ARGS]...",
    epilog=EPILOG,
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=show_version, help="Show the version."
)
def cli() -> None:
    """Receptive field, parameters and multiply-adds of every layer of a network.

    \b
      rfcalc MODEL [OPTIONS]       is short for rfcalc show MODEL [OPTIONS]
      rfcalc vgg16                 a table of all layers; layer 1 is the input
      rfcalc vgg16 --layer 3       one layer: what a unit of it sees, and what it costs
    """


def main() -> None:
    """Entry point of the program `rfcalc`."""
    cli(prog_name="rfcalc")
