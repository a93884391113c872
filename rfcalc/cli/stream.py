"""`rfcalc stream MODEL`: look-ahead, causality, latency, and what chunks must carry."""

from __future__ import annotations

from typing import Any

import click

from rfcalc.cli.options import MODEL_HELP, Request, debug_option, layer_option, model_options, output_options, user_code
from rfcalc.cli.output import Output, complain

DISAGREE = 1  #: exit status

HELP = f"""How far MODEL looks ahead and back along time, and what breaks its causality.

\b
  rfcalc stream net.py:Net --input 1x16000 --rate 16000
  rfcalc stream net.py:Net --input 1x16000 --chunk 320 --layer 'encoder*'
  rfcalc stream net.py:Net --input 1x16000 --verify

Prints for every output and layer the look-ahead and look-back, the hop, the delay until a unit is complete, and whether
it is causal; the layers that look ahead and why; what each layer keeps from chunk to chunk, and which chunks work.
Lengths count positions of the input (samples), with --rate milliseconds, too.

{MODEL_HELP}"""


@click.command("stream", help=HELP, short_help="Look-ahead, causality, latency, and what chunks must carry.")
@model_options
@click.option("--axis", metavar="T", help="The axis of the input that is time; default: the only one.")
@click.option("--source", metavar="NAME", help="Which of several inputs is the stream.")
@click.option("--rate", metavar="HZ", help="Positions in a second, 16000, 44.1k or 12.5, for milliseconds.")
@click.option(
    "--chunk", type=click.IntRange(min=1), metavar="N", help="A chunk of so many positions; default: the least."
)
@layer_option("--layer", "Only the layers that a number, a name or a pattern means.")
@click.option(
    "--align",
    type=click.Choice(["start", "end"]),
    default="start",
    show_default=True,
    help="Where units have their places: unit 0 at the start, or the last one, of a model without padding, at the end.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Hold it against real numbers, whole and in chunks; exit with status 1 if it is wrong.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Draws inputs and missing weights for --verify.")
@output_options
@debug_option
def command(request: Request, rate: str | None, output: Output, **chosen: Any) -> int:
    """Look, print; say by the exit status whether real numbers agree."""
    from rfcalc import api
    from rfcalc.baseline import units
    from rfcalc.report.streaming import streaming_report

    positions = None if rate is None else units.rate(rate, "--rate")
    with user_code(request.spec, request.fresh):
        found = api.stream(
            request.spec, request.inputs, rate=positions, axes=request.axes, training=request.training, **chosen
        )
    for notice in found.notices:
        complain(f"note: {notice}")
    output.emit(streaming_report(found))
    return DISAGREE if found.trial is not None and not found.trial.agree else 0
