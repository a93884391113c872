"""Complex numbers, against the same work written out in real ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import rfcalc
from rfcalc.api import layer_graph
from rfcalc.conventions import explain
from tests.ops.finite import rule_on

aten = torch.ops.aten


class Net(nn.Module):
    """A complex parameter, and a product of it with the input made complex."""

    def __init__(self, shape: tuple[int, ...], product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape, dtype=torch.cfloat))
        self.product = product

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.product(x.to(torch.cfloat), self.weight).abs()


def _in_reals(x: torch.Tensor, weight: torch.Tensor, product: Callable[..., torch.Tensor]) -> int:
    """Multiply-adds that torch counts for the product written out: of all parts with all parts."""
    with FlopCounterMode(display=False) as counter:
        for left in (x, x.clone()):
            for right in (weight.real.contiguous(), weight.imag.contiguous()):
                product(left, right)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(
    ("weight", "x", "product"),
    [
        ((6, 5), (3, 6), torch.matmul),
        ((5, 6), (3, 6), F.linear),
        ((2, 6, 5), (2, 3, 6), torch.bmm),
        ((2, 6, 5), (2, 3, 6), lambda x, w: torch.baddbmm(torch.zeros(5, dtype=x.dtype), x, w)),
        ((8, 7, 6), (2, 8, 6), lambda x, w: torch.einsum("bix,iox->box", x, w)),
        ((8, 4, 3), (2, 4, 9), lambda x, w: F.conv1d(x, w, stride=2)),
        ((8, 2, 3, 3), (1, 4, 9, 9), lambda x, w: F.conv2d(x, w, padding="same", groups=2)),
        ((4, 8, 3, 3), (1, 4, 5, 5), lambda x, w: F.conv_transpose2d(x, w, stride=2)),
    ],
)
def test_a_product_counts_as_it_does_written_out_in_reals(
    weight: tuple[int, ...], x: tuple[int, ...], product: Callable[..., torch.Tensor]
) -> None:
    net, example = Net(weight, product).eval(), torch.randn(x)

    totals = rfcalc.analyze(net, example).totals

    assert totals.macs == _in_reals(example, net.weight.detach(), product) > 0
    assert totals.status == "complete"
    assert totals.params == totals.complex_params == net.weight.numel()


def test_a_spectral_layer_counts_four_real_products_for_each_complex_one() -> None:
    """The layer of a Fourier neural operator, 8 to 8 channels and 6 modes: 384 products of complex numbers."""

    class Spectral(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.randn(8, 8, 6, dtype=torch.cfloat))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            spectrum = torch.fft.rfft(x)[..., :6]
            return torch.fft.irfft(torch.einsum("bix,iox->box", spectrum, self.w), n=x.shape[-1])

    analysis = rfcalc.analyze(Spectral(), (1, 8, 64))

    assert analysis.totals.macs == 384 * 4
    assert analysis.to_dict()["totals"]["complex_params"] == 384
    product = next(row for row in analysis.layers if row.macs)
    assert product.formula == "4 x (8x6) x (8)"


def test_a_complex_convolution_is_one_layer() -> None:
    net = nn.Sequential(nn.Conv2d(4, 8, 3, dtype=torch.cfloat))
    graph = layer_graph(net, torch.randn(1, 4, 8, 8, dtype=torch.cfloat))

    assert [record.op for record in graph] == ["input", "aten.convolution"]
    assert graph[1].macs == 4 * (6 * 6 * 8) * (3 * 3 * 4)
    assert graph[1].flops == {"bias": 2 * 6 * 6 * 8}


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d])
def test_a_complex_convolution_of_one_sample_is_that_of_a_batch_of_one(kind: type[nn.Module]) -> None:
    net = nn.Sequential(kind(2, 3, 3, dtype=torch.cfloat))
    x = torch.randn(2, *(9,) * (2 if kind is nn.Conv2d else 1), dtype=torch.cfloat)
    alone, batch = layer_graph(net, x), layer_graph(net, x[None])
    one = next(record for record in alone if record.op == "aten.convolution")

    assert [record.op for record in alone] == ["input", "aten.unsqueeze", "aten.convolution", "aten.squeeze"]
    assert (one.macs, one.flops) == (batch[1].macs, batch[1].flops)


def test_real_models_say_nothing_of_complex_numbers() -> None:
    assert "complex_params" not in rfcalc.analyze(nn.Linear(3, 2), (1, 3)).to_dict()["totals"]


Z, W, X = torch.rand(4, dtype=torch.cfloat), torch.rand(4, dtype=torch.cfloat), torch.rand(4)


@pytest.mark.parametrize(
    ("operations", "op", "args"),
    [
        (2, aten.add.Tensor, (Z, W)),
        (1, aten.add.Tensor, (Z, X)),
        (2, aten.neg.default, (Z,)),
        (2, aten.exp.default, (Z,)),
        (6, aten.mul.Tensor, (Z, W)),
        (2, aten.mul.Tensor, (Z, X)),
        (2, aten.mul.Tensor, (Z, 2.0)),
        (6, aten.mul.Tensor, (Z, 2j)),
        (6, aten.mul_.Tensor, (Z, W)),
        (11, aten.div.Tensor, (Z, W)),
        (2, aten.div.Tensor, (Z, X)),
        (11, aten.div.Tensor, (X, Z)),
        (5, aten.reciprocal.default, (Z,)),
        (4, aten.abs.default, (Z,)),
        (1, aten.angle.default, (Z,)),
        (3, aten.eq.Tensor, (Z, W)),
        (8, aten.addcmul.default, (Z, W, W)),
        (6, aten.lerp.Scalar, (Z, W, 0.5)),
        (4, aten.polar.default, (X, X)),
    ],
)
def test_other_arithmetic_counts_real_operations(operations: int, op: object, args: tuple[object, ...]) -> None:
    assert rule_on(op, *args).effect.flops == {"elementwise": operations * 4}


def test_a_factor_of_a_sum_is_a_product_by_a_real_number() -> None:
    add = aten.add.Tensor
    assert rule_on(add, X, Z, alpha=3).effect.flops == {"elementwise": 3 * 4}
    assert rule_on(add, Z, X, alpha=3).effect.flops == {"elementwise": 2 * 4}
    assert rule_on(add, Z, W, alpha=3).effect.flops == {"elementwise": 4 * 4}


def test_reductions_and_products_of_complex_numbers() -> None:
    z = torch.rand(2, 3, dtype=torch.cfloat)

    assert rule_on(aten.sum.default, z).effect.flops == {"reduction": 2 * 6}
    assert rule_on(aten.prod.default, z).effect.flops == {"reduction": 6 * 6}
    assert rule_on(aten.cumprod.default, z, 1).effect.flops == {"reduction": 6 * 6}


def _net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 8, 3, dtype=torch.cfloat), nn.Linear(6, 5, dtype=torch.cfloat)).eval()


def test_what_torch_prints_for_complex_numbers_is_explained() -> None:
    """torch counts a convolution as the three real ones that it runs, and any other product as one."""
    net, x = _net(), torch.randn(1, 4, 8, 8, dtype=torch.cfloat)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(x)

    explained = explain(layer_graph(net, x))

    assert explained.macs == 4 * (10368 + 6 * 8 * 5 * 6)
    tally = next(tally for tally in explained.tallies if tally.tool == "flopcounter")
    assert tally.printed == counter.get_total_flops() == 2 * (3 * 10368 + 6 * 8 * 5 * 6)
    for other in explained.tallies:
        assert other.base + sum(term.amount for term in other.terms) == other.total
        assert all(term.label for term in other.terms)


def test_a_real_pass_agrees() -> None:
    found = rfcalc.verify(Net((6, 5), torch.matmul).eval(), torch.randn(3, 6))
    macs = next(check for check in found.checks if check.what == "macs")

    assert macs.compared == macs.agree == 2
    assert "complex" in macs.notes[0]
