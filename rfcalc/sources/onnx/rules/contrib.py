"""Ops of onnxruntime's, domain com.microsoft: what its optimisers and builders write."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from rfcalc.sources.onnx.rules import MICROSOFT, Op, Rule, Value, find, ints, one
from rfcalc.sources.onnx.rules import rule as register
from rfcalc.sources.onnx.rules.attention import heads, joined, repeated, rotated
from rfcalc.sources.onnx.rules.quantized import dequantized, quantized

T = torch.Tensor


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register rules in the domain of these ops."""
    return register(*names, domain=MICROSOFT)


def _plain(name: str, op: Op, *inputs: Value) -> Any:
    """The op of the default domain that one is made of."""
    run: Any = find("", name)
    return run(op, *inputs)


def _same(name: str) -> None:
    rule(name)(lambda op, *inputs: _plain(name, op, *inputs))


for _name in ("Trilu", "GridSample", "Unique"):
    _same(_name)


# --- activations and norms --------------------------------------------------------------------------------------------


@rule("Gelu")
def gelu(op: Op, x: T) -> T:
    """x times the normal distribution's function."""
    return functional.gelu(x)


@rule("FastGelu")
def fast_gelu(op: Op, x: T, bias: T | None = None) -> T:
    """Its approximation by tanh, after a bias."""
    return functional.gelu(x if bias is None else x + bias, approximate="tanh")


@rule("BiasGelu")
def bias_gelu(op: Op, x: T, bias: T) -> T:
    """The same after a bias."""
    return functional.gelu(x + bias)


@rule("QuickGelu")
def quick_gelu(op: Op, x: T) -> T:
    """x sigmoid(alpha x)."""
    return x * torch.sigmoid(op.get("alpha", 1.702) * x)


@rule("BiasAdd")
def bias_add(op: Op, x: T, bias: T, skip: T) -> T:
    """A sum of three."""
    return x + bias + skip


@rule("BiasSoftmax")
def bias_softmax(op: Op, x: T, bias: T) -> T:
    """The softmax of a sum, over all axes from one on."""
    scores = x + bias
    axis = op.get("axis", 1) % x.ndim
    return torch.softmax(scores.flatten(axis), axis).reshape(x.shape)


def _skipped(x: T, skip: T, bias: T | None) -> T:
    total = x + skip
    return total if bias is None else total + bias


@rule("SkipLayerNormalization")
def skip_layer_norm(
    op: Op, x: T, skip: T, scale: T, shift: T | None = None, bias: T | None = None
) -> tuple[Value, ...]:
    """The norm of a sum, and the sum."""
    total = _skipped(x, skip, bias)
    return functional.layer_norm(total, [x.shape[-1]], scale, shift, op.get("epsilon", 1e-12)), None, None, total


@rule("SkipSimplifiedLayerNormalization")
def skip_rms_norm(op: Op, x: T, skip: T, scale: T, bias: T | None = None) -> tuple[Value, ...]:
    """The norm by the mean square of a sum, and the sum."""
    total = _skipped(x, skip, bias)
    return functional.rms_norm(total, [x.shape[-1]], scale, op.get("epsilon", 1e-12)), None, None, total


@rule("EmbedLayerNormalization")
def embed_layer_norm(
    op: Op,
    ids: T,
    segments: T | None,
    words: T,
    places: T,
    kinds: T | None,
    scale: T,
    shift: T,
    mask: T | None = None,
    positions: T | None = None,
) -> tuple[Value, ...]:
    """The norm of the sum of a word's, a place's and a segment's embedding."""
    at = torch.arange(ids.shape[1], device=ids.device) if positions is None else positions
    total = functional.embedding(ids, words) + functional.embedding(at, places)
    if segments is not None and kinds is not None:
        total = total + functional.embedding(segments, kinds)
    found = functional.layer_norm(total, [total.shape[-1]], scale, shift, op.get("epsilon", 1e-12))
    counts = None if mask is None else mask.sum(1).to(torch.int32)
    return found, counts, total


@rule("GroupNorm", "SkipGroupNorm")
def group_norm(op: Op, x: T, scale: T, shift: T, *more: T) -> T | tuple[T, T]:
    """Groups of channels by their statistics, the channels last or second, then perhaps silu."""
    total = x
    for added in more:
        total = total + (added if added.ndim == total.ndim else added[:, None, None])
    last = bool(op.get("channels_last", 1))
    inside = total.movedim(-1, 1) if last else total
    found = functional.group_norm(inside, op.get("groups"), scale, shift, op.get("epsilon", 1e-5))
    found = functional.silu(found) if op.get("activation", 0) else found
    found = found.movedim(1, -1) if last else found
    return found if op.outputs == 1 else (found, total)


