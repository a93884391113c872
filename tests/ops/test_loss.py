"""Losses: reads against NaN and finite changes, counts by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import rfcalc
from tests.ops.finite import check_changed, rule_on
from tests.ops.oracle import check_op

aten = torch.ops.aten
PAIRS = {
    "mse_loss": 2,
    "smooth_l1_loss": 5,
    "huber_loss": 5,
    "soft_margin_loss": 5,
    "binary_cross_entropy": 8,
    "binary_cross_entropy_with_logits": 11,
}


def _drawn(size: torch.Size) -> torch.Tensor:
    return torch.rand(size) * 0.9 + 0.05


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("reduction", [0, 1, 2])
def test_losses_of_pairs(name: str, reduction: int) -> None:
    op = getattr(aten, name).default
    x, y = torch.rand(2, 3), torch.rand(2, 3)

    effect = check_changed(op, x, y, reduction=reduction, draw=_drawn)

    assert effect.flops == {"loss": 6 * (PAIRS[name] + (reduction > 0))}
    assert effect.kind == ("reduction" if reduction else "merge")


def test_weights_of_a_cross_entropy() -> None:
    x, y, w = torch.rand(2, 3), torch.rand(2, 3), torch.rand(3)

    assert check_changed(
        aten.binary_cross_entropy.default, x, y, w.expand(2, 3).clone(), reduction=0, draw=_drawn
    ).flops == {"loss": 6 * 9}
    logits = aten.binary_cross_entropy_with_logits.default
    assert check_changed(logits, x, y, w, w + 1, 0, draw=_drawn).flops == {"loss": 6 * (11 + 1 + 4)}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", [0, 1, 2])
def test_negative_log_likelihood(weighted: bool, reduction: int) -> None:
    x, target = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    weight = torch.rand(3) if weighted else None

    effect = check_op(aten.nll_loss_forward.default, x, target, weight, reduction, -100)

    extra = (1 + (reduction == 1)) if weighted else 0
    assert effect.flops == {"loss": 4 * (1 + (reduction > 0) + extra)}
    assert effect.inexact == "data-dependent index"


def test_negative_log_likelihood_of_one_row_and_of_a_map() -> None:
    check_op(aten.nll_loss_forward.default, torch.randn(3), torch.tensor(1), None, 1, -100)
    x, target = torch.randn(2, 3, 2, 2), torch.tensor([[[0, 1], [2, 1]], [[0, 1], [2, 1]]])

    assert check_op(aten.nll_loss2d_forward.default, x, target, None, 0, -100).flops == {"loss": 8}
    assert check_op(aten.nll_loss2d_forward.default, x, target, None, 1, -100).flops == {"loss": 16}
    with_weights = check_op(aten.nll_loss2d_forward.default, x, target, torch.rand(3), 0, -100)
    assert with_weights.flops == {"loss": 16}


@pytest.mark.parametrize("reduction", [0, 1])
def test_margins_of_classes(reduction: int) -> None:
    x, target = torch.rand(4, 3), torch.tensor([0, 2, 1, 1])

    effect = check_changed(aten.multi_margin_loss.default, x, target, 1, 1.0, None, reduction)
    assert effect.flops == {"loss": 4 * 12 + (1 + reduction) * 4}
    assert rule_on(aten.multi_margin_loss.default, x, target, 2, 1.0, None, reduction).effect.flops == {
        "loss": 5 * 12 + (1 + reduction) * 4
    }
    several = torch.tensor([[0, 1, -1], [2, 1, -1], [1, -1, 0], [1, 2, -1]])
    ruled = rule_on(aten.multilabel_margin_loss_forward.default, x, several, reduction)
    assert ruled.effect.flops == {"loss": 4 * 4 * 2 + (1 + reduction) * 4}
    assert ruled.told(x, 0).sum() == 12, "a row each, or all of them"
    assert not ruled.told(x, 1).any(), "which classes are, the targets say"


def test_connectionist_temporal_classification() -> None:
    x = torch.randn(5, 2, 4).log_softmax(2)
    targets = torch.tensor([[1, 2], [3, 3]])

    effect = check_op(aten._ctc_loss.default, x, targets, [5, 4], [2, 1])

    assert effect.flops == {"loss": 13 * (5 * 5 + 4 * 3) + 9 * 2}
    lengths = torch.tensor([5, 4]), torch.tensor([2, 1])
    known = rule_on(aten._ctc_loss.Tensor, x, targets, *lengths, const=lengths).effect
    assert known.flops == effect.flops
    longest = rule_on(aten._ctc_loss.Tensor, x, targets, *lengths).effect
    assert longest.flops == {"loss": 13 * 2 * 5 * 5 + 9 * 2}


def test_dist() -> None:
    assert check_op(aten.dist.default, torch.rand(2, 3), torch.rand(3)).flops == {"reduction": 19}


# --- models -----------------------------------------------------------------------------------------------------------

CLASSES = torch.tensor([1, 3])
Y = torch.rand(2, 4)
LOSSES: dict[str, Any] = {
    "cross_entropy": lambda x: F.cross_entropy(x, CLASSES),
    "cross_entropy, smoothed and weighted": lambda x: F.cross_entropy(
        x, CLASSES, weight=torch.ones(4), label_smoothing=0.1
    ),
    "cross_entropy of probabilities": lambda x: F.cross_entropy(x, Y.softmax(-1)),
    "nll_loss": lambda x: F.nll_loss(x.log_softmax(-1), CLASSES, reduction="none"),
    "mse_loss": lambda x: F.mse_loss(x, Y),
    "l1_loss": lambda x: F.l1_loss(x, Y),
    "smooth_l1_loss": lambda x: F.smooth_l1_loss(x, Y),
    "huber_loss": lambda x: F.huber_loss(x, Y),
    "binary_cross_entropy": lambda x: F.binary_cross_entropy(x.sigmoid(), Y),
    "binary_cross_entropy_with_logits": lambda x: F.binary_cross_entropy_with_logits(x, Y, pos_weight=torch.ones(4)),
    "margin_ranking_loss": lambda x: F.margin_ranking_loss(x, Y, torch.ones(2, 4)),
    "multi_margin_loss": lambda x: F.multi_margin_loss(x, CLASSES),
    "multilabel_margin_loss": lambda x: F.multilabel_margin_loss(x, torch.zeros(2, 4, dtype=torch.long)),
    "multilabel_soft_margin_loss": lambda x: F.multilabel_soft_margin_loss(x, Y),
    "triplet_margin_loss": lambda x: F.triplet_margin_loss(x, Y, Y + 1),
    "kl_div": lambda x: F.kl_div(x.log_softmax(-1), Y.softmax(-1), reduction="batchmean"),
    "kl_div of logarithms": lambda x: F.kl_div(x.log_softmax(-1), Y, log_target=True, reduction="sum"),
    "cosine_embedding_loss": lambda x: F.cosine_embedding_loss(x, Y, torch.ones(2)),
    "poisson_nll_loss": lambda x: F.poisson_nll_loss(x, Y),
    "gaussian_nll_loss": lambda x: F.gaussian_nll_loss(x, Y, torch.ones(2, 4)),
    "soft_margin_loss": lambda x: F.soft_margin_loss(x, Y),
    "hinge_embedding_loss": lambda x: F.hinge_embedding_loss(x, torch.ones(2, 4)),
    "ctc_loss": lambda x: F.ctc_loss(x[:, None].log_softmax(-1), torch.tensor([[1]]), [2], [1]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_counted(name: str) -> None:
    class Lossy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> Any:
            return LOSSES[name](self.head(x))

    totals = rfcalc.analyze(Lossy(), torch.randn(2, 8)).totals

    assert totals.status == "complete", totals.unknown_ops
    assert (totals.params, totals.macs) == (36, 64)
    assert totals.flops > 2 * 64 + 8
