"""What `rfcalc.stream` returns: frozen records of integers, fractions and names, with `to_dict` for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from rfcalc.analyses.results import Number, plain

SCHEMA = "rfcalc-stream/1"


def milliseconds(positions: Number | None, rate: Number | None) -> float | None:
    """A length in milliseconds, None without a rate or where nothing bounds it."""
    return None if positions is None or rate is None else float(Fraction(1000 * positions) / Fraction(rate))


@dataclass(frozen=True, slots=True)
class Break:
    """A layer that looks ahead, why, and by how many source positions more than what it reads (None: all that come)."""

    layer: str
    reason: str
    amount: int | None

    def to_dict(self) -> dict[str, Any]:
        return {"layer": self.layer, "reason": self.reason, "amount": self.amount}


@dataclass(frozen=True, slots=True)
class Border:
    """Units at the start or the end of the source that see more than the others, and how far they look."""

    side: str
    units: int
    look_back: int
    look_ahead: int

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Stream:
    """One tensor along one axis of the source. Lengths count source positions; None is unbounded.

    ``hop`` is how many positions the source moves on from one unit to the next, None where units follow no such order.
    ``look_back`` and ``look_ahead`` are the most that any unit sees before the first and after the last position of its
    own hop, ``borders`` apart. ``delay`` is the most positions that have to come, counted from the first of a unit's
    hop, until the unit is complete; ``first`` how many until unit 0 is. ``causal``: no unit, at the borders either,
    sees a position after its own hop. ``chunk``: in chunks of so many positions, or of a multiple, every unit is
    complete with its chunk; None where there is no such number. ``breaks`` are the layers that look ahead. ``sized``
    says that no pattern beyond this size of the input is known.
    """

    layer: str
    output: int
    index: int | None
    shape: tuple[int, ...]
    axis: int | None  #: of the tensor, which moves with the source
    hop: Number | None
    look_back: int | None
    look_ahead: int | None
    delay: int | None
    first: int | None
    causal: bool | None
    chunk: int | None
    borders: tuple[Border, ...] = ()
    breaks: tuple[Break, ...] = ()
    status: str = "exact"
    masked: bool = False
    sized: bool = False
    offset: int = 0  #: the source position at which the hop of unit 0 begins
    complete: Sequence[int] = field(
        default=(), repr=False, compare=False
    )  #: positions that each unit needs, outputs only

    @property
    def worst_look_ahead(self) -> int | None:
        """The look-ahead of all units, at the borders too."""
        return None if self.look_ahead is None else max([self.look_ahead, *(one.look_ahead for one in self.borders)])

    @property
    def worst_delay(self) -> int | None:
        """The delay of all units, at the borders too."""
        if self.delay is None or self.hop is None:
            return None
        hop = -(-Fraction(self.hop) // 1)
        return max([self.delay, *(int(one.look_ahead + hop) for one in self.borders if one.look_ahead)])

    def complete_after(self, samples: int) -> int:
        """How many units, from unit 0 on, are complete once so many source positions have come; of outputs only.

        Raises `ValueError` for a tensor of which that is not known.
        """
        if not len(self.complete):
            raise ValueError(f"{self.layer} is no output of the model, or its units follow no order in time")
        late = [unit for unit, needed in enumerate(self.complete) if needed > samples]
        return late[0] if late else len(self.complete)

    def to_dict(self, rate: Number | None = None) -> dict[str, Any]:
        """As in the JSON output, where ``hop`` is a text, for it may be a fraction."""
        row: dict[str, Any] = {
            "layer": self.layer,
            "output": self.output,
            "shape": list(self.shape),
            "causal": self.causal,
            "look_ahead": self.look_ahead,
            "look_back": self.look_back,
            "hop": None if self.hop is None else str(self.hop),
            "delay": self.delay,
            "first": self.first,
            "offset": self.offset,
            "chunk": self.chunk,
            "frames": {name: self.frames(getattr(self, name)) for name in ("look_ahead", "look_back", "delay")},
            "borders": [one.to_dict() for one in self.borders],
            "breaks": [one.to_dict() for one in self.breaks],
            "status": self.status,
        }
        if rate is not None:
            lengths = ("look_ahead", "look_back", "hop", "delay", "first")
            row["milliseconds"] = {name: milliseconds(getattr(self, name), rate) for name in lengths}
        if self.masked:
            row["masked"] = True
        if self.sized:
            row["sized"] = True
        return row

    def frames(self, positions: int | None) -> Number | None:
        """A length in units of this tensor; None for what is unbounded, and where no hop is told."""
        return None if positions is None or not self.hop else plain(Fraction(positions) / Fraction(self.hop))


@dataclass(frozen=True, slots=True)
class State:
    """What one layer keeps from one chunk to the next.

    ``positions`` of its input ``of``, ``elements`` and ``bytes`` altogether, None where nothing bounds them: then
    ``growth`` elements are added for each position. ``kind`` is "window" (of a convolution or pooling), "overlap" (of a
    transposed one), "recurrence", "keys and values", "sum" (of a cumulative op), "branch" (what waits for its sibling)
    or "whole" (the layer needs the whole signal, and no state will do).
    """

    layer: str
    kind: str
    of: str
    positions: int | None
    elements: int | None
    bytes: int | None
    growth: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Delay:
    """Where branches meet: ``branch`` is complete ``samples`` source positions before ``sibling``, and waits for it."""

    layer: str
    branch: str
    sibling: str
    samples: int | None
    positions: int | None
    elements: int | None
    bytes: int | None

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk of the source. ``least``: every chunk size that works is a multiple of it.

    ``works`` says that ``size`` is one; ``units`` are those that each output moves on by, ``latency`` the positions
    from the first of a chunk until its units are complete, None where that takes the whole signal. ``halo`` is what a
    chunk needs of the signal before and after it where no state is kept, both multiples of ``least``.
    """

    size: int
    least: int
    works: bool
    units: tuple[int | None, ...]
    latency: int | None
    halo: tuple[int | None, int | None]

    def to_dict(self, rate: Number | None = None) -> dict[str, Any]:
        row: dict[str, Any] = {
            "size": self.size,
            "least": self.least,
            "works": self.works,
            "units": list(self.units),
            "latency": self.latency,
            "halo": list(self.halo),
        }
        if rate is not None:
            row["milliseconds"] = {"size": milliseconds(self.size, rate), "latency": milliseconds(self.latency, rate)}
        return row


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing that real numbers were asked. ``seen`` says what happened where that is not what was predicted."""

    claim: str
    tried: int
    agree: bool
    seen: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {"claim": self.claim, "tried": self.tried, "agree": self.agree, "seen": self.seen}


@dataclass(frozen=True, slots=True)
class Trial:
    """What real numbers said of every output, in which type they were and from which seed."""

    probes: tuple[Probe, ...]
    dtype: str
    seed: int
    notes: tuple[str, ...] = ()

    @property
    def agree(self) -> bool:
        """Whether nothing was seen that was not predicted."""
        return all(probe.agree for probe in self.probes)

    def to_dict(self) -> dict[str, Any]:
        return {
            "agree": self.agree,
            "dtype": self.dtype,
            "seed": self.seed,
            "probes": [probe.to_dict() for probe in self.probes],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Streaming:
    """A model as a stream along one axis of one input; lengths count its positions (samples).

    ``rate`` is how many of them come in a second, None where that was not said. ``align`` is the end from which units
    have their places, "start" or "end".
    """

    model: str
    source: str
    axis: str
    shape: tuple[int, ...]
    extent: int
    outputs: tuple[Stream, ...]
    layers: tuple[Stream, ...]
    state: tuple[State, ...]
    delays: tuple[Delay, ...]
    chunk: Chunk
    rate: Number | None = None
    align: str = "start"
    trial: Trial | None = None
    notices: tuple[str, ...] = ()

    @property
    def causal(self) -> bool:
        """Whether every output is."""
        return all(one.causal for one in self.outputs)

    def __getitem__(self, name: str) -> Stream:
        """A layer by its name. Raises KeyError."""
        for one in (*self.layers, *self.outputs):
            if one.layer == name:
                return one
        raise KeyError(f"there is no layer {name!r} in the stream of {self.model}")

    def __iter__(self) -> Iterator[Stream]:
        return iter(self.layers)

    @property
    def totals(self) -> Mapping[str, int | None]:
        """Elements and bytes of all state, with what waits at joins; None where nothing bounds them."""
        kept = (*self.state, *self.delays)
        return {
            name: None if any(getattr(one, name) is None for one in kept) else sum(getattr(one, name) for one in kept)
            for name in ("elements", "bytes")
        }

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "input": {"name": self.source, "shape": list(self.shape)},
            "axis": self.axis,
            "extent": self.extent,
            "align": self.align,
            "rate": plain(self.rate),
            "causal": self.causal,
            "outputs": [one.to_dict(self.rate) for one in self.outputs],
            "layers": [one.to_dict(self.rate) for one in self.layers],
            "state": [one.to_dict() for one in self.state],
            "delays": [one.to_dict() for one in self.delays],
            "totals": dict(self.totals),
            "chunk": self.chunk.to_dict(self.rate),
            "verification": None if self.trial is None else self.trial.to_dict(),
            "notices": list(self.notices),
        }

    def __repr__(self) -> str:
        rows = ", ".join(
            f"{one.layer}: {'causal' if one.causal else 'looks ahead ' + str(one.worst_look_ahead)}"
            for one in self.outputs
        )
        return f"<Streaming of {self.model} along {self.axis} of {self.source}: {rows}>"

    def _repr_html_(self) -> str:
        from rfcalc.report.streaming import streaming_html

        return streaming_html(self)
