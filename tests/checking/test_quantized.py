"""Networks with observers, and with weights packed in a class of its own, under `verify`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.ao import quantization
from torch.utils._pytree import tree_map_only

from rfcalc.checking import verify


@pytest.mark.skipif("x86" not in torch.backends.quantized.supported_engines, reason="torch has no kernels of integers")
@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated", "ignore:Please use quant_min")
@pytest.mark.parametrize("observing", [True, False])
def test_a_range_that_is_observed_is_one_of_all_that_goes_in(observing: bool) -> None:
    """The scale follows from all of it: no position can be told apart, which is said. It can where the scale stays."""
    net = nn.Sequential(quantization.QuantStub(), nn.Conv2d(3, 4, 3), nn.ReLU())
    net.train().qconfig = quantization.get_default_qat_qconfig("x86")  # type: ignore[assignment, union-attr]
    quantization.prepare_qat(net, inplace=True)
    net(torch.rand(1, 3, 8, 8))
    if not observing:
        net.apply(quantization.disable_observer)
    found = verify(net.eval(), torch.rand(1, 3, 8, 8), device="cpu", timing=False)

    assert found.agree, [check.differences for check in found.checks if check.differences]
    assert bool(found.check("receptive_fields").compared) is not observing


class Halves(Tensor):
    """A weight held as twice its half; ``to`` knows no ``copy``, as that of torchao's classes does not."""

    half: Tensor

    @staticmethod
    def __new__(cls, half: Tensor) -> Halves:
        made = Tensor._make_wrapper_subclass(cls, half.shape, dtype=half.dtype)
        made.half = half
        return made

    def __init__(self, half: Tensor) -> None:
        pass

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["half"], None

    def to(self, *args: Any, **kwargs: Any) -> Any:
        if "copy" in kwargs:
            raise RuntimeError(".to() does not accept copy argument")
        return super().to(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten.detach.default, torch.ops.aten.clone.default):
            return cls(func(args[0].half))
        return func(*tree_map_only(cls, lambda one: one.half * 2, args), **(kwargs or {}))


def test_weights_of_a_class_that_copies_in_its_own_way() -> None:
    layer = nn.Linear(8, 4)
    layer.weight = nn.Parameter(Halves(torch.rand(4, 8)), requires_grad=False)
    found = verify(layer, torch.rand(2, 8), device="cpu", timing=False)

    assert found.agree, [check.differences for check in found.checks if check.differences]
