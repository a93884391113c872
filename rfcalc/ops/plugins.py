"""Rules that other packages bring: the entry points of the group ``rfcalc.ops``, loaded once, before the first trace.

An entry point names a module, which registers its rules as it is imported, or a function that does so when it is
called. One that cannot be loaded leaves its ops without a rule, which totals say; why, is one line.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from rfcalc.ops.registry import registered

GROUP = "rfcalc.ops"


_lines: list[str] | None = None  #: what could not be loaded, None before anything was


def load() -> tuple[str, ...]:
    """Load all entry points, the first time; gives a line for each that cannot be."""
    global _lines
    if _lines is None:
        _lines = lines = []  # what is loaded may trace a model itself
        points = sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value))
        lines += [line for point in points if (line := _load(point))]
    return tuple(_lines)


def _load(point: EntryPoint) -> str:
    try:
        found = point.load()
        if callable(found) and not any(item.rule is found for item in registered().values()):
            found()
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())
        package = f" of {point.dist.name} {point.dist.version}" if point.dist is not None else ""
        reason = f"{type(error).__name__}{': ' if text else ''}{text}"
        return f"the rules {point.name} = {point.value}{package} (entry point {GROUP}) cannot be loaded: {reason}"
    return ""
