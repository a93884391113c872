"""A weight that is normalised before it is used: fvcore counts 4 per element of it, 5 where a gain scales it."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from rfcalc.api import layer_graph
from rfcalc.conventions import count


class StandardisedConv(nn.Module):
    """Weights of zero mean and unit variance for each filter, as in Big Transfer and NFNet."""

    def __init__(self, gained: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 3, 3, 3))
        self.gain = nn.Parameter(torch.ones(6)) if gained else None

    def forward(self, x):
        rows = self.weight.reshape(1, 6, -1)
        rows = functional.batch_norm(rows, None, None, weight=self.gain, training=True, momentum=0.0)
        return functional.conv2d(x, rows.reshape_as(self.weight))


@pytest.mark.parametrize(("gained", "each"), [(False, 4), (True, 5)])
def test_a_normalised_weight_is_no_weight_of_the_norm(gained, each):
    found = count(layer_graph(StandardisedConv(gained), (3, 8, 8)), "fvcore")

    assert found.total == 6 * 6 * 6 * 27 + each * 6 * 27
