"""A model traced again and again, on inputs of other sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import torch

from rfcalc import sources
from rfcalc.checking.subject import map_tensors
from rfcalc.errors import TraceError, UsageError
from rfcalc.graph import InputInfo
from rfcalc.sources.loaded import Loaded
from rfcalc.tiling.walk import Traced
from rfcalc.tracing.operands import noting


@dataclass(eq=False)
class Sizes:
    """A model that can be traced at any size.

    ``main`` is the input that is cut into tiles, the largest with axes. An input that has an axis of the same name is
    cut along with it, at ``ratios[input][axis]`` of the main one's positions; all others are given whole.
    """

    loaded: Loaded
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    training: bool
    base: Traced
    main: InputInfo
    ratios: Mapping[str, Mapping[str, Fraction]]
    known: dict[tuple[int, ...], Traced | TraceError] = field(default_factory=dict)

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of the axes that are cut."""
        return tuple(self.main.axes)

    @property
    def extents(self) -> dict[str, int]:
        """The sizes that were asked for, by axis."""
        return {name: self.main.shape[axis] for name, axis in self.main.axes.items()}

    def at(self, extents: Mapping[str, int]) -> Traced:
        """The model at other sizes; axes that are not named keep theirs.

        Raises `TraceError` where it cannot run on them.
        """
        wanted = {**self.extents, **extents}
        key = tuple(wanted.values())
        if key not in self.known:
            try:
                self.known[key] = self._traced(wanted)
            except TraceError as error:
                self.known[key] = error
        found = self.known[key]
        if isinstance(found, TraceError):
            raise found
        return found

    def runs(self, extents: Mapping[str, int]) -> bool:
        """Whether the model runs at these sizes."""
        try:
            self.at(extents)
        except TraceError:
            return False
        return True

    def forget(self) -> None:
        """Give up the graphs of other sizes."""
        self.known.clear()

    def length(self, name: str, axis: str, extent: int) -> int:
        """How long an axis of an input is where that of the main one has this extent.

        Raises `TraceError` where it is no whole number.
        """
        found = self.ratios[name][axis] * extent
        if found.denominator != 1 or found < 1:
            raise TraceError(
                f"{axis} of {name} is {self.ratios[name][axis]} of that of {self.main.name}: {extent} fits none"
            )
        return int(found)

    def shape(self, item: InputInfo, extents: Mapping[str, int]) -> tuple[int, ...]:
        """The shape of an input where the main one has these extents."""
        shape = list(item.shape)
        for name, axis in item.axes.items():
            if name in self.ratios.get(item.name, {}):
                shape[axis] = self.length(item.name, name, extents[name])
        return tuple(shape)

    def call(self, extents: Mapping[str, int]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of forward for inputs of these sizes; what changes its size has no numbers."""
        infos = iter(self.base.graph.inputs)

        def resized(tensor: torch.Tensor) -> Any:
            item = next(infos)
            shape = self.shape(item, extents)
            return tensor if shape == tuple(tensor.shape) else torch.empty(shape, dtype=tensor.dtype, device="meta")

        args, kwargs = map_tensors((self.args, dict(self.kwargs)), resized)
        return args, kwargs

    def loaded_at(self, extents: Mapping[str, int]) -> Loaded:
        """The model with a call at these sizes."""
        return replace(self.loaded, example=self.call({**self.extents, **extents}))

    def _traced(self, extents: Mapping[str, int]) -> Traced:
        if extents == self.extents:
            return self.base
        loaded = self.loaded_at(extents)
        axes = {item.name: dict(item.axes) for item in self.base.graph.inputs}
        return _trace(loaded, None, axes, self.training)[0]


def _trace(loaded: Loaded, inputs: Any, axes: Any, training: bool) -> tuple[Traced, tuple[Any, ...], dict[str, Any]]:
    with noting() as noted:
        graph, args, kwargs = sources.traced(loaded, inputs, axes=axes, training=training)
    return Traced(graph, noted), args, kwargs


def sizes_of(model: Any, inputs: Any, *, axes: Any, training: bool) -> Sizes:
    """The model that `rfcalc.tile` was given. Raises `UsageError` for a saved graph, and what tracing raises."""
    one_size = "a saved graph has one size: name the model it was traced from, which is traced at several"
    known = sources.runnable(model, "tile", one_size)
    traced, args, kwargs = _trace(known, inputs, axes, training)
    main = _main(traced.graph.inputs, known.name)
    return Sizes(known, args, kwargs, training, traced, main, _ratios(traced.graph.inputs, main))


def _main(inputs: Sequence[InputInfo], name: str) -> InputInfo:
    """The input to cut: the one with the most positions along its axes."""
    cut = [item for item in inputs if item.axes]
    if not cut:
        raise UsageError(f"no input of {name} has axes to cut tiles along: name them with --axes, as in --axes H=2,W=3")
    return max(cut, key=lambda item: torch.Size([item.shape[axis] for axis in item.axes.values()]).numel())


def _ratios(inputs: Sequence[InputInfo], main: InputInfo) -> dict[str, dict[str, Fraction]]:
    found: dict[str, dict[str, Fraction]] = {}
    for item in inputs:
        shared = [name for name in item.axes if name in main.axes]
        if shared:
            found[item.name] = {
                name: Fraction(item.shape[item.axes[name]], main.shape[main.axes[name]]) for name in shared
            }
    return found
