"""Resizing and sampling.

A resize that torch's own `interpolate` does the same is done by that. Any other is a sum of slices chosen by index, one
for each tap, with weights that are constants.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from rfcalc.sources.onnx.rules import Op, floats, forward_axes, ints, rule

T = torch.Tensor


@dataclass(frozen=True)
class _Axis:
    """How one axis is resized: elements before and after, the scale, and the part of it that is looked at."""

    at: int
    size: int
    out: int
    scale: float
    part: tuple[float, float]
    given: bool  #: whether the scale was given, and not worked out from sizes


@rule("Resize", "Upsample")
def resize(op: Op, x: T, *settings: T | None) -> T:
    """Axes resized to given sizes or by given scales."""
    region, scales, sizes = _settings(op, settings)
    chosen = forward_axes(op.get("axes", list(range(x.ndim))), x.ndim)
    axes = _axes(op, x, chosen, region, scales, sizes)
    moved = [axis for axis in axes if axis.out != axis.size or axis.scale != 1 or axis.part != (0.0, 1.0)]
    if not moved:
        return x
    found = _by_torch(op, x, moved)
    if found is not None:
        return found
    kept = x.dtype
    x = x if x.is_floating_point() else x.to(torch.float32)
    for axis in moved:
        x = _by_taps(op, x, axis)
    return x if x.dtype == kept else _whole(x, kept)


def _settings(op: Op, settings: Sequence[T | None]) -> tuple[list[float], list[float], list[int]]:
    if op.type == "Upsample" or op.version < 11:
        given = settings[0] if settings else None
        return [], floats(given) if given is not None else list(op.get("scales")), []
    region, scales, sizes = (*settings, None, None, None)[:3]
    return (
        [] if region is None else floats(region),
        [] if scales is None else floats(scales),
        [] if sizes is None else ints(sizes),
    )


def _axes(
    op: Op, x: T, chosen: Sequence[int], region: list[float], scales: list[float], sizes: list[int]
) -> list[_Axis]:
    extents = [x.shape[at] for at in chosen]
    given = bool(scales)
    if sizes:
        scales = [out / n for out, n in zip(sizes, extents, strict=True)]
        policy = op.get("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            scale = min(scales) if policy == "not_larger" else max(scales)
            scales = [scale] * len(scales)
            sizes = [math.floor(scale * n + 0.5) for n in extents]
    elif not scales:
        raise ValueError("neither scales nor sizes are given")
    crops = op.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    found = []
    for number, at in enumerate(chosen):
        part = (region[number], region[number + len(chosen)]) if crops else (0.0, 1.0)
        out = sizes[number] if sizes else math.floor(x.shape[at] * scales[number] * (part[1] - part[0]))
        found.append(_Axis(at, x.shape[at], out, scales[number], part, given))
    return found


def _where(op: Op, axis: _Axis) -> list[float]:
    """For each element after, where it lies among those before."""
    usual = "half_pixel" if op.type == "Resize" and op.version >= 11 else "asymmetric"
    how = op.get("coordinate_transformation_mode", usual)
    first, last = axis.part
    places = []
    for to in range(axis.out):
        if how == "asymmetric":
            places.append(to / axis.scale)
        elif how == "align_corners":
            long = axis.scale * axis.size
            places.append(0.0 if long == 1 else to * (axis.size - 1) / (long - 1))
        elif how == "tf_crop_and_resize":
            step = (last - first) * (axis.size - 1) / (axis.out - 1) if axis.out > 1 else 0.0
            middle = 0.5 * (first + last) * (axis.size - 1)
            places.append(first * (axis.size - 1) + to * step if axis.out > 1 else middle)
        elif how == "pytorch_half_pixel" and axis.out == 1:
            places.append(-0.5)
        elif how == "tf_half_pixel_for_nn":
            places.append((to + 0.5) / axis.scale)
        elif how == "half_pixel_symmetric":
            exact = axis.scale * axis.size
            offset = axis.size / 2 * (1 - axis.out / exact)
            places.append(offset + (to + 0.5) / axis.scale - 0.5)
        else:
            places.append((to + 0.5) / axis.scale - 0.5)
    return places


def _nearest(op: Op, axis: _Axis) -> list[int]:
    how = op.get("nearest_mode", "round_prefer_floor" if op.type == "Resize" and op.version >= 11 else "floor")
    chosen = []
    for place in _where(op, axis):
        if how == "floor":
            at = math.floor(place)
        elif how == "ceil":
            at = math.ceil(place)
        elif how == "round_prefer_ceil":
            at = math.floor(place + 0.5)
        else:
            at = math.ceil(place - 0.5)
        chosen.append(min(max(at, 0), axis.size - 1))
    return chosen


def _by_torch(op: Op, x: T, moved: Sequence[_Axis]) -> T | None:
    """The resize by torch's function, None where that does something else."""
    mode = op.get("mode", "nearest")
    spatial = list(range(2, x.ndim))
    if not 3 <= x.ndim <= 5 or not {axis.at for axis in moved} <= set(spatial) or not x.is_floating_point():
        return None
    by_axis = {axis.at: axis for axis in moved}
    every = [by_axis.get(at, _Axis(at, x.shape[at], x.shape[at], 1.0, (0.0, 1.0), False)) for at in spatial]
    sizes = [axis.out for axis in every]
    if mode == "nearest":
        for like, shift in (("nearest", 0.0), ("nearest-exact", 0.5)):
            if all(_torchs_nearest(axis, shift) == _nearest(op, axis) for axis in every):
                return functional.interpolate(x, size=sizes, mode=like)
        return None
    if op.get("antialias", 0) or op.get("exclude_outside", 0):
        return None
    usual = "half_pixel" if op.type == "Resize" and op.version >= 11 else "asymmetric"
    how = op.get("coordinate_transformation_mode", usual)
    corners = how == "align_corners"
    if not corners and (how not in ("half_pixel", "pytorch_half_pixel") or 1 in sizes):
        return None
    if corners and any(axis.out != axis.scale * axis.size for axis in every):
        return None
    names = {"linear": {3: "linear", 4: "bilinear", 5: "trilinear"}, "cubic": {4: "bicubic"}}
    name = names.get(mode, {}).get(x.ndim)
    if name is None or (mode == "cubic" and op.get("cubic_coeff_a", -0.75) != -0.75):
        return None
    exact = all(axis.out == axis.scale * axis.size for axis in every)
    if exact or corners:
        return functional.interpolate(x, size=sizes, mode=name, align_corners=corners)
    if not all(axis.given for axis in moved):
        return None
    found = functional.interpolate(x, scale_factor=[axis.scale for axis in every], mode=name, align_corners=False)
    return found if list(found.shape[2:]) == sizes else None


