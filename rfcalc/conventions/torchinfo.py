"""torchinfo: multiply-adds from parameters and output shapes of leaf modules alone (torchinfo/layer_info.py).

A weight or bias of a module without children counts once for each position of the output where the class's name has
"Conv" in it, once for each batch element where not. Products without a parameter, and those of modules that have
children, count nothing.
"""

from __future__ import annotations

from math import prod

from rfcalc.conventions.facts import CallSite
from rfcalc.conventions.rules import Convention, Pass, Rule, extra, missing, products

VERSION = "1.8.0"
TOOL = f"torchinfo {VERSION}"


def _is_conv(call: CallSite) -> bool:
    return "Conv" in call.type.rpartition(".")[2]


def _per_position(call: CallSite) -> int:
    """How often the tool uses a parameter that is called weight or bias."""
    return prod(call.out_shape[:1] + call.out_shape[2:]) if _is_conv(call) else prod(call.out_shape[:1])


def _elements(call: CallSite, name: str) -> int | None:
    """The tool's number for the module's weight or bias; None where it has none or is not looked at."""
    param = call.param(name) if call.leaf else None
    return None if param is None else param.numel * _per_position(call)


def _inner(call: CallSite, part: str) -> int | None:
    """The tool's number for parameters like ``weight_ih_l0``; None where there are none."""
    if not call.leaf:
        return None
    names = [(param.name.rpartition(".")[2], param.numel) for param in call.params]
    found = [numel for name, numel in names if part in name and name != part]
    return sum(found) * prod(call.out_shape[:2]) if found else None


def _of_kind(kind: str, name: str) -> Rule:
    """The rule for a weight of modules that run a product of this kind."""

    def count(call: CallSite) -> int | None:
        return _elements(call, "weight") if call.first(kind) is not None and call.macs else None

    return products("*", count=count, label=name, fault=f"{TOOL} counts {name}")


def _bias(kinds: tuple[str, ...], label: str) -> Rule:
    def count(call: CallSite) -> int | None:
        return _elements(call, "bias") if call.first(*kinds) is not None else None

    return extra(label, "*", count=count)


WEIGHTS = (
    _of_kind("conv", "a convolution outside a Conv class once for each batch element"),
    _of_kind("conv_transpose", "a transposed convolution by the size of its output"),
    _of_kind("linear", "a linear layer once for each batch element, whatever positions it has"),
    products("*", count=lambda call: _inner(call, "weight"), label="recurrent weights by the first two output axes"),
    extra("weights of norms, 1 per element and batch element", "*", count=lambda call: _elements(call, "weight")),
)
BIASES = (
    _bias(("conv", "conv_transpose"), "bias of convolutions, 1 per output element"),
    _bias(("linear",), "bias of linear layers, 1 per element and batch element"),
    extra("bias of recurrent layers, 1 per element and step", "*", count=lambda call: _inner(call, "bias")),
    extra("bias of norms, 1 per element and batch element", "*", count=lambda call: _elements(call, "bias")),
)

CONVENTION = Convention(
    name="torchinfo",
    version=VERSION,
    call="summary(model, input_data=input).total_mult_adds",
    passes=(Pass("modules", WEIGHTS), Pass("modules", BIASES)),
    misses=missing(
        TOOL, matmul="products without a parameter", linear="linear layers inside modules that have children"
    ),
    prints="mult-adds",
)
