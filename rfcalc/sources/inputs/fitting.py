"""Input shapes near the one that a model refused and that it runs on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias

from torch import nn

from rfcalc.errors import RfcalcError

Shape: TypeAlias = tuple[int, ...]

#: Sides that networks are built for.
_SIDES = (16, 28, 32, 48, 64, 96, 112, 128, 160, 192, 224, 227, 256, 299, 320, 384, 448, 512)
_MOST_TRIES = 14
_MOST_SECONDS = 3.0  #: after which no further shape is tried, for a large model, or one that no shape helps
#: What networks want sides to be multiples of: one of these, in the order in which they are tried.
_STEPS = (2, 4, 8, 16, 32, 64, 14, 28)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def fitting(model: nn.Module, inputs: Any, runs: Callable[[tuple[int, ...]], Any]) -> str:
    """``; it runs on 1x240x240 and 1x256x256, multiples of 16`` for shapes next to the given one; "" where none fits.

    ``runs`` traces the model on a shape, and raises where it fails: whether a failure is about the shape is found by
    trying others, whatever the model or torch says of it. Only the channels, or features, that the first layer asks for
    and the sides of the input are tried, for one input given by its shape: sides that are multiples of a number, of
    which the one below and the one above have to run, then sides that networks are built for.
    """
    if not (isinstance(inputs, list | tuple) and inputs and all(isinstance(extent, int) for extent in inputs)):
        return ""
    known: dict[Shape, bool] = {tuple(inputs): False}
    begun = time.monotonic()

    def fits(shape: Shape) -> bool:
        if shape not in known:
            if time.monotonic() - begun > _MOST_SECONDS:
                return False
            try:
                runs(shape)
            except RfcalcError:
                known[shape] = False
            else:
                known[shape] = True
        return known[shape]

    for step, shapes in _shapes(model, tuple(inputs)):
        if all(map(fits, shapes)):
            if step and fits(_between(*shapes)):  # what was given is too small, whatever it is a multiple of
                step, shapes = 0, shapes[:1]
            both = " and ".join("x".join(map(str, shape)) for shape in shapes)
            return f"; it runs on {both}" + (f", multiples of {step}" if step else "")
    return ""


def _between(below: Shape, above: Shape) -> Shape:
    """Sides that are no multiples of the step, and larger than both."""
    return tuple(high + (high - low) // 2 for low, high in zip(below, above, strict=True))


def _shapes(model: nn.Module, given: Shape) -> Iterator[tuple[int, tuple[Shape, ...]]]:
    """Shapes to try together, and the number whose multiples their sides are, or 0; those of a step of 2 first."""
    first = next((part for part in model.modules() if isinstance(part, (*_CONVOLUTIONS, nn.Linear))), None)
    yield from _multiples(first, given)
    for shape in islice(_tried(first, given), _MOST_TRIES):
        yield 0, (shape,)


def _multiples(first: nn.Module | None, given: Shape) -> Iterator[tuple[int, tuple[Shape, ...]]]:
    """Numbers, each with the shapes whose sides are its multiples below and above those that were given."""
    if not isinstance(first, _CONVOLUTIONS) or len(given) <= len(first.kernel_size):
        return
    axes = len(first.kernel_size)
    sides, before = given[-axes:], given[:-axes]
    if before[-1] != first.in_channels:
        return
    for step in _STEPS:
        if any(side % step for side in sides):
            below = [max(step, side - side % step) for side in sides]
            above = [low if low == side else low + step for low, side in zip(below, sides, strict=True)]
            yield step, ((*before, *below), (*before, *above))


def _tried(first: nn.Module | None, given: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    if isinstance(first, nn.Linear):
        yield (*given[:-1], first.in_features)
        return
    if not isinstance(first, _CONVOLUTIONS):
        return
    axes = len(first.kernel_size)
    sides = given[-axes:] if len(given) >= axes else given * axes
    if len(given) == axes and given[0] == first.in_channels:  # a side was left out, not the channels
        sides = (given[-1],) * axes
    batch: Sequence[int] = given[: -axes - 1] if len(given) > axes + 1 else ()
    yield (*batch, first.in_channels, *sides)
    if len(given) == axes + 1 and given[-1] == first.in_channels:  # channels were written last
        yield (first.in_channels, *given[:-1])
    for side in sorted(_SIDES, key=lambda side: abs(side - sides[0])):
        yield (*batch, first.in_channels, *(side,) * axes)
