"""LeNet-5: LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def lenet5() -> nn.Sequential:
    """LeNet-5 of section II.B and figure 2, on 32x32, the way it is taught.

    Three simplifications: C3 reads all six maps of S2 (the paper's table I leaves connections out), S2 and S4 are
    plain averages without coefficient and bias, and the output is linear instead of Gaussian RBF units. C5 is a
    convolution, as in the paper: its maps are 1x1 only because the input is 32x32.
    """
    return nn.Sequential(
        OrderedDict(
            C1=nn.Conv2d(1, 6, 5),
            tanh1=nn.Tanh(),
            S2=nn.AvgPool2d(2),
            C3=nn.Conv2d(6, 16, 5),
            tanh3=nn.Tanh(),
            S4=nn.AvgPool2d(2),
            C5=nn.Conv2d(16, 120, 5),
            tanh5=nn.Tanh(),
            flatten=nn.Flatten(),
            F6=nn.Linear(120, 84),
            tanh6=nn.Tanh(),
            output=nn.Linear(84, 10),
        )
    )
