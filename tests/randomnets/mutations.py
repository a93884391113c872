"""Rules broken on purpose, each of which the comparison with brute force has to catch.

A mutation changes the steps that the rules of some ops give (`Mutation.change`), or a function of the engine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random
from types import ModuleType
from typing import Any

import numpy as np

from rfcalc import reads
from rfcalc.analyses.field import arrays, masked, merging
from rfcalc.ops import Call, Effect, lookup
from rfcalc.tracing import buffers, recorder
from tests.randomnets.brute import check
from tests.randomnets.draw import draw

#: The steps of one read of a tensor of that shape, broken; None where the read is left out.
Change = Callable[[reads.Steps, tuple[int, ...]], reads.Steps | None]
Broken = Callable[[Callable[..., Any]], Callable[..., Any]]

#: Networks drawn until a mutation has to be caught.
SEEDS = 60


@dataclass(frozen=True)
class Mutation:
    """A rule broken on purpose."""

    family: str
    name: str
    kinds: tuple[str, ...]  #: networks of these kinds of op are drawn
    ops: str  #: regular expression over the names of the ops whose rules are broken
    change: Change


@dataclass(frozen=True)
class EngineMutation:
    """A function of the engine or the tracer broken on purpose."""

    family: str
    name: str
    kinds: tuple[str, ...]
    home: ModuleType | type
    function: str
    broken: Broken


@contextmanager
def broken(mutation: Mutation | EngineMutation) -> Iterator[None]:
    """Run with the mutation in place."""
    if isinstance(mutation, EngineMutation):
        home, name = mutation.home, mutation.function
        kept = getattr(home, name)
        changed = mutation.broken(kept)
    else:
        home, name = recorder, "effect_of"
        kept = recorder.effect_of
        changed = _effect_of(mutation)
    setattr(home, name, changed)
    try:
        yield
    finally:
        setattr(home, name, kept)


def _effect_of(mutation: Mutation) -> Callable[[Call], Any]:
    original = recorder.effect_of

    def found(call: Call) -> Any:
        effect = original(call)
        if effect is None or not re.fullmatch(mutation.ops, _ruled(call)):
            return effect
        return _changed(effect, call, mutation.change)

    return found


def _ruled(call: Call) -> str:
    """The name under which the call's op has its rule: an op in place may have that of the other."""
    return call.op if lookup(call.op) else call.op.removesuffix("_")


def _changed(effect: Effect, call: Call, change: Change) -> Effect:
    def row(read: Sequence[Any]) -> list[Any]:
        made = [(arg, change(steps, arg.shape)) for arg, steps in read]
        return [(arg, steps) for arg, steps in made if steps is not None]

    found = [row(read) for read in effect.reads] if effect.each else row(effect.reads)
    return replace(effect, reads=found)


def seeds_until_caught(mutation: Mutation | EngineMutation, seeds: int = SEEDS) -> int | None:
    """How many networks it takes to see the mutation, None where none of them shows it."""
    with broken(mutation):
        for seed in range(seeds):
            net, inputs = draw(Random(seed), must=mutation.kinds[:1], among=mutation.kinds, most=2)
            if net.layers and check(net, inputs, seed).differences:
                return seed + 1
    return None


# --- ways to break what is known of buffers ---------------------------------------------------------------------------


