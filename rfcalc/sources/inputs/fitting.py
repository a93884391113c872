"""Input shapes near the one that a model refused and that it runs on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import nn

from rfcalc.errors import RfcalcError

#: Sides that networks are built for.
_SIDES = (16, 28, 32, 48, 64, 96, 112, 128, 160, 192, 224, 227, 256, 299, 320, 384, 448, 512)
_MOST_TRIES = 14
_MOST_SECONDS = 3.0  #: after which no further shape is tried, for a large model, or one that no shape helps
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def fitting(model: nn.Module, inputs: Any, runs: Callable[[tuple[int, ...]], Any]) -> str:
    """``; it runs on 3x32x32`` for the shape nearest to the given one; "" where none of those tried fits.

    ``runs`` traces the model on a shape, and raises where it fails: whether a failure is about the shape is found by
    trying others, whatever the model or torch says of it. Only the channels, or features, that the first
    layer asks for and the sides of the input are tried, for one input given by its shape.
    """
    if not (isinstance(inputs, list | tuple) and inputs and all(isinstance(extent, int) for extent in inputs)):
        return ""
    begun = time.monotonic()
    for shape in list(_shapes(model, tuple(inputs)))[:_MOST_TRIES]:
        if time.monotonic() - begun > _MOST_SECONDS:
            break
        try:
            runs(shape)
        except RfcalcError:
            continue
        return f"; it runs on {'x'.join(map(str, shape))}"
    return ""


def _shapes(model: nn.Module, given: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Shapes to try, the nearest first."""
    first = next((part for part in model.modules() if isinstance(part, (*_CONVOLUTIONS, nn.Linear))), None)
    seen = {given}
    for shape in _tried(first, given):
        if shape not in seen:
            seen.add(shape)
            yield shape


def _tried(first: nn.Module | None, given: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    if isinstance(first, nn.Linear):
        yield (*given[:-1], first.in_features)
        return
    if not isinstance(first, _CONVOLUTIONS):
        return
    axes = len(first.kernel_size)
    sides = given[-axes:] if len(given) >= axes else given * axes
    batch: Sequence[int] = given[: -axes - 1] if len(given) > axes + 1 else ()
    yield (*batch, first.in_channels, *sides)
    if len(given) == axes + 1 and given[-1] == first.in_channels:  # channels were written last
        yield (first.in_channels, *given[:-1])
    for side in sorted(_SIDES, key=lambda side: abs(side - sides[0])):
        yield (*batch, first.in_channels, *(side,) * axes)
