"""What the tensors of a file are: parameters, running statistics, or constants whose numbers are known.

A tensor of floating point that an op computes with is a parameter, once, however many nodes read it; so are the whole
numbers of a quantised weight. No parameter: a single number in arithmetic, what says how something is done (scales and
zero points, limits, sizes), running statistics, and a mask: numbers of -88 or less, which a softmax blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from math import prod
from typing import Any

import torch

from rfcalc.sources.onnx.dtypes import TORCH, is_float
from rfcalc.sources.onnx.files import LARGEST, File, shape_of
from rfcalc.sources.onnx.graph import BLOCKS, Body, Step


class Role(Enum):
    """What a tensor is to the network."""

    PARAMETER = auto()
    STATISTIC = auto()
    CONSTANT = auto()


@dataclass(frozen=True)
class Use:
    """A step that reads a tensor, and as which of its inputs."""

    step: Step
    at: int


_EVERY = frozenset(range(1, 12))
#: Inputs that say how something is done.
_SETTINGS: dict[str, frozenset[int]] = {
    "QuantizeLinear": frozenset({1, 2}),
    "DequantizeLinear": frozenset({1, 2}),
    "QLinearConv": frozenset({1, 2, 4, 5, 6, 7}),
    "QLinearMatMul": frozenset({1, 2, 4, 5, 6, 7}),
    "QGemm": frozenset({1, 2, 4, 5, 7, 8}),
    "QLinearAdd": frozenset({1, 2, 4, 5, 6, 7}),
    "QLinearMul": frozenset({1, 2, 4, 5, 6, 7}),
    "ConvInteger": frozenset({2, 3}),
    "MatMulInteger": frozenset({2, 3}),
    "DynamicQuantizeMatMul": frozenset({2, 3}),
    "MatMulIntegerToFloat": frozenset({2, 3, 4, 5}),
    "MatMulNBits": frozenset({2, 3, 4}),
    "Resize": _EVERY,
    "Upsample": _EVERY,
    "Clip": _EVERY,
    "Pad": _EVERY,
    "OneHot": _EVERY,
    "Reshape": _EVERY,
    "Expand": _EVERY,
    "Tile": _EVERY,
    "Slice": _EVERY,
    "Split": _EVERY,
    "TopK": _EVERY,
    "Dropout": _EVERY,
    "Range": frozenset({0}) | _EVERY,
    "ConstantOfShape": frozenset({0}),
    "NonMaxSuppression": frozenset({2, 3, 4}),
}
#: Inputs that hold running statistics.
_STATISTICS = {"BatchNormalization": frozenset({3, 4})}
#: Inputs of whole numbers that are weights.
_WHOLE_WEIGHTS = {
    "DequantizeLinear": frozenset({0}),
    "QLinearConv": frozenset({3, 8}),
    "QLinearMatMul": frozenset({0, 3}),
    "QGemm": frozenset({3, 6}),
    "ConvInteger": frozenset({1}),
    "MatMulInteger": frozenset({0, 1}),
    "DynamicQuantizeMatMul": frozenset({1}),
    "MatMulIntegerToFloat": frozenset({1}),
    "MatMulNBits": frozenset({1}),
}
#: Ops that weigh by an input of floating point even where it is a single number.
_WEIGHING = {
    **dict.fromkeys(("Conv", "ConvTranspose", "FusedConv", "Gemm", "FusedGemm", "PRelu"), frozenset({1, 2})),
    **dict.fromkeys(("InstanceNormalization", "BatchNormalization", "LayerNormalization"), frozenset({1, 2})),
    **dict.fromkeys(("MatMul", "FusedMatMul", "RMSNormalization", "SimplifiedLayerNormalization"), frozenset({1})),
    "GroupNormalization": frozenset({1, 2}),
}
#: Ops that hand on what they are given, in another shape or type.
_ALIASES = frozenset({"Identity", "Transpose", "Reshape", "Cast", "Squeeze", "Unsqueeze", "Flatten"})
#: What the inputs of common ops are called in torch.
_KEYS = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "FusedConv", "FusedGemm", "FusedMatMul"), ("", "weight", "bias")),
    **dict.fromkeys(("MatMul", "RMSNormalization", "SimplifiedLayerNormalization"), ("weight", "weight")),
    **dict.fromkeys(("LayerNormalization", "InstanceNormalization", "GroupNormalization"), ("", "weight", "bias")),
    "BatchNormalization": ("", "weight", "bias", "running_mean", "running_var"),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), ("", "weight_ih", "weight_hh", "bias")),
    "QLinearConv": ("", "", "", "weight", "", "", "", "", "bias"),
    "PRelu": ("", "weight"),
    "Gather": ("weight",),
    "Add": ("bias", "bias"),
    "ConvInteger": ("", "weight"),
    "MatMulInteger": ("weight", "weight"),
    "MatMulNBits": ("", "weight"),
}


class Uses:
    """Who reads each tensor, through what only hands it on, in a graph and those inside it."""

    def __init__(self, body: Body) -> None:
        self._uses: dict[str, list[Use]] = {}
        for step in _all_steps(body):
            for at, name in enumerate(step.reads):
                if name:
                    self._uses.setdefault(name, []).append(Use(step, at))

    def of(self, name: str, seen: frozenset[str] = frozenset()) -> list[Use]:
        """The steps that compute with the tensor, in order."""
        found: list[Use] = []
        for use in self._uses.get(name, ()):
            step = use.step
            if step.body is not None and use.at < len(step.body.takes):
                handed = step.body.takes[use.at]
            elif step.op.type in _ALIASES and use.at == 0:
                handed = step.gives[0]
            else:
                found.append(use)
                continue
            if handed not in seen:
                found += self.of(handed, seen | {handed})
        return found


def _all_steps(body: Body) -> Iterator[Step]:
    for step in body.steps:
        yield step
        if step.body is not None:
            yield from _all_steps(step.body)
        for value in step.op.attributes.values():
            if isinstance(value, Body):
                yield from _all_steps(value)


def role_of(tensor: Any, uses: Sequence[Use], file: File) -> Role:
    """What a tensor is to those who read it."""
    shape = shape_of(tensor, file.spec)
    count = prod(shape)
    if count == 0 or tensor.data_type == 9:
        return Role.CONSTANT
    if not is_float(tensor.data_type):
        weighs = count > 1 and any(use.at in _WHOLE_WEIGHTS.get(use.step.op.type, ()) for use in uses)
        return Role.PARAMETER if weighs else Role.CONSTANT
    if uses and all(use.at in _STATISTICS.get(use.step.op.type, ()) for use in uses):
        return Role.STATISTIC
    if uses and all(use.at in _SETTINGS.get(use.step.op.type, ()) for use in uses):
        return Role.CONSTANT
    if count == 1 and not any(use.at in _WEIGHING.get(use.step.op.type, ()) for use in uses):
        return Role.CONSTANT
    if len(shape) > 1 and count <= LARGEST and uses and all(_adds(use) for use in uses) and _is_mask(file, tensor):
        return Role.CONSTANT
    return Role.PARAMETER


def _adds(use: Use) -> bool:
    return use.step.op.type in ("Add", "Where", "Slice", "Gather", "Attention", "MultiHeadAttention", "Min", "Expand")


def _is_mask(file: File, tensor: Any) -> bool:
    held = file.numbers(tensor)
    return held is not None and bool((held.tensor() <= BLOCKS).any())


def key_of(name: str, module: str, use: Use | None) -> str:
    """What a parameter is called in its module: as in the file, or by what it is to the op that reads it."""
    if module and name.startswith(f"{module}.") and "." not in name[len(module) + 1 :]:
        return name[len(module) + 1 :]
    if use is not None:
        names = _KEYS.get(use.step.op.type, ())
        known = names[use.at] if use.at < len(names) else ""
        if known:
            return known
    return name.rpartition("\0")[2].replace(".", "_").replace("/", "_").strip("_") or "tensor"


def on_meta(tensor: Any, spec: str) -> torch.Tensor:
    """A tensor like that of the file, without storage."""
    return torch.empty(shape_of(tensor, spec), dtype=TORCH[tensor.data_type], device="meta")


def free_key(key: str, taken: Mapping[str, Any]) -> str:
    """The key, with a number where it is taken."""
    number, found = 1, key
    while found in taken:
        number += 1
        found = f"{key}_{number}"
    return found
