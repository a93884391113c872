"""`rfcalc ops`: the ops that have a rule; with `--missing MODEL` those of a model that have none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import click

from rfcalc.cli.complete import complete_model
from rfcalc.cli.options import INCOMPLETE, Request, debug_option, output_options, strict_option, trace_options
from rfcalc.cli.output import Output, complain
from rfcalc.errors import UsageError
from rfcalc.report import missing_report, ops_report


@click.command("ops", short_help="The ops with a rule, or those that a model lacks.")
@click.option(
    "--missing",
    metavar="MODEL",
    shell_complete=complete_model,
    help="Trace MODEL and list the ops that it uses and that have no rule.",
)
@trace_options
@output_options
@strict_option
@debug_option
def command(missing: str | None, request: Callable[[str], Request], output: Output, strict: bool) -> int:
    """List the ops whose reads and costs rfcalc knows.

    Rules of your own (docs/python.md) are among them where an entry point of the group rfcalc.ops brings them.
    An op without a rule is taken to read everything and makes totals a lower bound. Naming a file or module of yours
    with --missing runs its code.
    """
    if missing is None:
        asked = request("")
        if strict or asked != Request(""):
            raise UsageError("--strict, --input, --axes and --training need a model to trace: add --missing MODEL")
        from rfcalc.ops import plugins, registered

        for line in plugins.load():
            complain(f"note: {line}")
        output.emit(ops_report(registered()))
        return 0
    traced = request(missing).trace()
    calls = Counter(node.op for node in traced if node.macs is None)
    output.emit(missing_report(traced.model, dict(sorted(calls.items()))))
    return INCOMPLETE if calls and strict else 0
