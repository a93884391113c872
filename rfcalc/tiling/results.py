"""What `rfcalc.tile` finds: frozen records of integers and fractions, with `to_dict` for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, TypeAlias

from rfcalc.analyses.results import plain

SCHEMA = "rfcalc-tile/1"

#: In pixels of the input: so many before, so many after.
Sides: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Witness:
    """Why a halo cannot be smaller: of an output that is cut at pixel ``cut``, unit ``unit`` reads pixel ``pixel``.

    ``border`` says that it reads no pixel so far out, but something that a tile's border changes there (a row that was
    cropped, and padded again).
    """

    cut: int
    unit: int
    pixel: int
    border: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {"cut": self.cut, "unit": self.unit, "pixel": self.pixel, "border": self.border}


@dataclass(frozen=True, slots=True)
class AxisTile:
    """How an output can be cut along one axis; all lengths in pixels of the main input.

    ``align`` is the grid that cuts lie on, ``halo`` how far beyond a cut on the grid the output reads, before and
    after, ``margin`` the same where what is read begins on the grid, too. ``scale`` is output positions for each input
    position. Tiles are ``offset`` + k x ``align`` long, at least ``min_tile``, which gives ``min_output`` positions; a
    longer one gives ``scale`` times as many more as it is longer. What cannot be told is None;
    ``local_halo`` is what is left of the halo without the layers to blame, where there are any.
    """

    align: int | None
    scale: Fraction | None
    reach: Sides | None = None
    halo: Sides | None = None
    margin: Sides | None = None
    min_tile: int | None = None
    min_output: int | None = None
    offset: int = 0
    local_halo: Sides | None = None
    witnesses: tuple[Witness | None, Witness | None] = (None, None)

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON output."""
        return {
            "reach": plain(self.reach),
            "align": self.align,
            "halo": plain(self.halo),
            "margin": plain(self.margin),
            "scale": None if self.scale is None else str(self.scale),
            "min_tile": self.min_tile,
            "min_output": self.min_output,
            "tile_sizes": None if self.align is None else {"step": self.align, "offset": self.offset},
            "local_halo": plain(self.local_halo),
            "witness": [None if item is None else item.to_dict() for item in self.witnesses],
        }


@dataclass(frozen=True, slots=True)
class OutputTile:
    """The verdict of one output. ``reasons`` are layers to blame, each with why; () where it is exact.

    ``axes`` are the main input's, ``places`` the tensor axis of the output that moves with each, None where none does.
    """

    layer: str
    shape: tuple[int, ...]
    exact: bool
    reasons: tuple[str, ...]
    axes: Mapping[str, AxisTile]
    places: Mapping[str, int | None] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON output."""
        return {
            "layer": self.layer,
            "shape": list(self.shape),
            "exact": self.exact,
            "reasons": list(self.reasons),
            "axes": {name: item.to_dict() for name, item in self.axes.items()},
            "places": dict(self.places),
        }
