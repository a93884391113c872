"""Models that use torch.vmap and torch.func are counted as what they compute, for all that a tensor stands for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, func, nn, vmap
from torch.autograd import forward_ad
from torch.autograd import functional as autograd
from torch.nn import functional as F

import rfcalc
from rfcalc.api import analyze
from tests.tracing.transformed import Ensemble, Of, analysed, macs_of, regions, seen

#: Forward-mode derivatives script torch's own decompositions when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")


def _net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def _twice(m: Any, x: Tensor) -> Tensor:
    return vmap(lambda w: F.linear(F.linear(x, w), w))(m.w)


def _filled(x: Tensor) -> Tensor:
    y = x.clone()
    y[:1] = 5.0
    return y


def _trees(m: Any, x: Tensor) -> Tensor:
    def one(given: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"y": given["a"] @ given["b"], "z": given["a"]}

    mapped = vmap(one, in_dims=({"a": 0, "b": 2},), out_dims={"y": 1, "z": 0})
    return mapped({"a": x, "b": m.w})["y"]


def _convs() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 1, 2)
    )


def _dual(m: Any, x: Tensor) -> Any:
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(m.net(forward_ad.make_dual(x, x))).tangent


def _derived(function: Callable[[Any, Tensor], Any]) -> Callable[[], nn.Module]:
    """A derivative of a linear layer and a tanh, each product of which has 16 multiply-adds."""
    return lambda: Of(function, nn.Sequential(nn.Linear(4, 4), nn.Tanh()))


R = torch.randn
#: name: (model, shape of the input, multiply-adds). The numbers are those of the same network without vmap, by hand.
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "linear": (lambda: Of(lambda m, x: vmap(lambda w: F.linear(x, w))(m.w), w=R(5, 8, 8)), (4, 8), 5 * 4 * 64),
    "two linears": (lambda: Of(_twice, w=R(5, 8, 8)), (4, 8), 2 * 5 * 4 * 64),
    "ensemble": (lambda: Ensemble(_net), (4, 3), 3 * 4 * (12 + 8)),
    "ensemble, own inputs": (lambda: Ensemble(_net, x=1), (4, 3, 3), 3 * 4 * (12 + 8)),
    "ensemble of convolutions": (lambda: Ensemble(_convs, members=2), (1, 1, 4, 4), 2 * (16 * 18 + 8)),
    "ensemble of cells": (lambda: Ensemble(lambda: nn.GRUCell(2, 3)), (2, 2), 3 * 2 * 9 * (2 + 3)),
    "ensemble of attention": (
        lambda: Ensemble(lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)),
        (1, 3, 4),
        3 * 3 * (4 * 16 + 2 * 4 * 8) + 3 * 2 * 3 * 3 * 4,
    ),
    "examples": (lambda: Of(lambda m, x: vmap(m.net)(x), _net()), (5, 3), 5 * 20),
    "axis 1": (lambda: Of(lambda m, x: vmap(m.net, in_dims=1, out_dims=1)(x), _net()), (3, 5), 5 * 20),
    "nested": (lambda: Of(lambda m, x: vmap(vmap(m.net), in_dims=1)(x), _net()), (2, 5, 3), 10 * 20),
    "chunks": (lambda: Of(lambda m, x: vmap(m.net, chunk_size=2)(x), _net()), (5, 3), 5 * 20),
    "trees": (lambda: Of(_trees, w=R(4, 2, 3)), (3, 2, 4), 3 * 2 * 4 * 2),
    "keywords": (lambda: Of(lambda m, x: vmap(lambda x, *, k: x @ k)(x, k=m.w), w=R(3, 4, 2)), (3, 2, 4), 3 * 48),
    "attention": (
        lambda: Of(lambda m, x: vmap(lambda q: F.scaled_dot_product_attention(q, q, q))(x)),
        (2, 2, 3, 2),
        144,
    ),
    "einsum": (
        lambda: Of(lambda m, x: vmap(lambda w: torch.einsum("bi,io->bo", x, w))(m.w), w=R(5, 3, 3)),
        (4, 3),
        5 * 4 * 9,
    ),
    "convolution by each weight": (
        lambda: Of(lambda m, x: vmap(lambda w: F.conv1d(x, w, padding=1))(m.w), w=R(3, 4, 2, 3)),
        (2, 2, 5),
        3 * 2 * 5 * 4 * 6,
    ),
    "convolution by its own weight": (
        lambda: Of(lambda m, x: vmap(lambda x, w: F.conv1d(x, w, padding=1))(x, m.w), w=R(3, 4, 2, 3)),
        (3, 1, 2, 5),
        3 * 5 * 4 * 6,
    ),
    "transposed convolution": (
        lambda: Of(lambda m, x: vmap(lambda x, w: F.conv_transpose1d(x, w, stride=2))(x, m.w), w=R(3, 2, 4, 3)),
        (3, 1, 2, 5),
        3 * 5 * 2 * 4 * 3,
    ),
    "norm of layers": (lambda: Of(lambda m, x: vmap(m.net)(x), nn.LayerNorm(4)), (3, 2, 4), 0),
    "norm of groups": (lambda: Of(lambda m, x: vmap(m.net)(x), nn.GroupNorm(2, 4)), (2, 1, 4, 3), 0),
    "norm of instances": (lambda: Of(lambda m, x: vmap(m.net)(x), nn.InstanceNorm1d(2)), (2, 1, 2, 3), 0),
    "known indices": (lambda: Of(lambda m, x: vmap(lambda x: x[[0, 2]] * 2)(x)), (4, 3), 0),
    "written": (lambda: Of(lambda m, x: vmap(_filled)(x)), (4, 3), 0),
    "sums": (lambda: Of(lambda m, x: vmap(lambda x: torch.cumsum(x, 0))(x)), (2, 4), 0),
    # Forward mode multiplies the tangent of x by the weights, and x by the zeros that are the weights' tangent.
    "jvp": (_derived(lambda m, x: func.jvp(m.net, (x,), (x,))[1]), (1, 4), 3 * 16),
    "dual numbers": (_derived(_dual), (1, 4), 3 * 16),
    "vjp": (_derived(lambda m, x: func.vjp(m.net, x)[1](x)[0]), (1, 4), 2 * 16),
    "jacrev": (_derived(lambda m, x: func.jacrev(m.net)(x)), (1, 4), (1 + 4) * 16),
    "jacrev, a chunk at a time": (_derived(lambda m, x: func.jacrev(m.net, chunk_size=3)(x)), (1, 4), (1 + 4) * 16),
    "jacobian": (_derived(lambda m, x: autograd.jacobian(m.net, x)), (1, 4), (1 + 4) * 16),
    "jacobian at once": (_derived(lambda m, x: autograd.jacobian(m.net, x, vectorize=True)), (1, 4), (1 + 4) * 16),
    "product with a jacobian": (_derived(lambda m, x: autograd.vjp(m.net, x, x)[1]), (1, 4), 2 * 16),
    "product of a jacobian": (_derived(lambda m, x: autograd.jvp(m.net, x, x)[1]), (1, 4), 3 * 16),
    "hessian": (_derived(lambda m, x: autograd.hessian(lambda x: m.net(x).sum(), x)), (1, 4), (2 + 4 * 2) * 16),
    "product with a hessian": (_derived(lambda m, x: autograd.vhp(lambda x: m.net(x).sum(), x, x)[1]), (1, 4), 4 * 16),
    "product of a hessian": (_derived(lambda m, x: autograd.hvp(lambda x: m.net(x).sum(), x, x)[1]), (1, 4), 6 * 16),
}


@pytest.mark.parametrize("name", NETS)
def test_a_mapped_network_counts_for_all_that_it_is_mapped_over(name: str) -> None:
    make, shape, macs = NETS[name]
    model = make().eval()
    found = analysed(model, torch.randn(shape))

    assert (found.totals.macs, found.totals.status) == (macs, "complete")
    assert macs_of(model, torch.randn(shape)) == macs
    assert found.totals.params == sum(p.numel() for p in model.parameters())
    assert not found.totals.unused_params


@pytest.mark.parametrize("name", NETS)
def test_a_field_is_what_changes_an_output_of_a_mapped_network(name: str) -> None:
    make, shape, _ = NETS[name]
    model = make().eval()
    ours = regions(analysed(model, torch.randn(shape)))
    changed = seen(copy.deepcopy(model).double(), torch.randn(shape))

    for axis, (region, witness) in enumerate(zip(ours, changed, strict=True)):
        assert np.array_equal(region, witness), f"axis {axis}"


def test_an_ensemble_at_once_costs_what_its_members_do() -> None:
    for make in (_net, lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.GELU()), lambda: nn.GRUCell(3, 4)):
        at_once, each = (analyze(Ensemble(make, at_once=way), (4, 3)).totals for way in (True, False))
        assert (at_once.macs, at_once.params) == (each.macs, each.params)


def test_layers_of_a_mapped_network_have_the_names_of_its_modules() -> None:
    found = analyze(Of(lambda m, x: vmap(m.net)(x), _net()), torch.randn(5, 3))

    assert [(layer.name, layer.kind, layer.macs) for layer in found.layers[1:]] == [
        ("net.0", "linear", 60),
        ("net.2", "linear", 40),
    ]


@pytest.mark.parametrize("randomness", ["same", "different"])
def test_random_numbers_within_a_map(randomness: str) -> None:
    def drop(m: Any, x: Tensor) -> Tensor:
        mapped = vmap(lambda x: F.dropout(m.net(x), 0.5, training=True), randomness=randomness)
        return mapped(x)

    assert analyze(Of(drop, _net()), torch.randn(5, 3)).totals.macs == 100


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: vmap(lambda x: x.sum().item())(x), "item"),
        (lambda x: vmap(lambda x: x + torch.randn(3))(x), "randomness"),
        (lambda x: vmap(lambda x: x if x.sum() > 0 else -x)(x), "data-dependent control flow"),
        (lambda x: vmap(lambda x, y: x)(x, x[:2]), "same size in the mapped dimension"),
        (lambda x: vmap(lambda x: x, in_dims=7)(x), "in_dim"),
        (lambda x: vmap(lambda x: "text")(x), "must only return Tensors"),
        (lambda x: torch.func.grad(lambda x: x * 2)(x), "scalar"),
        (lambda x: torch.func.jacrev(lambda x: x.tolist())(x), "only tensors"),
        (lambda x: torch.func.linearize(torch.cos, x)[1](x), "use torch.func.jvp"),
    ],
)
def test_what_torch_refuses_within_a_transform_is_refused_in_one_line(
    function: Callable[[Tensor], Any], words: str
) -> None:
    with pytest.raises(rfcalc.errors.RfcalcError, match=words) as caught:
        analyze(Of(lambda m, x: function(x)), torch.randn(5, 3))

    assert "\n" not in str(caught.value)


def test_verify_runs_a_mapped_network() -> None:
    found = rfcalc.verify(Ensemble(_net).eval(), torch.randn(4, 3), device="cpu", timing=False, probes=3)

    assert found.agree, found
