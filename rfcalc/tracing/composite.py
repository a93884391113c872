"""Composite functions that are recorded whole: fewer ops, truer names, and rules that say what the function means.

Each entry binds the arguments of one torch function to the names that its rule in `rfcalc.ops` uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, TypeAlias

import torch
from torch.nn import functional
from torch.overrides import handle_torch_function, has_torch_function

from rfcalc.tracing.tensors import tensors_in_args

Bound: TypeAlias = dict[str, Any]

_RNN = ("input", "hx", "params", "has_biases", "num_layers", "dropout", "train", "bidirectional", "batch_first")
_CELL = ("input", "hx", "w_ih", "w_hh", "b_ih", "b_hh")
_NORM = ("input", "running_mean", "running_var", "weight", "bias")

#: name of the rule -> (functions, argument names in order)
_TABLE: dict[str, tuple[Sequence[Any], Sequence[str]]] = {
    "torch.linear": ((torch._C._nn.linear,), ("input", "weight", "bias")),
    "torch.layer_norm": (
        (functional.layer_norm, torch.layer_norm),
        ("input", "normalized_shape", "weight", "bias", "eps"),
    ),
    "torch.group_norm": (
        (functional.group_norm, torch.group_norm),
        ("input", "num_groups", "weight", "bias", "eps"),
    ),
    "torch.batch_norm": ((functional.batch_norm,), (*_NORM, "training", "momentum", "eps")),
    "torch.instance_norm": ((functional.instance_norm,), (*_NORM, "use_input_stats", "momentum", "eps")),
    "torch.rms_norm": (
        tuple(home.rms_norm for home in (functional, torch) if hasattr(home, "rms_norm")),
        ("input", "normalized_shape", "weight", "eps"),
    ),
    "torch.scaled_dot_product_attention": (
        (functional.scaled_dot_product_attention,),
        ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa"),
    ),
    "torch.local_response_norm": ((functional.local_response_norm,), ("input", "size", "alpha", "beta", "k")),
    # One axis is pooled as two by the dispatcher, with a tensor of another rank.
    "aten.max_pool1d": (
        (functional.max_pool1d, torch.max_pool1d),
        ("self", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
    ),
    "aten.avg_pool1d": (
        (functional.avg_pool1d,),
        ("self", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
    ),
    "aten.adaptive_avg_pool1d": ((functional.adaptive_avg_pool1d,), ("self", "output_size")),
    "aten.adaptive_max_pool1d": ((functional.adaptive_max_pool1d,), ("self", "output_size", "return_indices")),
    "torch.bilinear": ((functional.bilinear, torch.bilinear), ("input1", "input2", "weight", "bias")),
    "torch.lstm": ((torch._VF.lstm,), _RNN),
    "torch.gru": ((torch._VF.gru,), _RNN),
    "torch.rnn_tanh": ((torch._VF.rnn_tanh,), _RNN),
    "torch.rnn_relu": ((torch._VF.rnn_relu,), _RNN),
    "torch.lstm_cell": ((torch._VF.lstm_cell,), _CELL),
    "torch.gru_cell": ((torch._VF.gru_cell,), _CELL),
    "torch.rnn_tanh_cell": ((torch._VF.rnn_tanh_cell,), _CELL),
    "torch.rnn_relu_cell": ((torch._VF.rnn_relu_cell,), _CELL),
}

Binder: TypeAlias = Callable[[Sequence[Any], Mapping[str, Any]], Bound | None]


def _binder(names: Sequence[str]) -> Binder:
    def bind(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Bound | None:
        bound = {**dict(zip(names, args, strict=False)), **kwargs}
        if names[0] == "self" and "input" in bound:  # what the dispatcher calls self, a function calls input
            bound["self"] = bound.pop("input")
        return bound

    return bind


def _bind_recurrent(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Bound | None:
    packed = len(args) > 3 and isinstance(args[3], list | tuple)  # there the weights come after the batch sizes
    return None if packed else _binder(_RNN)(args, kwargs)  # a packed sequence is left to the dispatcher


def _bind_einsum(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Bound | None:
    if not args or not isinstance(args[0], str):
        return None  # the sublist form, which torch translates and calls again
    operands = args[1] if len(args) == 2 and isinstance(args[1], list | tuple) else args[1:]
    if len(operands) == 1:
        return None  # permutes, sums and diagonals, whose result may be a view of the operand
    return {"equation": args[0], "operands": tuple(operands)}


def _bind_matmul(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Bound | None:
    named = _binder(("self", "other"))(args, kwargs) or {}
    operands = [named.get(name) for name in ("self", "other")]
    batches = [tuple(item.shape[:-2]) for item in operands if isinstance(item, torch.Tensor) and item.ndim > 2]
    if len(batches) < 2 or batches[0] != batches[1] or len(named) > 2:
        return None  # vectors, matrices and what is broadcast run as other products
    return named


def _bind_pad(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Bound | None:
    named = {**dict(zip(("input", "pad", "mode", "value"), args, strict=False)), **kwargs}
    if named.get("mode") != "circular":
        return None  # one op for the dispatcher; circular padding is many slices and copies there
    return {"self": named["input"], "pad": tuple(named["pad"])}


_CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")

_CONVOLUTIONS = {
    getattr(torch, f"{kind}{spatial}d"): order
    for spatial in (1, 2, 3)
    for kind, order in (("conv", _CONVOLUTION), ("conv_transpose", _TRANSPOSED))
}


def _bind_convolution(names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Bound | None:
    """A convolution of complex numbers, which torch runs as three of real ones, with sums around them."""
    named = {**dict(zip(names, args, strict=False)), **kwargs}
    x, weight = named["input"], named["weight"]
    if not x.is_complex() or x.ndim != weight.ndim:
        return None
    bound = {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1, **named}
    bound["transposed"] = names is _TRANSPOSED
    if isinstance(bound["padding"], str):
        same = bound["padding"] == "same"
        kernel, dilation = weight.shape[2:], bound["dilation"]
        steps = (dilation,) * len(kernel) if isinstance(dilation, int) else dilation
        bound["padding"] = [step * (size - 1) // 2 * same for size, step in zip(kernel, steps, strict=True)]
    return bound


def in_batch(
    func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The arguments of a complex convolution of a single sample as a batch of one; None for any other call."""
    if func not in _CONVOLUTIONS:
        return None
    named = {**dict(zip(("input", "weight"), args, strict=False)), **kwargs}
    x = named["input"]
    if not x.is_complex() or x.ndim != named["weight"].ndim - 1:
        return None
    batch = x.unsqueeze(0)
    return ((batch, *args[1:]), dict(kwargs)) if args else ((), {**kwargs, "input": batch})


