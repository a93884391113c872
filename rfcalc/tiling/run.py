"""Running a model in tiles: each is cut out of the input, computed, and its part written where it belongs."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from rfcalc.checking.subject import map_tensors
from rfcalc.errors import UsageError
from rfcalc.graph import InputInfo
from rfcalc.tiling.plan import Layout, Tile, Tiling
from rfcalc.tracing.arguments import tensors_in


def run(
    plan: Tiling,
    model: Callable[..., Any],
    *inputs: Any,
    out: Any = None,
    batch: int = 1,
    progress: bool | None = None,
    **named: Any,
) -> Any:
    """What ``model(*inputs, **named)`` gives, computed in the tiles of a plan.

    Inputs are tensors, or arrays that can be sliced (numpy, a memory map, zarr): only a tile of one that is cut is
    loaded at a time, and goes to where the model's parameters are. ``batch`` tiles are computed together. ``out`` is
    written into, an array or a tensor of the output's shape (a sequence for several outputs), by default new tensors
    on the CPU. ``progress`` is shown on stderr, by default on a terminal. The model runs as it is, without gradients.

    Gives ``out``, or a result like the model's. Raises `UsageError` for arrays or a model that the plan is not for.
    """
    layout = plan.layout
    tiles = list(plan.slices())
    assert layout is not None
    _check_model(plan, model)
    call = _Call(plan, layout, inputs, named, _home(model))
    if batch < 1:
        raise UsageError(f"batch {batch}: at least one tile has to be computed at a time")
    if batch > 1 and not call.batched:
        raise UsageError(
            "batch: the model's input has no axis of samples, so tiles cannot be computed together: leave it out"
        )
    done = 0
    results: list[Any] | None = None
    shown: Any = None
    with torch.no_grad():
        for group in _groups(tiles, batch):
            args, kwargs = call.arguments(group)
            shown = model(*args, **kwargs)
            found = _tensors(shown, plan)
            results = results or _targets(plan, layout, found, out, call.samples)
            for at, tile in enumerate(group):
                for target, tensor, crop, write in zip(results, found, tile.crops, tile.writes, strict=True):
                    part = tensor[at * call.samples : (at + 1) * call.samples] if len(group) > 1 else tensor
                    _write(target, write, part[crop])
            for array in (*inputs, *named.values(), *results):
                _let_go(array)
            done += len(group)
            _show(done, len(tiles), progress)
    if out is not None:
        return out
    given = iter(results or ())
    return map_tensors(shown, lambda _: next(given)) if not isinstance(shown, torch.Tensor) else (results or [None])[0]


def _check_model(plan: Tiling, model: Any) -> None:
    if plan.layers is not None:
        raise UsageError("the plan is for an inner layer: ask rfcalc.tile without layer, or loop over plan.slices()")
    if not callable(model):
        raise UsageError(f"cannot run a {type(model).__name__}: give the model, or what calls it")
    if isinstance(model, nn.Module) and model.training and not plan.training:
        raise UsageError("the model is in training mode and the plan is for inference: call model.eval() before")


def _by_sample(plan: Tiling, item: InputInfo) -> bool:
    """Whether the first axis of an input counts samples, as that of the main input does."""
    samples = plan.input.batch
    return samples is not None and bool(item.shape) and item.shape[0] == samples and 0 not in item.axes.values()


def _home(model: Any) -> torch.device | None:
    """Where the model's parameters are."""
    if not isinstance(model, nn.Module):
        return None
    return next((tensor.device for tensor in (*model.parameters(), *model.buffers())), None)


