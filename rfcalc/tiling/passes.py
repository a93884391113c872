"""Real passes for the proof: a double of the model in float64, the whole's inputs, and parts of them exchanged."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from rfcalc.checking import device as devices
from rfcalc.checking.standins import Inputs, StandIns
from rfcalc.checking.subject import Subject, failed, map_tensors
from rfcalc.errors import RfcalcError, UsageError
from rfcalc.tiling.plan import Tile, Tiling
from rfcalc.tiling.sizes import Sizes
from rfcalc.tracing.arguments import tensors_in
from rfcalc.tracing.lazy import shaped
from rfcalc.tracing.modes import DispatchMode


class Passes:
    """A double of the model on float64 stand-ins (``wide``), and the inputs of the whole, an image of this size."""

    def __init__(
        self, sizes: Sizes, image: Mapping[str, int], device: torch.device, seed: int, wide: bool = True
    ) -> None:
        graph = sizes.at(image).graph
        args, kwargs = sizes.call(image)
        loaded = replace(sizes.loaded, model=shaped(sizes.loaded.model, sizes.args, sizes.kwargs))
        self.subject = Subject(loaded, args, kwargs, graph, sizes.training)
        self.device, self.wide = device, wide
        self.standins = StandIns(self.subject, device, seed, wide=wide, anew=False)
        self._inputs = Inputs(self.subject, device, seed, wide=wide)
        self.values = self._inputs.values
        self.names = [item.name for item in graph.inputs]

    def positive(self, seed: int, scale: float) -> StandIns:
        """Other stand-ins, whose parameters are positive random numbers, so that nothing on a path is cut off or taken
        away again; ``scale`` is about what a layer makes of the size of its inputs."""
        generator = torch.Generator().manual_seed(seed)

        def drawn(name: str, tensor: torch.Tensor) -> torch.Tensor:
            made = 0.5 + torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
            if tensor.ndim > 1:
                made = made * (scale / math.prod(tensor.shape[1:]))
            elif "bias" in name.rpartition(".")[2]:
                made = made * 0.1
            return made.to(tensor.dtype)

        return StandIns(self.subject, self.device, seed, wide=self.wide, anew=False, weigh=drawn)

    def outputs(
        self, values: Sequence[torch.Tensor], standins: StandIns | None = None, gradients: bool = False
    ) -> list[torch.Tensor]:
        """The outputs for these inputs."""
        chosen = standins or self.standins
        try:
            with (
                torch.enable_grad() if gradients else torch.no_grad(),
                devices.honest() if not gradients else nullcontext(),  # some kernels have no honest backward pass
                chosen.installed() as (double, _),
            ):
                args, kwargs = map_tensors(
                    self._inputs.arguments(dict(enumerate(values))), lambda tensor: tensor, double.of
                )
                found = double.model(*args, **kwargs)
        except RfcalcError:
            raise
        except Exception as error:
            raise failed(self.subject, self.device, error) from error
        tensors = list({id(tensor): tensor for tensor in tensors_in(found)}.values())
        if len(tensors) != len(self.subject.graph.outputs):
            raise UsageError(
                f"{self.subject.loaded.name} gives {len(tensors)} tensors, of which {len(self.subject.graph.outputs)}"
                " depend on its inputs: --verify cannot tell which"
            )
        return tensors

    def gradients(
        self, values: Sequence[torch.Tensor], number: int, kept: tuple[slice, ...], standins: StandIns | None = None
    ) -> list[torch.Tensor | None] | None:
        """How a random sum over the kept part of one output moves with each element of each input; None where the
        model has no gradients."""
        leaves = [value.detach().clone().requires_grad_(value.is_floating_point()) for value in values]
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        try:
            part = self.outputs(leaves, standins, gradients=True)[number][kept]
            if not part.requires_grad or not part.numel():
                return None
            noise = torch.rand(part.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.5
            found = iter(
                torch.autograd.grad(part, wanted, noise.to(part.device, part.dtype), allow_unused=True)
                if wanted
                else ()
            )
        except (RuntimeError, NotImplementedError, RfcalcError):  # an op that has no derivative, or writes on a leaf
            return None
        return [next(found) if leaf.requires_grad else None for leaf in leaves]

    def cut(self, tile: Tile, values: Sequence[torch.Tensor] | None = None) -> list[torch.Tensor]:
        """The inputs of one tile."""
        return [
            value[tile.reads[name]] if name in tile.reads else value
            for name, value in zip(self.names, values or self.values, strict=True)
        ]

    def changed(
        self, plan: Tiling, values: Sequence[torch.Tensor], spoiled: Mapping[str, Sequence[range]], write: Write
    ) -> list[torch.Tensor]:
        """The inputs of a tile, in which the rows that belong to some pixels of the main input are written."""
        made = []
        for name, value in zip(self.names, values, strict=True):
            copy = value
            for axis, parts in spoiled.items():
                for part in parts:
                    rows = rows_of(plan, name, axis, part, value.shape)
                    if rows is not None:
                        copy = value.clone() if copy is value else copy
                        at, start, stop = rows
                        write(copy.narrow(at, start, stop - start))
            made.append(copy)
        return made


class Coarsest(DispatchMode):  # type: ignore[no-untyped-call]
    """Sees in which types a pass computes; ``epsilon`` is that of the one that rounds most.

    Of a pass in float64 (``wide``) only what becomes narrower counts: a constant of float32 rounds nothing.
    """

    def __init__(self, wide: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.wide = wide
        self.epsilon = torch.finfo(torch.float64).eps

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        given = max((_bits(tensor) for tensor in tensors_in((args, kwargs or {}))), default=0)
        for tensor in found if isinstance(found, list | tuple) else (found,):
            bits = _bits(tensor)
            if bits and (bits < given or not self.wide):
                self.epsilon = max(self.epsilon, torch.finfo(tensor.dtype).eps)
        return found


class Swallowed(DispatchMode):  # type: ignore[no-untyped-call]
    """Sees whether ``any`` op makes integers, or true and false, of NaN: those hold none."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.any = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        whole = [one for one in (found if isinstance(found, list | tuple) else (found,)) if _integers(one)]
        if whole and not self.any:
            given = [one for one in tensors_in((args, kwargs or {})) if one.is_floating_point()]
            self.any = any(bool(one.isnan().any()) for one in given)
        return found


