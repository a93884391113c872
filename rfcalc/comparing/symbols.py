"""The symbols of a model: those its user wrote, and the sizes of its inputs that he names; what each stands for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd, lcm
from typing import Any, TypeAlias

from rfcalc.analyses.analysis import Analysis
from rfcalc.comparing.family import Family, Symbol, number
from rfcalc.comparing.fitting import Guess
from rfcalc.errors import UsageError
from rfcalc.graph import InputInfo, LayerGraph
from rfcalc.sources import stack
from rfcalc.sources.inputs.values import given_among
from rfcalc.sources.naming.symbols import NAME, Multiple, Size, argument_symbols, parse_size, symbols_of
from rfcalc.sources.resized import usual_shapes

BATCH = "N"
_CHANNELS_FROM = 2  #: with 1 channel a layer could be taken for one of another kind
_EXTENT = 32  #: of the input of a stack
_MOST_RATIO = 64  #: of an input's extent to a layer's that is taken for a stride

_NAME = re.compile(rf"([^.,=\s]+\.)?{NAME}")

#: Shapes as the user wrote them, with symbols; under "" that of the only input.
Template: TypeAlias = Mapping[str, tuple[Size, ...]]


@dataclass(frozen=True)
class _Place:
    """An axis of an input whose extent is a multiple of a symbol."""

    item: InputInfo
    axis: int
    factor: int | Fraction

    @property
    def name(self) -> str | None:
        """The name of the axis, None where fields are not measured along it."""
        return next((name for name, axis in self.item.axes.items() if axis == self.axis), None)

    @property
    def meaning(self) -> str:
        if self.name is not None:
            return f"{self.name} of {self.item.name}"
        batch = self.axis == 0 and self.item.batch is not None
        return "batch" if batch else f"axis {self.axis} of {self.item.name}"

    def step(self, extent: int) -> int:
        """The least step of the symbol that changes the axis by multiples of this extent."""
        above, below = self.factor.numerator, self.factor.denominator
        return extent * below // gcd(extent * below, above)


def parse_symbols(given: str | Iterable[str] | Mapping[str, int]) -> tuple[tuple[str, ...], dict[str, int]]:
    """``"H,W,S=224"`` as names, and the sizes to start from where they are given.

    Raises `UsageError` for a part that is neither a name nor a name and a size of at least 1.
    """
    if isinstance(given, Mapping):
        return tuple(given), dict(given)
    names, starts = [], {}
    for part in given.split(",") if isinstance(given, str) else given:
        name, equals, start = (word.strip() for word in part.partition("="))
        if not _NAME.fullmatch(name) or name in names or bool(equals) != start.isdecimal() or start == "0":
            raise UsageError(
                f"--symbolic {part.strip()!r}: write names, each once, as in H,W (axes of the input), N (the batch),"
                " guide.H (of one input), or S=224 (a symbol of your own, and the size to start from)"
            )
        names.append(name)
        if equals:
            starts[name] = int(start)
    return tuple(names), starts


def asked_symbols(given: str | Iterable[str] | Mapping[str, int]) -> tuple[tuple[str, ...], dict[str, int]]:
    """As `parse_symbols`, where something is to be followed. Raises `UsageError` for nothing, too."""
    names, starts = parse_symbols(given)
    if not names:
        raise UsageError("no size to follow: name some, H,W,N")
    return names, starts


def family(
    model: Any,
    inputs: Any = None,
    *,
    channels: Size | None = None,
    starts: Mapping[str, int] | None = None,
    asked: Sequence[str] = (),
    axes: Any = None,
    training: bool = False,
    dtype: str | None = None,
) -> Family:
    """The model with its symbols.

    ``inputs`` are as for `rfcalc.trace`, or shapes with symbols among their extents. ``channels`` go into a stack that
    leaves its own out. ``starts`` are sizes to start from. ``asked`` are symbols that must be there: a name that the
    user has not written himself is that of an axis of the inputs (``H``, ``guide.H``), or N for the batch.

    Raises `UsageError` for a name that stands for nothing and for a symbol without a size to start from.
    """
    starts = starts or {}
    template = _template(inputs)
    if template and (fixed := next(given_among(inputs), None)):
        raise UsageError(f"--input {fixed}: its values fix its sizes, so no size among the inputs can be a symbol")
    if isinstance(model, str) and stack.matches(model):
        model, template = _stack(model, template, inputs, channels)
    plain = Family(model, None if template else inputs, axes, training, dtype)
    written = _written(plain, template or {}, starts, asked)
    begin = {name: start for name, (_, start) in written.items()}
    if template:
        shapes = {name: tuple(number(size, begin) for size in shape) for name, shape in template.items()}
        plain = replace(plain, given=shapes.get("", shapes))
    wanted = [name for name in asked if name not in written]
    if not written and not wanted:
        return plain
    if isinstance(plain.loaded(begin), LayerGraph):
        raise UsageError(f"{_called(model)} is a saved graph, and its sizes are fixed: ask the model that it is of")
    base = plain.at(begin)
    decided = base.layer_graph.meta.get("given")
    if decided:
        raise UsageError(
            f"the values given for {', '.join(decided)} decide what is computed, and there are none for other sizes:"
            " give shapes alone, or no symbols"
        )
    return _opened(plain, base, _overlaid(base.inputs, template or {}), written, wanted)


# --- what the user wrote ----------------------------------------------------------------------------------------------


def _template(inputs: Any) -> Template | None:
    """The shapes, if there is a symbol among them."""
    shapes = inputs if isinstance(inputs, Mapping) else {"": inputs}
    if not any(isinstance(size, str) for shape in shapes.values() for size in _sizes(shape)):
        return None
    return {name: tuple(_size(size) for size in _sizes(shape)) for name, shape in shapes.items()}


def _sizes(shape: Any) -> Sequence[Any]:
    return shape if isinstance(shape, list | tuple) else ()


def _size(value: Any) -> Size:
    found = parse_size(value) if isinstance(value, str) else value
    if not isinstance(found, int | Multiple):
        raise UsageError(f"{value!r} is no size: write a number, or a symbol in capitals, H or 2H")
    return found


def _stack(model: str, template: Template | None, inputs: Any, channels: Size | None) -> tuple[str, Template | None]:
    """The stack with the channels that were asked for or that its input has, if it leaves them out."""
    shape = (template or {}).get("", _sizes(inputs))
    given = shape[-3] if len(shape) >= 3 else None
    taken = stack.first_channels(stack.parse(model))
    if taken is not None:
        if given not in (None, taken):
            raise UsageError(f"stack {model!r} takes {taken} channels, and its input has {given}: make them equal")
        return model, template
    if channels is None:
        channels = given
    if channels is None:
        return model, template
    if inputs is None:
        template = {"": (channels, _EXTENT, _EXTENT)}
    return stack.with_channels(model, channels), template


def _written(
    plain: Family, template: Template, starts: Mapping[str, int], asked: Sequence[str]
) -> dict[str, tuple[str, int]]:
    """The symbols in the model's text and in the shapes: what each stands for ("" for an axis), and its start."""
    found: dict[str, tuple[str, int]] = {}
    if isinstance(plain.spec, str) and stack.matches(plain.spec):
        for name in stack.open_symbols(stack.parse(plain.spec)):
            found[name] = ("channels", starts.get(name, _CHANNELS_FROM))
    elif isinstance(plain.spec, str):
        for name, argument in argument_symbols(plain.spec).items():
            if name in asked or name in starts:
                found[name] = (f"argument {argument}", _start(name, starts, plain.spec))
    open_sizes = symbols_of(size for shape in template.values() for size in shape)
    for name in open_sizes:
        if name not in found:
            start = _usual(plain, {key: value for key, (_, value) in found.items()}, template, name)
            found[name] = ("", start or _start(name, starts, plain.spec))
    return found


