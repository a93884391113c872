"""Layouts of results that are kept are those that torch gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import pytest
import torch

from rfcalc.tracing import outlines
from rfcalc.tracing.schema import schema_of

aten = torch.ops.aten


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    outlines.forget()
    yield
    outlines.forget()


def meta(shape: Sequence[int], order: Sequence[int] = (), dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A tensor without storage whose axes lie in that order."""
    made = torch.empty([shape[axis] for axis in order] or shape, dtype=dtype, device="meta")
    return made.permute([order.index(axis) for axis in range(len(shape))]) if order else made


SHAPES = ((4, 6, 8, 10), (1, 6, 8, 8))
ORDERS = ((), (0, 2, 3, 1), (3, 1, 0, 2))
OPS: tuple[tuple[Any, tuple[Any, ...]], ...] = (
    (aten.tril.default, (1,)),
    (aten.cumsum.default, (2,)),
    (aten.exp.default, ()),
    (aten.logical_not.default, ()),
    (aten.masked_fill.Scalar, (meta((1, 6, 8, 8), dtype=torch.bool), 0.0)),
    (aten.mul.Tensor, (meta((6, 1, 1)),)),
    (aten.max.dim, (1, True)),
    (aten.topk.default, (2, 1)),
    (aten.var_mean.correction, ([2, 3],)),
    (aten.sort.default, (1,)),
    (aten._softmax.default, (1, False)),
    (aten._to_copy.default, ()),
    (aten.cat.default, None),
    (aten.avg_pool2d.default, ([2, 2],)),
    (aten.upsample_nearest2d.default, ([3, 5],)),
)


def described(made: Any) -> list[tuple[Any, ...]]:
    outs = list(made) if isinstance(made, tuple | list) else [made]
    return [(out.shape, out.stride(), out.dtype, out.device, out.storage_offset()) for out in outs]


@pytest.mark.parametrize(("op", "rest"), OPS, ids=lambda item: str(item) if callable(item) else "")
def test_an_op_that_is_not_run_again_gives_what_torch_does(op: Any, rest: tuple[Any, ...] | None) -> None:
    for shape, order in product(SHAPES, ORDERS):
        x = meta(shape, order)
        args = ([x, x], 1) if rest is None else (x, *rest)
        try:
            wanted = described(op(*args))
        except RuntimeError:  # a mask of another shape
            continue
        assert described(outlines.result(op, args, {})) == wanted
        kept = outlines.result(op, args, {})  # not run
        assert described(kept) == wanted
        assert type(kept) is not list or isinstance(op(*args), list)


def test_an_op_runs_once_for_equal_layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []

    def op(x: torch.Tensor, number: float) -> torch.Tensor:
        runs.append(number)
        return x + number

    plain = meta((2, 3))
    for args in ((plain, 1), (meta((2, 3)), 1), (plain, 1.0), (meta((2, 3), (1, 0)), 1), (meta((3, 2)), 1)):
        outlines.result(op, args, {})

    assert runs == [1, 1.0, 1, 1]


def test_what_is_given_back_is_made_each_time() -> None:
    x = meta((2, 3))
    results = [aten.exp.default(x), *[outlines.result(aten.exp.default, (x,), {}) for _ in range(2)]]

    assert len({out.untyped_storage()._cdata for out in results}) == 3


def test_views_and_arguments_are_not_kept() -> None:
    x = meta((2, 3))
    for op in (lambda x: x.transpose(0, 1), lambda x: x, lambda x: (x.exp(), x[0])):
        outlines.result(op, (x,), {})
    twice = x.exp()
    outlines.result(lambda x: (twice, twice), (x,), {})

    assert not outlines._KEPT


def test_real_tensors_are_run() -> None:
    found = [outlines.result(aten.exp.default, (torch.zeros(2),), {}) for _ in range(2)]

    assert all(out.tolist() == [1, 1] for out in found)


@pytest.mark.parametrize(
    "op",
    [
        *(aten.view.default, aten.relu_.default, aten.rand_like.default, aten.nonzero.default, aten.item.default),
        *(aten._unique2.default, aten.dropout.default, aten.add.out),
    ],
)
def test_what_writes_gives_views_draws_or_is_sized_by_numbers_is_run_each_time(op: Any) -> None:
    assert not schema_of(op).laid


def test_what_is_computed_is_run_once() -> None:
    assert schema_of(aten.exp.default).laid
    assert schema_of(aten.tril.default).laid
