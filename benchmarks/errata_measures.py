"""How `errata.py` measures one number of a model twice: by rfcalc, and by a way that shares no code with it.

A measure has ``ours``, from rfcalc's graph of the model, and ``theirs``, from the module itself: the sum over its
parameters, torch's FlopCounterMode around a pass, shapes that hooks see, and for receptive fields NaN in a part of the
input, of which it is seen which outputs they reach. Both give an integer, a fraction, or `WHOLE`. A convention of
somebody else's is a measure too, so that it is rebuilt twice as well.
"""

from __future__ import annotations

import ast
import builtins
import copy
import fnmatch
import importlib
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import errata_nets  # noqa: E402

import rfcalc  # noqa: E402
from rfcalc.conventions import count  # noqa: E402

#: What a field is that has every index of the input.
WHOLE = "whole"
Number: TypeAlias = "int | Fraction | str"
#: A shape with batch, a tensor, or a dict or tuple of these.
Inputs: TypeAlias = Any


# --- models -----------------------------------------------------------------------------------------------------------


class Built:
    """A model by the Python expression that makes it, built when it is first needed, on meta where that is possible."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self._made: dict[str, nn.Module] = {}
        self._traced: dict[str, Any] = {}

    def on(self, device: str) -> nn.Module:
        """The module in evaluation mode, on meta or on the CPU with random weights."""
        if device not in self._made:
            torch.manual_seed(0)
            try:
                with torch.device(device):
                    made = evaluated(self.expression)
            except (RuntimeError, NotImplementedError):  # a constructor that computes with numbers
                made = evaluated(self.expression).to(device)
            self._made[device] = made.eval()
        return self._made[device]

    def analysis(self, inputs: Inputs, training: bool = False) -> Any:
        """rfcalc's analysis of it; traced once for each inputs."""
        key = f"{described(inputs)} {training}"
        if key not in self._traced:
            self._traced[key] = rfcalc.analyze(self.on("meta"), tensors(inputs, "meta"), training=training)
        return self._traced[key]


def evaluated(expression: str) -> Any:
    """The value of a Python expression, with the modules imported that it names."""
    tree = ast.parse(expression, mode="eval")
    names: dict[str, Any] = {}
    for node in ast.walk(tree):
        path = _dotted(node)
        if path and path[0] not in names and not hasattr(builtins, path[0]):
            names[path[0]] = importlib.import_module(path[0])
        for end in range(2, len(path) + 1):
            name = ".".join(path[:end])
            try:
                importlib.import_module(name)
            except ModuleNotFoundError as error:
                if error.name != name:  # there is such a module, and it needs another
                    raise
                break
    return eval(compile(tree, "<row>", "eval"), names)


def _dotted(node: ast.AST) -> list[str]:
    """``a.b.c`` as its parts, and nothing for what is no chain of names."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value)
        return [*before, node.attr] if before else []
    return []


def described(inputs: Inputs) -> str:
    """The inputs in words, for results and as a key."""
    if isinstance(inputs, Mapping):
        return ", ".join(f"{name}={described(value)}" for name, value in inputs.items())
    if isinstance(inputs, Tensor):
        return f"{inputs.tolist()}" if inputs.numel() < 40 else "x".join(map(str, inputs.shape))
    if _is_shape(inputs):
        return "x".join(map(str, inputs))
    if isinstance(inputs, tuple | list):
        return ", ".join(map(described, inputs))
    return str(inputs)


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(type(item) is int for item in value)


def tensors(inputs: Inputs, device: str, name: str = "") -> Any:
    """Tensors of the shapes: whole numbers (1) where the name is that of ids, and else random numbers."""
    if isinstance(inputs, Mapping):
        return {key: tensors(value, device, key) for key, value in inputs.items()}
    if _is_shape(inputs):
        if name.endswith(("ids", "text", "mask")):
            return torch.ones(inputs, dtype=torch.int64, device="cpu" if device == "meta" else device)
        return torch.rand(inputs, device=device)
    if isinstance(inputs, tuple | list):
        return tuple(tensors(value, device) for value in inputs)
    return inputs


def called(model: nn.Module, inputs: Any) -> Any:
    """One pass of the module itself."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Kernels of torch in which a NaN reaches what its numbers reach, and products that a counter sees."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
            torch.backends.nnpack.flags(enabled=False),
            torch.backends.mkldnn.flags(enabled=False),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


