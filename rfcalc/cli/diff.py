"""`rfcalc diff A B`: what changed between two locks, two saved graphs or two models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rfcalc.cli.complete import complete_model
from rfcalc.cli.options import Request, debug_option, trace_options
from rfcalc.cli.project import CheckOutput, check_output_options, only_option
from rfcalc.errors import UsageError

if TYPE_CHECKING:
    from rfcalc.baseline.record import Entry


@click.command("diff", short_help="What changed between two locks, graphs or models.")
@click.argument("old", metavar="A", shell_complete=complete_model)
@click.argument("new", metavar="B", shell_complete=complete_model)
@only_option
@trace_options
@check_output_options
@debug_option
def command(old: str, new: str, only: Sequence[str], request: Callable[[str], Request], output: CheckOutput) -> int:
    """Compare two locks, two graphs that rfcalc trace saved, or two models, layer by layer.

    Models of two locks are compared by their names; a single model with whatever single model the other side has.
    Exits with 1 if they differ. Locks and graphs need neither torch nor the code of the model. Naming a file or module
    of yours runs its code.
    """
    from rfcalc.baseline import check

    sides = [_chosen(_entries(name, request), only, name) for name in (old, new)]
    models = check.between(*_aligned(*sides))
    output.emit(models)
    return check.exit_status(models)


def _entries(name: str, request: Callable[[str], Request]) -> Mapping[str, Entry]:
    """The records on one side."""
    from rfcalc.baseline import lockfile
    from rfcalc.baseline.record import entry_of

    if name.endswith(".json"):
        lock = lockfile.read_if_lock(Path(name))
        if lock is not None:
            return lock.models
        graph = Request(name).trace()
    else:
        graph = request(name).trace()
    entry = entry_of(graph, graph.model, name)
    return {entry.name: entry}


def _chosen(entries: Mapping[str, Entry], only: Sequence[str], where: str) -> Mapping[str, Entry]:
    if len(entries) == 1 or not only:
        return entries
    missing = [name for name in only if name not in entries]
    if missing:
        raise UsageError(f"{where} has no model {missing[0]!r}; it has {', '.join(entries) or 'none'}")
    return {name: entries[name] for name in only}


def _aligned(old: Mapping[str, Entry], new: Mapping[str, Entry]) -> tuple[Mapping[str, Entry], Mapping[str, Entry]]:
    """Two single models under one name, whatever they are called; all others as they are."""
    if len(old) == len(new) == 1 and set(old) != set(new):
        (before,), (after,) = old, new
        name = f"{before} -> {after}"
        return {name: old[before]}, {name: new[after]}
    return old, new
