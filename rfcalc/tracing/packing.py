"""Packed sequences: rows of several sequences of known lengths, one time after the other, and layers that run on them.

Packing, unpacking and recurrent layers on packed rows are recorded whole. The batch sizes are numbers, on the CPU as
torch has them; where lengths are not known, only a pass on real numbers can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from rfcalc.tracing.recorder import Recorder
from rfcalc.tracing.storageless import empty

_RNNS = {getattr(torch._VF, name): f"torch.{name}" for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")}
_PACK, _PAD = torch._VF._pack_padded_sequence, torch._VF._pad_packed_sequence

#: The functions that may be about packed sequences.
PACKED = frozenset({_PACK, _PAD, *_RNNS})


def packed(recorder: Recorder, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any] | None:
    """What a call about packed sequences gives, alone in a tuple; None for a call that is not about any."""
    if func is _PACK:
        return (_pack(recorder, *args, **kwargs),)
    if func is _PAD:
        return (_pad(recorder, *args, **kwargs),)
    if len(args) > 3 and isinstance(args[3], list | tuple):  # there the weights come after the batch sizes
        return (_recurrent(recorder, func, args),)
    return None


def _ints(recorder: Recorder, tensor: torch.Tensor) -> tuple[int, ...]:
    found = recorder.numbers_for(torch.Tensor.tolist, (tensor,), {}, "the lengths of a packed sequence")
    return tuple(map(int, found))


def _quietly(func: Callable[..., Any], *args: Any) -> Any:
    """A call of torch's that is no op of the model's."""
    with torch._C._DisableTorchDispatch():
        return func(*args)


def _pack(recorder: Recorder, x: torch.Tensor, lengths: torch.Tensor, batch_first: bool) -> Any:
    numbers = _ints(recorder, lengths)

    def small() -> Any:  # torch checks the lengths, and works out the batch sizes
        shown = torch.zeros((*x.shape[:2], 1))
        return _PACK(shown, torch.tensor(numbers, dtype=torch.int64), batch_first)

    sizes = _quietly(small)[1]
    rows = sum(numbers)

    def run() -> torch.Tensor:
        if recorder.meta:
            return empty((rows, *x.shape[2:]), x.dtype)
        packed: torch.Tensor = _PACK(x, torch.tensor(numbers, dtype=torch.int64), batch_first)[0]
        return packed

    named = {"input": x, "lengths": numbers, "batch_first": bool(batch_first)}
    return recorder.whole("torch.pack_padded_sequence", named, run), sizes


def _pad(
    recorder: Recorder, data: torch.Tensor, sizes: torch.Tensor, batch_first: bool, value: float, total: int = -1
) -> Any:
    numbers = _ints(recorder, sizes)

    def small() -> Any:
        shown = torch.zeros((data.shape[0], 1))
        return _PAD(shown, torch.tensor(numbers, dtype=torch.int64), batch_first, value, total)

    shown, lengths = _quietly(small)

    def run() -> torch.Tensor:
        if recorder.meta:
            first = empty((shown.shape[0], shown.shape[1], *data.shape[1:]), data.dtype)
            if not batch_first:
                return first
            turned = empty((shown.shape[1], shown.shape[0], *data.shape[1:]), data.dtype)
            with torch._C._DisableTorchDispatch():
                return turned.transpose(0, 1)
        padded: torch.Tensor = _PAD(data, torch.tensor(numbers, dtype=torch.int64), batch_first, value, total)[0]
        return padded

    named = {"input": data, "batch_sizes": numbers, "batch_first": bool(batch_first), "steps": max(total, len(numbers))}
    return recorder.whole("torch.pad_packed_sequence", named, run), lengths


_NAMES = ("data", "batch_sizes", "hx", "params", "has_biases", "num_layers", "dropout", "train", "bidirectional")


def _recurrent(recorder: Recorder, func: Any, args: Sequence[Any]) -> Any:
    named = dict(zip(_NAMES, args, strict=False))
    sizes = named["batch_sizes"] = _ints(recorder, args[1])

    def run() -> Any:
        if not recorder.meta:
            return func(args[0], torch.tensor(sizes, dtype=torch.int64), *args[2:])
        states = tuple(named["hx"]) if isinstance(named["hx"], list | tuple) else (named["hx"],)
        wide = (2 if named["bidirectional"] else 1) * states[0].shape[2]
        last = [empty(state.shape, state.dtype) for state in states]
        return empty((args[0].shape[0], wide), args[0].dtype), *last

    if not recorder.depends([args[0], *named["params"]]):
        return func(*args)
    return recorder.whole(_RNNS[func], named, run)
