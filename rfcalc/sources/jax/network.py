"""A model of JAX's as a module of torch's: its arrays in the modules that have them, its primitives run one by one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import torch
from torch import nn

from rfcalc.errors import LoadError, TraceError
from rfcalc.sources.calling import Call, by_name, classes_of, modules_of
from rfcalc.sources.jax import control
from rfcalc.sources.jax.dtypes import array_of, is_key, on_meta, own_key, tensor_of, torch_of
from rfcalc.sources.jax.functions import Array, Function, Role, tensors_only
from rfcalc.sources.jax.marks import place_of
from rfcalc.sources.jax.plan import Body, Literal, Planner, Step
from rfcalc.sources.jax.rules import Op, Shaped, find
from rfcalc.sources.parts import Witnessed, part
from rfcalc.tracing.composite import whole
from rfcalc.tracing.lazy import Unshaped

#: Errors that a rule may raise for operands that do not fit.
_OWN = (KeyError, IndexError, TypeError, AttributeError, ZeroDivisionError, AssertionError, OverflowError)


class Origin(IntEnum):
    """What a value follows from."""

    CONSTANT = 0
    WEIGHT = 1
    DATA = 2


@dataclass(frozen=True)
class Held:
    """A value under way: a tensor or a Python number, and what it follows from."""

    value: Any
    origin: Origin


@dataclass(frozen=True)
class Program:
    """A function traced for inputs of certain shapes: its plan, and how its results are put together."""

    body: Body
    together: Callable[[Sequence[Any]], Any]


class Programs:
    """The programs of one function, made once for each kind of input. They never change and are shared by copies."""

    def __init__(self, function: Function, spec: str) -> None:
        self.function, self.spec = function, spec
        self._made: dict[Hashable, Program] = {}

    def __deepcopy__(self, memo: Any) -> Programs:
        return self

    def of(self, arrays: Sequence[Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], training: bool) -> Program:
        """The program for arrays and inputs like these, which are structs of shapes and types."""
        import jax

        leaves, form = jax.tree_util.tree_flatten((args, dict(kwargs)))
        key = (training, form, *map(_told, leaves), *map(_told, arrays))
        if key not in self._made:
            self._made[key] = self._trace(arrays, leaves, form, training)
        return self._made[key]

    def _trace(self, arrays: Sequence[Any], leaves: Sequence[Any], form: Any, training: bool) -> Program:
        import jax

        variable = [at for at, leaf in enumerate(leaves) if isinstance(leaf, jax.ShapeDtypeStruct)]

        def run(held: Sequence[Any], given: Sequence[Any]) -> Any:
            filled = list(leaves)
            for at, value in zip(variable, given, strict=True):
                filled[at] = value
            args, kwargs = jax.tree_util.tree_unflatten(form, filled)
            return self.function.call(held, args, kwargs, training)

        own = [] if self.function.closes else list(arrays)
        closed, shape = jax.make_jaxpr(run, return_shape=True)(own, [leaves[at] for at in variable])
        arrays_of = self.function.arrays
        lifted = [array.value for array in arrays_of] if self.function.closes else []
        planner = Planner(self.function.classes, [array.module for array in arrays_of], lifted)
        return Program(planner.plan(closed), _together(jax.tree_util.tree_structure(shape)))


def _told(leaf: Any) -> Hashable:
    shape, dtype = getattr(leaf, "shape", None), getattr(leaf, "dtype", None)
    return (tuple(shape), str(dtype)) if shape is not None else (type(leaf), repr(leaf))


def _together(form: Any) -> Callable[[Sequence[Any]], Any]:
    """Results in tuples, lists and dictionaries as the function gives them; those in other things in a row."""

    def together(values: Sequence[Any]) -> Any:
        import jax

        try:
            found = jax.tree_util.tree_unflatten(form, list(values))
        except Exception:  # of whoever made the class: it is for arrays
            return tuple(values)
        return found if isinstance(found, torch.Tensor | tuple | list | dict) else tuple(values)

    return together


# --- modules ----------------------------------------------------------------------------------------------------------


def network_of(function: Function, spec: str) -> nn.Module:
    """The function as a module whose forward takes its inputs."""
    base: type[nn.Module] = Network if function.initial is None else Uninitialised
    made = part(function.classes.get("", "function"), _with_signature(base, tensors_only(function.signature)))
    assert isinstance(made, Network | Uninitialised)
    made.take_over(function, spec)
    return made


def _with_signature(base: type[nn.Module], signature: inspect.Signature | None) -> type[nn.Module]:
    """The class with a forward that tells which inputs the function takes."""
    if signature is None:
        return base
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    kinds = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return base.forward(self, *args, **kwargs)

    try:
        forward.__signature__ = signature.replace(parameters=[own, *kinds])  # type: ignore[attr-defined]
    except ValueError:  # a positional parameter before those that have to be named
        return base
    return type(base.__name__, (base,), {"forward": forward})


class Uninitialised(Unshaped):
    """A model of Flax's linen or of Haiku, whose arrays exist once it has seen the shape of an input."""

    def take_over(self, function: Function, spec: str) -> None:
        """Keep the function."""
        self._programs = Programs(function, spec)

    def shaped(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> nn.Module:
        """The network with the arrays that these inputs give it."""
        function = self._programs.function
        assert function.initial is not None
        given, named = _structs((tuple(args), dict(kwargs)), {})
        try:
            found = function.initial(given, named, self.training)
        except Exception as error:  # of the model's code
            shapes = ", ".join(_size(leaf.shape) for leaf in _leaves((given, named)) if hasattr(leaf, "shape"))
            text = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise TraceError(f"{self._programs.spec} cannot run on input {shapes}: {text}") from error
        return network_of(found, self._programs.spec).train(self.training)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the network of these inputs gives."""
        return self.shaped(args, kwargs)(*args, **kwargs)


class Network(Witnessed):
    """A function with all its arrays. Each module of the model is a module here, with its parameters."""

    def take_over(self, function: Function, spec: str) -> None:
        """Make the modules and hold the arrays."""
        self._programs = Programs(function, spec)
        homes = dict.fromkeys([*(name for name in function.classes if name), *(a.module for a in function.arrays)])
        places = [(place_of(name, function.classes), "") for name in homes if name]
        parts = modules_of(self, classes_of(places))
        keys: list[tuple[str, str] | None] = []
        for array in function.arrays:
            keys.append(None if array.role is Role.HIDDEN else _hold(parts[array.module], array))
        self._keys = tuple(keys)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the function gives. Raises what its code raises while JAX traces it."""
        parts = by_name(self)
        held = [None if at is None else _own(parts[at[0]], at[1]) for at in self._keys]
        given = [value for value in _leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        wide = any(value.dtype is torch.float64 for value in given) and not _is_wide()
        floats: dict[torch.dtype, Any] = {torch.float64: "float32"} if wide else {}
        (positional, named), structs = _structs((args, kwargs), floats), []
        for array, tensor in zip(self._programs.function.arrays, held, strict=True):
            structs.append(array.value if tensor is None else _struct_of(tensor, array, floats))
        program = self._programs.of(structs, positional, named, self.training)
        away = next((x.device for x in given if x.device.type not in ("cpu", "meta")), None)
        run = _Run(parts, self._programs.spec, away, wide)
        pairs = zip(self._programs.function.arrays, held, strict=True)
        values = [Held(_key(array) if tensor is None else tensor, Origin.WEIGHT) for array, tensor in pairs]
        values += [Held(tensor, Origin.DATA) for tensor in given]
        found = run.body(program.body, values)
        return program.together([item.value for item in found])

    def own_passes(self, calls: Sequence[tuple[tuple[Any, ...], Mapping[str, Any]]]) -> list[list[torch.Tensor]]:
        """What JAX gives, compiled by XLA."""
        import jax

        parts, function = by_name(self), self._programs.function
        tensors = [None if at is None else _own(parts[at[0]], at[1]) for at in self._keys]
        pairs = zip(function.arrays, tensors, strict=True)
        held = [
            own_key(array.value) if tensor is None else array_of(tensor, array.value.dtype) for array, tensor in pairs
        ]
        run = jax.jit(lambda arrays, args, kwargs: function.call(arrays, args, kwargs, False))
        found = []
        with jax.default_device(jax.devices("cpu")[0]):
            for args, kwargs in calls:
                given, named = jax.tree_util.tree_map(_as_array, (args, dict(kwargs)))
                leaves = jax.tree_util.tree_leaves(run(held, given, named))
                found.append([tensor_of(leaf) for leaf in leaves])
        return found


def _as_array(leaf: Any) -> Any:
    import jax

    if not isinstance(leaf, torch.Tensor):
        return leaf
    return array_of(leaf, jax.dtypes.canonicalize_dtype(str(leaf.dtype).removeprefix("torch.")))


def _hold(module: nn.Module, array: Array) -> tuple[str, str]:
    registry: dict[str, Any] = module._parameters if array.role is Role.PARAMETER else module._buffers
    taken = {**module._parameters, **module._buffers, **module._modules}
    key, number = array.key, 1
    while key in taken:
        key, number = f"{array.key}_{number}", number + 1
    tensor = _tensor(array.value)
    registry[key] = nn.Parameter(tensor, tensor.is_floating_point()) if array.role is Role.PARAMETER else tensor
    return array.module, key


def _tensor(value: Any) -> torch.Tensor:
    """The array as a tensor, which has its numbers where there are any."""
    import jax

    return on_meta(value) if isinstance(value, jax.ShapeDtypeStruct) else tensor_of(value)


def _key(array: Array) -> torch.Tensor:
    return torch.zeros(tuple(array.value.shape), dtype=torch_of(array.value.dtype))


def _own(module: nn.Module, key: str) -> torch.Tensor:
    found = module._parameters.get(key)
    held = module._buffers[key] if found is None else found
    assert held is not None
    return held


def _leaves(value: Any) -> list[Any]:
    import jax

    return list(jax.tree_util.tree_leaves(value))


def _is_wide() -> bool:
    import jax

    return bool(jax.config.jax_enable_x64)


def _structs(value: Any, floats: Mapping[torch.dtype, Any]) -> Any:
    """Arguments with structs of shapes and types in place of tensors."""
    import jax

    def struct(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        dtype = floats.get(leaf.dtype, str(leaf.dtype).removeprefix("torch."))
        return jax.ShapeDtypeStruct(tuple(leaf.shape), jax.dtypes.canonicalize_dtype(dtype))

    return jax.tree_util.tree_map(struct, value)


def _struct_of(tensor: torch.Tensor, array: Array, floats: Mapping[torch.dtype, Any]) -> Any:
    """What JAX is told of an array: its own type, or that of a tensor that stands for it in another one."""
    import jax

    if not tensor.is_floating_point() or is_key(array.value.dtype):
        return jax.ShapeDtypeStruct(tuple(array.value.shape), array.value.dtype)
    dtype = str(tensor.dtype).removeprefix("torch.")
    own = array.value.dtype if tensor.dtype in floats else jax.dtypes.canonicalize_dtype(dtype)
    return jax.ShapeDtypeStruct(tuple(tensor.shape), own)


# --- running ----------------------------------------------------------------------------------------------------------


class _Run:
    """One pass. ``device`` is where constants go, None where they stay; ``wide`` has all numbers with a fraction in
    float64."""

    def __init__(self, parts: Mapping[str, nn.Module], spec: str, device: torch.device | None, wide: bool) -> None:
        self._parts, self._spec, self._device, self._wide = parts, spec, device, wide

    def body(self, body: Body, given: Sequence[Held], around: Mapping[int, Held] | None = None) -> list[Held]:
        """What a program gives."""
        values = {**(around or {}), **dict(zip(body.takes, given, strict=True))}
        for name, array in body.constants.items():
            values[name] = Held(self._here(self._typed(tensor_of(array))), Origin.CONSTANT)
        self._call(body.call, values)
        return [
            Held(torch.as_tensor(_number(atom.value), dtype=self._dtype(shape)).expand(shape.shape), Origin.CONSTANT)
            if isinstance(atom, Literal)
            else values[atom]
            for atom, shape in zip(body.gives, body.gives_shapes, strict=True)
        ]

    def _call(self, call: Call[Step], values: dict[int, Held]) -> tuple[Any, ...]:
        for step in call.steps:
            if not isinstance(step, Call):
                self._step(step, values)
                continue
            module = self._parts.get(step.name)
            if module is None:
                self._call(step, values)
            else:
                given = [values[name].value for name in step.reads if name in values]
                module(lambda inner=step: self._call(inner, values), *given)
        return tuple(values[name].value for name in call.gives)

    def _step(self, step: Step, values: dict[int, Held]) -> None:
        inputs = [
            Held(_number(atom.value), Origin.CONSTANT) if isinstance(atom, Literal) else values[atom]
            for atom in step.reads
        ]
        origin = max((item.origin for item in inputs), default=Origin.CONSTANT)
        try:
            if step.bodies:
                found = control.run(step, inputs, lambda body, given: self.body(body, given, values), Held)
            else:
                made = self._apply(step, inputs)
                found = [Held(value, origin) for value in made]
        except (RuntimeError, ValueError) as error:
            if error.args and isinstance(error.args[0], str) and not error.args[0].startswith("primitive "):
                error.args = (f"{_label(step)}: {error.args[0]}", *error.args[1:])
            raise
        except _OWN as error:
            raise ValueError(f"{_label(step)}: {type(error).__name__}: {error}") from error
        for name, item in zip(step.gives, found, strict=True):
            values[name] = item

    def _apply(self, step: Step, inputs: Sequence[Held]) -> list[Any]:
        rule = find(step.primitive)
        gives = tuple(self._shape(shape) for shape in step.gives_shapes)
        op = Op(
            step.primitive,
            dict(step.params),
            tuple(self._shape(shape) for shape in step.takes_shapes),
            gives,
            tuple(item.origin is Origin.WEIGHT for item in inputs),
            tuple(item.origin is Origin.CONSTANT for item in inputs),
        )
        operands = [self._here(item.value) for item in inputs]
        if rule is None:
            return self._unruled(step, op, operands)
        found = rule(op, *operands)
        found = found if isinstance(found, list) else [found]
        return [self._fitted(value, shape) for value, shape in zip(found, gives, strict=True)]

    def _unruled(self, step: Step, op: Op, operands: Sequence[Any]) -> list[Any]:
        """A primitive without a rule: an op of which nothing is known but the shapes of its results.

        On real numbers JAX computes them.
        """
        tensors = [value for value in operands if isinstance(value, torch.Tensor)]
        if not tensors or any(value.device.type not in ("cpu", "meta") for value in tensors):
            raise LoadError(f"{self._spec}: there is no rule for the primitive {op.name}")

        def run() -> list[Any]:
            if any(value.is_meta for value in tensors):
                return [torch.empty(shape.shape, dtype=shape.dtype, device="meta") for shape in op.gives]
            return _by_jax(step.equation, operands)

        return list(whole(f"jax.{op.name}", {f"operand{at}": value for at, value in enumerate(operands)}, run))

    def _fitted(self, value: Any, shape: Shaped) -> Any:
        """A result in its type. Raises ValueError for one of another shape."""
        if not isinstance(value, torch.Tensor):
            value = torch.tensor(value, dtype=shape.dtype)
        if tuple(value.shape) != shape.shape:
            raise ValueError(f"it gave {_size(value.shape)} where JAX gives {_size(shape.shape)}")
        whole_numbers = not (value.dtype.is_floating_point or value.dtype.is_complex or value.dtype is torch.bool)
        wanted = not (shape.dtype.is_floating_point or shape.dtype.is_complex or shape.dtype is torch.bool)
        return value if value.dtype is shape.dtype or (whole_numbers and wanted) else value.to(shape.dtype)

    def _shape(self, shape: Shaped) -> Shaped:
        return replace(shape, dtype=self._dtype(shape)) if self._wide else shape

    def _dtype(self, shape: Shaped) -> torch.dtype:
        return torch.float64 if self._wide and shape.dtype.is_floating_point else shape.dtype

    def _typed(self, value: torch.Tensor) -> torch.Tensor:
        return value.double() if self._wide and value.is_floating_point() else value

    def _here(self, value: Any) -> Any:
        if self._device is None or not isinstance(value, torch.Tensor) or value.device == self._device:
            return value
        return value.to(self._device)


def _by_jax(equation: Any, operands: Sequence[Any]) -> list[Any]:
    """What JAX computes for a primitive."""
    pairs = zip(operands, equation.invars, strict=True)
    given = [array_of(torch.as_tensor(value), variable.aval.dtype) for value, variable in pairs]
    found = equation.primitive.bind(*given, **equation.params)
    return [tensor_of(value) for value in (found if equation.primitive.multiple_results else [found])]


def _number(value: Any) -> Any:
    """A literal as Python's number; what has extents as a tensor."""
    if isinstance(value, int | float | complex):
        return value
    return value.item() if getattr(value, "shape", ()) == () else tensor_of(value)


def _label(step: Step) -> str:
    where = f" in {step.place.names[-1]}" if step.place and step.place.names else ""
    shapes = ", ".join(_size(shape.shape) for shape in step.takes_shapes)
    return f"primitive {step.primitive}{where} of {shapes or 'nothing'}"


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a scalar"


__all__ = ["Network", "Uninitialised", "network_of"]
