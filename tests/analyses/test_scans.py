"""Scans as they are written and as the recurrence that they stand for, by hand."""

from __future__ import annotations

from math import log2
from typing import Any

import pytest
import torch
from torch import nn

import rfcalc
from rfcalc.analyses.costs.scans import Scan
from rfcalc.graph_json import load, save


class Linear(nn.Module):
    """Attention without a softmax under a mask, with decays or without."""

    def __init__(self, mask: torch.Tensor, softmax: bool = False) -> None:
        super().__init__()
        self.mask, self.softmax = mask, softmax

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        scores = (q @ k.mT) * torch.where(self.mask, 0.5, 0.0)
        return (scores.softmax(-1) if self.softmax else scores) @ v


def inputs() -> tuple[torch.Tensor, ...]:
    return torch.rand(2, 3, 10, 4), torch.rand(2, 3, 10, 4), torch.rand(2, 3, 10, 6)


def test_linear_attention() -> None:
    found = rfcalc.analyze(Linear(torch.ones(10, 10).tril().bool()), inputs())

    (scan,) = found.scans
    assert (scan.length, scan.macs) == (10, 2 * 3 * 100 * (4 + 6))
    assert scan.recurrent_macs == 2 * 3 * 10 * 2 * 4 * 6
    assert (scan.flops, scan.recurrent_flops) == (2 * scan.macs, 2 * scan.recurrent_macs)
    assert found.totals.unmasked_macs == 2 * 3 * 55 * (4 + 6)
    assert found.to_dict()["scans"][0] == scan.to_dict()


@pytest.mark.parametrize(
    "model", [Linear(torch.ones(10, 10).bool()), Linear(torch.ones(10, 10).triu().bool()), Linear(torch.eye(10).bool())]
)
def test_what_is_not_causal_is_no_recurrence(model: nn.Module) -> None:
    assert rfcalc.analyze(model, inputs()).scans == ()


def test_a_softmax_is_no_recurrence() -> None:
    assert rfcalc.analyze(Linear(torch.ones(10, 10).tril().bool(), softmax=True), inputs()).scans == ()


# --- chunks -----------------------------------------------------------------------------------------------------------

STEPS, CHUNK, HEADS, VALUE, STATE = 16, 4, 2, 3, 5


class Chunks(nn.Module):
    """The dual form of a state-space model with a decay for each head and step, within chunks and across.

    The products within are one einsum, or two.
    """

    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, v: torch.Tensor, decay: torch.Tensor, k: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        v, k, q, decay = (x.unflatten(1, (-1, CHUNK)) for x in (v, k, q, decay))
        sums = decay.permute(0, 3, 1, 2).cumsum(-1)
        triangle = torch.ones(CHUNK, CHUNK, dtype=torch.bool).tril()
        mask = (sums[..., :, None] - sums[..., None, :]).masked_fill(~triangle, -torch.inf).exp()
        if self.whole:
            within = torch.einsum("bclhn,bcshn,bhcls,bcshp->bclhp", q, k, mask, v)
        else:
            scores = torch.einsum("bclhn,bcshn->bclsh", q, k) * mask.permute(0, 2, 3, 4, 1)
            within = torch.einsum("bclsh,bcshp->bclhp", scores, v)
        states = torch.einsum("bclhn,bclhp->bchpn", k, v * (sums[..., -1:] - sums).exp().permute(0, 2, 3, 1)[..., None])
        before = torch.cat([torch.zeros_like(states[:, :1]), states.cumsum(1)[:, :-1]], 1)
        across = torch.einsum("bclhn,bchpn->bclhp", q, before) * sums.exp().permute(0, 2, 3, 1)[..., None]
        return (within + across).flatten(1, 2)


@pytest.mark.parametrize("whole", [True, False])
def test_the_dual_form_in_chunks(whole: bool) -> None:
    keys = torch.rand(1, STEPS, HEADS, STATE)
    given = (torch.rand(1, STEPS, HEADS, VALUE), torch.rand(1, STEPS, HEADS), keys, keys)

    (scan,) = rfcalc.analyze(Chunks(whole), given).scans

    pairs, states = STEPS * HEADS * CHUNK, STEPS * HEADS * STATE * VALUE
    weighed = pairs if whole else 0  # an einsum of four multiplies by the triangle, too
    assert scan.macs == pairs * (STATE + VALUE) + weighed + 2 * states
    assert (scan.form, scan.length, scan.recurrent_macs) == ("attention without a softmax", STEPS, 2 * states)


# --- associative scans ------------------------------------------------------------------------------------------------


