"""What one model costs and sees as formulas in its symbols: its family measured, the measurements fitted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from rfcalc.analyses import cost
from rfcalc.analyses.analysis import Analysis
from rfcalc.analyses.costs.parts import PARTS, count_of_ids
from rfcalc.analyses.results import Layer, ReceptiveField
from rfcalc.analyses.summary import Summary, summary
from rfcalc.comparing.family import Family
from rfcalc.comparing.fitting import Fit, Key, Lattice, RefusedError, Sample, Sizes, fit
from rfcalc.comparing.polynomial import Count, require_sympy, simplest
from rfcalc.errors import UsageError
from rfcalc.graph import LayerGraph, Node

TOTALS = ("params", "trainable_params", "param_bytes", "buffers", "macs", "unmasked_macs", "flops")
#: What is told of each part of a model of token ids.
OF_PARTS = ("macs", "unmasked_macs", "backward_macs")
_ESSENTIAL = ("params", "macs")


@dataclass(frozen=True)
class Range:
    """The sizes of a symbol for which formulas were confirmed: from ``least`` to ``largest``, ``rest`` over ``step``.

    ``start`` is the size at which the model was looked at first.
    """

    symbol: str
    meaning: str
    step: int
    rest: int
    least: int
    largest: int
    start: int

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON output."""
        return dict(vars(self))


@dataclass(frozen=True)
class Irregular:
    """A count that is no polynomial: what it was at which sizes, and the layers that are at fault, if known."""

    count: str
    values: tuple[tuple[Sizes, int], ...]
    layers: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON output."""
        values = [{"sizes": dict(sizes), "value": value} for sizes, value in self.values]
        return {"count": self.count, "values": values, "layers": list(self.layers)}


@dataclass(frozen=True)
class Formulas:
    """A model at the start of its symbols, and everything that follows for other sizes.

    ``fit`` has polynomials for the totals by name, for the extents of inputs by ("input", name, axis), and for each
    layer by ("layer", name, "params" or "macs"); where token ids come in, for each part that has multiply-adds by
    ("part", name, "macs", "unmasked_macs" or "backward_macs"), and ("training", "macs") for forward and backward.
    """

    model: str
    analysis: Analysis
    ranges: tuple[Range, ...]
    fit: Fit

    @cached_property
    def base(self) -> Summary:
        """The few numbers of the model at the start."""
        return summary(self.analysis)

    @property
    def irregular(self) -> tuple[Irregular, ...]:
        """The totals that are no polynomials."""
        at_fault = {
            name: tuple(key[1] for key in self.fit.irregular if isinstance(key, tuple) and key[::2] == ("layer", name))
            for name in TOTALS
        }
        found = [name for name in TOTALS if name in self.fit.irregular]
        if "macs" in found and self.fit.irregular.get("unmasked_macs") == self.fit.irregular["macs"]:
            found.remove("unmasked_macs")  # the same where no mask closes anything
        return tuple(Irregular(name, self.fit.irregular[name], at_fault[name]) for name in found)

    @property
    def varying(self) -> tuple[str, ...]:
        """What is not the same at all sizes: of "layers", "depth", "windows" and "whole_from"."""
        return tuple(name for name in ("layers", "depth", "windows", "whole_from") if name not in self.fit.facts)

    def count(self, key: Key) -> Count:
        """A formula, or the number that it is; None where there is none."""
        found = self.fit.polynomials.get(key)
        return None if found is None else simplest(found)

    def layer_count(self, layer: Layer, what: str) -> Count:
        """The formula of a layer's ``params`` or ``macs``."""
        return self.count(("layer", layer.name, what))

    @property
    def by_part(self) -> dict[str, tuple[Count, ...]]:
        """The multiply-adds of each part of a model of token ids that has any, by `OF_PARTS`."""
        found = {part: tuple(self.count(("part", part, what)) for what in OF_PARTS) for part in PARTS}
        return {part: counts for part, counts in found.items() if any(counts)}

    @property
    def inputs(self) -> dict[str, tuple[Count, ...]]:
        """The shapes of the inputs."""
        return {
            name: tuple(self.count(("input", name, axis)) for axis in range(len(shape)))
            for name, shape in self.base.inputs.items()
        }

    @property
    def spatial(self) -> Layer | None:
        """The last spatial layer with its fields, if they are the same at all sizes."""
        layer = self.base.spatial
        if layer is None or "windows" not in self.fit.facts:
            return None
        whole = "whole" in self.fit.facts
        fields = {
            name: replace(item, whole_input=item.whole_input and whole) for name, item in layer.receptive_fields.items()
        }
        return replace(layer, receptive_fields=fields)


