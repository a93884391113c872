"""torch.cond, loops, scans and flex_attention count what their functions compute, and see what these read."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._higher_order_ops import associative_scan, scan, while_loop
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

import rfcalc
from rfcalc.api import analyze
from rfcalc.errors import TraceError
from tests.tracing.transformed import Of, analysed, regions, seen

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


class Two(nn.Module):
    """Two linear layers from 4 to 4, and a function of them and the input."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.function = function

    def forward(self, *given: Tensor) -> Any:
        return self.function(self, *given)


def _branches(m: Any, x: Tensor) -> Any:
    return torch.cond(x.sum() > 0, lambda x: m.a(m.a(x)), lambda x: m.b(x), (x,))


# --- branches ---------------------------------------------------------------------------------------------------------


def test_where_data_decides_the_totals_hold_the_costlier_branch() -> None:
    found = analyze(Two(_branches), torch.randn(3, 4))

    assert (found.totals.macs, found.totals.status) == (2 * 3 * 16, "complete")
    assert (found.totals.params, found.totals.unused_params) == (40, {})
    assert [(layer.name, layer.macs) for layer in found.layers[1:]] == [("a", 48), ("a#2", 48), ("b", 0)]
    (notice,) = found.notices
    assert "96 multiply-adds and 216 operations if true and 48 multiply-adds and 108 operations if false" in notice
    assert "upper bound" in notice
    assert "48 multiply-adds that the totals leave out" in " ".join(note for op in found.ops for note in op.notes)


@pytest.mark.parametrize(
    ("pred", "macs"), [(lambda x: torch.tensor(x.shape[0] > 2), 96), (lambda x: x.shape[0] > 3, 48)]
)
def test_a_known_predicate_takes_its_branch(pred: Callable[[Tensor], Any], macs: int) -> None:
    def run(m: Any, x: Tensor) -> Any:
        return torch.cond(pred(x), lambda x: m.a(m.a(x)), lambda x: m.b(x), (x,))

    found = analyze(Two(run), torch.randn(3, 4))

    assert (found.totals.macs, found.notices) == (macs, ())
    assert set(found.totals.unused_params) == ({"b.weight", "b.bias"} if macs == 96 else {"a.weight", "a.bias"})


def test_branches_within_branches_and_maps() -> None:
    def inner(m: Any, x: Tensor) -> Any:
        return torch.cond(x.sum() > 0, lambda x: _branches(m, x), lambda x: x.sin(), (x,))

    def mapped(m: Any, x: Tensor) -> Any:
        return torch.vmap(lambda x: torch.cond(x.sum() > 0, lambda x: m.a(x), lambda x: m.b(x), (x,)))(x)

    assert analyze(Two(inner), torch.randn(3, 4)).totals.macs == 96
    assert analyze(Two(mapped), torch.randn(3, 4)).totals.macs == 96  # torch runs both branches of all rows


def test_branches_that_do_not_match_are_refused_in_one_line() -> None:
    def run(m: Any, x: Tensor) -> Any:
        return torch.cond(x.sum() > 0, lambda x: x[:1], lambda x: x, (x,))

    with pytest.raises(TraceError, match=r"branches of torch\.cond give float32 1x4 and float32 3x4"):
        analyze(Two(run), torch.randn(3, 4))


# --- loops ------------------------------------------------------------------------------------------------------------


