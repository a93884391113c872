"""What each op of TFLite does: one small rule for each, on ONNX's rules where the ops are the same.

A rule takes the `Op` and its inputs in order, None for those that are left out, in TFLite's order of axes (batch,
height, width, channels). Semantics are those of TensorFlow Lite's reference kernels. Ops on whole numbers that stand
for others are run as the ops on numbers that they stand for, so that they cost what those cost: `find` gives the rule
with that around it, and with the activation that is fused into the op.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch.nn import functional

from rfcalc.sources.onnx import rules as onnx
from rfcalc.sources.onnx.dtypes import TORCH
from rfcalc.sources.onnx.rules import Rule, floats, ints, one
from rfcalc.sources.onnx.rules.quantized import dequantized, quantized
from rfcalc.sources.tflite.files import Scale, Tensor

__all__ = ["ACTIVATIONS", "GRAPHS", "Op", "Rule", "as_onnx", "find", "floats", "ints", "one", "op_types", "rule"]

T = torch.Tensor
_FAMILIES = ("pointwise", "movement", "conv", "reduction", "recurrent", "control")
#: The settings that are numbers of graphs, by the ops whose rules run them.
GRAPHS = {
    "IF": ("ThenSubgraphIndex", "ElseSubgraphIndex"),
    "WHILE": ("CondSubgraphIndex", "BodySubgraphIndex"),
    "CALL": ("Subgraph",),
    "STABLEHLO_COMPOSITE": ("DecompositionSubgraphIndex",),
}

_RULES: dict[str, Rule] = {}
#: Ops that hand on numbers as they are, whatever they stand for.
_MOVING: set[str] = set()


@dataclass(frozen=True)
class Op(onnx.Op):
    """One op as a rule sees it: with the records of the tensors that it reads and gives."""

    tensors: tuple[Tensor | None, ...] = ()
    results: tuple[Tensor, ...] = ()

    @property
    def dtype(self) -> torch.dtype:
        """The type of the numbers that the file says the first output has."""
        return TORCH[self.results[0].data_type]


def rule(*names: str, moves: bool = False) -> Callable[[Rule], Rule]:
    """Register a rule for op types. One that ``moves`` numbers is given whole numbers as they are."""

    def register(function: Rule) -> Rule:
        for name in names:
            _RULES[name] = function
            if moves:
                _MOVING.add(name)
        return function

    return register


def find(name: str) -> Rule | None:
    """The rule of an op type, None where there is none."""
    _load()
    if name not in _RULES:
        return None
    return _RULES[name] if name in GRAPHS else functools.partial(_run, _RULES[name])


def op_types() -> list[str]:
    """The op types that have a rule."""
    _load()
    return sorted(_RULES)


@functools.cache
def _load() -> None:
    for family in _FAMILIES:
        import_module(f"{__name__}.{family}")


def as_onnx(name: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
    """What ONNX's op of that name does."""
    function: Any = onnx.find("", name)
    return function(onnx.Op(name, 99, attributes, outputs), *inputs)


# --- whole numbers that stand for others ------------------------------------------------------------------------------


def _run(function: Rule, op: Op, *inputs: Any) -> Any:
    scales = [tensor.scale if tensor is not None else None for tensor in op.tensors]
    outs = [result.scale for result in op.results]
    known = {_key(scale) for scale in (*scales, *outs) if scale is not None}
    as_is = op.type in ("QUANTIZE", "DEQUANTIZE") or (op.type in _MOVING and len(known) <= 1)
    if as_is or not known:
        found = function(op, *inputs)
    else:
        found = function(op, *(_meant(x, scale) for x, scale in zip(inputs, scales, strict=True)))
    several = found if isinstance(found, tuple) else (found,)
    several = (activated(op, several[0]), *several[1:]) if several else several
    if not as_is and known:
        several = tuple(_as_whole(x, result) for x, result in zip(several, op.results, strict=False))
    return several


def _key(scale: Scale) -> tuple[Any, ...]:
    return scale.scales, scale.zeros


def _whole(x: Any) -> bool:
    return isinstance(x, T) and not x.is_floating_point() and not x.is_complex() and x.dtype != torch.bool


def _meant(x: Any, scale: Scale | None) -> Any:
    """The numbers that whole numbers stand for."""
    if scale is None or not _whole(x):
        return x
    return meant(x, scale)


def meant(x: T, scale: Scale) -> T:
    """(x - zero) scale, by slices of an axis where there are several scales."""
    view = [1] * x.ndim
    if len(scale.scales) > 1:
        view[scale.axis] = -1
    scales = torch.tensor(scale.scales, device=x.device).reshape(view if len(scale.scales) > 1 else ())
    zeros = torch.tensor(scale.zeros, device=x.device).reshape(view if len(scale.scales) > 1 else ())
    return dequantized(x, scales, zeros if any(scale.zeros) else None)


def whole(x: T, scale: Scale, dtype: torch.dtype) -> T:
    """The nearest whole numbers that stand for these."""
    zero = torch.tensor(scale.zeros[0], device=x.device) if scale.zeros[0] else None
    return quantized(x, torch.tensor(scale.scales[0], device=x.device), zero, dtype)


def _as_whole(x: Any, result: Tensor) -> Any:
    if result.scale is None or not isinstance(x, T) or not x.is_floating_point():
        return x
    dtype = TORCH[result.data_type]
    return x if dtype.is_floating_point else whole(x, result.scale, dtype)


# --- what is fused ----------------------------------------------------------------------------------------------------

#: The activations that an op can have inside, by number.
ACTIVATIONS: dict[int, Callable[[T], T]] = {
    1: torch.relu,
    2: lambda x: torch.clamp(x, -1, 1),
    3: functional.relu6,
    4: torch.tanh,
    5: lambda x: torch.signbit(x).to(x.dtype),
}


def activated(op: Op, x: Any) -> Any:
    """With the activation that is fused into the op; recurrent ops have it inside."""
    number = op.get("FusedActivationFunction", 0)
    if not number or not isinstance(x, T) or "RNN" in op.type or "LSTM" in op.type or op.type == "SVDF":
        return x
    return ACTIVATIONS[number](x)


def channels_first(x: T) -> T:
    """(batch, ..., channels) as torch has it."""
    return x.permute(0, x.ndim - 1, *range(1, x.ndim - 1))


def channels_last(x: T) -> T:
    """Back again."""
    return x.permute(0, *range(2, x.ndim), 1)
