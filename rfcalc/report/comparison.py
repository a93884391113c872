"""The report of a comparison: a row for each model, what differs in words, sums term by term, layers side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rfcalc.analyses.results import Layer, ReceptiveField
from rfcalc.report import formula, text
from rfcalc.report.detail import product
from rfcalc.report.document import Column, Report, Section, Table
from rfcalc.report.formats import html, render
from rfcalc.report.layers import field_notes
from rfcalc.report.records import dataframe
from rfcalc.report.words import legend

if TYPE_CHECKING:
    from rfcalc.comparing.aligned import AlignedLayer, Alignment
    from rfcalc.comparing.rows import Comparison, Row

_FEW = 6  #: rows that are told in words, and terms of a sum that are told one by one
_NAMES = {
    "layers": "layers",
    "depth": "depth",
    "params": "params",
    "trainable_params": "trainable",
    "param_bytes": "bytes of params",
    "buffers": "buffers",
    "macs": "multiply-adds",
    "unmasked_macs": "unmasked",
    "flops": "operations",
}


#: Columns of bytes by name, with their titles, which are measured where one is asked for.
BYTES = {
    "peak_bytes": "peak",
    "moved_bytes": "bytes moved",
    "saved_bytes": "saved",
    "training_peak_bytes": "peak in training",
}


@dataclass(frozen=True)
class _Cell:
    """A column that can be asked for: how it looks, what it takes from a row, and whether it is about fields.

    ``{}`` in its title stands for the number of the row that ratios are to.
    """

    column: Column
    value: Callable[[Comparison, Row], Any]
    fields: bool = False


def _count(value: Any) -> str:
    return value if isinstance(value, str) else formula.count(value)


def _counted(name: str, drop: int) -> _Cell:
    return _Cell(Column(_NAMES[name], _count, right=True, drop=drop), lambda found, row: _bounded(row, name))


def _relative(name: str, drop: int) -> _Cell:
    column = Column(f"{_NAMES[name]} vs {{}}", formula.relation, drop=drop)
    return _Cell(column, lambda found, row: None if row is found.reference else found.ratio(row, name))


def _in_bytes(name: str, title: str) -> _Cell:
    return _Cell(Column(title, _count, right=True, drop=2), lambda found, row: row.memory.get(name))


def _seen(title: str, value: Callable[[Row], Any], **look: Any) -> _Cell:
    """A column about fields, empty where they are along other axes than the reference's."""
    column = Column(title, lambda shown: shown or text.NOTHING, **look)
    return _Cell(column, lambda found, row: value(row) if found.alike(row) else None, fields=True)


#: The columns by the names that a user gives them.
COLUMNS: dict[str, _Cell] = {
    "input": _Cell(Column("input", drop=3), lambda found, row: _inputs(row)),
    "layers": _counted("layers", 4),
    "depth": _counted("depth", 5),
    "field": _seen("field", lambda row: _each(row, text.size), right=True),
    "stride": _seen("stride", lambda row: _each(row, text.stride), right=True, drop=6),
    "at": _seen("at", lambda row: row.spatial and row.spatial.name, drop=1, shorten=2),
    "whole": _seen("whole input from", lambda row: row.whole and f"{row.whole.index}: {row.whole.name}", drop=2),
    "params": _counted("params", 0),
    "params_ratio": _relative("params", 7),
    "trainable_params": _counted("trainable_params", 3),
    "param_bytes": _counted("param_bytes", 2),
    "buffers": _counted("buffers", 3),
    "macs": _counted("macs", 0),
    "macs_ratio": _relative("macs", 8),
    "unmasked_macs": _counted("unmasked_macs", 4),
    "unmasked_macs_ratio": _relative("unmasked_macs", 4),
    "flops": _counted("flops", 3),
    "flops_ratio": _relative("flops", 3),
    **{name: _in_bytes(name, title) for name, title in BYTES.items()},
    "status": _Cell(Column("status", drop=3), lambda found, row: row.status.replace("_", " ")),
}
DEFAULT = ("layers", "depth", "field", "stride", "at", "params", "params_ratio", "macs", "macs_ratio")
BYTES_COLUMNS = frozenset(BYTES)
FIELD_COLUMNS = frozenset(name for name, cell in COLUMNS.items() if cell.fields)


