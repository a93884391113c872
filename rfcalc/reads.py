"""What an output element reads: the closed vocabulary of steps.

An op's rule describes, for every input, how the positions of the output follow from the positions of the input, as a
short sequence of the steps below. Each step takes an array indexed like the tensor before it to one indexed like the
tensor after it. Axes are non-negative and refer to the tensor at that point of the sequence. An axis that an output
does not depend on has extent 1 and broadcasts, so that no step needs to say how far it is repeated.

The steps are plain data: they are stored in the graph, saved as JSON, and understood by the analyses without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from math import prod
from operator import attrgetter
from typing import Any, ClassVar, TypeAlias


@dataclass(frozen=True, slots=True)
class Window:
    """Convolution or pooling along one axis: position u reads ``stride*u - before + dilation*j`` for j < kernel.

    Positions outside the input hold nothing (zero padding, or the clipped last window of ceil mode).
    """

    code: ClassVar[str] = "window"
    axis: int
    kernel: int
    stride: int
    dilation: int
    before: int
    out: int


@dataclass(frozen=True, slots=True)
class Transposed:
    """Transposed convolution along one axis: position u reads every i with ``u = stride*i - before + dilation*j``."""

    code: ClassVar[str] = "transposed"
    axis: int
    kernel: int
    stride: int
    dilation: int
    before: int
    out: int


@dataclass(frozen=True, slots=True)
class Spans:
    """Explicit windows: position u reads every index from ``first[u]`` to ``last[u]`` (adaptive pooling,
    interpolation).

    ``period`` and ``shift`` extend the pattern beyond the borders: without borders, position ``u + period`` reads what
    position u reads, moved by ``shift``; ``free_first`` and ``free_last`` hold one period of it, before any clamping.
    ``period`` is 0 where the pattern does not repeat.
    """

    code: ClassVar[str] = "spans"
    axis: int
    first: tuple[int, ...]
    last: tuple[int, ...]
    period: int = 0
    shift: int = 0
    free_first: tuple[int, ...] = ()
    free_last: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Reduce:
    """Everything along the axes is read; they stay, with extent 1 (mean, softmax, norms, a contracted axis)."""

    code: ClassVar[str] = "reduce"
    axes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Grouped channels: the axis is cut into ``groups`` equal runs, output c of ``out`` reads its whole run."""

    code: ClassVar[str] = "group"
    axis: int
    groups: int
    out: int


@dataclass(frozen=True, slots=True)
class Reshape:
    """The same elements in row-major order under another shape."""

    code: ClassVar[str] = "reshape"
    shape_in: tuple[int, ...]
    shape_out: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Permute:
    """Output axis k is input axis ``axes[k]``."""

    code: ClassVar[str] = "permute"
    axes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Slice:
    """Position u reads ``start + step*u``, all of them inside the input (step -1 is a flip)."""

    code: ClassVar[str] = "slice"
    axis: int
    start: int
    step: int
    out: int


@dataclass(frozen=True, slots=True)
class Take:
    """Position u reads index ``indices[u]``, or nothing where it is -1 (roll, gather by a known index)."""

    code: ClassVar[str] = "take"
    axis: int
    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pad:
    """Padding (negative: cropping) along one axis; ``mode`` is zero, reflect, replicate or circular."""

    code: ClassVar[str] = "pad"
    axis: int
    size: int
    before: int
    after: int
    mode: str = "zero"


@dataclass(frozen=True, slots=True)
class Place:
    """The input lands at ``offset + step*i`` of an axis of extent ``out``; the rest of it reads nothing from this
    input.

    Concatenation, stack, and the assignment ``x[:, 2:4] = y``.
    """

    code: ClassVar[str] = "place"
    axis: int
    size: int
    offset: int
    out: int
    step: int = 1


@dataclass(frozen=True, slots=True)
class Erase:
    """The opposite of Place: positions ``offset + step*i`` (i < size) of the axes are overwritten and read nothing.

    One entry of (axis, size, offset, step) for each axis that restricts the overwritten box.
    """

    code: ClassVar[str] = "erase"
    shape: tuple[int, ...]
    box: tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Prefix:
    """Position u reads every index up to u (``reverse``: from u on): cumulative and recurrent ops."""

    code: ClassVar[str] = "prefix"
    axis: int
    size: int
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class Blocked:
    """Elements where the stored boolean mask (broadcast over the tensor) is true read nothing.

    ``mask`` is a key of `LayerGraph.masks`.
    """

    code: ClassVar[str] = "blocked"
    mask: int


@dataclass(frozen=True, slots=True)
class Contract:
    """Axis -2 is contracted against a mask: output row i reads the rows k whose ``mask[..., i, k]`` is false.

    Attention over keys and values: ``(..., k, d)`` becomes ``(..., i, d)``.
    """

    code: ClassVar[str] = "contract"
    mask: int