# --- products ---------------------------------------------------------------------------------------------------------

_ACTIVATIONS: dict[str, Any] = {
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "LeakyRelu": lambda x, alpha=0.01: functional.leaky_relu(x, alpha),
    "Clip": lambda x, low=-math.inf, high=math.inf: torch.clamp(x, low, high),
    "HardSigmoid": lambda x, alpha=0.2, beta=0.5: torch.clamp(alpha * x + beta, 0, 1),
    "HardSwish": functional.hardswish,
    "": lambda x: x,
}


@rule("FusedConv")
def fused_conv(op: Op, x: T, weight: T, bias: T | None = None, added: T | None = None) -> T:
    """A convolution, a sum and an activation."""
    found: T = _plain("Conv", op, x, weight, bias)
    found = found if added is None else found + added
    result: T = _ACTIVATIONS[op.get("activation", "")](found, *op.get("activation_params", []))
    return result


@rule("FusedGemm")
def fused_gemm(op: Op, a: T, b: T, c: T | None = None) -> T:
    """A product and an activation."""
    found: T = _ACTIVATIONS[op.get("activation", "")](_plain("Gemm", op, a, b, c))
    return found


@rule("FusedMatMul", "TransposeMatMul")
def fused_matmul(op: Op, a: T, b: T) -> T:
    """A product of matrices, transposed and scaled."""
    a = a.transpose(-1, -2) if op.get("transA", 0) else a
    b = b.transpose(-1, -2) if op.get("transB", 0) else b
    found = torch.matmul(a, b)
    return found if op.get("alpha", 1.0) == 1 else found * op.get("alpha")


@rule("MatMulNBits")
def matmul_nbits(op: Op, x: T, packed: T, scales: T, zeros: T | None = None, *more: T) -> T:
    """A linear layer whose weight is packed, several numbers to a byte, in blocks with scales of their own."""
    bits, block = op.get("bits", 4), op.get("block_size")
    rows, columns = op.get("N"), op.get("K")
    shifts = torch.arange(0, 8, bits, device=packed.device)
    numbers = ((packed.to(torch.int32)[..., None] >> shifts) % (1 << bits)).reshape(rows, -1, block)
    middle: Any = 1 << (bits - 1)
    if zeros is not None:
        if zeros.is_floating_point():
            middle = zeros.reshape(rows, -1, 1)
        else:
            middle = ((zeros.to(torch.int32).reshape(rows, -1)[..., None] >> shifts) % (1 << bits)).flatten(1)
            middle = middle[:, : numbers.shape[1], None]
    weight = ((numbers - middle).to(scales.dtype) * scales.reshape(rows, -1, 1)).reshape(rows, -1)[:, :columns]
    bias = more[1] if len(more) > 1 else None
    return functional.linear(x, weight.to(x.dtype), bias)


@rule("DynamicQuantizeMatMul")
def dynamic_matmul(op: Op, a: T, b: T, scale: T, zero: T | None = None, bias: T | None = None) -> T:
    """A product with a quantised matrix, the other quantised on the way."""
    of_a: tuple[T, T, T] = _plain("DynamicQuantizeLinear", op, a)
    found = torch.matmul(dequantized(*of_a), dequantized(b, scale, zero))
    return found if bias is None else found + bias


@rule("MatMulIntegerToFloat")
def matmul_to_float(
    op: Op,
    a: T,
    b: T,
    a_scale: T,
    b_scale: T,
    a_zero: T | None = None,
    b_zero: T | None = None,
    bias: T | None = None,
) -> T:
    """A product of quantised matrices as numbers."""
    found = torch.matmul(dequantized(a, a_scale, a_zero), dequantized(b, b_scale, b_zero))
    return found if bias is None else found + bias


@rule("QGemm")
def qgemm(
    op: Op,
    a: T,
    a_scale: T,
    a_zero: T,
    b: T,
    b_scale: T,
    b_zero: T,
    c: T | None = None,
    scale: T | None = None,
    zero: T | None = None,
) -> T:
    """A quantised linear layer."""
    rows = op.get("transB", 0) and b_scale.numel() > 1
    spread = b_scale.reshape(-1, 1) if rows else b_scale
    moved = b_zero.reshape(-1, 1) if rows and b_zero.numel() > 1 else b_zero
    bias = None if c is None else c.to(a_scale.dtype) * (a_scale * b_scale)
    found: T = _plain("Gemm", op, dequantized(a, a_scale, a_zero), dequantized(b, spread, moved), bias)
    return found if scale is None else quantized(found, scale, zero, torch.int8 if zero is None else zero.dtype)


