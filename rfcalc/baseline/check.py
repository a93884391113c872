"""Models against their lock and their budgets."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from rfcalc.baseline import streams
from rfcalc.baseline.budgets import FOOTPRINT, TILES, Limit, Watched
from rfcalc.baseline.differences import Difference, compare, model_field
from rfcalc.baseline.lockfile import Lock, versions
from rfcalc.baseline.record import Entry
from rfcalc.errors import RfcalcError, UsageError

CHANGED, INCOMPLETE = 1, 4  #: exit statuses, beside those that errors carry

#: Which total a ceiling is held against.
_CEILINGS = {
    "max_params": "params",
    "max_macs": "macs",
    "max_unmasked_macs": "unmasked_macs",
    "max_flops": "flops",
    "max_activation_bytes": "activation_bytes",
}
_GROWING = ("params", "macs", "flops", "activation_bytes")
#: Totals that are lower bounds where an op has no rule.
_MAY_BE_BOUNDS = ("macs", "unmasked_macs", "flops")


@dataclass(frozen=True, slots=True)
class Held:
    """One limit against what the model has. ``ok`` is None where that is not known well enough to tell."""

    limit: Limit
    value: Any
    ok: bool | None
    of: str = ""  #: the source of a field, the total that grew most, the layers that look ahead or mix examples


@dataclass(frozen=True)
class Checked:
    """One model.

    ``status`` is "same", "changed", "new" (not in the lock), "removed" (in the lock only), "unlocked" (there is no lock
    to compare with) or "failed"; ``error`` says why, ``exit_status`` is that of the error. ``gaps`` is what keeps the
    numbers from being exact.
    """

    name: str
    status: str
    old: Entry | None = None
    new: Entry | None = None
    difference: Difference = field(default_factory=Difference)
    held: tuple[Held, ...] = ()
    gaps: tuple[str, ...] = ()
    error: str = ""
    exit_status: int = 0
    file: str = ""
    line: int = 0
    accepted: bool = False  #: the lock has been written anew with it

    @property
    def over(self) -> bool:
        """Whether a limit is broken."""
        return any(item.ok is False for item in self.held)

    @property
    def differs(self) -> bool:
        """Whether the lock says something else, and has not been written anew."""
        return self.status in ("changed", "new", "removed") and not self.accepted


def exit_status(models: Iterable[Checked], *, strict: bool = False) -> int:
    """0 fine; 1 changed or over budget; 2 or 3 a model that could not be had; 4 a limit that cannot be told.

    With ``strict`` also 4 where any number is not exact. What could not be traced comes first, then what is wrong.
    """
    models = list(models)
    if any(model.error for model in models):
        return max(model.exit_status for model in models)
    if any(model.differs or model.over for model in models):
        return CHANGED
    unknown = any(item.ok is None for model in models for item in model.held)
    return INCOMPLETE if unknown or (strict and any(model.gaps for model in models)) else 0


def check(
    watched: Iterable[Watched], lock: Lock | None, measure: Callable[[Watched], Entry], *, whole: bool = True
) -> list[Checked]:
    """Every model against the lock (None: there is none to compare with) and its budget.

    ``measure`` traces a model. ``whole`` says that these are all models of the configuration, so that an entry of the
    lock that is none of them is left over.
    """
    watched = list(watched)
    found = [_checked(item, lock, measure) for item in watched]
    if lock is not None and whole:
        names = {item.name for item in watched}
        found += [
            Checked(name, "removed", old=entry)
            for name, entry in sorted(lock.models.items())
            if name not in names and entry.model is not None
        ]
    return found


def _checked(item: Watched, lock: Lock | None, measure: Callable[[Watched], Entry]) -> Checked:
    blank = Checked(item.name, "failed", file=item.file, line=item.line)
    old = lock.models.get(item.name) if lock is not None else None
    try:
        new = measure(item)
        held = tuple(hold(item.limits, new, old))
    except RfcalcError as error:
        return replace(blank, old=old, error=str(error), exit_status=error.exit_status)
    new = replace(new, flow=None)  # which has the graph
    found = replace(blank, old=old, new=new, held=held, gaps=tuple(gaps(new)))
    if old is None:
        return replace(found, status="unlocked" if lock is None else "new")
    difference = compare(old, new)
    return replace(found, status="changed" if difference else "same", difference=difference)


def between(old: Mapping[str, Entry], new: Mapping[str, Entry]) -> list[Checked]:
    """Records of the same names against each other; a name on one side only is one removed or new."""
    found = []
    for name in dict.fromkeys([*old, *new]):
        before, after = old.get(name), new.get(name)
        if before is None or after is None:
            found.append(Checked(name, "new" if before is None else "removed", before, after))
        else:
            difference = compare(before, after)
            found.append(Checked(name, "changed" if difference else "same", before, after, difference))
    return found


def accepting(lock: Lock, models: Sequence[Checked], *, with_torch: bool = False) -> Lock:
    """The lock with what was found of these models; entries of others stay."""
    entries = dict(lock.models)
    for model in models:
        if model.status == "removed":
            entries.pop(model.name, None)
        elif model.new is not None:
            entries[model.name] = model.new
    return replace(lock, models=entries, versions=versions(lock.versions, with_torch=with_torch))


def gaps(entry: Entry) -> Iterator[str]:
    """What keeps the numbers of a model from being exact."""
    if entry.totals.status != "complete":
        unknown = [row.name for row in entry.layers if row.macs is None]
        yield f"an op has no rule at {', '.join(unknown[:3]) or 'some layer'}"
    bounds = [row.name for row in entry.layers if any(seen["status"] != "exact" for seen in row.fields.values())]
    if bounds:
        more = f" and {len(bounds) - 1} more" if len(bounds) > 1 else ""
        yield f"the field is an upper bound at {bounds[0]}{more}"


def chosen(watched: Sequence[Watched], names: Sequence[str]) -> list[Watched]:
    """The models of these names, all of them if there are none. Raises UsageError with the nearest name."""
    known = [item.name for item in watched]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.4)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}"
            raise UsageError(f"no model of the configuration is called {name!r}; {hint}")
    return [item for item in watched if not names or item.name in names]


# --- budgets ----------------------------------------------------------------------------------------------------------


def hold(limits: Iterable[Limit], new: Entry, old: Entry | None) -> Iterator[Held]:
    """Each limit against the model; growth only where it is known what it was."""
    for limit in limits:
        if limit.key in _CEILINGS:
            yield _ceiling(limit, new)
        elif limit.key in TILES:
            yield _tiled(limit, new)
        elif limit.key in FOOTPRINT:
            value = new.footprint.get(limit.key)
            yield Held(limit, value, None if value is None else value <= limit.value)
        elif limit.key == "min_field":
            yield from _floors(limit, new)
        elif limit.key in streams.LIMITS:
            yield _flowing(limit, new)
        elif old is not None:
            yield _growth(limit, old, new)


def _tiled(limit: Limit, entry: Entry) -> Held:
    """A limit on tiles: what was found is a halo, or whether tiles are exact, and the first layer to blame if not."""
    value, reason = entry.footprint.get(limit.key, (None, ""))
    if value is None or reason:
        return Held(limit, value, None if value is None else False, reason)
    return Held(limit, value, limit.key == "tile_exact" or value <= limit.value)


def _flowing(limit: Limit, entry: Entry) -> Held:
    if entry.flow is None:
        raise UsageError(f"{entry.name}: {limit.key} is held when a model is traced, and not of what a lock says")
    return Held(limit, *entry.flow.held(limit.key, limit.value))


def _ceiling(limit: Limit, entry: Entry) -> Held:
    what = _CEILINGS[limit.key]
    value = getattr(entry.totals, what)
    if value is None:
        return Held(limit, None, None)
    bound = what in _MAY_BE_BOUNDS and entry.totals.status != "complete"
    return Held(limit, value, False if value > limit.value else None if bound else True)


def _floors(limit: Limit, entry: Entry) -> Iterator[Held]:
    fields = model_field(entry)
    known = [item.name for item in entry.inputs]
    for source in limit.value:
        if source and source not in known:
            raise UsageError(f"{entry.name}: min_field names {source!r}, which is no input; there are {known}")
    named = limit.value if "" not in limit.value else dict.fromkeys(fields or [""], limit.value[""])
    for source, least in named.items():
        yield _floor(limit, entry, source, least, fields.get(source))


def _floor(limit: Limit, entry: Entry, source: str, least: tuple[int, ...], size: list[int] | None) -> Held:
    if size is None:
        return Held(limit, None, None, source)
    if len(least) not in (1, len(size)):
        raise UsageError(
            f"{entry.name}: min_field {limit.shown} has {len(least)} numbers, the field in {source} has {len(size)}"
        )
    wanted = least * len(size) if len(least) == 1 else least
    row = next(row for row in entry.layers if row.name == entry.spatial)
    exact = row.fields[source]["status"] == "exact"
    enough = all(extent >= floor for extent, floor in zip(size, wanted, strict=True))
    return Held(limit, size, False if not enough else True if exact else None, source)


def _growth(limit: Limit, old: Entry, new: Entry) -> Held:
    """The total that grew most, relative to what it was; from nothing to anything is more than any percentage."""
    pairs = {what: (getattr(old.totals, what), getattr(new.totals, what)) for what in _GROWING}
    grown = {
        what: None if before == 0 < after else Fraction(after - before, before or 1)
        for what, (before, after) in pairs.items()
        if before is not None and after is not None
    }
    endless = [what for what, share in grown.items() if share is None]
    if endless:
        return Held(limit, None, False, endless[0])
    most = max(grown, key=lambda what: grown[what] or 0)
    share = grown[most] or Fraction(0)
    bound = len(grown) < len(pairs) or "lower_bound" in (old.totals.status, new.totals.status)
    return Held(limit, share, False if share > limit.value else None if bound else True, most)
