"""Checks of values, whose other answer can only raise, are taken to pass; other questions need the numbers.

So does what takes no number to answer: whether a tensor equals itself, or one of another shape.
"""

from __future__ import annotations

import operator
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest
import torch
from torch import distributions, nn

import rfcalc
from rfcalc.errors import TraceError
from rfcalc.tracing import checks

X = torch.empty(4, 8, device="meta")


class Fn(nn.Module):
    """A function of a layer and tensors."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.lin = nn.Linear(8, 8, device="meta")

    def forward(self, *given: torch.Tensor) -> Any:
        return self.function(self.lin(given[0]), *given[1:])


class Asked:
    """Something of a truth value that notes which answer a check has."""

    def __init__(self, value: bool) -> None:
        self.value = value
        self.answers: list[bool | None] = []

    def __bool__(self) -> bool:
        caller: FrameType = sys._getframe(1)
        self.answers.append(checks.answer(caller))
        return self.value


# --- which answer -----------------------------------------------------------------------------------------------------


def raising(q: Any) -> None:
    if q:
        raise ValueError(f"{q} {'more' if q is None else 'less'}")


def negated(q: Any) -> int:
    if not q:
        raise ValueError
    return 1


def asserted(q: Any) -> None:
    assert q, f"no {q!r}"


def within(q: Any) -> int:
    with torch.no_grad():
        if q:
            raise ValueError
    return 1


def each(q: Any) -> None:
    for _ in range(1):
        if q:
            raise ValueError


def _all_of(q: Any, name: str) -> bool:
    if name is None:
        return True
    return bool(q)


def helped(q: Any) -> None:
    if not _all_of(
        q,
        "name",
    ):
        raise ValueError


def converted(q: Any) -> None:
    if bool(q):
        raise ValueError


CHECKS = {raising: False, helped: True, converted: False, negated: True, asserted: True, within: False, each: False}


def returning(q: Any) -> int:
    return 1 if q else 2


def caught(q: Any) -> int:
    try:
        if q:
            raise ValueError
    except ValueError:
        return 1
    return 2


def both(q: Any) -> None:
    if q:
        raise ValueError
    else:  # noqa: RET506
        raise KeyError


def worked(q: Any) -> None:
    if q:
        for _ in range(2):
            pass
        raise ValueError


def taken(q: Any) -> bool:
    return bool(q)


def mapped(q: Any) -> None:
    if not any(map(bool, [q])):
        raise ValueError


def other(q: Any) -> None:
    if operator.not_(q):
        raise ValueError


def through(q: Any) -> None:
    if operator.not_(_all_of(q, "")):
        raise ValueError


QUESTIONS = (mapped, other, through, returning, caught, both, worked, taken)


@pytest.mark.parametrize("value", [False, True])
@pytest.mark.parametrize("ask", [*CHECKS, *QUESTIONS])
def test_which_answer_goes_on(ask: Callable[[Any], Any], value: bool) -> None:
    asked = Asked(value)
    with suppress(ValueError, KeyError, AssertionError):
        ask(asked)
    assert asked.answers[0] is CHECKS.get(ask)


# --- models -----------------------------------------------------------------------------------------------------------


def _checked(y: torch.Tensor) -> torch.Tensor:
    if torch.isnan(y).any():
        raise ValueError("not a number")
    assert (y < 9).all(), f"too large: {y.max()}"
    torch._assert((y > -9).any(), "too small")
    return y


def _inverse(y: torch.Tensor) -> torch.Tensor:
    window = y[0]  # whose sums are not known to be above 0
    return torch.istft(torch.stft(y, 8, window=window, return_complex=True), 8, window=window)


def _same(y: torch.Tensor) -> torch.Tensor:
    keys, queries = y.view(2, 2, 8), y.view(2, 2, 8)
    assert torch.equal(keys, queries)
    return y if torch.equal(y, y[:2]) else keys


def _gated(y: torch.Tensor) -> torch.Tensor:
    return torch.tanh(y) * torch.sigmoid(y)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch says that it will drop this
    GATED = torch.jit.script(_gated)


def _scripted(y: torch.Tensor) -> torch.Tensor:
    for _ in range(4):  # torch's compiler begins to fuse after two
        y = GATED(y)
    return y


PASS: dict[str, Callable[..., Any]] = {
    "own": _checked,
    "inverse": _inverse,
    "same": _same,
    "scripted": _scripted,
    "normal": lambda y: distributions.Normal(y, torch.ones_like(y)).rsample(),
    "categorical": lambda y: distributions.Categorical(logits=y).log_prob(y.argmax(-1)),
    "loss": lambda y: nn.functional.gaussian_nll_loss(y, y, y**2),
}


@pytest.mark.parametrize("name", PASS)
def test_a_check_needs_no_real_numbers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rfcalc.tracing.forward._Run.again", None)
    analysis = rfcalc.analyze(Fn(PASS[name]), X)
    assert (analysis.totals.macs, analysis.totals.status) == (256, "complete")


def test_a_branch_needs_them() -> None:
    analysis = rfcalc.analyze(Fn(lambda y: y @ y.t() if y.sum() > 1e9 else y), X)
    assert analysis.notices[0] == "traced on real CPU tensors, for aten._local_scalar_dense needs data"
    assert analysis.totals.macs == 256


def test_a_check_of_numbers_that_are_known_is_one() -> None:
    def lengths(y: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
        if ends.max() > y.shape[0]:
            raise ValueError("a length is too large")
        return y

    assert rfcalc.analyze(Fn(lengths), (X, torch.tensor([4]))).totals.macs == 256
    with pytest.raises(TraceError, match="a length is too large"):
        rfcalc.analyze(Fn(lengths), (X, torch.tensor([5])))
