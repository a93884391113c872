"""`rfcalc erf MODEL`: how much each pixel of a unit's field moves the unit."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import click

from rfcalc.cli.options import (
    MODEL_HELP,
    Request,
    debug_option,
    device_option,
    layer_option,
    model_options,
    output_options,
    user_code,
)
from rfcalc.cli.output import Output, Target, complain
from rfcalc.cli.parse import parse_position
from rfcalc.errors import UsageError
from rfcalc.progress import shown

DISAGREE = 1  #: exit status

HELP = f"""Measure the effective receptive field of one unit of MODEL: its gradient with respect to the input.

Prints the smallest squares that hold 20, 30, 50 and 99 % of it and the Gaussian that it comes near, beside the
theoretical field. Exits with status 1 if the gradient is not exactly 0 outside the theoretical field. By default the
weights are random, as the model's own constructor draws them.

{MODEL_HELP}"""


@click.command("erf", help=HELP, short_help="Measure the effective field of a unit by its gradient.")
@model_options
@layer_option("--layer", "A number, a name or a pattern; default: the last layer that is not global.")
@click.option("--at", metavar="Y,X", help="The unit's position in the layer; default: the middle.")
@click.option("--source", metavar="NAME", help="Which of several inputs to look at.")
@click.option("--images", type=click.IntRange(min=1), help="How many random normal images to average over; default: 8.")
@click.option("--image", "files", multiple=True, metavar="FILE", help="A picture to take instead; may be repeated.")
@click.option(
    "--weights", metavar="FILE", help="A state dict that torch.save wrote, to take instead of random weights."
)
@click.option(
    "--gradient",
    type=click.Choice(("absolute", "signed", "relu")),
    default="absolute",
    show_default=True,
    help="Add up absolute values, or the gradient as it is, or what is positive of positive channels.",
)
@click.option(
    "--scale",
    type=click.Choice(("linear", "log")),
    default="linear",
    show_default=True,
    help="Measure the squares on the sums, or on log10(1 + sum).",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Draws images and random weights.")
@device_option
@functools.partial(output_options, own=(".png", ".svg", ".pdf", ".npy", ".csv"))
@debug_option
def command(
    request: Request, at: str | None, images: int | None, files: tuple[str, ...], output: Output, **chosen: Any
) -> int:
    """Measure, print, draw; say by the exit status whether the theoretical field holds it all.

    A file whose name ends like a picture or a map gets that, and the numbers go to stdout.
    """
    if images is not None and files:
        raise UsageError("--images and --image exclude each other: random images, or pictures; leave one out")
    position = parse_position(at)
    from rfcalc import api
    from rfcalc.effective import picture
    from rfcalc.report.erf import erf_report

    suffix = output.target.to_file.suffix.lower() if output.target.to_file is not None else ""
    target = output.target if suffix in (*picture.PICTURES, *picture.MAPS) else None
    if target is not None:
        picture.need(suffix)
        output = replace(output, target=Target())
    with user_code(request.spec), shown("rfcalc erf"):
        found = api.erf(
            request.spec,
            request.inputs,
            at=position,
            images=list(files) or images,
            training=request.training,
            axes=request.axes,
            **chosen,
        )
    for notice in found.notices:
        complain(f"note: {notice}")
    output.emit(erf_report(found))
    if target is not None:
        target.save(picture.content(found, suffix))
    return 0 if found.agree else DISAGREE
