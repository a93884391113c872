"""`rfcalc init`: a section [tool.rfcalc] to begin with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from rfcalc.cli.complete import complete_model
from rfcalc.cli.options import Request, debug_option
from rfcalc.cli.output import complain
from rfcalc.cli.parse import parse_inputs
from rfcalc.errors import UsageError


@click.command("init", short_help="Begin to watch models: write [tool.rfcalc].")
@click.argument("models", metavar="[MODEL]...", nargs=-1, shell_complete=complete_model)
@click.option("--input", "inputs", multiple=True, metavar="SHAPE", help="Input shape, as for rfcalc show.")
@click.option("--name", help="What to call the model; default: MODEL.")
@click.option("--config", metavar="FILE", default="pyproject.toml", show_default=True, help="The file to write to.")
@debug_option
def command(models: Sequence[str], inputs: Sequence[str], name: str | None, config: str) -> None:
    """Write a commented section [tool.rfcalc] to pyproject.toml, with the models named, or else those found.

    A MODEL that is named is traced (which runs its code), and what it costs now is written beside it. Without any, the
    source below the file's folder is searched for classes of torch modules, without running it; they are written as
    comments, since nobody can know their inputs. A file that has the section gets the models added.
    """
    from rfcalc.baseline import discover
    from rfcalc.baseline.initial import Start, write_section
    from rfcalc.baseline.record import entry_of

    if not models and (inputs or name):
        raise UsageError("--input and --name belong to a model: name it, rfcalc init MODEL --input 3x224x224")
    if name is not None and len(models) > 1:
        raise UsageError("--name is of one model, and several are named; leave it out, or add them one by one")
    path = Path(config)
    if models:
        shapes = parse_inputs(inputs)
        entries = [entry_of(Request(model, shapes).trace(), name or model, model) for model in models]
        starts = [Start(entry.model or "", entry.name, tuple(inputs), entry) for entry in entries]
    else:
        starts = [Start(model) for model in discover.models(Path(os.path.abspath(path)).parent)]
    write_section(path, starts)
    if models:
        complain(f"{path} watches {', '.join(models)}; next: rfcalc lock")
    else:
        found = ", ".join(start.model for start in starts) or "no class of a torch module that needs no arguments"
        complain(f"wrote [tool.rfcalc] to {path}; found {found}: fill in the models and their inputs, then rfcalc lock")
