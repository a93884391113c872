"""Trace a module: one forward pass on tensors without storage, and the graph of what it did."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import is_dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from rfcalc import graph as graphs
from rfcalc.errors import RfcalcError, TraceError, UsageError
from rfcalc.graph import InputInfo, LayerGraph, Node, Param, Ref
from rfcalc.tracing.construct import Constants
from rfcalc.tracing.functions import CompositeMode
from rfcalc.tracing.invented import invented
from rfcalc.tracing.layout import find_axes
from rfcalc.tracing.making import make_param
from rfcalc.tracing.modules import ModuleStack, borrowed, class_of, meta_twin
from rfcalc.tracing.naming import build_nodes
from rfcalc.tracing.notes import remainder_notes, size_notices
from rfcalc.tracing.recorder import NeedsDataError, Recorder
from rfcalc.tracing.tensors import without_storage
from rfcalc.tracing.values import Value
from rfcalc.uncollected import uncollected


def trace_module(
    model: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    name: str = "",
    names: Sequence[str] = (),
    batched: bool = True,
    training: bool = False,
    axes: Mapping[str, Mapping[str, int]] | None = None,
    constants: Constants | None = None,
    separator: str = ".",
) -> LayerGraph:
    """The graph of one forward pass of the model on inputs of these shapes.

    ``args`` and ``kwargs`` are tensors (or nested lists, tuples and dicts of them) on any device, "meta" included;
    their values are not used unless the model asks for them. ``names`` are those of the tensors in order; without, an
    input is called after its parameter of forward. ``batched`` is False where each tensor is one sample. The model is
    as before afterwards, also when its forward raises. Raises `TraceError` naming the layer that failed, what it
    received and what it needed.
    """
    with ExitStack() as light:
        light.enter_context(uncollected())
        run = _Run(model, tuple(args), dict(kwargs or {}), name or type(model).__name__, names, training, constants)
        run.batched = batched
        graph = _traced(run, light, axes or {}, separator)
        del run  # what has no cycles is gone before the next collection, which then has less to go through
        return graph


def _traced(run: _Run, light: ExitStack, axes: Mapping[str, Mapping[str, int]], separator: str) -> LayerGraph:
    """The graph of a pass without numbers, or of one with numbers where the model asks for them."""
    notices: list[str] = []
    try:
        run.forward(meta=True)
    except Exception as error:
        if not _wants_data(error):
            raise run.explain(error) from error
        light.close()  # real tensors are worth collecting
        notices.append(f"traced on real CPU tensors, for {run.asked_for(error)} needs data")
        run.again()
    notices += size_notices(run.recorder.tape.records)
    return run.graph(notices, axes, separator)


def _wants_data(error: Exception) -> bool:
    if isinstance(error, NeedsDataError | NotImplementedError):
        return True
    text = f"{type(error).__name__} {error}"
    return any(
        mark in text
        for mark in (
            "meta tensor",
            "meta device",
            "Meta tensor",
            "device meta",
            "'meta'",
            "DataDependent",
            "data-dependent",
            "unallocated storage",
        )
    )


class _Run:
    """One model, its inputs, and the recorder of the last attempt."""

    def __init__(
        self,
        model: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str,
        names: Sequence[str],
        training: bool,
        constants: Constants | None,
    ) -> None:
        self.model, self.args, self.kwargs, self.name, self.training = model, args, kwargs, name, training
        self.names = names
        self.batched = True
        self.constants = constants
        self.inputs: list[tuple[str, Ref]] = []
        self.outputs: list[Ref] = []

    def forward(self, *, meta: bool) -> None:
        """Run the model once under a fresh recorder."""
        self.stack = ModuleStack(self.model)
        self.recorder = recorder = Recorder(self.stack, meta=meta)
        self.inputs, self.outputs = [], []
        weights = torch.Generator().manual_seed(0)  # where data decides the shapes, every run has the same
        parameters = {id(tensor) for _, module in self.stack.tree for tensor in module._parameters.values()}

        def exchange(name: str, tensor: torch.Tensor) -> torch.Tensor:
            known = self.constants.of(tensor) if self.constants is not None else None
            if meta:
                made = tensor if tensor.is_meta else meta_twin(name, tensor)
            else:
                made = _real_twin(name, tensor, known, weights)
            if id(tensor) in parameters:
                recorder.bind(made, Value("param", params=(name,)))
            else:
                real = known if tensor.is_meta else tensor.detach()
                recorder.bind(made, Value("const", real=real if meta else made, borrowed=True))
            return made

        convert = without_storage if meta else _as_real
        with (
            _one_thread() if meta else nullcontext(),
            torch.no_grad(),
            _own_random_numbers(),
            _slow_path(),
            borrowed(self.stack.modules, exchange, self.training),
        ):
            if self.constants is not None and meta:
                self.constants.hand_over(recorder)
            args = [self._declare(name, value, convert) for name, value in self._named()]
            kwargs = {name: self._declare(name, value, convert) for name, value in self.kwargs.items()}
            with self.stack.tracking(), recorder, CompositeMode(recorder):
                result = self.model(*args, **kwargs)
            self.outputs = [ref for tensor in tensors_in(result) if (ref := recorder.value_of(tensor).ref) is not None]
        if not self.outputs:
            given = "None" if result is None else f"an object of type {type(result).__name__}"
            raise TraceError(
                f"{self.name}: its forward pass returned no tensor that was computed from its inputs, but {given}"
            )

    def again(self) -> None:
        """Run the model on real numbers. Raises `TraceError` where it fails, too."""
        try:
            self.take_storage()
            self.forward(meta=False)
        except Exception as error:
            raise self.explain(error) from error

    def _named(self) -> list[tuple[str, Any]]:
        if len(self.args) == 1 and not self.kwargs and isinstance(self.args[0], torch.Tensor):
            return [("input", self.args[0])]
        try:
            names = [
                p.name for p in inspect.signature(self.model.forward).parameters.values() if p.kind < p.KEYWORD_ONLY
            ]
        except (TypeError, ValueError):
            names = []
        names += [f"input{number}" for number in range(len(names), len(self.args))]
        return list(zip(names, self.args, strict=False))

    def _declare(self, name: str, value: Any, convert: Callable[[torch.Tensor], torch.Tensor]) -> Any:
        """The argument with its tensors converted and declared as inputs."""
        if isinstance(value, torch.Tensor):
            tensor = convert(value)
            name = self.names[len(self.inputs)] if len(self.inputs) < len(self.names) else name
            self.inputs.append((name, self.recorder.input(name, tensor)))
            return tensor
        if isinstance(value, list | tuple):
            return type(value)(self._declare(f"{name}.{at}", item, convert) for at, item in enumerate(value))
        if isinstance(value, dict):
            return {key: self._declare(f"{name}.{key}", item, convert) for key, item in value.items()}
        return value

    # --- results ------------------------------------------------------------------------------------------------------

    def graph(self, notices: Sequence[str], axes: Mapping[str, Mapping[str, int]], separator: str) -> LayerGraph:
        """The graph of the recorded pass."""
        modules = self.stack.tree
        classes = {name: class_of(module).__name__ for name, module in modules}
        nodes = build_nodes(self.recorder.tape.records, classes, separator)
        inputs = [self._input(nodes, name, ref, axes) for name, ref in self.inputs]
        return graphs.build(
            nodes,
            model=self.name,
            inputs=inputs,
            outputs=list(dict.fromkeys(self.outputs)),
            params=_params(modules, nodes),
            buffers=_buffers(modules),
            calls=self.stack.calls,
            masks=dict(enumerate(self.recorder.tape.masks)),
            meta={"torch": torch.__version__, "training": self.training, "notices": list(notices)},
        )

    def _input(self, nodes: Sequence[Node], name: str, ref: Ref, axes: Mapping[str, Mapping[str, int]]) -> InputInfo:
        out = nodes[ref.node].outputs[0]
        chosen = axes.get(name, axes.get("", None))
        if chosen is None:
            chosen = find_axes(nodes, ref.node)
        for axis, number in chosen.items():
            if not 0 <= number < len(out.shape):
                raise UsageError(
                    f"input {name!r} has shape {_dims(out.shape)}: there is no axis {number} to call {axis}"
                )
        return InputInfo(name, ref.node, out.shape, out.dtype, dict(chosen), self.batched)

    def take_storage(self) -> None:
        """Get ready for a pass on real numbers: a model built without memory is built again, as its own code starts it.

        Raises `TraceError` where the weights do not fit into memory.
        """
        need = sum(tensor.nbytes for tensor in self.model.parameters() if tensor.is_meta)
        if need > _free_memory():
            raise TraceError(
                f"{self.name} cannot be traced without numbers, and its weights take {need / 2**30:.1f} GiB, more than"
                " this machine has free"
            )
        if need and self.constants is not None:
            with _own_random_numbers():
                self.model, self.constants = self.constants.factory(), None

    def asked_for(self, error: Exception) -> str:
        """What could not be done without numbers: an op where that is known."""
        failure = self.recorder.tape.failure
        if failure is not None:
            return failure.op
        return (str(error).splitlines() or [""])[0] or type(error).__name__

    def explain(self, error: Exception) -> Exception:
        """The failure as one line: the layer, what it received, what it needed."""
        if isinstance(error, RfcalcError):
            return error
        tape = self.recorder.tape
        scope, given = self.stack.failure
        received = tape.failure.shapes if tape.failure and tape.failure.scope == scope else given
        text = (str(error).splitlines() or [""])[0] or type(error).__name__
        if not isinstance(error, RuntimeError | ValueError):
            text = f"{type(error).__name__}: {text}"
        where = f"{scope.name} ({scope.module})" if scope.name else scope.module
        got = f" got {_dims(received[0])}" if received else ""
        needs = _needs(self.model, scope.name)
        asked = ", ".join(f"{name} {_dims(tape.records[ref.node].outputs[0].shape)}" for name, ref in self.inputs)
        uneven = (
            f"; {record.scope.name or record.op}: {note}"
            for record in tape.records
            if record.effect.kind == "conv"
            for note in remainder_notes(tape.records, record)
        )
        return TraceError(
            f"{self.name} cannot run on {asked or 'these inputs'}: layer {where}{got}{needs}:"
            f" {text.rstrip('.')}{next(uneven, '')}{'' if scope.name else _missing(self.model, error)}"
        )


#: Attributes of torch's layers that say what comes in.
_NEEDS = (
    ("in_channels", "channels"),
    ("in_features", "features"),
    ("num_features", "channels"),
    ("input_size", "features"),
    ("embed_dim", "features"),
)


def _needs(model: nn.Module, name: str) -> str:
    """What the failing module says it needs, from its own attributes."""
    try:
        module = model.get_submodule(name)
    except AttributeError:
        return ""
    for attribute, noun in _NEEDS:
        count = getattr(module, attribute, None)
        if isinstance(count, int):
            return f", needs {count} {noun}"
    return ""


def _missing(model: nn.Module, error: Exception) -> str:
    """What to give, where forward says that it was called without some of its arguments."""
    if not isinstance(error, TypeError) or "missing" not in str(error):
        return ""
    parameters = inspect.signature(model.forward).parameters.values()
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in variable]
    return f"; name a shape for each that is a tensor: {' '.join(f'--input {name}=...' for name in needed)}"


def _dims(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a scalar"


def _as_real(tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_meta:
        return tensor.detach().to("cpu", copy=True)
    if tensor.is_floating_point():
        return torch.rand(tensor.shape, dtype=tensor.dtype)
    return torch.zeros(tensor.shape, dtype=tensor.dtype)


def _real_twin(name: str, tensor: torch.Tensor, known: torch.Tensor | None, weights: torch.Generator) -> torch.Tensor:
    """A CPU tensor in place of a parameter or buffer; one without storage gets random numbers."""
    if known is not None:
        return known
    made = invented(name, tensor, weights) if tensor.is_meta else tensor.detach().to("cpu", copy=True)
    return nn.Parameter(made, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    """Random numbers from a fixed seed for the pass; the user's go on afterwards where they were."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for a pass that computes little: threads wait for each other longer than a small constant takes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _free_memory() -> float:
    """Bytes of memory that are free, infinity where the system does not tell."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return math.inf


def _slow_path() -> Any:
    """Fused fast paths of torch hide the ops they are made of; off for the pass, and back afterwards."""
    backend = getattr(torch.backends, "mha", None)
    if backend is None or not backend.get_fastpath_enabled():
        return nullcontext()
    return _Restored(backend)


class _Restored:
    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def __enter__(self) -> None:
        self._backend.set_fastpath_enabled(False)

    def __exit__(self, *_: object) -> None:
        self._backend.set_fastpath_enabled(True)


def tensors_in(value: Any) -> list[torch.Tensor]:
    """All tensors in a nested result, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [tensor for item in value.values() for tensor in tensors_in(item)]
    if isinstance(value, list | tuple | set):
        return [tensor for item in value for tensor in tensors_in(item)]
    if is_dataclass(value) and not isinstance(value, type):
        return [tensor for item in vars(value).values() for tensor in tensors_in(item)]
    return []


