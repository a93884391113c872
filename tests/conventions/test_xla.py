"""XLA's count: numbers that XLA 0.10.2 printed, and where JAX is installed its own of the same function."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from rfcalc.api import layer_graph
from rfcalc.conventions import count

PRINTED = {
    "same": (nn.Conv2d(3, 4, 3, padding=1, bias=False), 11_616),
    "of stride 2": (nn.Conv2d(3, 4, 3, 2, 1, bias=False), 2_904),
    "dilated": (nn.Conv2d(3, 4, 3, padding=2, dilation=2, bias=False), 9_600),
    "of groups": (nn.Conv2d(3, 6, 3, padding=1, groups=3, bias=False), 5_808),
    "with a bias": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), 7_776 + 144 + 144),
    "transposed": (nn.ConvTranspose2d(3, 4, 3, 2, output_padding=0, bias=False), 13_824),
}


@pytest.mark.parametrize("name", PRINTED)
def test_a_convolution(name: str) -> None:
    """Of an image of 8 x 8: a kernel of 3 meets 3 x 8 - 2 elements along an axis where padding is 1."""
    model, printed = PRINTED[name]

    assert count(layer_graph(model, (1, 3, 8, 8)), "xla").printed == printed


@pytest.fixture(scope="module")
def functions() -> dict[str, tuple[Any, tuple[int, ...]]]:
    jax: Any = pytest.importorskip("jax")
    jnp, lax = jax.numpy, jax.lax
    w, u, kernel = jnp.ones((5, 6)), jnp.ones((6, 6)), jnp.ones((3, 3, 3, 4))
    order = ("NHWC", "HWIO", "NHWC")

    def cnn(x: Any) -> Any:
        y = lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=order)
        y = lax.reduce_window(jax.nn.relu(y + jnp.ones(4)), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return jax.nn.softmax(y.mean((1, 2)) @ jnp.ones((4, 5)))

    def turned(x: Any) -> Any:
        return lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=order)

    def rnn(x: Any) -> Any:
        def step(h: Any, row: Any) -> Any:
            h = jnp.tanh(row @ w + h @ u)
            return h, h

        return lax.scan(step, jnp.zeros((1, 6)), x)[1]

    def nested(x: Any) -> Any:
        def step(h: Any, row: Any) -> Any:
            return lax.scan(lambda c, _: (c @ u, None), h, None, length=3)[0] + row, None

        return lax.scan(step, jnp.zeros((1, 6)), x)[0]

    def powers(x: Any) -> Any:
        return x**2 + x**3 + jnp.square(x) * x**-2 + x**7

    found = {
        "powers": (powers, (4, 5)),
        "cnn": (cnn, (1, 8, 8, 3)),
        "turned": (turned, (1, 8, 8, 3)),
        "rnn": (rnn, (7, 1, 5)),
    }
    return {name: (jax.jit(f), shape) for name, (f, shape) in {**found, "nested": (nested, (7, 1, 6))}.items()}


@pytest.mark.parametrize("name", ["cnn", "turned", "rnn", "nested", "powers"])
def test_xla_itself(name: str, functions: dict[str, tuple[Any, tuple[int, ...]]]) -> None:
    import jax.numpy as jnp

    function, shape = functions[name]
    theirs = function.lower(jnp.ones(shape)).cost_analysis()["flops"]

    assert count(layer_graph(function, torch.zeros(shape)), "xla").printed == theirs
