"""`rfcalc stream --verify`: what a stream says of its outputs, held against real numbers.

A model is run whole, in float64 where it can be, and again on signals of which a part has other numbers. What that says
shares nothing with the rules and fields of the analysis: an output element that is the same to the last bit, whatever
comes after some sample, does not wait for it; one that moves with a single sample reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from rfcalc.analyses.views import views
from rfcalc.checking import device as devices
from rfcalc.checking.fields import SWALLOW
from rfcalc.checking.standins import GAINS, Inputs, StandIns
from rfcalc.checking.subject import Subject, failed, resolve
from rfcalc.checking.witness import plain_run
from rfcalc.errors import UsageError
from rfcalc.graph import Ref
from rfcalc.streaming import measure
from rfcalc.streaming.places import Place, along, place_of, together
from rfcalc.streaming.results import Probe, Stream, Streaming, Trial

#: Changes of an output below this are what a masked read may still carry, and none.
TINY = 1e-36
#: How much a chunk may differ from the same part of the whole: sums are added up in another order.
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4}
ANOTHER_SHAPE = "on a part of the signal the output has another shape, so it was not compared"
UNITS = 6  #: that are tried of each output
#: Units tried, from an end on, for the first or last sample that they read where that is the first or last of all: a
#: recurrence forgets it, little by little, until it is less than the last bit.
NEAR = (0, 1, 2, 4)
#: How much one sample is moved, by restart, and whether the model's own weights are exchanged for random ones: what a
#: dead unit or a maximum hides in one signal shows in another, and through many small weights less arrives than the
#: last bit of a sum. What is read is read with any weights.
RESTARTS = (
    *((1.0, False), (30.0, False), (1e3, False), (1.0, True), (30.0, True), (1e4, False), (1e3, True)),
    *((1e6, False), (300.0, True), (1e9, False), (1e4, True), (1e12, False)),
)


@dataclass(frozen=True)
class Target:
    """One output: which tensor of the model's result it is, and what its units see (first > last: nothing).

    ``axis`` is None where units follow no order in time: then all are taken as one.
    """

    stream: Stream
    number: int
    axis: int | None
    first: np.ndarray
    last: np.ndarray
    swallows: bool  #: whether an op before it may hide a change (a quantiser's argmin)


@dataclass
class Tally:
    """The outcome of one claim."""

    claim: str
    tried: int = 0
    seen: str = ""

    def note(self, wrong: str) -> None:
        self.tried += 1
        self.seen = self.seen or wrong

    def probe(self) -> Probe:
        return Probe(self.claim, self.tried, not self.seen, self.seen)


@dataclass
class Runs:
    """Passes of the model on real numbers along one timeline; ``outputs`` are the tensors of its result."""

    subject: Subject
    line: measure.Timeline
    seed: int
    gain: float
    wide: bool
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        self.own = self.standins = self._made(False)
        self.other: StandIns | None = None
        self.number = [item.node for item in self.subject.graph.inputs].index(self.line.source.node)
        self.restart(0)

    def _made(self, weights: bool) -> StandIns:
        """StandIns of the model's weights, or random ones."""
        return StandIns(
            *(self.subject, self.device, self.seed), gain=self.gain, wide=self.wide, anew=False, weights=weights
        )

    def restart(self, times: int, weights: bool = False) -> None:
        """Begin from another signal, or the model's own where ``times`` is 0, and with random weights or its own."""
        self.inputs = Inputs(self.subject, self.device, self.seed + 7919 * times, wide=self.wide)
        self.generator = torch.Generator().manual_seed(self.seed + times)
        if times:
            self.inputs.values[self.number] = self._another(self.signal, times % 2 == 0)
        self.standins = self.own
        if weights and self._bears_other_weights():
            return
        self.standins = self.own
        self.base = self.run({})

    def _bears_other_weights(self) -> bool:
        """Whether the model gives finite numbers with random weights, too; if so, it has them from now on."""
        if self.other is None:
            self.other = self._made(True)
        self.standins = self.other
        try:
            self.base = self.run({})
        except Exception:  # a forward may ask of its weights what random ones do not hold
            return False
        return all(bool(out.isfinite().all()) for out in self.base if out.is_floating_point())

    def _another(self, signal: torch.Tensor, anew: bool) -> torch.Tensor:
        """Noise as strong as the signal, added to it or ``anew``; of tokens and the like the same in another order."""
        if not signal.is_floating_point():
            order = torch.randperm(signal.shape[self.line.axis], generator=self.generator)
            return signal.index_select(self.line.axis, order)
        noise = torch.randn(signal.shape, generator=self.generator, dtype=torch.float64)
        size = float(signal.double().square().mean().sqrt()) if signal.numel() else 0.0
        other = ((size or 1.0) * noise).to(signal.dtype)
        return other if anew else signal + other

    def run(self, changed: Mapping[int, torch.Tensor]) -> list[torch.Tensor]:
        with devices.honest():
            return [tensor.detach().clone() for tensor in plain_run(self.standins, self.inputs, changed=changed)]

    @property
    def signal(self) -> torch.Tensor:
        return self.inputs.values[self.number]

    def moved(self, first: int, last: int, size: float) -> list[torch.Tensor]:
        """The outputs with all positions from ``first`` to ``last`` of the signal changed."""
        value = self.signal.clone()
        part = value.narrow(self.line.axis, first, last - first + 1)
        if value.is_floating_point():
            noise = torch.randn(part.shape, generator=self.generator, dtype=torch.float64)
            part += (size * (noise.sign() + noise)).to(value.dtype)
        elif value.dtype == torch.bool:
            part.logical_not_()
        else:
            part.copy_(torch.where(part == 0, torch.ones_like(part), torch.zeros_like(part)))
        return self.run({self.number: value})

    def cut(self, first: int, last: int) -> list[torch.Tensor]:
        """The outputs on a part of the signal."""
        return self.run({self.number: self.signal.narrow(self.line.axis, first, last - first + 1).clone()})


