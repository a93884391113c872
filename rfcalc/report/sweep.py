"""The report of a sweep: one row a model, then what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rfcalc.report import text
from rfcalc.report.comparison import BYTES
from rfcalc.report.document import Column, Report, Section, Table

if TYPE_CHECKING:
    from rfcalc.sweeping.row import Row


def sweep_report(rows: Sequence[Row], schema: str, versions: Mapping[str, str], notes: Sequence[str] = ()) -> Report:
    """A sweep in every format."""
    sections = [Section(table=_table(rows))]
    failed = [row for row in rows if row.failed]
    if failed:
        errors = Table(
            (Column("model", shorten=2), Column("error", shorten=1, prose=True)),
            tuple((row.model, row.error) for row in failed),
        )
        sections.append(Section("Failed", table=errors))
    documents = [row.to_dict() for row in rows]
    if any(row.peak_bytes is not None for row in rows):
        documents = [
            {**document, **{name: getattr(row, name) for name in BYTES}}
            for row, document in zip(rows, documents, strict=True)
        ]
    return Report(
        summary(rows),
        tuple(sections),
        tuple(notes),
        {"schema": schema, "versions": dict(versions), "rows": documents},
        [{name: _cell(name, value) for name, value in row.items()} for row in documents],
    )


def summary(rows: Sequence[Row]) -> str:
    """``12 models: 10 complete, 2 failed``."""
    counts = Counter(row.status.replace("_", " ") for row in rows)
    parts = ", ".join(f"{text.count(number)} {status}" for status, number in counts.most_common())
    return f"{text.plural(len(rows), 'model')}: {parts}" if parts else text.plural(0, "model")


def _table(rows: Sequence[Row]) -> Table:
    told = any(row.peak_bytes is not None for row in rows)
    columns = (
        Column("model", shorten=6),
        Column("params", _count, right=True),
        Column("multiply-adds", right=True),
        Column("last spatial layer", shorten=1, drop=5),
        Column("field", right=True),
        Column("stride", text.cross, right=True, drop=4),
        Column("whole input from", drop=3, shorten=2),
        *([Column(title, _count, right=True, drop=1) for title in BYTES.values()] if told else []),
        Column("status"),
        Column("time", lambda seconds: f"{seconds:.1f} s", right=True, drop=2),
    )
    return Table(columns, tuple(_cells(row, told) for row in rows))


def _cells(row: Row, told: bool) -> tuple[Any, ...]:
    return (
        row.model,
        row.params,
        _multiply_adds(row),
        row.layer or text.NOTHING,
        _field(row),
        row.stride,
        _whole(row),
        *([getattr(row, name) for name in BYTES] if told else []),
        _status(row),
        row.seconds,
    )


def _count(value: int | None) -> str:
    return text.NOTHING if value is None else text.count(value)


def _multiply_adds(row: Row) -> str:
    return f">={_count(row.macs)}" if row.status == "lower_bound" else _count(row.macs)


def _field(row: Row) -> str:
    """The size as in a table of layers: a range if it varies, ``whole (local 851x851)`` where a context comes in."""
    if row.size is None or row.size_min is None:
        return text.NOTHING
    if row.stride is not None and None not in row.stride:
        return text.ranges(row.size_min, row.size)
    local = f" (local {text.cross(row.local_size)})" if row.local_size not in (None, row.size) else ""
    return ("whole" if row.whole_input else f"{text.cross(row.size)} (largest)") + local


def _whole(row: Row) -> str:
    return text.NOTHING if row.whole_index is None else f"{row.whole_index} of {row.layers}: {row.whole_layer}"


def _status(row: Row) -> str:
    words = row.status.replace("_", " ")
    return f"{words}, fields <=" if row.field_status == "upper_bound" else words


def _cell(name: str, value: Any) -> Any:
    """A value of the JSON document as one of CSV."""
    if name in ("axes", "reasons", "notes"):
        return ";".join(value or ())
    if isinstance(value, dict):
        return ";".join(f"{key}={_cell('', item)}" for key, item in value.items())
    return text.cross(value) if isinstance(value, list) else value
