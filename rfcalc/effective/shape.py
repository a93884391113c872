"""Numbers of a map of contributions: the squares that hold a share of it, its Gaussian, what lies outside a field."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from rfcalc.analyses.results import Region
from rfcalc.effective.results import Area, Gaussian, Outside
from rfcalc.errors import UsageError

#: The shares of the whole contribution that Ding et al. (2022) give areas for.
SHARES = (Fraction(1, 5), Fraction(3, 10), Fraction(1, 2), Fraction(99, 100))
SCALES = ("linear", "log")


def check_scale(scale: str) -> None:
    """Raises `UsageError` for a scale that there is not."""
    if scale not in SCALES:
        raise UsageError(f"there is no scale {scale!r}: expected {' or '.join(SCALES)}")


def scaled(values: np.ndarray, scale: str) -> np.ndarray:
    """The map as the areas take it: as it is, or its log10(1 + value)."""
    return np.log10(1 + values) if scale == "log" else values


def areas(values: np.ndarray, center: Sequence[int], region: Sequence[Region]) -> tuple[Area, ...]:
    """For each share the smallest square around the centre that holds it; none for a map of zeros.

    ``values`` is not negative. A square has the same side 2r + 1 along every axis and is cut at the borders of the map.
    """
    distance = _distance(values.shape, center)
    held = np.cumsum(np.bincount(distance.ravel(), weights=values.ravel()))
    if held[-1] == 0:
        return ()
    seen = distance[_box(region)]
    found = []
    for share in SHARES:
        radius = int(np.searchsorted(held, float(share) * held[-1]))
        pixels = int((distance <= radius).sum())
        of_field = Fraction(int((seen <= radius).sum()), seen.size)
        found.append(Area(share, 2 * radius + 1, pixels, Fraction(pixels, values.size), of_field))
    return tuple(found)


def _distance(shape: Sequence[int], center: Sequence[int]) -> np.ndarray:
    """How far each place is from the centre, along the axis where it is farthest."""
    found = np.zeros((1,) * len(shape), dtype=np.int64)
    for axis, (extent, middle) in enumerate(zip(shape, center, strict=True)):
        away = np.abs(np.arange(extent) - middle)
        found = np.maximum(found, away.reshape([-1 if other == axis else 1 for other in range(len(shape))]))
    return found


def _box(region: Sequence[Region]) -> tuple[slice, ...]:
    """The index of a region that is not empty."""
    return tuple(slice(span[0], span[1] + 1) if span else slice(0) for span in region)


def gaussian(values: np.ndarray) -> Gaussian | None:
    """The Gaussian with the mean and the standard deviation of the map along each axis; None for a map of zeros."""
    total = values.sum()
    if total == 0:
        return None
    fitted = np.ones((1,) * values.ndim)
    mean, deviation = [], []
    for axis, extent in enumerate(values.shape):
        places = np.arange(extent)
        marginal = values.sum(axis=tuple(other for other in range(values.ndim) if other != axis)) / total
        middle = float(places @ marginal)
        spread = float(np.sqrt((places - middle) ** 2 @ marginal))
        mean.append(middle)
        deviation.append(spread)
        fitted = fitted * _bell(places, middle, spread).reshape([-1 if at == axis else 1 for at in range(values.ndim)])
    return Gaussian(tuple(mean), tuple(deviation), _explained(values / total, fitted))


def _bell(places: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    """A normal density at the places, with sum 1; all in one place without a deviation."""
    if deviation == 0:
        return np.asarray(places == round(mean), dtype=float)
    density = np.exp(-0.5 * ((places - mean) / deviation) ** 2)
    return np.asarray(density / density.sum())


def _explained(values: np.ndarray, fitted: np.ndarray) -> float | None:
    """The coefficient of determination; None where all values are the same, which leaves nothing to explain."""
    spread = float(((values - values.mean()) ** 2).sum())
    return None if spread == 0 else 1 - float(((values - fitted) ** 2).sum()) / spread


def outside(largest: np.ndarray, region: Sequence[Region], floor: float) -> Outside:
    """What lies outside the region; ``largest`` is the largest gradient of each pixel, which up to ``floor`` is 0."""
    beyond = largest.copy()
    beyond[_box(region)] = 0
    inside = int(np.prod([span[1] - span[0] + 1 if span else 0 for span in region]))
    return Outside(largest.size - inside, int((beyond > floor).sum()), float(beyond.max(initial=0.0)))
