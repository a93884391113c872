"""What the tensors of a file are: parameters, running statistics, or constants whose numbers are known.

A tensor of floating point that an op computes with is a parameter, once, however many nodes read it; so are the whole
numbers of a quantised weight. No parameter: a single number in arithmetic, what says how something is done (scales and
zero points, limits, sizes), running statistics, and a mask: numbers of -88 or less, which a softmax blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from math import prod
from typing import Any, Protocol

import torch

from rfcalc.sources.onnx.dtypes import TORCH, Numbers, is_float
from rfcalc.sources.onnx.files import LARGEST, shape_of
from rfcalc.sources.onnx.graph import BLOCKS, Body, Step


class Source(Protocol):
    """A file with tensors, whichever its format."""

    spec: str

    def numbers(self, tensor: Any) -> Numbers | None:
        """The numbers of a tensor, None for those that are not there."""

    def is_initializer(self, name: str) -> bool:
        """Whether the file has the tensor beside its nodes, where weights are, and not in one of them."""

    def place(self, tensor: Any) -> str:
        """The name of the other file in which the numbers are, "" without one."""


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


@dataclass(frozen=True)
class Tables:
    """What the inputs of the ops of a format are, by op type and the place of the input."""

    settings: Mapping[str, Collection[int]]  #: say how something is done
    statistics: Mapping[str, Collection[int]]
    whole_weights: Mapping[str, Collection[int]]  #: weights even where they are whole numbers
    weighing: Mapping[str, Collection[int]]  #: weights even where they are a single number
    aliases: Collection[str]  #: op types that hand on their first input
    adding: Collection[str]  #: op types whose inputs may be masks
    keys: Mapping[str, Sequence[str]]  #: what the inputs are called in torch
    #: Whether the whole numbers of a tensor stand for others.
    scaled: Callable[[Any], bool] = lambda tensor: False
    #: Whether a tensor is a state that is kept from call to call.
    kept: Callable[[Any], bool] = lambda tensor: False


ONNX = Tables(
    _SETTINGS,
    _STATISTICS,
    _WHOLE_WEIGHTS,
    _WEIGHING,
    _ALIASES,
    frozenset({"Add", "Where", "Slice", "Gather", "Attention", "MultiHeadAttention", "Min", "Expand"}),
    _KEYS,
)


class Uses:
    """Who reads each tensor, through what only hands it on, in a graph and those inside it."""

    def __init__(self, body: Body, tables: Tables = ONNX) -> None:
        self._aliases = tables.aliases
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
            elif step.op.type in self._aliases and use.at == 0:
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


def role_of(tensor: Any, uses: Sequence[Use], file: Source, tables: Tables = ONNX) -> Role:
    """What a tensor is to those who read it."""

    def all_in(places: Mapping[str, Collection[int]]) -> bool:
        return bool(uses) and all(use.at in places.get(use.step.op.type, ()) for use in uses)

    def any_in(places: Mapping[str, Collection[int]]) -> bool:
        return any(use.at in places.get(use.step.op.type, ()) for use in uses)

    shape = shape_of(tensor, file.spec)
    count = prod(shape)
    if count == 0 or tensor.data_type == 9:
        return Role.CONSTANT
    if not is_float(tensor.data_type) and not tables.scaled(tensor) and not tables.kept(tensor):
        return Role.PARAMETER if count > 1 and any_in(tables.whole_weights) else Role.CONSTANT
    if tables.kept(tensor) or all_in(tables.statistics):
        return Role.STATISTIC
    if all_in(tables.settings):
        return Role.CONSTANT
    if count == 1 and not any_in(tables.weighing):
        return Role.CONSTANT
    if uses and all(_normalises(use) for use in uses) and _is_one_number(file, tensor, count):
        return Role.CONSTANT
    adds = bool(uses) and all(use.step.op.type in tables.adding for use in uses)
    if len(shape) > 1 and count <= LARGEST and adds and _is_mask(file, tensor):
        return Role.CONSTANT
    return Role.PARAMETER


def _normalises(use: Use) -> bool:
    """Whether it is read as the scale or the shift of a norm over each sample's channels."""
    return use.step.op.type == "InstanceNormalization" and use.at in (1, 2)


def _is_one_number(file: Source, tensor: Any, count: int) -> bool:
    """Whether it only holds what exporters put where a norm has no scale and no shift of its own: 1 or 0 in each group.

    torch's GroupNorm becomes this op, with its weights in ops of their own after it. A network that was never trained
    has such weights in truth: as an initializer, and not as equal numbers that a node of the graph writes down.
    """
    held = file.numbers(tensor) if count <= LARGEST and (count == 1 or not file.is_initializer(tensor.name)) else None
    return held is not None and set(held.tensor().flatten().tolist()) in ({0.0}, {1.0})


def _is_mask(file: Source, tensor: Any) -> bool:
    held = file.numbers(tensor)
    return held is not None and bool((held.tensor() <= BLOCKS).any())


def key_of(name: str, module: str, use: Use | None, tables: Tables = ONNX) -> str:
    """What a parameter is called in its module: as in the file, or by what it is to the op that reads it."""
    if module and name.startswith(f"{module}.") and "." not in name[len(module) + 1 :]:
        return name[len(module) + 1 :]
    if use is not None:
        names = tables.keys.get(use.step.op.type, ())
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
