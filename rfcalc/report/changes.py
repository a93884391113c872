"""What changed between models and what a budget says: tables of the layers that differ, and findings for CI."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rfcalc.analyses.results import plain
from rfcalc.report import text
from rfcalc.report.document import Column, Fact, Section, Table
from rfcalc.report.findings import Case, CheckReport, Finding, Metric

if TYPE_CHECKING:
    from rfcalc.baseline.causes import Cause
    from rfcalc.baseline.check import Checked, Held
    from rfcalc.baseline.differences import Change, RowChange
    from rfcalc.graph import Place

SCHEMA = "rfcalc-check/1"

_LABELS = {
    "params": "parameters",
    "frozen_params": "frozen parameters",
    "unused_params": "unused parameters",
    "macs": "multiply-adds",
    "closed_macs": "multiply-adds that masks close",
    "flops": "operations",
    "activation_bytes": "activation bytes",
    "size": "field",
    "size_min": "smallest field",
    "local_size": "local field",
    "whole_input": "whole input",
    "stride": "field stride",
    "start": "field start",
    "spatial": "last spatial layer",
}
#: What a table tells of a layer if it changed, and only else the rest.
_FIRST = ("params", "macs", "size", "local_size")
_METRICS = ("params", "macs", "activation_bytes")
_LINES = 10  #: lines of code that are annotated for one model
_NAMES = 8  #: renamed layers that are named
_LONG = 15  #: rows from which on a table is folded
_VERDICTS = {
    "same": "as locked",
    "changed": "changed",
    "new": "not in the lock",
    "removed": "only in the lock",
    "unlocked": "not compared with a lock",
    "failed": "could not be had",
}


def changes_report(models: Sequence[Checked], *, lock: str = "", rows: int | None = None) -> CheckReport:
    """What differs and what breaks a limit. ``lock`` is the file of the lock; ``rows`` limits what merely follows."""
    sections = [section for model in models for section in _sections(model, rows)]
    held = [(model, item) for model in models for item in model.held if item.ok is not True]
    if held:
        sections.append(Section("budgets", table=_budgets(held)))
    return CheckReport(
        _title(models),
        tuple(sections),
        tuple(f"{model.name}: {gap}" for model in models for gap in model.gaps),
        {"schema": SCHEMA, "models": [_document(model) for model in models]},
        [record for model in models for record in _records(model)],
        findings=[finding for model in models for finding in _findings(model, lock)],
        cases=[case for model in models for case in _cases(model)],
        metrics=[metric for model in models for metric in _metrics(model)],
    )


def _title(models: Sequence[Checked]) -> str:
    counts = Counter(_verdict(model) for model in models)
    over = sum(model.over for model in models)
    parts = [f"{number} {verdict}" for verdict, number in counts.items()]
    limits = sum(len(model.held) for model in models)
    if over:
        parts.append(f"{over} over budget")
    elif limits and all(item.ok for model in models for item in model.held):
        parts.append(f"{text.plural(limits, 'limit')} held")
    return f"{text.plural(len(models), 'model')}: {', '.join(parts) or 'nothing to check'}"


def _verdict(model: Checked) -> str:
    return "accepted" if model.accepted else _VERDICTS[model.status]


# --- one model --------------------------------------------------------------------------------------------------------


def _sections(model: Checked, rows: int | None) -> Iterator[Section]:
    if model.error:
        yield Section(f"{model.name}: {_verdict(model)}", (("error", model.error),))
        return
    if model.status in ("new", "removed"):
        entry = model.new or model.old
        facts: list[Fact] = []
        if entry is not None:
            facts = [(_LABELS[what], text.count(getattr(entry.totals, what))) for what in _METRICS]
        yield Section(f"{model.name}: {_verdict(model)}", tuple(facts))
        return
    if not model.difference:
        return
    acts, follows = _acting(model), [row for row in model.difference.rows if row.follows]
    totals = _table([("whole model", change, "") for change in model.difference.totals])
    facts = [("cause", cause_text(cause)) for cause in model.difference.causes]
    facts += _renamed(model)
    yield Section(f"{model.name}: {_verdict(model)}", tuple(facts), totals if totals.rows else None)
    if acts:
        lines = [line for row in acts for line in _lines(row)]
        yield Section(f"{model.name}: layers that changed", (), _table(lines), folded=len(lines) > _LONG)
    if follows:
        lines = [line for row in follows for line in _lines(row)]
        more = (
            [] if rows is None or len(lines) <= rows else [("more", f"{len(lines) - rows:,} rows; see --format json")]
        )
        title = f"{model.name}: layers that follow from these"
        yield Section(title, tuple(more), _table(lines[:rows]), folded=len(lines) > _LONG)


def _acting(model: Checked) -> list[RowChange]:
    """The layers that changed of themselves."""
    return [row for row in model.difference.rows if not row.follows and row.how != "renamed"]


def _renamed(model: Checked) -> list[Fact]:
    """The layers that only have another name, or another number in a list."""
    found: dict[str, list[str]] = {}
    for row in model.difference.rows:
        if row.how == "renamed":
            found.setdefault(row.causes[0].what, []).append(f"{row.old_name} -> {row.name}")
    return [(label, text.listed(names, _NAMES)) for label, names in found.items()]


Line = tuple[str, "Change | Cause | None", str]  #: layer, what differs, why


def _lines(row: RowChange) -> Iterator[Line]:
    """The rows of the table for one layer; its cause stands in the first."""
    chosen = [change for change in row.changes if change.what in _FIRST] or list(row.changes)
    if row.how in ("added", "removed"):
        chosen = [change for change in chosen if change.what != "size"] or chosen
    if row.how == "added" or row.how == "removed":
        chosen = [change for change in chosen if change.old or change.new] or chosen[:1]
    layer = row.name or row.old_name
    why = causes_text(row)
    only = [cause for cause in row.causes if cause.old is not None or cause.new is not None]
    if not chosen and len(only) == 1:
        yield layer, only[0], only[0].what
        return
    for number, change in enumerate(chosen or [None]):
        yield layer, change, why if number == 0 else ""


def causes_text(row: RowChange) -> str:
    """Why a layer changed: ``kernel 3x3 -> 5x5``, ``follows conv1``."""
    parts = [cause_text(cause) for cause in row.causes]
    if row.follows:
        parts.append(f"follows {text.listed(row.follows, 3)}")
    return "; ".join(parts)


def cause_text(cause: Cause) -> str:
    """One cause with what it was and is."""
    if cause.what == "unknown":
        return "not told by its settings"
    if cause.old is None and cause.new is None:
        return cause.what
    return f"{cause.what} {_setting(cause.old)} -> {_setting(cause.new)}"


def _setting(value: Any) -> str:
    return "none" if value is None else text.attribute(value)


def _table(lines: Sequence[Line]) -> Table:
    columns = (
        Column("layer", shorten=2),
        Column("what"),
        Column("old", right=True),
        Column("new", right=True),
        Column("difference", right=True, drop=3),
        Column("per cent", right=True),
        Column("cause", shorten=1, prose=True),
    )
    return Table(columns, tuple(_cells(*line) for line in lines))


def _cells(layer: str, change: Change | Cause | None, why: str) -> tuple[str, ...]:
    if change is None:
        return layer, "", "", "", "", "", why
    source = getattr(change, "source", "")
    label = _LABELS.get(change.what, change.what) + (f" in {source}" if source not in ("", "input") else "")
    shown = _value(change.what, change.old), _value(change.what, change.new)
    step = ("", "") if change.what == "output" else _step(change.old, change.new)
    return layer, label, *shown, *step, why


def _value(what: str, value: Any) -> str:
    if value is None:
        return text.NOTHING
    if isinstance(value, int) and not isinstance(value, bool):
        return text.count(value)
    if isinstance(value, list | tuple) and what == "start":
        return text.comma(value)
    return text.attribute(value)


def _step(old: Any, new: Any) -> tuple[str, str]:
    """Difference and per cent, where both are numbers, or sizes along the same axes."""
    if _is_number(old) and _is_number(new):
        return f"{new - old:+,}", percent(old, new)
    sizes = isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new) > 0
    if sizes and all(_is_number(extent) for extent in (*old, *new)):
        steps = [f"{b - a:+,}" for a, b in zip(old, new, strict=True)]
        shares = {percent(a, b) for a, b in zip(old, new, strict=True)}
        return ",".join(steps), shares.pop() if len(shares) == 1 else ""
    return "", ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def percent(old: int, new: int) -> str:
    """``+8.0 %``; nothing where there was nothing before. What is not 0 is never shown as 0."""
    if old == 0:
        return ""
    share = Fraction(100 * (new - old), abs(old))
    for digits in (1, 3, 6):
        scaled = round(share * 10**digits)
        if scaled or share == 0:
            whole, rest = divmod(abs(scaled), 10**digits)
            return f"{'-' if share < 0 else '+'}{whole:,}.{rest:0{digits}d} %"
    return "<0.000001 %" if share > 0 else ">-0.000001 %"


# --- budgets ----------------------------------------------------------------------------------------------------------


def _budgets(held: Sequence[tuple[Checked, Held]]) -> Table:
    columns = (
        Column("model", shorten=1),
        Column("limit"),
        Column("allowed", right=True),
        Column("found", right=True),
        Column("verdict"),
    )
    return Table(
        columns,
        tuple(
            (model.name, item.limit.key, item.limit.shown, _found(item), "unknown" if item.ok is None else "broken")
            for model, item in held
        ),
    )


def _found(item: Held) -> str:
    if item.limit.key == "max_growth":
        return f"{_growth(item)} ({_LABELS[item.of]})"
    if item.value is None:
        return text.UNKNOWN
    if item.limit.key in _WITH_LAYERS:
        found = text.count(item.value) if isinstance(item.value, int) else item.value
        return f"{found}: {item.of}" if item.of else found
    return text.cross(item.value) if isinstance(item.value, list) else text.count(item.value)


#: Limits whose finding names the layers that break them.
_WITH_LAYERS = frozenset({"max_lookahead", "max_latency", "causal", "independent", "max_halo", "tile_exact"})


def _growth(item: Held) -> str:
    """A share in per cent; one beyond the limit is never rounded to it."""
    if item.value is None:
        return "from nothing"
    shown = f"{float(100 * item.value):.6g}"
    return f"more than {shown}%" if Fraction(shown) <= 100 * item.limit.value < 100 * item.value else f"{shown}%"


def limit_text(item: Held) -> str:
    """``max_macs: 4,200,000,001, allowed 4.2G``."""
    what = f"{item.limit.key}: found {_found(item)}, allowed {item.limit.shown}"
    if item.limit.key == "min_field":
        what = f"{item.limit.key}{f' in {item.of}' if item.of else ''}: found {_found(item)}, wanted {item.limit.shown}"
    return what if item.ok is False else f"{what}; the number is not known exactly, so that this cannot be told"


# --- for programs -----------------------------------------------------------------------------------------------------


def _findings(model: Checked, lock: str) -> Iterator[Finding]:
    if model.error:
        yield Finding(model.file, model.line, f"{model.name} {_verdict(model)}", model.error)
    elif model.differs:
        yield from _where_it_changed(model, lock)
    for item in model.held:
        if item.ok is not True:
            verdict = "is over budget" if item.ok is False else "has a limit that cannot be told"
            yield Finding(item.limit.file, item.limit.line, f"{model.name} {verdict}", limit_text(item))


def _where_it_changed(model: Checked, lock: str) -> Iterator[Finding]:
    """One finding for each line of the model's code whose layers changed of themselves, else one for the whole model.

    The first one has the whole story.
    """
    title = f"{model.name} {_verdict(model)}"
    places = model.new.places if model.new is not None else {}
    lines: dict[Place, list[str]] = {}
    for row in _acting(model):
        if row.name in places:
            lines.setdefault(places[row.name], []).append(_line(*next(_lines(row))))
    if not lines:
        yield Finding(model.file or lock, model.line, title, summary(model))
        return
    first, *others = list(lines)[:_LINES]
    yield Finding(first.file, first.line, title, summary(model))
    for place in others:
        yield Finding(place.file, place.line, title, "\n".join(lines[place]))


def summary(model: Checked, most: int = 10) -> str:
    """A few lines: the totals that changed, and the layers that did it."""
    if model.status in ("new", "removed"):
        return f"{_verdict(model)}: rfcalc lock accepts that"
    lines = [_line("whole model", change, "") for change in model.difference.totals if change.what in _METRICS]
    lines += [_line("whole model", change, "") for change in model.difference.totals if change.what == "field"]
    lines += [f"whole model: {cause_text(cause)}" for cause in model.difference.causes]
    lines += [f"{label}: {names}" for label, names in _renamed(model)]
    acts = _acting(model)
    lines += [_line(*next(_lines(row))) for row in acts[:most]]
    if len(acts) > most:
        lines.append(f"and {text.plural(len(acts) - most, 'layer')} more")
    following = sum(bool(row.follows) for row in model.difference.rows)
    if following:
        lines.append(f"{text.plural(following, 'layer')} {'follows' if following == 1 else 'follow'} from these")
    return "\n".join(lines)


def _line(layer: str, change: Change | Cause | None, why: str) -> str:
    _, label, old, new, _, share, cause = _cells(layer, change, why)
    step = f"{label} {old} -> {new}" + (f" ({share})" if share else "") if label else ""
    return f"{layer}: " + "; ".join(part for part in (step, cause if cause != label else "") if part)


def _cases(model: Checked) -> Iterator[Case]:
    if model.error:
        yield Case(model.name, "trace", error=model.error)
        return
    if model.status != "unlocked":
        yield Case(model.name, "lock", failure=f"{_verdict(model)}\n{summary(model)}" if model.differs else "")
    for item in model.held:
        name = item.limit.key + (f" in {item.of}" if item.limit.key == "min_field" and item.of else "")
        yield Case(
            model.name,
            name,
            failure=limit_text(item) if item.ok is False else "",
            skipped=limit_text(item) if item.ok is None else "",
        )


def _metrics(model: Checked) -> Iterator[Metric]:
    for what in _METRICS:
        value = getattr(model.new.totals, what) if model.new is not None else None
        if value is not None:
            yield Metric(f"{model.name}: {_LABELS[what]}", "bytes" if "bytes" in what else _LABELS[what], value)


def _document(model: Checked) -> dict[str, Any]:
    return {
        "name": model.name,
        "status": model.status,
        "accepted": model.accepted,
        "error": model.error or None,
        "totals": [_change(change) for change in model.difference.totals],
        "causes": [_cause(cause) for cause in model.difference.causes],
        "layers": [
            {
                "how": row.how,
                "old_name": row.old_name or None,
                "name": row.name or None,
                "kind": row.kind,
                "causes": [_cause(cause) for cause in row.causes],
                "follows": list(row.follows),
                "changes": [_change(change) for change in row.changes],
            }
            for row in model.difference.rows
        ],
        "budgets": [
            {
                "limit": item.limit.key,
                "allowed": item.limit.shown,
                "found": plain(item.value),
                "of": item.of or None,
                "ok": item.ok,
                "file": item.limit.file or None,
                "line": item.limit.line or None,
            }
            for item in model.held
        ],
        "gaps": list(model.gaps),
    }


def _change(change: Change) -> dict[str, Any]:
    row = {"what": change.what, "old": plain(change.old), "new": plain(change.new)}
    return {**row, "source": change.source} if change.source else row


def _cause(cause: Cause) -> dict[str, Any]:
    return {"what": cause.what, "old": plain(cause.old), "new": plain(cause.new)}


def _records(model: Checked) -> Iterator[Mapping[str, Any]]:
    """One CSV row for each quantity that differs, of the model and of its layers."""
    for change in model.difference.totals:
        yield _record(model, "", "", change, "")
    for row in model.difference.rows:
        differing: Sequence[Change | None] = row.changes or (None,)
        for differs in differing:
            yield _record(model, row.name or row.old_name, row.how, differs, causes_text(row))


def _record(model: Checked, layer: str, how: str, change: Change | None, cause: str) -> Mapping[str, Any]:
    values = ("", None, None) if change is None else (change.what, change.old, change.new)
    shown = [_value(values[0], value) if isinstance(value, list | tuple) else value for value in values]
    return {
        "model": model.name,
        "status": model.status,
        "layer": layer,
        "how": how,
        "what": shown[0],
        "source": change.source if change is not None else "",
        "old": shown[1],
        "new": shown[2],
        "cause": cause,
    }