def verified(
    model: Any, inputs: Any = None, *, axes: Any = None, training: bool = False, seed: int = 0, **settings: Any
) -> Streaming:
    """A stream with its trial. Arguments are those of `rfcalc.stream`.

    Raises `UsageError` for a saved graph, which has nothing to run, and for a chunk that no output can work with.
    """
    chosen, _notes = devices.choose("cpu")
    with devices.random_state(chosen):
        subject = resolve(model, inputs, axes=axes, training=training)
        found = measure.stream(subject.graph, **settings)
        if settings.get("chunk") is not None and found.chunk.size % found.chunk.least:
            raise UsageError(
                f"chunks of {found.chunk.size} do not work for {found.model}: they are multiples of {found.chunk.least}"
            )
        line = measure.timeline(subject.graph, settings.get("axis"), settings.get("source"))
        try:
            return replace(found, trial=_trial(subject, found, line, seed))
        except RuntimeError as error:
            raise failed(subject, chosen, error) from error


def _trial(subject: Subject, found: Streaming, line: measure.Timeline, seed: int) -> Trial:
    runs, notes = _runs(subject, line, seed), []
    probes: list[Probe] = []
    targets = list(_targets(subject, found, line, runs.base))
    if len(targets) < len(found.outputs):
        notes.append("outputs of which the model gives no tensor are not tried")
    for target in targets:
        name = f"{target.stream.layer}: " if len(targets) > 1 else ""
        probes += [replace(probe, claim=name + probe.claim) for probe in _probes(runs, target, found, notes)]
    return Trial(tuple(probes), str(runs.signal.dtype).removeprefix("torch."), seed, tuple(dict.fromkeys(notes)))


def _runs(subject: Subject, line: measure.Timeline, seed: int) -> Runs:
    """Passes in float64, or in the model's own type where it does not run in that; without infinities if that helps."""
    for wide in (True, False):
        for gain in GAINS:
            try:
                made = Runs(subject, line, seed, gain, wide)
            except Exception:  # a forward with types of its own may not run in float64
                if not wide:
                    raise
                break
            if all(bool(out.isfinite().all()) for out in made.base if out.is_floating_point()):
                return made
        else:
            return made
    raise AssertionError("unreachable")


def _targets(
    subject: Subject, found: Streaming, line: measure.Timeline, results: Sequence[torch.Tensor]
) -> Iterator[Target]:
    graph = subject.graph
    streams = {(one.layer, one.output): one for one in found.outputs}
    left = dict(enumerate(results))
    number_of: dict[Ref, int] = {}
    for ref in dict.fromkeys(graph.outputs):
        shape = graph[ref.node].outputs[ref.output].shape
        number = next((at for at, tensor in left.items() if tuple(tensor.shape) == shape), None)
        if number is not None:
            number_of[ref] = number
            del left[number]
    for record, seen in views(graph, Ref(line.source.node), line.axis):
        for output, view in enumerate(seen):
            ref = Ref(record.id, output)
            place: Place | None = None if view is None else place_of(view, line.extent)
            if ref not in number_of or view is None or place is None:
                continue
            if place.axis is None:
                first, last, count = *together(view), 1
            else:
                first, last = along(view, place.axis)
                count = record.outputs[output].shape[place.axis]
            yield Target(
                streams[record.name, output],
                number_of[ref],
                place.axis,
                np.broadcast_to(first, count),
                np.broadcast_to(last, count),
                _swallows(subject, ref),
            )


