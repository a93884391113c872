"""The report of an effective receptive field: its squares, its Gaussian, the theoretical field beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rfcalc.report import svg, text
from rfcalc.report.document import Column, Fact, Report, Section, Table
from rfcalc.report.formats import html

if TYPE_CHECKING:
    from rfcalc.effective.results import EffectiveField, Gaussian

_CELLS = 48  #: rows and columns of the picture in a notebook

_GRADIENTS = {
    "absolute": "absolute values, added up over channels and images",
    "signed": "added up over channels and images, then the absolute value",
    "relu": "what is positive, of the channels in which the unit is positive",
}


def erf_report(found: EffectiveField) -> Report:
    """An effective field in every format."""
    unit = text.comma(found.at) if found.at else "any"
    title = f"{found.model}: effective field of {found.layer}, unit {unit}, in {found.source}"
    sections = (Section(facts=tuple(_facts(found)), table=_areas(found) if found.areas else None),)
    return Report(title, sections, found.notices, found.to_dict(), _records(found))


def erf_html(found: EffectiveField) -> str:
    """The report with a picture of the map, as an HTML fragment for notebooks."""
    caption = f"effective field of {found.layer}; the frame is its theoretical field"
    picture = svg.heat(found.small(_CELLS), found.map.shape, found.field.region or (), caption)
    return f"{picture}\n{html.fragment(erf_report(found))}"


def _facts(found: EffectiveField) -> Iterator[Fact]:
    used = found.settings
    yield "input", f"{text.cross(found.input_shape)}, axes {', '.join(found.axes)}"
    yield "theoretical field", text.size(found.field)
    yield "region", text.region(found.field)
    yield "center", text.comma(found.center)
    if found.gaussian is not None:
        yield "Gaussian", _gaussian(found.gaussian)
    yield "outside", _outside(found)
    yield "gradient", f"{_GRADIENTS[used.gradient]}{'; areas of log10(1 + it)' if used.scale == 'log' else ''}"
    yield "images", used.images
    yield "weights", used.weights
    yield "mode", "training" if used.training else "inference"
    yield "device", used.device


def _gaussian(found: Gaussian) -> str:
    deviation = " x ".join(f"{value:.2f}" for value in found.deviation)
    mean = ",".join(f"{value:.2f}" for value in found.mean)
    explained = "" if found.explained is None else f", explains {100 * found.explained:.1f} % of the map's variance"
    return f"standard deviation {deviation} pixels, mean {mean}{explained}"


def _outside(found: EffectiveField) -> str:
    beyond = found.outside
    if beyond.pixels == 0:
        return "the theoretical field is the whole input: there is no pixel outside"
    if found.agree:
        return f"the gradient is exactly 0 at all {text.plural(beyond.pixels, 'pixel')} outside the theoretical field"
    return (
        f"WRONG: {text.count(beyond.touched)} of {text.plural(beyond.pixels, 'pixel')} outside the theoretical field"
        f" have a gradient, up to {beyond.largest:.3g}"
    )


def _areas(found: EffectiveField) -> Table:
    axes = len(found.map.shape)
    columns = (
        Column("contribution", _percent, right=True),
        Column({1: "length", 2: "square"}.get(axes, "cube"), right=True),
        Column("pixels", text.count, right=True),
        Column("of the input", text.share, right=True),
        Column("of the region", text.share, right=True),
    )
    rows = tuple(
        (item.share, "x".join([str(item.side)] * axes), item.pixels, item.ratio, item.of_field) for item in found.areas
    )
    return Table(columns, rows)


def _percent(share: Fraction) -> str:
    return f"{100 * share} %"


def _records(found: EffectiveField) -> list[Mapping[str, Any]]:
    """One row for each share."""
    head = {"model": found.model, "layer": found.layer, "at": text.comma(found.at), "source": found.source}
    return [{**head, **item.to_dict()} for item in found.areas]


__all__ = ["erf_html", "erf_report"]