# --- measures ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measure:
    """One quantity of a model. ``unit`` is what its numbers count, and ``what`` says it in words."""

    def ours(self, model: Built) -> Number:
        raise NotImplementedError

    def theirs(self, model: Built) -> Number:
        raise NotImplementedError

    @property
    def what(self) -> str:
        raise NotImplementedError

    @property
    def ways(self) -> str:
        """The two ways in words."""
        raise NotImplementedError


def _left(name: str, without: tuple[str, ...], only: tuple[str, ...]) -> bool:
    """Whether a parameter counts, by patterns over its name."""
    kept = not only or any(fnmatch.fnmatchcase(name, pattern) for pattern in only)
    return kept and not any(fnmatch.fnmatchcase(name, pattern) for pattern in without)


@dataclass(frozen=True)
class Params(Measure):
    """Parameters, each storage once; ``without`` and ``only`` are patterns over their names. ``twice`` are patterns of
    parameters that stand at two places and are counted at both. ``buffers``: frozen numbers that are no parameters
    count as well. ``inputs`` are those of a pass, by which rfcalc knows the model.
    """

    inputs: Inputs
    without: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    trainable: bool = False
    twice: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()

    def ours(self, model: Built) -> int:
        found = 0
        for one in model.analysis(self.inputs).layer_graph.params:
            again = any(fnmatch.fnmatchcase(one.name, pattern) for pattern in self.twice)
            if _left(one.name, self.without, self.only) and (one.trainable or not self.trainable):
                found += one.numel * (not one.shared_with or again)
        for one in model.analysis(self.inputs).layer_graph.buffers:
            found += one.numel * any(fnmatch.fnmatchcase(one.name, pattern) for pattern in self.buffers)
        return found

    def theirs(self, model: Built) -> int:
        module = model.on("meta")
        seen: set[int] = set()
        found = 0
        for name, one in module.named_parameters(remove_duplicate=False):
            again = any(fnmatch.fnmatchcase(name, pattern) for pattern in self.twice)
            if _left(name, self.without, self.only) and (one.requires_grad or not self.trainable):
                found += one.numel() * (id(one) not in seen or again)
                seen.add(id(one))
        for name, buffer in module.named_buffers():
            found += buffer.numel() * any(fnmatch.fnmatchcase(name, pattern) for pattern in self.buffers)
        return found

    @property
    def what(self) -> str:
        return "parameters"

    @property
    def ways(self) -> str:
        return "sum over the module's parameters"


@dataclass(frozen=True)
class Macs(Measure):
    """Multiply-adds of a pass, ``times`` 1 or 2. ``only`` are kinds of layers ("conv"), by both counters."""

    inputs: Inputs
    times: int = 1
    only: str = ""

    #: Ops of torch's dispatcher that a kind of layer runs as.
    KINDS = {"conv": ("convolution",), "not attention": ("convolution", "addmm", "mm")}  # noqa: RUF012

    def ours(self, model: Built) -> int:
        analysis = model.analysis(self.inputs)
        if not self.only:
            return self.times * int(analysis.totals.macs)
        kinds = {"conv": ("conv",), "not attention": ("conv", "conv_transpose", "linear")}[self.only]
        return self.times * sum(layer.macs for layer in analysis.layers if layer.kind in kinds)

    def theirs(self, model: Built) -> int:
        try:
            counter = self._counted(model.on("meta"), _moved(tensors(self.inputs, "meta")))
        except (RuntimeError, NotImplementedError):  # its forward reads numbers: a pass on the CPU
            counter = self._counted(model.on("cpu"), tensors(self.inputs, "cpu"))
        if not self.only:
            return self.times * counter.get_total_flops() // 2
        ops = counter.get_flop_counts()["Global"]
        return self.times * sum(n for op, n in ops.items() if str(op).split(".")[-1] in self.KINDS[self.only]) // 2

    @staticmethod
    def _counted(module: nn.Module, given: Any) -> FlopCounterMode:
        with plain_kernels(), FlopCounterMode(display=False) as counter:
            called(module, given)
        return counter

    @property
    def what(self) -> str:
        return f"{'operations, 2 a multiply-add' if self.times == 2 else 'multiply-adds'}, {described(self.inputs)}"

    @property
    def ways(self) -> str:
        return "torch's FlopCounterMode"