class _Call:
    """The arguments of the model, cut for each tile."""

    def __init__(
        self, plan: Tiling, layout: Layout, inputs: Sequence[Any], named: Mapping[str, Any], home: torch.device | None
    ) -> None:
        self.inputs, self.named, self.home = tuple(inputs), dict(named), home
        self.samples = 1
        self.batched = False
        order = iter(plan.inputs)
        self.keys: list[tuple[int | str, str]] = []  #: of each argument that is cut: its place, and the input's name
        self.repeated: list[int | str] = []  #: arguments with one entry for each sample
        every: list[tuple[int | str, Any]] = [*enumerate(self.inputs), *self.named.items()]
        for key, value in every:
            if not hasattr(value, "shape"):
                continue
            item = next(order, None)
            if item is None:
                raise UsageError(f"{plan.model} takes {len(plan.inputs)} arrays, and more were given")
            wanted = list(item.shape)
            for axis, ratio in plan.ratios.get(item.name, {}).items():
                wanted[item.axes[axis]] = int(layout.image[axis] * ratio)
            shape, first = list(value.shape), int(_by_sample(plan, item))
            if shape[first:] != wanted[first:]:
                raise UsageError(
                    f"{item.name} is {_cross(shape)}, and the plan is for {_cross(wanted)}: plan anew with image="
                    f"{'x'.join(map(str, layout.image.values()))} exchanged for the size that it has"
                )
            if item.name == plan.main and item.batch is not None:
                self.samples, self.batched = shape[0], True
            if item.name in plan.ratios:
                self.keys.append((key, item.name))
            elif first:
                self.repeated.append(key)
        if next(order, None) is not None:
            raise UsageError(
                f"{plan.model} takes {len(plan.inputs)} arrays: {', '.join(one.name for one in plan.inputs)}"
            )

    def arguments(self, group: Sequence[Tile]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments for some tiles of one size."""
        cut = {
            key: self._joined([self._loaded(self._given(key)[tile.reads[name]]) for tile in group])
            for key, name in self.keys
        }
        for key in self.repeated:
            whole = self._loaded(self._given(key))
            cut[key] = self._joined([whole] * len(group))
        args = [self._placed(cut.get(at, value)) for at, value in enumerate(self.inputs)]
        return args, {name: self._placed(cut.get(name, value)) for name, value in self.named.items()}

    def _given(self, key: int | str) -> Any:
        return self.inputs[key] if isinstance(key, int) else self.named[key]

    def _joined(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return parts[0] if len(parts) == 1 else torch.cat(list(parts))

    def _loaded(self, part: Any) -> torch.Tensor:
        found = part if isinstance(part, torch.Tensor) else torch.as_tensor(np.ascontiguousarray(part))
        return found if self.home is None else found.to(self.home)

    def _placed(self, value: Any) -> Any:
        return value.to(self.home) if isinstance(value, torch.Tensor) and self.home is not None else value


def _groups(tiles: Sequence[Tile], batch: int) -> Iterator[list[Tile]]:
    """Tiles of one size in groups, in order."""
    by_size: dict[tuple[int, ...], list[Tile]] = {}
    for tile in tiles:
        size = tuple(part.stop - part.start for part in tile.read if part.stop is not None)
        waiting = by_size.setdefault(size, [])
        waiting.append(tile)
        if len(waiting) == batch:
            yield by_size.pop(size)
    yield from by_size.values()


def _tensors(shown: Any, plan: Tiling) -> list[torch.Tensor]:
    found = list({id(tensor): tensor for tensor in tensors_in(shown)}.values())
    if len(found) != len(plan.outputs):
        raise UsageError(
            f"the model gave {len(found)} tensors, and the plan is for {len(plan.outputs)}: loop over plan.slices()"
        )
    return found


def _targets(plan: Tiling, layout: Layout, found: Sequence[torch.Tensor], out: Any, samples: int) -> list[Any]:
    """What the outputs are written into."""
    shapes = [list(shape) for shape in layout.output_shapes]
    traced = plan.input.batch or samples
    for shape in shapes:
        if plan.input.batch is not None and shape and shape[0] == traced:
            shape[0] = samples
    if out is None:
        return [torch.empty(shape, dtype=tensor.dtype) for shape, tensor in zip(shapes, found, strict=True)]
    targets = list(out) if isinstance(out, list | tuple) else [out]
    if len(targets) != len(shapes):
        raise UsageError(f"out has {len(targets)} arrays, and the model {len(shapes)} outputs: give one for each")
    for target, shape in zip(targets, shapes, strict=True):
        if list(target.shape) != shape:
            raise UsageError(f"out is {_cross(target.shape)}, and the output {_cross(shape)}: make it that large")
    return targets


def _write(target: Any, where: tuple[slice, ...], part: torch.Tensor) -> None:
    if isinstance(target, torch.Tensor):
        target[where] = part.to(target.device, target.dtype)
    else:
        target[where] = part.cpu().numpy()


def _let_go(array: Any) -> None:
    """Give up the pages of a memory map that were read or written; the file keeps what is in them."""
    held = getattr(array, "_mmap", None) if isinstance(array, np.memmap) else None
    if isinstance(held, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") and array.mode in ("r", "r+", "w+"):
        held.madvise(mmap.MADV_DONTNEED)


def _show(done: int, total: int, progress: bool | None) -> None:
    stream = sys.stderr
    if progress is False or stream is None or (progress is None and not stream.isatty()):
        return
    stream.write(f"\rrfcalc tile: {done} of {total} tiles" + ("\n" if done == total else ""))
    stream.flush()


def _cross(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