# --- quantised element by element -------------------------------------------------------------------------------------


def _two(name: str, combine: Any) -> None:
    def run(op: Op, a: T, a_scale: T, a_zero: T, b: T, b_scale: T, b_zero: T, scale: T, zero: T | None = None) -> T:
        found = combine(dequantized(a, a_scale, a_zero), dequantized(b, b_scale, b_zero))
        return quantized(found, scale, zero, a.dtype)

    rule(name)(run)


_two("QLinearAdd", torch.add)
_two("QLinearMul", torch.mul)


def _one(name: str, function: Any) -> None:
    def run(op: Op, x: T, x_scale: T, x_zero: T | None, scale: T, zero: T | None = None) -> T:
        return quantized(function(op, dequantized(x, x_scale, x_zero)), scale, zero, x.dtype)

    rule(name)(run)


def _last(op: Op, function: Any, x: T) -> T:
    """A pooling, with the channels last where the op says so."""
    if not op.get("channels_last", 0):
        found: T = function(x)
        return found
    turned: T = function(x.movedim(-1, 1)).movedim(1, -1)
    return turned


_one("QLinearSigmoid", lambda op, x: torch.sigmoid(x))
_one("QLinearLeakyRelu", lambda op, x: functional.leaky_relu(x, op.get("alpha", 0.01)))
_one("QLinearSoftmax", lambda op, x: torch.softmax(x, op.get("axis", -1)))
_one("QLinearGlobalAveragePool", lambda op, x: _last(op, lambda y: _plain("GlobalAveragePool", op, y), x))
_one("QLinearAveragePool", lambda op, x: _last(op, lambda y: _plain("AveragePool", op, y), x))


@rule("QLinearConcat")
def qlinear_concat(op: Op, scale: T, zero: T, *inputs: T) -> T:
    """Quantised tensors beside each other, in the units of the result."""
    parts = [dequantized(*inputs[at : at + 3]) for at in range(0, len(inputs), 3)]
    return quantized(torch.cat(parts, op.get("axis")), scale, zero, zero.dtype)


# --- attention --------------------------------------------------------------------------------------------------------


def _mask(mask: T | None, q: T, k: T, causal: bool) -> T | None:
    """Which scores count: by a mask of keys, of all pairs, or by the lengths of samples."""
    allowed: T | None = None
    columns = torch.arange(k.shape[2], device=q.device)
    if mask is not None:
        if mask.ndim == 1:
            allowed = columns < mask.reshape(-1, 1, 1, 1)
        else:
            allowed = mask.to(torch.bool)
            allowed = allowed[:, None, None] if mask.ndim == 2 else allowed[:, None] if mask.ndim == 3 else allowed
    if causal:
        rows = torch.arange(q.shape[2], device=q.device)[:, None]
        before = columns <= rows + k.shape[2] - q.shape[2]
        allowed = before if allowed is None else allowed & before
    return allowed


def _attended(op: Op, q: T, k: T, v: T, allowed: T | None, bias: T | None) -> T:
    scale = op.get("scale") or 1 / math.sqrt(q.shape[-1])
    if bias is not None and allowed is not None:
        bias = torch.where(allowed, bias, torch.full((), -torch.inf, dtype=bias.dtype, device=bias.device))
    return joined(functional.scaled_dot_product_attention(q, k, v, allowed if bias is None else bias, scale=scale))


