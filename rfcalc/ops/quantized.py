"""Ops on quantised numbers: what the same op on floating-point numbers reads and costs, and quantising itself.

A kernel that takes integers stands for the layer of the network that it was made from: `quantized.conv2d_relu` is a
convolution and a ReLU. Bringing its sums back to integers is a part of it, as casts are, and is not counted; nor is the
scale that a dynamic kernel takes from its whole input read by every output. Quantising as an op of its own is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rfcalc.ops._linear import either
from rfcalc.ops.common import drop_axes, pointwise
from rfcalc.ops.registry import Arg, ArgRead, Call, Effect, Packed, lookup, numel, rule
from rfcalc.reads import Reduce, Reshape

#: Operations of an activation that a kernel applies to its result, by the end of its name.
_FUSED = {"leaky_relu": 2, "relu": 1, "tanh": 1}
#: A quotient, a zero point, rounding, two comparisons; a difference and a product.
_QUANTIZE, _DEQUANTIZE = 5, 2


def _as(call: Call, op: str, args: Mapping[str, Any]) -> Effect:
    """What another op does on these arguments."""
    found = lookup(op)
    if found is None:
        raise ValueError(f"{call.op} stands for {op}, which has no rule")
    return found(call.like(op, args))


def _plus(call: Call, effect: Effect, category: str, each: int) -> Effect:
    """The effect, and so many operations more for each element of the result."""
    flops = dict(effect.flops)
    flops[category] = flops.get(category, 0) + each * numel(call.out.shape)
    return replace(effect, flops=flops)


def _with_activation(call: Call, effect: Effect) -> Effect:
    """The effect of a product, with the activation that the kernel's name ends in."""
    name = call.op.removesuffix("_dynamic").removesuffix("_dynamic_fp16").removesuffix("_output_fp32")
    each = next((count for end, count in _FUSED.items() if name.endswith(f"_{end}")), 0)
    return _plus(call, effect, "activation", each) if each else effect


# --- products ---------------------------------------------------------------------------------------------------------


def _names(stem: str, ends: str) -> tuple[str, ...]:
    return tuple(f"quantized.{stem}{end}" for end in ("", *ends.split()))


@rule(
    *_names("linear", "_relu _leaky_relu _tanh _dynamic _relu_dynamic _dynamic_fp16 _relu_dynamic_fp16"),
    *_names("linear_with_input_q_dq_qweight_dq", "_output_fp32 _relu_output_fp32"),
)
def linear(call: Call) -> Effect:
    """Linear layer of packed weights, its activation too: reads and multiply-adds as those of a linear layer."""
    packed: Packed = call["W_prepack"]
    weight, bias = packed.tensors["weight"], packed.tensors.get("bias")
    return _with_activation(call, _as(call, "torch.linear", {"input": call["X"], "weight": weight, "bias": bias}))


@rule("quantized.linear_dynamic_fp16_unpacked_weight")
def linear_half(call: Call) -> Effect:
    """Linear layer with weights in half precision: as a linear layer."""
    return _as(call, "torch.linear", {"input": call["X"], "weight": call["weight"], "bias": call["bias"]})


@rule(
    *_names("conv1d", "_relu _dynamic"),
    *_names("conv2d", "_relu _dynamic _add _add_relu"),
    *_names("conv3d", "_relu _dynamic"),
    *(name for axes in "123" for name in _names(f"conv_transpose{axes}d", "_dynamic")),
)
def convolution(call: Call) -> Effect:
    """Convolution of packed weights, its activation and the tensor added to it too: as those of a convolution."""
    x: Arg = call["qx"]
    packed: Packed = either(call, "packed_weight", "weight")
    axes = x.ndim - 2
    settings = {name: value[-axes:] if isinstance(value, list) else value for name, value in packed.settings.items()}
    tensors = {"input": x, "weight": packed.tensors["weight"], "bias": packed.tensors.get("bias")}
    effect = _as(call, "aten.convolution", {**settings, **tensors, "transposed": bool(settings["transpose"])})
    added: Arg | None = call["qaccum"]
    if added is not None:
        effect = _plus(call, replace(effect, reads=[*effect.reads, pointwise(added, x.ndim)]), "elementwise", 1)
    return _with_activation(call, effect)