@dataclass(frozen=True)
class Normed(Measure):
    """Multiply-adds of a pass, and 5 operations for each element of a batch norm: what fvcore counts of one in training
    (https://github.com/facebookresearch/fvcore, jit_handles.py, norm_flop_counter)."""

    inputs: Inputs

    def ours(self, model: Built) -> int:
        totals = model.analysis(self.inputs).totals
        return int(totals.macs) + 5 * int(totals.flops_by["norm"]) // 2  # a scale and a shift for each element

    def theirs(self, model: Built) -> int:
        module, seen = model.on("meta"), []
        hooks = [
            one.register_forward_hook(lambda _, __, out: seen.append(out.numel()))
            for one in module.modules()
            if isinstance(one, nn.modules.batchnorm._BatchNorm)
        ]
        macs = Macs(self.inputs).theirs(model)
        for hook in hooks:
            hook.remove()
        return macs + 5 * sum(seen)

    @property
    def what(self) -> str:
        return f"multiply-adds and norms, {described(self.inputs)}"

    @property
    def ways(self) -> str:
        return "torch's FlopCounterMode, and outputs as hooks see them"


def _moved(given: Any) -> Any:
    """The same tensors on meta, ids too."""
    if isinstance(given, Mapping):
        return {key: _moved(value) for key, value in given.items()}
    if isinstance(given, tuple):
        return tuple(map(_moved, given))
    return given.to("meta") if isinstance(given, Tensor) else given


@dataclass(frozen=True)
class Tool(Measure):
    """What another counter prints, by rfcalc's rules for it and by itself, ``times`` a factor."""

    tool: str
    inputs: Inputs
    times: Fraction = Fraction(1)

    def ours(self, model: Built) -> Number:
        return self.times * count(model.analysis(self.inputs).graph, self.tool).total

    def theirs(self, model: Built) -> Number:
        return self.times * RUN[self.tool](model.on("cpu"), tensors(self.inputs, "cpu"))

    @property
    def what(self) -> str:
        return f"{self.tool}, {described(self.inputs)}"

    @property
    def ways(self) -> str:
        return f"{self.tool} itself"


def _fvcore(model: nn.Module, inputs: Any) -> int:
    from fvcore.nn import FlopCountAnalysis

    with plain_kernels():
        counted = FlopCountAnalysis(model, inputs).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        return int(counted.total())


def _timm(model: nn.Module, inputs: Any) -> int:
    """fvcore as timm's benchmark.py calls it: with fused attention off."""
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]
    return _fvcore(model, inputs)


#: Tools that can be run here, by name.
RUN: dict[str, Callable[[nn.Module, Any], int]] = {"fvcore": _fvcore, "timm": _timm}


