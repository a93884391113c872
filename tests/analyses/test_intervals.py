"""The interval arithmetic against explicit sets (clipped), and free windows against units far from any border."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from rfcalc import reads
from rfcalc.analyses.field import arrays, intervals
from rfcalc.analyses.field.intervals import Intervals
from rfcalc.analyses.field.merging import combined, merge, union
from rfcalc.analyses.field.motion import Digit, even
from rfcalc.analyses.field.windows import window_of
from tests.ops.oracle import support

MAX_ELEMENTS = 60

Shape = tuple[int, ...]
Drawn = tuple[reads.Step, Shape]


# --- drawing steps ----------------------------------------------------------------------------------------------------


def resized(shape: Shape, axis: int, extent: int) -> Shape:
    return (*shape[:axis], extent, *shape[axis + 1 :])


def an_axis(draw: Any, shape: Shape) -> int:
    return draw(st.integers(0, len(shape) - 1))


def window(draw: Any, shape: Shape, masks: dict[int, np.ndarray]) -> Drawn:
    axis, out = an_axis(draw, shape), draw(st.integers(1, 7))
    kernel, stride, dilation = (draw(st.integers(1, 3)) for _ in range(3))
    step = reads.Window(axis, kernel, stride, dilation, draw(st.integers(-3, 5)), out)
    return step, resized(shape, axis, out)


def transposed(draw: Any, shape: Shape, masks: dict[int, np.ndarray]) -> Drawn:
    axis, out = an_axis(draw, shape), draw(st.integers(1, 9))
    kernel, stride, dilation = (draw(st.integers(1, 3)) for _ in range(3))
    step = reads.Transposed(axis, kernel, stride, dilation, draw(st.integers(0, 4)), out)
    return step, resized(shape, axis, out)


def spans(draw: Any, shape: Shape, masks: dict[int, np.ndarray]) -> Drawn:
    axis, out = an_axis(draw, shape), draw(st.integers(1, 6))
    ends = st.tuples(st.integers(0, shape[axis] - 1), st.integers(0, shape[axis] - 1)).map(sorted)
    first, last = zip(*(draw(ends) for _ in range(out)), strict=True)
    return reads.Spans(axis, first, last), resized(shape, axis, out)


def reduce(draw: Any, shape: Shape, masks: dict[int, np.ndarray]) -> Drawn:
    axes = tuple(sorted(draw(st.sets(st.integers(0, len(shape) - 1)))))
    return reads.Reduce(axes), tuple(1 if axis in axes else extent for axis, extent in enumerate(shape))


def group(draw: Any, shape: Shape, masks: dict[int, np.ndarray]) -> Drawn:
    axis = an_axis(draw, shape)
    groups = draw(st.sampled_from([k for k in range(1, shape[axis] + 1) if shape[axis] % k == 0]))
    out = groups * draw(st.integers(1, 3))
    return reads.Group(axis, groups, out), resized(shape, axis, out)


def reshape(draw: Any, shape: Shape, masks: dict[int, np.ndarray]) -> Drawn:
    rest, out = math.prod(shape), []
    for _ in range(draw(st.integers(0, 3))):
        out.append(draw(st.sampled_from([k for k in range(1, rest + 1) if rest % k == 0])))
        rest //= out[-1]
    out.insert(draw(st.integers(0, len(out))), rest)
    return reads.Reshape(shape, tuple(out)), tuple(out)


def permute(draw: Any, shape: Shape, masks: dict[int, np.ndarray]) -> Drawn:
    axes = tuple(draw(st.permutations(range(len(shape)))))
    return reads.Permute(axes), tuple(shape[axis] for axis in axes)


def slice_(draw: Any, shape: Shape, masks: dict[int, np.ndarray]) -> Drawn:
    axis = an_axis(draw, shape)
    start = draw(st.integers(0, shape[axis] - 1))
    step = draw(st.sampled_from([-2, -1, 1, 2, 3]))
    room = (shape[axis] - 1 - start if step > 0 else start) // abs(step) + 1
    out = draw(st.integers(1, room))
    return reads.Slice(axis, start, step, out), resized(shape, axis, out)


def take(draw: Any, shape: Shape, masks: dict[int, np.ndarray]) -> Drawn:
    axis = an_axis(draw, shape)
    indices = tuple(draw(st.lists(st.integers(-1, shape[axis] - 1), min_size=1, max_size=7)))
    return reads.Take(axis, indices), resized(shape, axis, len(indices))


def pad(draw: Any, shape: Shape, masks: dict[int, np.ndarray]) -> Drawn:
    axis, mode = an_axis(draw, shape), draw(st.sampled_from(["zero", "reflect", "replicate", "circular"]))
    size = shape[axis]
    before = draw(st.integers(1 - size, 4))
    after = draw(st.integers(1 - size - min(before, 0), 4))
    kept = size + min(before, 0) + min(after, 0)
    most = {"reflect": kept - 1, "circular": kept}.get(mode, 4)
    before, after = min(before, most), min(after, most)
    return reads.Pad(axis, size, before, after, mode), resized(shape, axis, size + before + after)


def place(draw: Any, shape: Shape, masks: dict[int, np.ndarray]) -> Drawn:
    axis = an_axis(draw, shape)
    offset, step, room = draw(st.integers(0, 3)), draw(st.integers(1, 3)), draw(st.integers(0, 3))
    out = offset + (shape[axis] - 1) * step + 1 + room
    return reads.Place(axis, shape[axis], offset, out, step), resized(shape, axis, out)


def erase(draw: Any, shape: Shape, masks: dict[int, np.ndarray]) -> Drawn:
    box = []
    for axis in sorted(draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))):
        offset, step = draw(st.integers(0, shape[axis] - 1)), draw(st.integers(1, 2))
        box.append((axis, draw(st.integers(1, (shape[axis] - 1 - offset) // step + 1)), offset, step))
    return reads.Erase(shape, tuple(box)), shape


def prefix(draw: Any, shape: Shape, masks: dict[int, np.ndarray]) -> Drawn:
    axis = an_axis(draw, shape)
    return reads.Prefix(axis, shape[axis], draw(st.booleans())), shape


def mask_of(draw: Any, shape: Shape) -> np.ndarray:
    """A boolean mask that broadcasts over the shape: some of its axes of extent 1, leading ones missing."""
    extents = [draw(st.sampled_from([1, extent])) for extent in shape[draw(st.integers(0, len(shape) - 1)) :]]
    flags = draw(st.lists(st.booleans(), min_size=math.prod(extents), max_size=math.prod(extents)))
    return np.array(flags, dtype=bool).reshape(extents)


def blocked(draw: Any, shape: Shape, masks: dict[int, np.ndarray]) -> Drawn:
    masks[len(masks)] = mask_of(draw, shape)
    return reads.Blocked(len(masks) - 1), shape


def contract(draw: Any, shape: Shape, masks: dict[int, np.ndarray]) -> Drawn | None:
    if len(shape) < 2:
        return None
    queries = draw(st.integers(1, 4))
    lead = [draw(st.sampled_from([1, extent])) for extent in shape[:-2]]
    flags = draw(st.lists(st.booleans(), min_size=(n := math.prod(lead) * queries * shape[-2]), max_size=n))
    masks[len(masks)] = np.array(flags, dtype=bool).reshape(*lead, queries, shape[-2])
    return reads.Contract(len(masks) - 1), resized(shape, len(shape) - 2, queries)


Drawer = Callable[[Any, Shape, dict[int, np.ndarray]], Drawn | None]
DRAWERS: dict[type[Any], Drawer] = {
    reads.Window: window, reads.Transposed: transposed, reads.Spans: spans, reads.Reduce: reduce, reads.Group: group,
    reads.Reshape: reshape, reads.Permute: permute, reads.Slice: slice_, reads.Take: take, reads.Pad: pad,
    reads.Place: place, reads.Erase: erase, reads.Prefix: prefix, reads.Blocked: blocked, reads.Contract: contract,
}  # fmt: skip


@st.composite
def sequences(draw: Any, kinds: Sequence[Drawer]) -> tuple[Shape, list[reads.Step], dict[int, np.ndarray]]:
    """A shape, steps that fit one after the other, and the masks that they refer to."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4).filter(lambda s: math.prod(s) <= 40)))
    first, steps, masks = shape, [], {}
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=5)):
        made = kind(draw, shape, masks)
        if made is not None and math.prod(made[1]) <= MAX_ELEMENTS:
            steps.append(made[0])
            shape = made[1]
            event(made[0].code)
    return first, steps, masks


