"""A real run is counted by other means, and every number is the same; where one is not, it is told."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import rfcalc
from rfcalc.footprint import passes, watch
from rfcalc.footprint.measure import course_of, prepared
from rfcalc.footprint.witness import Counter
from rfcalc.uncollected import uncollected


class Block(nn.Module):
    """Attention and a gated layer, with an in-place op, a view that is kept and a tensor that Python holds."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(16), nn.Linear(16, 48), nn.Linear(16, 16)
        self.up, self.down = nn.Linear(16, 64), nn.Linear(32, 16)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("scale", torch.ones(16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        held = x
        q, k, v = self.qkv(self.norm(x)).view(2, 5, 3, 2, 8).permute(2, 0, 3, 1, 4)
        x = functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(2, 5, 16)
        x = self.dropout(self.out(x)).add_(held) * self.scale
        left, right = self.up(x).chunk(2, -1)
        return x + self.down(functional.silu(left) * right)


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout2d(0.2),
        nn.ConvTranspose2d(8, 4, 2, stride=2), nn.GroupNorm(2, 4), nn.Hardswish(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(4, 3), nn.LogSoftmax(-1),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("model", "shape", "more"),
    [
        (net, (2, 3, 12, 12), {}),
        (net, (2, 3, 12, 12), {"optimizer": "momentum", "checkpoint": ("0", "5")}),
        (Block, (2, 5, 16), {"attention": "flash"}),
        (Block, (2, 5, 16), {"attention": "math", "optimizer": "sgd"}),
        (lambda: Block(0.1), (2, 5, 16), {"autocast": "bf16"}),
        (Block, (2, 5, 16), {"dtype": "bf16", "freeze": "qkv"}),
        (lambda: nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), (2, 5, 16), {}),
        (lambda: nn.Conv3d(2, 4, 3), (1, 2, 5, 5, 5), {"optimizer": "none"}),
    ],
)
def test_every_number_is_the_same(model: Any, shape: tuple[int, ...], more: dict[str, Any]) -> None:
    found = rfcalc.memory(model(), shape, training=True, verify=True, **more)

    assert found.witness is not None
    assert [(one.what, one.expected, one.seen, one.differences) for one in found.witness.checks if not one.agree] == []
    assert all(one.compared for one in found.witness.checks)


def test_a_number_that_is_wrong_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgets(self: watch.Watch, tensor: torch.Tensor, op: str, role: str) -> Any:
        return None if op == "relu" else see(self, tensor, op, role)

    see = watch.Watch._see
    monkeypatch.setattr(watch.Watch, "_see", forgets)
    found = rfcalc.memory(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), (2, 4), verify=True)

    assert found.witness is not None
    assert not found.agree
    (first,) = [one for one in found.witness.checks if one.differences]
    assert (first.differences[0]["op"], first.differences[0]["seen"]) == (1, "relu 256")


def test_what_autograd_keeps_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference that the watch itself held would make the analysis say more than a real run."""
    held: list[torch.Tensor] = []
    note = watch.Watch._note

    def holds(self: watch.Watch, func: Any, name: str, args: Any, kwargs: Any, result: Any, place: str) -> None:
        held.extend(one for one in args if isinstance(one, torch.Tensor))
        note(self, func, name, args, kwargs, result, place)

    monkeypatch.setattr(watch.Watch, "_note", holds)
    found = rfcalc.memory(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Tanh()), (2, 4), verify=True)

    assert not found.agree


@pytest.mark.parametrize(
    "model",
    [
        nn.LSTM(4, 8, 2, batch_first=True),
        nn.LSTM(4, 8, bidirectional=True),
        nn.GRU(4, 8),
        nn.RNN(4, 8, bias=False),
    ],
    ids=lambda model: f"{type(model).__name__}{model.num_layers}{model.bidirectional}",
)
def test_recurrent_layers(model: nn.Module) -> None:
    found = rfcalc.memory(model, (3, 5, 4), training=True, verify=True)

    assert found.agree
    assert not any("real" in notice for notice in found.notices)


class Masked(nn.Module):
    """Looks at a mask as transformers do: not at one without numbers, and not at one that lets everything through."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.linear = nn.Embedding(9, 4), nn.Linear(4, 4)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.linear(self.embed(ids))
        closed = mask.cumsum(-1)[:, None] > torch.arange(mask.shape[1])[:, None]
        if isinstance(mask, torch._subclasses.FakeTensor) or not torch.all(mask == 1):
            x = (x @ x.transpose(1, 2)).masked_fill(~closed, 0.0).softmax(-1) @ x
        rows = mask.nonzero()
        return x[rows[:, 0], rows[:, 1]].relu()


