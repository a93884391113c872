"""What `rfcalc.erf` returns: frozen records with `to_dict`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from rfcalc.analyses.results import ReceptiveField, plain

SCHEMA = "rfcalc-erf/1"


@dataclass(frozen=True, slots=True)
class Area:
    """The smallest square around the centre that holds a share of the whole contribution.

    ``side`` is in pixels, odd. ``pixels`` counts those of it that lie in the input, ``ratio`` is their part of the
    input, ``of_field`` the part of the unit's theoretical region that the square covers.
    """

    share: Fraction
    side: int
    pixels: int
    ratio: Fraction
    of_field: Fraction

    def to_dict(self) -> dict[str, Any]:
        return {
            "share": float(self.share),
            "side": self.side,
            "pixels": self.pixels,
            "ratio": float(self.ratio),
            "of_field": float(self.of_field),
        }


@dataclass(frozen=True, slots=True)
class Gaussian:
    """The Gaussian with the moments of the map: ``mean`` and ``deviation`` (standard) in pixels along each axis.

    ``explained`` is the coefficient of determination, 1 where the map is that Gaussian, None for a flat map.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    explained: float | None

    def to_dict(self) -> dict[str, Any]:
        return {"mean": list(self.mean), "deviation": list(self.deviation), "explained": self.explained}


@dataclass(frozen=True, slots=True)
class Outside:
    """What lies outside the theoretical region: how many pixels, how many of them have a gradient, the largest one."""

    pixels: int
    touched: int
    largest: float

    def to_dict(self) -> dict[str, Any]:
        return {"pixels": self.pixels, "touched": self.touched, "largest": self.largest}


@dataclass(frozen=True, slots=True)
class Settings:
    """How the gradient was taken: all that is needed to repeat it."""

    gradient: str
    scale: str
    images: str
    weights: str
    seed: int
    training: bool
    device: str
    versions: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        return {name: plain(getattr(self, name)) for name in self.__slots__}


@dataclass(frozen=True, eq=False)
class EffectiveField:
    """The effective receptive field of one unit, beside its theoretical one.

    ``map`` holds the contribution of every pixel, averaged over the images, float64, with the axes ``axes`` of the
    input ``source``, whose shape is ``input_shape``. ``at`` is the unit's position in the layer, ``center`` the pixel
    in the middle of its field. ``field`` is the theoretical field, with the unit's ``region``. Without any gradient
    ``areas`` is empty and ``gaussian`` None.
    """

    model: str
    layer: str
    at: tuple[int, ...]
    source: str
    input_shape: tuple[int, ...]
    axes: tuple[str, ...]
    map: np.ndarray
    center: tuple[int, ...]
    field: ReceptiveField
    areas: tuple[Area, ...]
    gaussian: Gaussian | None
    outside: Outside
    settings: Settings
    notices: tuple[str, ...] = ()

    @property
    def agree(self) -> bool:
        """Whether the gradient is exactly 0 outside the theoretical region, as it must be."""
        return self.outside.touched == 0

    def area(self, share: float | Fraction) -> Area:
        """The area of one share, 0.5. Raises KeyError for a share that was not asked for."""
        for item in self.areas:
            if float(item.share) == float(share):
                return item
        raise KeyError(f"there is no area for {share}, only {', '.join(str(float(item.share)) for item in self.areas)}")

    def small(self, most: int) -> list[list[float]]:
        """The map with at most so many rows and columns, each the mean of those it stands for, the largest 1.

        Of one axis it is a single row; of more than two the leading ones are added up.
        """
        flat = self.map.reshape(1, -1) if self.map.ndim == 1 else self.map.sum(axis=tuple(range(self.map.ndim - 2)))
        for axis in (0, 1):
            bounds = np.unique(np.linspace(0, flat.shape[axis], min(most, flat.shape[axis]) + 1).astype(int))
            sums = np.add.reduceat(flat, bounds[:-1], axis=axis)
            flat = sums / np.diff(bounds).reshape((-1, 1) if axis == 0 else (1, -1))
        rows: list[list[float]] = (flat / (flat.max() or 1.0)).tolist()
        return rows

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON output: all but the map, of which it has the shape."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "layer": self.layer,
            "at": list(self.at),
            "source": self.source,
            "input_shape": list(self.input_shape),
            "axes": list(self.axes),
            "map_shape": list(self.map.shape),
            "center": list(self.center),
            "receptive_field": self.field.to_dict(),
            "areas": [item.to_dict() for item in self.areas],
            "gaussian": self.gaussian.to_dict() if self.gaussian is not None else None,
            "outside": self.outside.to_dict(),
            "agree": self.agree,
            **self.settings.to_dict(),
            "notices": list(self.notices),
        }

    def __repr__(self) -> str:
        unit = ",".join(map(str, self.at))
        found = ", ".join(f"{float(item.share):.0%} in {item.side}" for item in self.areas) or "no gradient"
        wrong = "" if self.agree else ", gradient OUTSIDE the theoretical field"
        return f"<EffectiveField of {self.layer} at {unit} in {self.model}: {found} pixels a side{wrong}>"

    def _repr_html_(self) -> str:
        from rfcalc.report.erf import erf_html

        return erf_html(self)
