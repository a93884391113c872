"""Fields below a mask say what arrays of all their elements say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rfcalc import reads
from rfcalc.analyses.analysis import Analysis
from rfcalc.analyses.field import arrays, intervals, joins, masked, merging
from rfcalc.analyses.field.intervals import NOTHING, Intervals
from rfcalc.analyses.field.masked import Masked, Shades
from rfcalc.analyses.field.motion import Motion, even, of_rate, unknown
from rfcalc.api import layer_graph

#: Windows, heads, queries and keys.
SHAPE = (4, 3, 5, 6)
#: A pair of regions in each of two windows, as where windows wrap around the border; the others see all their keys.
HALVES = np.arange(5)[:, None] // 3 != np.arange(6) // 3
WINDOWS = np.stack([np.zeros((5, 6), dtype=bool), HALVES, np.zeros((5, 6), dtype=bool), HALVES])[:, None]


def field(rng: np.random.Generator, axes: Sequence[int], *, holes: bool = False) -> Intervals:
    """Random spans that differ along the axes, with random motions; with holes, every other element sees nothing."""
    extents = tuple(extent if axis in axes else 1 for axis, extent in enumerate(SHAPE))
    lo = rng.integers(0, 20, extents)
    hi = lo + rng.integers(0, 5, extents)
    gone = rng.integers(0, 2, extents).astype(bool) if holes else np.zeros(extents, dtype=bool)
    rates = [(int(rng.integers(1, 3)), int(rng.integers(0, 3))) for _ in range(4)]
    motions = {axis: of_rate(SHAPE[axis], rates[axis]) for axis in range(4) if rng.integers(2)}
    return Intervals(SHAPE, np.where(gone, NOTHING, lo), np.where(gone, -NOTHING, hi), motions)


def assert_same(made: Intervals, expected: Intervals) -> None:
    """Both see the same; below a mask it may have turned out that an axis does not matter."""
    alike = [axis for axis in range(made.rank) if made.extents[axis] == expected.extents[axis]]
    assert {made.extents[axis] for axis in range(made.rank) if axis not in alike} <= {1}
    known = {axis: moved for axis, moved in expected.motions.items() if axis in alike and not is_unknown(moved)}
    assert {axis: moved for axis, moved in made.motions.items() if not is_unknown(moved)} == known
    assert made.shape == expected.shape
    assert made.motions.keys() <= expected.motions.keys()
    np.testing.assert_array_equal(np.broadcast_to(made.lo, expected.extents), expected.lo)
    np.testing.assert_array_equal(np.broadcast_to(made.hi, expected.extents), expected.hi)


def is_unknown(moved: Motion) -> bool:
    """Whether the positions are only known to be places: where arrays keep that of an axis that a mask closed and
    opened again, a shade has found that the axis did not matter."""
    return moved == unknown(moved[0].extent)


def both(own: Intervals, steps: Sequence[reads.Step], masks: Shades) -> tuple[Intervals, Intervals, bool]:
    """The field after steps, below masks and on arrays, and whether no step took arrays of all elements."""
    made = expected = own
    short = True
    for step in steps:
        expected = arrays.apply(expected, step, masks, free=False)
        found = masked.apply(made, step, masks)
        short = short and found is not None
        made = arrays.apply(made, step, masks, free=False) if found is None else found
    return made, expected, short


MERGE = reads.Reshape(SHAPE, (12, 5, 6))
FEW = {
    "blocked": [reads.Blocked(0)],
    "twice": [reads.Blocked(0), reads.Blocked(0)],
    "below another mask": [reads.Blocked(0), reads.Blocked(1)],
    "permuted": [reads.Blocked(0), reads.Permute((1, 0, 3, 2))],
    "heads merged": [reads.Blocked(0), MERGE],
    "heads merged and split": [reads.Blocked(0), MERGE, reads.Reshape((12, 5, 6), SHAPE)],
    "over keys": [reads.Blocked(0), reads.Reduce((3,))],
    "over the keys of merged heads": [reads.Blocked(0), MERGE, reads.Reduce((2,))],
    "softmax": [reads.Blocked(0), reads.Reduce((3,)), reads.Blocked(0)],
}


@pytest.mark.parametrize("axes", [(0, 2), (0, 3)], ids=["queries", "keys"])
@pytest.mark.parametrize("steps", FEW.values(), ids=FEW.keys())
def test_steps_on_scores_make_no_arrays_of_all_scores(
    axes: Sequence[int], steps: Sequence[reads.Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    original = Masked.__getattr__
    monkeypatch.setattr(Masked, "__getattr__", lambda own, name: asked.append(name) or original(own, name))

    made, expected, short = both(
        field(np.random.default_rng(0), axes), steps, Shades({0: WINDOWS, 1: WINDOWS[:, :, ::-1]})
    )

    assert (short, asked) == (True, [])
    assert_same(made, expected)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 30), st.sampled_from([*FEW.values()]), st.booleans(), st.data())
def test_any_mask_over_any_field(seed: int, steps: Sequence[reads.Step], holes: bool, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    axes = data.draw(st.sets(st.integers(0, 3)))
    extents = [extent if data.draw(st.booleans()) else 1 for extent in SHAPE]
    masks = Shades({mask: rng.random(extents) < data.draw(st.sampled_from([0.1, 0.5, 0.9])) for mask in (0, 1)})
    assume(masks[0].any())

    made, expected, _ = both(field(rng, sorted(axes), holes=holes), steps, masks)

    assert_same(made, expected)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 1 << 30),
    st.booleans(),
    st.sampled_from([(5, 6), (4, 1, 5, 6), (1, 3, 1, 6)]),
    st.sampled_from([(0, 3), (0, 2), (2, 3), (0, 1, 2, 3), (1,)]),
    st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
)
def test_keys_are_contracted_by_patterns_of_rows(
    seed: int, holes: bool, extents: tuple[int, ...], axes: tuple[int, ...], closed: float
) -> None:
    rng = np.random.default_rng(seed)
    keys = field(rng, axes, holes=holes)
    values = Intervals(
        (4, 3, 6, 2),
        *[end.swapaxes(-1, -2)[..., :2] for end in (keys.lo, keys.hi)],
        {0: of_rate(4, (2, 3)), 3: of_rate(2, (1, 0))},
    )
    masks = Shades({0: rng.random(extents) < closed})

    made = masked.apply(values, reads.Contract(0), masks)

    assert made is not None
    assert_same(made, arrays.apply(values, reads.Contract(0), masks, free=False))


@pytest.mark.parametrize("turn", [1, -1], ids=["later and later", "earlier and earlier"])
def test_causal_keys(turn: int) -> None:
    line = np.arange(6)[::turn, None]
    values = Intervals((6, 2), line, line + 1, {})
    masks = Shades({0: ~np.tri(6, dtype=bool)})

    made = masked.apply(values, reads.Contract(0), masks)

    first, last = ([0] * 6, [1, 2, 3, 4, 5, 6]) if turn > 0 else ([5, 4, 3, 2, 1, 0], [6] * 6)
    assert made is not None
    assert (made.lo[:, 0].tolist(), made.hi[:, 0].tolist()) == (first, last)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1 << 30), st.booleans())
def test_questions_about_scores_are_those_of_all_elements(seed: int, holes: bool) -> None:
    rng = np.random.default_rng(seed)
    masks = Shades({0: WINDOWS if rng.integers(2) else rng.random((4, 1, 5, 6)) < 0.5})
    parts = [masked.apply(field(rng, axes, holes=holes), reads.Blocked(0), masks) for axes in ((0, 2), (0, 3))]
    found = [part for part in parts if isinstance(part, Masked)]
    every = [Intervals(part.shape, part.lo, part.hi, part.motions) for part in found]
    if len(found) == 2:
        together = merging.union([part.over(part.below, {}) for part in found])
        assert isinstance(together, Masked)
        assert_same(together, merging.union([Intervals(part.shape, part.lo, part.hi, {}) for part in every]))
        few = merging.kinds((together,))
        assert {*zip(few.lo.flat, few.hi.flat, strict=True)} == {*zip(together.lo.flat, together.hi.flat, strict=True)}


def test_a_mask_all_axes_of_which_matter_has_one_shade() -> None:
    masks = Shades({0: WINDOWS, 1: np.broadcast_to(HALVES, (4, 1, 5, 6))})

    assert masks.over(0, 4, least=False) is masks.over(0, 4)
    assert [masks.over(1, 4, least=least).seen.shape for least in (False, True)] == [(4, 1, 5, 6), (1, 1, 5, 6)]


def test_an_axis_of_one_position_keeps_its_motion() -> None:
    own = Intervals((4, 1, 5, 1), np.arange(4).reshape(4, 1, 1, 1), np.arange(4).reshape(4, 1, 1, 1), {1: even(1, 8)})
    made = masked.apply(own, reads.Blocked(0), Shades({0: WINDOWS}))

    assert isinstance(made, Masked)
    assert dict(made.motions) == {1: even(1, 8)}


def test_a_constant_below_a_mask_is_of_two_kinds() -> None:
    made = masked.apply(field(np.random.default_rng(0), ()), reads.Blocked(0), Shades({0: WINDOWS}))

    assert isinstance(made, Masked)
    few = merging.kinds((made,))
    assert sorted(zip(few.lo.flat, few.hi.flat, strict=True)) == sorted({*zip(made.lo.flat, made.hi.flat, strict=True)})


def test_both_fields_are_merged_at_once_where_they_stay_alike() -> None:
    rng, masks = np.random.default_rng(0), Shades({0: WINDOWS})
    spans = [(axis, field(rng, (0, axis))) for axis in (2, 3)]
    parts = tuple(Intervals(SHAPE, own.lo, own.hi, {axis: unknown(SHAPE[axis])}) for axis, own in spans)
    below = tuple(part for own in parts if (part := masked.apply(own, reads.Blocked(0), masks)) is not None)

    full, local = joins.merge_both(parts, parts)
    assert full is local
    full, local = joins.merge_both(below, below)
    assert (len(full), len(local)) == (1, 2)
    assert joins.merge_both(below, below[:1])[1] == below[:1]


def test_the_union_of_scores_below_a_mask_reads_as_its_elements() -> None:
    rng, masks = np.random.default_rng(0), Shades({0: WINDOWS})
    parts = [masked.apply(field(rng, axes), reads.Blocked(0), masks) for axes in ((0, 2), (0, 3))]
    together = merging.union([part for part in parts if part is not None])
    every = Intervals(together.shape, together.lo, together.hi, together.motions)

    for steps in ([MERGE], [MERGE, reads.Reduce((2,))], [reads.Reduce((3,))], [reads.Permute((0, 1, 3, 2))]):
        made, _, short = both(together, steps, masks)
        assert short
        assert_same(made, both(every, steps, masks)[1])


def test_fields_below_different_masks_are_united_on_arrays() -> None:
    rng, masks = np.random.default_rng(0), Shades({0: WINDOWS, 1: ~WINDOWS})
    parts = [masked.apply(field(rng, (0, 2)), reads.Blocked(mask), masks) for mask in (0, 1)]
    found = [part for part in parts if part is not None]

    assert not isinstance(merging.union(found), Masked)


def test_a_mask_is_looked_at_once_for_all_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = masked._patterns
    monkeypatch.setattr(masked, "_patterns", lambda seen: calls.append(seen.shape) or original(seen))
    rng, masks = np.random.default_rng(0), Shades({0: WINDOWS})

    for _ in range(5):
        both(field(rng, (0, 3)), FEW["over the keys of merged heads"], masks)

    assert calls == [(12, 5, 6)]


def test_rows_are_told_apart_by_all_their_numbers() -> None:
    rows = np.array([[1, 2], [1, 2], [1, 3], [1, 2], [0, 2]])

    first, which = intervals.distinct(rows)

    assert (first.tolist(), which.tolist()) == ([0, 2, 4], [0, 0, 1, 0, 2])


@pytest.mark.parametrize("length", [5, 64, 65, 300])
@pytest.mark.parametrize("width", [1, 3])
def test_rows_are_told_apart_and_put_in_order_as_numpy_does(length: int, width: int) -> None:
    for turn in range(5):
        rng = np.random.default_rng(turn)
        rows = rng.choice([-NOTHING, -3, 0, 1, 5, NOTHING], (length, width)).astype(np.int64)
        _, first, kinds = np.unique(rows, axis=0, return_index=True, return_inverse=True)

        found, which = intervals.ordered(rows)

        assert found.tolist() == first.tolist()
        assert which.tolist() == kinds.reshape(-1).tolist()
        came, place = intervals.distinct(rows)
        assert came.tolist() == sorted(first)
        assert np.array_equal(rows[came][place], rows)


def test_rows_with_one_number_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "_weights", lambda length: np.zeros(length, dtype=np.int64))
    rows = np.arange(200).reshape(100, 2) // 7

    first, which = intervals.distinct(rows)

    assert np.array_equal(rows[first][which], rows)
    assert len(first) > 1


def test_a_masked_field_is_broadcast_like_any() -> None:
    masks = Shades({0: WINDOWS})
    own = field(np.random.default_rng(1), (0, 2))
    narrow = Intervals((4, 1, 5, 1), own.lo, own.hi, {0: even(4, 2), 1: even(1, 0), 3: even(1, 0)})
    made = masked.apply(narrow, reads.Blocked(0), masks)

    assert isinstance(made, Masked)
    assert_same(masked.broadcast(made, SHAPE), intervals.broadcast(made, SHAPE))
    assert dict(masked.broadcast(made, SHAPE).motions) == {0: unknown(4)}


# --- work -------------------------------------------------------------------------------------------------------------


class Shifted(nn.Module):
    """Attention of two heads in windows of 8 positions that wrap around the border, with a mask between the ends."""

    def __init__(self, windows: int) -> None:
        super().__init__()
        self.windows = windows
        self.patches = nn.Conv1d(3, 8, 4, 4)
        self.project = nn.Linear(8, 8)
        place = torch.arange(8 * windows).roll(-4).reshape(windows, 8)
        self.register_buffer("apart", (place[:, :, None] - place[:, None]).abs() > 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).transpose(1, 2).roll(-4, 1).reshape(self.windows, 8, 2, 4).transpose(1, 2)
        scores = (x @ x.transpose(-1, -2)).masked_fill(self.apart[:, None], float("-inf"))
        x = (scores.softmax(-1) @ x).transpose(1, 2).reshape(1, -1, 8)
        return self.project(x.roll(4, 1))


def sizes(windows: int, monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How many fields on arrays an analysis makes, by their elements."""
    graph = layer_graph(Shifted(windows), torch.empty(1, 3, 32 * windows))
    found: Counter[int] = Counter()
    original = Intervals.__init__

    def counting(self: Intervals, shape: tuple[int, ...], lo: np.ndarray, *rest: Any) -> None:
        found[lo.size] += 1
        original(self, shape, lo, *rest)

    def asked(self: Masked, name: str) -> Any:
        raise AssertionError(f"all scores have their {name} made")

    with monkeypatch.context() as patch:
        patch.setattr(Intervals, "__init__", counting)
        patch.setattr(Masked, "__getattr__", asked)
        layer = Analysis(graph)["project"]
    # A unit of the first window, whose ends do not see each other, reads its half of four patches.
    assert (layer.receptive_field.masked, layer.receptive_field.size_min) == (True, (16,))
    return found


def test_masked_attention_takes_no_array_of_all_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = sizes(8, monkeypatch), sizes(64, monkeypatch)

    assert few.total() == many.total()
    # There are 8 scores for each position. Only the layer of the scores, before any mask, is asked for its sizes: once
    # clipped, and once free of borders, as what goes round goes on there.
    assert sum(count for size, count in many.items() if size > 2 * 8 * 64) <= 3
