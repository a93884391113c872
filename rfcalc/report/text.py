"""Numbers, shapes and fields as text for people. The only place where a number of an analysis becomes a string."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from rfcalc.analyses.results import Misalignment, Number, ReceptiveField, Region

NOTHING = "-"
UNKNOWN = "?"

_UNITS = (("M", 10**6), ("G", 10**9), ("T", 10**12), ("P", 10**15))


def count(value: int | None) -> str:
    """An exact count with thousands separators, ``?`` where it is not known."""
    return UNKNOWN if value is None else f"{value:,}"


#: Units of counts by their signs.
SCALES = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def decimal(value: int, scale: int, decimals: int) -> str:
    """A count in units of ``scale``, rounded to so many decimals, exactly: ``25.56``."""
    number = round(Fraction(value * 10**decimals, scale))
    whole, rest = divmod(number, 10**decimals)
    return f"{whole:,}.{rest:0{decimals}d}" if decimals else f"{whole:,}"


def short(value: int) -> str:
    """A large count in two decimals, ``15.47 G``; "" below a million, where the exact number is short enough."""
    if value < 10**6:
        return ""
    for unit, scale in _UNITS:
        hundredths = round(Fraction(100 * value, scale))
        if hundredths < 1000 * 100 or unit == _UNITS[-1][0]:
            break
    return f"{hundredths // 100:,}.{hundredths % 100:02d} {unit}"


def count_and_short(value: int) -> str:
    """``15,470,264,320 (15.47 G)``."""
    return f"{count(value)} ({short(value)})" if short(value) else count(value)


def share(value: Fraction | None) -> str:
    """A part of a whole in percent with one decimal."""
    if value is None:
        return NOTHING
    tenths = round(1000 * value)
    return f"{tenths // 10}.{tenths % 10} %"


def plural(number: int, noun: str) -> str:
    """``1 call``, ``2 calls``."""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def number(value: Number | None) -> str:
    """An integer or a fraction, ``1/2``; ``-`` for none."""
    return NOTHING if value is None else str(value)


def cross(values: Iterable[Number | None] | None) -> str:
    """``5x5``, one factor for each axis; ``-`` without axes."""
    return "x".join(number(value) for value in values or ()) or NOTHING


def comma(values: Iterable[Number | None] | None) -> str:
    """``-2,-2``, for positions, which may be negative."""
    return ",".join(number(value) for value in values or ()) or NOTHING


def listed(names: Sequence[str], limit: int = 4) -> str:
    """The first names, and how many more there are."""
    head = ", ".join(names[:limit])
    return f"{head} and {count(len(names) - limit)} more" if len(names) > limit else head


def size(field: ReceptiveField | None) -> str:
    """The size of a field: ``5x5``, ``188-204 x 188-204`` if it varies, ``whole (local 9x9)``, ``<=7x7`` if a bound."""
    if field is None or not field.axes:
        return NOTHING
    text = _size(field)
    if has_local(field):
        text += f" (local {cross(field.local_size)})"
    return f"<={text}" if field.status == "upper_bound" else text


def has_local(field: ReceptiveField) -> bool:
    """Whether a smaller field is left without the layers that bring in a whole axis."""
    return bool(field.context) and any(field.local_size or ()) and field.local_size != field.size


def is_irregular(field: ReceptiveField) -> bool:
    """Whether the size is that of the largest region, because no fixed window slides along some axis."""
    return any(field.size) and not field.whole_input and not _windowed(field)


def _windowed(field: ReceptiveField) -> bool:
    return field.stride is not None and None not in field.stride


def _size(field: ReceptiveField) -> str:
    if not any(field.size):
        return "none"
    if not _windowed(field):
        return "whole" if field.whole_input else f"{cross(field.size)} (largest)"
    found = ranges(field.size_min, field.size)
    return f"{found} (whole)" if field.whole_input else found


def ranges(least: Sequence[int], most: Sequence[int]) -> str:
    """Sizes that vary from position to position, ``188-204 x 188-204``, and others as ``5x5``."""
    if tuple(least) == tuple(most):
        return cross(most)
    pairs = zip(least, most, strict=True)
    return " x ".join(str(high) if low == high else f"{low}-{high}" for low, high in pairs)


def stride(field: ReceptiveField | None) -> str:
    """Source pixels for each step of the output, ``2x2`` or ``1/2x1/2``."""
    return NOTHING if field is None else cross(field.stride)


def start(field: ReceptiveField | None) -> str:
    """First index that unit 0 reads, ``-1,-1``."""
    return NOTHING if field is None else comma(field.start)


def reach(field: ReceptiveField) -> str:
    """How many indices are seen before and after a unit's own place, ``2,2 before and 2,2 after``."""
    before, after = ([None if pair is None else pair[side] for pair in field.reach or ()] for side in (0, 1))
    return f"{comma(before)} before and {comma(after)} after"


def region(field: ReceptiveField | None) -> str:
    """First and last index seen along each axis, ``0..2 x 3..7``."""
    return intervals(None if field is None else field.region)


def affects(field: ReceptiveField | None) -> str:
    """First and last position that the chosen pixel can change, ``0..2 x 3..7``."""
    return intervals(None if field is None else field.affects)


def intervals(spans: Sequence[Region] | None) -> str:
    """Spans along several axes."""
    return " x ".join(_interval(span) for span in spans or ()) or NOTHING


def _interval(interval: Region) -> str:
    return "nothing" if interval is None else f"{interval[0]}..{interval[1]}"


def apart(field: ReceptiveField) -> list[Misalignment]:
    """The joins whose branches are not aligned, without those that are causal along the axis.

    Where no unit sees anything behind its own place, branches of one stride all end there: their centres differ only as
    far as they look back. Of an image, whose place for a larger stride is several pixels wide, only where the stride is
    1: a 3x3 convolution of stride 2 and a 2x2 pooling both end where their place does, and are not aligned.
    """
    found = []
    for item in field.misaligned:
        at = field.axes.index(item.axis) if item.axis in field.axes else -1
        reach = field.reach[at] if field.reach is not None and 0 <= at < len(field.reach) else None
        strides = {stride for stride, _ in item.branches}
        if reach is None or reach[1] > 0 or len(strides) > 1 or (len(field.axes) > 1 and strides != {1}):
            found.append(item)
    return found


def misaligned(item: Misalignment) -> str:
    """Which branches of a join do not line up: stride and centre of each."""
    branches = "; ".join(
        f"stride {number(step)}, " + ("no window" if center is None else f"center {number(center)}")
        for step, center in item.branches
    )
    return f"{item.layer}, axis {item.axis}: {branches}"


def attribute(value: Any) -> str:
    """A setting of an op: lists of numbers as ``3x3``, mappings as ``key value``."""
    if isinstance(value, list | tuple):
        if value and all(isinstance(item, int) for item in value):
            return cross(value)
        return ", ".join(attribute(item) for item in value) or NOTHING
    if isinstance(value, Mapping):
        return attributes(value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return str(value)


def attributes(values: Mapping[str, Any]) -> str:
    """``kernel 3x3, stride 1x1``."""
    return ", ".join(f"{name.replace('_', ' ')} {attribute(value)}" for name, value in values.items())


_FOLDERS = re.compile(r"^(?:[^\s(\"']*[/\\])(?=[^/\\]+\.(?:py|json|pt2|pt|onnx|tflite|keras)(?:$|:))")


def titled(model: str) -> str:
    """A model's name as a title: without the folders that its file is in."""
    return clean(_FOLDERS.sub("", model))


def clean(text: str) -> str:
    """The text without line breaks and other control characters, which a module's name may contain."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
