"""`rfcalc verify MODEL`: the same numbers from a real forward pass."""

from __future__ import annotations

import click

from rfcalc.cli.options import (
    MODEL_HELP,
    Request,
    debug_option,
    device_option,
    model_options,
    output_options,
    user_code,
)
from rfcalc.cli.output import Output, complain
from rfcalc.progress import shown

DISAGREE = 1  #: exit status

HELP = f"""Run MODEL for real and hold every number against what happened.

Compares output shapes, parameters, multiply-adds (with torch's own counter) and receptive fields: rows of the input are
poisoned with NaN, and every position of every layer must become NaN where its field says so and nowhere else. Fast
algorithms that smear NaN are off for that time. Exits with status 1 if anything disagrees.

{MODEL_HELP}"""


@click.command("verify", help=HELP, short_help="Check all numbers against a real forward pass.")
@model_options
@device_option
@click.option(
    "--probes",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Rows to poison along each axis of each input: borders, middle, ends of fields, random ones.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Draws rows, inputs and missing weights.")
@click.option("--batch", type=click.IntRange(min=1), help="Poison at most so many rows at once; default: what fits.")
@click.option("--timing/--no-timing", default=True, show_default=True, help="Measure time and memory too.")
@output_options
@debug_option
def command(
    request: Request, device: str, probes: int, seed: int, batch: int | None, timing: bool, output: Output
) -> int:
    """Verify, print, say by the exit status whether all agree."""
    from rfcalc import api
    from rfcalc.report.verification import verification_report

    with user_code(request.spec), shown("rfcalc verify"):
        found = api.verify(
            request.spec,
            request.inputs,
            device=device,
            probes=probes,
            seed=seed,
            training=request.training,
            batch=batch,
            timing=timing,
            axes=request.axes,
        )
    for notice in found.notices:
        complain(f"note: {notice}")
    output.emit(verification_report(found))
    return 0 if found.agree else DISAGREE
