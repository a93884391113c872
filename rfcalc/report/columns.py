"""The columns that a table of layers can have, by the names of the JSON output: one registry for all who add some.

A column of another subject is one `register` call in its own file, imported in `rfcalc.report.layers`.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias

from rfcalc.analyses.results import Layer, ReceptiveField, plain
from rfcalc.errors import UsageError
from rfcalc.graph import ELEMENT_BYTES
from rfcalc.report import text
from rfcalc.report.document import Column

if TYPE_CHECKING:
    from rfcalc.analyses.analysis import Analysis

#: What a column says of a layer; the analysis is None where only layers are known.
Value: TypeAlias = "Callable[[Analysis | None, Layer], Any]"


@dataclass(frozen=True)
class LayerColumn:
    """A column of the table of layers.

    ``value`` gives what `Column.show` takes; of a column ``of_field``, from a receptive field, one column for each
    source. ``aliases`` are other words for its name. ``helps`` says in a few words what it is.
    """

    name: str
    column: Column
    helps: str
    value: Value | None = None
    of_field: Callable[[ReceptiveField | None], Any] | None = None
    aliases: tuple[str, ...] = ()


#: All columns by name, in the order in which help lists them.
COLUMNS: dict[str, LayerColumn] = {}
#: Those that a table has unless others are asked for.
DEFAULT = ("index", "name", "kind", "output_shape", "size", "stride", "start", "params", "macs", "share")
#: Those of the default ones that matter only where an answer was asked for.
ASKED = ("region", "affects")


def register(found: LayerColumn) -> LayerColumn:
    """Add a column. Raises `ValueError` for a name or an alias that is taken."""
    taken = {word for other in COLUMNS.values() for word in (other.name, *other.aliases)}
    for word in (found.name, *found.aliases):
        if word in taken:
            raise ValueError(f"there is a column {word!r} already")
    COLUMNS[found.name] = found
    return found


def named(word: str) -> LayerColumn:
    """A column by its name, the title that it has in tables, or another word for it. Raises `UsageError`."""
    wanted = word.strip().lower()
    for found in COLUMNS.values():
        if wanted in (found.name, found.column.title.lower(), *found.aliases):
            return found
    words = [*COLUMNS, *(alias for found in COLUMNS.values() for alias in found.aliases)]
    near = difflib.get_close_matches(wanted, words, 1, 0)
    raise UsageError(f"there is no column {word.strip()!r}; nearest: {near[0]}; all: {', '.join(COLUMNS)}")


def value_of(found: LayerColumn, analysis: Analysis | None, layer: Layer, source: str | None = None) -> Any:
    """What a column says of a layer, in its only source or in the one named."""
    if found.value is not None:
        return found.value(analysis, layer)
    assert found.of_field is not None
    name = next(iter(layer.receptive_fields), None) if source is None else source
    return found.of_field(layer.receptive_fields.get(name or ""))


def record_of(names: Sequence[str], analysis: Analysis | None, layer: Layer, full: Mapping[str, Any]) -> dict[str, Any]:
    """The chosen columns of a layer's record in CSV; what has columns of its own for each axis keeps all of them."""
    row: dict[str, Any] = {}
    for name in names:
        same = [key for key in full if _is_part(key, name)]
        if same:
            row.update({key: full[key] for key in same})
        else:
            row[name] = _exact(value_of(COLUMNS[name], analysis, layer))
    return row


def _is_part(key: str, name: str) -> bool:
    """Whether a key of a record is the column, or what it is along an axis: ``size_H``, ``reach_before_H``."""
    own = key.rpartition(".")[2]
    along = re.fullmatch(rf"{name}_(?:(?:before|after|first|last)_)?[^_]+", own)
    return own == name or (COLUMNS[name].of_field is not None and along is not None)


def _exact(value: Any) -> Any:
    if isinstance(value, Fraction):
        return float(value)
    found = plain(value)
    if isinstance(found, list):
        return ";".join(map(str, found))
    return text.attributes(found) if isinstance(found, Mapping) else found


# --- the columns ------------------------------------------------------------------------------------------------------


def _add(
    name: str, title: str, helps: str, value: Value, show: Callable[[Any], str] = str, *aliases: str, **look: Any
) -> None:
    register(LayerColumn(name, Column(title, show, **look), helps, value=value, aliases=aliases))


def _add_field(
    name: str, title: str, helps: str, show: Callable[[ReceptiveField | None], str], *aliases: str, **look: Any
) -> None:
    column = Column(title, show, right=True, **look)
    register(LayerColumn(name, column, helps, of_field=lambda field: field, aliases=aliases))


