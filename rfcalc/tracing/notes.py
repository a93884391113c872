"""What a user should know of single layers: windows that do not tile their input, results whose size data decides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import zip_longest
from typing import TypeAlias

from rfcalc.ops import SIZED_BY_DATA
from rfcalc.tracing.tape import Record, Tape

Extents: TypeAlias = tuple[int, ...]
Notes: TypeAlias = tuple[str, ...]


def remainder_notes(records: Sequence[Record], record: Record) -> tuple[str, ...]:
    """A note for each axis on which real input, not only padding, is left unread by a convolution or pooling."""
    effect = record.effect
    if effect.kind not in ("conv", "pool") or not record.inputs:
        return ()
    attrs = effect.attrs
    if "stride" not in attrs or attrs.get("ceil_mode"):
        return ()
    source = record.inputs[0]
    kernel, stride = tuple(attrs["kernel"]), tuple(attrs["stride"])
    extents = records[source.node].outputs[source.output].shape[-len(kernel) :]
    return _remainders(extents, kernel, stride, tuple(attrs.get("padding") or ()), tuple(attrs.get("dilation") or ()))


@lru_cache(1024)
def _remainders(extents: Extents, kernel: Extents, stride: Extents, padding: Extents, dilation: Extents) -> Notes:
    rows = zip_longest(extents, kernel, stride, padding or (0,), dilation or (1,))
    found = (_remainder(n, k, s or 1, p or 0, d or 1) for n, k, s, p, d in rows)
    return tuple(dict.fromkeys(note for note in found if note))


def _remainder(extent: int, kernel: int, stride: int, padding: int, dilation: int) -> str:
    span = dilation * (kernel - 1) + 1
    left = (extent + 2 * padding - span) % stride
    if left <= padding or extent + 2 * padding < span:
        return ""
    inside = f"{extent} + {2 * padding} - {span}" if padding else f"{extent} - {span}"
    whole = Fraction(extent + 2 * padding - span, stride) + 1
    fits = extent - left, extent - left + stride
    return (
        f"({inside})/{stride} + 1 = {float(whole):g} is no integer: the last {left - padding} of {extent}"
        f" are never read; sizes {fits[0]} and {fits[1]} divide evenly"
    )


def size_notices(records: Sequence[Record]) -> tuple[str, ...]:
    """A notice that names the ops whose results have as many elements as the data decides, if there are any."""
    names = dict.fromkeys(record.op for record in records if SIZED_BY_DATA in record.effect.notes and record.depends)
    if not names:
        return ()
    return (
        f"the data decides how much {', '.join(names)} give: the layers after them are counted for this input, random"
        " unless tensors were given, and for these weights",
    )


def buffer_notices(tape: Tape) -> tuple[str, ...]:
    """Notices that name the buffers whose numbers forward asked for, and those that look like masks and are none."""
    notices = []
    if tape.asked:
        notices.append(f"forward asks for numbers of {_listed(tape.asked)}: what it does may follow from them")
    if tape.unread:
        notices.append(
            f"{_listed(tape.unread)} hold{'s' * (len(tape.unread) == 1)} only 0 and 1 as floating-point numbers, which"
            " are read as weights, so that no 0 blocks anything; register a mask as a boolean buffer"
        )
    return tuple(notices)


def _listed(names: Iterable[str], most: int = 4) -> str:
    shown = list(names)
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return f"buffer{'s' * (len(shown) > 1)} {', '.join(shown[:most])}{more}"
