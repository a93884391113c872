"""What is asked: the model, one call of it, and under which conditions it runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch

from rfcalc.errors import UsageError
from rfcalc.sources.loaded import Loaded

#: Types that a model or autocast can run in, by the names that people write.
DTYPES = {
    **dict.fromkeys(("fp32", "float32", "float"), torch.float32),
    **dict.fromkeys(("fp16", "float16", "half"), torch.float16),
    **dict.fromkeys(("bf16", "bfloat16"), torch.bfloat16),
    **dict.fromkeys(("fp64", "float64", "double"), torch.float64),
}
#: Those to which torch.autocast casts.
AUTOCASTS = {name: dtype for name, dtype in DTYPES.items() if dtype in (torch.bfloat16, torch.float16)}
ATTENTIONS = ("auto", "math", "flash")


@dataclass(frozen=True, eq=False)
class Setup:
    """A model and one call of it. ``next_call`` reads one more token of each sequence, with the cache of the first."""

    loaded: Loaded
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    autocast: torch.dtype | None = None
    attention: str = "auto"
    checkpoint: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()
    optimizer: str = "adamw"
    next_call: tuple[tuple[Any, ...], Mapping[str, Any]] | None = None


_BYTES = re.compile(r"(\d+(?:\.\d+)?) ?(k|K|M|G|T)?(i)?B?")
_POWERS = {None: 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}


def bytes_of(value: int | str, what: str) -> int:
    """So many bytes, ``24GiB`` or ``16GB``, rounded down. Raises `UsageError` naming the option for anything else."""
    match = _BYTES.fullmatch(str(value).strip()) if not isinstance(value, bool) else None
    if match is None or (match[3] and not match[2]):
        raise UsageError(f"{what} {value!r}: expected so many bytes, like 24GiB, 16GB or 8000000000")
    return int(Fraction(match[1]) * (1024 if match[3] else 1000) ** _POWERS[match[2]])


def dtype_of(
    name: str | torch.dtype | None, what: str, known: Mapping[str, torch.dtype] = DTYPES
) -> torch.dtype | None:
    """A type of those that are known, by its name. Raises `UsageError` naming the option for any other."""
    found = name if name is None or isinstance(name, torch.dtype) else known.get(name)
    if name is None or found in known.values():
        return found
    *others, last = [one for one in ("fp32", "fp16", "bf16", "fp64") if one in known]
    raise UsageError(f"{what} {str(name)!r}: expected {', '.join(others)} or {last}")
