"""Fields that are written in part, kept by their different positions, say what arrays of all their elements say."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rfcalc import reads
from rfcalc.analyses.analysis import Analysis
from rfcalc.analyses.field import arrays, intervals, merging
from rfcalc.analyses.field.intervals import Intervals
from rfcalc.analyses.field.motion import even
from rfcalc.analyses.field.windows import span_of
from rfcalc.api import layer_graph
from rfcalc.graph import LayerGraph

#: Heads, queries and keys.
SHAPE = (2, 7, 5)


def line(rng: np.random.Generator, axis: int) -> Intervals:
    """Spans that differ along one axis, some of them alike."""
    extents = [extent if k == axis else 1 for k, extent in enumerate(SHAPE)]
    lo = rng.integers(0, 4, extents)
    motions = {k: even(SHAPE[k], int(rng.integers(0, 2))) for k in range(3) if rng.integers(2)}
    return Intervals(SHAPE, lo, lo + rng.integers(0, 3, extents), motions)


def step(rng: np.random.Generator, shape: Sequence[int]) -> reads.Step:
    """A random step that writes, cuts out, moves or reduces."""
    axis = int(rng.integers(len(shape)))
    extent = shape[axis]
    size, stride = int(rng.integers(1, extent + 1)), int(rng.integers(1, 3))
    offset = int(rng.integers(0, 3))
    box = {k: int(rng.integers(1, shape[k] + 1)) for k in range(len(shape)) if rng.integers(2)} or {axis: size}
    match rng.integers(8):
        case 0 | 1:
            return reads.Place(axis, extent, offset, offset + (extent - 1) * stride + 1 + int(rng.integers(3)), stride)
        case 2 | 3:
            return reads.Erase(tuple(shape), tuple((k, many, shape[k] - many, 1) for k, many in box.items()))
        case 4:
            return reads.Slice(axis, extent - size, 1, size)
        case 5:
            return reads.Reduce((axis,))
        case 6:
            return reads.Permute(tuple(int(k) for k in rng.permutation(len(shape))))
    return reads.Reshape(tuple(shape), (1, *shape) if len(shape) < 5 else (int(np.prod(shape)),))


def after(field: Intervals, step: reads.Step, large: int) -> Intervals:
    """The field after a step, by rows if it has so many elements."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "LARGE", large)
        return arrays.apply(field, step, {}, free=False)


def both(own: Intervals, steps: Sequence[reads.Step], large: int = 1) -> tuple[Intervals, Intervals]:
    """The field after steps, by rows where it can be, and on arrays."""
    made, expected = own, own.opened()
    for one in steps:
        made, expected = after(made, one, large), after(expected, one, 1 << 60)
    return made, expected


def assert_same(made: Intervals, expected: Intervals) -> None:
    assert (made.shape, made.extents, dict(made.motions)) == (expected.shape, expected.extents, dict(expected.motions))
    np.testing.assert_array_equal(made.opened().lo, expected.lo)
    np.testing.assert_array_equal(made.opened().hi, expected.hi)


def steps_from(rng: np.random.Generator, own: Intervals, count: int) -> list[reads.Step]:
    found: list[reads.Step] = []
    for _ in range(count):
        found.append(step(rng, own.shape))
        own = after(own, found[-1], 1 << 60)
    return found


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(0, 2), st.integers(1, 5))
def test_steps_say_what_they_say_of_arrays(seed: int, axis: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    own = line(rng, axis)

    made, expected = both(own, steps_from(rng, own, count))

    assert_same(made, expected)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(2, 3))