class Associative(nn.Module):
    """A linear recurrence by torch's scan, twice, and an op after it."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> Any:
        from torch._higher_order_ops.associative_scan import associative_scan

        def combine(x: Any, y: Any) -> Any:
            return x[0] * y[0], y[0] * x[1] + y[1]

        first = associative_scan(combine, (a, b), 1, combine_mode="generic")[1]
        return associative_scan(combine, (a, first), 1, reverse=True, combine_mode="generic")[1].exp()


def combinations(steps: int) -> int:
    """How many pairs a tree combines: counted by running one on lists."""
    count = 0

    def scan(items: list[int]) -> list[int]:
        nonlocal count
        if len(items) < 2:
            return items
        pairs = list(zip(items[0::2], items[1::2], strict=False))
        count += len(pairs)
        odd = scan([x + y for x, y in pairs])
        later = items[2::2]
        count += len(later)
        even = [items[0], *[x + y for x, y in zip(odd, later, strict=False)]]
        return [item for both in zip(even, odd, strict=False) for item in both] + even[len(odd) :]

    assert scan([1] * steps) == list(range(1, steps + 1))
    return count


@pytest.mark.parametrize("steps", [2, 7, 16])
def test_associative_scans(steps: int, tmp_path: Any) -> None:
    found = rfcalc.analyze(Associative(), (torch.rand(2, steps, 4), torch.rand(2, steps, 4)))

    each = 3 * 2 * 4  # two products and a sum for each element
    assert [(scan.length, scan.macs, scan.flops, scan.recurrent_flops) for scan in found.scans] == [
        (steps, 0, combinations(steps) * each, (steps - 1) * each)
    ] * 2
    assert found.totals.flops == sum(scan.flops for scan in found.scans) + 2 * steps * 4
    save(found.layer_graph, tmp_path / "graph.json")
    assert rfcalc.analyze(load(tmp_path / "graph.json")).scans == found.scans


# --- Fourier transforms -----------------------------------------------------------------------------------------------

BATCH, CHANNELS, LENGTH, MODES = 2, 3, 16, 4


class Long(nn.Module):
    """A long convolution by real transforms, padded to ``size``, of a kernel of ``taps``."""

    def __init__(self, size: int, taps: int, kept: int = LENGTH) -> None:
        super().__init__()
        self.size, self.kept, self.kernel = size, kept, nn.Parameter(torch.rand(CHANNELS, taps))

    def filter(self) -> torch.Tensor:
        return self.kernel

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel = torch.fft.rfft(self.filter(), n=self.size)
        return torch.fft.irfft(torch.fft.rfft(x, n=self.size) * kernel, n=self.size)[..., : self.kept]


class Diagonal(Long):
    """S4D's kernel: a sum of exponentials, of complex modes or of real ones (A. Gu et al., arXiv 2206.11893)."""

    def __init__(self, complex_: bool, straight: bool = True) -> None:
        super().__init__(2 * LENGTH, LENGTH)
        kind = torch.complex64 if complex_ else torch.float32
        self.decay = nn.Parameter(torch.rand(CHANNELS, MODES, dtype=kind))
        self.weight = nn.Parameter(torch.rand(CHANNELS, MODES, dtype=kind))
        self.straight = straight

    def filter(self) -> torch.Tensor:
        times = torch.arange(LENGTH)
        steps = -self.decay[..., None] * times if self.straight else -((self.decay[..., None] - times) ** 2)
        kernel = torch.einsum("cn,cnl->cl", self.weight, steps.exp())
        return kernel.real if kernel.is_complex() else kernel


def scans_of(model: nn.Module) -> tuple[Scan, ...]:
    return rfcalc.analyze(model, torch.rand(BATCH, CHANNELS, LENGTH)).scans


def transforms(size: int) -> int:
    """Operations: half of 5 n log n a real transform, of the signal, of the kernel and back, their product, a scale."""
    line, lines = 5 * size * int(log2(size)) // 2, BATCH * CHANNELS
    return (2 * lines + CHANNELS) * line + lines * 6 * (size // 2 + 1) + lines * size


@pytest.mark.parametrize("taps", [LENGTH, 5])
def test_a_long_convolution(taps: int) -> None:
    (scan,) = scans_of(Long(2 * LENGTH, taps))

    pairs = sum(1 for step in range(LENGTH) for tap in range(taps) if tap <= step)
    assert (scan.form, scan.length, scan.macs) == ("Fourier transforms", LENGTH, 0)
    assert (scan.recurrent_macs, scan.recurrent_flops) == (BATCH * CHANNELS * pairs, 2 * BATCH * CHANNELS * pairs)
    assert scan.flops == transforms(2 * LENGTH)


@pytest.mark.parametrize("complex_", [True, False])
def test_a_state_space_model(complex_: bool) -> None:
    (scan,) = scans_of(Diagonal(complex_))

    state = MODES * (2 if complex_ else 1)
    assert scan.recurrent_macs == BATCH * CHANNELS * LENGTH * 2 * state


def test_what_is_no_exponential_of_time_has_all_earlier_inputs_for_its_state() -> None:
    (scan,) = scans_of(Diagonal(complex_=False, straight=False))

    assert scan.recurrent_macs == BATCH * CHANNELS * LENGTH * (LENGTH + 1) // 2


@pytest.mark.parametrize(("size", "taps", "kept"), [(LENGTH, LENGTH, LENGTH), (2 * LENGTH, LENGTH + 2, LENGTH)])
def test_what_wraps_around_is_no_recurrence(size: int, taps: int, kept: int) -> None:
    assert scans_of(Long(size, taps, kept)) == ()


class Mixed(nn.Module):
    """FNet's layer, and a global filter: spectral, and not causal."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.rand(CHANNELS, LENGTH // 2 + 1, dtype=torch.complex64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.irfft(torch.fft.rfft(torch.fft.fft2(x).real) * self.filter, n=LENGTH)


def test_other_spectral_layers_are_no_recurrence() -> None:
    assert scans_of(Mixed()) == ()
