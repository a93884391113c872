"""A forward pass that failed, in one line: the layer, what it received, what it needed."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from torch import nn

from rfcalc.errors import RfcalcError, TraceError
from rfcalc.graph import Ref
from rfcalc.tracing.modules import ModuleStack
from rfcalc.tracing.notes import remainder_notes
from rfcalc.tracing.tape import Tape

#: Attributes of torch's layers that say what comes in.
_NEEDS = (
    ("in_channels", "channels"),
    ("in_features", "features"),
    ("num_features", "channels"),
    ("input_size", "features"),
    ("embed_dim", "features"),
)


def first_line(error: BaseException) -> str:
    """What an exception says, in one line."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def explain(
    error: Exception,
    model: nn.Module,
    name: str,
    stack: ModuleStack,
    tape: Tape,
    inputs: Sequence[tuple[str, Ref]],
    more: str = "",
) -> Exception:
    """The failure of a pass as an error of rfcalc's; one that is that already stays as it is. ``more`` is added."""
    if isinstance(error, RfcalcError):
        return error
    scope, given = stack.failure
    received = tape.failure.shapes if tape.failure and tape.failure.scope == scope else given
    text = first_line(error)
    if not isinstance(error, RuntimeError | ValueError):
        text = f"{type(error).__name__}: {text}"
    where = f"{scope.name} ({scope.module})" if scope.name else scope.module
    got = f" got {_dims(received[0])}" if received else ""
    needs = "" if isinstance(error, TypeError) else _needs(model, scope.name)
    asked = ", ".join(f"{name} {_dims(tape.records[ref.node].outputs[0].shape)}" for name, ref in inputs)
    uneven = (
        f"; {record.scope.name or record.op}: {note}"
        for record in tape.records
        if record.effect.kind == "conv"
        for note in remainder_notes(tape.records, record)
    )
    return TraceError(
        f"{name} cannot run on {asked or 'these inputs'}: layer {where}{got}{needs}:"
        f" {text.rstrip('.')}{next(uneven, '')}{'' if scope.name else _missing(model, error)}{more}"
    )


def _needs(model: nn.Module, name: str) -> str:
    """What the failing module says it needs, from its own attributes."""
    try:
        module = model.get_submodule(name)
    except (AttributeError, RuntimeError):  # a scripted module refuses
        return ""
    for attribute, noun in _NEEDS:
        count = vars(module).get(attribute)  # what is no attribute of its own may be code of the model's
        if isinstance(count, int):
            return f", needs {count} {noun}"
    return ""


def _missing(model: nn.Module, error: Exception) -> str:
    """What to give, where forward says that it was called without some of its arguments."""
    if not isinstance(error, TypeError) or "missing" not in str(error):
        return ""
    parameters = inspect.signature(model.forward).parameters.values()
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in variable]
    return f"; name a shape for each that is a tensor: {' '.join(f'--input {name}=...' for name in needed)}"


def _dims(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a scalar"
