"""The tracer: one forward pass under a dispatch mode and a function mode, every op recorded as a `Record`.

`Recorder` sees each aten op with its real arguments, whatever the Python control flow. Ops on constants alone are
computed for real and leave no record; so do views and casts of parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch._ops import OpOverload

from rfcalc import reads
from rfcalc.graph import Read, Ref
from rfcalc.ops import SPARSE, Arg, Call, Effect, Known, effect_of
from rfcalc.tracing import buffers, kernels, nested, operands, outlines
from rfcalc.tracing.elements import learn, of_parts
from rfcalc.tracing.frozen import frozen_weights
from rfcalc.tracing.known import BY_INDEX, Numbers, copied, unnumbered, with_numbers
from rfcalc.tracing.modes import DispatchMode
from rfcalc.tracing.modules import ModuleStack, Scope
from rfcalc.tracing.naming import name_of
from rfcalc.tracing.numbers import OwnNumbers
from rfcalc.tracing.orders import Args, Orders
from rfcalc.tracing.packed import PackedWeights, is_packed
from rfcalc.tracing.places import Spot
from rfcalc.tracing.schema import Schema, schema_of
from rfcalc.tracing.standing import Stands, note_weight, packing_of, takes_weights
from rfcalc.tracing.strides import as_on_cpu
from rfcalc.tracing.tape import Failure, Record, Tape
from rfcalc.tracing.tensors import (
    SEQUENCES,
    all_of,
    as_arg,
    everything,
    in_shape,
    info,
    is_plain,
    numbers,
    reads_of_output,
    relabels,
    tensors_in_args,
    without_storage,
)
from rfcalc.tracing.values import Anew, Holds, Ordered, Slot, Value, invert, packed_of

#: Effects of these kinds on parameters alone are views of the parameter, not work.
_VIEW_KINDS = frozenset({"reshape", "copy", "cast"})
_NO_LAYOUT = (None, 0)
#: Composite functions that torch runs otherwise for other strides.
_BY_LAYOUT = frozenset({"torch.scaled_dot_product_attention"})


class Recorder(Numbers, DispatchMode):
    """Records every op. ``meta``: tensors without storage take the place of real ones."""

    supports_higher_order_operators = True

    def __init__(self, stack: ModuleStack, *, meta: bool = True, orders: bool = True, seed: int = 0) -> None:
        Numbers.__init__(self, meta=meta)
        DispatchMode.__init__(self)  # type: ignore[no-untyped-call]
        self.tape = Tape()
        self.noted = operands.fresh()  #: what goes into ops beside the data, where somebody asks
        self.higher: Callable[..., Any] | None = None  #: follows an op that has functions among its arguments
        self._stack = stack
        self._drawn = OwnNumbers(seed)
        self._whole = 0  #: depth of composite functions under way
        self._attributes: dict[int, tuple[torch.Tensor, str]] | None = None  #: of modules, with their names
        self._layouts: dict[int, tuple[tuple[int, ...], int]] = {}  #: of arguments of ops that read by layout
        self.packed = PackedWeights(stack.modules)
        self.packing = packing_of(stack.modules)
        self.frozen = frozen_weights(stack.modules)
        self.stands: dict[str, Stands] = {}  #: what packed tensors stand for, as ops showed it
        self.orders = Orders(assumed=meta and orders)

    # --- values -------------------------------------------------------------------------------------------------------

    def input(self, name: str, tensor: torch.Tensor, numbers: torch.Tensor | None = None) -> Ref:
        """Declare an input of the model; it becomes a node. ``numbers`` are its values, where they are known."""
        effect = Effect("input")
        scope = Scope(name, "", True, 0)
        ref = self.add(Record("input", scope, effect, (), (info(tensor),), ((),), ()))
        self.bind(tensor, Value("data", ref, real=numbers, given=() if numbers is None else (name,)))
        return ref

    def found(self, tensor: torch.Tensor, real: torch.Tensor | None) -> Value:
        """What a constant holds that forward finds: under the name of the attribute that it is, if it is one.

        One that is none is made by the code that uses it.
        """
        if self._attributes is None:
            self._attributes = buffers.attributes(self._stack.modules)
        _, name = self._attributes.get(id(tensor), (None, ""))
        return buffers.found(name, real) if name else Value("const", real=real, borrowed=True)

    @property
    def scope(self) -> Scope:
        """The module call under way."""
        return self._stack.current

    @property
    def spot(self) -> Spot:
        """Where the model's code called torch last."""
        return self._stack.spot

    def look(self, caller: FrameType, keeps: bool | None = None) -> None:
        """Find the module calls under way of which nothing tells, before a call of torch's; one may set ``keeps``."""
        self._stack.look(caller) if keeps is None else self._stack.keeping.told(keeps, caller)

    def _rederive(self, slot: Slot, parent: Slot) -> Value:
        self._unrepeatable()
        if slot.value.role == "const" and parent.value.role == "const":  # its real twin shares memory with the parent's
            return replace(buffers.derived(slot.value, parent.value), packed=slot.value.packed)
        steps = self.steps_of(slot)
        if not steps:
            return parent.value
        if parent.value.ref is None:
            return Value(parent.value.role, params=parent.value.params)
        arg = self._arg(parent.tensor, unnumbered(parent.value))
        effect = Effect("reshape", [(arg, steps)])
        args = [(arg, parent.value)]
        ordered = self._ordered("aten.view", args, effect, [slot.tensor])
        ref = self._node("aten.view", effect, args, [slot.tensor])
        if parent.value.given and slot.value.real is not None:  # in the memory of the parent's
            return Value(parent.value.role, ref, real=slot.value.real, given=parent.value.given)
        made = Value(parent.value.role, ref)
        learn(made, of_parts([(arg, steps)], slot.tensor.ndim), effect, args)
        made.ordered = ordered[0] if ordered else None
        return made

    # --- recording ----------------------------------------------------------------------------------------------------

    def add(self, record: Record) -> Ref:
        """Append a record, which notes where in the model's code it stands."""
        record.frozen, record.again, record.scan = not self._stack.keeping.on, self._stack.again, self._stack.scan
        return self.tape.add(record)

    def _node(
        self,
        op: str,
        effect: Effect,
        args: Sequence[tuple[Arg, Value]],
        outs: Sequence[torch.Tensor],
        known: bool = True,
    ) -> Ref:
        """Append a record; the inputs are the computed arguments in order."""
        at: dict[int, int] = {}
        refs: list[Ref] = []
        names = dict.fromkeys([name for _, value in args for name in value.params])
        depends = any(value.role == "data" for _, value in args)
        for arg, value in args:
            if value.ref is not None:
                at[id(arg)] = len(refs)
                refs.append(value.ref)
        rows = tuple(
            [
                tuple([Read(at[id(arg)], steps) for arg, steps in effect.reads_of(number) if id(arg) in at])
                for number in range(len(outs))
            ]
        )
        self.noted.node(self, effect, args, len(outs))
        scope, function, spot = self._stack.current, name_of(self.function), self._stack.spot
        effect.sure = tuple([at[id(arg)] for arg in effect.sure if id(arg) in at and effect.inexact])
        effect.reads = ()  # the rows say it, without the arguments
        told = tuple(refs), tuple(map(info, outs)), rows, tuple(names), known, depends, function, spot
        return self.add(Record(op, scope, effect, *told))

    def record(
        self,
        op: str,
        named: Mapping[str, Any],
        outs: Sequence[torch.Tensor],
        beside: Sequence[torch.Tensor] = (),
        reals: Sequence[torch.Tensor] | None = None,
    ) -> list[Value]:
        """Apply the op's rule and append a record; returns the values of the outputs, none for an op that has none.

        ``beside`` are tensors that the op wrote without giving them back. They are outputs of the record, too, after
        the others; unless the rule says how they are read, they read everything. ``reals`` are the numbers of the
        outputs, where they are known.
        """
        returned, outs = len(outs), [*outs, *beside]
        args, effect, known = self._ruled(op, named, outs, self._held_for(op, reals))
        self._note_asked(effect, args, reals)
        if returned and beside:
            effect.reads = [reads_of_output(effect, number, returned, out, args) for number, out in enumerate(outs)]
            effect.each = True
        role = "data" if any(value.role == "data" for _, value in args) else "param"
        if role == "data":
            effect.leans = buffers.leaning(effect, args)
        if role == "param" and effect.kind in _VIEW_KINDS:
            params = tuple(dict.fromkeys(name for _, value in args for name in value.params))
            computed = [value.ref for _, value in args if value.ref is not None]
            if not computed:
                return [Value("param", None, params) for _ in outs]
        packed = packed_of(value for _, value in args) if role == "param" and op not in BY_INDEX else ()
        begins = self.orders.begin(op, args, effect)
        ordered = self._ordered(op, args, effect, outs, named)
        ref = self._node(op, effect, args, outs, known)
        self.noted.call(ref.node, effect.kind, named)
        values = [Value(role, Ref(ref.node, number), packed=packed) for number in range(len(outs))]
        if values:
            first = Known(effect.blocked, effect.zero, effect.true)
            for value, one in zip(values, (first, *effect.beyond), strict=False):
                learn(value, one, effect, args)
        for value, order in zip(values, ordered, strict=False):
            value.ordered = order
        if begins:
            self._unrepeatable()
            self.orders.begun(ref.node, args, values)
        if reals is None or (ordered and not any(ordered)):
            return values
        held = [self.value_of(tensor) for tensor in tensors_in_args(named.values())]
        return [with_numbers(value, real, held) for value, real in zip(values, reals, strict=True)]

    def _ordered(
        self, op: str, args: Args, effect: Effect, outs: Sequence[torch.Tensor], named: Mapping[str, Any] | None = None
    ) -> Sequence[Ordered | None]:
        """What the results are in the order of, () where no argument is in any."""
        if not self.orders.concern(args):
            return ()
        self._unrepeatable()
        return self.orders.follow(op, args, effect, list(map(info, outs)), self.tape.masks, named)

    def _ruled(
        self, op: str, named: Mapping[str, Any], outs: Sequence[torch.Tensor], held: Holds | None = None
    ) -> tuple[list[tuple[Arg, Value]], Effect, bool]:
        """The tensor arguments of a call, what its rule says of it, and whether it has one.

        ``held`` says what a tensor holds, without: what it holds now.
        """
        args: list[tuple[Arg, Value]] = []
        weighed = bool(self.packing.main) and held is None and takes_weights(op)
        held = held or (partial(self.weight_of, op=op) if weighed else self.value_of)
        given = {name: self._seen(value, args, held) for name, value in named.items()}
        call = Call(op, given, list(map(info, outs)), self.stored)
        effect = effect_of(call)
        if weighed and effect is not None:
            note_weight(self.packing, self.stands, args, effect)
        return args, effect or everything(op, call), effect is not None and effect.kind != "unknown"

    def _seen(self, value: Any, args: list[tuple[Arg, Value]], held_by: Holds) -> Any:
        """A value among the arguments as a rule sees it; tensors are noted in ``args``."""
        if isinstance(value, torch.Tensor):
            held = held_by(value)
            arg = self._arg(value, held)
            args.append((arg, held))
            return arg
        if isinstance(value, SEQUENCES):
            return tuple(value) if is_plain(value) else tuple([self._seen(item, args, held_by) for item in value])
        return self.packed.as_seen(value, self.scope.name, args) if is_packed(value) else value

    def _arg(self, tensor: torch.Tensor, held: Value) -> Arg:
        return as_arg(tensor, held, self._numbers, self._anew_numbers, *self._layouts.get(id(tensor), _NO_LAYOUT))

    def _anew_numbers(self, held: Value) -> np.ndarray | None:
        self._unrepeatable()
        other = held.anew.tensor if held.anew is not None else None
        names = buffers.weighed([held])
        if held.real is not None and len(names) == 1 and buffers.is_zeros_and_ones(held.real):
            self.tape.unread[names[0]] = None
        return None if other is None else numbers(other)

    def stored(self, mask: np.ndarray) -> int:
        """The number of a mask on the tape, where it is stored if it is not yet."""
        key = self.tape.intern(mask)
        if self.watch is not None:
            self.watch.masks.append((mask, key))
        return key

    # --- the dispatcher -----------------------------------------------------------------------------------------------

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if types and nested.is_jagged(types):
            return NotImplemented
        kwargs = dict(kwargs) if kwargs else {}
        if self._whole:
            return self._run(func, args, kwargs)
        if self.higher is not None and not isinstance(func, OpOverload):
            with self:
                return self.higher(func, args, kwargs)
        func = kernels.without_numbers(func, kwargs)
        schema = schema_of(func)
        nested.refuse_strided(schema.name)
        tensors = tensors_in_args((*args, *kwargs.values()))
        if self.any_foreign(tensors):
            args, kwargs = self.twinned(args), {name: self.twinned(value) for name, value in kwargs.items()}
            tensors = tensors_in_args((*args, *kwargs.values()))
        if schema.scalar:
            return self._scalar(func, args, kwargs)
        if schema.name == "aten.as_strided_" and relabels(*args, **kwargs):
            self._unrepeatable()
            return self._relabel(func, args, kwargs)
        held = [self.value_of(tensor) for tensor in tensors]
        fixed = schema.like or all(value.role == "const" for value in held)
        if self.meta and "device" in kwargs and tensors and any(tensor.is_meta for tensor in tensors):
            kwargs["device"] = torch.device("meta")
        if schema.lazy:
            self._unrepeatable()
            self.lazy = True
        if "as_strided" in schema.name:
            self._unrepeatable()  # where in its memory a tensor begins counts
            self._layouts = {id(tensor): (tensor.stride(), int(tensor.storage_offset())) for tensor in tensors}
        before = self._set_aside(tensors[0]) if schema.reshapes else None
        try:
            if fixed and self.meta and (known := self._computed(schema, func, args, kwargs, held)) is not None:
                return known
            shaped = kernels.shaped(schema, args, kwargs) if self.meta else None
            result = self._run(func, args, kwargs) if shaped is None else shaped
        except Exception as error:
            result = self._instead(schema, func, args, kwargs, held, error)
        if before is not None:
            self._reshape(schema, (before, *args[1:]), tensors[0])
        elif fixed:
            self._fold(schema, func, args, kwargs, result)
        else:
            self._follow(schema, func, args, kwargs, held, result)
        self._layouts = {}
        self.tidy()
        return result

    def _run(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The op itself, on random numbers of the pass's own."""
        schema = schema_of(func)
        run = outlines.result if self.meta and schema.laid else self._drawn.call
        return as_on_cpu(schema.name, args, run(func, args, kwargs))

    def asked_of(self, held: Sequence[Value]) -> None:
        """Note the buffers of which forward asked for a number."""
        self.tape.asked.update(dict.fromkeys((*buffers.united(held), *buffers.weighed(held))))

    def fail(
        self, op: str, tensors: Iterable[torch.Tensor], error: Exception | None = None, refused: bool = False
    ) -> None:
        """Remember where an op was refused, and whether on real tensors of the same shapes, too.

        The last refusal counts: a model that catches one goes on.
        """
        shapes = tuple(tuple(tensor.shape) for tensor in tensors)
        self.tape.failure = Failure(self._stack.current, op, shapes, error, refused)

    def _follow(
        self, schema: Schema, func: Any, args: Sequence[Any], kwargs: dict[str, Any], held: Sequence[Value], result: Any
    ) -> None:
        """An op on data or parameters: record it and place its results, through views and writes."""
        named, outs = schema.bind(args, kwargs), tensors_in_args((result,))
        written = tensors_in_args(schema.written_named(named))
        if not written and all(id(out) in self._slots for out in outs) and not schema.fresh:
            return  # ``contiguous`` and the like gave back their argument
        if schema.name == "aten.clone":  # the same in another place; whether that is needed depends on the device
            self.bind(result, copied(self.value_of(named["self"]), result))
            return
        beside = [tensor for tensor in written if not any(tensor is out for out in outs)]
        reals = None
        if not schema.random and not beside and any(value.given or value.ordered for value in held):
            into = [self.value_of(tensor) for tensor in written]
            reals = self._known_results(func, args, kwargs, held, outs, into)
        op = schema.name
        if any(tensor.layout is not torch.strided for tensor in (*tensors_in_args(named.values()), *outs, *beside)):
            op += SPARSE
        values = self.record(op, named, outs, beside, reals)
        for number, (out, value) in enumerate(zip([*outs, *beside], values, strict=True)):
            if any(out is tensor for tensor in written):
                self.write(self._slot(out), value)
            else:
                self._link(self.bind(out, value), schema, named, outs, number)

    def _link(
        self, slot: Slot, schema: Schema, named: Mapping[str, Any], outs: Sequence[torch.Tensor], number: int
    ) -> None:
        """Make the slot a view of its base, where the op gives views; how it reads the base is found when needed."""
        base = named.get(schema.base) if schema.views else None
        if isinstance(base, torch.Tensor):
            slot.parent = self._slot(base)
            slot.seen = slot.stamp = slot.parent.stamp
            slot.call = (schema.name, named, outs, number, self._layouts)

    def _set_aside(self, tensor: torch.Tensor) -> torch.Tensor:
        """A stand-in with the shape and the slot of a tensor that is about to change its shape in place."""
        self._unrepeatable()
        slot = self._slot(tensor)
        self._settle_views(slot)
        self._placed()
        slot.tensor = without_storage(tensor)
        self._slots[id(slot.tensor)] = slot
        return slot.tensor

    def _reshape(self, schema: Schema, args: Sequence[Any], tensor: torch.Tensor) -> None:
        """A tensor got another shape in place: it is a view now of what it was, the first of the arguments."""
        op, named = schema.name.removesuffix("_"), schema.bind(args, {})
        parent = self._slot(args[0])
        held = parent.value
        if held.role == "const":
            real = held.real if self.meta else tensor
            if self.meta and real is not None:
                real = in_shape(op, real, args, tensor)
            anew = Anew(held.anew.names) if held.anew is not None else None
            value = replace(held, real=real, anew=anew)
        else:
            reals = None
            if held.given and held.real is not None:
                real = held.real if self.meta else tensor
                reals = [in_shape(op, real, args, tensor) if self.meta else tensor]
            value = self.record(op, named, [tensor], reals=reals)[0]
        slot = self.bind(tensor, value)
        slot.parent, slot.seen, slot.stamp = parent, parent.stamp, parent.stamp
        slot.call = (op, named, [tensor], 0, {})

    def steps_of(self, slot: Slot) -> reads.Steps:
        """How a view reads its parent."""
        if slot.call is not None and slot.parent is not None:
            op, named, outs, number, self._layouts = slot.call
            args, effect, _ = self._ruled(op, named, outs, lambda tensor: self._slot(tensor).value)
            slot.call, self._layouts = None, {}
            slot.steps = next((steps for arg, steps in effect.reads_of(number) if arg is args[0][0]), ())
        return slot.steps

    def write(self, slot: Slot, value: Value) -> None:
        """A tensor got a new value: so did everything that it is a view of."""
        if self.watch is not None:
            self.watch.written.append((slot, value))
        self._current(slot)
        self._clock += 1
        slot.value, slot.stamp = value, self._clock
        child = slot
        while child.parent is not None:
            parent, real = child.parent, child.parent.value.real
            parent.value = self._written_through(parent, child, self.steps_of(child))
            if value.given and parent.value is not child.value:  # the numbers that were written lie in its memory
                parent.value = replace(parent.value, real=real, given=value.given if real is not None else ())
            parent.stamp = self._clock
            child.seen = self._clock
            child = parent

    def _written_through(self, parent: Slot, child: Slot, steps: reads.Steps) -> Value:
        if not steps:
            return child.value
        shape = tuple(parent.tensor.shape)
        new, old = (self._arg(slot.tensor, unnumbered(slot.value)) for slot in (child, parent))
        inverse, known = invert(steps, shape), Known()
        if inverse is None:
            effect = Effect(
                "merge", [all_of(new, len(shape)), (old, ())], inexact="written through a view that is no box"
            )
        else:
            back, keep = inverse
            parts = [(new, back), *([(old, keep)] if keep else [])]
            effect = Effect("merge" if keep and parent.value.ref else "copy", parts)
            known = of_parts(parts, len(shape))
        args = [(new, child.value), (old, parent.value)]
        ordered = self._ordered("aten.copy_slice", args, effect, [parent.tensor])
        ref = self._node("aten.copy_slice", effect, args, [parent.tensor])
        made = Value("data" if "data" in (child.value.role, parent.value.role) else "param", ref)
        learn(made, known, effect, args)
        made.ordered = ordered[0] if ordered else None
        return made

    # --- composite functions ------------------------------------------------------------------------------------------

    def whole(self, name: str, named: Mapping[str, Any], run: Callable[..., Any], call: Any = None) -> Any:
        """Run a composite function unseen and record it as one op. ``call`` is what runs: function and arguments."""
        tensors = tensors_in_args(named.values())
        if name in _BY_LAYOUT:
            self._layouts = {id(tensor): (tensor.stride(), 0) for tensor in tensors}
        func, args, kwargs = call or (None, (), {})
        held = [self.value_of(tensor) for tensor in tensors_in_args((*args, *kwargs.values()))]
        self._whole += 1
        try:
            try:
                result = as_on_cpu(name, tensors, run())
            except Exception as error:
                if func is None or not self.meta:
                    self.fail(name, tensors, error)
                    raise
                result = self.tried(name, func, args, kwargs, held, error)
            outs = tensors_in_args((result,))
            reals = self._known_results(func, args, kwargs, held, outs) if func is not None else None
            try:
                values = self.record(name, named, outs, reals=reals)
            except Exception as error:
                self.fail(name, tensors, error, refused=True)
                raise
        finally:
            self._whole -= 1
            self._layouts = {}
        for out, value in zip(outs, values, strict=True):
            self.bind(out, value)
        self.tidy()
        return result