def _part(layer: Layer, count: int | None, total: int) -> Fraction | None:
    return None if count is None or total == 0 else Fraction(count, total)


def _macs_share(analysis: Analysis | None, layer: Layer) -> Fraction | None:
    return None if analysis is None else _part(layer, layer.macs, analysis.totals.macs)


def _params_share(analysis: Analysis | None, layer: Layer) -> Fraction | None:
    return None if analysis is None else _part(layer, layer.params, analysis.totals.params)


def _bytes(analysis: Analysis | None, layer: Layer) -> int | None:
    if analysis is None:
        return None
    own = {record.id for record in analysis.records_of(layer)}
    params = analysis.layer_graph.params
    return sum(param.nbytes for param in params if param.owner in own and not param.shared_with)


def _activations(analysis: Analysis | None, layer: Layer) -> int:
    """Elements of the outputs of all numbered layers in the row, of its own output where there is none."""
    if analysis is None or layer.index is not None:
        return math.prod(layer.output_shape)
    inside = [record for record in analysis.records_of(layer) if record.index is not None]
    return sum(math.prod(record.shape) for record in inside) or math.prod(layer.output_shape)


def _activation_bytes(analysis: Analysis | None, layer: Layer) -> int | None:
    if analysis is None:
        return None
    dtype = analysis.layer_graph[layer.face].outputs[0].dtype
    return _activations(analysis, layer) * ELEMENT_BYTES[dtype] if dtype in ELEMENT_BYTES else None


def _inputs_of(analysis: Analysis | None, layer: Layer) -> tuple[tuple[int, ...], ...]:
    if analysis is None:
        return ()
    graph = analysis.layer_graph
    refs = analysis.records_of(layer)[0].inputs
    return tuple(dict.fromkeys(graph[ref.node].outputs[ref.output].shape for ref in refs))


def _place(analysis: Analysis | None, layer: Layer) -> str:
    place = None if analysis is None else analysis.layer_graph[layer.node].place
    return "" if place is None else f"{place.file}:{place.line}"


def _known(count: int | None) -> str:
    """Bytes; nothing for a row in which no module begins."""
    return text.NOTHING if count is None else text.count(count)


def _index(index: int | None) -> str:
    return "" if index is None else str(index)


def _megabytes(count: int | None) -> str:
    """Bytes in millions, two decimals."""
    if count is None:
        return text.UNKNOWN
    hundredths = round(Fraction(count, 10**4))
    return f"{hundredths // 100:,}.{hundredths % 100:02d}"


def _crosses(shapes: Iterable[Sequence[int]]) -> str:
    return ", ".join(map(text.cross, shapes)) or text.NOTHING


def _status(field: ReceptiveField | None) -> str:
    return text.NOTHING if field is None else field.status.replace("_", " ")


def _reach(field: ReceptiveField | None) -> str:
    return text.NOTHING if field is None or field.reach is None else text.reach(field)


_add("index", "#", "number in execution order; 1 is the input", lambda a, x: x.index, _index, "number", right=True)
_add("name", "layer", "name of the layer", lambda a, x: x.name, shorten=4)
_add("kind", "kind", "what it is: conv, pool, linear, ...", lambda a, x: x.kind, drop=3)
_add("module", "module", "class of its module", lambda a, x: x.module or text.NOTHING, str, "class", drop=3)
_add("op", "op", "op of the dispatcher", lambda a, x: x.op or text.NOTHING, drop=3)
_add("settings", "settings", "kernel, stride of the kernel, padding, ...", lambda a, x: x.attrs, text.attributes,
     "kernel", "kernel_size", "groups", "attrs", drop=3, shorten=3, prose=True)  # fmt: skip
_add("inputs", "reads", "layers that it reads", lambda a, x: ", ".join(x.inputs) or text.NOTHING, shorten=3)
_add("input_shape", "input", "shapes of what it reads", _inputs_of, _crosses, "input_size", drop=6)
_add("output_shape", "output", "shape of its output", lambda a, x: x.output_shape, text.cross, "output_size", drop=6)
_add_field("size", "field", "receptive field: what a unit sees of the input", text.size, "receptive_field")
_add_field("stride", "stride", "the field's jump from unit to unit, not a kernel's", text.stride, "jump", drop=5)
_add_field("start", "start", "the field's offset: the first index that unit 0 reads", text.start, "offset", drop=1)
_add_field(
    "center",
    "center",
    "middle of what unit 0 reads",
    lambda f: text.comma(None if f is None else f.center),
    "centre",
    drop=1,
)
_add_field("reach", "reach", "indices seen before and after a unit's place", _reach, drop=2)
_add_field(
    "samples",
    "samples",
    "indices within the field that are read",
    lambda f: text.cross(None if f is None else f.samples),
)
_add_field(
    "local_size",
    "local",
    "field without what sees a whole axis",
    lambda f: text.cross(None if f is None else f.local_size),
)
_add_field("status", "status", "exact, or upper bound", _status)
_add_field("region", "region", "what the unit asked for by --at sees", text.region)
_add_field("affects", "affected", "what the pixel asked for by --affects can change", text.affects)
_add("params", "params", "parameters", lambda a, x: x.params, text.count, "num_params", "parameters",
     right=True, drop=7)  # fmt: skip
