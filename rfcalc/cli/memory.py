"""`rfcalc memory MODEL`: bytes, what is alive at once, what training keeps, and what fits."""

from __future__ import annotations

from typing import Any

import click

from rfcalc.cli.options import (
    MODEL_HELP,
    Request,
    debug_option,
    open_model_options,
    output_options,
    user_code,
)
from rfcalc.cli.output import Output, complain
from rfcalc.cli.parse import numbers_only
from rfcalc.errors import UsageError

DISAGREE = 1  #: exit status

HELP = f"""Say what MODEL takes: bytes of parameters and buffers, of activations, and of all that is alive at once.

Runs the model's own code on tensors without storage and follows every storage from its birth to its death, as eager
torch on a CPU holds it. With --training autograd and the optimizer run, too: what is saved for the way back, gradients,
states, and the peaks of forward, backward and step. Exits with status 1 if --verify finds another number.

{MODEL_HELP}"""


@click.command("memory", help=HELP, short_help="Say what a model takes, and what fits.")
@open_model_options
@click.option("--batch", type=int, metavar="N", help="So many samples in each input.")
@click.option(
    "--optimizer",
    metavar="NAME",
    help="With --training: adamw (if not told), adam, sgd, momentum, muon, adam8bit or none.",
)
@click.option("--dtype", metavar="TYPE", help="Convert parameters, buffers and inputs: fp32, fp16, bf16 or fp64.")
@click.option("--autocast", metavar="TYPE", help="Run under torch.autocast: bf16 or fp16; parameters stay as they are.")
@click.option(
    "--checkpoint",
    multiple=True,
    metavar="PATTERN",
    help="Run modules of these names again on the way back instead of keeping what they save; may be repeated.",
)
@click.option("--freeze", multiple=True, metavar="PATTERN", help="Do not train modules of these names; repeatable.")
@click.option(
    "--attention",
    default="auto",
    show_default=True,
    metavar="KIND",
    help="Which kernels attention takes: math, flash, or what torch chooses.",
)
@click.option("--decode", is_flag=True, help="Follow one more token of each sequence, with the cache of the others.")
@click.option("--weights", metavar="BITS", help="What the weights of linear layers would take: 8bit or 4bit.")
@click.option("--fit", metavar="SIZE", help="Find the largest batch whose peak is no more: 24GiB.")
@click.option(
    "--fit-what",
    default="batch",
    show_default=True,
    metavar="WHAT",
    help="With --fit: batch, side (of images, in steps of 32, or of what the model takes) or length (of sequences).",
)
@click.option("--verify", is_flag=True, help="Run it on real tensors and count by other means.")
@click.option(
    "--symbolic",
    metavar="N,H,W",
    help="Bytes as formulas in these sizes: N for the batch, axes of the input, or symbols of --input and MODEL.",
)
@click.option("--all", "everything", is_flag=True, help="Show all modules and storages.")
@output_options
@debug_option
def command(request: Request, symbolic: str | None, everything: bool, output: Output, **chosen: Any) -> int:
    """Measure, print, say by the exit status whether a real run agrees."""
    from rfcalc import api
    from rfcalc.report.memory import memory_report

    if symbolic is not None:
        show_growth(request, symbolic, output, chosen)
        return 0
    numbers_only(request.inputs)
    with user_code(request.spec):
        found = api.memory(request.spec, request.inputs, training=request.training, axes=request.axes, **chosen)
    for notice in found.notices:
        complain(f"note: {notice}")
    output.emit(memory_report(found, everything=everything))
    return 0 if found.agree else DISAGREE


def show_growth(request: Request, symbolic: str, output: Output, chosen: dict[str, Any]) -> None:
    """Print bytes as formulas."""
    from rfcalc import api
    from rfcalc.report.memory_growth import memory_growth_report

    if chosen.pop("fit_what") != "batch":
        raise UsageError("--fit-what is about --fit: leave it out of formulas")
    with user_code(request.spec):
        found = api.memory_growth(
            request.spec, request.inputs, symbols=symbolic, training=request.training, axes=request.axes, **chosen
        )
    output.emit(memory_growth_report(found))