# --- clipped: exact for every element ---------------------------------------------------------------------------------


def hulls(sets: np.ndarray, shape: Shape, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last index along one source axis of every element's set; 1 and 0 where it is empty."""
    others = tuple(sets.ndim - 1 + k for k in range(len(shape)) if k != axis)
    seen = sets.reshape(*sets.shape[:-1], *shape).any(axis=others)
    first, last = seen.argmax(-1), shape[axis] - 1 - seen[..., ::-1].argmax(-1)
    empty = ~seen.any(-1)
    return np.where(empty, 1, first), np.where(empty, 0, last)


def clipped(shape: Shape, axis: int, steps: Sequence[reads.Step], masks: Mapping[int, np.ndarray]) -> Intervals:
    field = intervals.source(shape, axis)
    for step in steps:
        field = arrays.apply(field, step, masks, free=False)
    return field


def assert_exact(field: Intervals, sets: np.ndarray, shape: Shape, axis: int) -> None:
    first, last = hulls(sets, shape, axis)
    assert field.shape == first.shape
    nothing = field.lo > field.hi
    np.testing.assert_array_equal(np.broadcast_to(np.where(nothing, 1, field.lo), first.shape), first)
    np.testing.assert_array_equal(np.broadcast_to(np.where(nothing, 0, field.hi), last.shape), last)


@settings(max_examples=800, deadline=None)
@given(sequences(list(DRAWERS.values())))
def test_sequences_of_steps_are_exact_for_every_element(drawn):
    shape, steps, masks = drawn
    sets = support(shape, tuple(steps), masks)

    for axis in range(len(shape)):
        assert_exact(clipped(shape, axis, steps, masks), sets, shape, axis)


@pytest.mark.parametrize("kind", DRAWERS, ids=lambda kind: kind.code)
def test_each_step_alone_and_after_a_movement(kind):
    movements = [reshape, permute, reduce, slice_]

    @settings(max_examples=25, deadline=None)
    @given(sequences([DRAWERS[kind]]), st.data())
    def check(drawn, data):
        shape, steps, masks = drawn
        before = data.draw(st.sampled_from(movements))(data.draw, shape, masks)
        for sequence, start in ((steps, shape), ([before[0]], shape)):
            sets = support(start, tuple(sequence), masks)
            for axis in range(len(start)):
                assert_exact(clipped(start, axis, sequence, masks), sets, start, axis)

    check()


def test_every_step_is_drawn():
    assert set(DRAWERS) == set(reads._STEPS)


@settings(max_examples=150, deadline=None)
@given(sequences(list(DRAWERS.values())), st.data())
def test_unions_are_exact_whether_merged_or_kept_apart(drawn, data):
    shape, steps, masks = drawn
    second: list[reads.Step] = []
    for kind in data.draw(st.lists(st.sampled_from([window, erase, prefix, blocked]), max_size=2)):
        made = kind(data.draw, shape, masks)
        if made is not None and made[1] == shape:
            second.append(made[0])
    first = [step for step in steps[:1] if clipped(shape, 0, [step], masks).shape == shape]
    sets = support(shape, tuple(first), masks) | support(shape, tuple(second), masks)

    for axis in range(len(shape)):
        parts = (clipped(shape, axis, first, masks), clipped(shape, axis, second, masks))
        assert_exact(union(parts), sets, shape, axis)
        assert_exact(combined(merge(parts)), sets, shape, axis)


@settings(max_examples=150, deadline=None)
@given(sequences([window, permute, slice_, reduce]), st.data())
def test_broadcasting_repeats_what_is_seen(drawn, data):
    shape, steps, masks = drawn
    sets = support(shape, tuple(steps), masks)
    wide = tuple(data.draw(st.integers(1, 3)) if extent == 1 else extent for extent in sets.shape[:-1])
    repeated = np.broadcast_to(sets, (*wide, sets.shape[-1]))

    for axis in range(len(shape)):
        assert_exact(intervals.broadcast(clipped(shape, axis, steps, masks), wide), repeated, shape, axis)


# --- free: the window of units far from every border ------------------------------------------------------------------

#: Steps of a chain as a function of the extent they meet, with their period and shift.
Part = tuple[Callable[[int], list[reads.Step]], int, int]


@st.composite
def chain_parts(draw: Any, flips: bool) -> Part:
    kind = draw(st.sampled_from(["window", "pad", "transposed", "spans", "slice", "patches", "repeat", "reverse"]))
    kernel, stride, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    before = draw(st.integers(0, 4))
    span = dilation * (kernel - 1) + 1
    match kind:
        case "window":
            wide = 2 * before - span
            return lambda n: [reads.Window(0, kernel, stride, dilation, before, (n + wide) // stride + 1)], 1, stride
        case "transposed":
            less = 2 * min(before, span - 1) - span
            return lambda n: [
                reads.Transposed(0, kernel, stride, dilation, min(before, span - 1), (n - 1) * stride - less)
            ], stride, 1  # fmt: skip
        case "pad":
            mode = draw(st.sampled_from(["zero", "reflect", "replicate", "circular"]))
            width, after = draw(st.integers(-3, 4)), draw(st.integers(-3, 4))
            return lambda n: [reads.Pad(0, n, width, after, mode)], 1, 1
        case "slice":
            start, sign = draw(st.integers(0, 3)), draw(st.sampled_from([1, -1])) if flips else 1
            at = (lambda n: start) if sign > 0 else (lambda n: n - 1 - start)
            return lambda n: [reads.Slice(0, at(n), sign * stride, (n - 1 - start) // stride + 1)], 1, sign * stride
        case "patches":  # each patch as a whole
            join = lambda n: reads.Reshape((n // stride, 1), (n // stride,))  # noqa: E731
            return lambda n: [*split(n, stride), reads.Reduce((1,)), join(n)], 1, stride
        case "repeat":  # as nearest upsampling
            again = reads.Take(1, (0,) * stride)
            return lambda n: [reads.Reshape((n,), (n, 1)), again, reads.Reshape((n, stride), (n * stride,))], stride, 1
        case "reverse":  # the order inside each patch
            back = reads.Slice(1, stride - 1, -1, stride)
            merge = lambda n: reads.Reshape((n // stride, stride), (n // stride * stride,))  # noqa: E731
            return lambda n: [*split(n, stride), back, merge(n)], stride, stride
    period, shift = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    rows = [sorted(draw(st.tuples(st.integers(-2, 4), st.integers(-2, 4)))) for _ in range(period)]
    return lambda n: [interpolation(n, period, shift, rows)], period, shift


def split(extent: int, size: int) -> list[reads.Step]:
    """As many whole patches of that size as there are, the rest left out."""
    whole = extent // size * size
    return [reads.Slice(0, 0, 1, whole), reads.Reshape((whole,), (whole // size, size))]


def interpolation(extent: int, period: int, shift: int, rows: Sequence[Sequence[int]]) -> reads.Spans:
    """A repeating pattern of spans, clamped to the tensor."""
    count = extent * period // shift
    ends = [[row[end] + u // period * shift for u in range(count) for row in [rows[u % period]]] for end in (0, 1)]
    first, last = (tuple(min(max(i, 0), extent - 1) for i in column) for column in ends)
    free = [tuple(row[end] for row in rows) for end in (0, 1)]
    return reads.Spans(0, first, last, period, shift, *free)


def run_chain(parts: Sequence[Part], extent: int, *, free: bool) -> tuple[Intervals, bool] | None:
    """The field of a chain on an axis of that extent, and whether a whole period fitted all the way.

    None where the axis gets too short for the next step.
    """
    field = intervals.source((extent,), 0)
    period, fitted = 1, True
    for make, turns, shift in parts:
        if field.shape[0] < 16:
            return None
        for step in make(field.shape[0]):
            field = arrays.apply(field, step, {}, free=free)
        period = turns * (period // math.gcd(period, abs(shift)))
        fitted &= period <= field.shape[0]
    return field, fitted


def expected_stride(parts: Sequence[Part]) -> Fraction:
    return math.prod((Fraction(shift, period) for _, period, shift in parts), start=Fraction(1))


LONG = 1200


@pytest.mark.parametrize("flips", [False, True])
def test_free_windows_are_the_regions_of_interior_units(flips):
    @settings(max_examples=300, deadline=None)
    @given(st.lists(chain_parts(flips), min_size=1, max_size=4), st.integers(40, 90))
    def check(parts, short):
        (exact, fitted), (free, _) = (run_chain(parts, LONG, free=free) for free in (False, True))
        found = window_of(free)
        assert fitted
        assert found is not None
        assert found.stride == expected_stride(parts)
        units = np.arange(exact.shape[0])
        turns, phase = np.divmod(units, found.period)
        lo = np.asarray(found.lo)[phase] + turns * found.shift
        hi = np.asarray(found.hi)[phase] + turns * found.shift
        empty = np.asarray(found.sizes)[phase] == 0
        middle = np.where(empty, np.abs(units - len(units) // 2) < len(units) // 8, (lo >= 200) & (hi < LONG - 200))
        assert middle.sum() >= found.period
        np.testing.assert_array_equal((exact.lo > exact.hi)[middle], empty[middle])
        seen = middle & ~empty
        np.testing.assert_array_equal(exact.lo[seen], lo[seen])
        np.testing.assert_array_equal(exact.hi[seen], hi[seen])
        shorter = run_chain(parts, short, free=True)
        if shorter and not flips:  # the window is the same on a short axis, where a whole period fits
            less, fitted = shorter
            window = window_of(less)
            assert (window is not None) == fitted
            if window is not None:
                assert (window.sizes, window.shift) == (found.sizes, found.shift)
                assert [(a, b) for a, b, n in zip(window.lo, window.hi, window.sizes, strict=True) if n] == [
                    (a, b) for a, b, n in zip(found.lo, found.hi, found.sizes, strict=True) if n
                ]

    check()


def test_stride_larger_than_the_kernel_leaves_units_that_see_nothing():
    field = arrays.apply(intervals.source((20,), 0), reads.Transposed(0, 2, 3, 1, 0, 59), {}, free=True)

    found = window_of(field)

    assert found is not None
    assert (found.period, found.shift, found.sizes, found.lo[:2]) == (3, 1, (1, 1, 0), (0, 0))


def test_a_gather_has_no_window_unless_it_moves_evenly():
    source = intervals.source((8,), 0)

    assert window_of(arrays.apply(source, reads.Take(0, (0, 3, 1, 2)), {}, free=True)) is None
    even = window_of(arrays.apply(source, reads.Take(0, (1, 3, 5, 7)), {}, free=True))
    assert even is not None
    assert (even.stride, even.lo, even.hi) == (2, (1,), (1,))


def test_what_differs_within_windows_repeats_from_window_to_window():
    line = np.arange(3, dtype=np.int64).reshape(1, 3)
    made = arrays.apply(Intervals((4, 3), line, line, {1: even(3, 1)}), reads.Reshape((4, 3), (12,)), {}, free=True)

    assert made.lo.tolist() == [0, 1, 2] * 4
    assert made.motions == {0: (Digit(4, 1, 0, False), Digit(3, 1, 1))}
