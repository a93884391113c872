"""Long convolutions by Fourier transforms, as those of state-space models and of long filters.

The transforms of a signal and of a kernel are multiplied, and transformed back. Where both are padded by zeros so that
nothing wraps around, that is a causal convolution, which can be worked out step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import NamedTuple

from rfcalc.graph import LayerGraph, Node, Ref
from rfcalc.reads import Slice


class Convolution(NamedTuple):
    """A causal convolution of ``length`` results a line, and what its transforms and their product take.

    ``recurrent_macs`` are those of all lines step by step: where the kernel is a sum of exponentials, as a state-space
    model's is, two for each number of the state; otherwise one for each earlier input that the kernel holds.
    """

    layer: str
    length: int
    macs: int
    flops: int
    recurrent_macs: int


_TRANSFORMS = frozenset({"aten._fft_r2c", "aten._fft_c2c"})
_INVERSE = frozenset({"aten._fft_c2r", "aten._fft_c2c"})
_PRODUCTS = frozenset({"aten.mul", "aten.mul_", "torch.einsum", "torch.matmul", "aten.bmm", "aten.mm"})
#: Kinds of op that move numbers or scale them.
_THROUGH = frozenset({"elementwise", "reshape", "cast", "copy"})
_POWERS = frozenset({"aten.exp", "aten.exp_", "aten.pow"})


def long_convolutions(graph: LayerGraph) -> Iterator[Convolution]:
    """The causal convolutions by transforms along one axis, in order of execution."""
    for inverse in graph:
        axes = inverse.attrs.get("dims", ())
        if inverse.op not in _INVERSE or len(axes) != 1:
            continue
        product = _before(graph, inverse.inputs[0], lambda record: record.op in _PRODUCTS and len(record.inputs) == 2)
        if product is None:
            continue
        ends = [_before(graph, ref, lambda record: record.op in _TRANSFORMS) for ref in product.inputs]
        if None not in ends and (found := _causal(graph, inverse, product, [end for end in ends if end is not None])):
            yield found


def _causal(graph: LayerGraph, inverse: Node, product: Node, ends: Sequence[Node]) -> Convolution | None:
    size = inverse.shape[inverse.attrs["dims"][0]]
    filled = [_filled(graph, end, size) for end in ends]
    kernel = min((0, 1), key=lambda at: (_of_inputs(graph, ends[at]), at == 0))
    signal = 1 - kernel
    length = min(filled[signal], _cropped(graph, inverse, size))
    taps = filled[kernel]
    if not 0 < taps <= size - length + 1:
        return None
    lines = prod(inverse.shape) // size
    state = _state(graph, ends[kernel], taps)
    steps = 2 * state * length if state else sum(min(step + 1, taps) for step in range(length))
    parts = {record.id: record for record in (*ends, product, inverse)}.values()
    macs = sum(record.macs or 0 for record in parts)
    flops = 2 * macs + sum(sum(record.flops.values()) for record in parts)
    return Convolution(inverse.name, length, macs, flops, lines * steps)


def _of_inputs(graph: LayerGraph, record: Node) -> bool:
    """Whether an op depends on an input of the model."""
    return record.op == "input" or any(graph[ident].op == "input" for ident in graph.ancestors([record.id]))


def _filled(graph: LayerGraph, transform: Node, size: int) -> int:
    """How many of the elements that a transform takes along its axis are not zeros of a padding; 0 where unknown."""
    axes = transform.attrs["dims"]
    if len(axes) != 1 or not transform.inputs or transform.attrs.get("size", [size])[0] != size:
        return 0
    pad = graph[transform.inputs[0].node]
    if pad.op != "aten.constant_pad_nd" or pad.attrs.get("value"):
        return size
    before, after = pad.attrs["padding"][axes[0]]
    return size - int(after) if before == 0 else size


def _cropped(graph: LayerGraph, inverse: Node, size: int) -> int:
    """How many results are taken, from the first on."""
    taken = []
    for ident in graph.readers[inverse.id]:
        steps = [step for row in graph[ident].reads for read in row for step in read.steps]
        slices = [step for step in steps if isinstance(step, Slice) and step.axis == inverse.attrs["dims"][0]]
        whole = len(slices) != 1 or slices[0].start != 0 or slices[0].step != 1
        taken.append(size if whole else slices[0].out)
    return max(taken, default=size)


def _state(graph: LayerGraph, transform: Node, taps: int) -> int:
    """The numbers of the state behind a kernel that a product sums of exponentials; 0 where it is another.

    An exponential runs along the kernel if its argument, or its exponent, is a number for each line times a constant
    for each tap.
    """
    made = _before(graph, transform.inputs[0], lambda record: bool(record.macs), pads=True)
    if made is None or made.shape[-1:] != (taps,):
        return 0
    for ref in made.inputs:
        power = _before(graph, ref, lambda record: record.op in _POWERS)
        if power is not None and power.shape[-1:] == (taps,) and _runs(graph, power):
            complex_ = made.outputs[0].dtype.startswith("complex")
            modes = (made.macs or 0) // (prod(made.shape) * (4 if complex_ else 1))
            return modes * (2 if complex_ else 1)
    return 0


def _runs(graph: LayerGraph, power: Node) -> bool:
    """Whether a power's exponent is a number for each line times a constant."""
    if power.op == "aten.pow":
        return _flat(graph, power)
    record = power
    while len(record.inputs) == 1:
        record = graph[record.inputs[0].node]
        if record.op in ("aten.mul", "aten.mul_"):
            return _flat(graph, record)
        if record.op != "aten.neg" and record.kind not in ("reshape", "cast", "copy"):
            return False
    return False


def _flat(graph: LayerGraph, record: Node) -> bool:
    """Whether an op takes one thing that is computed, the same for all taps, which are its last axis."""
    shapes = [graph[ref.node].outputs[ref.output].shape for ref in record.inputs]
    shapes += [param.shape for param in graph.params if param.name in record.params]
    return len(shapes) == 1 and shapes[0][-1:] in ((), (1,))


def _before(graph: LayerGraph, ref: Ref, found: Callable[[Node], bool], pads: bool = False) -> Node | None:
    """The op that a tensor comes from with nothing but moves and scales between."""
    record = graph[ref.node]
    while not found(record):
        through = record.kind in _THROUGH or (pads and record.kind == "pad")
        if not through or len(record.inputs) != 1 or record.macs:
            return None
        record = graph[record.inputs[0].node]
    return record


__all__ = ["Convolution", "long_convolutions"]
