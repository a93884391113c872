"""What the frames of a stream wait for, for `errata.py`."""

from __future__ import annotations

from dataclasses import dataclass

from errata_measures import Built, Field, Measure  # beside this file

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


def last_read(model: Built, inputs: tuple[int, ...], frame: int) -> int:
    """The last sample whose NaN reaches a frame."""
    return Field(inputs, 2, "", 2, unit=frame).seen(model)[1]
