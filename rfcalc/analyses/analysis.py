"""`Analysis`: everything rfcalc knows of one model on one input, by layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from rfcalc.analyses import cost, naming
from rfcalc.analyses.needs.asked import needed, position_axes
from rfcalc.analyses.receptive_field import Source, SourceFields, affected, analyse_sources, hull, regions, unit_region
from rfcalc.analyses.results import Layer, Layers, Patch, ReceptiveField, Shown, Totals
from rfcalc.analyses.shares import ModuleBytes, Shares, bytes_of
from rfcalc.analyses.unread import unread
from rfcalc.errors import UsageError
from rfcalc.graph import InputInfo, LayerGraph, Node, Ref
from rfcalc.uncollected import uncollected

if TYPE_CHECKING:
    import networkx as nx

    from rfcalc.analyses.costs.parts import Tokens
    from rfcalc.analyses.costs.scans import Scan

SCHEMA = "rfcalc/1"


@dataclass(frozen=True, eq=False)
class Analysis(Shown):
    """Costs and receptive fields of one model on one input.

    ``layers`` are the numbered rows of the table, with the ops that fold into them summed in; ``ops`` gives every op a
    row of its own. ``of`` is the layer that fields are measured in, None for the inputs.

    It prints as the table, and is a sequence of its numbered layers: ``len`` counts them, iteration goes through them,
    ``analysis["conv1_2"]`` and ``analysis[3]`` are layers by name and by number, ``analysis[3:6]`` those with the
    numbers 3, 4 and 5, ``analysis[-1]`` the last one. A string is a name first: ``analysis["5"]`` is the layer called
    5 where there is one.
    """

    layer_graph: LayerGraph
    of: str | None = None
    memory: Shares | None = None  #: what `rfcalc.memory` said of the same call

    @property
    def graph(self) -> nx.DiGraph[int]:
        """The layer graph, for networkx's algorithms."""
        return self.layer_graph.digraph

    @property
    def model(self) -> str:
        """The model's name."""
        name: str = self.layer_graph.model
        return name

    @property
    def inputs(self) -> tuple[InputInfo, ...]:
        """The model's inputs, with the axes along which fields are measured."""
        found: tuple[InputInfo, ...] = self.layer_graph.inputs
        return found

    @property
    def sources(self) -> tuple[Source, ...]:
        """The tensors that fields are measured in: the inputs, or the layer ``of``."""
        return self._sources

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user should know about how the model was traced."""
        return tuple(self.layer_graph.meta.get("notices", ()))

    @cached_property
    def unread(self) -> Mapping[str, Mapping[str, int]]:
        """Positions at the end of each input that no output reads, {input: {axis: count}}, only where there are any."""
        return unread(self.layer_graph, self._in_inputs._sources)

    @cached_property
    def totals(self) -> Totals:
        """Sums over the whole model."""
        return cost.totals(self.layer_graph, self._beyond)

    @cached_property
    def layers(self) -> Layers:
        """The numbered layers in execution order; layer 1 is the input."""
        rows: dict[int, list[Node]] = defaultdict(list)
        with uncollected():
            for record in self._records:
                rows[record.owner].append(record)
            return Layers([self.row(self.layer_graph[owner], rows[owner]) for owner in sorted(rows) if owner >= 0])

    @cached_property
    def ops(self) -> Layers:
        """Every op as a row of its own."""
        with uncollected():
            return Layers([self.single(record) for record in self._records])

    @cached_property
    def outputs(self) -> Layers:
        """What the model gives back where that is no layer's output: a row for each final crop, flip or reshape."""
        free = [record for record in naming.beside_layers(self) if record.macs == 0 and not record.flops]
        return Layers([replace(self.single(record), kind="output") for record in free])

    def modules(self, depth: int = 1) -> Layers:
        """One row for each module, or layer, with a name of ``depth`` parts or fewer; deeper ones are summed up in it.

        Raises `UsageError` for a depth below 1.
        """
        from rfcalc.analyses.rollup import rolled_up

        if depth < 1:
            raise UsageError(f"modules to a depth of {depth}: names have at least 1 part")
        return rolled_up(self, depth)

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __contains__(self, key: object) -> bool:
        if isinstance(key, Layer):
            return key in self.layers or key in self.ops
        if isinstance(key, str):
            return any(record.name == key for record in self._records) or bool(naming.idle(self, key))
        return isinstance(key, int) and 1 <= key <= len(self.layers)

    @overload
    def __getitem__(self, key: str | int) -> Layer: ...
    @overload
    def __getitem__(self, key: slice) -> Layers: ...
    def __getitem__(self, key: str | int | slice) -> Layer | Layers:
        """A layer by its number or its name (of any op), or those of a slice of numbers.

        Raises KeyError with the nearest names, IndexError for a number that there is not.
        """
        if isinstance(key, slice):
            return self._between(key)
        if isinstance(key, int):
            number = key + len(self.layers) + 1 if key < 0 else key
            if not 1 <= number <= len(self.layers):
                raise IndexError(f"there is no layer {key}: {self._numbers()}")
            return self.layers[number - 1]
        try:
            found = self.select(key)
        except UsageError as error:
            raise KeyError(str(error)) from None
        if len(found) > 1:
            raise KeyError(f"{key!r} names {len(found)} layers: {', '.join(layer.name for layer in found)}")
        return found[0]

    def select(self, key: str | int) -> Layers:
        """The layers meant by a number, a name, a module's name (its last op) or a glob over names.

        A string is a name first, and the number that it writes only where nothing is called so. Raises `UsageError`
        naming the range of numbers or the nearest names.
        """
        if isinstance(key, int):
            return Layers([self._numbered(key)])
        if key.isdecimal() and key not in self._called:
            return Layers([self._numbered(int(key))])
        idle = naming.idle(self, key)
        return Layers(idle or [self._row_of(ident) for ident in naming.idents(self, key)])

    def to_dataframe(self, layers: Sequence[Layer] | None = None) -> Any:
        """A `pandas.DataFrame` with the columns of the CSV output, a row for each numbered layer or each one given.

        Raises `UsageError` where pandas is not installed.
        """
        from rfcalc.report.records import dataframe, layer_records

        return dataframe(layer_records(self.layers if layers is None else layers))

    def receptive_field(
        self,
        layer: str | int,
        *,
        of: str | int | None = None,
        at: Sequence[int] | None = None,
        source: str | None = None,
    ) -> ReceptiveField:
        """The field of a layer in the input, or in an earlier layer ``of``; ``at`` adds the region of one position.

        With several inputs, ``source`` names one. Raises `UsageError` for names and positions that do not exist.
        """
        chosen = self if of is None else self.relative_to(of)
        found = chosen.select(layer)[-1]
        if at is not None:
            (found,) = chosen.with_region((found,), at)
        return found.receptive_fields[chosen._source(source).name]

    def relative_to(self, of: str | int) -> Analysis:
        """The same analysis with fields measured in an earlier layer instead of the inputs."""
        found = self.select(of)
        if len(found) > 1:
            raise UsageError(f"--of {of!r} names {len(found)} layers, it must name one: {_listed(found)}")
        return Analysis(self.layer_graph, found[0].name, self.memory)

    def with_memory(self, modules: Iterable[ModuleBytes]) -> Analysis:
        """The same analysis with bytes: ``analysis.with_memory(rfcalc.memory(model, training=True).layers)``."""
        return replace(self, memory=Shares(self.layer_graph, modules))

    def bytes_of(self, layer: Layer, name: str) -> int | None:
        """One of ``made_bytes``, ``saved_bytes``, ``moved_bytes``, ``alive_bytes`` of a row, after `with_memory`."""
        return bytes_of(self, layer, name)

    def position_axes(self, layer: Layer, source: str | None = None) -> tuple[int, ...]:
        """The axes of a layer's output that a position of it, as in ``at``, counts along."""
        name = self._source(source).name
        fields = self._fields_for(self.layer_graph[layer.node])
        own = next(item for item in fields if item.source.name == name)
        return position_axes(own, layer.face, layer.output_shape)

    def regions(self, layer: str | int, *, source: str | None = None) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """For each axis of the source, arrays (first, last) that broadcast to the layer's output shape.

        A unit that sees nothing has first > last.
        """
        ident = self.select(layer)[-1].face
        chosen = self._source(source)
        return tuple(regions(self.layer_graph, chosen, ident).values())

    def with_region(self, layers: Sequence[Layer], at: Sequence[int]) -> tuple[Layer, ...]:
        """The layers with the region of the unit at one position. Raises `UsageError` for a position outside."""
        return tuple(self._at(layer, tuple(at)) for layer in layers)

    def affects(
        self, layer: str | int, at: Sequence[int], *, source: str | None = None
    ) -> tuple[tuple[int, int] | None, ...]:
        """The projective field: the positions of a layer that the source's pixel ``at`` can change.

        (first, last) along each axis of the layer that a position counts along, None where the pixel changes nothing.
        """
        chosen = self._source(source)
        found = self.with_affects(self.select(layer)[-1:], at, source=chosen.name)[0]
        return found.receptive_fields[chosen.name].affects or ()

    def with_affects(
        self, layers: Sequence[Layer], at: Sequence[int], *, source: str | None = None
    ) -> tuple[Layer, ...]:
        """The layers with the positions that one pixel of the source can change.

        Raises `UsageError` for a pixel outside the source.
        """
        changed = {layer.node: dict(layer.receptive_fields) for layer in layers}
        for item in self._sources if source is None else (self._source(source),):
            self._check_pixel(item, at)
            hits = affected(self.layer_graph, item, at)
            for layer in layers:
                fields = self._fields_for(self.layer_graph[layer.node])
                own = next(one for one in fields if one.source.name == item.name)
                region = self._hulls(own, layer, hits.get(layer.face))
                changed[layer.node][item.name] = replace(changed[layer.node][item.name], affects=region)
        return tuple(replace(layer, receptive_fields=changed[layer.node]) for layer in layers)

    def with_reads(self, layers: Sequence[Layer]) -> tuple[Layer, ...]:
        """The layers with the patch of every earlier numbered layer that one of their interior units uses."""
        return tuple(replace(layer, reads=self._needs(layer)) for layer in layers)

    def needs(self, layer: str | int, box: Sequence[int | tuple[int, int]] | None = None) -> tuple[Patch, ...]:
        """What a layer's units use of every numbered layer before it, the last one first, in one walk back.

        Without ``box``, what one unit uses at most, and which units do (`Extent`). ``box`` is a position or a range
        (first, last) for each axis of the layer's output along which its units lie in different places; then
        `Patch.region` is what they use together, cut at the borders. Raises `UsageError` for what does not exist.
        """
        return self._needs(self.select(str(layer))[-1], box)

    def _needs(self, layer: Layer, box: Sequence[int | tuple[int, int]] | None = None) -> tuple[Patch, ...]:
        fields = self._in_inputs._fields_for(self.layer_graph[layer.node])
        with uncollected():
            return needed(self.layer_graph, layer.node, fields, self._axes_of, box)

    @cached_property
    def scans(self) -> tuple[Scan, ...]:
        """Scans over a sequence: what they cost as they are written, and as the recurrence that they stand for."""
        from rfcalc.analyses.costs.scans import scans

        return scans(self.layer_graph)

    def per_token(self, tokens: int | None = None) -> Tokens:
        """What one token costs, by part, and the parameters that it meets; see `rfcalc.analyses.costs.parts`.

        ``tokens`` is how many a pass has; without, as many as there are token ids. Raises `UsageError` without any.
        """
        from rfcalc.analyses.costs.parts import per_token

        return per_token(self.layer_graph, tokens)

    def to_dict(self, layers: Sequence[Layer] | None = None) -> dict[str, Any]:
        """The JSON document of the analysis, with all numbered layers or the given ones."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "inputs": [
                {"name": item.name, "shape": list(item.shape), "dtype": item.dtype, "axes": dict(item.axes)}
                for item in self.inputs
            ],
            "totals": self.totals.to_dict(),
            "layers": [layer.to_dict() for layer in (self.layers if layers is None else layers)],
            **({"unread": {name: dict(axes) for name, axes in self.unread.items()}} if self.unread else {}),
            **({"scans": [scan.to_dict() for scan in self.scans]} if self.scans else {}),
        }

    def __repr__(self) -> str:
        shapes = ", ".join(f"{item.name} {'x'.join(map(str, item.shape))}" for item in self.inputs)
        return (
            f"<Analysis of {self.model} on {shapes}: {len(self.layers)} layers, {self.totals.params:,} parameters,"
            f" {self.totals.macs:,} multiply-adds ({self.totals.status})>"
        )

    def row(self, main: Node, records: Sequence[Node], face: Node | None = None) -> Layer:
        """A row of several ops under the name of one: with its output, that of the given op, or that its module gives.

        For those who make rows of their own, as of whole modules.
        """
        price = cost.row_cost(records, self._owned, self._beyond)
        fields = self._fields_for(main)
        if face is None:
            face = main if main.face is None else self.layer_graph[main.face]
        return Layer(
            index=main.index,
            name=main.name,
            kind=main.kind,
            op=main.op,
            module=main.module,
            inputs=self._input_names(main),
            output_shape=face.shape,
            params=price.params,
            trainable_params=price.trainable,
            macs=price.macs,
            flops=price.flops,
            flops_by=price.flops_by,
            formula=main.formula,
            attrs=main.attrs,
            receptive_fields={item.source.name: item.field(face.id) for item in fields},
            notes=main.notes,
            folded=tuple([record.name for record in records if record is not main]),
            node=main.id,
            face=face.id,
            closed_macs=price.closed,
            unknown_mask=price.unknown_mask,
            backward=price.backward,
        )

    @cached_property
    def layers_by_node(self) -> Mapping[int, Layer]:
        """The numbered layers by their nodes."""
        return {layer.node: layer for layer in self.layers}

    def records_of(self, layer: Layer) -> list[Node]:
        """The ops whose parameters and costs are in a row, those of a module too."""
        names = {layer.name, *layer.folded}
        return [record for record in self._records if record.id == layer.node or record.name in names]

    # --- inside -------------------------------------------------------------------------------------------------------

    @cached_property
    def _in_inputs(self) -> Analysis:
        return self if self.of is None else Analysis(self.layer_graph)

    @cached_property
    def _records(self) -> list[Node]:
        return list(self.layer_graph)

    @cached_property
    def _owned(self) -> dict[int, list[Any]]:
        return cost.owned_params(self.layer_graph)

    @cached_property
    def _beyond(self) -> cost.Beyond:
        return cost.beyond(self.layer_graph)

    @cached_property
    def _sources(self) -> tuple[Source, ...]:
        if self.of is None:
            return tuple(Source(item.name, Ref(item.node), item.axes) for item in self.inputs)
        ident = next(record.id for record in self._records if record.name == self.of)
        return (Source(self.of, Ref(ident), self._axes_of(ident)),)

    def _source(self, name: str | None) -> Source:
        if name is None and len(self._sources) == 1:
            return self._sources[0]
        for item in self._sources:
            if item.name == name:
                return item
        wrong = f"{self.model} has several inputs" if name is None else f"there is no source {name!r}"
        raise UsageError(f"{wrong}: ask one of {', '.join(item.name for item in self._sources)}")

    @cached_property
    def _fields(self) -> tuple[SourceFields, ...]:
        faces = {record.face for record in self._records}
        return analyse_sources(
            self.layer_graph, self._sources, lambda record: _is_numbered(record) or record.id in faces
        )

    @cached_property
    def _all_fields(self) -> tuple[SourceFields, ...]:
        return analyse_sources(self.layer_graph, self._sources, lambda record: True)

    def _axes_of(self, ident: int) -> dict[str, int]:
        """The axes of an inner tensor that move with the axes of the input; by its rank where they are not known."""
        for item in self._in_inputs._fields_for(self.layer_graph[ident]):
            found = item.tensor_axes(ident)
            if found:
                return found
        rank = len(self.layer_graph[ident].shape)
        names = {3: ("L",), 4: ("H", "W"), 5: ("D", "H", "W")}.get(rank, ())
        return {name: rank - len(names) + at for at, name in enumerate(names)}

    def single(self, record: Node) -> Layer:
        """One op as a row of its own."""
        return self.row(record, [record], record)

    def _fields_for(self, record: Node) -> tuple[SourceFields, ...]:
        return self._fields if _is_numbered(record) else self._all_fields

    def _input_names(self, main: Node) -> tuple[str, ...]:
        records = self.layer_graph.records
        found = [records[ref.node] for ref in main.inputs]
        if main.index is not None:
            found = [records[record.owner] for record in found if record.owner >= 0]
        return tuple(dict.fromkeys([record.name for record in found if record is not main]))

    def _row_of(self, ident: int) -> Layer:
        record = self.layer_graph[ident]
        return self.layers_by_node[ident] if ident in self.layers_by_node else self.single(record)

    def _numbered(self, number: int) -> Layer:
        if not 1 <= number <= len(self.layers):
            raise UsageError(f"there is no layer {number}: {self._numbers()}")
        return self.layers[number - 1]

    def _numbers(self) -> str:
        return f"{self.model} has layers 1 (the input) to {len(self.layers)}"

    @cached_property
    def _called(self) -> frozenset[str]:
        """The names of all ops and modules."""
        modules = [call.module for call in self.layer_graph.calls]
        return frozenset([*(record.name for record in self._records), *modules])

    def _between(self, key: slice) -> Layers:
        """The layers from one number on and before another, as of a sequence that begins with 1."""
        if key.start == 0 or key.stop == 0:
            raise IndexError(f"layers are numbered from 1: {self._numbers()}")
        numbers = range(1, len(self.layers) + 1)
        start, stop = (end - 1 if end is not None and end > 0 else end for end in (key.start, key.stop))
        return Layers([self.layers[number - 1] for number in numbers[start : stop : key.step]])

    def _at(self, layer: Layer, at: tuple[int, ...]) -> Layer:
        changed = {}
        for item in self._fields_for(self.layer_graph[layer.node]):
            axes = position_axes(item, layer.face, layer.output_shape)
            if len(at) != len(axes):
                shape = "x".join(map(str, layer.output_shape))
                raise UsageError(
                    f"--at needs {len(axes)} numbers for layer {layer.name} (output {shape}), got {len(at)}"
                )
            for axis, position in zip(axes, at, strict=True):
                if not 0 <= position < layer.output_shape[axis]:
                    raise UsageError(
                        f"--at {','.join(map(str, at))} is outside layer {layer.name}: "
                        f"positions run from 0 to {layer.output_shape[axis] - 1} along axis {axis}"
                    )
            place = dict(zip(axes, at, strict=True))
            arrays = regions(self.layer_graph, item.source, layer.face)
            region = tuple(unit_region(lo, hi, place) for lo, hi in arrays.values())
            changed[item.source.name] = replace(layer.receptive_fields[item.source.name], region=region)
        return replace(layer, receptive_fields=changed)

    def _check_pixel(self, source: Source, at: Sequence[int]) -> None:
        shape = self.layer_graph[source.ref.node].outputs[source.ref.output].shape
        extents = {name: shape[axis] for name, axis in source.axes.items()}
        if len(at) != len(extents):
            raise UsageError(f"--affects needs {len(extents)} numbers for {source.name}, got {len(at)}")
        for position, (name, extent) in zip(at, extents.items(), strict=True):
            if not 0 <= position < extent:
                raise UsageError(
                    f"--affects {','.join(map(str, at))} is outside {source.name}: {name} runs from 0 to {extent - 1}"
                )

    def _hulls(self, item: SourceFields, layer: Layer, hit: np.ndarray | None) -> tuple[tuple[int, int] | None, ...]:
        axes = position_axes(item, layer.face, layer.output_shape)
        if hit is None:
            return (None,) * len(axes)
        return tuple(hull(hit, axis, layer.output_shape[axis]) for axis in axes)


def _is_numbered(record: Node) -> bool:
    return record.index is not None


def _listed(layers: Sequence[Layer], most: int = 5) -> str:
    names = [layer.name for layer in layers[:most]]
    return ", ".join(names) + (" ..." if len(layers) > most else "")