@dataclass(frozen=True)
class Activations(Measure):
    """Elements that convolutions and products of matrices give (Radosavovic et al., 2020, section 3.1, of convolutions;
    ``products``: linear layers too, which is what fvcore counts of a network without attention)."""

    inputs: Inputs
    products: bool = False

    def ours(self, model: Built) -> int:
        kinds = ("conv", "linear") if self.products else ("conv",)
        return sum(prod(layer.output_shape) for layer in model.analysis(self.inputs).layers if layer.kind in kinds)

    def theirs(self, model: Built) -> int:
        module, seen = model.on("meta"), []
        classes = (nn.Conv2d, nn.Linear) if self.products else (nn.Conv2d,)
        hooks = [
            one.register_forward_hook(lambda _, __, out: seen.append(out.numel()))
            for one in module.modules()
            if isinstance(one, classes)
        ]
        with plain_kernels():
            called(module, tensors(self.inputs, "meta"))
        for hook in hooks:
            hook.remove()
        return sum(seen)

    @property
    def what(self) -> str:
        return f"activations, {described(self.inputs)}"

    @property
    def ways(self) -> str:
        return "outputs as hooks see them"


@dataclass(frozen=True)
class Field(Measure):
    """The receptive field of a unit in the middle of a layer along one axis, not cut at the borders.

    ``layer`` is a module's name, "" the model's output; ``axis`` is that of the input, ``out`` that of the layer.
    ``unit``: of this one, cut at the borders.
    """

    inputs: tuple[int, ...]
    axis: int = -1
    layer: str = ""
    out: int = -1
    unit: int | None = None
    less: int = 0  #: taken off: 1 for what a unit sees beyond its own place
    thin: bool = False  #: the witness has one channel in each dense convolution: what it reads is the same

    def ours(self, model: Built) -> Number:
        analysis = model.analysis(self.inputs)
        row = analysis.select(self.layer)[-1] if self.layer else output_rows(analysis)[0]
        found = row.receptive_field
        at = self.axis % len(self.inputs)
        names = {index: name for name, index in analysis.inputs[0].axes.items()}
        place = found.axes.index(names[at])
        if self.unit is not None:
            return self._of_unit(analysis, row, place)
        if found.stride is None or found.stride[place] is None or found.size[place] >= self.inputs[at]:
            return WHOLE if found.size[place] >= self.inputs[at] else int(found.size[place]) - self.less
        return int(found.size[place]) - self.less

    def _of_unit(self, analysis: Any, row: Any, place: int) -> Number:
        first, last = analysis.regions(row.name)[place]
        first, last = first.ravel(), last.ravel()
        return int(last[self.unit if len(last) > 1 else 0] - first[self.unit if len(first) > 1 else 0] + 1)

    def theirs(self, model: Built) -> Number:
        low, high = self.seen(model)
        if self.unit is None and (low, high) == (0, self.inputs[self.axis] - 1):
            return WHOLE
        return high - low + 1 - self.less

    def seen(self, model: Built) -> tuple[int, int]:
        """First and last index whose NaN reaches the unit, each found by halving."""
        module, length = model.on("cpu"), self.inputs[self.axis]
        if self.thin:
            module = errata_nets.thinned(copy.deepcopy(module))
        base = torch.rand(self.inputs)
        kept: list[Tensor] = []
        hook = None
        if self.layer:
            hook = module.get_submodule(self.layer).register_forward_hook(lambda _, __, out: kept.append(_first(out)))

        def reached(start: int, stop: int) -> bool:
            x = base.clone()
            x.narrow(self.axis, start, stop - start).fill_(torch.nan)
            kept.clear()
            with plain_kernels():
                out = _first(called(module, x))
            y = kept[0] if self.layer else out
            unit = y.shape[self.out] // 2 if self.unit is None else self.unit
            return bool(y.select(self.out, unit).isnan().any())

        try:
            low = _least(lambda k: reached(0, k + 1), length)
            high = length - 1 - _least(lambda k: reached(length - 1 - k, length), length)
        finally:
            if hook is not None:
                hook.remove()
        return low, high

    @property
    def what(self) -> str:
        where = f" of {self.layer}" if self.layer else ""
        unit = "" if self.unit is None else f", unit {self.unit}"
        return f"receptive field{where}{unit}, input {described(self.inputs)}"

    @property
    def ways(self) -> str:
        return "NaN in a part of the input, and which units it reaches"


def output_rows(analysis: Any) -> list[Any]:
    """The layers that the model's results are, in order; what folds into a layer has its field."""
    graph = analysis.layer_graph
    return [analysis.layers_by_node[graph[one.node].owner] for one in graph.outputs]