Step: TypeAlias = (
    Window
    | Transposed
    | Spans
    | Reduce
    | Group
    | Reshape
    | Permute
    | Slice
    | Take
    | Pad
    | Place
    | Erase
    | Prefix
    | Blocked
    | Contract
)
Steps: TypeAlias = tuple[Step, ...]

_STEPS: tuple[type[Step], ...] = (
    Window,
    Transposed,
    Spans,
    Reduce,
    Group,
    Reshape,
    Permute,
    Slice,
    Take,
    Pad,
    Place,
    Erase,
    Prefix,
    Blocked,
    Contract,
)
_BY_CODE: dict[str, type[Step]] = {step.code: step for step in _STEPS}


#: Steps along one axis: what else they say.
ALONG: Mapping[type, Callable[[Any], Any]] = {
    Window: attrgetter("kernel", "stride", "dilation", "before", "out"),
    Transposed: attrgetter("kernel", "stride", "dilation", "before", "out"),
    Spans: attrgetter("first", "last", "period", "shift", "free_first", "free_last"),
    Slice: attrgetter("start", "step", "out"),
    Take: lambda step: (step.indices,),
    Pad: attrgetter("size", "before", "after", "mode"),
    Place: attrgetter("size", "offset", "out", "step"),
    Prefix: attrgetter("size", "reverse"),
}


def runs(steps: Steps, together: Callable[[type], bool]) -> list[Steps]:
    """The steps in runs: those of kinds that go together, where they follow on each other; all others by themselves.

    >>> [len(run) for run in runs((Reduce((1,)), Prefix(2, 8), Prefix(3, 8)), lambda kind: kind is Prefix)]
    [1, 2]
    """
    found: list[Steps] = []
    for step in steps:
        if found and together(type(step)) and together(type(found[-1][0])):
            found[-1] = (*found[-1], step)
        else:
            found.append((step,))
    return found


def encode(steps: Steps) -> list[list[Any]]:
    """Steps as JSON lists, ``[code, field, ...]``.

    >>> encode((Window(2, 3, 1, 1, 1, 224),))
    [['window', 2, 3, 1, 1, 1, 224]]
    """
    return [[step.code, *astuple(step)] for step in steps]


def decode(rows: Sequence[Sequence[Any]]) -> Steps:
    """The inverse of `encode`.

    >>> decode([["reduce", [1, 2]]])
    (Reduce(axes=(1, 2)),)
    """
    return tuple(_BY_CODE[row[0]](*(_tupled(field) for field in row[1:])) for row in rows)


def _tupled(value: Any) -> Any:
    return tuple(_tupled(item) for item in value) if isinstance(value, list | tuple) else value


