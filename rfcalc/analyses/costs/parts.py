"""What one token costs, by part: attention, projections, experts, head; and the parameters that it meets.

A network that takes token ids costs each of them the same share of a pass. A weight matrix that all tokens go through
takes a multiply-add a weight and token; experts are those that a token meets only some of.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import prod
from typing import Any

from rfcalc.analyses.costs.backward import Backward, backward
from rfcalc.analyses.costs.unmasked import Closed, closed
from rfcalc.analyses.results import plain
from rfcalc.errors import UsageError
from rfcalc.graph import LayerGraph, Node, Param

SCHEMA = "rfcalc-tokens/1"

#: The parts, in the order in which they are told.
PARTS = ("embeddings", "attention", "projections", "experts", "head", "convolutions", "recurrent", "other")


@dataclass(frozen=True)
class Part:
    """One part of a model. Multiply-adds are of the whole pass; ``active`` are the parameters that one token meets.

    ``unmasked`` are the multiply-adds that no mask closes, None where that is not known, and ``backward`` those of the
    backward pass, None where an op has no rule for it.
    """

    name: str
    params: int
    active: Fraction
    macs: int
    unmasked: int | None
    backward: int | None


@dataclass(frozen=True)
class Tokens:
    """The cost of a pass over ``tokens`` tokens, by part; ``of`` divides by their number.

    ``params`` are all parameters, ``active`` those that one token meets: of experts the routed share, of tables of
    embeddings none, which are ``embeddings``, unless they multiply too (a tied head).
    """

    model: str
    tokens: int
    parts: tuple[Part, ...]
    params: int

    @property
    def active(self) -> Fraction:
        """Parameters that one token meets, tables of embeddings apart."""
        return sum((part.active for part in self.parts), Fraction(0))

    @property
    def embeddings(self) -> int:
        """Parameters of tables that tokens and positions are looked up in, and that multiply nothing."""
        return next((part.params for part in self.parts if part.name == "embeddings"), 0)

    @property
    def macs(self) -> int:
        """Multiply-adds of the pass."""
        return sum(part.macs for part in self.parts)

    @property
    def unmasked(self) -> int | None:
        """Multiply-adds of the pass that no mask closes."""
        return _sum(part.unmasked for part in self.parts)

    @property
    def backward(self) -> int | None:
        """Multiply-adds of the backward pass."""
        return _sum(part.backward for part in self.parts)

    def each(self, count: int | None) -> Fraction | None:
        """The share of one token, on the average."""
        return None if count is None else Fraction(count, self.tokens)

    def __getitem__(self, name: str) -> Part:
        """A part by its name."""
        for part in self.parts:
            if part.name == name:
                return part
        raise KeyError(f"{self.model} has no part {name!r}, but {', '.join(part.name for part in self.parts)}")

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON output."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "tokens": self.tokens,
            "params": self.params,
            "active_params": plain(self.active),
            "embedding_params": self.embeddings,
            "per_token": self._row(self),
            "parts": [
                {"name": part.name, "params": part.params, "active_params": plain(part.active), **self._row(part)}
                for part in self.parts
            ],
        }

    def _row(self, of: Part | Tokens) -> dict[str, Any]:
        counts = {"macs": of.macs, "unmasked_macs": of.unmasked, "backward_macs": of.backward}
        return {name: plain(self.each(count)) for name, count in counts.items()}


def _sum(counts: Iterable[int | None]) -> int | None:
    found = list(counts)
    return None if None in found else sum(count for count in found if count is not None)


def per_token(graph: LayerGraph, tokens: int | None = None) -> Tokens:
    """The cost of a pass by part. ``tokens`` is how many there are; without, as many as there are token ids.

    Raises `UsageError` where no input holds token ids, or several hold as many different ones.
    """
    sorted_ = Sorting(graph, tokens)
    return Tokens(graph.model, sorted_.tokens, tuple(sorted_.parts()), sum(p.numel for p in sorted_.weights.values()))


def count_of_ids(graph: LayerGraph) -> int | None:
    """How many token ids a pass takes: the elements of inputs of whole numbers that embeddings are looked up by."""
    looked_up = {ref.node for record in graph if record.kind == "embedding" for ref in record.inputs}
    behind = looked_up | graph.ancestors(looked_up)
    ids = [item for item in graph.inputs if item.node in behind and item.dtype.startswith(("int", "uint"))]
    counts = {prod(item.shape) for item in ids}
    return counts.pop() if len(counts) == 1 else None


class Sorting:
    """The ops and parameters of a graph by the part that they belong to."""

    def __init__(self, graph: LayerGraph, tokens: int | None = None) -> None:
        self.graph = graph
        found = count_of_ids(graph) if tokens is None else tokens
        if found is None or found < 1:
            given = ", ".join(f"{item.name} {'x'.join(map(str, item.shape))} {item.dtype}" for item in graph.inputs)
            asked = "no one input holds token ids" if tokens is None else f"{tokens} tokens"
            raise UsageError(f"{graph.model}: {asked} ({given}): say how many tokens a pass has, --tokens N")
        self.tokens = found
        self.weights = {param.name: param for param in graph.params if not param.shared_with}
        self._shapes = {param.name: param.shape for param in graph.params}
        self._alias = {param.name: param.shared_with for param in graph.params if param.shared_with}

    def names(self, record: Node) -> tuple[str, ...]:
        """The parameters that an op uses, each by its first name; of a product those too that were gathered for it."""
        used = record.params or (tuple(self._gathered(record)) if record.macs else ())
        return tuple(dict.fromkeys(self._alias.get(name, name) for name in used))

    def _gathered(self, record: Node) -> Iterator[str]:
        """The stacks of matrices that the factors of a product were taken from, as those of chosen experts are."""
        front = [ref.node for ref in record.inputs]
        while front:
            other = self.graph[front.pop()]
            tables = [name for name in other.params if len(self._shapes[name]) > 2]
            if other.kind in _MOVES or (other.kind == "embedding" and tables):
                yield from tables
                front += [] if tables else [ref.node for ref in other.inputs]

    @cached_property
    def products(self) -> tuple[Node, ...]:
        """The ops with multiply-adds."""
        return tuple(record for record in self.graph if record.macs)

    def matrix(self, record: Node) -> Param | None:
        """The weight that a product is with, None for one of two activations."""
        held = [self.weights[name] for name in self.names(record) if name in self.weights]
        return max(held, key=lambda param: (len(param.shape), param.numel), default=None)

    # --- experts ------------------------------------------------------------------------------------------------------

    @cached_property
    def share(self) -> Mapping[str, Fraction]:
        """Of each parameter of an expert, the part that a token meets, on the average."""
        used: dict[str, int] = defaultdict(int)
        for record in self.products:
            weight = self.matrix(record)
            if weight is not None:
                used[weight.name] += record.macs or 0
        found = dict(self._stacked(used))
        for names in self._siblings():
            rows = [Fraction(used[name], self.weights[name].numel) for name in names]
            each = sum(rows, Fraction(0)) / self.tokens
            if each and each.denominator == 1 and each < len(names):
                found |= {name: row / self.tokens for name, row in zip(names, rows, strict=True)}
        return found | dict(self._biases(found))

    def _stacked(self, used: Mapping[str, int]) -> Iterator[tuple[str, Fraction]]:
        """Weights of all experts in one tensor, by its first axis."""
        for name, count in used.items():
            weight = self.weights[name]
            if len(weight.shape) != 3 or weight.shape[0] < 2:
                continue
            met = Fraction(count * weight.shape[0], weight.numel * self.tokens)
            if met.denominator == 1 and met < weight.shape[0]:
                yield name, met / weight.shape[0]

    def _siblings(self) -> Iterator[Sequence[str]]:
        """Matrices of equal shape whose names differ in their last number only."""
        groups: dict[tuple[str, tuple[int, ...]], list[str]] = defaultdict(list)
        for name, param in self.weights.items():
            if len(param.shape) == 2 and (number := _LAST_NUMBER.search(name)):
                groups[f"{name[: number.start()]}*{name[number.end() :]}", param.shape].append(name)
        return (names for names in groups.values() if len(names) > 1)

    def _biases(self, routed: Mapping[str, Fraction]) -> Iterator[tuple[str, Fraction]]:
        """What else the modules of experts hold for each of them."""
        modules: dict[str, list[str]] = defaultdict(list)
        for name in routed:
            modules[name.rpartition(".")[0]].append(name)
        for name, param in self.weights.items():
            beside = modules.get(name.rpartition(".")[0], [])
            stacked = [other for other in beside if len(self.weights[other].shape) == 3]
            alike = [other for other in stacked if param.shape[:1] == self.weights[other].shape[:1]] or (
                [] if stacked else beside
            )
            if name not in routed and alike:
                yield name, routed[alike[0]]

    # --- the head -----------------------------------------------------------------------------------------------------

    @cached_property
    def heads(self) -> frozenset[int]:
        """The products with weights that results come from without another product, and without a sum of branches."""
        front, seen, found = [ref.node for ref in self.graph.outputs], set[int](), set[int]()
        while front:
            record = self.graph[front.pop()]
            if record.id in seen:
                continue
            seen.add(record.id)
            if record.macs:
                found |= {record.id} if self.matrix(record) is not None else set()
            elif record.kind != "merge":
                front += (ref.node for ref in record.inputs)
        before = self.graph.ancestors([record.id for record in self.products])
        return frozenset(found - before)

    # --- parts --------------------------------------------------------------------------------------------------------

    def part_of(self, record: Node) -> str:
        """The part that an op with multiply-adds belongs to."""
        weight = self.matrix(record)
        if record.kind == "attention" or (weight is None and record.kind == "matmul"):
            return "attention"
        if weight is not None and weight.name in self.share:
            return "experts"
        if record.id in self.heads:
            return "head"
        if record.kind in ("conv", "conv_transpose"):
            return "convolutions"
        if record.kind == "recurrent":
            return "recurrent"
        return "projections" if record.kind in ("linear", "matmul") else "other"

    @cached_property
    def owners(self) -> Mapping[str, str]:
        """The part that each parameter belongs to: of its product, else embeddings or other."""
        found: dict[str, str] = {}
        for record in self.products:
            for name in self.names(record):
                found.setdefault(name, self.part_of(record))
        for record in self.graph:
            if record.kind == "embedding":
                for name in self.names(record):
                    found.setdefault(name, "embeddings")
        experts = dict.fromkeys(self.share, "experts")
        return {**dict.fromkeys(self.weights, "other"), **found, **experts}

    def active(self, name: str) -> Fraction:
        """How much of a parameter one token meets."""
        if self.owners[name] == "embeddings":
            return Fraction(0)
        return self.weights[name].numel * self.share.get(name, Fraction(1))

    def parts(self) -> Iterator[Part]:
        """The parts that the model has."""
        masks, back = closed(self.graph), backward(self.graph)
        products: dict[str, list[Node]] = defaultdict(list)
        for record in self.products:
            products[self.part_of(record)].append(record)
        for part in PARTS:
            own = [name for name, owner in self.owners.items() if owner == part and name in self.weights]
            if own or products[part]:
                yield self._part(part, own, products[part], masks, back)

    def _part(
        self,
        part: str,
        own: Sequence[str],
        products: Sequence[Node],
        masks: Closed,
        back: Mapping[int, Backward | None],
    ) -> Part:
        gradients = [back[record.id] for record in products]
        return Part(
            part,
            sum(self.weights[name].numel for name in own),
            sum((self.active(name) for name in own), Fraction(0)),
            sum(record.macs or 0 for record in products),
            _sum(masks.left(record) for record in products),
            _sum(None if gradient is None else gradient.macs for gradient in gradients),
        )


#: Kinds that move numbers and change none.
_MOVES = frozenset({"reshape", "copy", "cast"})
_LAST_NUMBER = re.compile(r"(?<=\.)\d+(?=\.[^\d]*$)")

__all__ = ["PARTS", "SCHEMA", "Part", "Sorting", "Tokens", "count_of_ids", "per_token"]
