"""What is picked by computed indices: exact where it makes no difference which, an upper bound where it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import rfcalc
from rfcalc import graph_json

TOKENS = 6

Pick = Callable[[Tensor], Tensor]


class Router(nn.Module):
    """Scores of each token for 8 experts, and what is picked of them."""

    def __init__(self, pick: Pick) -> None:
        super().__init__()
        self.score, self.pick = nn.Linear(4, 8), pick

    def forward(self, x: Tensor) -> Tensor:
        return self.pick(self.score(x).sigmoid()) * 1


def _best(y: Tensor) -> tuple[Tensor, Tensor]:
    values, indices = y.topk(2, -1)
    return values, indices


def _before(y: Tensor) -> Tensor:
    """Each token's numbers from the token before it."""
    return y.roll(1, 1)


#: What each token picks among its own numbers, by them.
OWN: dict[str, Pick] = {
    "gathered": lambda y: y.gather(-1, (y + torch.arange(8)).topk(2, -1).indices),
    "along": lambda y: y.take_along_dim(_best(y)[1], -1),
    "scattered": lambda y: torch.full(y.shape, -torch.inf).scatter(-1, _best(y)[1], _best(y)[0]).sigmoid(),
    "overwritten": lambda y: y.scatter(-1, y.argmax(-1, keepdim=True), 0.0),
    "added": lambda y: torch.zeros(y.shape).scatter_add(-1, _best(y)[1], _best(y)[0]),
    "weights": lambda y: torch.arange(8.0).expand(y.shape).gather(-1, _best(y)[1]),
}

#: Where it makes a difference which one is picked, or whether any is.
OTHERS: dict[str, Pick] = {
    "tokens by number": lambda y: y.gather(1, y.argsort(-1) % TOKENS),
    "tokens by index": lambda y: y[:, (y[0, :, 0] * TOKENS).long()],
    "from others": lambda y: torch.zeros(y.shape).scatter(-1, _best(y)[1], _best(_before(y))[0]),
    "into others": lambda y: _before(y).scatter(-1, _best(y)[1], 0.0),
    "along tokens": lambda y: torch.zeros(y.shape).scatter(1, _best(y)[1] % TOKENS, _best(y)[0]),
}


def _seen(pick: Pick) -> tuple[str, set[int]]:
    analysis = rfcalc.analyze(Router(pick), (TOKENS, 4))
    last = analysis.ops[-1].receptive_fields["input"]
    return last.status, set(last.size or ())


@pytest.mark.parametrize("name", OWN)
def test_what_a_token_picks_among_its_own_numbers_is_exact(name: str) -> None:
    assert _seen(OWN[name]) == ("exact", {1})


@pytest.mark.parametrize("name", OWN)
def test_a_change_by_hand_reaches_the_token_and_no_other(name: str) -> None:
    """Over several draws, for a small change need not change a choice."""
    torch.manual_seed(0)
    reached: set[tuple[int, int]] = set()
    with torch.no_grad():
        for _ in range(20):
            net = Router(OWN[name])
            x = torch.randn(1, TOKENS, 4)
            before = net(x)
            for token in range(TOKENS):
                changed = x.clone()
                changed[:, token] = torch.randn(4)
                moved = (net(changed) != before).any(-1)[0].nonzero().flatten().tolist()
                reached |= {(token, other) for other in moved}

    assert reached == {(token, token) for token in range(TOKENS)}


@pytest.mark.parametrize("name", OTHERS)
def test_what_depends_on_the_choice_is_an_upper_bound(name: str) -> None:
    status, sizes = _seen(OTHERS[name])

    assert status == "upper_bound"
    assert max(sizes) > 1


def test_an_inner_layer_as_the_source() -> None:
    """Scattered numbers of another layer may be read, or not: of that layer it is an upper bound."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score, self.other = nn.Linear(4, 8), nn.Linear(4, 8)

        def forward(self, x: Tensor) -> Tensor:
            chosen = self.score(x).topk(2, -1).indices
            return torch.zeros(*x.shape[:-1], 8).scatter(-1, chosen, self.other(x)[..., :2]) * 1

    analysis = rfcalc.analyze(Two(), (TOKENS, 4))

    assert analysis.ops[-1].receptive_fields["input"].status == "exact"
    [field] = analysis.relative_to("other").ops[-1].receptive_fields.values()
    assert field.status == "upper_bound"


def test_a_saved_graph_says_the_same(tmp_path: Path) -> None:
    analysis = rfcalc.analyze(Router(OWN["gathered"]), (TOKENS, 4))
    graph_json.save(analysis.layer_graph, tmp_path / "graph.json")

    again = rfcalc.analyze(str(tmp_path / "graph.json"))

    assert [op.receptive_fields["input"].status for op in again.ops] == ["exact"] * len(again.ops)
