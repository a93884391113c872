"""The ops of an exported program as the calls of torch's functions that they were exported from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, TypeAlias

import torch
from torch import fx
from torch._ops import HigherOrderOperator
from torch.nn import functional

from rfcalc.tracing.schema import schema_of

Function: TypeAlias = Callable[..., Any]

_NORM = "running_mean running_var weight bias"
_RNN = "input hx params has_biases num_layers dropout train bidirectional batch_first"
_CELL = "input hx w_ih w_hh b_ih b_hh"

#: Ops that take branches of the program as arguments, as far as they are run.
HIGHER_ORDER = frozenset({"wrap_with_set_grad_enabled", "wrap_with_autocast", "cond", "while_loop"})


@cache
def _functions() -> dict[Any, tuple[Function, str, str]]:
    """For composite ops: the function that a model calls, and its arguments by their names in the op.

    The first are given by position, the second by keyword.
    """
    aten, whole = torch.ops.aten, torch._VF
    return {
        aten.linear.default: (functional.linear, "input weight bias", ""),
        aten.layer_norm.default: (functional.layer_norm, "input normalized_shape weight bias eps", ""),
        aten.group_norm.default: (functional.group_norm, "input num_groups weight bias eps", ""),
        aten.rms_norm.default: (functional.rms_norm, "input normalized_shape weight eps", ""),
        aten.batch_norm.default: (functional.batch_norm, f"input {_NORM} training momentum eps", ""),
        aten.instance_norm.default: (functional.instance_norm, f"input {_NORM} use_input_stats momentum eps", ""),
        aten.scaled_dot_product_attention.default: (
            functional.scaled_dot_product_attention,
            "query key value attn_mask dropout_p is_causal",
            "scale enable_gqa",
        ),
        aten.pad.default: (functional.pad, "self pad mode value", ""),
        aten.max_pool1d.default: (torch.max_pool1d, "self kernel_size stride padding dilation ceil_mode", ""),
        aten.avg_pool1d.default: (
            functional.avg_pool1d,
            "self kernel_size stride padding ceil_mode count_include_pad",
            "",
        ),
        aten.adaptive_avg_pool1d.default: (functional.adaptive_avg_pool1d, "self output_size", ""),
        aten.bilinear.default: (torch.bilinear, "input1 input2 weight bias", ""),
        aten.einsum.default: (_einsum, "equation tensors", ""),
        aten.lstm.input: (whole.lstm, _RNN, ""),
        aten.gru.input: (whole.gru, _RNN, ""),
        aten.rnn_tanh.input: (whole.rnn_tanh, _RNN, ""),
        aten.rnn_relu.input: (whole.rnn_relu, _RNN, ""),
        aten.lstm_cell.default: (whole.lstm_cell, _CELL, ""),
        aten.gru_cell.default: (whole.gru_cell, _CELL, ""),
        aten.rnn_tanh_cell.default: (whole.rnn_tanh_cell, _CELL, ""),
        aten.rnn_relu_cell.default: (whole.rnn_relu_cell, _CELL, ""),
    }


def _einsum(equation: str, operands: Sequence[torch.Tensor]) -> torch.Tensor:
    result: torch.Tensor = torch.functional.einsum(equation, *operands)
    return result


def run(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any], device: torch.device) -> Any:
    """The result of one op. What it makes on a device of the machine that exported it is made on this device."""
    if isinstance(target, HigherOrderOperator):
        return _higher_order(str(target), args, device)
    args = [_here(value, device) for value in args]
    kwargs = {name: _here(value, device) for name, value in kwargs.items()}
    entry = _functions().get(target)
    if entry is None:
        return target(*args, **kwargs)
    function, by_position, by_keyword = entry
    named = schema_of(target).bind(args, kwargs)
    keywords = {name: named[name] for name in by_keyword.split()}
    return function(*(named[name] for name in by_position.split()), **keywords)


def _here(value: Any, device: torch.device) -> Any:
    return device if isinstance(value, torch.device) else value


def only_checks(node: fx.Node) -> bool:
    """Whether an op computes nothing, but holds sizes, dtypes and devices against those of the export."""
    name = getattr(node.target, "__name__", "").lstrip("_")
    return not node.users and name.startswith(("assert_", "sym_constrain_", "functional_assert_"))


def refusal(node: fx.Node) -> str:
    """Why an op cannot be run, "" for one that can."""
    if isinstance(node.target, HigherOrderOperator) and str(node.target) not in HIGHER_ORDER:
        return f"it uses the higher-order op {node.target}, which cannot be followed"
    return ""


def _higher_order(name: str, args: Sequence[Any], device: torch.device) -> Any:
    match name, args:
        case "cond", (chosen, yes, no, given):
            return (yes if bool(chosen) else no).run(given, device)
        case "while_loop", (goes_on, body, carried, fixed):
            while bool(goes_on.run((*carried, *fixed), device)):
                carried = body.run((*carried, *fixed), device)
            return carried
        case "wrap_with_set_grad_enabled", (enabled, body, *given):
            return _within(torch.set_grad_enabled(enabled), body, given, device)
        case _, (kind, dtype, enabled, cached, body, *given):
            return _within(torch.autocast(kind, dtype, enabled, cached), body, given, device)
    raise AssertionError(name)


def _within(scope: AbstractContextManager[Any], body: Any, given: Sequence[Any], device: torch.device) -> Any:
    with scope:
        return body.run(given, device)