def _first(out: Any) -> Tensor:
    """The first tensor of what a module gives."""
    while not isinstance(out, Tensor):
        out = next(iter(out.values())) if isinstance(out, Mapping) else out[0]
    return out


def _least(holds: Callable[[int], bool], length: int) -> int:
    """The least k in range(length) for which it holds, as it then does for all larger ones."""
    low, high = 0, length - 1
    if not holds(high):
        raise ValueError("no index of the input reaches the unit")
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


@dataclass(frozen=True)
class Halo(Measure):
    """What a tile needs around it along one axis, at stride 1: tiles begin at multiples of ``grid``."""

    inputs: tuple[int, ...]
    axis: int
    grid: int

    def ours(self, model: Built) -> int:
        analysis = model.analysis(self.inputs)
        row = output_rows(analysis)[0]
        names = {index: name for name, index in analysis.inputs[0].axes.items()}
        first, last = analysis.regions(row.name)[row.receptive_field.axes.index(names[self.axis])]
        start = self.inputs[self.axis] // 2 // self.grid * self.grid
        tile = slice(start, start + self.grid)
        return int(max(start - first.ravel()[tile].min(), last.ravel()[tile].max() - (start + self.grid - 1)))

    def theirs(self, model: Built) -> int:
        module, middle = model.on("cpu"), self.inputs[self.axis] // 2 // self.grid * self.grid
        most = 0
        for place in range(middle, middle + self.grid):
            x = torch.rand(self.inputs)
            x.select(self.axis, place).fill_(torch.nan)
            with plain_kernels():
                y = _first(called(module, x))
            hit = y.isnan().movedim(self.axis, 0).flatten(1).any(1).nonzero().flatten()
            starts = hit // self.grid * self.grid
            most = max(most, int(starts.max()) - place, place - (int(starts.min()) + self.grid - 1))
        return most

    @property
    def what(self) -> str:
        return f"overlap that tiles on a grid of {self.grid} need, input {described(self.inputs)}"

    @property
    def ways(self) -> str:
        return "NaN in each row of a period, and which units it reaches"