def comparison_report(found: Comparison, columns: Sequence[str] | None = None, decimals: int | None = None) -> Report:
    """A comparison in every format; ``columns`` are names of `COLUMNS`, for tables and CSV.

    With ``decimals`` these have counts in thousands, millions, ... with so many of them.
    """
    names = columns or _default(found)
    units = {} if decimals is None else {name: _unit(found, name) for name in names if name in _SCALED}
    sections = [Section(table=_table(found, names, units, decimals or 0))]
    if 1 < len(found.rows) <= _FEW:
        facts = [(row.model, _words(found, row)) for row in found.rows if row is not found.reference]
        sections.append(Section(f"against {found.reference.model}", tuple(fact for fact in facts if fact[1])))
    for title, name in (("parameters", "params"), ("multiply-adds", "macs")):
        rows = [row for row in found.rows if name == "macs" or row.ranges]
        sums = [(row.model, told) for row in rows if (told := _sum(row, name))]
        if sums:
            sections.append(Section(f"{title}, layer by layer", tuple(sums)))
    if found.aligned is not None:
        sections.append(_side_by_side(found.aligned))
    records = [_record(found, row, columns or (names if units else None), units, decimals or 0) for row in found.rows]
    notes = (*legend(section.table for section in sections), *_notes(found))
    return Report(_title(found), tuple(sections), notes, found.to_dict(), records)


def comparison_text(found: Comparison) -> str:
    """The report as text for people, without a line break at its end."""
    return render(comparison_report(found)).strip("\n")


def comparison_frame(found: Comparison) -> Any:
    """The rows of CSV as a `pandas.DataFrame`."""
    return dataframe([_record(found, row, None, {}, 0) for row in found.rows])


def comparison_html(found: Comparison) -> str:
    """The report as an HTML fragment, for notebooks."""
    return html.fragment(comparison_report(found))


def _title(found: Comparison) -> str:
    inputs = {_inputs(row) for row in found.rows}
    models = text.plural(len(found.rows), "model")
    return f"{models}: {inputs.pop()}" if len(inputs) == 1 else models


def _inputs(row: Row) -> str:
    return ", ".join(f"{name} {formula.extents(shape)}" for name, shape in row.inputs.items()) or "no input"


# --- the table --------------------------------------------------------------------------------------------------------


def _default(found: Comparison) -> list[str]:
    """The usual columns, without those that are empty, with the inputs where they differ, and the bytes of parameters.

    Where all have the 4 bytes of float32 for each, those say nothing.
    """
    names = [
        name for name in DEFAULT if name.endswith("_ratio") or any(COLUMNS[name].value(found, r) for r in found.rows)
    ]
    if any(isinstance(row.params, int) and row.param_bytes != 4 * row.params for row in found.rows):
        names.insert(names.index("params") + 1 if "params" in names else 0, "param_bytes")
    if any(row.unmasked_macs != row.macs for row in found.rows) and "macs" in names:
        names.insert(names.index("macs") + 1, "unmasked_macs")
    same = len({_inputs(row) for row in found.rows}) == 1
    alone = len(found.rows) == 1
    return [*([] if same else ["input"]), *(name for name in names if not (alone and name.endswith("_ratio")))]


def _table(found: Comparison, names: Sequence[str], units: Mapping[str, str], decimals: int) -> Table:
    asked = []
    for name in names:
        column = COLUMNS[name].column
        title = column.title.format(found.reference.number)
        asked.append(replace(column, title=f"{title} ({units[name]})" if units.get(name) else title))
    columns = (Column("#", right=True), Column("model", shorten=3), *asked)
    rows = [
        (row.number, row.model, *(_cell(found, row, name, units, decimals) for name in names)) for row in found.rows
    ]
    return Table(columns, tuple(rows))


