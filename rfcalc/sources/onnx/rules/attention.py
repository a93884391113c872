"""Attention, and the rotation of positions."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from rfcalc.sources.onnx.dtypes import TORCH
from rfcalc.sources.onnx.rules import Op, Value, rule

T = torch.Tensor


def heads(x: T, count: int) -> T:
    """(batch, length, width) as (batch, heads, length, width of one)."""
    return x.reshape(*x.shape[:2], count, -1).transpose(1, 2)


def joined(x: T) -> T:
    """The opposite."""
    return x.transpose(1, 2).flatten(2)


def repeated(x: T, count: int) -> T:
    """Heads that several of the query share, once for each."""
    return x if x.shape[1] == count else x.repeat_interleave(count // x.shape[1], 1)


@rule("Attention")
def attention(
    op: Op,
    q: T,
    k: T,
    v: T,
    mask: T | None = None,
    past_k: T | None = None,
    past_v: T | None = None,
    lengths: T | None = None,
) -> tuple[Value, ...]:
    """Y, the keys and values with those of the past, and the scores at a stage of the way, where asked for."""
    flat = q.ndim == 3
    if flat:
        q, of_k = heads(q, op.get("q_num_heads")), op.get("kv_num_heads")
        k, v = heads(k, of_k), heads(v, of_k)
    if past_k is not None and past_v is not None:
        k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
    present = k, v
    k, v = repeated(k, q.shape[1]), repeated(v, q.shape[1])
    scale = op.get("scale")
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    cap, causal = op.get("softcap", 0.0), bool(op.get("is_causal", 0))
    reach = op.get("left_window_size", -1), op.get("right_window_size", -1)
    bias = _bias(q, k, mask, causal, lengths, 0 if past_k is None else past_k.shape[2], reach)
    precise = op.get("softmax_precision")
    if op.outputs < 4 and not cap and precise in (None, 1) and (bias is None or bias.dtype in (torch.bool, q.dtype)):
        found = functional.scaled_dot_product_attention(q, k, v, bias, scale=scale)
        return (joined(found) if flat else found), *present, None
    root = math.sqrt(scale)
    scores = torch.matmul(q * root, (k * root).transpose(-1, -2))
    capped = cap * torch.tanh(scores / cap) if cap else scores
    added = _added(capped, bias)
    wider = added if precise is None else added.to(TORCH[precise])
    weights = torch.softmax(wider, -1).to(q.dtype)
    if bias is not None:  # a row of which nothing counts gives nothing
        weights = torch.where(torch.isneginf(added.amax(-1, keepdim=True)), torch.zeros_like(weights), weights)
    found = torch.matmul(weights, v)
    stages = (scores, capped, added, weights)
    return (joined(found) if flat else found), *present, stages[op.get("qk_matmul_output_mode", 0)]


def _added(scores: T, bias: T | None) -> T:
    if bias is None:
        return scores
    return scores.masked_fill(~bias, -torch.inf) if bias.dtype == torch.bool else scores + bias


def _bias(
    q: T, k: T, mask: T | None, causal: bool, lengths: T | None, past: int, reach: tuple[int, int] = (-1, -1)
) -> T | None:
    """What is added to the scores, or a mask of those that count: not later ones, and within a reach on either side."""
    bias = mask
    if bias is not None and bias.shape[-1] < k.shape[2]:  # what it does not reach is blocked
        missing = k.shape[2] - bias.shape[-1]
        low = False if bias.dtype == torch.bool else -torch.inf
        bias = torch.cat([bias, torch.full((*bias.shape[:-1], missing), low, dtype=bias.dtype, device=bias.device)], -1)
    allowed: T | None = None
    rows, columns = torch.arange(q.shape[2], device=q.device)[:, None], torch.arange(k.shape[2], device=q.device)
    at = rows + (past if lengths is None else (lengths - q.shape[2]).reshape(-1, 1, 1, 1))
    if causal:
        allowed = columns <= at
    if reach[0] >= 0:
        near = columns >= at - reach[0]
        allowed = near if allowed is None else allowed & near
    if reach[1] >= 0:
        near = columns <= at + reach[1]
        allowed = near if allowed is None else allowed & near
    if lengths is not None:
        filled = columns < lengths.reshape(-1, 1, 1, 1)
        allowed = filled if allowed is None else allowed & filled
    if allowed is None:
        return bias
    if bias is None:
        return allowed
    if bias.dtype == torch.bool:
        return bias & allowed
    return torch.where(allowed, bias, torch.full((), -torch.inf, dtype=bias.dtype, device=bias.device))


def rotated(x: T, cos: T, sin: T, interleaved: bool) -> T:
    """Pairs of elements turned by angles; neighbours, or one of each half."""
    if interleaved:
        one, two = x[..., 0::2], x[..., 1::2]
    else:
        one, two = x.chunk(2, -1)
    real, imaginary = one * cos - two * sin, one * sin + two * cos
    return torch.stack([real, imaginary], -1).flatten(-2) if interleaved else torch.cat([real, imaginary], -1)


@rule("RotaryEmbedding")
def rotary(op: Op, x: T, cos: T, sin: T, positions: T | None = None) -> T:
    """The first elements of each head turned by the angles of its position."""
    flat = x.ndim == 3
    rows = x.reshape(*x.shape[:2], op.get("num_heads"), -1) if flat else x.transpose(1, 2)
    if positions is not None:
        cos, sin = functional.embedding(positions, cos), functional.embedding(positions, sin)
    width = op.get("rotary_embedding_dim", 0) or rows.shape[-1]
    cos, sin = (angles[..., : width // 2].unsqueeze(2) for angles in (cos, sin))
    turned = rotated(rows[..., :width], cos, sin, bool(op.get("interleaved", 0)))
    found = turned if width == rows.shape[-1] else torch.cat([turned, rows[..., width:]], -1)
    return found.reshape(x.shape) if flat else found.transpose(1, 2)
