"""Interpolation: nearest, linear, cubic and antialiased, up and down.

Positions follow exact rational arithmetic. torch computes them in floating point: where a weight is 0 exactly, its
float32 result may be a tiny weight (about 1e-6) on a neighbour, which is no read here. A nearest neighbour is another
matter: rounding moves the read itself, so its index is computed as torch's CPU kernels do (contiguous tensors). Other
kernels (CUDA, 3-D channels-last) may differ where a position falls exactly between two elements, and where a scale
leaves the size as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, product
from math import ceil, floor

import numpy as np

from rfcalc.ops.pool import dimensions
from rfcalc.ops.registry import Arg, Call, Effect, numel, rule
from rfcalc.reads import Spans, Step, Steps

#: The runs of indices, (first, last), that one position reads; a cubic kernel can leave holes between them.
Runs = list[tuple[int, int]]

#: Half the support of the kernel that each mode applies, in pixels.
_REACH = {"linear": 1, "cubic": 2, "lanczos": 3}


@rule(
    "aten.upsample_nearest1d",
    "aten.upsample_nearest2d",
    "aten.upsample_nearest3d",
    "aten._upsample_nearest_exact1d",
    "aten._upsample_nearest_exact2d",
    "aten._upsample_nearest_exact3d",
)
def nearest(call: Call) -> Effect:
    """Nearest: u reads floor(u*in/out), exact floor((u+1/2)*in/out), rounded as torch rounds; no arithmetic."""
    x = _input(call)
    steps: Steps = ()
    notes: list[str] = []
    for axis, _, out, scale in _axes(call, x):
        moved, step = _nearest_axis(call, x, axis, scale)
        steps += step
        if moved:
            notes.append(f"axis {axis}: rounding moves {moved} of {out} positions to the neighbouring element")
    attrs = _attrs(call, x, "nearest-exact" if "exact" in call.op else "nearest")
    return Effect("upsample", [(x, steps)], attrs=attrs, notes=tuple(notes))


@rule(
    "aten.upsample_linear1d",
    "aten.upsample_bilinear2d",
    "aten.upsample_trilinear3d",
    "aten.upsample_bicubic2d",
)
def interpolate(call: Call) -> Effect:
    """Linear (2 taps an axis) and cubic (4): reads the taps of weight other than 0, 2*taps-1 operations an element."""
    x = _input(call)
    mode = "cubic" if "cubic" in call.op else "linear"
    align = bool(call["align_corners"])
    options: list[list[Steps]] = []
    for axis, size, out, scale in _axes(call, x):
        ratio = _aligned(size, out) if align else _ratio(size, out, scale)
        if size == out and (mode == "linear" or ratio == 1):
            options.append([()])  # linear: torch copies, whatever the scale says
            continue
        lattice = Lattice(ratio, Fraction(0) if align else (ratio - 1) / 2, _REACH[mode], Fraction(1))
        options.append(_spans(axis, size, out, lattice))
    taps = (2 * _REACH[mode]) ** len(options)
    attrs = {**_attrs(call, x, call.op.removeprefix("aten.upsample_").rstrip("123d")), "align_corners": align}
    flops = {"interpolation": (2 * taps - 1) * numel(call.out.shape)}
    return Effect("upsample", _reads(x, options), flops=flops, attrs=attrs)


@rule("aten._upsample_bilinear2d_aa", "aten._upsample_bicubic2d_aa", "aten._upsample_lanczos2d_aa")
def antialiased(call: Call) -> Effect:
    """Antialiased: reads the support, in/out times wider when shrinking; W, then H, 2*taps-1 operations an element."""
    x = _input(call)
    mode = next(name for name in _REACH if name in call.op)
    align = bool(call["align_corners"])
    options: list[list[Steps]] = []
    operations: list[int] = []
    for axis, size, out, scale in _axes(call, x):
        if size == out:
            options.append([()])  # torch leaves the pass out, whatever the scale says
            operations.append(0)
            continue
        ratio = _aligned(size, out) if align else _ratio(size, out, scale)
        lattice = Lattice(ratio, (ratio - 1) / 2, _REACH[mode], max(ratio, Fraction(1)))
        options.append(_spans(axis, size, out, lattice, clip=True))
        operations.append(_operations(size, out, lattice))
    rows, columns = operations
    total = numel(x.shape[:-2]) * (columns * x.shape[-2] + rows * call.out.shape[-1])
    name = "lanczos" if mode == "lanczos" else f"bi{mode}"
    attrs = {**_attrs(call, x, name), "align_corners": align, "antialias": True}
    return Effect("upsample", _reads(x, options), flops={"interpolation": total}, attrs=attrs)


@rule("keras.up_sampling")
def repeated(call: Call) -> Effect:
    """Keras's upsampling by repetition, whichever axes are the channels: u reads floor(u/factor); no arithmetic."""
    x: Arg = call["input"]
    factors: Sequence[int] = call["factors"]
    steps: list[Step] = []
    for axis, (factor, out) in enumerate(zip(factors, call.out.shape, strict=True)):
        if factor > 1:
            at, period = tuple(u // factor for u in range(out)), (0,) * factor
            steps.append(Spans(axis, at, at, factor, 1, period, period))
    return Effect("upsample", [(x, tuple(steps))], attrs={"mode": "nearest", "factors": list(factors)})


# --- the call's settings ----------------------------------------------------------------------------------------------


def _input(call: Call) -> Arg:
    x: Arg = call["self"] if call["self"] is not None else call["input"]
    return x


def _axes(call: Call, x: Arg) -> list[tuple[int, int, int, float | None]]:
    """(axis, extent before, extent after, the user's scale) of every axis that is resampled."""
    spatial = dimensions(call.op)
    names = ["scales_d", "scales_h", "scales_w"][-spatial:] if spatial > 1 else ["scales"]
    scales: Sequence[float | None] = call["scale_factors"] or [call[name] for name in names]
    first = x.ndim - spatial
    # torch takes a scale that is not positive for a missing one.
    return [
        (first + k, x.shape[first + k], call.out.shape[first + k], scale if scale is not None and scale > 0 else None)
        for k, scale in enumerate(scales)
    ]


def _attrs(call: Call, x: Arg, mode: str) -> dict[str, object]:
    axes = _axes(call, x)
    return {
        "mode": mode,
        "output_size": [out for _, _, out, _ in axes],
        "scale": [_plain(size, out, scale) for _, size, out, scale in axes],
    }


def _plain(size: int, out: int, scale: float | None) -> int | float | str:
    ratio = 1 / _ratio(size, out, scale)
    if ratio.denominator == 1:
        return int(ratio)
    return scale if scale is not None else str(ratio)


def _ratio(size: int, out: int, scale: float | None) -> Fraction:
    """Source pixels per output pixel: 1/scale if the user gave one, else in/out."""
    if scale is None:
        return Fraction(size, out)
    simple = Fraction(scale).limit_denominator(1_000_000)
    # The double 0.333... means 1/3: the simplest fraction that rounds to it.
    return 1 / (simple if float(simple) == scale else Fraction(scale))


def _aligned(size: int, out: int) -> Fraction:
    """The same where the centres of the corners coincide."""
    return Fraction(size - 1, out - 1) if out > 1 else Fraction(0)


# --- which indices are read -------------------------------------------------------------------------------------------


def _nearest_axis(call: Call, x: Arg, axis: int, scale: float | None) -> tuple[int, Steps]:
    """The step of one axis, and how many positions rounding moves away from where exact arithmetic puts them."""
    size, out = x.shape[axis], call.out.shape[axis]
    exact, plane = "exact" in call.op, dimensions(call.op) == 2
    if plane and not exact and out in (size, 2 * size):
        ratio = Fraction(size, out)  # torch's two shortcuts, whatever the scale says
        indices = np.arange(out) * size // out
    else:
        ratio = _ratio(size, out, scale)
        indices = np.minimum(_rounded(size, out, scale, exact, plane, x.dtype), size - 1)
    if size == out and (indices == np.arange(size)).all():
        return 0, ()
    offset = ratio / 2 if exact else Fraction(0)
    period, shift = ratio.denominator, ratio.numerator
    ideal = np.array([floor(u * ratio + offset) for u in range(min(period, out))])
    cycle, phase = np.divmod(np.arange(out), period)
    moved = int((np.minimum(ideal[phase] + cycle * shift, size - 1) != indices).sum())
    rows, free = tuple(indices.tolist()), tuple(ideal.tolist())
    if moved or period > out:
        return moved, (Spans(axis, rows, rows),)
    return 0, (Spans(axis, rows, rows, period, shift, free, free),)


def _rounded(size: int, out: int, scale: float | None, exact: bool, plane: bool, dtype: str) -> np.ndarray:
    """The index that torch's floating-point arithmetic gives; one and three axes have another kernel than the plane."""
    number = np.dtype("float64" if dtype == "float64" and not plane else "float32")
    factor = np.array(1 / scale if scale is not None else size, number)
    if scale is None:
        factor = factor / np.array(out, number)
    if plane or not exact:
        places = (np.arange(out) + exact / 2).astype(number) * factor
    else:  # (u + 1/2)*factor - 1/2 rounds once, as a fused multiply-add; then 1/2 is added back
        sources = (factor.astype(np.float64) * (np.arange(out) + 0.5) - 0.5).astype(number)
        places = np.maximum(sources, 0) + np.array(0.5, number)
    indices: np.ndarray = np.floor(places.astype(np.float32)).astype(np.int64)
    return indices


@dataclass(frozen=True)
class Lattice:
    """Where position u samples its source, ``ratio*u + offset``, and the kernel's support, ``reach*width`` a side."""

    ratio: Fraction
    offset: Fraction
    reach: int
    width: Fraction

    def taps(self, position: int) -> Runs:
        """Runs of the indices of non-zero weight, without borders: the kernels vanish at every whole width but 0."""
        source = self.ratio * position + self.offset
        support = self.reach * self.width
        places = range(ceil(source - support), floor(source + support) + 1)
        return _runs([j for j in places if j == source or ((j - source) / self.width).denominator != 1])


def _runs(numbers: Sequence[int]) -> Runs:
    """Ascending numbers as runs.

    >>> _runs([1, 2, 3, 5])
    [(1, 3), (5, 5)]
    """
    parts = [[j for _, j in part] for _, part in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return [(part[0], part[-1]) for part in parts]


def _spans(axis: int, size: int, out: int, lattice: Lattice, clip: bool = False) -> list[Steps]:
    """Spans whose union is what the positions read: as many as a position has runs (one, unless the kernel has holes).

    Taps beyond a border read the border's element, or nothing (``clip``).
    """
    period, shift = lattice.ratio.denominator, lattice.ratio.numerator
    runs = [lattice.taps(u) for u in range(min(period, out))]
    # free[k, phase] is run k of a phase, its last run where it has fewer
    free = np.array([[row[min(k, len(row) - 1)] for row in runs] for k in range(max(map(len, runs)))])
    cycle, phase = np.divmod(np.arange(out), period)
    moved = free[:, phase] + (cycle * shift)[:, None]
    if clip:
        rows = np.stack([np.maximum(moved[..., 0], 0), np.minimum(moved[..., 1], size - 1)], axis=-1)
        kept = rows[..., 0] <= rows[..., 1]
        rows = np.where(kept[..., None], rows, rows[kept.argmax(axis=0), np.arange(out)])
    else:
        rows = np.clip(moved, 0, size - 1)
    repeats = period <= out and shift > 0
    pattern = (period, shift) if repeats else (0, 0)
    return [
        (Spans(axis, *_columns(row), *pattern, *_columns(free_row if repeats else free_row[:0])),)
        for row, free_row in zip(rows, free, strict=True)
    ]


def _columns(row: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(row[:, 0].tolist()), tuple(row[:, 1].tolist())


def _operations(size: int, out: int, lattice: Lattice) -> int:
    """Multiplications and additions of one antialiased pass over one line: 2*taps - 1 for each output."""
    support = lattice.reach * lattice.width
    total = 0
    for u in range(out):
        source = lattice.ratio * u + lattice.offset
        taps = min(ceil(source + support) - 1, size - 1) - max(floor(source - support) + 1, 0) + 1
        total += 2 * taps - 1
    return total


def _reads(x: Arg, options: list[list[Steps]]) -> list[tuple[Arg, Steps]]:
    """One read for each combination of the axes' runs."""
    return [(x, tuple(step for steps in parts for step in steps)) for parts in product(*options)]
