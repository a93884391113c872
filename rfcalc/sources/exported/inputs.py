"""The tensors that an exported program takes: their names, and the sizes that it was exported for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, TensorArgument
from torch.utils import _pytree as pytree

from rfcalc.errors import TraceError


@dataclass(frozen=True)
class Taken:
    """A tensor that the program takes. ``shape`` has a sympy expression where an extent was left open.

    ``example`` is the tensor that it was exported with, None where the file has none.
    """

    name: str
    shape: tuple[int | sympy.Expr, ...]
    dtype: torch.dtype
    example: torch.Tensor | None

    @property
    def usual(self) -> tuple[int | None, ...]:
        """The shape without batch: of the example, or else with None where an extent was left open."""
        shape = self.shape if self.example is None else self.example.shape
        return tuple(extent if isinstance(extent, int) else None for extent in shape[1:])


def taken(program: ExportedProgram) -> list[Taken]:
    """The tensors that the program takes, in order, named as in the original: ``image``, ``pair.0``, ``batch.mask``."""
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    specs = [spec for spec in program.graph_signature.input_specs if spec.kind == InputKind.USER_INPUT]
    examples = example_leaves(program)
    found = []
    for spec, path, example in zip(specs, _paths(program), examples, strict=True):
        if isinstance(spec.arg, TensorArgument):
            value = values[spec.arg.name]
            name = "input" if len(specs) == 1 and not path else _name(spec.arg.name, path)
            shape = tuple(extent if isinstance(extent, int) else extent.node.expr for extent in value.shape)
            found.append(Taken(name, shape, value.dtype, example))
    return found


def example_leaves(program: ExportedProgram) -> list[Any]:
    """The arguments that the program was exported with, one for each that it takes; None where the file has none."""
    if program.example_inputs is None:
        count = sum(spec.kind == InputKind.USER_INPUT for spec in program.graph_signature.input_specs)
        return [None] * count
    leaves: list[Any] = pytree.tree_leaves(program.example_inputs)
    return leaves


def _paths(program: ExportedProgram) -> Iterator[tuple[str, ...]]:
    """For each argument that the program takes, the keys that lead to it inside the parameter of forward."""
    spec = program.call_spec.in_spec
    nested = pytree.tree_unflatten(range(spec.num_leaves), spec)
    for path, _ in pytree.tree_flatten_with_path(nested)[0]:
        yield tuple(_key(key) for key in path[2:])


def _key(key: Any) -> str:
    """The index, key or attribute by which pytree names a part of an argument."""
    return str(next(getattr(key, kind) for kind in ("idx", "key", "name") if hasattr(key, kind)))


def _name(placeholder: str, path: Sequence[str]) -> str:
    """torch joins the parameter's name and the keys by underscores."""
    return ".".join((placeholder.removesuffix("_" + "_".join(path)), *path)) if path else placeholder


class Sizes:
    """The sizes that a program was exported for, to hold tensors against."""

    def __init__(self, takes: Sequence[Taken], ranges: Mapping[Any, Any]) -> None:
        self._takes = takes
        self._ranges = {symbol: (_number(found.lower), _number(found.upper)) for symbol, found in ranges.items()}
        symbols = dict.fromkeys(
            symbol for one in takes for extent in one.shape for symbol in sorted(_symbols(extent), key=str)
        )
        self._letters = dict(zip(symbols, sympy.symbols("A:Z"), strict=False))

    def check(self, name: str, tensors: Sequence[torch.Tensor]) -> None:
        """Raises `TraceError` for a tensor that the program called ``name`` cannot take."""
        known: dict[Any, int] = {}
        for one, tensor in zip(self._takes, tensors, strict=True):
            if one.dtype.is_floating_point != tensor.is_floating_point() or not self._fits(one, tensor.shape, known):
                dtype = str(one.dtype).removeprefix("torch.")
                given = f"{'x'.join(map(str, tensor.shape))} ({str(tensor.dtype).removeprefix('torch.')})"
                raise TraceError(
                    f"{name} was exported for {one.name} {self._text(one)} ({dtype}) and cannot take {given}:"
                    " export it with other example inputs, or with dynamic_shapes"
                )

    def _fits(self, one: Taken, shape: Sequence[int], known: dict[Any, int]) -> bool:
        return len(shape) == len(one.shape) and all(
            self._extent_fits(extent, size, known) for extent, size in zip(one.shape, shape, strict=True)
        )

    def _extent_fits(self, extent: int | sympy.Expr, size: int, known: dict[Any, int]) -> bool:
        """Whether an extent can have that size, given what the symbols stand for so far; adds to it."""
        unknown = [symbol for symbol in _symbols(extent) if symbol not in known]
        if len(unknown) == 1:  # a multiple of one symbol and a number more, nothing else can be asked for
            symbol, plain = unknown[0], sympy.sympify(extent).subs(known)
            slope = plain.subs(unknown[0], 1) - plain.subs(unknown[0], 0)
            value = (size - plain.subs(unknown[0], 0)) / slope
            if not self._allowed(symbol, int(value)):
                return False
            known[symbol] = int(value)
        return bool(sympy.sympify(extent).subs(known) == size)

    def _allowed(self, symbol: Any, value: int) -> bool:
        lower, upper = self._ranges.get(symbol, (0, None))
        # torch writes 2 for "no lower bound", because it treats 0 and 1 apart, and does not hold anyone to it
        return value >= (lower if lower is not None and lower > 2 else 0) and (upper is None or value <= upper)

    def _text(self, one: Taken) -> str:
        dims = [str(sympy.sympify(extent).subs(self._letters)).replace("*", "") for extent in one.shape]
        bounds = [
            f"{self._letters.get(symbol, symbol)} {self._bounds(symbol)}"
            for symbol in dict.fromkeys(symbol for extent in one.shape for symbol in sorted(_symbols(extent), key=str))
        ]
        return "x".join(dims) + (f" with {', '.join(bounds)}" if bounds else "")

    def _bounds(self, symbol: Any) -> str:
        lower, upper = self._ranges.get(symbol, (0, None))
        least = lower if lower is not None and lower > 2 else 1
        return f"from {least} to {upper}" if upper is not None else f"from {least} on"


def _symbols(extent: int | sympy.Expr) -> set[Any]:
    return set() if isinstance(extent, int) else set(extent.free_symbols)


def _number(bound: Any) -> int | None:
    return int(bound) if bound.is_finite and bound.is_Integer else None
