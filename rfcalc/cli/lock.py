"""`rfcalc lock`: write down what the models of the configuration are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import click

from rfcalc.cli.options import debug_option
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


@click.command("lock", short_help="Write down what models are, for rfcalc check.")
@config_option
@only_option
@click.option("--update", is_flag=True, help="Write the lock anew even if the one that is there cannot be used.")
@click.option("--versions", "with_torch", is_flag=True, help="Note torch's version in the lock; it is never compared.")
@check_output_options
@debug_option
def command(config: str | None, only: Sequence[str], update: bool, with_torch: bool, output: CheckOutput) -> int:
    """Trace the models of [tool.rfcalc] and write rfcalc.lock.json; print what changed.

    The lock is to be committed. It has one line a layer, is the same on every machine, and is written only if a model
    changed. Budgets play no part. Tracing a model of yours runs its code.
    """
    from rfcalc.baseline import check
    from rfcalc.baseline.lockfile import Lock

    found = configuration(config)
    if found.lock is None:
        raise UsageError(f"{found.file}: lock = false: there is no lock to write")
    watched = [replace(item, limits=()) for item in check.chosen(found.models, only)]
    there = update or found.lock.exists()
    lock = existing(found.lock, anew=update, partly=bool(only)) if there else Lock()
    models = check.check(watched, lock, measuring(found), whole=not only)
    written = [model for model in models if model.differs]
    write(found.lock, written, anew=update and not only, with_torch=with_torch)
    models = [replace(model, accepted=True) if model in written else model for model in models]
    tell(models)
    output.emit(models, found.lock)
    return check.exit_status(models)
