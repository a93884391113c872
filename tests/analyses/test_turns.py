"""Turns: which steps treat alike what a turn exchanges, against both fields worked out."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from rfcalc import reads
from rfcalc.analyses.field import intervals
from rfcalc.analyses.field.intervals import Intervals
from rfcalc.analyses.field.masked import Shades
from rfcalc.analyses.field.turns import Turn, Turns, exchange

Shape = tuple[int, ...]
IMAGE = (1, 4, 8, 8)


def after(steps: reads.Steps, turn: Turn, shape: Shape, masks: dict[int, np.ndarray] | None = None) -> Turn | None:
    found = Turns(Shades(masks or {})).after(steps, turn, shape)
    return found and found[0]


def windows(size: int, shape: Shape) -> reads.Steps:
    """A channels-last image cut into square windows, which lie one after the other: (windows, positions, channels)."""
    _, height, width, channels = shape
    cut = (1, height // size, size, width // size, size, channels)
    lined_up = (1, height // size, width // size, size, size, channels)
    flat = (height // size * (width // size), size * size, channels)
    return (reads.Reshape(shape, cut), reads.Permute((0, 1, 3, 2, 4, 5)), reads.Reshape(lined_up, flat))


# --- what a turn does -------------------------------------------------------------------------------------------------


def test_two_axes_change_places() -> None:
    turn = exchange((2, 3, 3), 1, 2)
    array = np.arange(18).reshape(2, 3, 3)

    np.testing.assert_array_equal(turn.of(array), array.swapaxes(1, 2))
    np.testing.assert_array_equal(turn.of(array[:, :, :1]), array[:, :, :1].swapaxes(1, 2))
    assert (turn.axes, turn.inside, turn.shape) == ((0, 2, 1), frozenset(), (2, 3, 3))
    assert exchange((2, 3, 3), 2, 1) is turn


def test_digits_of_one_axis_change_places() -> None:
    """Tokens: the number of a pixel is that of its row and that of its column."""
    turn = after((reads.Reshape((1, 2, 3, 3), (1, 2, 9)),), exchange((1, 2, 3, 3), 2, 3), (1, 2, 9))
    tokens = np.arange(9).reshape(1, 1, 9)

    assert turn is not None
    assert turn.of(tokens).ravel().tolist() == [0, 3, 6, 1, 4, 7, 2, 5, 8]
    assert (turn.axes, turn.inside, turn.routes[2]) == ((0, 1, 2), frozenset({2}), ((3, 3), 2, (1, 0)))
    assert turn.keeps(np.eye(3).reshape(1, 1, 9))
    assert not turn.keeps(np.arange(9).reshape(1, 1, 9))


def test_windows_and_their_positions_change_places_and_come_back() -> None:
    shape = (1, 12, 12, 5)
    steps = windows(3, shape)
    turn = after(steps, exchange(shape, 1, 2), (16, 9, 5))
    image = np.arange(144).reshape(1, 12, 12, 1)
    cut, turned = (seen(array, shape, steps)[0] for array in (image, image.swapaxes(1, 2)))

    assert turn is not None
    assert [route.sizes for route in turn.routes] == [(4, 4), (3, 3), (5,)]
    np.testing.assert_array_equal(turn.of(cut), turned)
    back = (
        reads.Reshape((16, 9, 5), (1, 4, 4, 3, 3, 5)),
        reads.Permute((0, 1, 3, 2, 4, 5)),
        reads.Reshape((1, 4, 3, 4, 3, 5), shape),
    )
    assert after(back, turn, shape) is exchange(shape, 1, 2)


# --- steps ------------------------------------------------------------------------------------------------------------

SWAP = exchange(IMAGE, 2, 3)
WINDOWS = tuple(reads.Window(axis, 3, 2, 1, 1, 4) for axis in (2, 3))
GROUP = reads.Group(1, 1, 8)
DIAGONAL = ~np.eye(8, dtype=bool)
BELOW = np.tri(8, dtype=bool)
STAYS = exchange((1, 8, 4, 4), 0, 0)


@pytest.mark.parametrize(
    ("steps", "shape", "expected"),
    [
        ((), IMAGE, SWAP),
        ((GROUP, *WINDOWS), (1, 8, 4, 4), exchange((1, 8, 4, 4), 2, 3)),
        ((*WINDOWS, GROUP), (1, 8, 4, 4), exchange((1, 8, 4, 4), 2, 3)),
        ((WINDOWS[0], GROUP, WINDOWS[1]), (1, 8, 4, 4), None),  # not in one order with the channels
        ((WINDOWS[0],), (1, 4, 4, 8), None),
        ((WINDOWS[0], reads.Window(3, 3, 2, 1, 0, 4)), (1, 4, 4, 4), None),
        ((reads.Window(1, 3, 1, 1, 1, 4),), IMAGE, SWAP),
        ((reads.Place(1, 4, 4, 8),), (1, 8, 8, 8), exchange((1, 8, 8, 8), 2, 3)),
        ((reads.Place(3, 8, 0, 16),), (1, 4, 8, 16), None),
        ((reads.Place(2, 8, 4, 16), reads.Place(3, 8, 4, 16)), (1, 4, 16, 16), exchange((1, 4, 16, 16), 2, 3)),
        ((reads.Place(2, 8, 4, 16), reads.Place(3, 8, 0, 16)), (1, 4, 16, 16), None),
        ((reads.Reduce((2, 3)),), (1, 4, 1, 1), exchange((1, 4, 1, 1), 2, 3)),
        ((reads.Reduce((2, 3)),), (1, 4, 1, 5), None),
        ((reads.Reduce((2, 3)),), IMAGE, exchange(IMAGE, 0, 0)),
        ((reads.Reduce((1, 3)),), (1, 1, 8, 1), None),
        ((reads.Group(2, 1, 8),), IMAGE, None),
        ((reads.Permute((0, 2, 3, 1)),), (1, 8, 8, 4), exchange((1, 8, 8, 4), 1, 2)),
        ((reads.Permute((0, 1, 3, 2)),), IMAGE, SWAP),
        ((reads.Reshape(IMAGE, (4, 8, 8)),), (4, 8, 8), exchange((4, 8, 8), 1, 2)),
        ((reads.Reshape(IMAGE, (1, 32, 8)),), (1, 32, 8), None),  # the rows' digit is a part of an axis
        ((reads.Reshape(IMAGE, (1, 4, 2, 32)),), (1, 4, 2, 32), None),
        ((reads.Erase(IMAGE, ((2, 2, 0, 1),)),), IMAGE, None),
        ((reads.Erase(IMAGE, ((2, 2, 0, 1), (3, 2, 0, 1))),), IMAGE, SWAP),
        ((reads.Erase(IMAGE, ((2, 2, 0, 1), (3, 2, 1, 1))),), IMAGE, None),
        ((reads.Erase(IMAGE, ((1, 2, 0, 1),)),), IMAGE, SWAP),
        ((reads.Blocked(0),), IMAGE, SWAP),
        ((reads.Blocked(1),), IMAGE, None),
        ((reads.Blocked(0), reads.Reduce((3,))), (1, 4, 8, 1), None),
        ((reads.Contract(0),), IMAGE, None),  # queries in the place of keys, which change places with something else
    ],
)
def test_steps_that_treat_two_axes_alike(steps: reads.Steps, shape: Shape, expected: Turn | None) -> None:
    assert after(steps, SWAP, shape, {0: DIAGONAL, 1: BELOW}) is expected


@pytest.mark.parametrize("cut", [(9, 4), (4, 9)])
def test_axes_may_not_begin_within_what_changes_places(cut: tuple[int, int]) -> None:
    tokens = (reads.Reshape((6, 6), (36,)), reads.Reshape((36,), cut))

    assert after(tokens, exchange((6, 6), 0, 1), cut) is None


def test_digits_may_not_go_to_another_axis_in_another_order() -> None:
    mixed = (reads.Reshape((6, 6), (2, 3, 2, 3)), reads.Permute((0, 1, 3, 2)), reads.Reshape((2, 3, 3, 2), (6, 6)))

    assert after(mixed, exchange((6, 6), 0, 1), (6, 6)) is None


def test_what_is_written_among_tokens_is_in_one_place() -> None:
    tokens = after((reads.Reshape((6, 6), (36,)),), exchange((6, 6), 0, 1), (36,))
    assert tokens is not None

    assert after((reads.Erase((36,), ((0, 1, 1, 1),)),), tokens, (36,)) is None
    assert after((reads.Group(0, 2, 36),), tokens, (36,)) is None


def test_axes_of_extent_one_are_no_digits_of_others() -> None:
    tokens = [
        after((reads.Reshape(shape, (64,)),), exchange(shape, one, other), (64,))
        for shape, one, other in (((8, 8), 0, 1), ((8, 1, 8), 0, 2))
    ]

    assert tokens[0] is not None
    assert tokens[0] is tokens[1]


def test_axes_of_extent_one_change_places_too() -> None:
    """Free of borders a window moves along them, and what is read of one of them is not read of the other."""
    swap = exchange((1, 4, 1), 0, 2)

    assert swap.axes == (2, 1, 0)
    assert after((reads.Reduce((2,)),), swap, (1, 4, 1)) is None
    assert after((reads.Reduce((0, 2)),), swap, (1, 4, 1)) is swap
    assert after((reads.Window(2, 1, 1, 1, 0, 1),), swap, (1, 4, 1)) is None


def test_masks_over_tokens() -> None:
    """Rows and columns of nine tokens: a mask of neighbours treats them alike, one of earlier tokens does not."""
    tokens = after((reads.Reshape((1, 3, 3, 2), (1, 9, 2)),), exchange((1, 3, 3, 2), 1, 2), (1, 9, 2))
    assert tokens is not None
    row, column = np.divmod(np.arange(9), 3)
    far = np.maximum(abs(row[:, None] - row), abs(column[:, None] - column)) > 1
    for number, masks, expected in ((1, {1: far}, tokens), (2, {2: ~np.tri(9, dtype=bool)}, None)):
        assert after((reads.Contract(number),), tokens, (1, 9, 2), masks) is expected
    assert after((reads.Contract(1),), tokens, (1, 4, 2), {1: far[:4]}) is None

    scores = after((reads.Reshape((1, 3, 3, 3, 3), (1, 9, 9)),), pairs(), (1, 9, 9), {})
    assert scores is not None
    softmax = (reads.Blocked(1), reads.Reduce((2,)), reads.Blocked(1))
    assert after(softmax, scores, (1, 9, 9), {1: far}) is scores
    assert after(softmax, scores, (1, 9, 9), {1: ~np.tri(9, dtype=bool)}) is None
    fewer = after((reads.Reduce((2,)), reads.Blocked(1)), scores, (1, 9, 4), {1: np.eye(9, 4, dtype=bool)[:1]})
    assert fewer is not None
    assert (fewer.shape, fewer.inside) == ((1, 9, 4), frozenset({1}))
    one = (reads.Reduce((2, 3)), reads.Blocked(1))
    for mask in (np.eye(1, 8, dtype=bool), np.ones((1, 8), dtype=bool)):
        assert after(one, SWAP, (1, 4, 1, 8), {1: mask}) is None


def pairs() -> Turn:
    """Rows and columns of two images side by side."""
    shape = (1, 3, 3, 3, 3)
    turns = Turns(Shades({}))
    images = (exchange(shape, 1, 2), (3, 4)), (exchange(shape, 3, 4), (1, 2))
    found = [turns.after((reads.Reduce(gone),), turn, shape) for turn, gone in images]
    assert found[0] is not None
    assert found[1] is not None
    turn = turns.together((found[0], found[1]))
    assert turn is not None
    return turn


def test_what_reads_nothing_along_an_axis_goes_with_what_does() -> None:
    assert pairs().axes == (0, 2, 1, 4, 3)
    turns = Turns(Shades({}))
    swap, stays = exchange((1, 3, 3), 1, 2), exchange((1, 3, 3), 0, 0)
    assert turns.together(((swap, frozenset()), (stays, frozenset({1, 2})))) is swap
    assert turns.together(((swap, frozenset()), (stays, frozenset({1})))) is None
    assert turns.together(((swap, frozenset()), (stays, frozenset()))) is None
    assert turns.together(((stays, frozenset({0, 1, 2})), (stays, frozenset({1})))) is stays


# --- any steps --------------------------------------------------------------------------------------------------------


def seen(lo: np.ndarray, shape: Shape, steps: reads.Steps, masks: dict[int, np.ndarray] | None = None) -> np.ndarray:
    """First and last index seen at every element after steps, side by side along a new first axis."""
    field = Intervals(shape, lo, lo + 2, {})
    for step in steps:
        field = intervals.apply(field, step, masks or {}, free=False)
    return np.stack([np.broadcast_to(ends, field.shape) for ends in (field.lo, field.hi)])


def divisors(extent: int) -> list[int]:
    return [k for k in range(2, extent) if extent % k == 0]


def draw_steps(random: Random, shape: Shape, masks: dict[int, np.ndarray]) -> list[reads.Step]:
    """One step about some axis, or the same about two axes."""
    axis = random.randrange(len(shape))
    extent = shape[axis]
    alike = [k for k, other in enumerate(shape) if other == extent and k != axis]
    axes = [axis, random.choice(alike)] if alike and random.random() < 0.8 else [axis]
    match random.randrange(10):
        case 0:
            return [reads.Window(k, 3, 1, 1, 1, extent) for k in axes]
        case 1:
            return [reads.Slice(k, 0, 1, max(1, extent // 2)) for k in axes]
        case 2:
            order = [*range(extent)]
            random.shuffle(order)
            return [reads.Take(k, tuple(order)) for k in axes]
        case 3:
            return [reads.Reduce(tuple(axes))]
        case 4:
            return [reads.Permute(tuple(random.sample(range(len(shape)), len(shape))))]
        case 5 if divisors(extent):
            inner = random.choice(divisors(extent))
            split = dict.fromkeys(axes, (extent // inner, inner))
            return [reads.Reshape(shape, tuple(part for k, size in enumerate(shape) for part in split.get(k, (size,))))]
        case 6 if axis > 0 and len(shape) > 2:
            return [reads.Reshape(shape, (*shape[: axis - 1], shape[axis - 1] * extent, *shape[axis + 1 :]))]
        case 7 if len(shape) > 1:
            masks[len(masks)] = draw_mask(random, shape[-2], shape[-1])
            return [reads.Blocked(len(masks) - 1)]
        case 8 if len(shape) > 1:
            masks[len(masks)] = draw_mask(random, shape[-2], shape[-2])
            return [reads.Contract(len(masks) - 1)]
        case _:
            return [reads.Group(axis, 1, extent)]


def draw_mask(random: Random, rows: int, keys: int) -> np.ndarray:
    """A mask in which neither rows nor keys are told apart, or the one as the other, or all at will."""
    mask = np.array([[random.random() < 0.3 for _ in range(keys)] for _ in range(rows)])
    match random.randrange(3):
        case 0:
            return np.broadcast_to(mask[:1, :1], mask.shape)
        case 1 if rows == keys:
            return mask | mask.T
    return mask


def test_any_steps() -> None:
    """Where a turn is said to come out, the columns after the steps are the rows after them, turned."""
    random, kept = Random(0), 0
    for _ in range(4000):
        shape = random.choice([(1, 4, 4), (2, 3, 6, 6), (4, 4, 2), (1, 4, 4, 4), (2, 2, 2, 2)])
        alike = [(a, b) for a in range(len(shape)) for b in range(a) if shape[a] == shape[b]]
        turn = exchange(shape, *random.choice(alike))
        rows = np.array([random.randrange(50) for _ in range(int(np.prod(shape)))], dtype=np.int64).reshape(shape)
        steps: list[reads.Step] = []
        masks: dict[int, np.ndarray] = {}
        at = shape
        for _ in range(random.randrange(1, 6)):
            for step in draw_steps(random, at, masks):
                at = reads.shape_after(at, step, {key: mask.shape for key, mask in masks.items()})
                steps.append(step)
        found = after(tuple(steps), turn, at, masks)
        if found is not None:
            kept += any(route.axis != axis or len(route.order) > 1 for axis, route in enumerate(found.routes))
            ours, its = (seen(array, shape, tuple(steps), masks) for array in (rows, turn.of(rows)))
            np.testing.assert_array_equal([found.of(ends) for ends in ours], its, str((steps, turn.routes)))
    assert kept > 400