#: A size of torch's as a plain tuple; equal ones are one object.
_plain = lru_cache(4096)(tuple)


def _params(modules: Sequence[tuple[str, nn.Module]], nodes: Sequence[Node]) -> list[Param]:
    first_use: dict[str, int] = {}
    for record in nodes:
        for name in record.params:
            first_use.setdefault(name, record.id)
    rows: list[Param] = []
    first_name: dict[Any, str] = {}
    for prefix, module in modules:
        for key, tensor in module._parameters.items():
            if tensor is not None:
                name = f"{prefix}.{key}" if prefix else key
                shape = _plain(tensor.shape)
                shared = first_name.setdefault((_storage(tensor), shape), name)
                other = shared if shared != name else ""
                used = first_use.get(shared)
                rows.append(make_param(name, shape, tensor.numel(), tensor.requires_grad, other, used))
    return rows


def _buffers(modules: Sequence[tuple[str, nn.Module]]) -> list[Param]:
    seen: set[int] = set()
    rows = []
    for prefix, module in modules:
        for key, tensor in module._buffers.items():
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                name = f"{prefix}.{key}" if prefix else key
                rows.append(make_param(name, _plain(tensor.shape), tensor.numel(), False, "", None))
    return rows


def _storage(tensor: torch.Tensor) -> Any:
    """Which storage, and where in it; the tensor itself where it has none of its own."""
    try:
        return tensor.untyped_storage()._cdata, tensor.storage_offset()
    except (RuntimeError, NotImplementedError):
        return id(tensor)