def _scanned(c: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    return c + x, c * 2


LOOPS: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[int, ...]]] = {
    "while": (
        lambda m, x: while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, m.a(x)), (torch.tensor(0), x))[1],
        lambda m, x: m.a(m.a(m.a(x))),
        (3, 4),
    ),
    "while, an int": (
        lambda m, x: while_loop(lambda i, x: i < 2, lambda i, x: (i + 1, m.a(x)), (0, x))[1],
        lambda m, x: m.a(m.a(x)),
        (3, 4),
    ),
    "scan": (
        lambda m, x: scan(lambda c, x: _scanned(m.a(c), x), torch.zeros(4), x)[1],
        lambda m, x: _by_hand(m, x),
        (3, 4),
    ),
    "scan from the end": (
        lambda m, x: scan(lambda c, x: _scanned(m.a(c), x), torch.zeros(4), x, dim=1, reverse=True)[1],
        lambda m, x: _by_hand(m, x.T.flip(0)).flip(0),
        (4, 3),
    ),
    "scan of trees": (
        lambda m, x: scan(lambda c, x: ({"s": c["s"] + m.a(x)}, (x, c["s"])), {"s": x[0]}, x)[1][1],
        lambda m, x: torch.stack([x[0], x[0] + m.a(x[0]), x[0] + m.a(x[0]) + m.a(x[1])]),
        (3, 4),
    ),
    "associative": (
        lambda m, x: associative_scan(lambda a, b: a @ b, x, 0, combine_mode="generic"),
        lambda m, x: torch.stack([x[0], x[0] @ x[1], x[0] @ x[1] @ x[2]]),
        (3, 2, 2),
    ),
}


def _by_hand(m: Any, x: Tensor) -> Tensor:
    carry, rows = torch.zeros(4, dtype=x.dtype), []
    for row in x:
        seen = m.a(carry)
        carry, rows = seen + row, [*rows, seen * 2]
    return torch.stack(rows)


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_counts_and_sees_what_its_steps_do(name: str) -> None:
    loop, written, shape = LOOPS[name]
    found = analysed(Two(loop), torch.randn(shape))
    if name == "scan from the end" and regions(found)[0][0].shape == shape:  # before torch 2.14 it stacked rows
        rows, written = written, lambda m, x: rows(m, x).T
    steps = {"while": 9, "while, an int": 6, "scan": 3, "scan from the end": 3, "scan of trees": 3, "associative": 0}
    matrices = 2 * 8 if name == "associative" else 0

    assert (found.totals.macs, found.totals.status, found.notices) == (steps[name] * 16 + matrices, "complete", ())
    for region, witness in zip(regions(found), seen(Two(written).double(), torch.randn(shape)), strict=True):
        assert np.array_equal(region, witness)


def test_a_loop_as_long_as_data_decides_says_so() -> None:
    def run(m: Any, x: Tensor) -> Any:
        return while_loop(lambda x: x.abs().max() > 0.01, lambda x: (x * 0.1,), (m.a(x),))[0]

    found = analyze(Two(run), torch.randn(3, 4))

    assert found.totals.macs == 48
    assert any("the data decides how many steps while_loop takes" in notice for notice in found.notices)


def test_a_loop_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rfcalc.tracing.higher._MOST_STEPS", 20)

    with pytest.raises(TraceError, match="while_loop goes on for more than 20 steps"):
        analyze(
            Of(lambda m, x: while_loop(lambda i, x: i >= 0, lambda i, x: (i + 1, x * 2), (torch.tensor(0), x))[1]),
            torch.randn(3, 4),
        )


# --- attention --------------------------------------------------------------------------------------------------------


def _causal(b: Any, h: Any, q: Any, k: Any) -> Any:
    return q >= k


def _near(b: Any, h: Any, q: Any, k: Any) -> Any:
    return (q - k).abs() <= 1 + h


class Flex(nn.Module):
    """Attention by flex_attention, or written out."""

    def __init__(self, mask: Any = None, score: Any = None, *, shared: bool = False, flex: bool = True) -> None:
        super().__init__()
        self.mask, self.score, self.shared, self.flex = mask, score, shared, flex
        self.bias = nn.Parameter(torch.randn(2, 9))

    def forward(self, q: Tensor, *more: Tensor) -> Tensor:
        k = q[:, :1] if self.shared else q
        score = None if self.score is None else lambda s, b, h, i, j: self.score(self, s, b, h, i, j)
        if self.flex:
            blocks = None
            if self.mask is not None:
                blocks = create_block_mask(self.mask, None, q.shape[1], q.shape[2], q.shape[2], device=q.device)
            return flex_attention(q, k, k, score_mod=score, block_mask=blocks, enable_gqa=self.shared)
        k = k.expand(q.shape)
        rows = []
        for h in range(q.shape[1]):
            scores = q[:, h] @ k[:, h].transpose(-2, -1) / q.shape[-1] ** 0.5
            i, j = torch.arange(q.shape[2])[:, None], torch.arange(q.shape[2])[None, :]
            if score is not None:
                scores = score(scores, 0, h, i, j)
            if self.mask is not None:
                scores = scores.masked_fill(~self.mask(0, h, i, j), -torch.inf)
            rows.append(scores.softmax(-1) @ k[:, h])
        return torch.stack(rows, 1)


