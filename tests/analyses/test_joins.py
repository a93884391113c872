"""Fields put into their places along an axis."""

import numpy as np

from rfcalc.analyses.intervals import Intervals
from rfcalc.analyses.joins import concatenate
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
