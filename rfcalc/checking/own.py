"""A pass by the model's own framework, where that is not torch: its outputs, of numbers and of NaN, are torch's.

What the other checks say of each op they say of torch's functions in the place of the framework's. Here the framework
runs the whole model itself, on the same weights and inputs, and shares no code with either.
"""

from __future__ import annotations

import math

import torch

from rfcalc.checking.first_pass import FirstPass
from rfcalc.checking.results import Check, Difference
from rfcalc.checking.standins import Inputs
from rfcalc.checking.witness import plain_run
from rfcalc.sources.parts import Witnessed

#: How far outputs may be apart, of the largest: sums are taken in another order.
_TOLERANCE = 1e-3


def check_own(first_pass: FirstPass, probes: int) -> Check | None:
    """Outputs of the framework against those of torch; None where torch is the framework, or random numbers are drawn.

    The inputs are as they are, then with a row set to NaN: of each input and axis as many rows as there are ``probes``.
    """
    subject = first_pass.subject
    if not isinstance(subject.model, Witnessed) or subject.training:
        return None
    changes: list[tuple[str, dict[int, torch.Tensor]]] = [("", {})]
    for number, info in enumerate(subject.graph.inputs):
        if first_pass.inputs.floating(number):
            changes += _poisoned(first_pass.inputs, number, info.name, probes)
    with first_pass.standins.installed() as (double, _):
        assert isinstance(double.model, Witnessed)
        own = double.model.own_passes([first_pass.inputs.arguments(changed) for _, changed in changes])
    differences: list[Difference] = []
    compared = 0
    for (what, changed), theirs in zip(changes, own, strict=True):
        ours = plain_run(first_pass.standins, first_pass.inputs, changed=changed)
        compared += max(len(ours), len(theirs))
        if len(ours) != len(theirs):
            differences.append(Difference(f"outputs{what}", f"{len(ours)} tensors", f"{len(theirs)} tensors"))
        for number, (mine, other) in enumerate(zip(ours, theirs, strict=False)):
            apart = _apart(mine.cpu(), other)
            if apart:
                differences.append(Difference(f"output {number}{what}", "as torch has it", apart))
    return Check("own_pass", compared, compared - len(differences), tuple(differences))


def _poisoned(inputs: Inputs, number: int, name: str, probes: int) -> list[tuple[str, dict[int, torch.Tensor]]]:
    found = []
    for axis, extent in enumerate(inputs.values[number].shape):
        for row in sorted({at * extent // probes for at in range(min(probes, extent))}):
            value = inputs.values[number].clone()
            value.select(axis, row).fill_(math.nan)
            found.append((f", row {row} of axis {axis} of {name} NaN", {number: value}))
    return found


def _apart(mine: torch.Tensor, other: torch.Tensor) -> str:
    """How two tensors differ, "" where they agree."""
    if mine.shape != other.shape:
        return f"of {tuple(other.shape)}, not {tuple(mine.shape)}"
    if not mine.is_floating_point():
        return "" if torch.equal(mine.long(), other.long()) else "other whole numbers"
    mine, other = mine.double(), other.double()
    where = mine.isnan() != other.isnan()
    if bool(where.any()):
        return f"NaN elsewhere, in {int(where.sum())} places"
    known = ~mine.isnan() & mine.isfinite()
    if not bool(known.any()):
        return ""
    gap, largest = (mine - other)[known].abs().max(), other[known].abs().max()
    return "" if float(gap) <= _TOLERANCE * max(float(largest), 1e-6) else f"{float(gap):.3g} apart"
