"""Rules of reductions and cumulative ops against poisoned and changed calls."""

import math

import pytest
import torch

from rfcalc.graph import TensorInfo
from rfcalc.ops import Arg, Call, lookup
from tests.ops.finite import check_changed, rule_on
from tests.ops.oracle import check_op

aten = torch.ops.aten

AXES = [([0], False), ([-1], True), ([0, 2], False), ([2, 1], True), ([], False), (None, True), (None, False)]


@pytest.mark.parametrize(("dim", "keepdim"), AXES)
@pytest.mark.parametrize("op", [aten.sum.dim_IntList, aten.mean.dim, aten.amax.default, aten.amin.default])
def test_reductions_over_axes(op, dim, keepdim):
    if dim is None and op in (aten.amax.default, aten.amin.default):
        dim = []

    effect = check_op(op, torch.rand(2, 3, 4), dim, keepdim)

    assert sum(effect.flops.values()) == 24
    assert effect.attrs == {"dim": sorted(a % 3 for a in dim or range(3)), "keepdim": keepdim}
    assert effect.macs == 0


@pytest.mark.parametrize(
    "op", [aten.sum.default, aten.mean.default, aten.prod.default, aten.max.default, aten.min.default]
)
@pytest.mark.parametrize("shape", [(2, 3), (4,), ()])
def test_reductions_of_everything(op, shape):
    effect = check_op(op, torch.rand(shape))

    assert (effect.kind, effect.flops) == ("reduction", {"reduction": math.prod(shape)})


@pytest.mark.parametrize(("dim", "keepdim"), [(0, False), (1, True), (-1, False)])
@pytest.mark.parametrize("name", ["max", "min", "median"])
def test_values_and_indices(name, dim, keepdim):
    op = getattr(aten, name).dim

    assert check_op(op, torch.rand(2, 3), dim, keepdim, outputs=1).flops == {"reduction": 6}
    x = torch.rand(2, 3)
    ruled = rule_on(op, x, dim, keepdim)
    assert (ruled.told(x, 0) == ruled.told(x, 1)).all()
    check_changed(op, x, dim, keepdim, trials=12)


def test_zero_dimensional_tensors():
    x = torch.rand(())

    check_op(aten.sum.dim_IntList, x, [0])
    check_op(aten.mean.dim, x, [-1], True)
    check_op(aten.max.dim, x, 0, outputs=1)
    check_op(aten.cumsum.default, x, 0)
    check_op(aten.logsumexp.default, x, [0])


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize(("dim", "keepdim"), [(None, False), (1, False), (0, True)])
def test_places_of_extremes(name, dim, keepdim):
    effect = check_changed(getattr(aten, name).default, torch.rand(2, 3), dim, keepdim, trials=20)

    assert effect.flops == {"reduction": 6}


@pytest.mark.parametrize(("op", "args"), [(aten.any.default, ()), (aten.any.dim, (1,)), (aten.all.dim, (0, True))])
def test_any_and_all(op, args):
    def draw(shape):
        return (torch.rand(shape) < (0.8 if op is aten.all.dim else 0.2)).float()

    effect = check_changed(op, torch.rand(2, 3), *args, draw=draw, trials=40)
    assert effect.flops == {"reduction": 6}


def test_any_over_lists_of_axes():
    x = torch.rand(2, 3)

    assert rule_on(aten.any.dims, x, [0]).told(x, 0).sum() == 6
    assert rule_on(aten.any.dims, x, None).told(x, 0).sum() == 6
    # Here, and only here, an empty list names no axis.
    assert rule_on(aten.any.dims, x, []).told(x, 0).sum() == 6
    assert rule_on(aten.any.dims, x, []).told(x, 0).shape == (2, 3, 6)


def test_largest_of_two():
    effect = check_op(aten.max.other, torch.rand(2, 3), torch.rand(3))
    assert (effect.kind, effect.flops) == ("merge", {"elementwise": 6})
    bound = torch.rand(3)
    assert check_op(aten.min.other, torch.rand(2, 3), bound, const=[bound]).kind == "elementwise"


@pytest.mark.parametrize("name", ["var", "std"])
def test_variance(name):
    x, op = torch.rand(2, 3), getattr(aten, name)
    extra = 1 if name == "std" else 0

    assert check_op(op.correction, x, [1], correction=1).flops == {"reduction": 24 + 2 * extra}
    assert check_op(op.correction, x, [0], correction=0, keepdim=True).flops == {"reduction": 24 + 3 * extra}
    assert check_op(op.default, x).flops == {"reduction": 24 + extra}
    check_op(op.dim, x, [-1], False, True)
    pair = getattr(aten, f"{name}_mean")
    assert check_op(pair.correction, x, [1], correction=1).flops == {"reduction": 24 + 2 * extra}
    check_op(pair.default, x)


@pytest.mark.parametrize("dim", [[1], [0, 1]])
def test_logsumexp(dim):
    effect = check_op(aten.logsumexp.default, torch.rand(2, 3), dim)

    assert effect.flops == {"reduction": 24 + 2 * (2 if dim == [1] else 1)}


