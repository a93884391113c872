"""Counts as polynomials in sizes: sampled on a grid of sizes, interpolated exactly, and confirmed at sizes off it.

Where a model strides, its counts are polynomials only on a lattice of sizes (multiples of 32, say): the floor in
(H - k)/s + 1 vanishes there. The lattice is found by trying: the guesses of the model first, then multiples of them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TypeAlias

from rfcalc.comparing.polynomial import Polynomial, interpolate
from rfcalc.errors import LoadError, TraceError
from rfcalc.progress import told

MOST_DEGREE = 4  #: of a polynomial that is looked for, in one symbol
MOST_STEPS = 36  #: sizes in a row to look at for a lattice that no guess has found

Sizes: TypeAlias = Mapping[str, int]
Key: TypeAlias = Hashable
Place: TypeAlias = tuple[int, ...]  #: how many steps each symbol is from its start


@dataclass(frozen=True)
class Sample:
    """What one trace says: counts, and facts that do not count anything (a field, a name), which may take longer."""

    counts: Mapping[Key, int]
    facts: Callable[[], Mapping[Key, Hashable]]


@dataclass(frozen=True)
class Lattice:
    """The sizes of one symbol: start, start + step, start + 2 step, ...; the step is negative if they fall."""

    symbol: str
    start: int
    step: int

    def at(self, place: int) -> int:
        """The size so many steps from the start."""
        return self.start + self.step * place

    def far(self, times: int) -> int:
        """The steps to about so many times the start more; towards 1 where sizes fall."""
        steps = self.start // abs(self.step)
        return times * steps if self.step > 0 else steps - steps // 2**times

    @property
    def lowest(self) -> int:
        """The steps from the start to the smallest size worth a try; not below the first few where sizes fall."""
        return -((self.start - 1) // self.step) if self.step > 0 else 2


@dataclass(frozen=True)
class Guess:
    """Where to look for the lattice of a symbol: a size that works, and steps, the likeliest first."""

    start: int
    steps: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class Fit:
    """Polynomials that hold on lattices.

    ``polynomials`` has those counts that every trace had and that are polynomials, ``irregular`` the sizes and counts
    of those that are none. ``facts`` are those that were the same on the grid and at the sizes off it that were chosen
    to confirm what was found there.
    ``fitted`` are the sizes that the polynomials were made from, ``confirmed`` all others at which they held, and
    ``least`` the smallest ones among them.
    """

    lattices: tuple[Lattice, ...]
    polynomials: Mapping[Key, Polynomial]
    irregular: Mapping[Key, tuple[tuple[Sizes, int], ...]]
    facts: Mapping[Key, Hashable]
    fitted: tuple[Sizes, ...]
    confirmed: tuple[Sizes, ...]
    least: Sizes


class RefusedError(Exception):
    """The model accepts no other sizes along a symbol (or, for "", not in combination); ``cause`` is what it said."""

    def __init__(self, symbol: str, cause: Exception) -> None:
        super().__init__(symbol, cause)
        self.symbol, self.cause = symbol, cause


def fit(measure: Callable[[Sizes], Sample], guesses: Mapping[str, Guess], essential: Sequence[Key]) -> Fit:
    """The polynomials of everything that ``measure`` counts.

    ``essential`` are the counts for which lattices are looked for. Raises `RefusedError` for sizes that cannot change,
    and whatever ``measure`` raises at the starts.
    """
    samples = _Samples(measure, {symbol: guess.start for symbol, guess in guesses.items()})
    lines: list[_Line] = []
    for symbol, guess in guesses.items():
        found = [abs(line.lattice.step) for line in lines]  # height and width are alike more often than not
        steps = tuple(dict.fromkeys((*guess.steps, *found)))
        lines.append(_line(samples, symbol, Guess(guess.start, steps), essential))
    return _fitted(samples, lines)


class _Samples:
    """Every trace made so far. A size that the model refuses gives None, unless it is the start."""

    def __init__(self, measure: Callable[[Sizes], Sample], start: Sizes) -> None:
        self.measure = measure
        self.start = dict(start)
        self.known: dict[tuple[int, ...], Sample | None] = {tuple(start.values()): measure(start)}
        self.refusal: Exception = TraceError("no size was tried")

    def at(self, sizes: Sizes) -> Sample | None:
        """The sample at these sizes, and at the start of the symbols that are not given."""
        wanted = {**self.start, **sizes}
        key = tuple(wanted.values())
        if key not in self.known:
            self.known[key] = self._measured(wanted)
        return self.known[key]

    def _measured(self, sizes: Sizes) -> Sample | None:
        if min(sizes.values()) < 1:
            return None
        told(f"trace {len(self.known) + 1}, at " + ", ".join([f"{symbol}={size}" for symbol, size in sizes.items()]))
        try:
            return self.measure(sizes)
        except (TraceError, LoadError) as error:
            self.refusal = error
            return None


# --- one symbol -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Line:
    """The lattice of one symbol, and the highest degree of any count along it."""

    lattice: Lattice
    degree: int


def _line(samples: _Samples, symbol: str, guess: Guess, essential: Sequence[Key]) -> _Line:
    """The first lattice on which the essential counts are polynomials; the last that is accepted if there is none."""
    accepted: list[Lattice] = []
    for side in (1, -1):  # smaller sizes are a way out where all larger ones are refused
        for step in guess.steps:
            lattice = Lattice(symbol, guess.start, side * step)
            if None not in _row(samples, lattice, 3):
                accepted.append(lattice)
                line = _polynomial_line(samples, lattice, essential)
                if line is not None:
                    return line
        if accepted:
            break
    refusal = samples.refusal
    last = accepted[-1] if accepted else Lattice(symbol, guess.start, guess.steps[-1])
    line = _coarser_line(samples, last, essential)
    if line is None and not accepted:
        raise RefusedError(symbol, refusal)
    return line or _Line(last, 1)


def _row(samples: _Samples, lattice: Lattice, number: int, every: int = 1) -> list[Sample | None]:
    """The samples at the first sizes of a lattice."""
    return [samples.at({lattice.symbol: lattice.at(every * place)}) for place in range(number)]


def _polynomial_line(samples: _Samples, lattice: Lattice, essential: Sequence[Key]) -> _Line | None:
    """The degree along a lattice, from as few sizes as show it; None if the essential counts have none."""
    degrees: dict[Key, int | None] = {}
    for number in range(3, MOST_DEGREE + 3):
        row = [sample for sample in _row(samples, lattice, number) if sample is not None]
        if len(row) == number:
            degrees = {key: _degree([sample.counts.get(key) for sample in row]) for key in row[0].counts}
        if len(row) < number or None not in degrees.values():
            break
    if any(degrees.get(key) is None for key in essential):
        return None
    line = _Line(lattice, max(degree for degree in degrees.values() if degree is not None))
    return line if _holds_far_off(samples, line, essential) else None


def _holds_far_off(samples: _Samples, line: _Line, essential: Sequence[Key]) -> bool:
    """Whether what near sizes show is so at a size far from them, too: a floor is constant for a while."""
    row = enumerate(_row(samples, line.lattice, line.degree + 1))
    near: dict[Place, Sample] = {(place,): sample for place, sample in row if sample is not None}
    found = _interpolated([line.lattice], [line], near)
    far = _fresh(samples, [line], 1)
    return far is None or all(far[1].counts.get(key) == found[key].at(far[0]) for key in essential)


def _degree(values: Sequence[int | None]) -> int | None:
    """The degree of the polynomial through equally spaced values; None where they are too few or on none."""
    row = [value for value in values if value is not None]
    if len(row) < len(values):
        return None
    for degree in range(len(row) - 1):
        if len(set(row)) == 1:
            return degree
        row = [after - before for before, after in pairwise(row)]
    return None


def _coarser_line(samples: _Samples, lattice: Lattice, essential: Sequence[Key]) -> _Line | None:
    """The finest coarser lattice on which the essential counts are polynomials."""
    for times in range(2, MOST_STEPS // 4 + 1):
        if None not in _row(samples, lattice, 4, times):
            coarse = Lattice(lattice.symbol, lattice.start, lattice.step * times)
            line = _polynomial_line(samples, coarse, essential)
            if line is not None:
                return line
    return None


# --- all symbols ------------------------------------------------------------------------------------------------------


def _fitted(samples: _Samples, lines: Sequence[_Line]) -> Fit:
    """The polynomials through the grid of all lines, as far as every other sample agrees."""
    lattices = tuple(line.lattice for line in lines)
    places = product(*(range(line.degree + 1) for line in lines))
    grid = {place: samples.at(_sizes(lattices, place)) for place in places}
    found = {place: sample for place, sample in grid.items() if sample is not None}
    if len(found) < len(grid):
        raise RefusedError("", samples.refusal)
    fresh = [far[1] for far in (_fresh(samples, lines, times) for times in (1, 2)) if far is not None]
    others = {place: sample for place, sample in _on(lattices, samples).items() if place not in grid}
    guessed = _interpolated(lattices, lines, found)
    kept = {key: item for key, item in guessed.items() if _holds(key, item, lattices, others)}
    everywhere = {**found, **others}
    start = found[(0,) * len(lines)]
    return Fit(
        lattices,
        kept,
        {key: _seen(key, lattices, everywhere) for key in start.counts if key not in kept},
        _constant([sample.facts() for sample in (*found.values(), *fresh)]),
        tuple(_sizes(lattices, place) for place in found),
        tuple(_sizes(lattices, place) for place in others),
        _least(samples, lattices, kept),
    )


def _sizes(lattices: Sequence[Lattice], place: Place) -> dict[str, int]:
    return {item.symbol: item.at(steps) for item, steps in zip(lattices, place, strict=True)}


def _fresh(samples: _Samples, lines: Sequence[_Line], times: int) -> tuple[Sizes, Sample] | None:
    """A sample off the grid, and as far from it as is accepted: a model may do otherwise from some size on."""
    lattices = [line.lattice for line in lines]
    for part in (1, 2, 4, 8):
        steps = [max(line.degree, line.lattice.far(times) // part) + times for line in lines]
        # First as different a place for each symbol, then the same for all.
        apart = 1 if times == 1 else 0
        sizes = _sizes(lattices, tuple(step + apart * at for at, step in enumerate(steps)))
        sample = samples.at(sizes)
        if sample is not None:
            return sizes, sample
    return None


def _on(lattices: Sequence[Lattice], samples: _Samples) -> dict[Place, Sample]:
    """The samples that lie on the lattices."""
    found = {}
    for sizes, sample in samples.known.items():
        steps = [divmod(size - item.start, item.step) for size, item in zip(sizes, lattices, strict=True)]
        if sample is not None and not any(rest for _, rest in steps):
            found[tuple(step for step, _ in steps)] = sample
    return found


def _interpolated(
    lattices: Sequence[Lattice], lines: Sequence[_Line], found: Mapping[Place, Sample]
) -> dict[Key, Polynomial]:
    symbols = [item.symbol for item in lattices]
    places = [[line.lattice.at(step) for step in range(line.degree + 1)] for line in lines]
    known: dict[tuple[int, ...], Polynomial] = {}  # equal layers have equal counts
    polynomials = {}
    for key in next(iter(found.values())).counts:
        values = {place: sample.counts[key] for place, sample in found.items() if key in sample.counts}
        if len(values) == len(found):
            row = tuple(values.values())
            known[row] = known.get(row) or interpolate(symbols, places, values)
            polynomials[key] = known[row]
    return polynomials


def _holds(key: Key, item: Polynomial, lattices: Sequence[Lattice], others: Mapping[Place, Sample]) -> bool:
    return all(sample.counts.get(key) == item.at(_sizes(lattices, place)) for place, sample in others.items())


def _constant(rows: Sequence[Mapping[Key, Hashable]]) -> dict[Key, Hashable]:
    return {key: fact for key, fact in rows[0].items() if all(row.get(key) == fact for row in rows)}


def _seen(key: Key, lattices: Sequence[Lattice], samples: Mapping[Place, Sample]) -> tuple[tuple[Sizes, int], ...]:
    rows = sorted((place, sample.counts[key]) for place, sample in samples.items() if key in sample.counts)
    return tuple((_sizes(lattices, place), count) for place, count in rows)


def _least(samples: _Samples, lattices: Sequence[Lattice], kept: Mapping[Key, Polynomial]) -> Sizes:
    """The smallest sizes at which the polynomials were found to hold; the smaller ones are tried from below."""
    for part in (1, 2, 4):
        sizes = _sizes(lattices, tuple(-(-item.lowest // part) for item in lattices))
        sample = samples.at(sizes)
        if sample is not None and all(sample.counts.get(key) == item.at(sizes) for key, item in kept.items()):
            return sizes
    return _sizes(lattices, (0,) * len(lattices))
