"""Fields put into their places along an axis."""

import numpy as np

from rfcalc.analyses.field.intervals import NOTHING, Intervals
from rfcalc.analyses.field.merging import combined, concatenate, kinds, merge, union
from rfcalc.analyses.field.motion import even, unknown
from rfcalc.reads import Place


def row(*indices: int) -> Intervals:
    seen = np.array([indices])
    return Intervals((1, len(indices)), seen, seen, {})


def test_places_side_by_side_are_a_concatenation():
    made = concatenate([(row(0, 1), Place(1, 2, 0, 5)), (row(7), Place(1, 1, 3, 5))], (1, 5), 1)

    assert [(a, b) if a <= b else None for a, b in zip(made.lo[0], made.hi[0], strict=True)] == [
        *[(0, 0), (1, 1)],
        *[None, (7, 7), None],
    ]


def test_places_that_overlap_are_united():
    made = concatenate([(row(0, 1, 2), Place(1, 3, 0, 4)), (row(3, 4, 5), Place(1, 3, 1, 4))], (1, 4), 1)

    assert made.lo.tolist() == [[0, 1, 2, 5]]
    assert made.hi.tolist() == [[0, 3, 4, 5]]


def test_one_position_of_each_kind_has_the_sizes_of_all():
    """Queries and keys of 3 x 5 windows: every score sees its query's pixels and its key's."""
    rng = np.random.default_rng(0)
    low = np.repeat(rng.integers(0, 4, (1, 5, 1)), 3, 0), rng.integers(0, 4, (3, 1, 5))
    parts = tuple(Intervals((3, 5, 5), lo, lo + rng.integers(0, 3, lo.shape), {}) for lo in low)

    every, few = combined(parts), kinds(parts)

    assert {*zip(few.lo.flat, few.hi.flat, strict=True)} == {*zip(every.lo.flat, every.hi.flat, strict=True)}


def test_kinds_of_many_positions_are_few():
    line = np.arange(4000, dtype=np.int64) // 2000
    queries = Intervals((4000, 4000), line[:, None], line[:, None], {})
    keys = Intervals((4000, 4000), line[None], line[None], {})

    assert kinds((queries, keys)).lo.tolist() == [[0, 0], [0, 1]]


def test_a_union_that_one_field_covers_moves_as_that_field():
    index = np.arange(6, dtype=np.int64)
    moving = Intervals((6,), index - 1, index + 1, {0: even(6, 1)})
    masked = Intervals((6,), np.where(index, index, NOTHING), np.where(index, index, -NOTHING), {})

    assert union([moving, masked]).motions == {0: even(6, 1)}
    assert union([masked, Intervals((6,), index + 1, index + 1, {0: even(6, 1)})]).motions == {0: unknown(6)}


def test_a_masked_query_and_a_masked_key_stay_apart():
    """Causal scores: the mask makes both depend on both axes, but a query lies in one place whatever its keys are."""
    index, hidden = np.arange(4, dtype=np.int64), ~np.tri(4, dtype=bool)

    def masked(lo: np.ndarray, hi: np.ndarray, axis: int) -> Intervals:
        return Intervals((4, 4), np.where(hidden, NOTHING, lo), np.where(hidden, -NOTHING, hi), {axis: unknown(4)})

    query, key = masked(index[:, None], index[:, None], 0), masked(index[None], index[None], 1)
    prefix, suffix = masked(0 * index[None], index[:, None], 0), masked(index[:, None], 0 * index[None] + 3, 0)

    assert len(merge((query, key))) == 1
    assert [part is one for part, one in zip(merge((query, key), local=True), (query, key), strict=True)] == [True] * 2
    assert len(merge((prefix, key), local=True)) == len(merge((suffix, key), local=True)) == 2
    assert len(merge((query, prefix, suffix), local=True)) == 1
