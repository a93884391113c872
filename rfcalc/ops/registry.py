"""The registry of ops: one rule per op says what each output element reads and what it costs.

A rule is a small function of a `Call` (shapes, dtypes and attributes, no tensors) that returns an `Effect`. It is
registered under the op's name, ``aten.convolution`` for a dispatcher op (without its overload) or ``torch.linear`` for
a composite function that the tracer records whole. Registering a name twice is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from rfcalc.errors import UsageError
from rfcalc.graph import FOLDED_KINDS, NUMBERED_KINDS, TensorInfo
from rfcalc.reads import Steps

#: What the rule sees of a tensor argument or result.


@dataclass(eq=False, slots=True)
class Arg:
    """A tensor argument as a rule sees it.

    ``role`` is "data" (computed in the forward pass, or an input), "param" (a parameter or a view of one) or "const"
    (depends on neither). ``value()`` gives the numbers of a constant as a numpy array, and those of data that
    follow from inputs given with their values alone; None where they are not known, or where floating-point numbers of
    a buffer went into them, which are a weight's: ``anew()`` gives what these might be as well. ``strides`` and
    ``offset`` are the layout in memory, given only to ops that read by layout.
    ``blocked`` marks the elements known to be minus infinity, or so far below zero that a softmax turns them into 0;
    ``zero`` marks those known to be exactly 0, ``true`` those of a boolean tensor that are known to be true. All
    broadcast over the tensor; None means that none is known. ``rows`` says that data may make all that is not blocked
    minus infinity, too.
    ``stored`` is how many elements a sparse tensor stores, None for any other; ``lines()`` how many of them stand in
    each row, and in each column, of a sparse matrix (of places stored twice one), None where it stores blocks.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    role: str = "data"
    name: str = ""
    load: Callable[[], np.ndarray | None] | None = None
    blocked: np.ndarray | None = None
    zero: np.ndarray | None = None
    strides: tuple[int, ...] | None = None
    offset: int = 0
    rows: bool = False
    true: np.ndarray | None = None
    anew: Callable[[], np.ndarray | None] | None = None
    leant_on: bool = False  #: whether a rule took numbers for a mask that are a weight's otherwise
    finite: int = 0  #: whether some of what is blocked is not minus infinity, and how low (`_masks.Finite`)
    stored: int | None = None
    lines: Callable[[], tuple[np.ndarray, ...] | None] | None = None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def numel(self) -> int:
        return numel(self.shape)

    @property
    def reads_data(self) -> bool:
        """Whether a field can pass through this argument."""
        return self.role == "data"

    def value(self) -> np.ndarray | None:
        """The numbers, None where they are not known, or are a weight's."""
        return self.numbers() if self.anew is None else None

    def numbers(self) -> np.ndarray | None:
        """The numbers, those of a buffer too."""
        return self.load() if self.load is not None else None


@dataclass(eq=False, slots=True)
class Packed:
    """Weights that an op gets in an object of its kernel, as a rule sees them: tensors by role, and settings.

    ``weight`` and ``bias`` of a product, ``weight_ih``, ``weight_hh`` and their biases of a recurrent layer; a
    convolution's ``stride`` and so on.
    """

    tensors: Mapping[str, Arg]
    settings: Mapping[str, Any] = field(default_factory=dict)


def numel(shape: Sequence[int]) -> int:
    """Number of elements, an exact int."""
    total = 1
    for extent in shape:
        total *= extent
    return total


class Call:
    """One call of an op: its arguments by schema name, its results, and the table of masks.

    ``call["stride"]`` is an argument (tensors appear as `Arg`, lists of tensors as tuples of `Arg`); a missing optional
    one is None. ``call.outs`` are the results.
    """

    def __init__(
        self,
        op: str,
        args: Mapping[str, Any],
        outs: Sequence[TensorInfo],
        intern: Callable[[np.ndarray], int] | None = None,
    ) -> None:
        self.op = op
        self.args = args
        self.outs = tuple(outs)
        self._intern = intern
        self.masks: dict[int, tuple[int, ...]] = {}  #: shapes of the masks that the rule stored, by key

    def __getitem__(self, name: str) -> Any:
        return self.args.get(name)

    def get(self, name: str, default: Any) -> Any:
        """The argument, or the default where it is missing or None."""
        value = self.args.get(name)
        return default if value is None else value

    @property
    def out(self) -> TensorInfo:
        """The first result."""
        return self.outs[0]

    def like(self, op: str, args: Mapping[str, Any]) -> Call:
        """A call of another op with the same results and the same table of masks."""
        return Call(op, args, self.outs, self._intern)

    def mask(self, mask: np.ndarray) -> int:
        """Store a boolean mask in the graph; returns its key for `Blocked` and `Contract` steps."""
        if self._intern is None:
            raise RuntimeError("this call has no table of masks")
        key = self._intern(np.ascontiguousarray(mask, dtype=bool))
        self.masks[key] = mask.shape
        return key

    def tensors(self) -> Iterator[Arg]:
        """All tensor arguments, lists flattened, in order."""
        for value in self.args.values():
            if isinstance(value, Arg):
                yield value
            elif isinstance(value, tuple | list):
                yield from (item for item in value if isinstance(item, Arg))


#: What stands after the name of an op that works on sparse tensors: it has a rule of its own, or none.
SPARSE = "(sparse)"

#: The note of an op whose result has as many elements as the numbers in its arguments decide.
SIZED_BY_DATA = "the data decides how many there are"

_KINDS = NUMBERED_KINDS | FOLDED_KINDS

#: (argument, steps): how one output reads one argument.
ArgRead = tuple[Arg, Steps]