@dataclass(frozen=True)
class HalfWidths(Measure):
    """Half-widths of the kernels of all convolutions, each by the stride at its place: no pooling, no upsampling."""

    inputs: tuple[int, ...]

    def ours(self, model: Built) -> int:
        found = Fraction(0)
        for layer in model.analysis(self.inputs).layers:
            if layer.kind == "conv":
                found += Fraction(layer.receptive_field.stride[0]) * (int(layer.attrs["kernel"][0]) // 2)
        return int(found)

    def theirs(self, model: Built) -> int:
        """As panseg's own code walks: up a level at a max pooling, down at an upsampling."""
        level = found = 0
        for module in model.on("meta").modules():
            level += isinstance(module, nn.MaxPool3d) - (type(module).__name__ == "InterpolateUpsampling")
            if isinstance(module, nn.Conv3d):
                found += 2**level * (module.kernel_size[0] // 2)
        return found

    @property
    def what(self) -> str:
        return "half-widths of convolutions"

    @property
    def ways(self) -> str:
        return "a walk over the modules"


@dataclass(frozen=True)
class Ratio(Measure):
    """Extent of the input over that of a layer's output."""

    inputs: tuple[int, ...]
    layer: str
    out: int = -1
    tokens: bool = False  #: the output's axis holds the square of positions

    def ours(self, model: Built) -> Number:
        analysis = model.analysis(self.inputs)
        rows = analysis.select(self.layer)
        return self._ratio(rows[-1].output_shape[self.out])

    def theirs(self, model: Built) -> Number:
        module, seen = model.on("meta"), []
        hook = module.get_submodule(self.layer).register_forward_hook(lambda _, __, out: seen.append(_first(out)))
        try:
            with plain_kernels():
                called(module, torch.rand(self.inputs, device="meta"))
        finally:
            hook.remove()
        return self._ratio(seen[-1].shape[self.out])

    def _ratio(self, extent: int) -> Fraction:
        if self.tokens:  # patches, and perhaps a class token beside them
            extent -= round((extent - 1) ** 0.5) ** 2 == extent - 1
            root = round(extent**0.5)
            assert root * root == extent, extent
            extent = root
        return Fraction(self.inputs[-1], extent)

    @property
    def what(self) -> str:
        return f"reduction at {self.layer}, input {described(self.inputs)}"

    @property
    def ways(self) -> str:
        return "shapes of a pass"


@dataclass(frozen=True)
class Custom(Measure):
    """A quantity with two functions of its own, each of the model."""

    says: str
    by_rfcalc: Callable[[Built], Number] = field(repr=False)
    by_other: Callable[[Built], Number] = field(repr=False)
    how: str = ""

    def ours(self, model: Built) -> Number:
        return self.by_rfcalc(model)

    def theirs(self, model: Built) -> Number:
        return self.by_other(model)

    @property
    def what(self) -> str:
        return self.says

    @property
    def ways(self) -> str:
        return self.how


@dataclass(frozen=True)
class Of(Measure):
    """A measure of another model, by the expression that makes it."""

    model: str
    inner: Measure

    def ours(self, model: Built) -> Number:
        return self.inner.ours(Built(self.model))

    def theirs(self, model: Built) -> Number:
        return self.inner.theirs(Built(self.model))

    @property
    def what(self) -> str:
        return self.inner.what

    @property
    def ways(self) -> str:
        return self.inner.ways


@dataclass(frozen=True)
class Over(Measure):
    """A measure of this model in percent of the same measure of another one, less 100."""

    inner: Measure
    other: str  #: the expression that makes the other model

    def ours(self, model: Built) -> Number:
        return self._more(self.inner.ours(model), self.inner.ours(Built(self.other)))

    def theirs(self, model: Built) -> Number:
        return self._more(self.inner.theirs(model), self.inner.theirs(Built(self.other)))

    @staticmethod
    def _more(value: Number, base: Number) -> Fraction:
        assert not isinstance(value, str)
        assert not isinstance(base, str)
        return 100 * (Fraction(value) / Fraction(base) - 1)

    @property
    def what(self) -> str:
        return f"{self.inner.what}, percent more than without"

    @property
    def ways(self) -> str:
        return self.inner.ways


@dataclass(frozen=True)
class Scaled(Measure):
    """Another measure by a factor: bytes of parameters, cut to a whole number of units."""

    inner: Measure
    factor: Fraction | int
    to: int = 0  #: cut, not rounded, to a multiple of this
    plus: Fraction | int = 0  #: added at the end

    def _of(self, value: Number) -> Number:
        assert not isinstance(value, str)
        scaled = value * self.factor + self.plus
        return Fraction(scaled // self.to * self.to) if self.to else scaled

    def ours(self, model: Built) -> Number:
        return self._of(self.inner.ours(model))

    def theirs(self, model: Built) -> Number:
        return self._of(self.inner.theirs(model))

    @property
    def what(self) -> str:
        return self.inner.what

    @property
    def ways(self) -> str:
        return self.inner.ways


# --- rows -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One published number.

    ``says`` is the number as it is printed ("25.6 M", "1,027", "whole"), ``source`` and ``url`` where, ``package`` what
    to install, pinned, ``model`` the expression that builds it. ``others`` are conventions of those who stated it, by
    name; ``slip`` is what makes the number of a slip, which stays wrong. ``step`` is what the last stated digit stands
    for, where it is not what is printed ("340 M" in tens). ``exact``: nothing was rounded. ``note`` is for readers.
    """

    name: str
    area: str
    subject: str
    says: str
    source: str
    url: str
    package: str
    model: str
    measure: Measure
    others: Mapping[str, Measure] | None = None
    slip: Mapping[str, Measure] | None = None
    step: Fraction | int | None = None
    exact: bool = False
    note: str = ""