def groups_of(shape_in: Sequence[int], shape_out: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Runs of axes of both shapes that hold the same elements, in order; axes of extent 1 may stand alone.

    >>> groups_of((2, 6, 5), (2, 3, 2, 5))
    [([0], [0]), ([1], [1, 2]), ([2], [3])]
    """
    runs: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(shape_in) or j < len(shape_out):
        left, right = [i] * (i < len(shape_in)), [j] * (j < len(shape_out))
        if left and right and shape_in[i] != shape_out[j] and 1 in (shape_in[i], shape_out[j]):
            left, right = (left, []) if shape_in[i] == 1 else ([], right)
        i, j = i + len(left), j + len(right)
        if left and right:
            a, b = shape_in[left[0]], shape_out[right[0]]
            while a != b:
                if a < b:
                    a *= shape_in[i]
                    left.append(i)
                    i += 1
                else:
                    b *= shape_out[j]
                    right.append(j)
                    j += 1
        runs.append((left, right))
    return runs


def shape_after(shape: Sequence[int], step: Step, masks: Mapping[int, Sequence[int]]) -> tuple[int, ...]:
    """The shape of a tensor after a step; ``masks`` are the shapes of the stored masks.

    Raises `ValueError` for a step that cannot be made on a tensor of this shape.

    >>> shape_after((1, 3, 8, 8), Window(2, 3, 2, 1, 1, 4), {})
    (1, 3, 4, 8)
    """
    if not _fits(tuple(shape), step, masks):
        raise ValueError(f"{step} on a tensor of shape {tuple(shape)}")
    match step:
        case Reshape(_, after):
            return after
        case Permute(axes):
            return tuple([shape[axis] for axis in axes])
        case Reduce(axes):
            return tuple([1 if axis in axes else extent for axis, extent in enumerate(shape)])
        case Erase():
            return tuple(shape)
        case Blocked(mask):
            return tuple(map(max, shape, _over(masks[mask], shape)))
        case Contract(mask):
            return (*shape[:-2], masks[mask][-2], shape[-1])
        case _:
            return (*shape[: step.axis], extent_after(step), *shape[step.axis + 1 :])


def shape_through(shape: Sequence[int], steps: Steps, masks: Mapping[int, Sequence[int]]) -> tuple[int, ...]:
    """The shape of a tensor after all of the steps, as `shape_after` has it for one."""
    for step in steps:
        shape = shape_after(shape, step, masks)
    return tuple(shape)


def _over(mask: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    return (1,) * (len(shape) - len(mask)) + tuple(mask)


def extent_after(step: Step) -> int:
    """The extent of the axis that a step is about."""
    match step:
        case Window() | Transposed() | Group() | Slice() | Place():
            return step.out
        case Spans():
            return len(step.first)
        case Take():
            return len(step.indices)
        case Pad():
            return step.size + step.before + step.after
        case Prefix():
            return step.size
    raise TypeError(f"{step!r} is about more than one axis")


def _fits(shape: tuple[int, ...], step: Step, masks: Mapping[int, Sequence[int]]) -> bool:
    """Whether a step can be made on a tensor of this shape."""
    match step:
        case Reshape(before, after):
            return before == shape and prod(before) == prod(after) and min(after, default=0) >= 0
        case Permute(axes):
            return sorted(axes) == list(range(len(shape)))
        case Reduce(axes):
            return len(set(axes)) == len(axes) and all(0 <= axis < len(shape) for axis in axes)
        case Erase(whole, box):
            inside = all(0 <= axis < len(shape) and _inside(shape[axis], *rest) for axis, *rest in box)
            return whole == shape and inside
        case Blocked(mask):
            if mask not in masks or len(masks[mask]) > len(shape):
                return False
            return all(a == b or 1 in (a, b) for a, b in zip(shape, _over(masks[mask], shape), strict=True))
        case Contract(mask):
            if len(shape) < 2 or len(masks.get(mask, ())) < 2 or masks[mask][-1] != shape[-2]:
                return False
            return _spreads(masks[mask][:-2], shape[:-2])
        case _:
            return 0 <= step.axis < len(shape) and extent_after(step) >= 0 and _fits_along(shape[step.axis], step)


def _fits_along(extent: int, step: Step) -> bool:
    """Whether a step can be made along an axis of this extent."""
    match step:
        case Window(_, kernel, stride, dilation, before, out):
            fits = _slides(extent, kernel, stride, dilation, before, out)
            return fits and abs(before) <= extent + stride * out + dilation * kernel
        case Transposed(_, kernel, stride, dilation, before, out):
            fits = _slides(out, kernel, stride, dilation, before, extent)
            return fits and abs(before) + out <= 4 * (stride * (extent + 1) + dilation * kernel)
        case Spans(_, first, last, period, _, free_first, free_last):
            fits = len(first) == len(last) and period in (0, len(free_first)) and len(free_first) == len(free_last)
            inside = all(0 <= a <= extent and -1 <= b < extent for a, b in zip(first, last, strict=False))
            far = 4 * (extent + len(first)) + 64
            free = all(-far <= a <= b <= far for a, b in zip(free_first, free_last, strict=False))
            return fits and inside and free
        case Group(_, groups, out):
            return groups > 0 and extent % groups == 0 and out % groups == 0
        case Slice(_, start, stride, out):
            return out <= 0 or (0 <= start < extent and 0 <= start + stride * (out - 1) < extent)
        case Take(_, indices):
            return all(-1 <= index < extent for index in indices)
        case Pad(_, size, before, after, mode):
            most = {"zero": max(before, after), "reflect": size - 1, "circular": size, "replicate": max(before, after)}
            return size == extent and max(before, after) <= most.get(mode, -1)
        case Place(_, size, offset, out, stride):
            return size == extent and _inside(out, size, offset, stride)
        case Prefix(_, size):
            return size == extent
    return False


def _slides(extent: int, kernel: int, stride: int, dilation: int, before: int, steps: int) -> bool:
    """Whether so many steps of a window are about as long as an axis with its padding."""
    length = stride * (steps - 1) + dilation * (kernel - 1) + 1
    return min(kernel, stride, dilation) > 0 and length <= extent + 4 * (abs(before) + 8) + stride


def _inside(extent: int, size: int, offset: int, stride: int) -> bool:
    """Whether ``size`` positions from ``offset`` on lie inside an axis."""
    return size >= 0 and stride > 0 and offset >= 0 and offset + stride * (size - 1) < extent


def _spreads(small: Sequence[int], large: Sequence[int]) -> bool:
    """Whether a shape broadcasts over another without making it larger."""
    pairs = zip(reversed(small), reversed(large), strict=False)
    return len(small) <= len(large) and all(a in (1, b) for a, b in pairs)