def _start(name: str, starts: Mapping[str, int], spec: Any) -> int:
    if name not in starts:
        raise UsageError(f"{_called(spec)} has no usual size {name}: say where to start, --symbolic {name}=224")
    return starts[name]


def _usual(plain: Family, begin: Mapping[str, int], template: Template, symbol: str) -> int | None:
    """The usual size of a symbol among the extents; 1 for a batch, None where the model leaves it open."""
    loaded = plain.loaded(begin)
    known = {} if isinstance(loaded, LayerGraph) else usual_shapes(loaded)
    for name, shape in template.items():
        usual = known.get(name) or (next(iter(known.values())) if len(known) == 1 else None)
        if usual is None:
            continue
        full = (1,) * (len(shape) - len(usual)) + tuple(usual)
        for size, extent in zip(shape, full, strict=False):
            if isinstance(size, Multiple) and size.symbol == symbol and extent and extent % size.factor == 0:
                return int(extent // size.factor)
    return None


def _called(spec: Any) -> str:
    return spec if isinstance(spec, str) else type(spec).__name__


# --- where the symbols are --------------------------------------------------------------------------------------------


def _overlaid(inputs: Sequence[InputInfo], template: Template) -> dict[str, list[Size]]:
    """The full shapes of the inputs as traced, with the symbols of the template, which may leave the batch out."""
    full: dict[str, list[Size]] = {item.name: list(item.shape) for item in inputs}
    for name, shape in template.items():
        target = full.get(name) or full[inputs[0].name]
        target[len(target) - len(shape) :] = shape
    return full


def _opened(
    plain: Family,
    base: Analysis,
    shapes: dict[str, list[Size]],
    written: Mapping[str, tuple[str, int]],
    wanted: Sequence[str],
) -> Family:
    """The family with its symbols, those wanted put into the shapes."""
    starts = {name: start for name, (_, start) in written.items()}
    for name in wanted:
        symbol = name if "." not in name else "_".join(reversed(name.split(".")))
        places = _named(base, name)
        starts[symbol] = places[0].item.shape[places[0].axis]
        for place in places:
            extent = place.item.shape[place.axis]
            if not isinstance(shapes[place.item.name][place.axis], int):
                raise UsageError(f"{place.meaning} is given twice: as {name}, and in the shape of the input")
            shapes[place.item.name][place.axis] = Multiple(Fraction(extent, starts[symbol]), symbol)
    found = []
    for name, start in starts.items():
        meaning = written.get(name, ("", 0))[0]
        places = list(_places(base.inputs, shapes, name))
        words = dict.fromkeys([*([meaning] if meaning else []), *(place.meaning for place in places)])
        if meaning == "channels":
            words = {meaning: None}
        found.append(Symbol(name, ", ".join(words), Guess(start, _steps(base, places, meaning))))
    sized = any(isinstance(size, Multiple) for shape in shapes.values() for size in shape)
    if not sized:
        return replace(plain, symbols=tuple(found))
    return replace(
        plain,
        symbols=tuple(found),
        inputs=base.inputs,
        shapes={name: tuple(shape) for name, shape in shapes.items()},
    )


def _named(base: Analysis, name: str) -> list[_Place]:
    """The axes that a name stands for: in every input that has it, or in the one before the dot."""
    only, _, axis = name.rpartition(".")
    items = [item for item in base.inputs if only in ("", item.name)]
    found = [_Place(item, item.axes[axis], 1) for item in items if axis in item.axes]
    if not found and axis == BATCH:
        found = [_Place(item, 0, 1) for item in items if item.batch is not None]
    if not found:
        raise UsageError(f"{base.model} has no size {name}: its inputs have {_offers(base)}; or write it into --input")
    return found


def _offers(base: Analysis) -> str:
    axes = dict.fromkeys(axis for item in base.inputs for axis in item.axes)
    batch = any(item.batch is not None for item in base.inputs)
    return ", ".join([*axes, *([f"{BATCH} (the batch)"] if batch else [])]) or "none that can change"


def _places(inputs: Iterable[InputInfo], shapes: Mapping[str, Sequence[Size]], symbol: str) -> Iterator[_Place]:
    for item in inputs:
        for axis, size in enumerate(shapes[item.name]):
            if isinstance(size, Multiple) and size.symbol == symbol:
                yield _Place(item, axis, size.factor)


# --- steps to try -----------------------------------------------------------------------------------------------------


def _steps(base: Analysis, places: Sequence[_Place], meaning: str) -> tuple[int, ...]:
    """Steps on which the counts may be polynomials: the strides of the layers, then ratios of their extents."""
    if meaning == "channels":
        return (1,)
    sized = places or [_Place(item, axis, 1) for item in base.inputs for axis in item.axes.values()]
    strides = lcm(*(place.step(_stride(base, place)) for place in sized))
    ratios = lcm(strides, *(place.step(_ratio(base, place)) for place in sized))
    # An argument may be any size of the model: not one that strides have to do with.
    return tuple(dict.fromkeys(([] if places else [1]) + [strides, ratios]))


def _stride(base: Analysis, place: _Place) -> int:
    """The least common multiple of the strides of all layers along an axis of an input."""
    if place.name is None:
        return 1
    found = 1
    for layer in base.layers:
        field = layer.receptive_fields.get(place.item.name)
        stride = field.stride[field.axes.index(place.name)] if field is not None and field.stride is not None else None
        found = lcm(found, Fraction(stride).numerator) if stride else found
    return found


def _ratio(base: Analysis, place: _Place) -> int:
    """The largest ratio of the input's extent to that of a layer of the same rank: a hint at strides without window."""
    extent, rank = place.item.shape[place.axis], len(place.item.shape)
    own = [layer.output_shape[place.axis] for layer in base.layers if len(layer.output_shape) == rank]
    ratios = [extent // size for size in own if size > 1 and extent % size == 0]
    return max((ratio for ratio in ratios if ratio <= _MOST_RATIO), default=1)
