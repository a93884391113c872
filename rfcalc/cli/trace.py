"""`rfcalc trace MODEL -o graph.json`: save the graph, which is itself a MODEL."""

from __future__ import annotations

import click

from rfcalc.cli.options import MODEL_HELP, Request, debug_option, model_options, target_option
from rfcalc.cli.output import Target

HELP = f"""Save the graph of MODEL as JSON: every op with its shapes, what it reads and what it costs.

The file is itself a MODEL, and needs neither torch nor the code of the model to be looked at.

{MODEL_HELP}"""


@click.command("trace", help=HELP, short_help="Save the graph of a model as JSON.")
@model_options
@target_option
@debug_option
def command(request: Request, target: Target) -> None:
    """Trace, write."""
    from rfcalc import graph_json

    target.write(graph_json.dumps(request.trace()))
