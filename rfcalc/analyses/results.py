"""What `rfcalc.analyze` returns: frozen records of integers, fractions and names, with `to_dict` for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, SupportsIndex, TypeAlias, overload

from rfcalc.analyses.costs.backward import NOTHING, Backward

Number: TypeAlias = int | Fraction
Region: TypeAlias = tuple[int, int] | None  #: (first, last), or None where nothing is seen


def plain(value: Any) -> Any:
    """A value as JSON data: a fraction that is no integer becomes a string (``"1/2"``), a tuple a list."""
    if isinstance(value, Fraction):
        return int(value) if value.denominator == 1 else str(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


@dataclass(frozen=True, slots=True)
class Misalignment:
    """A join whose branches see the source with different strides, or equal strides and different centres."""

    layer: str
    axis: str
    branches: tuple[
        tuple[Number, Number | None], ...
    ]  #: (stride, centre) of each branch; centre is None without window

    def to_dict(self) -> dict[str, Any]:
        rows = [{"stride": plain(stride), "center": plain(center)} for stride, center in self.branches]
        return {"layer": self.layer, "axis": self.axis, "branches": rows}


#: Of what a unit sees along one axis: how many indices lie before its own place, and how many after it.
Reach: TypeAlias = tuple[int, int]

#: The fields of a receptive field that JSON always has.
_FIELDS = (
    *("status", "whole_input", "size", "size_min", "stride", "start", "center", "reach"),
    *("samples", "local_size", "context", "period"),
)


class Shown:
    """What prints as the table or the block of facts that the command line has for it, and draws so in notebooks."""

    __slots__ = ()

    def __str__(self) -> str:
        from rfcalc.report.showing import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from rfcalc.report.showing import as_html

        return as_html(self)


@dataclass(frozen=True, slots=True)
class ReceptiveField(Shown):
    """The receptive field of one layer in one source, by source axis (DESIGN section 3); all lengths in source pixels.

    ``size`` and the like have one entry for each of ``axes``. ``stride``, ``start``, ``center`` and ``reach`` are None
    where no axis has a window, and None in the place of an axis that has none. ``context`` names the layers that bring
    in the whole axis. ``samples`` counts the indices of the span that are really read, None where it is not known.
    ``places`` tells whether units see different places of the source, so that it matters where a unit lies.
    """

    source: str
    axes: tuple[str, ...]
    status: str
    whole_input: bool
    size: tuple[int, ...]
    size_min: tuple[int, ...]
    stride: tuple[Number | None, ...] | None
    start: tuple[int | None, ...] | None
    center: tuple[Number | None, ...] | None
    samples: tuple[int | None, ...] | None
    local_size: tuple[int, ...] | None
    period: tuple[int, ...]
    context: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    misaligned: tuple[Misalignment, ...] = ()
    masked: bool = False
    leans: tuple[str, ...] = ()  #: the buffers whose numbers decide what is read
    reach: tuple[Reach | None, ...] | None = None
    places: bool = False
    region: tuple[Region, ...] | None = None  #: of the unit asked for by ``at``
    affects: tuple[Region, ...] | None = None  #: positions of the layer that the source pixel asked for can change

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON output."""
        row = {name: plain(getattr(self, name)) for name in _FIELDS}
        if self.reasons:
            row["reasons"] = list(self.reasons)
        if self.misaligned:
            row["misaligned"] = [item.to_dict() for item in self.misaligned]
        if self.masked:
            row["masked"] = True
        if self.leans:
            row["leans"] = list(self.leans)
        if self.region is not None:
            row["region"] = plain(self.region)
        if self.affects is not None:
            row["affects"] = plain(self.affects)
        return row


@dataclass(frozen=True, slots=True)
class Extent:
    """What units of a layer use along one axis of an earlier one, in its positions.

    ``size`` is the largest that one of them uses. Where a window slides over the axis (``period`` is not 0), it is not
    cut at the borders, and every unit u with ``u % period in phases`` uses so much; else it is cut. ``unit`` is the
    place of one that does, as (axis of the later layer, position) for each axis that matters. ``region`` is from where
    to where all units together use the axis, None where they use nothing of it, or all that its window slides over.
    """

    size: int
    region: Region
    unit: tuple[tuple[int, int], ...] = ()
    period: int = 0
    phases: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Patch:
    """The patch of an earlier numbered layer that a unit uses: its size along each axis that fields are measured along.

    ``extents`` has more of each of them: which units attain the size, and the region that a box of units uses.
    """

    index: int
    name: str
    size: tuple[int, ...]
    axes: tuple[str, ...] = ()
    extents: tuple[Extent, ...] = ()

    @property
    def region(self) -> tuple[Region, ...]:
        """From where to where each axis is used by all units that were asked for."""
        return tuple([extent.region for extent in self.extents])

    def to_dict(self) -> dict[str, Any]:
        return {"index": self.index, "name": self.name, "size": list(self.size)}