@pytest.mark.parametrize("mask", [[[1, 1, 1]], [[1, 1, 0]]])
def test_numbers_that_were_given_are_known(mask: list[list[int]]) -> None:
    ids = {"ids": torch.tensor([[4, 5, 6]]), "mask": torch.tensor(mask)}
    found = rfcalc.memory(Masked(), ids, training=True, verify=True)

    assert found.witness is not None
    assert [(one.what, one.differences) for one in found.witness.checks if not one.agree] == []
    assert not any("real" in notice for notice in found.notices)


class Asking(nn.Module):
    """Looks at a mask of its own where its tensors have numbers, as models of transformers do."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        if mask is None:
            mask = torch.ones(x.shape[:1], dtype=torch.bool)
        faked = isinstance(x, torch._subclasses.FakeTensor)
        return x * 2 if not faked and bool(mask.all()) else x * mask[:, None] + 1


class AskingLate(Asking):
    """The same by a mask of floating-point numbers, which are not followed: it is run on real ones."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return super().forward(x, torch.ones(x.shape[:1]).to(torch.bool))


@pytest.mark.parametrize("kind", [Asking, AskingLate])
def test_a_model_that_asks_what_its_tensors_are(kind: type[nn.Module]) -> None:
    found = rfcalc.memory(kind(), (3, 4), verify=True)

    assert found.agree
    assert found.peak_bytes == 2 * 3 * 4 * 4 + 1  # what is given, what comes of it, and a mask of one sample
    assert any("real CPU tensors" in notice for notice in found.notices) is (kind is AskingLate)


class Again(nn.Module):
    """Two parts that are run once more on the way back; what comes of the last is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.LayerNorm(8)) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = checkpoint(self.first, x, use_reentrant=False, preserve_rng_state=False)
        x = checkpoint(self.second, x, use_reentrant=False, preserve_rng_state=False)
        return x.sum(-1)


def test_nothing_lives_longer_than_in_a_plain_pass() -> None:
    """The double of a model, and who follows its modules, hold no tensor: the same without them."""
    model, counter = Again().train(), Counter()
    rfcalc.memory(model, (3, 8), training=True, optimizer="none")  # torch imports what it needs
    for name, one in model.named_parameters():
        counter.declare(one, "parameter", name)
    x = torch.rand(3, 8)
    counter.declare(x, "input", "x")
    with uncollected(), counter.within():
        with saved_tensors_hooks(counter.saved, lambda kept: kept):
            loss = model(x).sum()
        counter.forward_over(loss)
        loss.backward()
        del loss

    setup, _ = prepared(model, (3, 8), optimizer="none")
    course = course_of(setup, training=True, notices=[])
    assert [(step.op, step.alive) for step in course.steps] == counter.seen
    assert sum(one.nbytes for one in course.kept) == counter.kept


def test_a_pass_in_which_torch_imported_its_compiler_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = []

    class Imports(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if "an_import" not in sys.modules:
                monkeypatch.setitem(sys.modules, "an_import", sys)
                frames.append(sys._getframe())
                x = x * 2
            return (x + 1).sum()

    monkeypatch.setattr(passes, "_IMPORTED", "an_import")
    setup, _ = prepared(Imports(), (3, 8), optimizer="none")
    monkeypatch.delitem(sys.modules, "an_import")
    course = course_of(setup, training=False, notices=[])

    assert [step.op for step in course.steps] == ["add", "sum"]
    assert len(frames) == 2