def _integers(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and not value.is_floating_point() and not value.is_complex()


def _bits(tensor: Any) -> int:
    """Those of a floating-point or complex number, 0 of anything else."""
    known = isinstance(tensor, torch.Tensor) and (tensor.is_floating_point() or tensor.is_complex())
    return torch.finfo(tensor.dtype).bits if known else 0


Write = Callable[[torch.Tensor], None]


def rows_of(plan: Tiling, name: str, axis: str, part: range, shape: Sequence[int]) -> tuple[int, int, int] | None:
    """The axis and the rows, first and stop, of an input of a tile that belong to some pixels of the main input."""
    if not len(part) or axis not in plan.ratios.get(name, {}):
        return None
    ratio = plan.ratios[name][axis]
    at = next(item for item in plan.inputs if item.name == name).axes[axis]
    start, stop = math.ceil(part.start * ratio), math.ceil(part.stop * ratio)
    if stop > shape[at] or start < 0:  # what a halo that is too large asks for beyond the tile
        return None
    return (at, start, stop) if stop > start else None


def other_numbers(size: float, seed: int) -> Write:
    """Adds random numbers of that size; integers become others that are there."""

    def write(part: torch.Tensor) -> None:
        if part.is_floating_point():
            noise = np.random.default_rng(seed + 1).standard_normal(tuple(part.shape))
            part += size * torch.as_tensor(noise, dtype=part.dtype).to(part.device)
        elif part.dtype == torch.bool:
            part.logical_not_()
        elif not part.is_complex():
            part.copy_(torch.where(part == 0, torch.ones_like(part), torch.zeros_like(part)))

    return write


def no_numbers(part: torch.Tensor) -> None:
    """Writes NaN where there can be any."""
    if part.is_floating_point():
        part.fill_(float("nan"))
