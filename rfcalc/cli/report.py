"""`rfcalc report MODEL... -o page.html`: one page to look at, with everything in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import click

from rfcalc.cli.complete import complete_model
from rfcalc.cli.endings import DRAWN, TABLES, format_of
from rfcalc.cli.options import MODEL_HELP, Request, debug_option, target_option, trace_options
from rfcalc.cli.output import Target, complain
from rfcalc.cli.parse import parse_extents

HELP = f"""One HTML page of one MODEL or several side by side: what every unit sees, the graph, and where the cost is.

\b
  rfcalc report resnet50                    writes resnet50.html
  rfcalc report resnet50 -o page.html
  rfcalc report vgg16 resnet50 -o page.html
  rfcalc report net.py:UNet --tile 256      exact tiles over the input (rfcalc tile)

The page is one file. It needs no network and sends nothing anywhere.

{MODEL_HELP}"""


@click.command("report", help=HELP, short_help="One self-contained HTML page of one or several models.")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, shell_complete=complete_model)
@trace_options
@click.option("--memory", is_flag=True, help="Where memory goes too: what each module makes, keeps and moves.")
@click.option("--tile", metavar="T", help="Tiles of the input over it: their length in pixels, 256 or 256x512.")
@target_option
@debug_option
def command(
    models: Sequence[str], request: Callable[[str], Request], memory: bool, tile: str | None, target: Target
) -> None:
    """Analyze, build the page, write."""
    lengths = parse_extents(tile, "--tile")
    format_of("html", target.path, {**TABLES, **DRAWN})
    from rfcalc.page import page

    analyses = [request(spec).analyze() for spec in models]
    if memory:
        analyses = [request(spec).with_memory(one, trained=True) for spec, one in zip(models, analyses, strict=True)]
    for analysis in analyses:
        for notice in analysis.notices:
            complain(f"note: {analysis.model}: {notice}" if len(analyses) > 1 else f"note: {notice}")
    tiles = [] if lengths is None else [request(spec).tiles(lengths) for spec in models]
    text = page(analyses, [plan.to_dict() for plan in tiles])
    if target.path is not None:
        target.write(text)
        return
    made = Target(file_name([analysis.model for analysis in analyses]))
    made.write(text)
    complain(f"wrote {made.path}; open it in a browser, or name another file with -o")


def file_name(models: Sequence[str]) -> str:
    """What the page is called where no file was named: MODEL.html, with - for what no file name should have."""
    text = "-".join(re.sub(r"[^\w.+-]+", "-", model).strip("-.") for model in models)
    return f"{text[:100] or 'model'}.html"
