"""A model at any sizes of its symbols: in a stack's channels, in its arguments, in the shapes of its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rfcalc import sources
from rfcalc.analyses.analysis import Analysis
from rfcalc.comparing.fitting import Guess, Sizes
from rfcalc.errors import TraceError
from rfcalc.graph import InputInfo, LayerGraph
from rfcalc.sources import stack
from rfcalc.sources.naming.symbols import Multiple, Size, with_arguments


@dataclass(frozen=True)
class Symbol:
    """A size that is left open: what it stands for, and where to look for the sizes that it can have."""

    name: str
    meaning: str
    guess: Guess


@dataclass(frozen=True, eq=False)
class Family:
    """A model with symbols; ``at`` traces it with numbers for them. Without symbols, ``at({})`` is the model itself.

    ``spec`` is a text, a module or a graph. ``given`` are its inputs as for `rfcalc.trace`; where their sizes are
    symbols, ``shapes`` are those of ``inputs`` instead, in full, batch included, by name.
    """

    spec: Any
    given: Any = None
    axes: Any = None
    training: bool = False
    dtype: str | None = None
    symbols: tuple[Symbol, ...] = ()
    inputs: tuple[InputInfo, ...] = ()
    shapes: Mapping[str, tuple[Size, ...]] = field(default_factory=dict)
    _ready: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def guesses(self) -> dict[str, Guess]:
        """Where to look for the sizes of each symbol."""
        return {symbol.name: symbol.guess for symbol in self.symbols}

    def at(self, sizes: Sizes) -> Analysis:
        """The analysis at these sizes. Raises what tracing raises."""
        return Analysis(self._graph(*self.call(sizes)))

    def call(self, sizes: Sizes) -> tuple[Any, Any]:
        """The model at these sizes, and its inputs. Raises what loading raises."""
        if not sizes and isinstance(self.spec, str):
            return self.spec, self.given
        loaded = self.loaded(sizes)
        return loaded, self._call(loaded, sizes)

    def _graph(self, model: Any, inputs: Any) -> LayerGraph:
        return sources.resolve(model, inputs, axes=self.axes, training=self.training, dtype=self.dtype)

    def loaded(self, sizes: Sizes) -> Any:
        """The model, ready to be traced; kept for the next sizes, as loading may take longer than tracing."""
        from rfcalc.sources import ready

        spec = numeric(self.spec, sizes) if isinstance(self.spec, str) else self.spec
        key = spec if isinstance(spec, str) else ""
        if key not in self._ready:
            self._ready.clear()
            self._ready[key] = ready(spec)
        return self._ready[key]

    def _call(self, loaded: Any, sizes: Sizes) -> Any:
        if not self.inputs:
            return self.given
        from rfcalc.sources.resized import call, usual_shapes

        usual = usual_shapes(loaded) if self.given is None else {}
        shapes = {
            name: tuple(number(size, sizes) for size in _with_usual(shape, usual.get(name, ())))
            for name, shape in self.shapes.items()
        }
        return call(loaded, self.inputs, shapes, isinstance(self.given, Mapping))


def _with_usual(shape: Sequence[Size], usual: Sequence[int | None]) -> list[Size]:
    """The shape with the extents that the model usually has, which its own symbols may change, but for its symbols."""
    full = [None] * (len(shape) - len(usual)) + list(usual)
    return [
        extent if extent is not None and isinstance(size, int) else size
        for size, extent in zip(shape, full, strict=True)
    ]


def numeric(spec: str, sizes: Sizes) -> str:
    """The text of a model with numbers for its symbols."""
    return stack.with_values(spec, sizes) if stack.matches(spec) else with_arguments(spec, sizes)


def number(size: Size, sizes: Sizes) -> int:
    """The number that a size is. Raises `TraceError` for a part of a symbol that does not come out even."""
    try:
        return size.at(sizes) if isinstance(size, Multiple) else size
    except ValueError as error:
        raise TraceError(str(error)) from error
