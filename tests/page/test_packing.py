"""Arrays survive being packed, and what is alike is packed once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from rfcalc.page.packing import Pool, runs
from tests.page.javascript import evaluate, needs_node


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([7], [7]),
        ([0, 0, 0], [0, 2, 0]),
        ([0, 0, 0, 1, 2, 3], [0, 2, 0, 3, 1]),
        ([5, 3, 1, 1], [5, 2, -2, 1, 0]),
    ],
)
def test_runs(values: list[int], expected: list[int]) -> None:
    assert runs(np.array(values, dtype=np.int64)) == expected


def test_equal_arrays_are_packed_once() -> None:
    pool = Pool()
    rows = np.arange(6).reshape(1, 1, 6)

    first, again = pool.add(rows), pool.add(rows.copy())
    other = pool.add(rows.reshape(1, 6, 1))

    assert first == again != other
    assert len(pool.entries) == 2


def test_a_repeated_row_is_packed_once() -> None:
    """Two groups of channels: rows 0, 0, 1, 1, 1 of two distinct ones."""
    pool = Pool()
    number = pool.add(np.array([[1, 2, 3]] * 2 + [[4, 4, 4]] * 3))

    shape, order, parts = pool.entries[number]

    assert (shape, order, len(parts)) == ([5, 3], [0, 1, 0, 1, 1, 2, 0], 2)
    assert [pool.entries[part] for part in parts] == [[[3], [1, 2, 1]], [[3], [4, 2, 0]]]


def unpacked(entries: list[list[Any]], number: int) -> np.ndarray:
    """A second reading of the format, by its description."""
    shape, order, *parts = entries[number]
    steps = [step for count, step in zip(order[1::2], order[2::2], strict=True) for _ in range(count)]
    values = np.cumsum([order[0], *steps]) if order else np.array([], dtype=np.int64)
    if parts:
        values = np.concatenate([unpacked(entries, parts[0][row]).ravel() for row in values])
    return values.reshape(shape)


@given(arrays(np.int64, array_shapes(max_dims=4, max_side=4), elements=st.integers(-3, 3)))
def test_what_is_packed_comes_out_again_but_for_the_order_of_axes(array: np.ndarray) -> None:
    pool = Pool()
    number = pool.add(array)

    assert np.array_equal(unpacked(pool.entries, number), array)


@needs_node
def test_the_page_unpacks_the_same() -> None:
    pool = Pool()
    random = np.random.default_rng(0)
    given_arrays = [random.integers(-3, 4, shape) for shape in [(1,), (5,), (3, 4), (2, 1, 3), (2, 3, 2, 3)]]
    numbers = [pool.add(array) for array in given_arrays]

    found = evaluate(
        "const all = new Arrays(data.pool); return data.numbers.map((one) => [...all.get(one).values]);",
        {"pool": pool.entries, "numbers": numbers},
    )

    assert found == [array.ravel().tolist() for array in given_arrays]
