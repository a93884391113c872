"""`rfcalc sweep PATTERN...`: many models, one row each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from rfcalc.cli.complete import complete_model
from rfcalc.cli.endings import TABLES, format_of
from rfcalc.cli.options import INCOMPLETE, debug_option, target_option
from rfcalc.cli.output import Output, Target, complain
from rfcalc.cli.parse import parse_inputs
from rfcalc.errors import UsageError
from rfcalc.report import FORMATS
from rfcalc.report.sweep import summary, sweep_report

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

    from rfcalc.sweeping.row import Row
    from rfcalc.sweeping.session import Session

LINES = "jsonl"

HELP = """One row a model: parameters, multiply-adds, the field of the last spatial layer, the first layer that sees the
whole input, status, time.

\b
PATTERN is one of
  'timm:*'  'torchvision:res*'  names of timm's, of torchvision's
  'vgg*'                        or of rfcalc's own architectures: see rfcalc list
  path/file.py                  what the function models() of this file yields: modules,
                                functions that make one, or (name, module, input)
  path/rows.jsonl               the rows that a sweep wrote, as they are
  -                             patterns from standard input, one a line
  anything else                 one model, as for rfcalc show

With -o FILE.jsonl every row is written as it comes, and rows already there are kept: run the same command again to go
on with a sweep that was interrupted. Every other format is written at the end. A model that fails is a row, and the
exit status is 0 without --strict.

Naming a file or module of yours runs its code. Nothing is ever downloaded; models are built without weights.
"""


@click.command("sweep", help=HELP, short_help="Many models, one row each.")
@click.argument("patterns", metavar="PATTERN...", nargs=-1, required=True, shell_complete=complete_model)
@click.option(
    "--input",
    "shapes",
    multiple=True,
    metavar="SHAPE",
    help="Input shape of every model instead of its own, 3x224x224; NAME=SHAPE for each of several inputs.",
)
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Run N processes on this machine.")
@click.option(
    "--backend",
    type=click.Choice(("local", "dask")),
    default="local",
    show_default=True,
    help="What runs the models in parallel: processes here, or a dask cluster.",
)
@click.option("--scheduler", metavar="ADDRESS", help="The dask cluster's scheduler, tcp://HOST:8786.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Give up a model after so long; it has a row that says so.",
)
@click.option(
    "--memory", is_flag=True, help="Bytes too: peak, moved, and of a step of training; rows without are done again."
)
@click.option("--retry-failed", is_flag=True, help="Do models again whose row in FILE.jsonl has no numbers.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice((*FORMATS, LINES)),
    help="How to print the rows: table by default, jsonl into a FILE.jsonl.",
)
@target_option
@click.option(
    "--strict",
    is_flag=True,
    help="Exit with status 4 if a model failed, an op has no rule or a field is only an upper bound.",
)
@debug_option
def command(
    patterns: Sequence[str],
    shapes: Sequence[str],
    jobs: int | None,
    backend: str,
    scheduler: str | None,
    timeout: float | None,
    memory: bool,
    retry_failed: bool,
    format_name: str | None,
    target: Target,
    strict: bool,
) -> int:
    """Expand the patterns, fill the rows that are not there yet, print all."""
    _check_workers(jobs, backend, scheduler)
    from rfcalc.sweeping.patterns import expand
    from rfcalc.sweeping.run import How
    from rfcalc.sweeping.session import Session

    how = How(parse_inputs(shapes), timeout, jobs or 1, scheduler)
    chosen = _format(format_name, target)
    path = target.to_file if chosen == LINES else None
    if retry_failed and path is None:
        raise UsageError("--retry-failed is about rows that are kept in a file: add -o FILE.jsonl")
    items = expand(patterns, _lines)
    if memory:
        items = [replace(item, memory=True) for item in items]
    session = Session(items, how, path, retry_failed)
    _announce(session)
    try:
        _fill(session)
    except KeyboardInterrupt:
        _emit(session, chosen, target)
        again = "; the same command goes on from there" if path is not None else ""
        complain(f"interrupted: {len(session.rows)} of {len(session)} models have a row{again}")
        raise
    _emit(session, chosen, target)
    loose = [row.model for row in session.rows if not row.strict] if strict else []
    if loose:
        complain(f"incomplete: {len(loose)} of {len(session.rows)} models, {loose[0]} the first of them")
    return INCOMPLETE if loose else 0


def _check_workers(jobs: int | None, backend: str, scheduler: str | None) -> None:
    if backend == "dask" and scheduler is None:
        raise UsageError("--backend dask needs a cluster that runs already: add --scheduler tcp://HOST:8786")
    if backend != "dask" and scheduler is not None:
        raise UsageError("--scheduler is the address of a dask cluster: add --backend dask")
    if backend == "dask" and jobs is not None:
        raise UsageError("--jobs is for processes on this machine, a dask cluster has its own workers; leave it out")


def _format(name: str | None, target: Target) -> str:
    """The format meant; a file of rows is only ever added to."""
    path = target.to_file
    rows = path is not None and path.suffix == f".{LINES}"
    chosen = format_of(name, target.path, {**TABLES, f".{LINES}": LINES} if name is None else TABLES)
    if path is not None and chosen != LINES:
        from rfcalc.sweeping.record import is_record

        if rows or is_record(path):
            raise UsageError(
                f"{path} is for rows as JSON lines, not for --format {chosen}; print them with"
                f" rfcalc sweep {path} --format {chosen}"
            )
    return chosen


def _lines() -> Sequence[str]:
    return [] if sys.stdin is None else list(sys.stdin)


def _announce(session: Session) -> None:
    if session.cut:
        complain(f"note: the last line of {session.path} breaks off and is dropped")
    if len(session.left) < len(session) and session.path is not None:
        complain(f"note: {len(session) - len(session.left)} of {len(session)} models have a row already")


def _fill(session: Session) -> None:
    """Run the session; a terminal sees how far it is."""
    if not sys.stderr.isatty() or not session.left:
        for _ in session.run():
            pass
        return
    bar: ProgressBar[Row] = click.progressbar(
        length=len(session.left),
        show_pos=True,
        file=sys.stderr,
        item_show_func=lambda row: "" if row is None else f"{row.model} {row.status.replace('_', ' ')}",
    )
    with bar:
        for row in session.run():
            bar.update(1, row)


def _emit(session: Session, chosen: str, target: Target) -> None:
    """Print the rows in the order of the models; those in a file of rows are there already."""
    from rfcalc.sweeping.row import SCHEMA
    from rfcalc.sweeping.run import versions

    rows = session.rows
    if session.path is not None:
        complain(summary(rows))
    elif chosen == LINES:
        target.write("".join(f"{row.line()}\n" for row in rows))
    else:
        Output(chosen, target).emit(sweep_report(rows, SCHEMA, versions()))
