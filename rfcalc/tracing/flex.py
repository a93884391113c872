"""``flex_attention``: attention whose mask and change of scores are functions of indices."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch._C import _functorch

if TYPE_CHECKING:
    from rfcalc.tracing.recorder import Recorder

#: The module of torch's that asks which device it runs on, and refuses all that has no kernels for it.
MODULE = "torch.nn.attention.flex_attention"


def flex_attention(
    recorder: Recorder,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    score_mod: Callable[..., torch.Tensor],
    block_mask: Sequence[Any],
    scale: float,
    options: dict[str, Any],
    score_buffers: Sequence[Any] = (),
    mask_buffers: Sequence[Any] = (),
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The result, and the logarithm to base 2 of each query's sum and its greatest score.

    The mask is evaluated for all indices: one of constants is known exactly. Without a change of scores the attention
    is recorded whole; with one, its scores are a product that the user's ops follow, before softmax and values.
    """
    function = recorder.function
    extents = query.shape[0], query.shape[1], query.shape[2], key.shape[2]
    mask = _over_indices(block_mask[-1], extents, (), mask_buffers) if not _is(block_mask[-1], "noop_mask") else None
    if _is(score_mod, "_identity"):
        named: dict[str, Any] = {"query": query, "key": key, "value": value, "attn_mask": mask, "scale": scale}
        recorder.function = function
        op = "torch.flex_attention"
    else:
        scores = _scores(query, key, scale)
        scores = _over_indices(score_mod, extents, (scores,), score_buffers).to(scores.dtype).expand(extents)
        if mask is not None:
            scores = torch.where(mask, scores, float("-inf"))
        named = {"scores": scores, "value": value, "heads": key.shape[1]}
        recorder.function = function
        op = "torch.flex_attention_of_scores"
    named = {name: recorder.twinned(item) for name, item in named.items()}

    def run() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        with torch._C.DisableTorchFunction():
            ready = named.get("scores")
            if ready is None:
                ready = _scores(query, key, scale)
                if mask is not None:
                    ready = torch.where(named["attn_mask"], ready, float("-inf"))
            return _attended(ready, value, query)

    found: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = recorder.whole(op, named, run)
    return found


def _is(function: Any, name: str) -> bool:
    """Whether a function is torch's own of that name, which stands for none."""
    return function is not None and function is getattr(sys.modules.get(MODULE), name, None)


def _scores(query: torch.Tensor, key: torch.Tensor, scale: float) -> torch.Tensor:
    """The product of all queries and keys, in single precision at least; several queries may share a head of keys."""
    wide = torch.float64 if query.dtype == torch.float64 else torch.float32
    shared = query.shape[1] // key.shape[1]
    if shared > 1:
        key = key.repeat_interleave(shared, dim=1)
    key = key.expand((query.shape[0], *key.shape[1:]))
    return torch.matmul(query.to(wide), key.to(wide).transpose(-2, -1)) * scale


def _attended(
    scores: torch.Tensor, value: torch.Tensor, query: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The values weighted by the softmax of the scores, laid out in memory as the query is."""
    value = value.repeat_interleave(query.shape[1] // value.shape[1], dim=1)
    value = value.expand((query.shape[0], *value.shape[1:]))
    weights = torch.nan_to_num(torch.softmax(scores, -1), nan=0.0)  # a query that sees nothing gets nothing
    found = torch.matmul(weights.to(query.dtype), value.to(query.dtype))
    order = sorted(range(3), key=lambda axis: -query.stride()[axis])
    made = found.permute(*order, 3).contiguous().permute(*(order.index(axis) for axis in range(3)), 3)
    sums, greatest = torch.logsumexp(scores, -1), scores.amax(-1)
    return made, sums * 1.4426950408889634, greatest * 1.4426950408889634


def _over_indices(
    function: Callable[..., torch.Tensor], extents: Sequence[int], first: Sequence[torch.Tensor], buffers: Sequence[Any]
) -> torch.Tensor:
    """A function of batch, head, query and key for all of them; an axis on which it does not depend has extent 1.

    The function gets scalars, as in torch's own pass: four maps stand for the loops over them. What it gives is taken
    out from under these, where it has the axes that it depends on and no others.
    """
    indices = [torch.arange(extent) for extent in extents]
    found: list[tuple[torch.Tensor, list[tuple[int, int]]]] = []

    def innermost(*given: Any) -> torch.Tensor:
        found.append(_uncovered(function(*given), base))
        index: torch.Tensor = given[len(first)]
        return index

    mapped: Callable[..., Any] = innermost
    for axis in reversed(range(4)):
        on = [0 if axis == other else None for other in range(4)]
        mapped = torch.vmap(mapped, in_dims=(*[0] * len(first), *on, *[None] * len(buffers)), out_dims=0)
    base = _functorch.get_dynamic_layer_stack_depth()
    with _indexing():
        mapped(*first, *indices, *buffers)
    made, layers = found[0]
    places = list(range(made.ndim))
    order = {level - base - 1: places.pop(at) for level, at in layers}
    made = made.permute([order[axis] for axis in sorted(order)])
    extent = iter(made.shape)
    return made.reshape([next(extent) if axis in order else 1 for axis in range(4)])


def _uncovered(made: torch.Tensor, base: int) -> tuple[torch.Tensor, list[tuple[int, int]]]:
    """The tensor below the maps, and of each that it depends on the level and the axis, from the tensor outwards.

    An axis counts among those that the maps nearer to the tensor left.
    """
    layers: list[tuple[int, int]] = []
    while _functorch.is_batchedtensor(made) and _functorch.maybe_get_level(made) > base:
        layers.append((_functorch.maybe_get_level(made), _functorch.maybe_get_bdim(made)))
        made = _functorch.get_unwrapped(made)
    return made, layers[::-1]


def _indexing() -> Any:
    """Within it ``table[index]`` may have an index that is a scalar under a map."""
    try:
        from torch._dynamo._trace_wrapped_higher_order_op import TransformGetItemToIndex
    except ImportError:
        return nullcontext()
    return TransformGetItemToIndex()
