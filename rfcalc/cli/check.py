"""`rfcalc check`: the models of the configuration against their lock and their budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from rfcalc.cli.options import debug_option
from rfcalc.cli.output import complain
from rfcalc.cli.project import (
    CheckOutput,
    check_output_options,
    config_option,
    configuration,
    existing,
    measuring,
    only_option,
    tell,
    write,
)
from rfcalc.errors import UsageError


@click.command("check", short_help="Compare models with their lock and hold their budgets.")
@config_option
@only_option
@click.option("--update", is_flag=True, help="Accept what changed: write it to the lock, but nothing over a budget.")
@click.option("--against", metavar="FILE", help="Compare with this lock instead, as with that of the main branch.")
@click.option("--strict", is_flag=True, help="Exit with status 4 if any number of a model is not exact.")
@check_output_options
@debug_option
def command(
    config: str | None, only: Sequence[str], update: bool, against: str | None, strict: bool, output: CheckOutput
) -> int:
    """Trace the models of [tool.rfcalc], compare them with rfcalc.lock.json and hold their budgets.

    Exits with 0 if nothing changed and every limit holds, 1 if a model changed or is over its budget, 2 if the
    configuration or the lock cannot be used, 3 if a model could not be traced, and 4 if a limit cannot be told because
    the number is only a bound. Tracing a model of yours runs its code.
    """
    from rfcalc.baseline import check

    if update and against is not None:
        raise UsageError("--update and --against exclude each other: --update writes the lock of the configuration")
    found = configuration(config)
    path = Path(against) if against is not None else found.lock
    if update and path is None:
        raise UsageError(f"{found.file}: lock = false: there is no lock to update")
    watched = check.chosen(found.models, only)
    lock = existing(path, anew=update, partly=bool(only)) if path is not None else None
    models = check.check(watched, lock, measuring(found), whole=not only)
    if update and path is not None:
        welcome = [model for model in models if model.differs and not model.over]
        write(path, welcome, anew=not only)
        models = [replace(model, accepted=True) if model in welcome else model for model in models]
    tell(models)
    output.emit(models, path)
    _advise(any(model.differs for model in models) and against is None, update)
    return check.exit_status(models, strict=strict)


def _advise(differs: bool, update: bool) -> None:
    if differs and update:
        complain("what is over its budget was not accepted: raise the budget, or write the lock with rfcalc lock")
    elif differs:
        complain("to accept what changed: rfcalc check --update, then commit the lock")