def whole(rule: str, named: Bound, run: Callable[[], Any]) -> Any:
    """Run a part of a model that no function of torch's stands for; a tracer around it records one op of that rule.

    ``named`` are the arguments as the rule knows them. What ``run`` gives back are the op's results.
    """
    tensors = tuple(tensors_in_args(tuple(named.values())))
    if not has_torch_function(tensors):
        return run()
    return handle_torch_function(whole, tensors, rule, named, run)


@cache
def composites() -> dict[Any, tuple[str, Binder]]:
    """The rule's name and the binder of every function that is recorded whole."""
    table: dict[Any, tuple[str, Binder]] = {
        torch.Tensor.__rmatmul__: ("torch.matmul", lambda args, kwargs: _bind_matmul(args[::-1], kwargs)),
        torch.functional.einsum: ("torch.einsum", _bind_einsum),
        functional.pad: ("aten._pad_circular", _bind_pad),
    }
    for function in (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__):
        table[function] = ("torch.matmul", _bind_matmul)  # expansions and views around bmm for the dispatcher
    for function, order in _CONVOLUTIONS.items():
        table[function] = ("aten.convolution", partial(_bind_convolution, order))
    for name, (functions, names) in _TABLE.items():
        for function in functions:
            table[function] = (name, _bind_recurrent if names is _RNN else _binder(names))
    return table
