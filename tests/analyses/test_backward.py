"""Multiply-adds of the backward pass against torch's counter around a real one, and by hand where torch is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import one_hot, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop
from torch.utils.flop_counter import FlopCounterMode

import rfcalc
from rfcalc import graph_json
from rfcalc.analyses.costs.backward import Backward


class Net(nn.Module):
    """Linear layers a, b and c of 5 features, in the order that a function says."""

    def __init__(self, run: Callable[..., Any]) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 5)
        self.run = run

    def forward(self, *x: torch.Tensor) -> Any:
        return self.run(self, *x)


def measured(model: nn.Module, *inputs: torch.Tensor) -> int:
    """What FlopCounterMode counts for the backward pass from everything that the model returns."""
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), set_checkpoint_early_stop(False):
        result = model.eval()(*inputs)
        outputs = [result] if isinstance(result, torch.Tensor) else [*result]
        loss = torch.stack([output.float().sum() for output in outputs if output.requires_grad]).sum()
        with counter:
            loss.backward()
    return int(counter.get_total_flops()) // 2


def nested(net: Net, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        with torch.enable_grad():
            kept = net.b(x)
        lost = net.a(x)
    return net.c(kept + lost)


def flagged(net: Net, x: torch.Tensor) -> torch.Tensor:
    with torch.set_grad_enabled(False):
        x = net.a(x)
    x = net.b(x)
    torch.set_grad_enabled(False)
    lost = net.c(x)
    torch.set_grad_enabled(True)
    return net.c(x + lost)


@torch.no_grad()
def decorated(net: Net, x: torch.Tensor) -> torch.Tensor:
    return net.a(x)


def inferred(net: Net, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        x = net.a(x)
    return net.b(x.clone())


def attended(net: Net, x: torch.Tensor) -> torch.Tensor:
    return scaled_dot_product_attention(net.a(x), net.b(x), net.c(x), is_causal=True)


WIDE = torch.rand(2, 3, 4, 5)
NETS: dict[str, tuple[nn.Module, tuple[torch.Tensor, ...]]] = {
    "chain": (Net(lambda net, x: net.c(net.b(net.a(x)).relu())), (torch.rand(4, 5),)),
    "two results": (Net(lambda net, x: (net.a(x), net.b(x).detach(), net.c(x))), (torch.rand(4, 5),)),
    "unused": (Net(lambda net, x: (net.b(x), net.a(x))[1]), (torch.rand(4, 5),)),
    "detached": (Net(lambda net, x: net.b(net.a(x).detach()) + net.c(net.a(x))), (torch.rand(4, 5),)),
    "data": (Net(lambda net, x: net.b(net.a(x).data)), (torch.rand(4, 5),)),
    "no_grad": (Net(lambda net, x: net.b(decorated(net, x))), (torch.rand(4, 5),)),
    "nested": (Net(nested), (torch.rand(4, 5),)),
    "flag": (Net(flagged), (torch.rand(4, 5),)),
    "inference": (Net(inferred), (torch.rand(4, 5),)),
    "whole numbers": (Net(lambda net, x: net.b(one_hot(net.a(x).argmax(-1), 5).float())), (torch.rand(4, 5),)),
    "attention": (Net(attended), (WIDE,)),
    "queries": (Net(lambda net, x: scaled_dot_product_attention(net.a(x), x, x)), (WIDE,)),
    "values": (Net(lambda net, x: scaled_dot_product_attention(x, x, net.a(x))), (WIDE,)),
    "written out": (Net(lambda net, x: (net.a(x) @ net.b(x).mT).softmax(-1) @ x), (WIDE,)),
    "weights alone": (Net(lambda net, x: x @ (net.a.weight @ net.b.weight)), (torch.rand(4, 5),)),
    "added": (Net(lambda net, x: torch.addmm(net.a(x), x, net.b.weight)), (torch.rand(4, 5),)),
    "einsum": (Net(lambda net, x: torch.einsum("bi,oi->bo", net.a(x), net.b.weight)), (torch.rand(4, 5),)),
    "einsum of three": (
        Net(
            lambda net, x: torch.einsum(
                "bi,bij,bjk->bk", net.a(x), x[:, :, None] * net.b(x)[:, None], net.c(x)[..., None]
            )
        ),
        (torch.rand(4, 5),),
    ),
    "einsum of three, one free": (
        Net(lambda net, x: torch.einsum("bi,bij,bjk->bk", net.a(x), x[:, :, None] * x[:, None], net.c(x)[..., None])),
        (torch.rand(4, 5),),
    ),
    "part": (
        Net(lambda net, x: net.c(checkpoint(lambda y: net.b(y).relu(), net.a(x), use_reentrant=False))),
        (torch.rand(4, 5),),
    ),
    "part of modules": (
        Net(lambda net, x: checkpoint(nn.Sequential(net.b, net.c), net.a(x), use_reentrant=False)),
        (torch.rand(4, 5),),
    ),
    "part by another backward": (
        Net(lambda net, x: net.c(checkpoint(net.b, net.a(x), use_reentrant=True))),
        (torch.rand(4, 5),),
    ),
    "parts": (
        Net(lambda net, x: checkpoint(net.b, checkpoint(net.a, x, use_reentrant=False), use_reentrant=False)),
        (torch.rand(4, 5),),
    ),
    "convolutions": (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 2, 3, 2), nn.Conv2d(2, 3, 1)),
        (torch.rand(1, 3, 9, 9),),
    ),
    "embedding": (nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9)), (torch.zeros(2, 3, dtype=torch.long),)),
    "encoder": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (torch.rand(2, 5, 8),)),
    "gru": (nn.GRU(4, 6, 2, batch_first=True, bidirectional=True), (torch.rand(3, 5, 4),)),
    "rnn": (nn.RNN(4, 6), (torch.rand(5, 3, 4),)),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", NETS)
def test_against_torch(name: str) -> None:
    model, inputs = NETS[name]

    totals = rfcalc.analyze(model, inputs).totals

    assert totals.backward is not None
    assert totals.backward_macs == measured(model, *inputs) > 0


def test_frozen_parameters_are_free() -> None:
    net = Net(lambda net, x: net.c(net.b(net.a(x))))
    net.a.requires_grad_(False)
    net.c.requires_grad_(False)
    x = torch.rand(4, 5)

    found = rfcalc.analyze(net, x)

    assert [found[name].backward for name in "abc"] == [Backward(), Backward(weights=100), Backward(inputs=100)]
    assert found.totals.backward == Backward(100, 100)
    assert found.totals.backward_macs == measured(net, x)


def test_a_checkpointed_part_runs_twice() -> None:
    net = Net(lambda net, x: net.c(checkpoint(net.b, net.a(x), use_reentrant=False)))

    found = rfcalc.analyze(net, torch.rand(4, 5))

    assert [found[name].backward for name in "abc"] == [Backward(0, 100), Backward(100, 100, 100), Backward(100, 100)]


def test_groups_which_torch_ignores() -> None:
    """The weight gradient of a grouped convolution takes as many products as the convolution."""
    found = rfcalc.analyze(nn.Conv2d(4, 8, 3, groups=4), torch.rand(1, 4, 8, 8)).totals

    assert found.backward == Backward(0, 36 * 8 * 9)
    assert measured(nn.Conv2d(4, 8, 3, groups=4), torch.rand(1, 4, 8, 8)) == 4 * 36 * 8 * 9


class Experts(nn.Module):
    """Groups of rows, each with a matrix of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(3, 8, 16))
        self.before = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
        return torch._grouped_mm(self.before(x).bfloat16(), self.weight.bfloat16(), offs=ends)


