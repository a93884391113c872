"""`rfcalc.erf`: the effective receptive field of one unit, measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rfcalc.analyses.analysis import Analysis
from rfcalc.checking import device as devices
from rfcalc.checking.standins import Inputs, StandIns
from rfcalc.checking.subject import Subject, failed, map_tensors
from rfcalc.effective import shape
from rfcalc.effective.images import USUAL, Images
from rfcalc.effective.passes import gradient_of
from rfcalc.effective.results import EffectiveField, Outside, Settings
from rfcalc.effective.unit import Target, find
from rfcalc.effective.weights import read, subject_of, with_weights
from rfcalc.errors import RfcalcError, TraceError, UsageError
from rfcalc.progress import told

#: What is kept of a gradient before it is added up: see `erf`.
_KEPT: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "absolute": np.abs,
    "signed": np.asarray,
    "relu": lambda values: np.maximum(values, 0),
}

#: A mask of large numbers blocks what it leaves less of than this, as in the theoretical field.
_SMALLEST = float(np.finfo(np.float32).tiny)


def erf(
    model: Any,
    inputs: Any = None,
    *,
    layer: str | int | None = None,
    at: Sequence[int] | None = None,
    source: str | None = None,
    images: Any = None,
    gradient: str = "absolute",
    scale: str = "linear",
    weights: str | Path | Mapping[str, Any] | None = None,
    seed: int = 0,
    training: bool = False,
    device: str = "auto",
    axes: Mapping[str, int] | Mapping[str, Mapping[str, int]] | None = None,
) -> EffectiveField:
    """The effective receptive field of one unit of a layer in an input, beside its theoretical field.

    ``model``, ``inputs`` and ``axes`` are as for `rfcalc.trace`; a saved graph cannot be run. ``layer`` is a number, a
    name or a pattern that means one layer, by default the last one whose units see different places; ``at`` is the
    unit's position in it, by default the middle. With several inputs ``source`` names the one that is looked at.

    The unit is the sum of its channels. ``gradient`` says what becomes of its gradient: "absolute" adds up absolute
    values over the channels of the input and the images; "signed" adds up the gradient as it is and takes the absolute
    value of the sum; "relu" adds up what is positive, of the channels in which the unit is positive, as the script of
    Ding et al. (2022, arXiv:2203.06717) does. ``scale`` "log" measures areas on log10(1 + map), as that script does.

    ``images`` is how many random normal images to take, by default 8; or a tensor of images; or files. Example tensors
    in ``inputs`` are images too. ``weights`` is a state dict or a file with one. A model that is named has random
    weights otherwise, drawn by its own constructor from ``seed``; a module has its own. ``training`` runs the model in
    training mode. The model, its tensors and all random states are as before afterwards, also after an exception.

    Raises `UsageError`, `LoadError` or `TraceError`, in one line. A gradient outside the theoretical field is no
    exception: ``agree`` is False.
    """
    if gradient not in _KEPT:
        raise UsageError(f"there is no gradient {gradient!r}: expected {', '.join(_KEPT)}")
    shape.check_scale(scale)
    chosen, _ = devices.choose(device)
    state = read(weights)
    with devices.random_state(chosen):
        told("drawing weights")
        subject, origin = subject_of(model, inputs, axes=axes, training=training, seed=seed)
        target = find(Analysis(subject.graph), layer, at, source)
        values = Images(USUAL if inputs is None and images is None else images, _example(subject, target), seed)
        given = with_weights(subject, state)
        standins = StandIns(given, chosen, seed, anew=False)
        tally = _measured(given, standins, target, values, gradient, seed)
    if state is not None:
        origin = Path(weights).name if isinstance(weights, str | Path) else "given"
    elif standins.random:
        origin = f"random, made up by rfcalc with seed {seed}"
    used = Settings(
        gradient=gradient,
        scale=scale,
        images=values.text,
        weights=origin,
        seed=seed,
        training=training,
        device=devices.describe(chosen),
        versions=devices.versions(chosen),
    )
    return _result(subject, target, tally, used)


def _example(subject: Subject, target: Target) -> torch.Tensor:
    """The tensor of the call that stands for the input."""
    found: list[torch.Tensor] = []
    map_tensors((subject.args, dict(subject.kwargs)), found.append)
    return found[target.number]


class Tally:
    """Gradients of several images put together: the map of contributions, and the largest gradient of each pixel."""

    def __init__(self, target: Target, mode: str) -> None:
        self._axes, self._kept = tuple(target.source.axes.values()), _KEPT[mode]
        self._region = target.field.region or ()
        self._floor = _SMALLEST if target.field.masked else 0.0
        self._sum = np.zeros([target.source.shape[axis] for axis in self._axes])
        self.largest = np.zeros_like(self._sum)
        self._count = 0

    def _by_pixel(self, gradient: torch.Tensor) -> np.ndarray:
        """Channels last."""
        found = gradient.cpu().double().numpy()  # in this order: MPS has no float64
        order = [*self._axes, *(axis for axis in range(found.ndim) if axis not in self._axes)]
        return np.asarray(found.transpose(order).reshape(*self._sum.shape, -1))

    def _outside(self, largest: np.ndarray) -> Outside:
        return shape.outside(largest, self._region, self._floor)

    def beyond(self, gradient: torch.Tensor) -> bool:
        """Whether the gradient of one image touches what lies outside the field."""
        return self._outside(np.abs(self._by_pixel(gradient)).max(axis=-1)).touched > 0

    @property
    def outside(self) -> Outside:
        """What lies outside the field, of all images."""
        return self._outside(self.largest)

    def add(self, gradient: torch.Tensor) -> None:
        """The gradient of one image."""
        by_pixel = self._by_pixel(gradient)
        self.largest = np.maximum(self.largest, np.abs(by_pixel).max(axis=-1))
        self._sum += self._kept(by_pixel).sum(axis=-1)
        self._count += 1

    @property
    def map(self) -> np.ndarray:
        """The contribution of each pixel, not negative."""
        return np.abs(self._sum) / self._count


def _measured(subject: Subject, standins: StandIns, target: Target, values: Images, mode: str, seed: int) -> Tally:
    """One forward and one backward pass for each image."""
    tally = Tally(target, mode)
    taken = partial(gradient_of, subject, standins, Inputs(subject, standins.device, seed), target, relu=mode == "relu")
    for number, image in enumerate(values):
        told(f"the gradient of {target.layer.name} by image", number + 1, len(values))
        try:
            found = taken(image, seed=seed + number)
            if tally.beyond(found):  # by kernels in blocks: it counts if the plainest have it, too
                found = taken(image, seed=seed + number, plain=True)
        except RfcalcError:
            raise
        except Exception as error:
            raise failed(subject, standins.device, error) from error
        if not bool(found.isfinite().all()):
            raise TraceError(
                f"the gradient of {target.layer.name} in {subject.loaded.name} is not finite for image {number + 1} of"
                f" {len(values)}: give --weights that were trained, or other images"
            )
        tally.add(found)
    return tally


def _result(subject: Subject, target: Target, tally: Tally, used: Settings) -> EffectiveField:
    """The numbers of the map."""
    region = target.field.region or ()
    notices = list(subject.graph.meta.get("notices", ()))
    areas = shape.areas(shape.scaled(tally.map, used.scale), target.center, region)
    if not areas:
        notices.append("the gradient is 0 everywhere: with these weights and images no pixel moves the unit")
    return EffectiveField(
        model=subject.loaded.name,
        layer=target.layer.name,
        at=target.at,
        source=target.source.name,
        input_shape=target.source.shape,
        axes=tuple(target.source.axes),
        map=tally.map,
        center=target.center,
        field=target.field,
        areas=areas,
        gaussian=shape.gaussian(tally.map),
        outside=tally.outside,
        settings=used,
        notices=tuple(notices),
    )