@dataclass(frozen=True)
class Layer(Shown):
    """One row of the table. ``macs`` is None where an op of the row has no rule.

    ``unmasked_macs`` are the multiply-adds without those for pairs of a query and a key that a mask closes; None where
    ``unknown_mask`` says why it is not known which these are.

    ``index`` is the lecture's number (1 is the input), None for an op that folds into another row. ``folded`` names the
    ops whose parameters and costs are added to this row's. ``flops`` counts 2 x macs plus all other arithmetic, and
    ``flops_by`` gives it by category.
    """

    index: int | None
    name: str
    kind: str
    op: str
    module: str
    inputs: tuple[str, ...]
    output_shape: tuple[int, ...]
    params: int
    trainable_params: int
    macs: int | None
    flops: int | None
    flops_by: Mapping[str, int]
    formula: str
    attrs: Mapping[str, Any]
    receptive_fields: Mapping[str, ReceptiveField]
    notes: tuple[str, ...] = ()
    folded: tuple[str, ...] = ()
    reads: tuple[Patch, ...] | None = None
    node: int = field(default=-1, repr=False)
    face: int = field(default=-1, repr=False)  #: the node whose output the layer's output is
    closed_macs: int = 0  #: multiply-adds for pairs that a mask closes, as far as is known
    unknown_mask: str = ""
    backward: Backward | None = NOTHING  #: of the backward pass; None where an op has no rule for it

    @property
    def unmasked_macs(self) -> int | None:
        """Multiply-adds without those for pairs of a query and a key that a mask closes; None where it is not known."""
        return None if self.macs is None or self.unknown_mask else self.macs - self.closed_macs

    @property
    def backward_macs(self) -> int | None:
        """Multiply-adds of the backward pass; None where an op of the row has no rule for it."""
        return None if self.backward is None else self.backward.macs

    @property
    def receptive_field(self) -> ReceptiveField:
        """The field in the only source; with several, use ``receptive_fields[name]``."""
        if len(self.receptive_fields) != 1:
            raise ValueError(
                f"{self.name} has fields in {', '.join(self.receptive_fields)}: ask receptive_fields[name]"
            )
        return next(iter(self.receptive_fields.values()))

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON output."""
        row: dict[str, Any] = {
            "index": self.index,
            "name": self.name,
            "kind": self.kind,
            "op": self.op,
            "module": self.module,
            "inputs": list(self.inputs),
            "output_shape": list(self.output_shape),
            "params": self.params,
            "trainable_params": self.trainable_params,
            "macs": self.macs,
            "unmasked_macs": self.unmasked_macs,
            "backward": None if self.backward is None else self.backward.to_dict(),
            "flops": self.flops,
            "flops_by": dict(self.flops_by),
            "formula": self.formula,
            "attrs": plain(self.attrs),
            "folded": list(self.folded),
            "notes": [*self.notes, *([f"unmasked pairs: {self.unknown_mask}"] if self.unknown_mask else [])],
            "receptive_fields": {name: item.to_dict() for name, item in self.receptive_fields.items()},
        }
        if self.reads is not None:
            row["reads"] = [patch.to_dict() for patch in self.reads]
        return row


class Layers(Shown, tuple[Layer, ...]):
    """Several layers, a tuple that prints and draws as a table."""

    __slots__ = ()

    @overload
    def __getitem__(self, at: SupportsIndex) -> Layer: ...
    @overload
    def __getitem__(self, at: slice) -> Layers: ...
    def __getitem__(self, at: SupportsIndex | slice) -> Layer | Layers:
        return Layers(super().__getitem__(at)) if isinstance(at, slice) else super().__getitem__(at)


@dataclass(frozen=True)
class Totals(Shown):
    """Sums over the whole model.

    ``status`` is "complete", or "lower_bound" when ``unknown_ops`` (name: calls) or ``unknown_params`` (name: why it is
    not known how many elements it stands for) is not empty.
    """

    params: int
    trainable_params: int
    buffers: int
    macs: int
    flops: int
    flops_by: Mapping[str, int]
    status: str
    unknown_ops: Mapping[str, int]
    unused_params: Mapping[str, int]  #: parameters the forward pass never used: name to elements (in ``params`` too)
    param_bytes: int = 0  #: what the parameters take as they are stored, with scales and zero points
    unknown_params: Mapping[str, str] = field(default_factory=dict)
    complex_params: int = 0  #: of the elements in ``params``, those that are complex numbers, two real ones each
    closed_macs: int = 0  #: multiply-adds for pairs of a query and a key that a mask closes, as far as is known
    unknown_masks: Mapping[str, str] = field(default_factory=dict)  #: layers of which it is not known: name to why
    backward: Backward | None = NOTHING  #: of the backward pass; None where ``no_backward`` names ops without a rule
    no_backward: Mapping[str, int] = field(default_factory=dict)  #: name: calls

    @property
    def unmasked_macs(self) -> int | None:
        """Multiply-adds without those for pairs that a mask closes; None where ``unknown_masks`` says why not."""
        return None if self.unknown_masks else self.macs - self.closed_macs

    @property
    def backward_macs(self) -> int | None:
        """Multiply-adds of the backward pass; None where ``no_backward`` names ops that have no rule for it."""
        return None if self.backward is None else self.backward.macs

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON output, where ``complex_params`` and what is unknown stand only if there are any."""
        rare = ("complex_params", "unknown_params", "unknown_masks", "no_backward")
        shown: dict[str, Any] = {}
        for name, value in vars(self).items():
            if name not in ("closed_macs", "backward") and (value or name not in rare):
                shown[name] = plain(value)
            if name == "macs":
                shown["unmasked_macs"] = self.unmasked_macs
                shown["backward"] = None if self.backward is None else self.backward.to_dict()
        return shown
