"""Convolutions with a mask on the weight: which taps of the kernel are known to be 0, and what is read without them.

The taps that are left are cut into boxes, each of them a convolution of a smaller kernel (PixelCNN's, van den Oord et
al., 2016, section 3.4: the rows above, and the row of the pixel up to it). Where they differ from one pair of channels
to the next, each kind of tap reads the channels that it connects.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rfcalc.ops._linear import permute, ranked
from rfcalc.ops._masks import known_zero
from rfcalc.ops.registry import Arg, Call, numel
from rfcalc.reads import Contract, Group, Reshape, Step, Steps, Transposed, Window

#: Of a weight of more elements, one for each pair of channels and tap, it is not worked out which are 0.
_LARGEST = 1 << 24

#: First and last tap along each axis.
Box = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Slide:
    """How a convolution moves over its input."""

    transposed: bool
    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    groups: int
    channels: int
    out: Sequence[int]

    def steps(self, kernel: Sequence[int]) -> Steps:
        """What is read by all taps of all channels of a group."""
        return (Group(1, self.groups, self.out[1]), *self.along([(0, size - 1) for size in kernel]))

    def along(self, box: Sequence[tuple[int, int]]) -> list[Step]:
        """What a box of taps reads along the axes of positions."""
        kind = Transposed if self.transposed else Window
        found: list[Step] = []
        for axis, (first, last) in enumerate(box):
            dilation = self.dilation[axis]
            before = self.padding[axis] - dilation * first
            found.append(kind(axis + 2, last - first + 1, self.stride[axis], dilation, before, self.out[axis + 2]))
        return found

    def pairs(self, left: np.ndarray) -> np.ndarray:
        """The pairs of an output and an input channel that taps connect, given those of the weight's first two axes."""
        if self.transposed:  # of a weight by input channel and output channel of its group
            left = left.reshape(self.groups, -1, left.shape[1]).swapaxes(1, 2).reshape(self.out[1], -1)
        rows, columns = self.out[1] // self.groups, self.channels // self.groups
        made = np.zeros((self.out[1], self.channels), dtype=bool)
        for group in range(self.groups):
            own = slice(group * rows, (group + 1) * rows)
            made[own, group * columns : (group + 1) * columns] = left[own]
        return made


def masked_reads(call: Call, slide: Slide, weight: Arg) -> list[Steps] | None:
    """The ways by which a convolution reads its input; None where nothing is known of single weights."""
    zero = known_zero(weight)
    if zero is None or numel(weight.shape) > _LARGEST:
        return None
    left = ~ranked(zero, weight.ndim)
    kernel = weight.shape[2:]
    if left.shape[:2] == (1, 1) or bool((left == left[:1, :1]).all()):
        taps = np.broadcast_to(left[0, 0], kernel)
        return [(Group(1, slide.groups, slide.out[1]), *slide.along(box)) for box in boxes(taps)]
    wide = np.broadcast_to(left, weight.shape).reshape(*weight.shape[:2], -1)
    kinds, which = np.unique(wide, axis=2, return_inverse=True)
    reads: list[Steps] = []
    for kind in range(kinds.shape[2]):
        pairs = kinds[:, :, kind]
        if pairs.any():
            first = _channels(call, slide, pairs)
            taps = (which.reshape(-1) == kind).reshape(kernel)
            reads += [(*first, *slide.along(box)) for box in boxes(taps)]
    return reads


def _channels(call: Call, slide: Slide, pairs: np.ndarray) -> Steps:
    """What is read of the input's channels: those that meet a weight."""
    if pairs.all():
        return (Group(1, slide.groups, slide.out[1]),)
    rank = len(slide.out)
    mask = call.mask(~slide.pairs(pairs))
    extents = [call["input"].shape[axis] for axis in (0, *range(2, rank))]
    return (
        *permute([0, *range(2, rank), 1]),
        Reshape((*extents, slide.channels), (*extents, slide.channels, 1)),
        Contract(mask),
        Reshape((*extents, slide.out[1], 1), (*extents, slide.out[1])),
        *permute([0, rank - 1, *range(1, rank - 1)]),
    )


def boxes(taps: np.ndarray) -> Iterator[Box]:
    """Boxes that together hold just the taps that are true, each as large as it can be from its first tap on."""
    open_ = np.array(taps, dtype=bool)
    while open_.any():
        first = [int(at) for at in np.argwhere(open_)[0]]
        last = list(first)
        for axis in reversed(range(open_.ndim)):
            while last[axis] + 1 < open_.shape[axis] and open_[_window(first, last, axis)].all():
                last[axis] += 1
        open_[tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))] = False
        yield tuple(zip(first, last, strict=True))


def _window(first: Sequence[int], last: Sequence[int], along: int) -> tuple[slice, ...]:
    """The box, at the next place along an axis."""
    ends = zip(first, last, strict=True)
    return tuple(slice(b + 1, b + 2) if axis == along else slice(a, b + 1) for axis, (a, b) in enumerate(ends))
