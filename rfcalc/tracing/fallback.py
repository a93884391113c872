"""Real numbers where tensors without storage cannot serve: when a pass needs them, whether memory has room, and whence.

What happened decides, not what a message says: numbers were asked for that only data has; an op was refused that is
refused on real tensors of its shapes, too, whatever their strides; the model itself raised, which knew shapes and no
more; or something else failed, which real tensors may or may not run.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from contextlib import suppress
from opcode import opmap
from types import TracebackType

import torch
from torch import nn

from rfcalc.errors import RfcalcError
from rfcalc.tracing.failing import first_line
from rfcalc.tracing.invented import invented
from rfcalc.tracing.known import NeedsDataError
from rfcalc.tracing.stored import dressed, on_cpu
from rfcalc.tracing.tape import Tape

#: Weights of more bytes are not made for a pass that perhaps fails as well.
WORTH_A_TRY = 1 << 30

_RAISES = opmap["RAISE_VARARGS"]

#: Ops whose refusal says something of strides, which tensors without storage may have others of than real ones.
_BY_STRIDES = frozenset({"aten.view", "aten.view_as_complex"})


def reason(error: Exception, tape: Tape) -> str:
    """Why a pass should be done again on real numbers, as a notice says it; empty where that cannot help."""
    if isinstance(error, NeedsDataError):
        return f"{error} needs data"
    failure = tape.failure
    own = failure is not None and failure.refused and failure.error is error and failure.op not in _BY_STRIDES
    if own or isinstance(error, RfcalcError) or _not_called(error):
        return ""
    if failure is None and not tape.located and _is_raised(error):
        return ""
    where = failure.op if failure is not None and failure.error is error else "the model's own code"
    return f"{where} does not run without numbers ({first_line(error)[:120].rstrip('.')})"


def _not_called(error: Exception) -> bool:
    """Whether forward itself was given other arguments than it takes: its code did not begin."""
    trace = _innermost(error)
    return (
        isinstance(error, TypeError) and trace is not None and trace.tb_frame.f_code.co_name in ("_call_impl", "_call")
    )


def _is_raised(error: Exception) -> bool:
    """Whether Python code that is not ours raised this by ``raise`` or ``assert``, and for no other error."""
    trace = _innermost(error)
    if trace is None or error.__context__ is not None:
        return False
    home = str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0]
    return trace.tb_frame.f_code.co_code[trace.tb_lasti] == _RAISES and home != "rfcalc"


def _innermost(error: Exception) -> TracebackType | None:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace


def as_real(tensor: torch.Tensor, numbers: torch.Generator) -> torch.Tensor:
    """An input on the CPU; one without storage gets random numbers, or zeros where it holds whole numbers."""
    if not tensor.is_meta:
        return on_cpu(tensor)
    if tensor.is_floating_point():
        return torch.rand(tensor.shape, dtype=tensor.dtype, generator=numbers)
    return torch.zeros(tensor.shape, dtype=tensor.dtype)


def real_twin(name: str, tensor: torch.Tensor, known: torch.Tensor | None, weights: torch.Generator) -> torch.Tensor:
    """A CPU tensor in place of a parameter or buffer; one without storage gets random numbers."""
    held = known if known is not None else tensor
    made = invented(name, held, weights) if held.is_meta else on_cpu(held)
    if not isinstance(tensor, nn.Parameter):
        return made
    return dressed(nn.Parameter(made, requires_grad=tensor.requires_grad), tensor)


def weight(modules: Iterable[nn.Module]) -> int:
    """Bytes of all parameters and buffers."""
    held = {id(t): t for m in modules for t in (*m._parameters.values(), *m._buffers.values()) if t is not None}
    return sum(tensor.nbytes for tensor in held.values() if tensor.layout is torch.strided)


def gibibytes(count: int) -> str:
    """So many bytes, to be read."""
    return f"{count / 2**30:.1f} GiB"


def free_memory() -> float:
    """Bytes of memory that can be had, infinity where the system does not tell."""
    with suppress(OSError, ValueError), open("/proc/meminfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return math.inf