def _torchs_nearest(axis: _Axis, shift: float) -> list[int]:
    """Which elements `interpolate` takes when it is given the size."""
    step = axis.size / axis.out
    return [min(math.floor((to + shift) * step), axis.size - 1) for to in range(axis.out)]


def _by_taps(op: Op, x: T, axis: _Axis) -> T:
    mode = op.get("mode", "nearest")
    if mode == "nearest":
        chosen = _nearest(op, axis)
        found = x.index_select(axis.at, torch.tensor(chosen, dtype=torch.int64, device=x.device))
        outside = [False] * axis.out
        if op.get("coordinate_transformation_mode") == "tf_crop_and_resize":
            outside = [not 0 <= place <= axis.size - 1 for place in _where(op, axis)]
        return _extrapolated(op, found, axis, outside)
    rows = [_weights(op, mode, axis, place) for place in _where(op, axis)]
    total: T | None = None
    view = [1] * x.ndim
    view[axis.at] = axis.out
    for tap in range(max(map(len, rows))):
        places = [row[tap][0] if tap < len(row) else 0 for row in rows]
        factors = [row[tap][1] if tap < len(row) else 0.0 for row in rows]
        if not any(factors):
            continue
        taken = x.index_select(axis.at, torch.tensor(places, dtype=torch.int64, device=x.device))
        part = taken * torch.tensor(factors, dtype=x.dtype, device=x.device).reshape(view)
        total = part if total is None else total + part
    assert total is not None
    outside = [False] * axis.out
    if op.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        outside = [not 0 <= place <= axis.size - 1 for place in _where(op, axis)]
    return _extrapolated(op, total, axis, outside)


def _extrapolated(op: Op, x: T, axis: _Axis, outside: list[bool]) -> T:
    if not any(outside):
        return x
    view = [1] * x.ndim
    view[axis.at] = axis.out
    value = torch.tensor(op.get("extrapolation_value", 0.0), dtype=x.dtype, device=x.device)
    return torch.where(torch.tensor(outside, device=x.device).reshape(view), value, x)


def _weights(op: Op, mode: str, axis: _Axis, place: float) -> list[tuple[int, float]]:
    """The elements that one after is made of, inside the axis, and their weights."""
    shrink = min(axis.scale, 1.0) if op.get("antialias", 0) else 1.0
    half = (1.0 if mode == "linear" else 2.0) / shrink
    first, last = math.floor(place - half) + 1, math.ceil(place + half) - 1
    a = op.get("cubic_coeff_a", -0.75)
    taps = []
    for at in range(first, last + 1):
        away = abs(place - at) * shrink
        weight = max(0.0, 1 - away) if mode == "linear" else _cubic(away, a)
        taps.append((at, weight))
    if op.get("exclude_outside", 0):
        taps = [(at, weight) for at, weight in taps if 0 <= at < axis.size]
    total = sum(weight for _, weight in taps)
    if op.get("antialias", 0) or op.get("exclude_outside", 0):
        taps = [(at, weight / total) for at, weight in taps]
    return [(min(max(at, 0), axis.size - 1), weight) for at, weight in taps]


def _cubic(away: float, a: float) -> float:
    """Keys' kernel (IEEE Transactions on ASSP 29, 1981, eq. 15)."""
    if away <= 1:
        return (a + 2) * away**3 - (a + 3) * away**2 + 1
    if away < 2:
        return a * away**3 - 5 * a * away**2 + 8 * a * away - 4 * a
    return 0.0


def _whole(x: T, dtype: torch.dtype) -> T:
    if dtype == torch.bool:
        return x != 0
    limits = torch.iinfo(dtype)
    return torch.clamp(torch.round(x), limits.min, limits.max).to(dtype)


# --- grids ------------------------------------------------------------------------------------------------------------

_SAMPLING = {"linear": "bilinear", "cubic": "bicubic"}


@rule("GridSample")
def grid_sample(op: Op, x: T, grid: T) -> T:
    """Elements at places that are data."""
    mode = op.get("mode", "linear")
    padding, corners = op.get("padding_mode", "zeros"), bool(op.get("align_corners", 0))
    return functional.grid_sample(x, grid, _SAMPLING.get(mode, mode), padding, corners)


@rule("AffineGrid")
def affine_grid(op: Op, theta: T, size: T) -> T:
    """The places that affine maps send a grid to."""
    shape: Any = ints(size)
    return functional.affine_grid(theta, shape, bool(op.get("align_corners", 0)))