def _cell(found: Comparison, row: Row, name: str, units: Mapping[str, str], decimals: int) -> Any:
    value = getattr(row, name) if name in units else None
    if isinstance(value, int) and units[name]:
        bound = ">=" if name in ("macs", "flops") and row.status != "complete" else ""
        return bound + text.decimal(value, text.SCALES[units[name]], decimals)
    return COLUMNS[name].value(found, row)


#: The columns whose counts may be in thousands, millions, ...
_SCALED = frozenset({"params", "trainable_params", "param_bytes", "buffers", "macs", "flops"})


def _unit(found: Comparison, name: str) -> str:
    """The unit of a column: the largest in which the smallest of its counts that are any is 1 or more."""
    counts = [value for row in found.rows if isinstance(value := getattr(row, name), int) and value > 0]
    fitting = [unit for unit, scale in text.SCALES.items() if counts and min(counts) >= scale]
    return fitting[-1] if fitting else ""


def for_paper(report: Report) -> Report:
    """The table alone, as a paper takes it; what else there is to say stands in comments, where a format has them."""
    tables = tuple(Section(table=section.table) for section in report.sections if section.table is not None)
    return replace(report, title="", sections=tables, notes=(), comments=(report.title, *report.notes))


def _bounded(row: Row, name: str) -> Any:
    """A count of a row, marked where it is only a lower bound."""
    value = getattr(row, name)
    bound = name in ("macs", "unmasked_macs", "flops") and row.status != "complete" and value is not None
    return f">={formula.count(value)}" if bound else value


def _each(row: Row, show: Callable[[ReceptiveField | None], str]) -> str:
    """What is shown of the row's field; with several sources, of each by name."""
    fields = row.fields
    if len(fields) == 1:
        return show(next(iter(fields.values())))
    return ", ".join(f"{name} {show(field)}" for name, field in fields.items() if any(field.size))


def _record(
    found: Comparison, row: Row, columns: Sequence[str] | None, units: Mapping[str, str], decimals: int
) -> dict[str, Any]:
    """A row of CSV: exact numbers, formulas as in JSON."""
    data = row.to_dict()
    values: dict[str, Any] = {"number": row.number, "model": row.model}
    told = any(one.memory for one in found.rows)
    for name in columns or [name for name in COLUMNS if told or name not in BYTES_COLUMNS]:
        if name.endswith("_ratio"):
            ratio = found.ratio(row, name.removesuffix("_ratio"))
            values[name] = None if ratio is None else str(ratio)
        elif units.get(name):
            values[f"{name}_{units[name]}"] = _cell(found, row, name, units, decimals).replace(",", "")
        elif name in _NAMES:
            values[name] = data["formula"].get(name, data[name])
        else:
            values[name] = COLUMNS[name].value(found, row)
    return values


# --- in words ---------------------------------------------------------------------------------------------------------


def _words(found: Comparison, row: Row) -> str:
    """``49C² and 27C² parameters, 44.9 % fewer, the same 7x7 field; ...``."""
    parts = [_pair(found, row, "params", "parameters"), _pair(found, row, "macs", "multiply-adds")]
    field = _field_words(found, row)
    if field:
        parts[0] = f"{parts[0]}, {field}" if parts[0] else field
    return "; ".join(part for part in parts if part)


def _pair(found: Comparison, row: Row, name: str, noun: str) -> str:
    ratio = found.ratio(row, name)
    if ratio is None:
        return ""
    if ratio == 1:
        return f"the same {formula.count(getattr(row, name))} {noun}"
    counts = [formula.count(getattr(one, name)) for one in (found.reference, row)]
    told = f", {formula.relation(ratio)}" if isinstance(ratio, Fraction) else ""
    return f"{' and '.join(counts)} {noun}{told}"


def _field_words(found: Comparison, row: Row) -> str:
    own, other = (_each(one, text.size) for one in (row, found.reference))
    if not found.alike(row) or not own or not other:
        return ""
    return f"the same {own} field" if own == other else f"fields of {other} and {own}"


