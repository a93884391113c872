"""Ops that run graphs, that draw random numbers, and that choose boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from rfcalc.sources.tflite.rules import Op, as_onnx, ints, one, rule

T = torch.Tensor
#: Runs a graph on the values of its inputs.
Run = Callable[[Any, Sequence[Any]], list[Any]]


@rule("IF")
def if_(run: Run, op: Op, condition: T, *inputs: Any) -> tuple[Any, ...]:
    """One graph or the other."""
    return tuple(run(op.get("ThenSubgraphIndex" if bool(one(condition)) else "ElseSubgraphIndex"), inputs))


@rule("WHILE")
def while_(run: Run, op: Op, *inputs: Any) -> tuple[Any, ...]:
    """A graph again and again on what it gives, as long as another says so."""
    now = list(inputs)
    while bool(one(run(op.get("CondSubgraphIndex"), now)[0])):
        now = run(op.get("BodySubgraphIndex"), now)
    return tuple(now)


@rule("CALL")
def call(run: Run, op: Op, *inputs: Any) -> tuple[Any, ...]:
    """A graph."""
    return tuple(run(op.get("Subgraph"), inputs))


@rule("STABLEHLO_COMPOSITE")
def composite(run: Run, op: Op, *inputs: Any) -> tuple[Any, ...]:
    """The graph that a composite stands for."""
    return tuple(run(op.get("DecompositionSubgraphIndex"), inputs))


@rule("READ_VARIABLE", moves=True)
def read_variable(op: Op, x: T) -> T:
    """A state as it is."""
    return x


# --- random numbers ---------------------------------------------------------------------------------------------------


@rule("RANDOM_UNIFORM")
def random_uniform(op: Op, to: T) -> T:
    """Numbers between 0 and 1."""
    return torch.rand(ints(to))


@rule("RANDOM_STANDARD_NORMAL")
def random_normal(op: Op, to: T) -> T:
    """Numbers of the normal distribution."""
    return torch.randn(ints(to))


@rule("MULTINOMIAL")
def multinomial(op: Op, logits: T, count: T) -> T:
    """Classes drawn by the logarithms of their chances."""
    return torch.multinomial(torch.softmax(logits, -1), int(one(count)), replacement=True).to(op.dtype)


# --- boxes ------------------------------------------------------------------------------------------------------------


@rule("NON_MAX_SUPPRESSION_V4")
def suppressed(op: Op, boxes: T, scores: T, most: T, overlap: T, least: T) -> tuple[T, T]:
    """The places of boxes that no better one covers, padded with zeros, and how many there are."""
    places = as_onnx("NonMaxSuppression", boxes[None], scores[None, None], most, overlap, least)[:, 2]
    count, size = places.shape[0], int(one(most))
    padded = torch.zeros(size, dtype=torch.int32)
    padded[:count] = places.to(torch.int32)
    return padded, torch.tensor(count, dtype=torch.int32)