def _never(original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: False


# --- ways to break steps ----------------------------------------------------------------------------------------------


def _each(kind: type[Any], alter: Callable[[Any], reads.Step | None]) -> Change:
    """Every step of one type altered, or left out."""

    def change(steps: reads.Steps, shape: tuple[int, ...]) -> reads.Steps:
        made = (alter(step) if isinstance(step, kind) else step for step in steps)
        return tuple(step for step in made if step is not None)

    return change


def _set(kind: type[Any], **fields: Any) -> Change:
    return _each(kind, lambda step: replace(step, **fields))


def _more(kind: type[Any], field: str, by: int = 1) -> Change:
    return _each(kind, lambda step: replace(step, **{field: getattr(step, field) + by}))


def _landed_late(steps: reads.Steps, shape: tuple[int, ...]) -> reads.Steps:
    """What falls on positions falls on those before."""
    moved = _more(reads.Transposed, "before")(steps, shape)
    return _more(reads.Window, "before")(moved, shape)


def _shorter(step: reads.Window) -> reads.Step:
    return replace(step, kernel=max(1, step.kernel - 1))


def _one_index(steps: reads.Steps, shape: tuple[int, ...]) -> reads.Steps:
    """Of the last axis that is reduced only the first index is read."""
    made: list[reads.Step] = []
    for step in steps:
        if isinstance(step, reads.Reduce) and step.axes:
            made += [reads.Slice(step.axes[-1], 0, 1, 1), reads.Reduce(step.axes[:-1])]
        else:
            made.append(step)
    return tuple(made)


def _without_reductions(steps: reads.Steps, shape: tuple[int, ...]) -> reads.Steps | None:
    return None if any(isinstance(step, reads.Reduce | reads.Contract) for step in steps) else steps


def _unturned(step: reads.Slice) -> reads.Step:
    return replace(step, start=0, step=1) if step.step < 0 else step


def _unstepped(step: reads.Slice) -> reads.Step:
    return replace(step, step=1) if step.step > 1 else step


def _from_start(step: reads.Slice) -> reads.Step:
    return replace(step, start=0) if step.step > 0 else step


def _other_end(step: reads.Pad) -> reads.Step:
    """Padded at the other end, so that what goes round stays where it was."""
    return replace(step, before=step.after, after=step.before)


def _ascending(step: reads.Take) -> reads.Step:
    return replace(step, indices=tuple(sorted(step.indices)))


def _shifted(step: reads.Take) -> reads.Step:
    """Every position reads what its right neighbour reads."""
    return replace(step, indices=(*step.indices[1:], step.indices[-1]))


def _swapped(step: reads.Pad) -> reads.Step:
    return replace(step, before=step.after, after=step.before)


def _floored(step: reads.Spans) -> reads.Step:
    """The last index of a window that is cut off."""
    return replace(step, last=tuple(max(a, b - 1) for a, b in zip(step.first, step.last, strict=True)))


def _later(step: reads.Spans) -> reads.Step:
    """The first index of a window that is cut off."""
    return replace(step, first=tuple(min(a + 1, b) for a, b in zip(step.first, step.last, strict=True)))


def _moved(step: reads.Spans) -> reads.Step:
    """Every position reads what its right neighbour reads."""
    return replace(step, first=(*step.first[1:], step.first[-1]), last=(*step.last[1:], step.last[-1]))


def _mirrored(steps: reads.Steps, shape: tuple[int, ...]) -> reads.Steps:
    """Permutations that change no extent are forgotten."""
    if len(steps) == 1 and isinstance(steps[0], reads.Permute):
        return () if tuple(shape[axis] for axis in steps[0].axes) == shape else steps
    return steps


def _everywhere(steps: reads.Steps, shape: tuple[int, ...]) -> reads.Steps:
    """Statistics that are read although they are fixed."""
    return (*steps, reads.Reduce((len(shape) - 1,))) if len(shape) > 1 else steps


def _nothing_moved(steps: reads.Steps, shape: tuple[int, ...]) -> reads.Steps:
    return ()


def _unmasked(function: Callable[..., Any]) -> Callable[..., Any]:
    def found(field: Any, mask: int, shades: masked.Shades) -> Any:
        return function(field, mask, masked.Shades({mask: np.zeros_like(shades[mask])}))

    return found


def _one_tap_less(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda field, step, free: function(field, replace(step, kernel=max(1, step.kernel - 1)), free)


def _unerased(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda field, step: field


def _one_sided(function: Callable[..., Any]) -> Callable[..., Any]:
    """A union that forgets all branches but the first."""
    return lambda fields: function(fields[:1])


def _to_the_start(function: Callable[..., Any]) -> Callable[..., Any]:
    """A write through a view that lands at the start of its axis."""

    def invert(steps: reads.Steps, shape: tuple[int, ...]) -> Any:
        found = function(steps, shape)
        return found and (_set(reads.Place, offset=0)(found[0], shape), found[1])

    return invert


def _stale(function: Callable[..., Any]) -> Callable[..., Any]:
    """A view that keeps its value when its base is written."""
    return lambda self, slot, parent: slot.value


def _one_operand(function: Callable[..., Any]) -> Callable[..., Any]:
    """Sums and products of tensors read the first one only."""

    def found(call: Call) -> Any:
        made = function(call)
        if _ruled(call) not in ("aten.add", "aten.sub", "aten.mul"):
            return made
        return replace(made, reads=list(made.reads)[:1])

    return found


CONV, POOL = r"aten\.convolution", r"aten\..*(max|avg)_pool.*"
SDPA = r"torch\.scaled_dot_product_attention"

MUTATIONS: tuple[Mutation | EngineMutation, ...] = (
    Mutation("conv", "dilation ignored", ("conv",), CONV, _set(reads.Window, dilation=1)),
    Mutation("conv", "stride off by one", ("conv",), CONV, _more(reads.Window, "stride")),
    Mutation("conv", "padding ignored", ("conv",), CONV, _set(reads.Window, before=0)),
    Mutation("conv", "groups forgotten", ("conv",), CONV, _set(reads.Group, groups=1)),
    Mutation("conv", "kernel one too small", ("conv",), CONV, _each(reads.Window, _shorter)),
    Mutation("conv", "same padding on the wrong side", ("conv_same",), CONV, _more(reads.Window, "before")),
    Mutation("conv", "padding mode ignored", ("conv_padding_mode",), r"aten\..*pad.*", _set(reads.Pad, mode="zero")),
    EngineMutation("conv", "engine: a tap less", ("conv",), arrays, "_window", _one_tap_less),
    Mutation("conv_transpose", "offset off by one", ("conv_transpose",), CONV, _more(reads.Transposed, "before")),
    Mutation("conv_transpose", "dilation ignored", ("conv_transpose",), CONV, _set(reads.Transposed, dilation=1)),
    Mutation("conv_transpose", "stride ignored", ("conv_transpose",), CONV, _set(reads.Transposed, stride=1)),
    Mutation("conv_transpose", "groups forgotten", ("conv_transpose",), CONV, _set(reads.Group, groups=1)),
    Mutation("pool", "max: dilation ignored", ("max_pool",), POOL, _set(reads.Window, dilation=1)),
    Mutation("pool", "average: padding ignored", ("avg_pool",), POOL, _set(reads.Window, before=0)),
    Mutation("pool", "stride off by one", ("avg_pool",), POOL, _more(reads.Window, "stride")),
    Mutation("pool", "power mean: kernel too small", ("lp_pool",), POOL, _each(reads.Window, _shorter)),
    Mutation("pool", "adaptive: last index rounded down", ("adaptive_avg_pool",), POOL, _each(reads.Spans, _floored)),
    Mutation("pool", "adaptive: windows moved", ("adaptive_max_pool",), POOL, _each(reads.Spans, _moved)),
    Mutation("pool", "global: an axis forgotten", ("global_mean",), r"aten\.mean", _one_index),
    Mutation(
        "pool", "fractional: windows moved", ("fractional_max_pool",), r"aten\.fract.*", _each(reads.Spans, _moved)
    ),
    Mutation("resample", "nearest: neighbour read", ("nearest",), r"aten\..*nearest.*", _each(reads.Spans, _moved)),
    Mutation("resample", "linear: one tap", ("linear",), r"aten\.upsample_.*linear.*", _each(reads.Spans, _floored)),
    Mutation(
        "resample", "cubic: first tap lost", ("bicubic",), r"aten\.upsample_bicubic2d", _each(reads.Spans, _later)
    ),
    Mutation("resample", "antialias: last tap lost", ("antialiased",), r"aten\..*_aa", _each(reads.Spans, _floored)),
    Mutation("resample", "channel shuffle forgotten", ("channel_shuffle",), r"aten\..*shuffle", _nothing_moved),
    Mutation("unfold", "order of the columns", ("unfold",), r"aten\.im2col", _each(reads.Take, _ascending)),
    Mutation("unfold", "fold: offset off by one", ("fold",), r"aten\.col2im", _landed_late),
    Mutation("unfold", "windows moved", ("tensor_unfold",), r"aten\.unfold", _each(reads.Take, _shifted)),
    Mutation("pad", "mode ignored", ("pad_mode",), r"aten\..*pad.*", _set(reads.Pad, mode="replicate")),
    Mutation("pad", "ends swapped", ("pad_constant",), r"aten\.constant_pad_nd", _each(reads.Pad, _swapped)),
    Mutation("slice", "step ignored", ("slices",), r"aten\.slice", _each(reads.Slice, _unstepped)),
    Mutation("slice", "start ignored", ("narrow",), r"aten\.(slice|narrow)", _each(reads.Slice, _from_start)),
    Mutation("flip", "ignored", ("flip",), r"aten\.flip", _each(reads.Slice, _unturned)),
    Mutation("roll", "ignored", ("roll",), r"aten\.roll", _each(reads.Pad, _other_end)),
    Mutation("gather", "index order ignored", ("index_select",), r"aten\.index_select", _each(reads.Take, _ascending)),
    Mutation("gather", "index ignored", ("advanced_index",), r"aten\.index", _each(reads.Take, _ascending)),
    Mutation("gather", "gather's index order ignored", ("gather",), r"aten\.gather", _each(reads.Take, _ascending)),
    Mutation("reshape", "permutation forgotten", ("permute",), r"aten\.permute", _mirrored),
    Mutation("reshape", "repetition in the wrong order", ("repeat",), r"aten\.repeat", _each(reads.Take, _ascending)),
    Mutation("layout", "strides ignored", ("as_strided",), r"aten\.as_strided", _each(reads.Take, _ascending)),
    Mutation("split", "offset forgotten", ("split",), r"aten\.split.*", _each(reads.Slice, _from_start)),
    Mutation("join", "offset of a concatenation forgotten", ("cat",), r"aten\.cat", _set(reads.Place, offset=0)),
    Mutation("join", "order of a stack forgotten", ("stack",), r"aten\.stack", _set(reads.Place, offset=0)),
    EngineMutation("join", "engine: only the first branch", ("flip", "cropped_sum"), merging, "union", _one_sided),
    EngineMutation("write", "offset forgotten", ("write_slice",), recorder, "invert", _to_the_start),
    EngineMutation("write", "old views kept", ("stale_view",), recorder.Recorder, "_rederive", _stale),
    EngineMutation("write", "overwritten elements kept", ("write_slice",), arrays, "_erase", _unerased),
    EngineMutation("write", "erased elements kept", ("erase",), arrays, "_erase", _unerased),
    Mutation("write", "scatter's index ignored", ("scatter",), r"aten\.scatter.*", _each(reads.Take, _ascending)),
    Mutation("mask", "engine: masks ignored", ("triangle",), r"aten\.tri[lu]", _each(reads.Blocked, lambda step: None)),
    Mutation("mask", "condition ignored", ("where_known",), r"aten\.where", _each(reads.Blocked, lambda step: None)),
    Mutation("mask", "fill ignored", ("masked_fill",), r"aten\.masked_fill", _each(reads.Blocked, lambda step: None)),
    Mutation("mask", "zeros read", ("multiplied",), r"aten\.mul", _each(reads.Blocked, lambda step: None)),
    EngineMutation("attention", "causal mask ignored", ("causal",), masked, "_contracted", _unmasked),
    EngineMutation("attention", "given mask ignored", ("masked",), masked, "_contracted", _unmasked),
    Mutation(
        "attention",
        "finite mask ignored",
        ("shifted_windows",),
        r"aten\._?softmax",
        _each(reads.Blocked, lambda step: None),
    ),
    Mutation(
        "attention",
        "window mask ignored",
        ("masked_weights",),
        r"aten\._?softmax",
        _each(reads.Blocked, lambda step: None),
    ),
    Mutation("attention", "keys and values not read", ("dot_product",), SDPA, _without_reductions),
    Mutation("attention", "shared heads not shared", ("dot_product",), SDPA, _set(reads.Group, groups=1)),
    Mutation("attention", "softmax reads itself", ("softmax",), r"aten\._(log_)?softmax", _without_reductions),
    Mutation("norm", "LayerNorm: an axis forgotten", ("layer_norm",), r"torch\.layer_norm", _one_index),
    Mutation("norm", "GroupNorm: an axis forgotten", ("group_norm",), r"torch\.group_norm", _one_index),
    Mutation(
        "norm", "InstanceNorm: statistics not read", ("instance_norm",), r"torch\.instance_norm", _without_reductions
    ),
    Mutation("norm", "BatchNorm: statistics not read", ("batch_norm",), r"torch\.batch_norm", _without_reductions),
    Mutation("norm", "BatchNorm: fixed statistics read", ("batch_norm",), r"torch\.batch_norm", _everywhere),
    Mutation(
        "norm",
        "response norm: window too small",
        ("local_response_norm",),
        r"torch\.local.*",
        _each(reads.Window, _shorter),
    ),
    Mutation("linear", "features not mixed", ("linear_layer",), r"torch\.linear", _one_index),
    Mutation("linear", "einsum: a sum forgotten", ("einsum_product",), r"torch\.einsum", _one_index),
    Mutation("linear", "product: a sum forgotten", ("gram",), r"aten\.(bmm|baddbmm)|torch\.matmul", _one_index),
    Mutation("linear", "squeeze: an axis forgotten", ("squeeze_excite",), r"aten\.mean", _one_index),
    Mutation(
        "cumulative",
        "other direction",
        ("cumsum",),
        r"aten\.(cumsum|logcum.*)",
        _each(reads.Prefix, lambda s: replace(s, reverse=True)),
    ),
    Mutation(
        "cumulative",
        "only its own element",
        ("cumprod",),
        r"aten\.(cumprod|cummax)",
        _each(reads.Prefix, lambda s: None),
    ),
    Mutation(
        "recurrent",
        "other direction",
        ("recurrent",),
        r"torch\.(lstm|gru|rnn.*)",
        _each(reads.Prefix, lambda s: replace(s, reverse=not s.reverse)),
    ),
    Mutation("fft", "an axis forgotten", ("fft",), r"aten\._fft_.*", _one_index),
    Mutation("pointwise", "the second half not read", ("glu",), r"aten\.glu", _each(reads.Slice, _from_start)),
    EngineMutation("pointwise", "an operand not read", ("broadcast_sum",), recorder, "effect_of", _one_operand),
    Mutation("data", "grid_sample reads its own place", ("grid_sample",), r"aten\.grid_sampler.*", _one_index),
    Mutation("data", "sort reads its own place", ("sort",), r"aten\.sort", _one_index),
    EngineMutation("buffer", "a buffer's zeros block", ("gate",), buffers, "_has_weights", _never),
)
