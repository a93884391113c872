"""What formulas of training may ask of a graph: its products by what they are for, and its attention, core by core."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from rfcalc.analyses.costs.backward import Backward, backward
from rfcalc.analyses.costs.parts import Sorting
from rfcalc.analyses.costs.unmasked import closed, softmax_products
from rfcalc.graph import LayerGraph, Node, Param
from rfcalc.reads import Contract

#: What a product with a weight is for, beyond its part: what chooses experts, what all tokens share beside experts, and
#: what scales that.
ROUTERS, SHARED, GATES = "routers", "shared experts", "gates"


@dataclass(frozen=True)
class Core:
    """Softmax attention of one layer: the products of queries and keys, and of weights and values.

    ``pairs`` are all pairs of a query and a key in all heads and batch elements, ``longest`` the most keys that the
    mask leaves any query.
    """

    records: tuple[Node, ...]
    pairs: int
    keys: int
    heads: int
    query_size: int
    value_size: int
    longest: int

    @property
    def name(self) -> str:
        """The layer that it is."""
        return self.records[0].name

    @property
    def windowed(self) -> bool:
        """Whether no query sees all keys."""
        return self.longest < self.keys


class Step:
    """A step of training on a graph: its ops by purpose, each with the operations that it takes, forward and backward.

    Raises `rfcalc.errors.UsageError` where no token ids come in.
    """

    def __init__(self, graph: LayerGraph) -> None:
        self.graph = graph
        self.sorting = Sorting(graph)
        self.tokens = self.sorting.tokens
        self._back = backward(graph)

    @cached_property
    def unknown(self) -> tuple[str, ...]:
        """Ops without a rule for the backward pass."""
        return tuple(dict.fromkeys(self.graph[ident].op for ident, found in self._back.items() if found is None))

    def back(self, record: Node) -> Backward:
        """What an op takes in the backward pass."""
        return self._back.get(record.id) or Backward()

    def operations(self, record: Node) -> int:
        """Two for each multiply-add, forward and backward."""
        return 2 * ((record.macs or 0) + self.back(record).macs)

    # --- products with weights ----------------------------------------------------------------------------------------

    @cached_property
    def weighted(self) -> tuple[tuple[Node, Param, str], ...]:
        """The products with weights: the op, its matrix, and what it is for."""
        found = []
        for record in self.sorting.products:
            weight = self.sorting.matrix(record)
            if weight is not None:
                found.append((record, weight, self._purpose(record, weight)))
        return tuple(found)

    def _purpose(self, record: Node, weight: Param) -> str:
        part = self.sorting.part_of(record)
        if part != "projections":
            return part
        if record.id in self._routers:
            return ROUTERS
        if any(record.scope.startswith(f"{home}.") for home in self._homes):
            return GATES if weight.shape[0] == 1 else SHARED
        return part

    @cached_property
    def _routers(self) -> frozenset[int]:
        """The products whose results are sorted for the largest, without a product or a sum of branches before that."""
        products = [record for record in self.sorting.products if self.sorting.part_of(record) == "projections"]
        chosen = ("aten.topk", "aten.sort")
        return frozenset(record.id for record in products if any(other.op in chosen for other in self._after(record)))

    @cached_property
    def _homes(self) -> frozenset[str]:
        """The modules that hold a router and experts."""
        experts = {name.rpartition(".")[0] for name in self.sorting.share}
        homes = {self.graph[ident].scope.rpartition(".")[0] for ident in self._routers}
        return frozenset(home for home in homes if home and any(f"{name}.".startswith(f"{home}.") for name in experts))

    def _after(self, record: Node) -> Iterator[Node]:
        """The ops that read an op's result, up to products and sums of branches."""
        return self._reached(record, lambda ident: self.graph.readers[ident])

    def _before(self, record: Node) -> Iterator[Node]:
        """The ops that an op's inputs come from, up to products and sums of branches."""
        return self._reached(record, lambda ident: [ref.node for ref in self.graph[ident].inputs])

    def _reached(self, start: Node, step: Callable[[int], Sequence[int]]) -> Iterator[Node]:
        front, seen = list(step(start.id)), set[int]()
        while front:
            record = self.graph[front.pop()]
            if record.id in seen:
                continue
            seen.add(record.id)
            yield record
            if not record.macs and record.kind != "merge":
                front += step(record.id)

    # --- parameters that are no matrices of products ------------------------------------------------------------------

    @cached_property
    def used(self) -> Mapping[str, int]:
        """Multiply-adds of the forward pass with each matrix."""
        found: dict[str, int] = {}
        for record, weight, _ in self.weighted:
            found[weight.name] = found.get(weight.name, 0) + (record.macs or 0)
        return found

    @cached_property
    def rest(self) -> tuple[Param, ...]:
        """Biases, norms and other parameters that are neither matrices nor tables."""
        owners = self.sorting.owners
        weights = self.sorting.weights.items()
        return tuple(param for name, param in weights if name not in self.used and owners[name] != "embeddings")

    @cached_property
    def tables(self) -> tuple[tuple[Param, bool], ...]:
        """The tables of embeddings, and whether positions look them up, not ids."""
        by_ids = {
            name
            for record in self.graph
            if record.kind == "embedding" and record.inputs
            for name in self.sorting.names(record)
        }
        owners, weights = self.sorting.owners, self.sorting.weights.items()
        return tuple((param, name not in by_ids) for name, param in weights if owners[name] == "embeddings")

    @cached_property
    def latent_norms(self) -> tuple[Param, ...]:
        """The scales of norms between two projections, as of multi-head latent attention."""
        found: dict[str, Param] = {}
        for record in self.graph:
            names = [name for name in self.sorting.names(record) if len(self.sorting.weights[name].shape) == 1]
            if not names or record.macs:
                continue
            ends = [
                [other for other in reached if other.macs] for reached in (self._before(record), self._after(record))
            ]
            if all(ends) and all(self._is_projection(other) for end in ends for other in end):
                found.update((name, self.sorting.weights[name]) for name in names)
        return tuple(found.values())

    def _is_projection(self, record: Node) -> bool:
        return self.sorting.matrix(record) is not None and self.sorting.part_of(record) == "projections"

    @cached_property
    def width(self) -> int:
        """The size of a token's embedding."""
        return next((record.shape[-1] for record in self.graph if record.kind == "embedding"), 0)

    # --- attention ----------------------------------------------------------------------------------------------------

    @cached_property
    def cores(self) -> tuple[Core, ...]:
        """Softmax attention, layer by layer."""
        scores, values = softmax_products(self.graph)
        products = {record.id: record for record in self.sorting.products}
        pairs = zip(*([products[ident] for ident in sorted(found)] for found in (scores, values)), strict=False)
        found = [self._core((score, value), score.shape[-2:], score) for score, value in pairs]
        for record in self.sorting.products:
            if record.kind == "attention" and "head_dim" in record.attrs:
                found.append(self._core((record,), (record.attrs["queries"], record.attrs["keys"]), record))
        return tuple(sorted(found, key=lambda core: core.records[0].id))

    def _core(self, records: tuple[Node, ...], extents: Sequence[int], score: Node) -> Core:
        _, keys = extents
        if len(records) == 2:
            pairs = prod(score.shape)
            query, value = ((record.macs or 0) // pairs for record in records)
        else:
            query, value = int(score.attrs["head_dim"]), score.shape[-1]
            pairs = (score.macs or 0) // (query + value)
        heads = pairs // max(1, self.tokens * keys)
        return Core(records, pairs, keys, heads, query, value, self._longest(records[-1], keys))

    def _longest(self, record: Node, keys: int) -> int:
        """The most keys that the mask leaves any query."""
        for read in record.reads[0]:
            for step in read.steps:
                if isinstance(step, Contract):
                    return int(np.max(np.count_nonzero(~self.graph.masks[step.mask], axis=-1)))
        return keys

    @cached_property
    def masked(self) -> frozenset[int]:
        """The ops of which a mask closes pairs, or may."""
        found = closed(self.graph)
        return frozenset({*found.counts, *found.unknown})

    @cached_property
    def mixed(self) -> bool:
        """Whether some layers attend in a window and some to all."""
        return len({core.windowed for core in self.cores}) > 1

    @cached_property
    def loose(self) -> tuple[Node, ...]:
        """Products that are neither with weights nor of softmax attention."""
        taken = {record.id for record, _, _ in self.weighted} | {r.id for core in self.cores for r in core.records}
        return tuple(record for record in self.sorting.products if record.id not in taken)
