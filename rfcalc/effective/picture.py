"""The map as a picture, and as numbers in a file."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from rfcalc.effective.results import EffectiveField
from rfcalc.errors import LoadError, UsageError
from rfcalc.report.text import titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: What the end of a file's name says of its content.
PICTURES = (".png", ".svg", ".pdf")
MAPS = (".npy", ".csv")

_DRAWN = (0.5, 0.99)  #: shares whose squares are drawn
_FIELD, _SQUARE = "#00c8ff", "white"


def need(suffix: str) -> None:
    """Raises `LoadError` where a picture is asked for and matplotlib is missing: before anything is computed."""
    if suffix in PICTURES:
        try:
            import matplotlib.figure  # noqa: F401
        except ImportError:
            raise LoadError(
                f"a {suffix} needs matplotlib, which is not installed: pip install 'rfcalc[plot]'"
            ) from None


def content(found: EffectiveField, suffix: str) -> bytes:
    """A file with the picture or the map, as the end of its name says.

    Raises `UsageError` for a map of more than two axes as CSV.
    """
    file = BytesIO()
    if suffix in PICTURES:
        import matplotlib

        date = {".svg": "Date", ".pdf": "CreationDate"}.get(suffix)  # the same map makes the same file
        with matplotlib.rc_context({"svg.hashsalt": "rfcalc"}):
            draw(found).savefig(file, format=suffix[1:], dpi=150, metadata={date: None} if date else None)
    elif suffix == ".npy":
        np.save(file, found.map, allow_pickle=False)
    elif found.map.ndim > 2:
        raise UsageError(f"a map of {found.map.ndim} axes does not go into a CSV file: name a .npy file")
    else:
        np.savetxt(file, found.map, fmt="%.17g", delimiter=",")
    return file.getvalue()


def draw(found: EffectiveField) -> Any:
    """A `matplotlib.figure.Figure`: the map with the theoretical region; its sums along each axis with the Gaussian.

    Of more than two axes the leading ones are added up.
    """
    from matplotlib.figure import Figure

    flat = found.map.ndim == 1
    figure = Figure(figsize=(6.4, 3.6) if flat else (9.6, 4.8), layout="constrained")
    left, right = (None, figure.subplots()) if flat else figure.subplots(1, 2, width_ratios=(11, 10))
    if left is not None:
        _heat(figure, left, found)
        left.legend(**_below(0.13), ncols=3, facecolor="#333", framealpha=1, labelcolor="white")
    for axis in range(found.map.ndim)[-2:]:
        _profile(right, found, axis)
    right.set(xlabel="pixel", ylabel="% of the whole contribution", ylim=(0, None))
    right.locator_params(axis="y", nbins=5)  # as many before the layout, which makes room for them, as after it
    right.legend(**_below(0.2 if flat else 0.13), ncols=2)
    unit = ",".join(map(str, found.at)) or "any"
    figure.suptitle(f"{titled(found.model)}, {found.layer}, unit {unit}", parse_math=False)
    return figure


def _below(away: float) -> dict[str, Any]:
    """Where a legend goes: under its axes, at a part of their height from them."""
    return {"loc": "upper center", "bbox_to_anchor": (0.5, -away), "fontsize": "small"}


def _heat(figure: Any, axes: Axes, found: EffectiveField) -> None:
    from matplotlib.colors import PowerNorm

    values = found.map.sum(axis=tuple(range(found.map.ndim - 2)))
    image = axes.imshow(values / (values.max() or 1), cmap="magma", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    figure.colorbar(image, ax=axes, label="contribution, the largest is 1 (square-root colours)", shrink=0.85)
    spans = [span or (0, -1) for span in (found.field.region or ())[-2:]]
    _frame(axes, [(first - 0.5, last + 0.5) for first, last in spans], values.shape, _FIELD, "-", "theoretical field")
    for share, line in zip(_DRAWN, (":", "--"), strict=True):
        sides = [item.side for item in found.areas if float(item.share) == share]
        for side in sides:
            ends = [(middle - side / 2, middle + side / 2) for middle in found.center[-2:]]
            _frame(axes, ends, values.shape, _SQUARE, line, f"{share:.0%} of it: {side}x{side}")
    axes.set_xlabel(found.axes[-1])
    axes.set_ylabel(found.axes[-2])


def _frame(axes: Axes, ends: Any, shape: Any, color: str, line: str, label: str) -> None:
    """A rectangle cut at the borders of the map, where it is drawn just inside."""
    from matplotlib.patches import Rectangle

    cut = [(max(low, -0.5), min(high, extent - 0.5)) for (low, high), extent in zip(ends, shape, strict=True)]
    (top, bottom), (left, right) = cut
    place, size = (left, top), (right - left, bottom - top)
    axes.add_patch(
        Rectangle(place, *size, fill=False, edgecolor=color, linestyle=line, linewidth=1.5, label=label, clip_on=False)
    )


def _profile(axes: Axes, found: EffectiveField, axis: int) -> None:
    """The sums along one axis, in percent, and the Gaussian with their moments."""
    others = tuple(other for other in range(found.map.ndim) if other != axis)
    sums = found.map.sum(axis=others)
    places = np.arange(len(sums))
    (line,) = axes.plot(places, 100 * sums / (sums.sum() or 1), label=f"along {found.axes[axis]}", linewidth=1)
    if found.gaussian is not None and found.gaussian.deviation[axis] > 0:
        mean, deviation = found.gaussian.mean[axis], found.gaussian.deviation[axis]
        bell = np.exp(-0.5 * ((places - mean) / deviation) ** 2)
        label = f"Gaussian, deviation {deviation:.1f}"
        axes.plot(places, 100 * bell / bell.sum(), "--", color=line.get_color(), label=label)
