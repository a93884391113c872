"""Lines against interval arrays of any rank: the same steps give the same field, free and clipped."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfcalc import reads
from rfcalc.analyses.field import arrays, intervals, joins, lines, merging, stepping
from rfcalc.analyses.field.intervals import Intervals
from rfcalc.analyses.field.lines import Even, Lined, lined, source_line
from rfcalc.analyses.field.motion import Digit, even
from rfcalc.analyses.field.windows import pace_of, window_of

Shape = tuple[int, ...]


def drawn_step(draw: Any, shape: Shape) -> reads.Step:
    """A step on a tensor of shape (channels, rows, columns), mostly along the rows."""
    axis = draw(st.sampled_from([1, 1, 1, 2]))
    extent, out = shape[axis], draw(st.integers(1, 7))
    kernel, stride, dilation = (draw(st.integers(1, 3)) for _ in range(3))
    before = draw(st.integers(-2, 3))
    index = st.integers(0, extent - 1)
    first, last = zip(*[sorted((draw(index), draw(index))) for _ in range(out)], strict=True)
    return draw(
        st.sampled_from(
            [
                reads.Window(axis, kernel, stride, dilation, before, out),
                reads.Window(axis, 1, 1, 1, 0, extent),
                reads.Transposed(axis, kernel, stride, dilation, max(before, 0), out),
                reads.Spans(axis, first, last),
                reads.Slice(axis, extent - 1, -1, extent),
                reads.Take(axis, tuple(draw(st.integers(-1, extent - 1)) for _ in range(out))),
                reads.Pad(axis, extent, max(before, 0), 1, draw(st.sampled_from(["zero", "replicate"]))),
                reads.Place(axis, extent, 1, extent + 2),
                reads.Prefix(axis, extent),
                reads.Group(0, 1, draw(st.integers(1, 4))),
                reads.Reduce((draw(st.integers(0, 2)),)),
                reads.Reshape(shape, (1, *shape)),
                reads.Permute(draw(st.permutations(range(3))).copy()),  # type: ignore[arg-type]
            ]
        )
    )


def assert_same(one: Intervals, other: Intervals) -> None:
    """Both see the same at every element, and know the same patterns."""
    assert one.shape == other.shape
    assert dict(one.motions) == dict(other.motions)
    nothing = [field.lo > field.hi for field in (one, other)]
    for ends in ("lo", "hi"):
        arrays = [np.where(gone, 0, getattr(field, ends)) for gone, field in zip(nothing, (one, other), strict=True)]
        np.testing.assert_array_equal(*np.broadcast_arrays(*arrays))
    np.testing.assert_array_equal(*np.broadcast_arrays(*nothing))
    assert one.sees_nothing() == other.sees_nothing()
    assert one.covers(6) == other.covers(6)
    assert one.sizes() == other.sizes()
    if not nothing[1].any():
        assert window_of(one) == window_of(other)
        assert pace_of(one) == pace_of(other)


def applied(field: Intervals, step: reads.Step, *, free: bool, alone: bool = False) -> Intervals:
    """The field after one step."""
    return stepping.Plans({}).after(field, (step,), free, alone)


def after(draw: Any, quick: Intervals, slow: Intervals, free: bool, count: int) -> tuple[Intervals, Intervals]:
    """Both after the same random steps."""
    for _ in range(count):
        if len(slow.shape) != 3 or 0 in slow.shape:
            break
        step = drawn_step(draw, slow.shape)
        if isinstance(step, reads.Permute):
            step = reads.Permute(tuple(step.axes))
        alone = free and isinstance(step, reads.Place)
        quick = applied(quick, step, free=free, alone=alone)
        slow = arrays.place_alone(slow, step) if alone else arrays.apply(slow, step, {}, free=free)
        assert_same(quick, slow)
    return quick, slow


@settings(max_examples=200, deadline=None)
@given(st.data(), st.booleans())
def test_chains_of_steps(data, free):
    shape = (2, 6, 3)
    after(data.draw, lined(shape, 1, source_line(6)), intervals.source(shape, 1), free, 6)


#: Steps that keep the rows and columns of a tensor of 6 x 3, so that branches can be joined.
KEEPING = (
    reads.Window(1, 3, 1, 1, 1, 6),
    reads.Window(1, 1, 1, 1, 0, 6),
    reads.Window(1, 3, 1, 2, 2, 6),
    reads.Window(2, 2, 1, 1, 2, 3),
    reads.Transposed(1, 3, 1, 1, 1, 6),
    reads.Slice(1, 5, -1, 6),
    reads.Take(1, (0, 0, 2, 2, 4, -1)),
    reads.Prefix(1, 6),
    reads.Group(0, 1, 3),
    reads.Reduce((1,)),
)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.lists(st.lists(st.sampled_from(KEEPING), max_size=3), min_size=2, max_size=4), st.booleans())
def test_concatenations_and_unions_of_branches(data, branches, free):
    line, made = source_line(6), []
    for steps in branches:
        shape = (3, 6, 3)
        quick, slow = lined(shape, 1, line), intervals.source(shape, 1)
        for step in steps:
            quick, slow = applied(quick, step, free=free), arrays.apply(slow, step, {}, free=free)
        made.append((stepping.broadcast(quick, shape), intervals.broadcast(slow, shape)))
    quicks, slows = zip(*made, strict=True)
    assert_same(merging.combined(joins.merge(quicks)), merging.combined(merging.merge(slows)))
    whole = (3 * len(made), 6, 3)
    places = [reads.Place(0, 3, 3 * at, whole[0]) for at in range(len(made))]
    quick = joins.concatenate(list(zip(quicks, places, strict=True)), whole, 0)
    slow = merging.concatenate(list(zip(slows, places, strict=True)), whole, 0)
    assert_same(quick, slow)
    after(data.draw, quick, slow, free, 3)


def test_a_convolution_without_padding_needs_no_array():
    field = applied(lined((1, 9), 1, source_line(9)), reads.Window(1, 3, 2, 1, 0, 4), free=False)

    assert isinstance(field, Lined)
    assert isinstance(field.line, Even)
    assert (field.line.first, field.line.last, field.line.shift) == (0, 2, 2)
    assert field.lo.tolist() == [[0, 2, 4, 6]]


def test_equal_steps_along_two_axes_share_one_line():
    line = source_line(8)
    rows, columns = (
        applied(lined((1, 8, 8), axis, line), reads.Window(axis, 3, 1, 1, 1, 8), free=False) for axis in (1, 2)
    )

    assert isinstance(rows, Lined)
    assert isinstance(columns, Lined)
    assert rows.line is columns.line


def test_runs_of_channels_become_one_where_they_see_the_same():
    line, shape = source_line(5), (2, 5)
    wide = applied(lined(shape, 1, line), reads.Window(1, 3, 1, 1, 1, 5), free=True)
    same = lined(shape, 1, line), lined(shape, 1, source_line(5))

    runs = joins.concatenate(
        [(same[0], reads.Place(0, 2, 0, 6)), (same[1], reads.Place(0, 2, 2, 6)), (wide, reads.Place(0, 2, 4, 6))],
        (6, 5),
        0,
    )

    assert isinstance(runs, Lined)
    assert [(count, one.lo[0]) for count, one in runs.runs] == [(4, 0), (2, -1)]
    assert lines.hull(runs).lo.tolist() == [-1, 0, 1, 2, 3]
    grouped = applied(runs, reads.Group(0, 1, 8), free=True)
    assert (grouped.shape, grouped.extents, grouped.motions) == ((8, 5), (1, 5), {1: even(5, 1)})


@pytest.mark.parametrize("axes", [(), (1,), (1, 2)], ids=str)
def test_a_field_that_depends_on_two_axes_stays_as_it_is(axes):
    lo = np.arange(np.prod([3 if axis in axes else 1 for axis in range(3)]), dtype=np.int64)
    field = Intervals((2, 3, 3), *[lo.reshape([3 if axis in axes else 1 for axis in range(3)])] * 2, {})

    assert isinstance(lines.narrowed(field), Lined) == (len(axes) < 2)


def test_runs_that_a_gather_moves_unlike_have_no_pattern_in_common():
    doubled, moved = reads.Transposed(1, 2, 2, 1, 0, 12), reads.Window(1, 1, 1, 1, -1, 12)
    whole, places = (4, 12), [reads.Place(0, 2, 0, 4), reads.Place(0, 2, 2, 4)]
    made = []
    for kind, start, apply in (
        (joins, lined((2, 6), 1, source_line(6)), applied),
        (merging, intervals.source((2, 6), 1), partial(arrays.apply, masks={})),
    ):
        one = apply(start, doubled, free=True)
        fields = one, apply(one, moved, free=True)
        joined = kind.concatenate(list(zip(fields, places, strict=True)), whole, 0)
        made.append(apply(joined, reads.Take(1, (1, 2)), free=True))

    assert made[0].lo.tolist() == [[0, 1], [0, 1], [1, 1], [1, 1]]
    assert made[0].motions == made[1].motions == {1: (Digit(2, 2, 1),)}
