"""What the weights of linear layers would take in 8 or 4 bits: a what-if of sizes, nothing is rounded or run."""

from __future__ import annotations

from torch import nn

from rfcalc.errors import UsageError
from rfcalc.footprint.results import Weights
from rfcalc.tracing.stored import inner_tensors

BITS = {"8bit": 8, "4bit": 4}


def in_bits(model: nn.Module, name: str) -> Weights:
    """The weights of linear layers in ``8bit`` or ``4bit``, each storage once.

    Scales of blocks, which every scheme keeps otherwise, are not counted. A weight that another kind of layer has, too
    (an embedding), stays as it is, and so does one that is packed already. Raises `UsageError` for another name, and
    for a model without such a layer.
    """
    if name not in BITS:
        raise UsageError(f"unknown --weights {name!r}: expected {', '.join(BITS)}")
    linear = [one for one in model.modules() if isinstance(one, nn.Linear)]
    elsewhere = {
        id(parameter)
        for one in model.modules()
        if not isinstance(one, nn.Linear)
        for parameter in one._parameters.values()
        if parameter is not None
    }
    chosen = {
        id(one.weight): one.weight
        for one in linear
        if id(one.weight) not in elsewhere and one.weight.is_floating_point() and not inner_tensors(one.weight)
    }
    if not chosen:
        raise UsageError("--weights is about linear layers, of which the model has none with floating-point weights")
    bits = BITS[name]
    sizes = [one.numel() for one in chosen.values()]
    plain = sum(one.numel() * one.element_size() for one in chosen.values())
    return Weights(bits, len(sizes), sum(sizes), plain, sum(-(-size * bits // 8) for size in sizes))


__all__ = ["BITS", "in_bits"]