def formulas(family: Family) -> Formulas:
    """Trace a model at several sizes. Raises `UsageError` for a size that cannot change."""
    require_sympy()
    bases: list[Analysis] = []

    def measure(sizes: Sizes) -> Sample:
        analysis = family.at(sizes)
        if not bases:
            bases.append(analysis)
        return sample(analysis)

    try:
        found = fit(measure, family.guesses, _ESSENTIAL)
    except RefusedError as error:
        raise refused(family, bases[0].model, error) from error
    name = family.spec if isinstance(family.spec, str) else bases[0].model
    return Formulas(name, bases[0], ranges(family, found), found)


def ranges(family: Family, found: Fit) -> tuple[Range, ...]:
    """The sizes of each symbol for which formulas were confirmed."""
    meanings = {symbol.name: symbol.meaning for symbol in family.symbols}
    return tuple(_range(item, meanings[item.symbol], found) for item in found.lattices)


def sample(analysis: Analysis) -> Sample:
    """The counts of an analysis that may be formulas, and what should be the same at all sizes."""
    totals = {name: getattr(analysis.totals, name) for name in TOTALS}
    counts: dict[Key, int] = {name: count for name, count in totals.items() if count is not None}
    for item in analysis.inputs:
        counts.update({("input", item.name, axis): extent for axis, extent in enumerate(item.shape)})
    for owner, price in _row_costs(analysis.layer_graph):
        counts["layer", owner.name, "params"] = price.params
        if price.macs is not None:
            counts["layer", owner.name, "macs"] = price.macs
    if count_of_ids(analysis.layer_graph):
        tokens = analysis.per_token()
        for part in tokens.parts:
            numbers = zip(OF_PARTS, (part.macs, part.unmasked, part.backward), strict=True)
            counts.update({("part", part.name, what): number for what, number in numbers if number is not None})
        if tokens.backward is not None:
            counts["training", "macs"] = tokens.macs + tokens.backward
    return Sample(counts, lambda: _facts(analysis))


def _row_costs(graph: LayerGraph) -> Iterator[tuple[Node, cost.RowCost]]:
    """What each numbered layer costs, without looking at what it sees."""
    owned, more = cost.owned_params(graph), cost.beyond(graph)
    rows: dict[int, list[Node]] = defaultdict(list)
    for record in graph:
        rows[record.owner].append(record)
    return ((graph[owner], cost.row_cost(row, owned, more)) for owner, row in rows.items() if owner >= 0)


def _facts(analysis: Analysis) -> dict[Key, Hashable]:
    short = summary(analysis)
    fields = {} if short.spatial is None else short.spatial.receptive_fields
    return {
        "layers": tuple(layer.name for layer in analysis.layers),
        "depth": short.depth,
        "windows": (_place(short.spatial), tuple(_window(field) for field in fields.values())),
        "whole": tuple(field.whole_input for field in fields.values()),
        "whole_from": _place(short.whole),
    }


def _place(layer: Layer | None) -> tuple[int | None, str] | None:
    return None if layer is None else (layer.index, layer.name)


def _window(field: ReceptiveField) -> Hashable:
    """What a field is, whatever the size of the input: the span of a field without window follows that size."""
    if field.stride is None:
        local = field.local_size if field.context else None
        return field.source, field.axes, field.status, field.whole_input, local
    return field.source, field.axes, field.status, field.size, field.size_min, field.stride, field.start


def _range(lattice: Lattice, meaning: str, found: Fit) -> Range:
    seen = [sizes[lattice.symbol] for sizes in (*found.fitted, *found.confirmed)]
    step = abs(lattice.step)
    least = found.least[lattice.symbol]
    return Range(lattice.symbol, meaning, step, lattice.start % step, least, max(seen), lattice.start)


def refused(family: Family, model: str, error: RefusedError) -> UsageError:
    """What to say where sizes cannot change."""
    meanings: Mapping[str, str] = {symbol.name: symbol.meaning for symbol in family.symbols}
    starts = {symbol.name: symbol.guess.start for symbol in family.symbols}
    if not error.symbol:
        sizes = ", ".join(f"{name} = {start}" for name, start in starts.items())
        return UsageError(f"{model} accepts other sizes than {sizes} one by one, not together: {error.cause}")
    name, start = error.symbol, starts[error.symbol]
    return UsageError(
        f"{model} runs with {name} ({meanings[name]}) = {start} only: {error.cause}; if its constructor takes the"
        f" size, make that a symbol, 'MODEL(argument=S)' --symbolic S={start}; if two sizes must agree, --input 3xSxS"
    )
