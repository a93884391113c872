"""The model's own code with what each line costs and sees beside it: ``rfcalc show --source``."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rfcalc.analyses.results import Layer, plain
from rfcalc.errors import UsageError
from rfcalc.report import text
from rfcalc.report.document import Column, Report, Section, Table
from rfcalc.report.layers import title, totals_facts
from rfcalc.report.words import legend

if TYPE_CHECKING:
    from rfcalc.analyses.analysis import Analysis

SCHEMA = "rfcalc-source/1"


@dataclass(frozen=True)
class Line:
    """A line of code and the ops that it calls, in order; none for one that only stands between others."""

    file: str
    number: int
    code: str
    ops: tuple[Layer, ...] = ()

    @property
    def params(self) -> int:
        """Parameters of its ops; shared ones are counted where they are used first."""
        return sum(op.params for op in self.ops)

    @property
    def macs(self) -> int | None:
        """Their multiply-adds, None where one of them is not known."""
        counts = [op.macs for op in self.ops]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    def sizes(self, source: str) -> list[str]:
        """The fields in a source of what the line gives, each size once, in order."""
        fields = [op.receptive_fields.get(source) for op in self.ops]
        return list(dict.fromkeys(text.size(field) for field in fields if field is not None and field.axes))

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON output."""
        return {
            "file": self.file,
            "line": self.number,
            "code": self.code,
            "layers": [op.name for op in self.ops],
            "params": self.params,
            "macs": self.macs,
            "flops": None if any(op.flops is None for op in self.ops) else sum(op.flops or 0 for op in self.ops),
            "sizes": {
                name: plain(list(dict.fromkeys(op.receptive_fields[name].size for op in self.ops)))
                for name in (self.ops[0].receptive_fields if self.ops else ())
            },
        }


def source_report(analysis: Analysis) -> Report:
    """A table for each function of the model's that calls an op: its lines, and what they see and cost.

    Raises `UsageError` for a graph whose ops have no lines.
    """
    functions = list(_functions(analysis))
    if not functions:
        raise UsageError(
            f"no line of code is known of {analysis.model}: --source needs a model of yours or of a library's, and its"
            " files"
        )
    names = [item.name for item in analysis.sources]
    sections = [Section(f"{head}", table=_table(lines, names)) for head, lines in functions]
    called = [line for _, lines in functions for line in lines if line.ops]
    rows = [line.to_dict() for line in called]
    records = [_record(row) for row in rows]
    return Report(
        title(analysis.model, analysis.inputs),
        (*sections, Section("whole model", facts=totals_facts(analysis.totals))),
        (*legend(section.table for section in sections), *_notes(analysis, called)),
        {"schema": SCHEMA, "model": analysis.model, "lines": rows},
        records,
    )


def _notes(analysis: Analysis, called: Sequence[Line]) -> Iterator[str]:
    macs, found = analysis.totals.macs, sum(line.macs or 0 for line in called)
    if found < macs:
        yield f"{text.count(macs - found)} multiply-adds are called from no line that is known"
    if any(len(line.sizes(item.name)) > 1 for line in called for item in analysis.sources):
        yield "a line that is called several times has the first and the last of its fields, and the sums of its costs"


def _functions(analysis: Analysis) -> Iterator[tuple[str, list[Line]]]:
    """``file: Class.function`` and its lines, for every function that calls an op, in the order of the files."""
    calls: dict[str, dict[int, list[Layer]]] = {}
    for op in analysis.ops:
        place = analysis.layer_graph[op.node].place
        if place is not None:
            calls.setdefault(place.file, {}).setdefault(place.line, []).append(op)
    for file, lines in calls.items():
        code = linecache.getlines(file)
        if not code:
            continue
        for name, first, last in _spans("".join(code), sorted(lines)):
            rows = [Line(file, at, code[at - 1].rstrip(), tuple(lines.get(at, ()))) for at in range(first, last + 1)]
            yield f"{file}: {name}" if name else file, rows


def _spans(code: str, wanted: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    """The innermost functions that hold the wanted lines: name, first and last line; lines outside of all alone."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        yield "", wanted[0], wanted[-1]
        return
    known = list(_defined(tree, ""))
    spans: dict[tuple[str, int, int], None] = {}
    for line in wanted:
        around = [span for span in known if span[1] <= line <= span[2]]
        spans[min(around, key=lambda span: span[2] - span[1], default=("", line, line))] = None
    yield from sorted(spans, key=lambda span: span[1])


def _defined(node: ast.AST, around: str) -> Iterator[tuple[str, int, int]]:
    for child in ast.iter_child_nodes(node):
        named = isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        name = f"{around}{getattr(child, 'name', '')}" if named else around
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield name, child.lineno, child.end_lineno or child.lineno
        yield from _defined(child, f"{name}." if named else around)


def _table(lines: Sequence[Line], sources: Sequence[str]) -> Table:
    several = len(sources) > 1
    columns = (
        Column("line", right=True),
        Column("code", shorten=1, prose=True),
        *(Column(f"field in {name}" if several else "field", right=True) for name in sources),
        Column("params", right=True, drop=3),
        Column("multiply-adds", right=True, drop=4),
    )
    return Table(columns, tuple(_row(line, sources) for line in lines))


def _row(line: Line, sources: Sequence[str]) -> tuple[str, ...]:
    if not line.ops:
        return (str(line.number), line.code, *("" for _ in sources), "", "")
    fields = [_ends(line.sizes(name)) for name in sources]
    return (str(line.number), line.code, *fields, text.count(line.params), text.count(line.macs))


def _ends(sizes: Sequence[str]) -> str:
    return text.NOTHING if not sizes else sizes[0] if len(sizes) == 1 else f"{sizes[0]} .. {sizes[-1]}"


def _record(row: Mapping[str, Any]) -> dict[str, Any]:
    sizes = {name: ";".join("x".join(map(str, size)) for size in found) for name, found in row["sizes"].items()}
    several = len(sizes) > 1
    return {
        **{key: row[key] for key in ("file", "line", "code")},
        "layers": ";".join(row["layers"]),
        **{key: row[key] for key in ("params", "macs", "flops")},
        **{f"{name}.size" if several else "size": value for name, value in sizes.items()},
    }