_add("trainable_params", "trainable", "parameters that a gradient is taken of", lambda a, x: x.trainable_params,
     text.count, right=True, drop=4)  # fmt: skip
_add("params_share", "of params", "share of the model's parameters", _params_share, text.share, "params_percent",
     right=True, drop=2)  # fmt: skip
_add("param_bytes", "bytes of params", "bytes of its parameters as stored", _bytes, text.count, right=True, drop=2)
_add("param_mb", "MB of params", "the same in 10^6 bytes", _bytes, _megabytes, "mb", right=True, drop=2)
_add("macs", "multiply-adds", "multiply-adds; what others call FLOPs or MACs", lambda a, x: x.macs, text.count,
     "mult_adds", right=True, drop=8)  # fmt: skip
_add("unmasked_macs", "unmasked", "multiply-adds that no mask closes", lambda a, x: x.unmasked_macs, text.count,
     right=True, drop=4)  # fmt: skip
_add("backward_macs", "backward", "multiply-adds of the backward pass", lambda a, x: x.backward_macs, text.count,
     right=True)  # fmt: skip
_add("share", "share", "share of the model's multiply-adds", _macs_share, text.share, "macs_share", right=True, drop=2)
_add("flops", "operations", "FLOPs: 2 for each multiply-add, and all other arithmetic", lambda a, x: x.flops,
     text.count, right=True, drop=3)  # fmt: skip
_add("activations", "activations", "elements of its output", _activations, text.count, right=True, drop=2)
_add("activation_mb", "MB of output", "its output in 10^6 bytes", _activation_bytes, _megabytes, right=True, drop=2)
for _name, _title, _helps in (
    ("made_bytes", "made", "bytes of the storages that its module brings into being"),
    ("saved_bytes", "saved", "bytes that its module keeps for the way back"),
    ("moved_bytes", "moved", "bytes that its module reads and writes"),
    ("alive_bytes", "alive", "most bytes that are alive while its module runs"),
):
    _add(_name, _title, _helps, lambda a, x, name=_name: None if a is None else a.bytes_of(x, name),  # type: ignore[misc]
         _known, right=True, drop=2)  # fmt: skip
_add("formula", "formula", "how its multiply-adds come about", lambda a, x: x.formula or text.NOTHING, drop=2)
_add("folded", "included", "ops whose costs are in the row", lambda a, x: text.listed(x.folded) or text.NOTHING,
     shorten=2, prose=True)  # fmt: skip
_add("place", "code", "line of the model's code that calls it", lambda a, x: _place(a, x) or text.NOTHING, str,
     "line", "source", drop=2, shorten=2)  # fmt: skip
_add("notes", "notes", "what is to be said of it", lambda a, x: "; ".join(x.notes), shorten=2, prose=True)


def table_columns(
    names: Sequence[str], sources: Sequence[str]
) -> list[tuple[Column, Callable[[Analysis | None, Layer], Any]]]:
    """Columns with what they take from a layer; those of fields once for each source, named where there are several."""
    found: list[tuple[Column, Callable[[Analysis | None, Layer], Any]]] = []
    wanted = list(names)
    while wanted:
        chosen = COLUMNS[wanted.pop(0)]
        if chosen.of_field is None:
            found.append((chosen.column, lambda analysis, layer, one=chosen: value_of(one, analysis, layer)))  # type: ignore[misc]
            continue
        group = [chosen]  # columns of fields that follow each other stay together, source by source
        while wanted and COLUMNS[wanted[0]].of_field is not None:
            group.append(COLUMNS[wanted.pop(0)])
        for source in sources:
            for one in group:
                title = f"{one.column.title} in {source}" if len(sources) > 1 else one.column.title
                found.append((replace(one.column, title=title), _in(one, source)))
    return found


def _in(found: LayerColumn, source: str) -> Callable[[Analysis | None, Layer], Any]:
    return lambda analysis, layer: value_of(found, analysis, layer, source)
