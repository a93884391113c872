"""Models that name a device in forward: ``x.cuda()``, ``x.to("cuda")``, ``torch.zeros(8, device="cuda")``.

Where a tensor lies changes no number, so such a call is taken as one for the device of the pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_GIVEN_AS = {getattr(torch.Tensor, name): name for name in ("cuda", "xpu", "ipu") if hasattr(torch.Tensor, name)}
#: Functions that may name a device without the word ``device``.
MOVES = frozenset({torch.Tensor.to, *_GIVEN_AS})


def placed(
    func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], home: torch.device
) -> tuple[Any, Sequence[Any], Mapping[str, Any], str]:
    """The call with the device of the pass in place of one that it names, and which that was; "" without any."""
    if func in _GIVEN_AS:
        return torch.Tensor.to, (args[0], home), {}, _GIVEN_AS[func]
    if func is torch.Tensor.to and len(args) > 1 and (named := _elsewhere(args[1])):
        return func, (args[0], home, *args[2:]), kwargs, named
    if named := _elsewhere(kwargs.get("device")):
        return func, args, {**kwargs, "device": home}, named
    return func, args, kwargs, ""


def _elsewhere(value: Any) -> str:
    """The device that a value names, if it is neither the CPU nor the meta device."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = f"cuda:{value}"
    if isinstance(value, str):
        try:
            value = torch.device(value)
        except RuntimeError:
            return ""  # for torch to say
    return str(value) if isinstance(value, torch.device) and value.type not in ("cpu", "meta") else ""


class Placing(TorchFunctionMode):
    """A pass without a recorder, in which the device that a model names is this one."""

    def __init__(self, home: torch.device) -> None:
        super().__init__()
        self._home = home

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        func, args, kwargs, _ = placed(func, args, kwargs or {}, self._home)
        return func(*args, **kwargs)