@pytest.mark.skipif(not hasattr(torch, "_grouped_mm"), reason="this torch has no products of groups")
def test_grouped_products() -> None:
    inputs = torch.rand(10, 8), torch.tensor([4, 4, 10], dtype=torch.int32)

    found = rfcalc.analyze(Experts(), inputs).totals

    assert found.backward == Backward(10 * 8 * 16, 10 * 8 * 16 + 10 * 8 * 8)


def test_an_einsum_of_more_is_by_pairs_from_left_to_right() -> None:
    net = Net(lambda net, x: torch.einsum("bi,ij,jk->bk", net.a(x), net.b.weight, net.c.weight))

    found = rfcalc.analyze(net, torch.rand(4, 5))

    assert found.totals.backward_macs == 4 * 25 + 2 * (4 * 25 + 4 * 25)  # a's weight, and both factors of each pair
    net.b.weight.requires_grad_(False)  # which of the three that is, no graph says
    assert rfcalc.analyze(net, torch.rand(4, 5)).totals.backward_macs is None


def test_an_op_without_a_rule_is_named() -> None:
    found = rfcalc.analyze(nn.Bilinear(3, 4, 5), (torch.rand(2, 3), torch.rand(2, 4))).totals

    assert found.backward_macs is None
    assert found.no_backward == {"torch.bilinear": 1}


def test_the_flag_of_the_process_is_as_before() -> None:
    for on in (True, False):
        with torch.set_grad_enabled(on):
            rfcalc.analyze(Net(flagged), torch.rand(4, 5))
            assert torch.is_grad_enabled() is on


def test_a_saved_graph_says_the_same() -> None:
    for run in (nested, lambda net, x: checkpoint(net.b, net.a(x), use_reentrant=False)):
        found = rfcalc.analyze(Net(run), torch.rand(4, 5))
        again = graph_json.from_json(graph_json.to_json(found.layer_graph))

        assert rfcalc.analyze(again).totals.backward == found.totals.backward