FLEX: dict[str, tuple[Any, Any, bool]] = {
    "plain": (None, None, False),
    "causal": (_causal, None, False),
    "near": (_near, None, False),
    "shared keys": (_near, None, True),
    "linear bias": (None, lambda m, s, b, h, i, j: s + (i - j) * 0.1, False),
    "learnt bias": (_causal, lambda m, s, b, h, i, j: s + m.bias[h, i - j + 4], False),
    "capped": (_near, lambda m, s, b, h, i, j: 5 * torch.tanh(s / 5), True),
    "masked by score": (None, lambda m, s, b, h, i, j: torch.where((i - j).abs() <= 1, s, -torch.inf), False),
}


@pytest.mark.parametrize("name", FLEX)
def test_flex_attention_counts_and_sees_as_attention_written_out(name: str) -> None:
    mask, score, shared = FLEX[name]
    x = torch.randn(1, 2, 5, 3)
    found = analysed(Flex(mask, score, shared=shared), x)
    written = Flex(mask, score, shared=shared, flex=False)

    assert (found.totals.macs, found.totals.status) == (2 * 5 * 5 * (3 + 3), "complete")
    assert found.totals.macs == analysed(written, x).totals.macs
    assert found.notices == ()
    assert {layer.kind for layer in found.layers[1:]} - {"merge"} <= {"attention", "matmul"}
    assert bool(found.totals.unused_params) == (name != "learnt bias")
    for region, witness in zip(regions(found), seen(copy.deepcopy(written).double(), x), strict=True):
        if mask is not _causal:  # a softmax of one score is 1, whatever it is
            assert np.array_equal(region, witness)
        assert (region[0] <= np.where(witness[1] < 0, region[0], witness[0])).all()
        assert (region[1] >= witness[1]).all()


def test_a_causal_mask_by_formula_blocks_as_a_causal_attention_does() -> None:
    x = torch.randn(1, 2, 5, 3)
    flex, plain = (
        analysed(model, x)
        for model in (
            Flex(_causal),
            Of(lambda m, x: nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)),
        )
    )

    for one, other in zip(regions(flex), regions(plain), strict=True):
        assert np.array_equal(one, other)


def test_a_mask_that_the_input_decides_is_read() -> None:
    class Documents(nn.Module):
        def forward(self, q: Tensor, documents: Tensor) -> Tensor:
            def same(b: Any, h: Any, i: Any, j: Any) -> Any:
                return (documents[b, i] == documents[b, j]) & (i >= j)

            blocks = create_block_mask(same, q.shape[0], None, q.shape[2], q.shape[2], device=q.device)
            return flex_attention(q, q, q, block_mask=blocks)

    given = {"q": torch.randn(1, 2, 5, 3), "documents": torch.rand(1, 5)}
    found = analyze(Documents(), given, axes={"q": {"L": 2}, "documents": {"L": 1}})

    assert found.totals.macs == 2 * 5 * 5 * 6
    for source in ("q", "documents"):
        assert found.receptive_field("flex_attention", of=source, at=(2,)) is not None


def test_flex_attention_is_verified_on_a_real_pass() -> None:
    found = rfcalc.verify(Flex(_near), torch.randn(1, 2, 5, 3), device="cpu", timing=False, probes=3)

    assert found.agree, found


def test_a_compiled_function_is_followed_without_the_compiler() -> None:
    compiled = torch.compile(lambda x: x @ x, backend="eager", fullgraph=True)

    assert analyze(Of(lambda m, x: compiled(x)), torch.randn(4, 4)).totals.macs == 64
