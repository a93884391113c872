"""`rfcalc show MODEL`, also `rfcalc MODEL`: what the layers see and cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from rfcalc.analyses.results import Layer
from rfcalc.cli.options import (
    INCOMPLETE,
    MODEL_HELP,
    Request,
    debug_option,
    guest,
    open_model_options,
    output_options,
    strict_option,
)
from rfcalc.cli.output import Output, complain
from rfcalc.cli.parse import numbers_only, parse_position
from rfcalc.errors import UsageError
from rfcalc.report import details, overview
from rfcalc.report.tokens import tokens_report

if TYPE_CHECKING:
    from rfcalc.analyses.analysis import Analysis

HELP = f"""What the layers of MODEL see and cost: receptive field, parameters, multiply-adds.

{MODEL_HELP}"""


@click.command("show", help=HELP, short_help="What the layers of a model see and cost.")
@open_model_options
@click.option("--layer", metavar="L", help="Only layer L: its number in the table, its name, or a glob over names.")
@click.option("--of", metavar="L", help="Measure fields in the output of layer L instead of the input.")
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
    "--symbolic",
    metavar="H,W,N",
    help="Costs as formulas in these sizes: axes of the input, N for the batch, or symbols of --input and MODEL (S=224"
    " gives one a size to start from).",
)
@output_options
@strict_option
@debug_option
def command(
    request: Request,
    layer: str | None,
    of: str | None,
    at: str | None,
    affects: str | None,
    every: bool,
    backward: bool,
    per_token: bool,
    tokens: int | None,
    symbolic: str | None,
    output: Output,
    strict: bool,
) -> int:
    """Analyze, choose the layers, print."""
    if symbolic is not None:
        if every or backward or per_token or of is not None or at is not None or affects is not None:
            raise UsageError(
                "--symbolic is about costs: leave --of, --at, --affects, --backward, --per-token and --all out"
            )
        return show_growth(request, symbolic, layer, output, strict)
    numbers_only(request.inputs)
    position, pixel = parse_position(at), parse_position(affects, "--affects")
    if every and layer is not None:
        raise UsageError("--all and --layer exclude each other: --all shows every op, --layer chooses; leave one out")
    if tokens is not None and not per_token:
        raise UsageError("--tokens says how many tokens --per-token is of: add --per-token")
    if per_token and (layer is not None or every or of is not None or at is not None or affects is not None):
        raise UsageError("--per-token is about parts: leave --layer, --of, --at, --affects and --all out")
    analysis = request.analyze(of)
    for notice in analysis.notices:
        complain(f"note: {notice}")
    if per_token:
        output.emit(tokens_report(analysis, analysis.per_token(tokens)))
        return INCOMPLETE if strict and told_gaps(incomplete(analysis, ())) else 0
    layers = chosen(analysis, layer, every)
    if position is not None:
        layers = with_regions(analysis, layers, position)
    if pixel is not None:
        layers = analysis.with_affects(layers, pixel)
    if layer is None:
        output.emit(overview(analysis, layers, backward=backward))
    else:
        layers = analysis.with_reads(layers)
        output.emit(details(analysis, layers, position, backward=backward))
    return INCOMPLETE if strict and told_gaps(incomplete(analysis, layers)) else 0


def told_gaps(gaps: Sequence[str]) -> bool:
    """Whether anything keeps the numbers from being exact, which is said then."""
    if gaps:
        complain(f"incomplete: {'; '.join(gaps)}")
    return bool(gaps)


def show_growth(request: Request, symbolic: str, layer: str | None, output: Output, strict: bool) -> int:
    """Print the costs as formulas."""
    from rfcalc import api
    from rfcalc.report.growth import growth_report

    with guest(request.spec):
        found = api.growth(
            request.spec, request.inputs, symbols=symbolic, axes=request.axes, training=request.training
        )
    output.emit(growth_report(found, None if layer is None else found.select(layer)))
    gaps = [item.count for item in found.irregular]
    if strict and (gaps or found.status != "complete"):
        complain(f"incomplete: {'no polynomial: ' + ', '.join(gaps) if gaps else 'some ops have no rule'}")
        return INCOMPLETE
    return 0


def chosen(analysis: Analysis, layer: str | None, every: bool) -> tuple[Layer, ...]:
    """The layers to print."""
    if layer is not None:
        return analysis.select(layer)
    return analysis.ops if every else analysis.layers


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