def _sum(row: Row, name: str) -> str:
    """A sum over few layers, each of its terms shown: ``5.3M = 1.5M + 3.8M = (14x14x16) x (1x1x480) + ...``."""
    terms = [term for term in row.terms if getattr(term, name) != 0]
    counts = [getattr(term, name) for term in terms]
    if not 0 < len(terms) <= _FEW or None in counts or row.status != "complete":
        return ""
    parts = [formula.brief(getattr(row, name))]
    if len(terms) > 1:
        parts.append(" + ".join(formula.brief(value) for value in counts))
    if name == "macs" and all(product(term.formula) == term.macs for term in terms):
        parts.append(" + ".join(term.formula for term in terms))
    return " = ".join(parts) if len(parts) > 1 else ""


# --- layers side by side ----------------------------------------------------------------------------------------------

_MARKS = {"same": "", "renamed": "renamed", "changed": "changed", "added": "added", "removed": "removed"}


def _side_by_side(aligned: Alignment) -> Section:
    """A row for each layer of either model."""
    counts = tuple((how, text.plural(number, "layer")) for how, number in aligned.counts.items())
    settings = [_settings(layer) for layer in aligned.layers]
    columns = [Column("change"), *([Column("what changed", shorten=1, prose=True, drop=8)] if any(settings) else [])]
    for number in (1, 2):
        columns += [
            Column(f"layer of {number}", shorten=2),
            Column(f"output {number}", drop=4),
            Column(f"field {number}", right=True, drop=6),
            Column(f"params {number}", right=True, drop=7),
            Column(f"multiply-adds {number}", right=True, drop=7),
        ]
    rows = tuple(
        (_change(layer), *([told] if any(settings) else []), *_half(layer.old), *_half(layer.new))
        for layer, told in zip(aligned.layers, settings, strict=True)
    )
    return Section(f"{aligned.models[0]} and {aligned.models[1]}, layer by layer", counts, Table(tuple(columns), rows))


def _change(layer: AlignedLayer) -> str:
    return _MARKS[layer.how] + (", moved" if layer.moved else "")


def _settings(layer: AlignedLayer) -> str:
    """What differs in the settings of two layers that are matched; shapes and costs have columns of their own."""
    shown = [item for item in layer.differences if item.what not in ("output_shape", "params", "macs")]
    return ", ".join(
        f"{item.what.replace('_', ' ')} {text.attribute(item.old)} -> {text.attribute(item.new)}" for item in shown
    )


def _half(layer: Layer | None) -> tuple[str, ...]:
    if layer is None:
        return ("",) * 5
    fields = layer.receptive_fields
    seen = [text.size(field) for field in fields.values() if any(field.size)]
    return layer.name, text.cross(layer.output_shape), ", ".join(seen), text.count(layer.params), text.count(layer.macs)


# --- notes ------------------------------------------------------------------------------------------------------------


def _notes(found: Comparison) -> Iterator[str]:
    yield from _range_notes(found.rows)
    for row in found.rows:
        yield from (f"{row.model}: {note}" for note in (*_gaps(row), *row.notes))
    others = [row for row in found.rows if row.axes and not found.alike(row)]
    if others:
        kinds = "; ".join(f"{row.model} along {', '.join(sorted(row.axes))}" for row in (found.reference, *others))
        yield f"fields are left out where they are along other axes: {kinds}"
    yield from field_notes([row.spatial for row in found.rows if row.spatial is not None and found.alike(row)])


def _range_notes(rows: Iterable[Row]) -> Iterator[str]:
    """For which sizes formulas hold, once for all models that say the same."""
    models: dict[str, list[str]] = {}
    for row in rows:
        if row.ranges:
            models.setdefault(formula.ranges(row.ranges), []).append(row.model)
    for words, names in models.items():
        yield f"formulas confirmed for {words}" + (f" ({text.listed(names)})" if len(models) > 1 else "")


def _gaps(row: Row) -> Iterator[str]:
    """What a row does not say, and why."""
    yield from formula.irregular(row.irregular, row.ranges)
    if "windows" in row.varying:
        yield "the field of the last spatial layer is not the same at all sizes"
    if row.status != "complete":
        yield f"a lower bound: some ops have no rule (rfcalc ops --missing {row.model})"
