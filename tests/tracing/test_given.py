"""Whole numbers and truth values that the user gave are numbers to the tracer, and inputs all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import rfcalc

X = torch.empty(1, 4, 8, device="meta")  #: (batch, time, features)


class Fn(nn.Module):
    """A function of a layer without storage and of tensors."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.lin = nn.Linear(8, 8, device="meta")

    def forward(self, x: Any = None, given: Any = None) -> Any:
        return self.function(self.lin, x, given)


def analyzed(function: Callable[..., Any], given: torch.Tensor, x: Any = X) -> Any:
    return rfcalc.analyze(Fn(function), {"x": x, "given": given})


def region(a: Any, source: str, at: int, layer: Any = -1) -> Any:
    name = a.layers[layer].name if isinstance(layer, int) else layer
    field = a.receptive_field(name, of=source, at=(at,))
    return field.region


def test_lengths_that_are_known_size_a_loss() -> None:
    """Its scores of alignments are as many as the longest target says: 13 operations a step and state, 9 to end."""

    def loss(lin: nn.Module, x: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        lengths = torch.tensor([4]), torch.tensor([2])
        return F.ctc_loss(lin(x).log_softmax(-1).transpose(0, 1), given, *lengths, reduction="sum")

    found = analyzed(loss, torch.tensor([[1, 2, 3]]))
    assert not any("real" in notice for notice in found.notices)
    assert found.totals.flops_by["loss"] == 13 * 4 * (2 * 2 + 1) + 9


# --- control flow and sizes -------------------------------------------------------------------------------------------


def test_a_mask_of_ones_decides_which_way_the_pass_goes() -> None:
    def forward(lin: Any, x: Any, mask: Any) -> Any:
        return lin(x) if mask.all() else lin(lin(x)) * mask[..., None]

    assert analyzed(forward, torch.ones(1, 4, dtype=torch.bool)).totals.macs == 4 * 64
    assert analyzed(forward, torch.tensor([[1, 1, 0, 1]])).totals.macs == 2 * 4 * 64


@pytest.mark.parametrize(
    "sizes",
    [
        lambda given: given.tolist(),
        lambda given: [int(one) for one in given],
        lambda given: given.numpy().tolist(),
        lambda given: [one.item() for one in given.unbind()],
        lambda given: (given.cumsum(0).diff(prepend=torch.zeros(1, dtype=given.dtype, device=given.device))).tolist(),
        lambda given: given.clone().add_(1).sub_(1).tolist(),
        lambda given: (given.to(torch.float64) / 2 * 2).long().tolist(),
    ],
)
def test_lengths_are_sizes(sizes: Any) -> None:
    def forward(lin: Any, x: Any, given: Any) -> Any:
        return torch.cat([lin(part) for part in x[0].split(sizes(given))[:2]])

    a = analyzed(forward, torch.tensor([2, 1, 1]))
    assert a.totals.macs == 3 * 64
    assert a.layers[-1].output_shape == (3, 8)
    assert not any("real" in notice for notice in a.notices)


def test_a_grid_of_sizes_makes_positions_and_repeats() -> None:
    def forward(lin: Any, x: Any, grid: Any) -> Any:
        rows = [torch.arange(h, device=x.device).repeat_interleave(w) for _, h, w in grid]
        counts = torch.repeat_interleave(grid[:, 1] * grid[:, 2], grid[:, 0])
        cuts = F.pad(counts.cumsum(0, dtype=torch.int32), (1, 0))
        y = lin(x[0][torch.cat(rows)])
        return torch.cat([y[cuts[at] : cuts[at + 1]].sum(0, keepdim=True) for at in range(len(cuts) - 1)])

    a = analyzed(forward, torch.tensor([[1, 2, 2], [2, 1, 2]]))
    assert a.totals.macs == 6 * 64  # the rows of a 2x2 grid, and of a 1x2 grid once for both of its times
    assert a.layers[-1].output_shape == (3, 8)


def test_what_numbers_decide_is_said() -> None:
    a = analyzed(lambda lin, x, n: lin(x[:, : int(n)]), torch.tensor(3))
    assert a.layer_graph.meta["given"] == ["given"]
    assert "the values given for given decide what is computed and read" in a.notices


def test_numbers_that_nobody_asks_for_decide_nothing() -> None:
    table = nn.Embedding(10, 8, device="meta")

    class Ids(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.places = table, nn.Embedding(12, 8, device="meta")
            self.lin = nn.Linear(8, 8, device="meta")

        def forward(self, ids: Any) -> Any:
            real = ids.ne(1).int()
            places = torch.cumsum(real, 1) * real + 1
            return self.lin(self.table(ids) + self.places(places))

    a = rfcalc.analyze(Ids(), {"ids": torch.tensor([[4, 5, 1, 1]])})
    assert "given" not in a.layer_graph.meta
    assert not a.notices


def test_numbers_are_laid_out_as_the_pass_has_them() -> None:
    """Interleaved masks: torch copies what is transposed before it is reshaped, and the numbers follow."""

    def forward(lin: Any, x: Any, mask: Any) -> Any:
        three = torch.stack((mask, mask, mask), dim=1).permute(0, 2, 1).reshape(1, 12)
        same = torch.zeros_like(three.reshape(3, 4).t()).t().contiguous().view(12)
        return lin(x) if three.all() and not same.any() else x

    found = analyzed(forward, torch.ones(1, 4, dtype=torch.long))
    assert not any("real" in notice for notice in found.notices)
    assert found.totals.macs == 4 * 64


def test_numbers_with_a_fraction_are_data() -> None:
    a = analyzed(lambda lin, x, n: lin(x[:, : int(n)]), torch.tensor(3.0), torch.ones(1, 4, 8))
    assert any("real CPU tensors" in notice for notice in a.notices)
    assert "given" not in a.layer_graph.meta


# --- fields -----------------------------------------------------------------------------------------------------------


def mixed(lin: Any, x: Any, mask: Any) -> Any:
    scores = lin(x) @ x.transpose(1, 2)
    return scores.masked_fill(mask[:, None, :] == 0, -torch.inf).softmax(-1) @ x


def attended(lin: Any, x: Any, mask: Any) -> Any:
    return F.scaled_dot_product_attention(lin(x), x, x, mask)


@pytest.mark.parametrize(
    ("attend", "own"),
    [
        (mixed, (1, 2)),  # a score that is blocked is not read, nor is what blocked it
        (lambda lin, x, mask: attended(lin, x, mask[:, None, :].bool()), (1, 2)),
        (lambda lin, x, mask: attended(lin, x, (1.0 - mask[:, None, :].float()) * -3e38), (1, 2)),
        (lambda lin, x, mask: lin(x[:, mask[0].bool()]).sum(1, keepdim=True).expand(1, 4, 8) + 0, (0, 3)),
        (lambda lin, x, mask: (lin(x) * mask[..., None]).sum(1, keepdim=True).expand(1, 4, 8) + 0, (0, 3)),
        (lambda lin, x, mask: lin(x).where(mask[..., None] > 0, 0.0).sum(1, keepdim=True).expand(1, 4, 8) + 0, (0, 3)),
    ],
)
def test_a_given_mask_blocks_as_one_made_in_code(attend: Any, own: tuple[int, int]) -> None:
    a = analyzed(attend, torch.tensor([[0, 1, 1, 0]]))
    name = list(a.layer_graph)[-1].name
    assert region(a, "x", 1, name) == ((1, 2),)
    assert region(a, "given", 1, name) == (own,)
    assert a.layer_graph.meta["given"] == ["given"]


def test_a_place_picked_by_given_numbers_is_exact() -> None:
    a = analyzed(lambda lin, x, n: lin(x[torch.arange(1, device=x.device), n - 1]), torch.tensor([3]))
    field = a.receptive_field(a.layers[-1].name, of="x")
    assert field.status == "exact"
    assert region(a, "x", 0) == ((2, 2),)


def test_ids_shifted_in_place_stay_known_and_the_users_stay_as_they_are() -> None:
    def forward(lin: Any, x: Any, ids: Any) -> Any:
        moved = ids.new_zeros(ids.shape)
        moved[:, 1:] = ids[:, :-1].clone()
        moved[:, 0] = 7
        moved.masked_fill_(moved == 3, 0)
        ids[:, 0] = 9
        return lin(x[:, : int(moved.sum())]) + ids[0, 0]

    given = torch.tensor([[1, -9, 3, 5]])
    a = analyzed(forward, given)  # 7 + 1 - 9 + 0, which cuts one off the end
    assert a.totals.macs == 3 * 64
    assert given.tolist() == [[1, -9, 3, 5]]


def test_what_data_is_written_into_is_known_no_more() -> None:
    def forward(lin: Any, x: Any, n: Any) -> Any:
        n[0] = x.sum()
        return lin(x[:, : int(n[1])])

    a = analyzed(forward, torch.tensor([1, 2]), torch.ones(1, 4, 8))
    assert any("real CPU tensors" in notice for notice in a.notices)
    assert a.totals.macs == 2 * 64


# --- verify -----------------------------------------------------------------------------------------------------------


def test_verify_leaves_given_numbers_that_decide_as_they_are() -> None:
    model, mask = Fn(mixed), torch.tensor([[0, 1, 1, 0]])
    found = rfcalc.verify(model, {"x": X, "given": mask}, device="cpu", timing=False)
    assert found.agree
    notes = [note for check in found.checks for note in check.notes]
    assert any(note.startswith("given: not changed") for note in notes)
    assert mask.tolist() == [[0, 1, 1, 0]]
