"""What every tensor of a network reads, found by running it: no code is shared with rfcalc.

Two witnesses look at one slice of a source at a time (index i of axis a: a row, a column, a channel, an example):

- *NaN*: the slice is set to NaN; the elements that become NaN read it. Dead units, cancelling signs and lucky zeros
  do not defeat it, but it passes through weights of exactly 0 and through masks that block every finite number. Its
  networks hold no such op (`Kind.misleads`), so that it tells the truth.
- *finite changes*: the slice gets other random numbers; the elements whose bits differ read it. This never claims too
  much, but it can miss what a saturated unit or a maximum hides, so its networks hold no such op (`Kind.hides`), and
  what is seen is united over several drawings of parameters, inputs and changes: until the union equals the claim
  (then nothing seen lay outside it and all of it was seen) or `ATTEMPTS` are over, which is a difference. Where
  interpolation rounds a weight of 0 to 1e-16 (`Kind.rounded`) differences below 1e-11 do not count.

A network is drawn for one of the two. The hull of the indices that an element reads is compared with rfcalc's, for
every element of every tensor and every axis of the source: equal, or contained where the claim is an upper bound.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rfcalc.analyses.field import walk
from rfcalc.analyses.field.merging import combined
from rfcalc.analyses.field.states import State
from rfcalc.api import layer_graph
from rfcalc.graph import LayerGraph, Ref
from tests.randomnets.draw import Net
from tests.randomnets.plain import plain_kernels

ATTEMPTS = 100
FAR = 1 << 30  #: first index of an element that reads nothing; its last one is -FAR

Hull = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Difference:
    """One tensor whose claimed field is not what it reads."""

    source: int
    axis: int
    value: int
    position: tuple[int, ...]
    claimed: tuple[int, int]
    seen: tuple[int, int]
    elements: int

    def __str__(self) -> str:
        return (
            f"value {self.value} at {self.position} in axis {self.axis} of value {self.source}: claimed {self.claimed},"
            f" seen {self.seen} ({self.elements} elements differ)"
        )


@dataclass
class Outcome:
    """What one network showed."""

    differences: list[Difference]
    exact: int = 0  #: (tensor, source, axis) compared as equal
    upper_bound: int = 0  #: as contained
    nodes: int = 0


def check(net: Net, inputs: Sequence[torch.Tensor], seed: int = 0) -> Outcome:
    """Compare every tensor of the network with brute force, in every axis of every input and of one inner tensor."""
    with plain_kernels(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = layer_graph(net, tuple(inputs), training=net.training)
    outputs = graph.outputs
    count = net.inputs + len(net.layers)
    assert len(outputs) == count, f"{count} tensors were given back, {len(outputs)} are in the graph"
    result = Outcome([], nodes=len(graph))
    torch.manual_seed(seed)
    with plain_kernels(), torch.no_grad():
        for source in _sources(net, graph, seed):
            _check_source(net, inputs, graph, source, result)
    return result


def _sources(net: Net, graph: LayerGraph, seed: int) -> list[int]:
    """The inputs; in some networks where nothing is written in place also one inner tensor."""
    copied = [graph[ref.node].inputs[0] for ref in graph.outputs]
    inner = net.inputs + seed // 3 % max(1, len(net.layers))
    apart = inner < len(copied) and copied.count(copied[inner]) == 1
    return [*range(net.inputs), *([inner] if apart and seed % 3 == 0 and not net.rewrites else [])]


def _check_source(net: Net, inputs: Sequence[torch.Tensor], graph: LayerGraph, source: int, result: Outcome) -> None:
    outputs = graph.outputs
    copied = graph[outputs[source].node]
    ref = Ref(source) if source < net.inputs else copied.inputs[0]
    shape = graph[ref.node].outputs[ref.output].shape
    finite, loose = any(kind.misleads for kind in net.kinds), net.loose()
    for axis, own in enumerate(claimed(graph, ref, outputs)):
        claims = [(hull, exact and value not in loose) for value, (hull, exact) in enumerate(own)]
        if finite:
            seen = _changed(net, inputs, source, axis, shape[axis], claims)
        else:
            seen = _poisoned(net, inputs, source, axis, shape[axis])
        for value, ((hull, exact), (lo, hi)) in enumerate(zip(claims, seen, strict=True)):
            result.exact += exact
            result.upper_bound += not exact
            wrong = (hull[0] != lo) | (hull[1] != hi) if exact else (hull[0] > lo) | (hull[1] < hi)
            if wrong.any():
                at = tuple(int(k[0]) for k in np.nonzero(wrong))
                claim, truth = ((int(part[0][at]), int(part[1][at])) for part in (hull, (lo, hi)))
                result.differences.append(Difference(source, axis, value, at, claim, truth, int(wrong.sum())))


def claimed(graph: LayerGraph, source: Ref, outputs: Sequence[Ref]) -> list[list[tuple[Hull, bool]]]:
    """For each axis of a source: the hull that rfcalc claims for each element of each output, and whether as exact."""
    axes = range(len(graph[source.node].outputs[source.output].shape))
    found: dict[Ref, Sequence[State | None]] = {}
    states: list[list[tuple[Hull, bool]]] = [[] for _ in axes]
    for record, rows, _ in walk.trace_axes(graph, source, axes):
        found |= {Ref(record.id, number): row for number, row in enumerate(rows)}
    for ref in outputs:
        shape = graph[ref.node].outputs[ref.output].shape
        for claims, state in zip(states, found.get(ref, [None for _ in axes]), strict=True):
            claims.append(_claim(state, shape))
    return states


def _claim(state: State | None, shape: Sequence[int]) -> tuple[Hull, bool]:
    if state is None:
        nothing = np.full(shape, FAR)
        return (nothing, -nothing), True
    full = combined(state.full)
    nothing = full.lo > full.hi
    lo, hi = np.where(nothing, FAR, full.lo), np.where(nothing, -FAR, full.hi)
    return (np.broadcast_to(lo, shape), np.broadcast_to(hi, shape)), not state.inexact


class _Seen:
    """The hulls of what was seen so far."""

    def __init__(self, values: Sequence[torch.Tensor]) -> None:
        self.hulls = [(np.full(value.shape, FAR), np.full(value.shape, -FAR)) for value in values]

    def mark(self, index: int, hits: Sequence[torch.Tensor]) -> None:
        for (lo, hi), hit in zip(self.hulls, hits, strict=True):
            where = hit.numpy()
            np.minimum(lo, index, out=lo, where=where)
            np.maximum(hi, index, out=hi, where=where)


def _run(
    net: Net, inputs: Sequence[torch.Tensor], source: int, axis: int, index: int, content: torch.Tensor | float
) -> list[torch.Tensor]:
    """The network's tensors with one slice of a source replaced; the inputs are not written."""

    def replaced(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.clone()
        part = tensor.select(axis, index)
        part.copy_(content.select(axis, index) if isinstance(content, torch.Tensor) else torch.tensor(content))
        return tensor

    net.probe = None if source < net.inputs else lambda value, made: replaced(made) if value == source else made
    made: list[torch.Tensor] = net(*(replaced(x) if at == source else x.clone() for at, x in enumerate(inputs)))
    net.probe = None
    return made


def _poisoned(net: Net, inputs: Sequence[torch.Tensor], source: int, axis: int, extent: int) -> list[Hull]:
    drawn = _drawn(net, inputs)
    base = net(*(x.clone() for x in drawn))
    assert not any(value.isnan().any() for value in base), "there is NaN without poison"
    seen = _Seen(base)
    for index in range(extent):
        state = {name: value.clone() for name, value in net.named_buffers()}
        seen.mark(index, [value.isnan() for value in _run(net, drawn, source, axis, index, math.nan)])
        for name, value in net.named_buffers():
            value.copy_(state[name])
    return seen.hulls


def _changed(
    net: Net, inputs: Sequence[torch.Tensor], source: int, axis: int, extent: int, claims: Sequence[tuple[Hull, bool]]
) -> list[Hull]:
    rounded = any(kind.rounded for kind in net.kinds)
    seen: _Seen | None = None
    for _ in range(ATTEMPTS):
        drawn = _drawn(net, inputs)
        base = net(*(x.clone() for x in drawn))
        seen = seen or _Seen(base)
        other = torch.randn_like(base[source]) * 3
        for index in range(extent):
            made = _run(net, drawn, source, axis, index, other)
            seen.mark(index, [_differs(a, b, rounded) for a, b in zip(base, made, strict=True)])
        if all(
            not exact or (np.array_equal(lo, hull[0]) and np.array_equal(hi, hull[1]))
            for (hull, exact), (lo, hi) in zip(claims, seen.hulls, strict=True)
        ):
            break
    assert seen is not None
    return seen.hulls


def _differs(a: torch.Tensor, b: torch.Tensor, rounded: bool) -> torch.Tensor:
    if not rounded:
        return a != b
    scale = torch.maximum(torch.maximum(a.abs(), b.abs()), a.abs().mean())
    return (a - b).abs() > 1e-11 * scale


def _drawn(net: Net, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Other random parameters and inputs, and numbers in buffers that are weights."""
    for name, buffer in net.named_buffers():
        if name.endswith(".held") and buffer.is_floating_point():
            buffer.copy_(torch.randn_like(buffer))
    for parameter in net.parameters():
        parameter.copy_(torch.rand_like(parameter) + 0.1 if parameter.ndim < 2 else torch.randn_like(parameter))
    return [torch.randn(x.shape, dtype=x.dtype) for x in inputs]
