"""What results look like when they are printed, and when a notebook shows them: as on the command line."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from rfcalc.analyses.results import Layer, Layers, ReceptiveField, Totals
from rfcalc.report import text
from rfcalc.report.detail import block, field_facts
from rfcalc.report.document import Report, Section
from rfcalc.report.fields import field_picture
from rfcalc.report.formats import html, render
from rfcalc.report.layers import field_notes, layer_table, overview, totals_facts
from rfcalc.report.words import legend


def as_text(found: Any) -> str:
    """The result as text for people, without a line break at its end."""
    return render(report_of(found)).strip("\n")


def as_html(found: Any) -> str:
    """The result as an HTML fragment; an analysis has a picture of its fields above."""
    picture = "" if isinstance(found, Layers | Layer | Totals | ReceptiveField) else field_picture(found)
    return picture + html.fragment(report_of(found))


@singledispatch
def report_of(found: Any) -> Report:
    """The report of a result: of an analysis, where it is no part of one."""
    return overview(found, (*found.layers, *found.outputs))


@report_of.register
def _(found: Layers) -> Report:
    table = layer_table(found)
    return Report(text.plural(len(found), "layer"), (Section(table=table),), (*legend([table]), *field_notes(found)))


@report_of.register
def _(found: Layer) -> Report:
    section = block(found)
    return Report(section.title, (Section(facts=section.facts, table=section.table),))


@report_of.register
def _(found: Totals) -> Report:
    return Report("whole model", (Section(facts=totals_facts(found)),))


@report_of.register
def _(found: ReceptiveField) -> Report:
    return Report(f"receptive field in {found.source}", (Section(facts=tuple(field_facts(found.source, found))),))
