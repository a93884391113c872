"""Amounts as people write them in a budget, read exactly: ``4.2G`` is 4200000000, ``512MiB`` is 536870912."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

from rfcalc.analyses.results import Number
from rfcalc.errors import UsageError

_SCALES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_AMOUNT = re.compile(r"(\d[\d_]*(?:\.\d+)?) ?([A-Za-z]*)")
_FORM = 'a whole number, or one with a unit like "4.2G" (k, M, G, T, P; Ki, Mi, Gi, Ti)'


def amount(value: Any, where: str, *, of_bytes: bool = False) -> int:
    """A count from a number or a text. Raises UsageError naming ``where`` for anything that is no whole number."""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        exact, unit = Fraction(value), ""
    else:
        match = _AMOUNT.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            raise UsageError(f"{where}: cannot read {value!r}; write {_FORM}")
        exact, unit = Fraction(match[1].replace("_", "")), match[2]
    if of_bytes:
        unit = unit.removesuffix("B")
    scale = _BINARY.get(unit) or _SCALES.get("k" if unit == "K" else unit)
    if scale is None:
        raise UsageError(f"{where}: {value!r} has an unknown unit; write {_FORM}")
    exact *= scale
    if exact.denominator != 1 or exact < 0:
        raise UsageError(f"{where}: {value!r} is no whole number from 0 on; write {_FORM}")
    return int(exact)


def percentage(value: Any, where: str) -> Fraction:
    """``"1.5%"`` as 3/200. Raises UsageError naming ``where`` for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", value.strip()) if isinstance(value, str) else None
    if match is None:
        raise UsageError(f'{where}: cannot read {value!r}; write a percentage like "1%"')
    return Fraction(match[1]) / 100


def extents(value: Any, where: str) -> tuple[int, ...]:
    """A field's size: 427 for every axis, or ``"427x395"``."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return (value,)
    parts = value.strip().split("x") if isinstance(value, str) else [""]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f'{where}: cannot read {value!r}; write a size like 427, or "427x395" for its axes')
    return tuple(int(part) for part in parts)


def rate(value: Any, where: str) -> Number:
    """Positions in a second from a number, or from ``"16k"``, ``"44.1kHz"``, ``"30000/1001"``; above 0."""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        exact = Fraction(value)
    else:
        text = value.strip() if isinstance(value, str) else ""
        match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?)(?:/(\d{1,9}))? ?([kM]?)(?:Hz)?", text)
        if match is None or not int(match[2] or 1):
            raise UsageError(f'{where}: cannot read {value!r}; write a rate like 16000, "44.1k" or "30000/1001"')
        exact = Fraction(match[1]) / int(match[2] or 1) * _SCALES[match[3]]
    if exact <= 0:
        raise UsageError(f"{where}: {value!r} is no rate: it is above 0, positions in a second")
    return int(exact) if exact.denominator == 1 else exact


def duration(value: Any, where: str) -> Fraction:
    """Seconds from ``"20ms"``, ``"37.5 ms"``, ``"1.5s"`` or ``"800us"``."""
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?) ?(s|ms|us)", value.strip()) if isinstance(value, str) else None
    if match is None:
        raise UsageError(f'{where}: cannot read {value!r}; write a time like "20ms", "1.5s" or "800us"')
    return Fraction(match[1]) / {"s": 1, "ms": 10**3, "us": 10**6}[match[2]]
