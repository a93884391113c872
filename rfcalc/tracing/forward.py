"""Trace a module: one forward pass on tensors without storage, and the graph of what it did."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from types import GeneratorType
from typing import Any

import torch
from torch import nn

from rfcalc import graph as graphs
from rfcalc.errors import TraceError
from rfcalc.graph import LayerGraph, Param, Ref
from rfcalc.ops import plugins
from rfcalc.tracing.arguments import Inputs, input_info, tensors_in
from rfcalc.tracing.buffers import attributes, found
from rfcalc.tracing.construct import Constants
from rfcalc.tracing.doubles import doubled, meta_twin
from rfcalc.tracing.failing import explain
from rfcalc.tracing.fallback import WORTH_A_TRY, as_real, free_memory, gibibytes, real_twin, reason, weight
from rfcalc.tracing.functions import CompositeMode, NeedsGradientError
from rfcalc.tracing.known import NeedsDataError
from rfcalc.tracing.lazy import shaped
from rfcalc.tracing.leaks import outside, release
from rfcalc.tracing.modules import ModuleStack
from rfcalc.tracing.naming import build_nodes
from rfcalc.tracing.nested import rows_of
from rfcalc.tracing.notes import buffer_notices, size_notices
from rfcalc.tracing.numbers import Drawing
from rfcalc.tracing.recorder import Recorder
from rfcalc.tracing.tensors import without_storage
from rfcalc.tracing.threads import one_thread
from rfcalc.tracing.tree import class_of
from rfcalc.tracing.values import Value
from rfcalc.tracing.weights import Holdings, params_of
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
    dtype: str | None = None,
) -> LayerGraph:
    """The graph of one forward pass of the model on inputs of these shapes.

    ``args`` and ``kwargs`` are tensors (or nested lists, tuples and dicts of them) on any device, "meta" included.
    Whole numbers and truth values that come with values are known, wherever the model asks for them or what is computed
    from them: in control flow, sizes, indices and masks. All other values count for nothing. ``names`` are
    those of the tensors in order; without, an input is called after its parameter of forward. ``batched`` is False
    where each tensor is one sample. ``dtype`` is torch's name of the type that all floating-point parameters, buffers
    and inputs have in the pass, None for their own. The model is as before afterwards, also when its forward raises.
    Raises `TraceError` naming the layer that failed, what it received and what it needed.
    """
    with ExitStack() as light:
        light.enter_context(uncollected())
        model = shaped(model, args, kwargs or {})
        run = _Run(model, tuple(args), dict(kwargs or {}), name or type(model).__name__, names, training, constants)
        run.batched = batched
        run.dtype = getattr(torch, dtype) if dtype is not None else None
        graph = _traced(run, light, axes or {}, separator)
        del run  # what has no cycles is gone before the next collection, which then has less to go through
        return graph


def _traced(run: _Run, light: ExitStack, axes: Mapping[str, Mapping[str, int]], separator: str) -> LayerGraph:
    """The graph of a pass without numbers, or of one with numbers where the model asks for them."""
    notices = [*plugins.load()]
    try:
        run.attempt(meta=True)
    except Exception as error:
        why = reason(error, run.recorder.tape)
        if not why:
            raise run.explain(error) from error
        if not isinstance(error, NeedsDataError) and run.weight > WORTH_A_TRY:
            raise run.explain(
                error, f"; not tried on real numbers: its weights take {gibibytes(run.weight)}"
            ) from error
        light.close()  # real tensors are worth collecting
        notices.append(f"traced on real CPU tensors, for {why}")
        run.again(why)
    stuck = run.finish()
    if stuck:
        notices.append(f"its code keeps tensors without storage, of this pass, in {', '.join(stuck)}")
    notices += [*size_notices(run.recorder.tape.records), *buffer_notices(run.recorder.tape)]
    if run.recorder.frozen:
        notices.append("parameters are the constants of a frozen program, of which equal ones are one")
    notices += dict.fromkeys(run.recorder.tape.notices)
    return run.graph(notices, axes, separator)


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
        self.dtype: torch.dtype | None = None  #: of all floating-point tensors, if one was asked for
        self.unvalued: set[str] = set()  #: inputs of whole numbers that were given without values
        self.orders = True  #: whether an order that data decides is taken for that of what was sorted
        self.gradients = False  #: whether the pass is one in which the model can differentiate
        self.constants = constants
        self.inputs: list[tuple[str, Ref]] = []
        self.outputs: list[Ref] = []
        self.given = 0  #: how many tensors the recorder knew before the pass
        self.made_up: list[str] = []  #: attributes and buffers whose numbers nobody gave

    @property
    def weight(self) -> int:
        """Bytes of the model's parameters and buffers."""
        return weight(module for _, module in self.stack.modules)

    def attempt(self, *, meta: bool) -> None:
        """Run the model; once more where orders that data decides are not undone, or nothing comes of it."""
        try:
            self._attempt(meta)
        except Exception:
            if not self.recorder.orders.keys:
                raise
        else:
            if not self.recorder.orders.broken:
                return
        self.orders = False
        self._attempt(meta)

    def _attempt(self, meta: bool) -> None:
        """Run the model; with gradients where it takes some itself, without otherwise: they keep all that they need."""
        try:
            self.forward(meta=meta)
        except NeedsGradientError:
            self.gradients = True
            self.forward(meta=meta)

    def forward(self, *, meta: bool) -> None:
        """Run the model once under a fresh recorder."""
        self.stack = ModuleStack(self.model)
        self.recorder = recorder = Recorder(self.stack, meta=meta, orders=self.orders)
        self.stack.recorder = weakref.ref(recorder)
        self.inputs, self.outputs = [], []
        weights = torch.Generator().manual_seed(0)  # where data decides the shapes, every run has the same
        parameters = {id(tensor) for _, module in self.stack.tree for tensor in module._parameters.values()}

        def exchange(name: str, tensor: torch.Tensor) -> torch.Tensor:
            known = self.constants.of(tensor) if self.constants is not None else None
            if meta:
                made = tensor if tensor.is_meta and self.constants is not None else meta_twin(name, tensor)
            else:
                made = real_twin(name, tensor, known, weights)
                if known is None and tensor.is_meta and not tensor.is_floating_point():
                    self.made_up.append(name)  # of sizes and indices, zeros may be no example
            made, known = self._cast(made), known if known is None else self._cast(known)
            packed = recorder.packing.names.get(id(tensor))
            if id(tensor) in recorder.packing.biases or (id(tensor) in parameters and packed is None):
                recorder.bind(made, Value("param", params=(name,)))
            else:
                real = known if tensor.is_meta else self._cast(tensor.detach())
                names = () if packed is None else (packed,)
                recorder.bind(made, replace(found(name, real if meta else made), packed=names))
            return made

        convert = without_storage if meta else partial(as_real, numbers=weights)
        threads = one_thread() if meta else nullcontext()
        plain = None if meta else self._filling(weights)
        mode = torch.enable_grad() if self.gradients else torch.no_grad()
        # torch's fuser knows no device without storage
        plainly = torch.jit.optimized_execution(False)  # type: ignore[attr-defined]
        with threads, mode, plainly, doubled(self.model, exchange, self.training, plain) as double:
            self.stack.follow(double)
            for name, tensor in recorder.frozen.items():
                recorder.bind(tensor, Value("param", params=(name,)))
            if self.constants is not None and meta:
                self.constants.hand_over(recorder)
            inputs = Inputs(recorder, self.names, lambda tensor: self._cast(convert(tensor)), double.of)
            self.inputs, self.unvalued = inputs.declared, inputs.unvalued
            args, kwargs = inputs.all(self.model, self.args, self.kwargs)
            self.given = len(recorder._slots)
            composite = CompositeMode(recorder, self.gradients)
            with outside(double.modules if meta else (), recorder.is_own), recorder, composite:
                result = double.model(*args, **kwargs)
                if isinstance(result, GeneratorType):
                    result = list(result)
            made = [recorder.value_of(tensor) for tensor in map(rows_of, tensors_in(result))]
            recorder.orders.end(made)
            self.outputs = [value.ref for value in made if value.ref is not None]
        if not self.outputs:
            given = "None" if result is None else f"an object of type {type(result).__name__}"
            self.outputs = recorder.tape.ends()
            if not self.outputs:
                raise TraceError(
                    f"{self.name}: its forward pass returned no tensor that was computed from its inputs, but {given}"
                )
            recorder.tape.notices.append(
                f"the forward pass returned no tensor that was computed from its inputs, but {given}: what no op reads"
                " stands for its results"
            )

    def _cast(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of the pass in the type that was asked for."""
        if self.dtype is None or not tensor.is_floating_point() or tensor.dtype == self.dtype:
            return tensor
        if isinstance(tensor, nn.Parameter):
            return nn.Parameter(tensor.detach().to(self.dtype), requires_grad=tensor.requires_grad)
        return tensor.to(self.dtype)

    def _typed(self, param: Param) -> Param:
        """A parameter with the type that it had in the pass."""
        own = getattr(torch, param.dtype, None) if self.dtype is not None and param.stored is None else None
        is_cast = isinstance(own, torch.dtype) and own.is_floating_point
        return replace(param, dtype=str(self.dtype).removeprefix("torch.")) if is_cast else param

    def finish(self) -> tuple[str, ...]:
        """The pass is over; what the model's code still holds of it where that cannot be taken out."""
        self.stack.finish()
        self.recorder.tape.failure = None  # the model caught it; its traceback holds what was under way
        return release(self.recorder.let_go(self.given))

    def _filling(self, weights: torch.Generator) -> Callable[[torch.Tensor], torch.Tensor]:
        """What stands in a real pass for tensors that are neither parameters nor buffers: real ones for all."""
        named = attributes(self.stack.modules)
        made: dict[int, torch.Tensor] = {}

        def fill(tensor: torch.Tensor) -> torch.Tensor:
            if not tensor.is_meta:
                return tensor
            if id(tensor) not in made:
                name = named[id(tensor)][1] if id(tensor) in named else "a tensor without a name"
                known = self.constants.of(tensor) if self.constants is not None else None
                made[id(tensor)] = real_twin(name, tensor, known, weights)
                if known is None:
                    self.made_up.append(name)
            return made[id(tensor)]

        return fill

    def again(self, why: str) -> None:
        """Run the model on real numbers, for that reason. Raises `TraceError` where it fails, too."""
        try:
            self.take_storage(why)
            self.attempt(meta=False)
        except Exception as error:
            filled = ", ".join(list(dict.fromkeys(self.made_up))[:3])
            more = f"; zeros stood for {filled}, which has no numbers on the meta device: build the model on the CPU"
            raise self.explain(error, more if filled else "") from error

    # --- results ------------------------------------------------------------------------------------------------------

    def graph(self, notices: Sequence[str], axes: Mapping[str, Mapping[str, int]], separator: str) -> LayerGraph:
        """The graph of the recorded pass."""
        modules = self.stack.tree
        held = Holdings(modules, self.recorder)
        classes = {name: class_of(module).__name__ for name, module in modules}
        nodes = build_nodes(self.recorder.tape.records, classes, separator)
        inputs = [input_info(nodes, name, ref, axes, self.batched) for name, ref in self.inputs]
        return graphs.build(
            nodes,
            model=self.name,
            inputs=inputs,
            outputs=list(dict.fromkeys(self.outputs)),
            params=[self._typed(param) for param in params_of(held.weights, nodes)],
            buffers=held.buffers,
            calls=self.stack.calls,
            masks=dict(enumerate(self.recorder.tape.masks)),
            meta=self._meta(notices),
        )

    def _meta(self, notices: Sequence[str]) -> dict[str, Any]:
        """What the graph says of its making: among it the inputs whose given values decide, which stay as they are."""
        meta: dict[str, Any] = {"torch": torch.__version__, "training": self.training, "notices": list(notices)}
        if self.recorder.tape.asked:
            meta["asked"] = list(self.recorder.tape.asked)
        meta |= {"gradients": True} if self.gradients else {}
        decided = [name for name, _ in self.inputs if name in self.recorder.decided]
        given = [name for name in decided if name not in self.unvalued]
        zeros = [name for name in decided if name in self.unvalued]
        said = [*notices]
        if given:
            said.append(f"the values given for {', '.join(given)} decide what is computed and read")
        if zeros:
            said.append(f"zeros stand for {', '.join(zeros)}, whose values decide what is computed: give them")
        if self.made_up:
            filled = ", ".join(dict.fromkeys(self.made_up))
            said.append(f"built without storage, and filled with made-up numbers: {filled}")
        if self.recorder.placed:
            said.append(f"the model names the device {', '.join(self.recorder.placed)}: taken as that of the trace")
        meta["notices"] = said
        if decided:
            meta["given"] = decided
        return meta

    def take_storage(self, why: str) -> None:
        """Get ready for a pass on real numbers: a model built without memory is built again, as its own code starts it.

        Raises `TraceError` where the weights do not fit into memory.
        """
        if self.weight > free_memory():
            raise TraceError(
                f"{self.name} cannot be traced without numbers, for {why}, and its weights take"
                f" {gibibytes(self.weight)}, more than this machine has free"
            )
        if self.constants is not None and any(tensor.is_meta for tensor in self.model.parameters()):
            with Drawing():
                self.model, self.constants = self.constants.factory(), None

    def explain(self, error: Exception, more: str = "") -> Exception:
        """The failure as one line: the layer, what it received, what it needed."""
        return explain(error, self.model, self.name, self.stack, self.recorder.tape, self.inputs, more)
