"""What changed between two records of a model: layers paired, quantities compared, causes told from consequences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rfcalc.analyses.matching import How, Item, Pair, frozen, match
from rfcalc.baseline.causes import Cause, Own, own_causes
from rfcalc.baseline.record import Entry, Row

#: What is compared of a layer and of the whole model, beside its fields.
QUANTITIES = ("params", "macs", "closed_macs", "flops", "activation_bytes", "output", "dtype")
TOTALS = (
    *("params", "frozen_params", "unused_params", "buffers", "macs", "closed_macs", "flops"),
    *("activation_bytes", "status"),
)
FIELD = ("size", "size_min", "local_size", "whole_input", "stride", "start", "status")


@dataclass(frozen=True, slots=True)
class Change:
    """One quantity that differs. ``source`` is the input that a field is measured in, "" for other quantities."""

    what: str
    old: Any
    new: Any
    source: str = ""


@dataclass(frozen=True, slots=True)
class RowChange:
    """One layer that differs. ``follows`` names the layers before it that made it change, if it did not itself.

    ``how`` is "changed" also where the layer is as it was and only its numbers are others; ``old_name`` or ``name`` is
    "" for a layer that was added or removed.
    """

    how: How
    old_name: str
    name: str
    kind: str
    changes: tuple[Change, ...]
    causes: tuple[Cause, ...]
    follows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two records of one model; false if nothing does."""

    totals: tuple[Change, ...] = ()
    rows: tuple[RowChange, ...] = ()
    causes: tuple[Cause, ...] = ()  #: of the model as a whole

    def __bool__(self) -> bool:
        return bool(self.totals or self.rows or self.causes)


def compare(old: Entry, new: Entry) -> Difference:
    """Everything that differs, with its causes."""
    if replace(old, model=new.model) == new:  # how a model is named for tracing says nothing of what it is
        return Difference()
    causes = [
        Cause(what, before, after)
        for what, before, after in (
            ("training", old.training, new.training),
            ("axes", [dict(item.axes) for item in old.inputs], [dict(item.axes) for item in new.inputs]),
            ("unused parameters", old.totals.unused_params, new.totals.unused_params),
        )
        if before != after
    ]
    pairs = match([item_of(row) for row in old.layers], [item_of(row) for row in new.layers])
    totals = tuple(_totals(old, new, pairs))
    rows = tuple(_rows(old, new, pairs, bool(causes)))
    if not (causes or totals or rows):
        causes.append(Cause("details"))
    return Difference(totals, rows, tuple(causes))


def model_field(entry: Entry) -> dict[str, list[int]]:
    """The size of the model's field in each source that its last spatial layer sees: the smallest of its units' fields.

    It is the local size where layers before it bring in the whole axis.
    """
    row = next((row for row in entry.layers if row.name == entry.spatial), None)
    found = {}
    for source, field in row.fields.items() if row is not None else ():
        least = field.get("size_min", field["size"])
        size = field["local_size"] if field["stride"] is None and field.get("local_size") else least
        if any(size):
            found[source] = list(size)
    return found


def _totals(old: Entry, new: Entry, pairs: Sequence[Pair]) -> Iterator[Change]:
    for what in TOTALS:
        before, after = getattr(old.totals, what), getattr(new.totals, what)
        if before != after:
            yield Change(what, before, after)
    fields = model_field(old), model_field(new)
    for source in dict.fromkeys([*fields[0], *fields[1]]):
        before, after = fields[0].get(source), fields[1].get(source)
        if before != after:
            yield Change("field", before, after, source)
    kept = {old.layers[pair.old].name: pair.new for pair in pairs if pair.old is not None}
    same = kept.get(old.spatial)
    if old.spatial != new.spatial and (same is None or new.layers[same].name != new.spatial):
        yield Change("spatial", old.spatial, new.spatial)


