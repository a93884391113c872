"""`rfcalc explain MODEL`: why other counters print other numbers."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from rfcalc.cli.options import MODEL_HELP, Request, debug_option, model_options, output_options
from rfcalc.cli.output import Output, complain
from rfcalc.errors import UsageError

HELP = f"""Why other counters print other numbers for MODEL.

Each tool's convention is a set of rules over the graph that rfcalc traced, so that the difference from rfcalc's
multiply-adds is a table that adds up to the unit. What a tool gets wrong is named, with the version that does.

{MODEL_HELP}"""


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of tools."""
    from rfcalc.conventions import KNOWN

    return [CompletionItem(name) for name in KNOWN if name.startswith(incomplete)]


@click.command("explain", help=HELP, short_help="Why other counters print other numbers.")
@model_options
@click.option(
    "--tool", "tools", multiple=True, metavar="NAME", shell_complete=_complete, help="Every term of this tool's number."
)
@click.option("--all", "every", is_flag=True, help="With --tool: a row for every term of every layer.")
@output_options
@debug_option
def command(request: Request, tools: tuple[str, ...], every: bool, output: Output) -> None:
    """Trace, apply the conventions, print."""
    from rfcalc.conventions import explain, lookup
    from rfcalc.report.explanation import explanation_report, tool_report

    if every and not tools:
        raise UsageError("--all shows every layer of one tool's difference: add --tool NAME")
    for tool in tools:
        lookup(tool)  # a mistyped name is told before the model is traced
    found = explain(request.trace(), tools)
    for notice in found.notices:
        complain(f"note: {notice}")
    output.emit(tool_report(found, every) if tools else explanation_report(found))