@rule("Attention")
def attention(
    op: Op,
    x: T,
    weight: T,
    bias: T | None = None,
    mask: T | None = None,
    past: T | None = None,
    added: T | None = None,
    *more: T,
) -> tuple[Value, ...]:
    """Self-attention with the products for queries, keys and values in one."""
    count = op.get("num_heads")
    product = functional.linear(x, weight.T, bias)
    widths = op.get("qkv_hidden_sizes") or [product.shape[-1] // 3] * 3
    q, k, v = (heads(part, count) for part in product.split(list(widths), -1))
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    allowed = _mask(mask, q, k, bool(op.get("unidirectional", 0)))
    found = _attended(op, q, k, v, allowed, added)
    return found, torch.stack([k, v]) if op.outputs > 1 else None


@rule("MultiHeadAttention")
def multi_head(
    op: Op,
    q: T,
    k: T | None = None,
    v: T | None = None,
    bias: T | None = None,
    mask: T | None = None,
    added: T | None = None,
    past_k: T | None = None,
    past_v: T | None = None,
    *more: T,
) -> tuple[Value, ...]:
    """Attention of queries, keys and values that are there, or packed into the first input."""
    count = op.get("num_heads")
    if k is None:
        q, k, v = q.unbind(3) if q.ndim == 5 else q.chunk(3, -1)
    elif v is None:
        k, v = k.unbind(3)
    assert k is not None
    assert v is not None
    q, k, v = (x.flatten(2) if x.ndim == 4 and x.shape[1] != count else x for x in (q, k, v))
    if bias is not None:
        of_q, of_k, of_v = bias.split([q.shape[-1], q.shape[-1], bias.shape[0] - 2 * q.shape[-1]])
        q, k, v = q + of_q, (k + of_k if k.ndim == 3 else k), (v + of_v if v.ndim == 3 else v)
    q, k, v = (heads(x, count) if x.ndim == 3 else x for x in (q, k, v))
    if past_k is not None and past_v is not None:
        k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
    found = _attended(op, q, k, v, _mask(mask, q, k, bool(op.get("unidirectional", 0))), added)
    return found, k, v


@rule("GroupQueryAttention")
def group_query(
    op: Op,
    q: T,
    k: T | None,
    v: T | None,
    past_k: T | None = None,
    past_v: T | None = None,
    lengths: T | None = None,
    total: T | None = None,
    cos: T | None = None,
    sin: T | None = None,
    positions: T | None = None,
    *more: T,
) -> tuple[Value, ...]:
    """Causal attention with keys that several heads share, after a cache, the positions turned on the way."""
    count, shared = op.get("num_heads"), op.get("kv_num_heads")
    if k is None or v is None:
        width = q.shape[-1] // (count + 2 * shared)
        q, k, v = q.split([count * width, shared * width, shared * width], -1)
    q, k, v = heads(q, count), heads(k, shared), heads(v, shared)
    past = 0 if past_k is None else past_k.shape[2]
    if op.get("do_rotary", 0) and cos is not None and sin is not None:
        at = torch.arange(past, past + q.shape[2], device=q.device)
        turned = bool(op.get("rotary_interleaved", 0))
        angles = cos.index_select(0, at)[None, None], sin.index_select(0, at)[None, None]
        q, k = rotated(q, *angles, turned), rotated(k, *angles, turned)
    if past_k is not None and past_v is not None:
        k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
    allowed = _mask(None, q, k, True)
    window = op.get("local_window_size", -1)
    if window > 0 and allowed is not None:
        rows = torch.arange(q.shape[2], device=q.device)[:, None] + past
        allowed = allowed & (torch.arange(k.shape[2], device=q.device) > rows - window)
    found = _attended(op, q, repeated(k, count), repeated(v, count), allowed, None)
    return found, k, v


@rule("RotaryEmbedding")
def rotary(op: Op, x: T, positions: T, cos: T, sin: T) -> T:
    """Each head turned by the angles of its position, or of those from one on."""
    flat = x.ndim == 3
    width = 2 * cos.shape[-1]
    rows = heads(x, op.get("num_heads") or x.shape[-1] // width) if flat else x
    if positions.numel() == 1:
        at = torch.arange(x.shape[1] if flat else x.shape[2], device=x.device) + positions.reshape(())
        at = at.expand(x.shape[0], -1)
    else:
        at = positions
    angles = functional.embedding(at, cos)[:, None], functional.embedding(at, sin)[:, None]
    turned = rotated(rows[..., :width], *angles, bool(op.get("interleaved", 0)))
    found = turned if width == rows.shape[-1] else torch.cat([turned, rows[..., width:]], -1)
    return joined(found) if flat else found


@rule("CDist")
def cdist(op: Op, a: T, b: T) -> T:
    """Distances between rows."""
    found = torch.cdist(a, b)
    return found if op.get("metric", "sqeuclidean") == "euclidean" else found * found


@rule("Inverse")
def inverse(op: Op, x: T) -> T:
    """The inverse of matrices."""
    return torch.linalg.inv(x)


@rule("Pad")
def pad(op: Op, x: T, pads: T, value: T | None = None) -> T:
    """As in the default domain."""
    found: T = _plain("Pad", Op("Pad", 13, op.attributes), x, torch.tensor(ints(pads)), value)
    return found


@rule("ExpandDims")
def expand_dims(op: Op, x: T, axis: T) -> T:
    """A new axis."""
    return x.unsqueeze(int(one(axis)))