@rule("quantized.embedding_byte", "quantized.embedding_4bit")
def embedding(call: Call) -> Effect:
    """Lookup in a packed table: as an embedding."""
    return _as(call, "aten.embedding", {"weight": call["weight"].tensors["weight"], "indices": call["indices"]})


@rule("quantized.embedding_bag_byte", "quantized.embedding_bag_4bit")
def embedding_bag(call: Call) -> Effect:
    """Sums of rows of a packed table: as an embedding bag."""
    names = ("indices", "offsets", "per_sample_weights", "mode")
    given = {name: call[name] for name in names}
    return _as(call, "aten.embedding_bag", {**given, "weight": call["weight"].tensors["weight"]})


# --- recurrent layers -------------------------------------------------------------------------------------------------


_CELL = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@rule("aten.quantized_lstm", "aten.quantized_gru")
def recurrent(call: Call) -> Effect:
    """Recurrent layer of packed weights: reads and multiply-adds as those of a recurrent layer."""
    cells: tuple[Packed, ...] = call["params"]
    params = tuple(cell.tensors[role] for cell in cells for role in _CELL if role in cell.tensors)
    return _as(call, call.op.replace("quantized_", ""), {**call.args, "params": params})


@rule(*(f"quantized.quantized_{kind}_cell_dynamic" for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu")))
def cell(call: Call) -> Effect:
    """One step of a recurrent layer of packed weights: as one of a recurrent layer."""
    kind = call.op.removeprefix("quantized.quantized_").removesuffix("_dynamic")
    args: dict[str, Any] = {"input": call["input"], "hx": call["hx"]}
    for which in ("ih", "hh"):
        packed: Packed = call[f"w_{which}"]
        args |= {f"w_{which}": packed.tensors["weight"], f"b_{which}": packed.tensors.get("bias")}
    return _as(call, f"aten.{kind}", args)


# --- what other ops do, on integers -----------------------------------------------------------------------------------

Binding = Callable[[Call], Mapping[str, Any]]


def _renamed(**names: str) -> Binding:
    """Arguments of the other op by the names that this one has for them; those of equal name go without saying."""
    return lambda call: {**call.args, **{name: call[mine] for name, mine in names.items()}}


def _operands(call: Call) -> Mapping[str, Any]:
    return {"self": call["qa"], "other": either(call, "qb", "b")}


_NORM = _renamed(input="qx", running_mean="mean", running_var="var")
_ONE = _renamed(self="qx")

#: op -> (the op that it stands for, how its arguments are called there)
_STANDS_FOR: dict[str, tuple[str, Binding]] = {
    **{f"quantized.{op}{end}": (f"aten.{op}", _operands) for op in ("add", "mul") for end in ("", "_scalar")},
    "quantized.matmul": ("aten.matmul", _operands),
    "quantized.cat": ("aten.cat", _renamed(tensors="qx")),
    **{f"quantized.batch_norm{axes}": ("torch.batch_norm", _NORM) for axes in ("", "1d", "2d", "3d")},
    "quantized.layer_norm": ("torch.layer_norm", _renamed()),
    "quantized.group_norm": ("torch.group_norm", _renamed()),
    "quantized.instance_norm": ("torch.instance_norm", lambda call: {**call.args, "use_input_stats": True}),
    **{f"quantized.{op}": (f"aten.{op}", _ONE) for op in ("leaky_relu", "relu6", "sigmoid", "threshold", "clamp")},
    **{f"quantized.{op}": (f"aten.{op}", _renamed()) for op in ("elu", "celu")},
    "quantized.hardswish": ("aten.hardswish", _renamed(self="input")),
    "quantized.prelu": ("aten.prelu", _ONE),
    "quantized.softmax": ("aten.softmax", _ONE),
    "quantized.dropout": ("aten.dropout", lambda call: {**call.args, "input": call["self"], "train": call["training"]}),
    **{f"quantized.max_pool{axes}d": (f"aten.max_pool{axes}d", _ONE) for axes in "12"},
    **{f"aten.quantized_max_pool{axes}d": (f"aten.max_pool{axes}d", _renamed()) for axes in "123"},
    "aten.quantized_batch_norm": ("torch.batch_norm", _renamed(running_mean="mean", running_var="var")),
}
_WITH_RELU = {
    f"{op}_relu": found
    for op, found in _STANDS_FOR.items()
    if op.startswith(("quantized.add", "quantized.mul", "quantized.cat", "quantized.batch"))
}


@rule(*_STANDS_FOR, *_WITH_RELU)
def same(call: Call) -> Effect:
    """An op on quantised numbers: reads and costs as on others, a ReLU that it applies too."""
    op, binding = _STANDS_FOR.get(call.op) or _WITH_RELU[call.op]
    effect = _as(call, op, binding(call))
    return _plus(call, effect, "activation", 1) if call.op in _WITH_RELU else effect


# --- quantising -------------------------------------------------------------------------------------------------------


def _each(call: Call, kind: str, flops: Mapping[str, int]) -> Effect:
    """Every result reads its own position of the tensor that it was made from."""
    given: Any = either(call, "self", "input", "qtensor", "tensors", "qtensors")
    tensors = given if isinstance(given, tuple) else (given,) * len(call.outs)
    reads = [[_position(x, out.shape)] for x, out in zip(tensors, call.outs, strict=False)]
    return Effect(kind, reads, each=True, flops={name: count for name, count in flops.items() if count})


def _position(x: Arg, shape: tuple[int, ...]) -> ArgRead:
    """The same position; everything for a result that is a summary, a scale."""
    if x.shape == shape:
        return x, ()
    return x, (Reduce(tuple(range(x.ndim))), Reshape((1,) * x.ndim, (1,) * len(shape)))


def _elements(call: Call) -> int:
    return sum(numel(out.shape) for out in call.outs)


_DECOMPOSED = ("per_tensor", "per_channel", "per_channel_group", "per_token")


@rule(
    *("aten.quantize_per_tensor", "aten.quantize_per_channel", "aten.quantize_per_tensor_dynamic"),
    *(f"quantized_decomposed.quantize_{how}" for how in _DECOMPOSED),
)
def quantize(call: Call) -> Effect:
    """Quantising: one position; 5 operations an element (scale, zero point, round, two comparisons)."""
    return _each(call, "elementwise", {"elementwise": _QUANTIZE * _elements(call)})


@rule("bitsandbytes.int8_vectorwise_quant")
def quantize_rows(call: Call) -> Effect:
    """Quantising each row by its largest number: one position, of the scale its row; 7 operations an element."""
    x: Arg = call["A"]
    rows = (x, (Reduce((x.ndim - 1,)), *drop_axes(x.shape, (x.ndim - 1,))))
    reads = [[(x, ())], *([rows] if len(out.shape) == x.ndim - 1 else [] for out in call.outs[1:])]
    return Effect("elementwise", reads, each=True, flops={"elementwise": (2 + _QUANTIZE) * x.numel})


@rule("aten.dequantize", *(f"quantized_decomposed.dequantize_{how}" for how in _DECOMPOSED))
def dequantize(call: Call) -> Effect:
    """Back from integers: one position; 2 operations an element. A parameter that is read so is what it stands for."""
    given: Any = either(call, "self", "input", "qtensor", "tensors", "qtensors")
    if isinstance(given, Arg) and given.role == "param":
        return _each(call, "cast", {})
    return _each(call, "elementwise", {"elementwise": _DEQUANTIZE * _elements(call)})


@rule("aten.int_repr", "aten._make_per_tensor_quantized_tensor", "aten._make_per_channel_quantized_tensor")
def relabelled(call: Call) -> Effect:
    """The integers of a quantised tensor, or the reverse: one position; no arithmetic."""
    return _each(call, "cast", {})


@rule("quantized_decomposed.convert_element_type")
def converted(call: Call) -> Effect:
    """A cast: one position; no arithmetic."""
    return _each(call, "cast", {})


@rule(
    *(f"aten.fake_quantize_per_{what}_affine{end}" for what in ("tensor", "channel") for end in ("", "_cachemask")),
    "aten._fake_quantize_per_tensor_affine_cachemask_tensor_qparams",
    "aten._fake_quantize_learnable_per_tensor_affine",
    "aten._fake_quantize_learnable_per_channel_affine",
    "quantized_decomposed.fake_quant_per_channel",
)
def fake_quantize(call: Call) -> Effect:
    """Quantising and back, in floating point: one position; 7 operations an element."""
    return _each(call, "elementwise", {"elementwise": (_QUANTIZE + _DEQUANTIZE) * numel(call.out.shape)})


@rule(
    "aten.fused_moving_avg_obs_fake_quant",
    "aten._fused_moving_avg_obs_fq_helper",
    "aten._fused_moving_avg_obs_fq_helper_functional",
)
def observed(call: Call) -> Effect:
    """Observing the range and quantising and back: one position; 9 operations an element (2 comparisons more)."""
    on = call["observer_on"]
    known = on.numbers() if isinstance(on, Arg) else None
    effect = _each(call, "elementwise", {"elementwise": (2 + _QUANTIZE + _DEQUANTIZE) * numel(call.out.shape)})
    return effect if known is None else replace(effect, attrs={"observer_on": bool(known.any())})


@rule(
    *(f"quantized_decomposed.choose_qparams{how}" for how in ("", "_symmetric", "_per_token", "_per_token_asymmetric")),
    "quantized_decomposed._choose_qparams_per_token_asymmetric_impl",
    "aten.choose_qparams_optimized",
)
def range_of(call: Call) -> Effect:
    """Scale and zero point of a tensor: its smallest and largest number, 2 comparisons an element."""
    x: Arg = either(call, "self", "input")
    return _each(call, "reduction", {"reduction": 2 * x.numel})


# --- weights packed in tensors ----------------------------------------------------------------------------------------


@rule("aten._weight_int8pack_mm")
def int8_product(call: Call) -> Effect:
    """Product with a weight of 8-bit integers, out x in, and a scale for each row: as a linear layer."""
    return _as(call, "torch.linear", {"input": call["self"], "weight": call["mat2"], "bias": None})


@rule(
    *(f"aten._weight_int4pack_mm{end}" for end in ("", "_for_cpu", "_with_scales_and_zeros")),
    "quantized.int4mm_packed_weight_cpu",
)
def int4_product(call: Call) -> Effect:
    """Product with a weight of 4-bit integers in a kernel's order: as a linear layer of as many features."""
    return _in_kernels_order(call, call["self"], call["mat2"])


@rule("bitsandbytes.gemv_4bit", "bitsandbytes.gemm_4bit")
def four_bit_product(call: Call) -> Effect:
    """Product with a weight of 4-bit numbers, two a byte: as a linear layer of as many features."""
    return _in_kernels_order(call, call["A"], call["B"], call["bias"])


@rule("bitsandbytes.int8_scaled_mm", "bitsandbytes.int8_linear_matmul", "bitsandbytes.int8_mixed_scaled_mm")
def scaled_product(call: Call) -> Effect:
    """Product with a weight of 8-bit integers, out x in, with scales: as a linear layer."""
    x: Arg = either(call, "A", "CA")
    weight: Arg = either(call, "B", "CB")
    effect = _as(call, "torch.linear", {"input": x, "weight": weight, "bias": call["bias"]})
    if len(call.outs) > 1:
        effect = replace(effect, reads=[list(effect.reads), *([] for _ in call.outs[1:])], each=True)
    return effect


@rule("bitsandbytes.int8_mm_dequant")
def scaled_back(call: Call) -> Effect:
    """Sums of products brought back by the scales of rows and columns: one position; 2 operations an element."""
    x: Arg = call["A"]
    bias: Arg | None = call["bias"]
    flops = {"elementwise": _DEQUANTIZE * x.numel, **({} if bias is None else {"bias": x.numel})}
    return Effect("elementwise", [(x, ())], flops=flops)


@rule(*(f"aten.fbgemm_linear_{kind}_weight{end}" for kind in ("int8", "fp16") for end in ("", "_fp32_activation")))
def fbgemm_product(call: Call) -> Effect:
    """Product with a weight in the order of fbgemm's kernels, and a bias: as a linear layer of as many features."""
    packed: Arg = either(call, "packed_weight", "weight")
    return _in_kernels_order(call, call["input"], packed, call["bias"])


def _in_kernels_order(call: Call, x: Arg, packed: Arg, bias: Arg | None = None) -> Effect:
    """A linear layer whose weight only a kernel can read: its shape follows from what comes in and goes out."""
    shape = (call.out.shape[-1], x.shape[-1])
    weight = Arg(shape, x.dtype, "param", packed.name)
    return replace(_as(call, "torch.linear", {"input": x, "weight": weight, "bias": bias}), stands=shape)