def test_products_and_extremes():
    x = torch.rand(2, 3)

    assert check_op(aten.prod.dim_int, x, 1).flops == {"reduction": 6}
    assert check_op(aten.aminmax.default, x, dim=1).flops == {"reduction": 12}
    check_op(aten.aminmax.default, x)
    check_op(aten.median.default, x)
    check_changed(aten.nansum.default, x, [1])
    check_changed(aten.nanmedian.dim, x, 1, trials=12)
    check_changed(aten.kthvalue.default, x, 2, trials=12)
    check_changed(aten.kthvalue.default, x, 1, 0, True, trials=12)


def test_counts():
    def draw(shape):
        return torch.randint(2, shape).float()

    assert check_changed(aten.count_nonzero.default, torch.rand(2, 3), 1, draw=draw).flops == {"reduction": 12}
    check_changed(aten.count_nonzero.dim_IntList, torch.rand(2, 3), [0, 1], draw=draw)
    check_changed(aten.mode.default, torch.rand(2, 4), draw=draw, trials=20)


def test_quantiles():
    x, wanted = torch.rand(2, 3), torch.tensor([0.2, 0.7])

    assert check_op(aten.quantile.scalar, x, 0.4, 1).flops == {"reduction": 6}
    check_op(aten.quantile.default, x, wanted, 1, const=[wanted])
    check_op(aten.quantile.default, x, wanted, 0, True, const=[wanted])
    check_op(aten.quantile.default, x, wanted, const=[wanted])
    scalar = torch.tensor(0.5)
    check_op(aten.quantile.default, x, scalar, 1, const=[scalar])
    ruled = rule_on(aten.quantile.default, x, wanted, 1)
    assert ruled.told(x, 0)[1, 0].tolist() == [True] * 3 + [False] * 3
    assert ruled.told(wanted, 0)[0, 0].tolist() == [True, False]


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize(("name", "count"), [("cumsum", 1), ("cumprod", 1), ("logcumsumexp", 4)])
def test_cumulative(name, count, dim):
    effect = check_op(getattr(aten, name).default, torch.rand(2, 3, 2), dim)

    assert (effect.kind, effect.flops) == ("reduction", {"reduction": 12 * count})


def test_defaults_need_not_be_filled_in():
    for name in ("mode", "kthvalue"):
        call = Call(f"aten.{name}", {"self": Arg((2, 3))}, [TensorInfo((2,)), TensorInfo((2,))])
        assert lookup(call.op)(call).attrs == {"dim": [1], "keepdim": False}


@pytest.mark.parametrize("name", ["cummax", "cummin"])
def test_cumulative_extremes(name):
    assert check_op(getattr(aten, name).default, torch.rand(2, 4), 1, outputs=1).flops == {"reduction": 8}
    check_op(getattr(aten, name).default, torch.rand(3, 2), 0, outputs=1)


def test_complex_sums_count_real_operations():
    z = torch.rand(2, 3, dtype=torch.cfloat)

    assert rule_on(aten.sum.default, z).effect.flops == {"reduction": 12}
    assert rule_on(aten.cumprod.default, z, 1).effect.flops == {"reduction": 36}


@pytest.mark.parametrize(
    ("op", "shape", "dim", "keepdim", "kind"),
    [
        (aten.mean.dim, (2, 3, 4, 4), [-1, -2], True, "pool"),
        (aten.mean.dim, (2, 3, 4, 4), [2, 3], False, "pool"),
        (aten.amax.default, (2, 3, 4, 4), [2, 3], False, "pool"),
        (aten.mean.dim, (2, 3, 2, 2, 2), [2, 3, 4], False, "pool"),
        (aten.mean.dim, (2, 3, 2, 2, 2), [3, 4], False, "pool"),
        (aten.mean.dim, (2, 3, 4), [2], False, "pool"),
        (aten.mean.dim, (2, 4, 4, 3), [1, 2], False, "pool"),
        (aten.mean.dim, (2, 4, 3), [1], False, "pool"),
        (aten.mean.dim, (2, 4, 3), [-1], True, "reduction"),
        (aten.mean.dim, (2, 3, 4, 4), [1], True, "reduction"),
        (aten.mean.dim, (2, 3, 4, 4), [1, 2, 3], False, "reduction"),
        (aten.mean.dim, (2, 3), [1], False, "reduction"),
        (aten.mean.dim, (2, 3, 4), None, False, "reduction"),
        (aten.sum.dim_IntList, (2, 3, 4, 4), [2, 3], False, "reduction"),
        (aten.amin.default, (2, 3, 4, 4), [2, 3], False, "reduction"),
    ],
)
def test_average_over_positions_is_pooling(op, shape, dim, keepdim, kind):
    effect = rule_on(op, torch.rand(shape), dim, keepdim).effect

    assert effect.kind == kind
    assert effect.flops == {"pooling" if kind == "pool" else "reduction": math.prod(shape)}


def test_integers_are_not_pooled():
    x = torch.ones(2, 3, 4, 4, dtype=torch.int64)

    assert rule_on(aten.amax.default, x, [2, 3]).effect.kind == "reduction"