class Known(NamedTuple):
    """What is known of the elements of one output, as in `Arg`."""

    blocked: np.ndarray | None = None
    zero: np.ndarray | None = None
    true: np.ndarray | None = None


@dataclass(slots=True)
class Effect:
    """What a rule says of a call.

    ``reads``: the reads of every output (one list, shared by all outputs) or, with ``each=True``, one list per output.
    Arguments that are constants or parameters may be listed; they carry no field. ``macs`` are multiply-adds;
    ``flops`` all other arithmetic by category (see docs/flops.md), of numbers of any type: what complex ones take is
    worked out from that, unless ``real`` says that real operations are counted. ``formula`` writes the multiply-adds
    in the lecture's form. ``inexact`` says why the reads are an upper bound; of ``sure`` arguments one of the places
    that are told is read in any case, whatever the data says. ``blocked``, ``zero`` and ``true`` describe the first
    output (see `Arg`), and so do the ``rows`` of what is blocked, and whether some of it is ``finite``, which it also
    has from its arguments; ``beyond`` describes the other outputs. The kind "unknown" says
    that the rule knows the reads of this call but not its cost.
    ``stands`` is the shape of the weight that a packed operand stands for, where that is not the operand's own.
    ``closed`` are the multiply-adds of pairs of a query and a key that a mask closes, and ``closing`` says why it may
    close more, as in `rfcalc.graph.Node`.
    """

    kind: str
    reads: Sequence[Any] = ()
    each: bool = False
    macs: int = 0
    flops: Mapping[str, int] = field(default_factory=dict)
    formula: str = ""
    attrs: Mapping[str, Any] = field(default_factory=dict)
    inexact: str = ""
    sure: Sequence[Any] = ()  #: arguments; once recorded, the numbers of the inputs
    masked: bool = False
    blocked: np.ndarray | None = None
    zero: np.ndarray | None = None
    true: np.ndarray | None = None
    rows: bool = False
    notes: tuple[str, ...] = ()
    real: bool = False
    finite: int = 0
    beyond: Sequence[Known] = ()
    leans: tuple[str, ...] = ()  #: the buffers whose numbers decide what is read; the tracer tells
    stands: tuple[int, ...] = ()
    closed: int = 0
    closing: str = ""

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"unknown kind {self.kind!r}: expected one of {', '.join(sorted(_KINDS))}")

    def reads_of(self, output: int) -> Sequence[ArgRead]:
        """The reads of one output."""
        return self.reads[output] if self.each else self.reads


Rule = Callable[[Call], Effect]


@dataclass(frozen=True)
class Registered:
    """A registered rule: the ops it serves and where it stands."""

    rule: Rule
    family: str

    @property
    def summary(self) -> str:
        """First line of the rule's docstring."""
        return (self.rule.__doc__ or "").strip().splitlines()[0] if self.rule.__doc__ else ""

    @property
    def own(self) -> bool:
        """Whether it is one of rfcalc's, not a user's."""
        return self.rule.__module__.startswith("rfcalc.")

    @property
    def name(self) -> str:
        """Where it is written, for messages."""
        return f"{self.rule.__module__}.{self.rule.__qualname__}"


_RULES: dict[str, Registered] = {}
_changes = 0  #: how often rules were registered


def rule(*ops: str, replace: bool = False) -> Callable[[Rule], Rule]:
    """Register a function as the rule of the named ops.

    An op is named as torch does, ``"mylib::smooth"`` (or ``"mylib.smooth"``), for all its overloads and for
    ``smooth_``, its form in place, unless that has a rule of its own. The function takes a `Call` and returns an
    `Effect`; the first line of its docstring is what ``rfcalc ops`` says of it. The rule is in force from the next
    trace on. ``replace`` puts it in the place of an earlier rule of the user's.

    Raises `UsageError` for a name that is none, and for an op that has a rule: one of rfcalc's own always, one of the
    user's without ``replace``. Nothing is registered then.
    """

    def register(function: Rule) -> Rule:
        global _changes
        names = [_dotted(op) for op in ops]
        new = Registered(function, function.__module__.rpartition(".")[2])
        for op in names:
            known = _RULES.get(op)
            if known is not None and (known.own or not replace):
                whose = "rfcalc's own" if known.own else "pass replace=True to put another in its place"
                raise UsageError(f"{op} already has a rule, {known.name} ({whose})")
        _RULES.update(dict.fromkeys(names, new))
        _changes += 1
        return function

    if not ops or any(callable(op) for op in ops):
        raise UsageError('rule needs the names of the ops: @rule("mylib::smooth")')
    return register


def _dotted(op: str) -> str:
    """An op's name as the graph has it, ``mylib.smooth``."""
    name = op.replace("::", ".")
    plain = name.removesuffix(SPARSE)
    if plain.count(".") != 1 or not all(part.isidentifier() for part in plain.split(".")):
        raise UsageError(f"{op!r} is no name of an op: expected one such as 'mylib::smooth', without an overload")
    return name


def changes() -> int:
    """How often rules have been registered so far: what was worked out before may not hold any more."""
    return _changes


def find(op: str) -> Registered | None:
    """What is registered for an op; an op in place without a rule of its own has that of the other."""
    return _RULES.get(op) or _RULES.get(op.removesuffix("_")) or _RULES.get(op.replace(f"_{SPARSE}", SPARSE))


def lookup(op: str) -> Rule | None:
    """The rule of an op, None if it has none."""
    found = _RULES.get(op)
    return found.rule if found else None


def family_of(op: str) -> str:
    """The family of an op's rule, "" where it has none."""
    found = _RULES.get(op)
    return found.family if found else ""


def registered() -> Mapping[str, Registered]:
    """All rules by op name, sorted."""
    return dict(sorted(_RULES.items()))