def _swallows(subject: Subject, ref: Ref) -> bool:
    graph = subject.graph
    before = [graph[ident] for ident in (*graph.ancestors([ref.node]), ref.node)]
    ops = {record.op.rpartition(".")[2].removesuffix("_") for record in before}
    return bool(ops & SWALLOW) or any(
        record.outputs and not record.outputs[0].dtype.startswith(("float", "bfloat"))
        for record in before
        if record.inputs
    )


# --- claims -----------------------------------------------------------------------------------------------------------


def _probes(runs: Runs, target: Target, found: Streaming, notes: list[str]) -> list[Probe]:
    extent = runs.line.extent
    after = Tally("nothing that comes after what a unit reads moves it")
    ends = Tally("a unit moves with the last sample that it reads")
    before = Tally("nothing that comes before what a unit reads moves it")
    starts = Tally("a unit moves with the first sample that it reads")
    whole = Tally("of the samples so far, as many units are complete as predicted")
    units = _chosen(target)
    for unit in units:
        low, high = int(target.first[unit]), int(target.last[unit])
        if high + 1 < extent:
            moved = _moves(runs, target, runs.moved(high + 1, extent - 1, 1.0))
            after.note(_wrong(moved & (target.last <= high), f"samples from {high + 1} on"))
        if low > 0:
            moved = _moves(runs, target, runs.moved(0, low - 1, 1.0))
            before.note(_wrong(moved & (target.first >= low), f"samples up to {low - 1}"))
    seen = [int(unit) for unit in np.flatnonzero(target.first <= target.last)]
    early, late = ([seen[at] for at in NEAR if at < len(seen)], [seen[-1 - at] for at in NEAR if at < len(seen)])
    _single(runs, target, late if target.stream.look_ahead is None else units, target.last, ends, notes)
    _single(runs, target, early if target.stream.look_back is None else units, target.first, starts, notes)
    _streamed(runs, target, found, whole)
    tallies = [after, ends, before, starts, whole]
    tallies += [_so_far(runs, target, found, notes), _chunked(runs, target, found, notes)]
    return [tally.probe() for tally in tallies if tally.tried]


def _chosen(target: Target) -> list[int]:
    """Units to try: both ends, the middle, and others in between; those that see anything."""
    seen = np.flatnonzero(target.first <= target.last)
    if len(seen) <= UNITS:
        return [int(unit) for unit in seen]
    spread = np.linspace(0, len(seen) - 1, UNITS).astype(int)
    spread[1:-1] += np.arange(UNITS - 2) % 3  # other phases of a period
    return sorted({int(seen[min(at, len(seen) - 1)]) for at in spread})


def _moves(runs: Runs, target: Target, results: Sequence[torch.Tensor]) -> np.ndarray:
    """Which units have any other number than in the unchanged pass."""
    was, now = runs.base[target.number], results[target.number]
    if was.is_floating_point() or was.is_complex():
        differs = ((now - was).abs() > TINY) | (now.isnan() != was.isnan())
    else:
        differs = now != was
    if target.axis is None:
        return np.asarray(differs.any()).reshape(1)
    others = [axis for axis in range(differs.ndim) if axis != target.axis]
    return np.asarray(differs.any(dim=others) if others else differs)


def _wrong(moved: np.ndarray, by: str) -> str:
    found = np.flatnonzero(moved)
    return f"unit {found[0]} moves with {by}" if len(found) else ""


def _single(runs: Runs, target: Target, units: Sequence[int], rows: np.ndarray, tally: Tally, notes: list[str]) -> None:
    """Units move with one sample, and no unit that does not read it does."""
    open_units = list(units)
    wrong: dict[int, str] = {}
    for restart, (size, weights) in enumerate(RESTARTS):
        if not open_units:
            break
        if restart:
            runs.restart(restart, weights)
        for unit in list(open_units):
            row = int(rows[unit])
            moved = _moves(runs, target, runs.moved(row, row, size))
            outside = moved & ((target.first > row) | (target.last < row))
            if outside.any():
                wrong[unit] = _wrong(outside, f"sample {row}")
            if moved[unit] or unit in wrong:
                open_units.remove(unit)
    if restart:
        runs.restart(0)
    for unit in units:
        if unit in open_units and target.swallows:
            notes.append("an op that may hide a change (a quantiser, a comparison) lies before an output: not all seen")
            continue
        still = f"unit {unit} does not move with sample {int(rows[unit])}" if unit in open_units else ""
        tally.note(wrong.get(unit, still))