def item_of(row: Row) -> Item:
    """What matching needs to know of a layer."""
    folded = tuple((op.kind, op.module, frozen(op.attrs), frozen(op.weights)) for op in row.folded)
    return Item(row.name, row.kind, (row.module, frozen(row.attrs), frozen(row.weights), folded))


def _rows(old: Entry, new: Entry, pairs: Sequence[Pair], elsewhere: bool) -> Iterator[RowChange]:
    reasons = _Reasons(old.layers, new.layers, pairs, elsewhere)
    for pair in pairs:
        before = old.layers[pair.old] if pair.old is not None else None
        after = new.layers[pair.new] if pair.new is not None else None
        changes = tuple(_changes(before, after))
        causes, follows = reasons.of(pair, bool(changes))
        if changes or causes or follows or before is None or after is None:
            how: How = pair.how if before is None or after is None else _how(changes or follows, causes)
            kind = (after or before or Row("", "")).kind
            yield RowChange(
                how, before.name if before else "", after.name if after else "", kind, changes, causes, follows
            )


def _how(others: Sequence[Any], causes: Sequence[Cause]) -> How:
    """A layer with another name and nothing else is renamed."""
    only_names = not others and all(cause.what in ("renamed", "renumbered") for cause in causes)
    return "renamed" if only_names else "changed"


def _changes(old: Row | None, new: Row | None) -> Iterator[Change]:
    for what in QUANTITIES:
        before, after = getattr(old, what, None), getattr(new, what, None)
        if before != after:
            yield Change(what, before, after)
    fields = {} if old is None else old.fields, {} if new is None else new.fields
    for source in dict.fromkeys([*fields[0], *fields[1]]):
        a, b = fields[0].get(source, {}), fields[1].get(source, {})
        for what in FIELD:
            if a.get(what) != b.get(what):
                yield Change(what, a.get(what), b.get(what), source)


class _Reasons:
    """Causes of each pair: its own, or the layers before it that have some."""

    def __init__(self, old: Sequence[Row], new: Sequence[Row], pairs: Sequence[Pair], elsewhere: bool) -> None:
        self.old, self.new, self.elsewhere = old, new, elsewhere
        both = [(pair.old, pair.new) for pair in pairs if pair.old is not None and pair.new is not None]
        self.kept = {old[a].name: new[b].name for a, b in both}
        self.partner = {b: a for a, b in both}
        self.place = {row.name: number for number, row in enumerate(new)}
        self.own: dict[int, Own] = {b: own_causes(old[a], new[b], self.kept) for a, b in both}
        self.upstream: dict[int, tuple[str, ...]] = {}
        for number in range(len(new)):
            self.upstream[number] = self._upstream(number)

    def _upstream(self, number: int) -> tuple[str, ...]:
        """The nearest layers before this one that changed of themselves; layers come after what they read."""
        found: dict[str, None] = {}
        for name in self.new[number].inputs:
            place = self.place.get(name)
            if place is None or place >= number:
                continue
            if place not in self.own or self.own[place].acts:
                found[name] = None
            else:
                found.update(dict.fromkeys(self.upstream[place]))
        partner = self.partner.get(number)
        if partner is not None:
            found.update((name, None) for name in self.old[partner].inputs if name not in self.kept)
        return tuple(found)

    def of(self, pair: Pair, numbers: bool) -> tuple[tuple[Cause, ...], tuple[str, ...]]:
        """The causes of a pair, and the layers that it follows; ``numbers`` says whether any quantity differs."""
        if pair.new is None or pair.old is None:
            return (Cause(pair.how),), ()
        own, upstream = self.own[pair.new], self.upstream[pair.new]
        causes = [*own.causes, *([Cause("order")] if pair.moved else [])]
        if upstream:
            return tuple(causes), upstream if (numbers or own.derived) and not own.acts else ()
        causes += own.derived
        if numbers and not self.elsewhere and all(cause.what in ("renamed", "renumbered") for cause in causes):
            causes.append(Cause("unknown"))
        return tuple(causes), ()
