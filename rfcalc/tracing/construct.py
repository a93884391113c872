"""Build a model on the meta device without memory, and keep the numbers of its small constants.

Position grids, relative indices and masks that a constructor computes would be lost on the meta device. While a model
is built under `Constants`, every small tensor that depends on nothing random is computed for real beside its meta twin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from rfcalc.tracing.modes import DispatchMode
from rfcalc.tracing.numbers import Drawing, OwnNumbers
from rfcalc.tracing.schema import schema_of
from rfcalc.tracing.tensors import replaced, tensors_in_args

if TYPE_CHECKING:
    from rfcalc.tracing.recorder import Recorder

#: Larger tensors made by a constructor are taken to be weights.
LARGEST = 1 << 20


class Constants(DispatchMode):
    """Follows a constructor and remembers the numbers of small constants, by tensor."""

    def __init__(self, factory: Callable[[], nn.Module]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.factory = factory  #: builds the model once more, with storage if no device is set
        self._drawn = OwnNumbers()
        self._known: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def of(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The numbers of a meta tensor, None where they are not known."""
        entry = self._known.get(id(tensor))
        return entry[1] if entry is not None else None

    def know(self, tensor: torch.Tensor, numbers: torch.Tensor) -> None:
        """Say what the numbers of a further meta tensor are."""
        self._known[id(tensor)] = (tensor, numbers)

    def hand_over(self, recorder: Recorder) -> None:
        """Tell a recorder what is known, for tensors that are no parameters or buffers."""
        for tensor, real in self._known.values():
            if not isinstance(tensor, nn.Parameter) and not recorder.knows(tensor):
                recorder.bind(tensor, recorder.found(tensor, real))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        schema = schema_of(func)
        tensors = tensors_in_args((args, *kwargs.values()))
        real = [tensor if not tensor.is_meta else self.of(tensor) for tensor in tensors]
        known = all(item is not None for item in real)
        if known and tensors and any(tensor.is_meta for tensor in tensors):
            if schema.scalar:
                return func(*replaced(args, iter(real)), **kwargs)
            if str(kwargs.get("device", "")).startswith("cpu"):
                return func(*replaced(args, iter(real)), **kwargs)
        result = self._drawn.call(func, args, kwargs)
        outs = [out for out in tensors_in_args((result,)) if out.is_meta]
        if not outs:
            return result
        for tensor in tensors_in_args(schema.written(args, kwargs)):
            if schema.random or not known:
                self._known.pop(id(tensor), None)
        if known and not schema.random and "empty" not in schema.name and all(out.numel() <= LARGEST for out in outs):
            here = {**kwargs, **({"device": torch.device("cpu")} if "device" in kwargs else {})}
            numbers = func(*replaced(args, iter(real)), **_swap_kwargs(here, self))
            for out, number in zip(outs, tensors_in_args((numbers,)), strict=False):
                self._known[id(out)] = (out, number)
        return result


def _swap_kwargs(kwargs: dict[str, Any], constants: Constants) -> dict[str, Any]:
    return {
        name: constants.of(value) if isinstance(value, torch.Tensor) and value.is_meta else value
        for name, value in kwargs.items()
    }


def build_on_meta(
    factory: Callable[[], nn.Module], within: Callable[[], AbstractContextManager[None]] = nullcontext
) -> tuple[nn.Module, Constants | None]:
    """Call a constructor under the meta device; where it cannot, on the CPU (its weights then take memory).

    ``within`` makes what another framework needs for the same. The random state of the process is as before afterwards.
    """
    constants = Constants(factory)
    try:
        with torch.device("meta"), within(), constants:
            return factory(), constants
    except (RuntimeError, NotImplementedError):
        with Drawing():
            return factory(), None
