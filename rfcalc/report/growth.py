"""The report of how a model's costs grow: its formulas, the terms with the layers that bring them, the layers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rfcalc.report import formula, text
from rfcalc.report.document import Column, Fact, Report, Section, Table
from rfcalc.report.formats import html

if TYPE_CHECKING:
    from rfcalc.comparing.growth import Growth, LayerGrowth, Part

_FEW = 2  #: names that are not worth a pattern
_NUMBER = re.compile(r"\d+")
_DEGREES = {0: "constant", 1: "linear", 2: "quadratic", 3: "cubic"}


def growth_report(found: Growth, layers: Sequence[LayerGrowth] | None = None) -> Report:
    """The growth of a model in every format, with all layers or the given ones."""
    shown = found.layers if layers is None else layers
    sections = [Section(facts=tuple(_facts(found)))]
    parts = found.parts()
    if parts:
        sections.append(Section("terms of the multiply-adds", table=_parts(parts, found)))
    if found.by_part:
        sections.append(Section("by part", table=_by_part(found)))
    if shown:
        sections.append(Section("layers", table=_layers(shown)))
    records = [{**item.to_dict(), "kind": item.layer.kind} for item in shown]
    return Report(_title(found), tuple(sections), tuple(_notes(found)), found.to_dict(shown), records)


def growth_html(found: Growth) -> str:
    """The report as an HTML fragment, for notebooks."""
    return html.fragment(growth_report(found))


def _title(found: Growth) -> str:
    shapes = ", ".join(f"{name} {formula.extents(shape)}" for name, shape in found.inputs.items()) or "no input"
    return f"{found.model}: {shapes}"


def _facts(found: Growth) -> Iterator[Fact]:
    for item in found.ranges:
        yield item.symbol, f"{item.meaning}: {formula.ranges([item]).removeprefix(item.symbol).strip()}"
    bound = "" if found.status == "complete" else "at least "
    counts = [("params", found.params, ""), ("macs", found.macs, bound), ("flops", found.flops, bound)]
    if found.unmasked_macs != found.macs and found.macs is not None:
        counts.insert(2, ("unmasked_macs", found.unmasked_macs, bound))
    for name, value, prefix in counts:
        yield formula.COUNTS[name], "no polynomial found, see below" if value is None else prefix + formula.count(value)
    if found.training_macs is not None:
        yield "training step", f"{formula.count(found.training_macs)} multiply-adds, forward and backward"
    if found.macs is not None:
        yield "growth", f"multiply-adds are {_growth(found)}"
    yield f"at {_start(found)}", f"{text.count_and_short(found.analysis.totals.macs)} multiply-adds"


def _start(found: Growth) -> str:
    return ", ".join(f"{name} = {size:,}" for name, size in found.start.items())


def _growth(found: Growth) -> str:
    """``quadratic in H·W, linear in N``: the degree in each symbol, or in the product of several that come together."""
    if found.macs is None or isinstance(found.macs, int):
        return "constant"
    together: dict[tuple[int, ...], list[str]] = {}
    for place, symbol in enumerate(found.macs.symbols):
        together.setdefault(tuple(exponents[place] for exponents in found.macs.terms), []).append(symbol)
    words = [f"{_degree(max(powers))} in {'·'.join(names)}" for powers, names in together.items()]
    return ", ".join(words)


def _degree(power: int) -> str:
    return _DEGREES.get(power, f"of degree {power}")


def _parts(parts: Sequence[Part], found: Growth) -> Table:
    columns = (
        Column("term", formula.count, right=True),
        Column(f"share at {_start(found)}", text.share, right=True),
        Column("layers", text.count, right=True),
        Column("brought by", shorten=1, prose=True),
    )
    rows = tuple((part.term, part.share, len(part.layers), text.listed(patterns(part.layers))) for part in parts)
    return Table(columns, rows)


def _by_part(found: Growth) -> Table:
    columns = (
        Column("part"),
        Column("multiply-adds", formula.count, right=True),
        Column("unmasked", formula.count, right=True),
        Column("backward", formula.count, right=True),
    )
    return Table(columns, tuple((name, *counts) for name, counts in found.by_part.items()))


def patterns(names: Sequence[str]) -> list[str]:
    """Many names that differ in their numbers only as one pattern, as ``--layer`` takes it: ``conv*_*/conv* (48)``."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_NUMBER.sub("*", name.partition("#")[0]), []).append(name)
    return [
        name for shape, group in groups.items() for name in (group if len(group) <= _FEW else [_pattern(shape, group)])
    ]


def _pattern(shape: str, group: Sequence[str]) -> str:
    calls = "*" if any("#" in name for name in group) and not shape.endswith("*") else ""
    return f"{shape}{calls} ({len(group):,})"


def _layers(layers: Sequence[LayerGrowth]) -> Table:
    columns = (
        Column("#", str, right=True),
        Column("layer", shorten=2),
        Column("kind", drop=1),
        Column("params", formula.count, right=True, drop=3),
        Column("multiply-adds", formula.count, right=True),
    )
    rows: list[tuple[Any, ...]] = [
        (item.layer.index, item.layer.name, item.layer.kind, item.params, item.macs) for item in layers
    ]
    return Table(columns, tuple(rows))


def _notes(found: Growth) -> Iterator[str]:
    yield from formula.irregular(found.irregular, found.ranges)
    if "layers" in found.varying:
        yield f"the layers are not the same at all sizes; these are those at {_start(found)}"
    yield (
        f"found by tracing at {text.plural(len(found.fitted), 'size')}, confirmed at"
        f" {text.plural(len(found.confirmed), 'other')}"
    )
    yield from found.notes
