"""`rfcalc show MODEL`, also `rfcalc MODEL`: what the layers see and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from rfcalc.analyses.results import Layer
from rfcalc.cli.complete import complete_layer
from rfcalc.cli.options import (
    INCOMPLETE,
    MODEL_HELP,
    Request,
    debug_option,
    drawing_output_options,
    dtype_option,
    layer_option,
    open_model_options,
    strict_option,
    user_code,
)
from rfcalc.cli.output import Output, complain
from rfcalc.cli.parse import layer_keys, numbers_only, parse_position
from rfcalc.errors import UsageError
from rfcalc.progress import shown
from rfcalc.report import details, overview
from rfcalc.report.tokens import tokens_report

if TYPE_CHECKING:
    from rfcalc.analyses.analysis import Analysis

HELP = f"""What the layers of MODEL see and cost: receptive field, parameters, multiply-adds.

{MODEL_HELP}"""


@click.command("show", help=HELP, short_help="What the layers of a model see and cost.")
@open_model_options
@dtype_option
@click.option(
    "--layer",
    "layers",
    metavar="L",
    multiple=True,
    shell_complete=complete_layer,
    help="Only layer L: its number in the table, its name, or a glob over names; several: 3,7-9,conv4_*.",
)
@layer_option("--of", "Measure fields in the output of layer L instead of the input.")
@click.option("--at", metavar="Y,X", help="Show the region that the unit at this position of the layer sees.")
@click.option("--affects", metavar="Y,X", help="Show which positions of each layer this pixel of the input can change.")
@click.option("--all", "every", is_flag=True, help="A row for every op, norms and activations too.")
@click.option(
    "--backward",
    is_flag=True,
    help="Multiply-adds of the backward pass too: the gradients of inputs and of weights that training takes.",
)
@click.option("--per-token", is_flag=True, help="What one token costs, by part, and the parameters that it meets.")
@click.option("--tokens", type=int, metavar="N", help="With --per-token: how many tokens a pass has, if not the ids'.")
@click.option(
    "--depth", type=click.IntRange(1), metavar="N", help="A row for each module to this depth, all inside summed up."
)
@click.option("--source", "source", is_flag=True, help="The model's own code, with what each line sees and costs.")
@click.option(
    "--columns",
    metavar="A,B",
    is_eager=True,
    callback=lambda ctx, param, value: parse_columns(value),
    help="Only these columns; rfcalc show --columns help lists them, and says what the words of a table mean.",
)
@click.option("--sort", metavar="A", help="Rows in ascending order of a column, --sort params; -params for descending.")
@click.option(
    "--filter",
    "conditions",
    multiple=True,
    metavar="A=X",
    help="Only rows where a column is so: kind=conv, 'macs>1M', 'name=layer1.*', 'kind!=pool'; may be repeated.",
)
@click.option(
    "--symbolic",
    metavar="H,W,N",
    help="Costs as formulas in these sizes: axes of the input, N for the batch, or symbols of --input and MODEL (S=224"
    " gives one a size to start from).",
)
@drawing_output_options
@strict_option
@debug_option
def command(
    request: Request,
    dtype: str | None,
    layers: Sequence[str],
    of: str | int | None,
    at: str | None,
    affects: str | None,
    every: bool,
    backward: bool,
    per_token: bool,
    tokens: int | None,
    depth: int | None,
    source: bool,
    columns: tuple[str, ...] | None,
    sort: str | None,
    conditions: Sequence[str],
    symbolic: str | None,
    output: Output,
    strict: bool,
) -> int:
    """Analyze, choose the layers, print."""
    request = replace(request, dtype=dtype)
    keys = layer_keys(layers)
    table = TableChoice(columns, sort, conditions)
    if symbolic is not None:
        others = (every, depth, of, at, affects, backward, per_token, source, dtype, output.drawn)
        plain = not any(others)
        if not plain or table != TableChoice():
            raise UsageError("--symbolic is about costs: leave options about fields, rows and pictures out")
        return show_growth(request, symbolic, keys, output, strict)
    numbers_only(request.inputs)
    position, pixel = parse_position(at), parse_position(affects, "--affects")
    check_rows(keys, every, depth)
    if tokens is not None and not per_token:
        raise UsageError("--tokens says how many tokens --per-token is of: add --per-token")
    plain = not (keys or every or depth or of or at or affects) and table == TableChoice()
    if per_token and not plain:
        raise UsageError("--per-token is about parts: leave --layer, --of, --at, --affects and --all out")
    analysis = request.analyze(of)
    for notice in [*analysis.notices, *namesakes(analysis, layers)]:
        complain(f"note: {notice}")
    if per_token:
        output.emit(tokens_report(analysis, analysis.per_token(tokens)))
        return INCOMPLETE if strict and told_gaps(incomplete(analysis, ())) else 0
    if output.drawn:
        if table != TableChoice() or every or depth is not None or pixel is not None:
            raise UsageError(
                f"-o {output.target.path} is a picture of fields: leave options about the table out, or name a .csv,"
                " .json, .tex, .md or .html file"
            )
        draw_fields(analysis, keys, position, output)
        return 0
    if source:
        if keys or every or depth is not None or position is not None or pixel is not None or table != TableChoice():
            raise UsageError("--source shows lines of code: leave options about layers, rows and columns out")
        from rfcalc.report.source import source_report

        output.emit(source_report(analysis))
        return 0
    if table.of_memory:
        if dtype is not None:
            raise UsageError("--dtype and columns of bytes: these are of the model as it is; ask rfcalc memory --dtype")
        analysis = request.with_memory(analysis, trained="saved_bytes" in table.of_memory)
    rows = chosen(analysis, keys, every, depth)
    if position is not None:
        rows = with_regions(analysis, rows, position)
    if pixel is not None:
        rows = analysis.with_affects(rows, pixel)
    if keys and table == TableChoice():
        rows = analysis.with_reads(rows)
        output.emit(details(analysis, rows, position, backward=backward))
    else:
        rows = table.rows(analysis, rows)
        output.emit(overview(analysis, rows, table.columns, backward=backward))
    return INCOMPLETE if strict and told_gaps(incomplete(analysis, rows)) else 0


def told_gaps(gaps: Sequence[str]) -> bool:
    """Whether anything keeps the numbers from being exact, which is said then."""
    if gaps:
        complain(f"incomplete: {'; '.join(gaps)}")
    return bool(gaps)


@dataclass(frozen=True)
class TableChoice:
    """Which columns and rows a table is to have, and in which order."""

    columns: tuple[str, ...] | None = None
    sort: str | None = None
    conditions: Sequence[str] = ()

    @property
    def of_memory(self) -> set[str]:
        """The columns of bytes among those that are shown or asked about."""
        from rfcalc.analyses.shares import QUANTITIES
        from rfcalc.report.rows import columns_read

        return {*(self.columns or ()), *columns_read(self.conditions, self.sort)} & QUANTITIES.keys()

    def rows(self, analysis: Analysis, layers: Sequence[Layer]) -> tuple[Layer, ...]:
        """The rows that are left, in order."""
        from rfcalc.report.rows import filtered, ordered

        found = filtered(analysis, layers, self.conditions)
        if len(found) < len(layers):
            params, macs = sum(layer.params for layer in found), sum(layer.macs or 0 for layer in found)
            complain(f"note: {len(found)} of {len(layers)} rows, with {params:,} parameters and {macs:,} multiply-adds")
        return found if self.sort is None else ordered(analysis, found, self.sort)


def parse_columns(text: str | None) -> tuple[str, ...] | None:
    """``name,macs`` as names of columns. Raises `UsageError` for another; ``help`` lists them, and ends."""
    from rfcalc.report.columns import named

    if text is None:
        return None
    if text.strip() == "help":
        from rfcalc.report.words import glossary

        click.echo("\n".join(glossary()))
        click.get_current_context().exit()
    return tuple(dict.fromkeys(named(word).name for word in text.split(",")))


def check_rows(keys: Sequence[str | int], every: bool, depth: int | None) -> None:
    """Raises `UsageError` for rows that are asked for in two ways."""
    given = [name for name, on in (("--all", every), ("--layer", bool(keys)), ("--depth", depth is not None)) if on]
    if len(given) > 1:
        raise UsageError(
            f"{' and '.join(given)} exclude each other: --all shows every op, --layer chooses, --depth sums up;"
            " leave one out"
        )


def namesakes(analysis: Analysis, texts: Sequence[str]) -> list[str]:
    """Which numbers are also names of other layers."""
    found = []
    for key in layer_keys([text for text in texts if "-" not in text and ".." not in text]):
        if isinstance(key, int) and str(key) in analysis and 1 <= key <= len(analysis):
            named = analysis[str(key)]
            if (named.node, named.name) != (analysis[key].node, analysis[key].name):
                found.append(f"--layer {key} is number {key} of the table; the layer called {key}: --layer '[{key}]'")
    return found


def draw_fields(
    analysis: Analysis, keys: Sequence[str | int], position: tuple[int, ...] | None, output: Output
) -> None:
    """The picture that `rfcalc plot` draws of these layers."""
    from rfcalc import plotting

    plotting.need_matplotlib()
    figure = plotting.draw_scene(plotting.field_scene(analysis, keys, position), None)
    output.target.save(plotting.render(figure, output.format))


def show_growth(request: Request, symbolic: str, keys: Sequence[str | int], output: Output, strict: bool) -> int:
    """Print the costs as formulas."""
    from rfcalc import api
    from rfcalc.report.growth import growth_report

    with user_code(request.spec), shown("rfcalc show --symbolic"):
        found = api.growth(request.spec, request.inputs, symbols=symbolic, axes=request.axes, training=request.training)
    chosen = {row.layer.node: row for key in keys for row in found.select(key)}
    output.emit(growth_report(found, tuple(chosen.values()) if keys else None))
    gaps = [item.count for item in found.irregular]
    if strict and (gaps or found.status != "complete"):
        complain(f"incomplete: {'no polynomial: ' + ', '.join(gaps) if gaps else 'some ops have no rule'}")
        return INCOMPLETE
    return 0


def chosen(analysis: Analysis, keys: Sequence[str | int], every: bool, depth: int | None) -> tuple[Layer, ...]:
    """The layers to print."""
    if keys:
        return tuple({(layer.node, layer.name): layer for key in keys for layer in analysis.select(key)}.values())
    if depth is not None:
        return analysis.modules(depth)
    return analysis.ops if every else (*analysis.layers, *analysis.outputs)


def with_regions(analysis: Analysis, layers: Sequence[Layer], at: tuple[int, ...]) -> tuple[Layer, ...]:
    """The layers with the region of the unit ``at``, where they have one. Raises UsageError if none of them has."""
    found: list[Layer] = []
    outside: list[UsageError] = []
    for layer in layers:
        try:
            found += analysis.with_region((layer,), at)
        except UsageError as error:
            outside.append(error)
            found.append(layer)
    if len(outside) == len(layers) and outside:
        raise outside[0]
    if outside:
        complain(f"note: {len(outside)} of {len(layers)} layers have no unit at {','.join(map(str, at))}")
    return tuple(found)


def incomplete(analysis: Analysis, layers: Sequence[Layer]) -> list[str]:
    """What keeps the numbers from being exact."""
    gaps = []
    if analysis.totals.status != "complete":
        gaps.append(f"no rule for {', '.join(analysis.totals.unknown_ops)}")
    bounds = [layer.name for layer in layers if any(item.status != "exact" for item in layer.receptive_fields.values())]
    if bounds:
        more = f" and {len(bounds) - 1} more" if len(bounds) > 1 else ""
        gaps.append(f"the field is an upper bound at {bounds[0]}{more}")
    return gaps
