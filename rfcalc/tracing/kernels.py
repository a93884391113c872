"""Results of kernels that take packed weights, on tensors without storage: torch has none of them for the meta device.

As in `rfcalc.tracing.shapes`, None where it is not certain that torch would run the op, or what it would give: it is
then run on real tensors, and says what is wrong if something is. Kernels that give integers are among those: a
quantised tensor without storage has no scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from rfcalc.tracing import shapes
from rfcalc.tracing.known import NeedsDataError
from rfcalc.tracing.packed import linear_width, tensors_of
from rfcalc.tracing.schema import Schema
from rfcalc.tracing.storageless import empty

#: Ops that make quantised tensors: torch's for the meta device give others.
QUANTIZES = frozenset(f"aten.quantize_per_{what}" for what in ("tensor", "channel", "tensor_dynamic"))


def result(schema: Schema, named: Mapping[str, Any]) -> Any:
    """The result of an op that takes objects; ``named`` are its arguments. None where it is not certain."""
    found = _OPS.get(schema.name)
    return None if found is None else found(named)


def _linear(named: Mapping[str, Any]) -> torch.Tensor | None:
    x, held = named["X"], named["W_prepack"]
    if x.dtype != torch.float32 or x.ndim < 2 or not x.numel():
        return None
    width = linear_width(held, x.shape[-1])
    return None if width is None else empty((*x.shape[:-1], width), x.dtype)


def _recurrent(named: Mapping[str, Any]) -> tuple[torch.Tensor, ...] | None:
    x, hx = named.get("input"), named["hx"]
    states = list(hx) if isinstance(hx, list | tuple) else [hx]
    if named.get("batch_sizes") is not None or x is None or x.dtype != torch.float32 or x.ndim != 3:
        return None
    time, ways = (1 if named["batch_first"] else 0), 2 if named["bidirectional"] else 1
    lead = (ways * int(named["num_layers"]), x.shape[1 - time])
    if any(state.ndim != 3 or tuple(state.shape[:2]) != lead for state in states) or not named["params"]:
        return None
    first = tensors_of(named["params"][0]).get("weight_ih")
    if first is None or first.shape[1] != x.shape[2]:
        return None
    sequence = empty((x.shape[time], x.shape[1 - time], ways * states[0].shape[2]), x.dtype)
    return (sequence.transpose(0, 1) if time else sequence, *(empty(state.shape, state.dtype) for state in states))


def _cell(named: Mapping[str, Any]) -> Any:
    x, hx = named["input"], named["hx"]
    states = list(hx) if isinstance(hx, list | tuple) else [hx]
    inside, again = (tensors_of(named[f"w_{which}"]).get("weight") for which in ("ih", "hh"))
    if x.dtype != torch.float32 or x.ndim != 2 or inside is None or again is None:
        return None
    fits = x.shape[1] == inside.shape[1] and inside.shape[0] == again.shape[0]
    if not fits or any(tuple(state.shape) != (x.shape[0], again.shape[1]) for state in states):
        return None
    made = tuple(empty(state.shape, state.dtype) for state in states)
    return made if isinstance(hx, list | tuple) else made[0]


def _embedding(named: Mapping[str, Any]) -> torch.Tensor | None:
    table, indices = tensors_of(named["weight"]).get("weight"), named["indices"]
    if table is None or indices.dtype not in (torch.int32, torch.int64):
        return None
    return empty((*indices.shape, table.shape[1]), torch.float32)


_OPS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    **{f"quantized.linear{end}_dynamic{half}": _linear for end in ("", "_relu") for half in ("", "_fp16")},
    **{f"aten.quantized_{kind}": _recurrent for kind in ("lstm", "gru")},
    **{f"quantized.quantized_{kind}_cell_dynamic": _cell for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu")},
    **{f"quantized.embedding_{width}": _embedding for width in ("byte", "4bit")},
}


_TO_META, _ZEROS = torch.ops.aten.to.dtype_layout, torch.ops.aten.zeros_like.default


def without_numbers(func: Any, kwargs: Mapping[str, Any]) -> Any:
    """The op to run for an op: where torch takes a tensor to the meta device, one that makes zeros of its shape.

    So it asks what shape a sum with a tangent of zeros has. A user's own ``to`` names the device of the pass by now,
    and reaches the dispatcher as a copy.
    """
    device = kwargs.get("device") if func is _TO_META else None
    return _ZEROS if device is not None and torch.device(device).type == "meta" else func


def shaped(schema: Schema, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The result of any op where it is known without torch's kernels, None where it is not.

    Raises `NeedsDataError` for one that takes or gives integers of a quantised network: without storage they have no
    scale, and stand-ins in floating point would be refused.
    """
    found = result(schema, schema.bind(args, kwargs)) if schema.objects else None
    if found is not None:
        return found
    if schema.objects or schema.name in QUANTIZES:
        raise NeedsDataError(schema.name)
    return shapes.result(schema, args, kwargs)
