"""Attention as a CPU dispatches it: one kernel, counted by FlopCounterMode from torch 2.15 on, or products in parts."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rfcalc.api import layer_graph
from rfcalc.conventions import count
from tests.conventions.tools import TOOLS

Shape = tuple[int, ...]


class Attend(nn.Module):
    """Attention of an input's own numbers, in operands of the shapes that are asked for."""

    def __init__(
        self, *shapes: Shape, mask: Shape = (), turned: int = -1, learned: str = "", **options: object
    ) -> None:
        super().__init__()
        self.shapes = shapes if len(shapes) == 3 else (*shapes, *shapes[-1:] * (3 - len(shapes)))
        self.turned, self.options, self.computed = turned, options, learned == "computed"
        self.bias = nn.Parameter(torch.zeros(mask), requires_grad=learned != "frozen") if learned else None
        self.mask = torch.zeros(mask) if mask and not learned else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        operands = [x[: torch.Size(shape).numel()].reshape(shape) for shape in self.shapes]
        if self.turned >= 0:
            operands[self.turned] = operands[self.turned].mT.contiguous().mT
        mask = self.mask if self.bias is None else self.bias
        return F.scaled_dot_product_attention(*operands, mask * 2 if self.computed else mask, **self.options)


FOUR, THREE = (2, 4, 5, 8), (2, 5, 8)
#: (network, multiply-adds, whether it runs within the kernel before torch 2.14, and from then on)
CASES = {
    "two axes": (Attend((5, 8)), 400, False, False),
    "three axes": (Attend(THREE), 800, False, True),
    "four axes": (Attend(FOUR), 3200, True, True),
    "five axes": (Attend((1, *FOUR)), 3200, False, False),
    "other length": (Attend((2, 4, 3, 8), FOUR), 1920, True, True),
    "causal": (Attend(FOUR, is_causal=True), 3200, True, True),
    "dropout": (Attend(FOUR, dropout_p=0.5), 3200, False, False),
    "strided queries": (Attend(FOUR, turned=0), 3200, False, False),
    "strided keys": (Attend(FOUR, turned=1), 3200, False, False),
    "strided values, three axes": (Attend(THREE, turned=2), 800, False, False),
    "values of another width": (Attend(FOUR, FOUR, (2, 4, 5, 6)), 2800, False, False),
    "mask": (Attend(FOUR, mask=(5, 5)), 3200, True, True),
    "mask of one row": (Attend(FOUR, mask=(2, 1, 1, 5)), 3200, True, True),
    "mask of three axes": (Attend(FOUR, mask=(1, 5, 5)), 3200, False, False),
    "mask of three axes for three": (Attend(THREE, mask=(1, 5, 5)), 800, False, True),
    "mask in training": (Attend(FOUR, mask=(5, 5), learned="own"), 3200, False, False),
    "frozen mask": (Attend(FOUR, mask=(5, 5), learned="frozen"), 3200, True, True),
    "computed mask": (Attend(FOUR, mask=(5, 5), learned="computed"), 3200, True, True),
    "grouped queries": (Attend(FOUR, (2, 2, 5, 8), enable_gqa=True), 3200, True, True),
    "one head of keys": (Attend(FOUR, (2, 1, 5, 8)), 3200, False, True),
    "one batch of keys": (Attend(FOUR, (1, 4, 5, 8)), 3200, False, False),
    "keys of three axes": (Attend(FOUR, (4, 5, 8)), 3200, False, False),
}
INPUT = torch.linspace(0, 1, 320)


@pytest.mark.parametrize("name", CASES)
def test_what_runs_within_the_kernel_counts_nothing_before_torch_2_15(name: str) -> None:
    """Each number was printed by FlopCounterMode of torch 2.11, 2.12, 2.13, 2.14.1 and 2.15."""
    model, macs, before, since = CASES[name]

    graph = layer_graph(model.eval(), (INPUT,))

    assert count(graph, "flopcounter").printed == 2 * macs
    assert count(graph, "flopcounter-2.14").printed == (0 if since else 2 * macs)
    assert count(graph, "flopcounter-2.13").printed == (0 if before else 2 * macs)


@pytest.mark.parametrize("name", CASES)
def test_the_installed_torch(name: str) -> None:
    (tool,) = [tool for tool in TOOLS.values() if tool.package == "torch" and tool.fits]
    model, *_ = CASES[name]

    assert tool.run(model.eval(), [INPUT]) == count(layer_graph(model, (INPUT,)), tool.name).printed


@pytest.mark.parametrize("shape", [(5, 8), (2, 5, 8), (8,)])
def test_a_linear_layer_by_a_vector_is_a_product_that_the_counter_has_no_formula_for(shape: Shape) -> None:
    (tool,) = [tool for tool in TOOLS.values() if tool.package == "torch" and tool.fits]
    model, x = ByVector().eval(), torch.rand(shape)

    graph = layer_graph(model, (x,))

    assert sum(node.macs or 0 for node in graph) == x.numel()
    assert count(graph, tool.name).printed == tool.run(model, [x]) == 0
    assert count(graph, "torchvision").printed == count(graph, "ptflops-aten").printed == 0


class ByVector(nn.Module):
    """The distances of a detector's boxes, as the mean of a distribution over a fixed number of steps."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.Parameter(torch.arange(8.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.steps)
