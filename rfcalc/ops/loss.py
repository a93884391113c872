"""Losses: what is compared element by element, or a class at a time, and its sum or mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rfcalc.ops._indexing import DATA, whole
from rfcalc.ops.common import pointwise
from rfcalc.ops.pointwise import aten
from rfcalc.ops.registry import Arg, ArgRead, Call, Effect, numel, rule
from rfcalc.reads import Reduce, Reshape, Steps

#: Operations for each pair of elements, by the definition (docs/flops.md).
_PAIRS = {
    "mse_loss": 2,
    "smooth_l1_loss": 5,
    "huber_loss": 5,
    "soft_margin_loss": 5,
    "binary_cross_entropy": 8,
    "binary_cross_entropy_with_logits": 11,
}
_NONE = 0  #: the reduction that leaves each element its loss


def _loss(reads: Sequence[Any], operations: int, **more: Any) -> Effect:
    reduced = more.pop("reduced")
    kind = "reduction" if reduced else "merge" if _several(reads) else "elementwise"
    return Effect(kind, reads, flops={"loss": operations}, **more)


def _several(reads: Sequence[Any]) -> bool:
    first = reads[0] if reads and isinstance(reads[0], list) else reads
    return len({id(arg) for arg, _ in first if arg.reads_data}) > 1


@rule(*aten(" ".join(_PAIRS)))
def elementwise_loss(call: Call) -> Effect:
    """A loss of pairs of elements: one position of each, all where they are summed; 2 to 11 operations each."""
    reduced = call.get("reduction", 1) != _NONE
    pairs = numel(_broadcast([x.shape for x in call.tensors()]))
    rank = len(call.out.shape)
    weights = [call[name] for name in ("weight", "pos_weight") if isinstance(call[name], Arg)]
    each = _PAIRS[call.op.removeprefix("aten.")] + reduced
    each += sum(4 if arg is call["pos_weight"] else 1 for arg in weights)
    reads = [whole(arg, rank) if reduced else pointwise(arg, rank) for arg in call.tensors()]
    return _loss(reads, each * pairs, reduced=reduced)


def _broadcast(shapes: Sequence[Sequence[int]]) -> tuple[int, ...]:
    rank = max(map(len, shapes))
    rows = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(0 if 0 in column else max(column) for column in zip(*rows, strict=True))


# --- classes ----------------------------------------------------------------------------------------------------------


@rule(*aten("nll_loss_forward nll_loss2d_forward"))
def nll_loss(call: Call) -> Effect:
    """Negative log-likelihood: of each row the class that the target names; 1 operation a target, 1 to sum it."""
    x: Arg = call["self"]
    target: Arg = call["target"]
    weight: Arg | None = call["weight"]
    reduced = call.get("reduction", 1) != _NONE
    each = 1 + reduced
    if weight is not None:
        each += 1 + (call.get("reduction", 1) == 1)  # its product; the sum of the weights that a mean divides by
    classes = 1 if x.ndim > 1 else 0
    rank = len(call.out.shape)
    if reduced or not rank:
        reads = [whole(arg, rank) for arg in (x, target, *([weight] if weight is not None else []))]
    else:
        shape = (*x.shape[:classes], 1, *x.shape[classes + 1 :])
        reads = [(x, (Reduce((classes,)), Reshape(shape, call.out.shape))), pointwise(target, rank)]
        reads += [whole(weight, rank)] if weight is not None else []
    sums = [[whole(arg, 0) for arg in (target, *([weight] if weight is not None else []))] for _ in call.outs[1:]]
    return _loss(
        [reads, *sums],
        each * target.numel,
        reduced=reduced,
        each=True,
        attrs={"classes": x.shape[classes]},
        inexact=DATA if x.shape[classes] > 1 else "",
    )


@rule("aten.multi_margin_loss")
def multi_margin_loss(call: Call) -> Effect:
    """Margins between a class and all others: all of a row; 4 operations an element (p = 2: 5), 1 a row, 1 to sum."""
    x: Arg = call["self"]
    target: Arg = call["target"]
    weight: Arg | None = call["weight"]
    reduced = call.get("reduction", 1) != _NONE
    rows = target.numel
    each = 4 + (call.get("p", 1) == 2) + (weight is not None)
    rank = len(call.out.shape)
    reads = [_rows(arg, target.ndim, rank, reduced) for arg in (x, target)]
    reads += [whole(weight, rank)] if weight is not None else []
    return _loss(reads, each * x.numel + (1 + reduced) * rows, reduced=reduced)


@rule("aten.multilabel_margin_loss_forward")
def multilabel_margin_loss(call: Call) -> Effect:
    """Margins between the classes that are and those that are not: all of a row; 4 operations a pair of the most."""
    x: Arg = call["self"]
    target: Arg = call["target"]
    reduced = call.get("reduction", 1) != _NONE
    classes = x.shape[-1] if x.ndim else 1
    rows = x.numel // max(1, classes)
    pairs = (classes // 2) * (classes - classes // 2)
    lead = max(0, x.ndim - 1)
    outs = call.outs
    first = [_rows(arg, lead, len(outs[0].shape), reduced) for arg in (x, target)]
    marks = [[(target, (Reduce((target.ndim - 1,)),) if target.ndim else ())] for _ in outs[1:]]
    return _loss(
        [first, *marks],
        4 * rows * pairs + (1 + reduced) * rows,
        reduced=reduced,
        each=True,
        inexact="a row of the target ends at its first -1" if target.reads_data else "",
        notes=("the data decides how many pairs there are: as many as half of the classes make",),
    )


def _rows(arg: Arg, lead: int, rank: int, reduced: bool) -> ArgRead:
    """A row of the argument for each result, or all of it."""
    if reduced or rank != lead or arg.ndim == lead:
        return whole(arg, rank) if reduced or arg.ndim != rank else pointwise(arg, rank)
    return arg, (Reduce((arg.ndim - 1,)), Reshape((*arg.shape[:-1], 1), arg.shape[:-1]))


@rule("aten._ctc_loss", "aten.ctc_loss")
def ctc_loss(call: Call) -> Effect:
    """Connectionist temporal classification: all of a sequence; 13 operations a step and state (2S + 1), 9 to end."""
    x: Arg = call["log_probs"]
    targets: Arg = call["targets"]
    batched = x.ndim == 3
    steps, batch = x.shape[0], x.shape[1] if batched else 1
    inputs = _lengths(call["input_lengths"], batch, steps)
    lengths = _lengths(call["target_lengths"], batch, targets.shape[-1] if targets.ndim else 0)
    states = sum(t * (2 * s + 1) for t, s in zip(inputs, lengths, strict=True))
    given = [arg for arg in (call["input_lengths"], call["target_lengths"]) if isinstance(arg, Arg)]
    reads: list[list[ArgRead]] = []
    for out in call.outs:
        rank = len(out.shape)
        along: Steps = (Reduce((0, 2)), Reshape((1, batch, 1), (batch, *(1,) * (rank - 1)))) if batched and rank else ()
        # The log of alpha at a step reads the steps before; what it may be that is read is a row of the batch.
        reads.append([(x, along) if along else whole(x, rank), whole(targets, rank)])
        reads[-1] += [whole(arg, rank) for arg in given]
    flops = {"loss": 13 * states + 9 * batch}
    return Effect("reduction", reads, each=True, flops=flops, inexact="the data decides which classes count")


def _lengths(given: Any, batch: int, longest: int) -> list[int]:
    """The lengths of a batch, where they are known; otherwise the longest that there can be."""
    if isinstance(given, Arg):
        value = given.value()
        return [longest] * batch if value is None else [int(n) for n in value.reshape(-1)]
    return [int(n) for n in given]


@rule("aten.dist")
def dist(call: Call) -> Effect:
    """The norm of a difference: all of both; 3 operations a pair of elements, 1 for the root."""
    pairs = numel(_broadcast([x.shape for x in call.tensors()]))
    return Effect("reduction", [whole(arg, 0) for arg in call.tensors()], flops={"reduction": 3 * pairs + 1})
