"""`rfcalc tile MODEL`: how a model is run in tiles with the result of a run on the whole."""

from __future__ import annotations

import re
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
from rfcalc.cli.output import Output, complain
from rfcalc.cli.parse import parse_extents
from rfcalc.cli.quoting import quoted
from rfcalc.errors import UsageError

DISAGREE = 1  #: exit status

_UNITS = {"": 1, "b": 1}
_UNITS |= {f"{letter}{end}": 1000 ** (at + 1) for at, letter in enumerate("kmgt") for end in ("", "b")}
_UNITS |= {f"{letter}ib": 1024 ** (at + 1) for at, letter in enumerate("kmgt")}
_SIZE = re.compile(r"(\d{1,18})(?:\.(\d{1,9}))?\s*([A-Za-z]*)", re.ASCII)

HELP = f"""Say how MODEL is run in tiles that give exactly what the whole image gives, or why it cannot be.

Prints for each output the grid on which tiles are cut, the halo that they need before and after, and the margin that
this means for what they read; with --tile or --memory the tiles of an image, what they read, write and cost. --verify
runs the whole and its tiles in float64 and exits with status 1 if they differ, if a smaller halo would do, or if there
are no exact tiles to verify.

{MODEL_HELP}"""


@click.command("tile", help=HELP, short_help="Overlap, alignment and a plan for exact tiled inference.")
@model_options
@click.option("--tile", "tile", metavar="T", help="Length of a tile in pixels, 256, or one for each axis, 256x512.")
@click.option("--memory", metavar="BYTES", help="Take the largest tile that needs at most so much, as in 2GiB.")
@click.option("--image", metavar="SHAPE", help="Size of the image along each axis, 10000x8000; default: the input's.")
@layer_option("--layer", "A number, a name or a pattern, to ask about in place of the outputs.")
@click.option("--verify", is_flag=True, help="Run the whole and its tiles, and compare.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the image and missing weights.")
@device_option
@output_options
@debug_option
def command(
    request: Request,
    tile: str | None,
    memory: str | None,
    image: str | None,
    verify: bool,
    output: Output,
    **chosen: Any,
) -> int:
    """Ask, print, say by the exit status whether a proof failed."""
    lengths, extents = parse_extents(tile, "--tile"), parse_extents(image, "--image")
    limit = None if memory is None else _bytes(memory)
    from rfcalc import api
    from rfcalc.report.tiling import tiling_report

    with user_code(request.spec):
        found = api.tile(
            request.spec,
            request.inputs,
            tile=lengths,
            memory=limit,
            image=extents,
            training=request.training,
            axes=request.axes,
            verify=verify,
            **chosen,
        )
    for notice in found.notices:
        complain(f"note: {notice}")
    output.emit(tiling_report(found))
    if verify and found.proof is None:
        complain("note: tiles cannot be exact, so that --verify has nothing to compare")
        return DISAGREE
    return 0 if found.proof is None or found.proof.agree else DISAGREE


def _bytes(text: str) -> int:
    """``2GiB``, ``1.5 GB`` or ``500000`` as a number of bytes."""
    made = _SIZE.fullmatch(text.strip())
    factor = None if made is None else _UNITS.get(made[3].lower())
    if made is None or factor is None:
        raise UsageError(f"--memory {quoted(text)}: no number of bytes; write --memory 2GiB, 500MB or 1000000")
    digits = made[2] or ""
    found: int = int(made[1] + digits) * factor // 10 ** len(digits)
    if found == 0:
        raise UsageError(f"--memory {quoted(text)}: nothing fits into no memory; write --memory 2GiB")
    return found
