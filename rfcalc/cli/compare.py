"""`rfcalc compare A B ...`: models side by side, in numbers or in formulas."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from rfcalc.cli.complete import complete_model
from rfcalc.cli.options import (
    INCOMPLETE,
    MODEL_HELP,
    Request,
    debug_option,
    drawing_output_options,
    dtype_option,
    open_trace_options,
    strict_option,
    user_code,
)
from rfcalc.cli.output import Output, complain
from rfcalc.errors import UsageError
from rfcalc.progress import shown
from rfcalc.report.comparison import BYTES_COLUMNS, COLUMNS, FIELD_COLUMNS, comparison_report, for_paper

if TYPE_CHECKING:
    from rfcalc.comparing.rows import Comparison

HELP = f"""One row for each MODEL: layers, depth, field at the last spatial layer, parameters, multiply-adds.

\b
  rfcalc compare 7x7 "3x3 3x3 3x3" --channels C
  rfcalc compare vgg16 resnet50 --input 3xHxW --columns field,macs
  rfcalc compare small=net.py:Net "big=net.py:Net(width=64)" -o table.tex --decimals 2

Sizes may be symbols, in capitals: costs are then exact formulas. They may stand in the channels of a stack, "3x3:C-2C",
in --input and, with --symbolic S=224, among the arguments of a MODEL.

{MODEL_HELP}"""


@click.command("compare", help=HELP, short_help="Models side by side, one row each.")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, shell_complete=complete_model)
@click.option("--channels", metavar="C", help="Channels of stacks that leave theirs out: a number, or a symbol.")
@click.option("--relative-to", metavar="ROW", help="Ratios to this row, its model or its number; else to the first.")
@click.option("--columns", metavar="A,B", help=f"Only these columns, of {', '.join(COLUMNS)}.")
@click.option("--sort", metavar="A", help="Rows in ascending order of a count, --sort macs; -macs for descending.")
@click.option("--per-layer", is_flag=True, help="Two models layer by layer: what was added, removed, changed.")
@click.option("--symbolic", metavar="H,S=224", help="Axes of the inputs as symbols; others with a size to start from.")
@click.option(
    "--decimals", type=click.IntRange(0, 6), metavar="N", help="Counts as 25.56 M and 4.09 G, with N decimals."
)
@open_trace_options
@dtype_option
@drawing_output_options
@strict_option
@debug_option
def command(
    models: Sequence[str],
    channels: str | None,
    relative_to: str | None,
    columns: str | None,
    sort: str | None,
    per_layer: bool,
    symbolic: str | None,
    request: Callable[[str], Request],
    output: Output,
    strict: bool,
    dtype: str | None,
    decimals: int | None,
) -> int:
    """Compare, sort, print or draw."""
    from rfcalc import api

    chosen = parse_columns(columns)
    if decimals is not None and output.drawn:
        raise UsageError("--decimals is about tables: leave it out of a picture")
    named = labelled(models)
    asked = request("")
    with user_code(models[0] if len(models) == 1 else "a model", asked.fresh), shown("rfcalc compare"):
        found = api.compare(
            named,
            asked.inputs,
            channels=channels,
            relative_to=relative_to,
            symbols=symbolic or (),
            per_layer=per_layer,
            axes=asked.axes,
            training=asked.training,
            dtype=dtype,
            memory=bool(BYTES_COLUMNS.intersection(chosen or ())),
        )
    if chosen and FIELD_COLUMNS.issuperset(chosen) and not all(found.alike(row) for row in found.rows):
        axes = "; ".join(f"{row.model} along {', '.join(sorted(row.axes)) or 'none'}" for row in found.rows)
        others = ", ".join(name for name in COLUMNS if name not in FIELD_COLUMNS)
        raise UsageError(f"--columns {columns}: fields that have nothing in common ({axes}); all have {others}")
    if sort is not None:
        found = found.sorted(sort)
    if output.drawn:
        draw_bubbles(found, output)
        return 0
    report = comparison_report(found, chosen, decimals)
    output.emit(for_paper(report) if output.format == "latex" else report)
    gaps = [row.model for row in found.rows if not row.exact or row.irregular]
    if strict and gaps:
        complain(f"incomplete: not every number is exact for {', '.join(gaps)}")
        return INCOMPLETE
    return 0


_LABEL = re.compile(r"([\w .+-]+)=(.+)", re.DOTALL)


def labelled(models: Sequence[str]) -> Sequence[str] | dict[str, str]:
    """The models, by name where any has one: ``small=net.py:Net``. Raises UsageError for a name given twice."""
    found: dict[str, str] = {}
    named = False
    for model in models:
        label = _LABEL.fullmatch(model)
        name, spec = (label[1].strip(), label[2]) if label else (model, model)
        named = named or label is not None
        if name in found and named:
            raise UsageError(f"two models are called {name!r}: give each a name of its own, {name}-2={spec}")
        found[name] = spec
    return found if named else models


def draw_bubbles(found: Comparison, output: Output) -> None:
    """The picture that `rfcalc plot --kind compare` draws of these models."""
    from rfcalc import plotting

    plotting.need_matplotlib()
    missing = [row.model for row in found.rows if not row.analyses]
    if missing:
        raise UsageError(f"a picture needs numbers, and {missing[0]} has symbols: write sizes, or another file")
    analyses = {row.model: analysis for row in found.rows for analysis in row.analyses}
    output.target.save(plotting.render(plotting.draw(analyses, "compare"), output.format))


def parse_columns(text: str | None) -> list[str] | None:
    """``field,macs`` as names of columns. Raises UsageError with the nearest name for another."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, 1, 0)
            listed = ", ".join(COLUMNS)
            raise UsageError(f"--columns {text}: there is no column {name!r}; nearest: {near[0]}; all: {listed}")
    return names
