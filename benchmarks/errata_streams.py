"""What the frames of a stream wait for, for `errata.py`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from errata_measures import Built, Field, Measure, described, plain_kernels  # beside this file

import rfcalc


@dataclass(frozen=True)
class FirstFrame(Measure):
    """Samples that have to be there before the first frame is."""

    inputs: tuple[int, ...]

    def ours(self, model: Built) -> int:
        found = rfcalc.stream(model.on("cpu"), self.inputs).outputs[0].first
        assert found is not None
        return int(found)

    def theirs(self, model: Built) -> int:
        return last_read(model, self.inputs, 0) + 1

    @property
    def what(self) -> str:
        return "samples that the first frame reads"

    @property
    def ways(self) -> str:
        return "NaN in a part of the input, and which frames it reaches"


@dataclass(frozen=True)
class Hop(FirstFrame):
    """Samples that a frame far from the start waits for after the one before it."""

    def ours(self, model: Built) -> int:
        return int(rfcalc.stream(model.on("cpu"), self.inputs).outputs[0].hop)

    def theirs(self, model: Built) -> int:
        return last_read(model, self.inputs, 21) - last_read(model, self.inputs, 20)


@dataclass(frozen=True)
class Delay(FirstFrame):
    """Samples that have to be there before an output sample is, counted from its own place on: the most of a period."""

    period: int = 1

    def ours(self, model: Built) -> int:
        return int(rfcalc.stream(model.on("cpu"), self.inputs).outputs[0].delay)

    def theirs(self, model: Built) -> int:
        """A NaN at each sample of a period: the first output that it reaches, and how far before it that is."""
        at = self.inputs[-1] // 2 // self.period * self.period
        x = torch.rand(self.inputs).repeat(self.period, 1, 1)
        for n in range(self.period):
            x[n, :, at + n] = torch.nan
        with plain_kernels():
            y = model.on("cpu")(x)
        hit = y.isnan().flatten(1, -2).any(1)
        return max(at + n - int(row.nonzero()[0]) for n, row in enumerate(hit)) + 1

    @property
    def what(self) -> str:
        return f"samples that an output sample waits for, input {described(self.inputs)}"


def last_read(model: Built, inputs: tuple[int, ...], frame: int) -> int:
    """The last sample whose NaN reaches a frame."""
    return Field(inputs, 2, "", 2, unit=frame).seen(model)[1]