def test_unions_and_questions_are_those_of_all_elements(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    erase = [reads.Erase(SHAPE, ((1, 6, 1, 1), (2, int(rng.integers(1, 6)), 0, 1)))]
    pairs = [both(line(rng, int(rng.integers(3))), erase if rng.integers(3) else []) for _ in range(count)]
    made, every = (tuple(part for part in parts) for parts in zip(*pairs, strict=True))

    together, expected = merging.union(made), merging.union(every)
    assert_same(together, expected)
    for one, all_of_it in [(together, expected), *pairs]:
        assert one.sees_nothing() == all_of_it.sees_nothing()
        assert one.sees_everywhere() == all_of_it.sees_everywhere()
        assert one.start() == all_of_it.start()
    few, wanted = merging.kinds(made), merging.kinds(every)
    assert {*zip(few.lo.flat, few.hi.flat, strict=True)} == {*zip(wanted.lo.flat, wanted.hi.flat, strict=True)}
    assert [size > 1 for size in few.extents] == [size > 1 for size in wanted.extents]


def test_two_parts_cover_together_what_neither_does() -> None:
    lo = np.zeros((200, 1), dtype=np.int64)
    line = Intervals((200, 200), lo, lo + 9, {})
    parts = [both(line, [reads.Erase((200, 200), ((1, 100, offset, 1),))])[0] for offset in (0, 100)]

    assert all(part.places is not None for part in parts)
    assert [part.covers(10) for part in parts] == [False, False]
    assert [merging.union(parts).covers(extent) for extent in (10, 11)] == [True, False]


def test_sizes_are_clipped_where_no_pattern_is_known_although_all_see_the_same() -> None:
    lo = np.full((200, 1), -3, dtype=np.int64)
    parts = [
        both(Intervals((200, 200), lo, -lo, {}), [reads.Erase((200, 200), ((1, 100, at, 1),))])[0] for at in (0, 100)
    ]
    every = merging.union(parts)
    assert every.places is not None

    assert (every.extents, np.unique(every.lo).tolist()) == ((1, 200), [-3])
    assert span_of(merging.kinds((every,)), 9) == 4  # 0 to 3, and not -3 to 3


def test_what_is_placed_whole_repeats_as_before() -> None:
    lo = 2 * np.arange(4, dtype=np.int64).reshape(1, 4, 1)
    own = Intervals((3, 4, 5), lo, lo, {1: even(4, 2)})
    halves = [both(own, [reads.Erase((3, 4, 5), ((2, size, at, 1),))]) for size, at in ((2, 0), (3, 2))]
    whole = merging.union([made for made, _ in halves])
    assert whole.places is not None

    made, expected = both(whole, [reads.Place(1, 4, 0, 4)])

    assert_same(made, expected)
    assert made.motions == {1: even(4, 2)}


class Scores(nn.Module):
    """Scores between all tokens, to which those of all but the first get something added, as in MViT."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2)
        scores = tokens.transpose(1, 2) @ tokens
        scores[:, 1:, 1:] += tokens[:, :1, 1:].transpose(1, 2)
        return scores.softmax(2) @ tokens.transpose(1, 2)


def graph_of(side: int) -> LayerGraph:
    return layer_graph(Scores(), torch.empty(1, 2, side, side, device="meta"))


def test_scores_that_are_written_in_part_make_no_arrays_of_all_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(32)
    opened, asked = Intervals.opened, set()

    def noted(own: Intervals, *axes: Sequence[int]) -> Intervals:
        made = opened(own, *axes)
        asked.add(made.extents)
        return made

    monkeypatch.setattr(Intervals, "opened", noted)
    assert len(Analysis(graph).layers) > 1
    assert all(sorted(extents)[:-1] == [1, 1] for extents in asked)  # those of one axis are lines
    tracemalloc.start()
    try:
        assert len(Analysis(graph).layers) > 1
        assert tracemalloc.get_traced_memory()[1] < 32**4 * 8 * 5 // 8  # less than one array of all scores
    finally:
        tracemalloc.stop()


def test_scores_that_are_written_in_part_are_seen_alike_however_they_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(6)
    kept = Analysis(graph).to_dict()
    monkeypatch.setattr(intervals, "LARGE", 1)

    assert Analysis(graph).to_dict() == kept