def _streamed(runs: Runs, target: Target, found: Streaming, tally: Tally) -> None:
    """Samples come chunk by chunk, and what is to come has other numbers: the units said to be complete stay."""
    extent = runs.line.extent
    for end in _arrivals(found, extent):
        moved = _moves(runs, target, runs.moved(end, extent - 1, 1.0))
        tally.note(_wrong(moved & (target.last < end), f"what comes after {end} samples"))


def _arrivals(found: Streaming, extent: int) -> list[int]:
    """How many samples have come, whole chunks, at a few times before the end."""
    size = found.chunk.size
    ends = {int(at) // size * size for at in np.linspace(size, extent - 1, 4)}
    return sorted(end for end in ends if 0 < end < extent)


# --- parts of the signal by themselves --------------------------------------------------------------------------------


def _so_far(runs: Runs, target: Target, found: Streaming, notes: list[str]) -> Tally:
    """The samples that have come, and nothing else, give the units said to be complete as the whole signal does."""
    tally = Tally("the samples so far by themselves give what is complete")
    if target.axis is None or target.stream.sized:
        return tally
    for end in _arrivals(found, runs.line.extent)[-2:]:
        late = np.flatnonzero(target.last >= end)
        count = int(late[0]) if len(late) else len(target.last)
        part = _by_itself(runs, target, 0, end - 1, notes) if count else None
        if part is None:
            continue
        count = min(count, part.shape[target.axis])
        apart = _apart(part.narrow(target.axis, 0, count), runs.base[target.number].narrow(target.axis, 0, count))
        tally.note("" if apart is None else f"{end} samples by themselves differ by {apart:.3g}")
    return tally


def _chunked(runs: Runs, target: Target, found: Streaming, notes: list[str]) -> Tally:
    """A chunk in the middle, with its halo and nothing else, gives what it gives within the whole signal."""
    tally = Tally("a chunk with its halo gives what the whole signal gives")
    least, (back, ahead) = found.chunk.least, found.chunk.halo
    hop = target.stream.hop
    if back is None or ahead is None or hop is None or target.axis is None:
        return tally
    if target.stream.sized or target.stream.masked:
        return tally
    room = runs.line.extent - back - ahead
    size = min(found.chunk.size * max(1, -(-16 // found.chunk.size)), room // least * least)
    begin = back + max(0, room - size) // 2 // least * least
    if size < least or begin - back < 0 or begin + size + ahead > runs.line.extent:
        notes.append("the input is too short for a chunk with its halo")
        return tally
    part = _by_itself(runs, target, begin - back, begin + size + ahead - 1, notes)
    if part is None:
        return tally
    count, offset = (int(Fraction(at) / Fraction(hop)) for at in (size, begin - back))
    first = max(-int(-Fraction(begin - target.stream.offset) // Fraction(hop)), offset)
    whole = runs.base[target.number]
    if part.shape[target.axis] < first - offset + count:
        notes.append(ANOTHER_SHAPE)
        return tally
    count = min(count, whole.shape[target.axis] - first)
    if count < 1:
        notes.append("the output ends before a chunk with its halo does, so none was compared")
        return tally
    apart = _apart(part.narrow(target.axis, first - offset, count), whole.narrow(target.axis, first, count))
    tally.note("" if apart is None else f"samples {begin} to {begin + size - 1} by themselves differ by {apart:.3g}")
    return tally


def _by_itself(runs: Runs, target: Target, first: int, last: int, notes: list[str]) -> torch.Tensor | None:
    """The output on a part of the signal; None where the model does not run on it, or gives something else."""
    try:
        results = runs.cut(first, last)
    except Exception as error:  # a model of one length
        notes.append(f"the model does not run on a part of the signal ({type(error).__name__}), so none was compared")
        return None
    part, whole = results[target.number] if target.number < len(results) else None, runs.base[target.number]
    others = [axis for axis in range(whole.ndim) if axis != target.axis]
    if part is None or part.ndim != whole.ndim or any(part.shape[axis] != whole.shape[axis] for axis in others):
        notes.append(ANOTHER_SHAPE)
        return None
    return part


def _apart(one: torch.Tensor, two: torch.Tensor) -> float | None:
    """How far two tensors are apart, None where that is rounding."""
    if not one.is_floating_point():
        return 1.0 if bool((one != two).any()) else None
    same = (one == two) | (one.isnan() & two.isnan())
    if bool(same.all()):
        return None
    apart = float((one - two).masked_fill(same, 0).abs().max())
    size = float(two.nan_to_num(0, 0, 0).abs().max())
    return None if apart <= ROUNDING.get(two.dtype, 1e-3) * max(1.0, size) else apart
