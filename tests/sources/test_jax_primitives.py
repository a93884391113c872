"""Primitives of JAX: each rule on real numbers against JAX itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

jax: Any = pytest.importorskip("jax")

from rfcalc.sources.jax import of_function  # noqa: E402
from rfcalc.sources.jax.rules import primitives  # noqa: E402

jnp: Any = jax.numpy
lax: Any = jax.lax

Make = Callable[[np.random.Generator], Any]


def numbers(*shape: int) -> Make:
    return lambda rng: rng.normal(size=shape).astype(np.float32)


def positive(*shape: int) -> Make:
    return lambda rng: rng.uniform(0.2, 0.9, size=shape).astype(np.float32)


def whole(*shape: int, below: int = 5) -> Make:
    return lambda rng: rng.integers(0, below, size=shape).astype(np.int32)


def truth(*shape: int) -> Make:
    return lambda rng: rng.integers(0, 2, size=shape).astype(bool)


def conv(x: Any, w: Any, **options: Any) -> Any:
    given = {"window_strides": (1, 1), "padding": ((1, 1), (1, 1)), "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    return lax.conv_general_dilated(x, w, **{**given, **options})


IMAGE, KERNEL = numbers(2, 7, 6, 4), numbers(3, 3, 4, 6)
#: Each with what it is given: one rule or several.
CASES: dict[str, tuple[Callable[..., Any], tuple[Make, ...]]] = {
    **{
        f"unary {name}": (getattr(lax, name), (positive(2, 3),))
        for name in (
            *("abs", "neg", "exp", "exp2", "expm1", "log", "log1p", "sqrt", "rsqrt", "square", "logistic", "sin"),
            *("cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "atanh", "floor", "ceil", "erf"),
            *("erfc", "erf_inv", "lgamma", "digamma", "bessel_i1e", "is_finite", "sign", "cbrt", "stop_gradient"),
        )
    },
    "acosh": (lambda x: lax.acosh(x + 1), (positive(3),)),
    "i0e": (jax.scipy.special.i0e, (positive(3),)),
    "round": (lambda x: (lax.round(4 * x), jnp.round(4 * x)), (numbers(5),)),
    "integer power": (lambda x: x**3, (numbers(3),)),
    "powers": (lambda x, y: (x**y, lax.pow(x, 1.5)), (positive(3), numbers(3))),
    "arithmetic": (lambda x, y: (x + y, x - 2.0, 2.0 * y, x / y, 1.0 / x), (numbers(2, 3), positive(2, 3))),
    "whole numbers": (lambda x, y: (x // (y + 1), lax.rem(x, y + 1), lax.div(x, y + 1)), (whole(6), whole(6))),
    "extremes": (lambda x, y: (jnp.maximum(x, y), jnp.minimum(x, 0.5), jax.nn.relu(x)), (numbers(4), numbers(4))),
    "comparisons": (lambda x, y: (x == y, x != y, x < y, x <= y, x > 1, x >= 2), (whole(6), whole(6))),
    "logic": (lambda x, y: (x & y, x | y, x ^ y, ~x), (truth(6), truth(6))),
    "bits": (lambda x, y: (x & y, x << 2, x >> 1, lax.shift_right_logical(x, y), ~x), (whole(6), whole(6))),
    "counted bits": (lambda x: (lax.population_count(x), lax.clz(x)), (whole(6, below=900),)),
    "of two": (lambda x, y: (jnp.arctan2(x, y), lax.nextafter(x, y), lax.complex(x, y)), (numbers(3), numbers(3))),
    "gamma": (lambda x, y: (lax.igamma(x, y), lax.igammac(x, y), lax.zeta(x + 1, y)), (positive(3), positive(3))),
    "polygamma": (lambda x: lax.polygamma(jnp.float32(2), x), (positive(3),)),
    "complex": (lambda x, y: (jnp.abs(x + 1j * y), (x + 1j * y).real, jnp.conj(x + 1j * y)), (numbers(3), numbers(3))),
    "imaginary": (lambda x: jnp.imag(lax.complex(x, 2 * x)), (numbers(3),)),
    "select": (lambda w, x, y: (jnp.where(w, x, y), lax.select_n(w, x, y)), (truth(4), numbers(4), numbers(4))),
    "select of three": (lambda w, x: lax.select_n(w, x, 2 * x, -x), (whole(5, below=3), numbers(5))),
    "clamp": (lambda x: (jnp.clip(x, -0.5, 0.5), lax.clamp(-x, x, 2 * jnp.abs(x))), (numbers(6),)),
    "types": (lambda x: (x.astype(jnp.int32), (x > 0).astype(x.dtype), x.astype(bool)), (numbers(6),)),
    "bits read": (lambda x: lax.bitcast_convert_type(x, jnp.int32), (numbers(3),)),
    "less precise": (lambda x: lax.optimization_barrier(lax.reduce_precision(x, 8, 23)), (numbers(3),)),
    "shapes": (lambda x: (x.reshape(3, 4), x[:, None], jnp.transpose(x), jnp.squeeze(x[:1], 0)), (numbers(2, 6),)),
    "broadcast": (lambda x: (jnp.broadcast_to(x[:, None], (3, 4)), jnp.tile(x, 2), jnp.zeros((2, 2))), (numbers(3),)),
    "joined": (lambda x, y: (jnp.concatenate([x, y], 1), jnp.stack([x, x], 1)), (numbers(2, 3), numbers(2, 1))),
    "split": (lambda x: jnp.split(x, [1, 3], 1), (numbers(2, 5),)),
    "backwards": (lambda x: x[::-1, :], (numbers(3, 2),)),
    "parts": (lambda x: (x[1:3, ::2], lax.slice(x, (0, 1), (4, 5), (2, 1))), (numbers(4, 6),)),
    "padding": (lambda x: lax.pad(x, 0.5, ((1, 2, 0), (-1, 0, 1))), (numbers(3, 4),)),
    "padding by a number": (lambda x: lax.pad(x, x[0, 0], ((1, 0, 0), (0, 1, 0))), (numbers(3, 4),)),
    "rows of numbers": (lambda x: x + jnp.arange(3) + lax.broadcasted_iota(jnp.int32, (2, 3), 0), (numbers(2, 3),)),
    "a part somewhere": (lambda x, i: lax.dynamic_slice(x, (i, 1), (2, 3)), (numbers(5, 6), whole(below=9))),
    "a part here": (lambda x: lax.dynamic_slice(x, (2, 9), (2, 3)), (numbers(5, 6),)),
    "written somewhere": (
        lambda x, y, i: lax.dynamic_update_slice(x, y, (i, 1)),
        (numbers(5, 6), numbers(2, 3), whole(below=9)),
    ),
    "written here": (lambda x, y: lax.dynamic_update_slice(x, y, (2, 1)), (numbers(5, 6), numbers(2, 3))),
    "embedding": (lambda table, ids: jnp.take(table, ids, axis=0), (numbers(5, 3), whole(2, 4))),
    "columns": (lambda x, ids: x[:, ids], (numbers(3, 5), whole(4))),
    "pairs": (lambda x, i, j: x[i, :, j], (numbers(5, 2, 5), whole(4), whole(4))),
    "along": (lambda x, i: jnp.take_along_axis(x, i, 1), (numbers(3, 5), whole(3, 2))),
    "windows at": (
        lambda x, i: jax.vmap(lambda at: lax.dynamic_slice(x, (at, 0), (2, 3)))(i),
        (numbers(6, 3), whole(4)),
    ),
    "written at": (
        lambda x, i, y: x.at[i].set(y),
        (numbers(5, 2), lambda rng: np.array([3, 1], np.int32), numbers(2, 2)),
    ),
    "added at": (lambda x, i, y: x.at[i, 1].add(y), (numbers(5, 2), whole(4), numbers(4))),
    "multiplied at": (lambda x, i, y: x.at[i].multiply(y), (numbers(5), whole(4), numbers(4))),
    "extremes at": (lambda x, i, y: (x.at[i].max(y), x.at[:, i].min(y.T)), (numbers(5, 5), whole(4), numbers(4, 5))),
    "column written": (lambda x: x.at[:, 0].set(0.0), (numbers(3, 4),)),
    "sums": (lambda x: (x.sum(), x.sum(1), x.mean((0, 2)), x.max(2), x.min(0), x.prod(1)), (numbers(2, 3, 4),)),
    "truths": (lambda x: (x.all(1), x.any(0), lax.reduce_xor(x, (1,))), (truth(3, 4),)),
    "places": (lambda x: (x.argmax(1), x.argmin(0)), (numbers(3, 4),)),
    "running": (
        lambda x: (jnp.cumsum(x, 1), jnp.cumprod(x, 0), lax.cummax(x, 1), lax.cummin(x, 0, reverse=True)),
        (numbers(3, 4),),
    ),
    "running exponentials": (lambda x: lax.cumlogsumexp(x, 1), (numbers(3, 4),)),
    "sorted": (lambda x: (jnp.sort(x, 0), jnp.argsort(x, 1)), (numbers(4, 5),)),
    "by two": (lambda x, y: lax.sort((x, y, 2 * y), dimension=0, num_keys=2), (whole(9, below=3), whole(9))),
    "largest": (lambda x: (*lax.top_k(x, 2), *lax.approx_max_k(x, 2)), (numbers(3, 5),)),
    "softmax": (lambda x: (jax.nn.softmax(x), jax.nn.softmax(x, 0), jax.nn.log_softmax(x)), (numbers(3, 5),)),
    "matrices": (lambda x, y: x @ y, (numbers(3, 4), numbers(4, 5))),
    "vectors": (lambda x, y: (jnp.dot(x, y), jnp.outer(x, y)), (numbers(4), numbers(4))),
    "heads": (partial(jnp.einsum, "bqhd,bkhd->bhqk"), (numbers(2, 3, 2, 4), numbers(2, 5, 2, 4))),
    "many axes": (partial(jnp.einsum, "abcd,cdbe->bae"), (numbers(2, 3, 4, 5), numbers(4, 5, 3, 6))),
    "groups of rows": (lax.ragged_dot, (numbers(5, 3), numbers(2, 3, 4), lambda rng: np.array([2, 3], np.int32))),
    "conv": (conv, (IMAGE, KERNEL)),
    "conv, strides and uneven padding": (
        partial(conv, window_strides=(2, 1), padding=((0, 1), (2, 0))),
        (IMAGE, KERNEL),
    ),
    "conv, dilated": (partial(conv, rhs_dilation=(2, 1)), (IMAGE, KERNEL)),
    "conv, groups": (partial(conv, feature_group_count=2), (IMAGE, numbers(3, 3, 2, 6))),
    "conv, other axes": (
        partial(conv, dimension_numbers=("NCHW", "OIHW", "NHWC")),
        (numbers(2, 4, 7, 6), numbers(6, 4, 3, 3)),
    ),
    "conv, batches in groups": (
        partial(conv, batch_group_count=2),
        (numbers(4, 7, 6, 4), KERNEL),
    ),
    "conv transposed": (lambda x, w: lax.conv_transpose(x, w, (2, 2), "SAME"), (numbers(1, 4, 5, 4), KERNEL)),
    "conv transposed, valid": (lambda x, w: lax.conv_transpose(x, w, (3, 2), "VALID"), (numbers(1, 4, 5, 4), KERNEL)),
    "conv, apart with groups and strides": (
        partial(conv, lhs_dilation=(2, 3), window_strides=(1, 2), padding=((3, 1), (0, 4)), feature_group_count=2),
        (IMAGE, numbers(3, 3, 2, 6)),
    ),
    "conv over one axis": (
        lambda x, w: lax.conv_general_dilated(x, w, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")),
        (numbers(2, 8, 3), numbers(4, 3, 5)),
    ),
    "pooling": (
        lambda x: (
            lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 2, 1), (1, 2, 2, 1), "SAME"),
            lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 1, 2, 1), "VALID"),
            lax.reduce_window(x, jnp.inf, lax.min, (1, 2, 2, 1), (1, 1, 2, 1), ((0, 0), (1, 1), (0, 1), (0, 0))),
        ),
        (numbers(2, 6, 7, 3),),
    ),
    "pooling, dilated": (
        lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 2), (1, 1), "VALID", window_dilation=(1, 3)),
        (numbers(2, 9),),
    ),
    "products of windows": (lambda x: lax.reduce_window(x, 1.0, lax.mul, (1, 2), (1, 1), "VALID"), (numbers(2, 5),)),
    "scan": (lambda x: lax.scan(lambda c, row: (c + row, c * row), jnp.zeros(3), x), (numbers(4, 3),)),
    "scan backwards": (lambda x: lax.scan(lambda c, row: (c + row, c), x[0], x, reverse=True), (numbers(4, 3),)),
    "counted loop": (lambda x: lax.fori_loop(0, 3, lambda i, c: c * 2 + i, x), (numbers(3),)),
    "while": (lambda x: lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * 2), (0, x)), (numbers(3),)),
    "while by data": (lambda x: lax.while_loop(lambda c: c.sum() < 9, lambda c: c * 2, x), (positive(3),)),
    "branch": (lambda x: lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x), (positive(3),)),
    "branches": (
        lambda i, x: lax.switch(i, [jnp.sin, jnp.cos, lambda y: y * 2], x),
        (lambda rng: np.array(1, np.int32), numbers(3)),
    ),
    "functions inside": (
        lambda x: jax.checkpoint(jax.jit(jax.nn.silu))(x) + jax.nn.gelu(x) + jax.nn.relu6(x),
        (numbers(3, 3),),
    ),
    "mapped": (lambda x: jax.vmap(lambda row: jax.nn.softmax(row) @ row)(x), (numbers(3, 4),)),
    "gradient": (jax.grad(lambda x: jnp.sum(jnp.tanh(x) ** 2)), (numbers(3),)),
    "factors": (
        lambda x: jnp.linalg.cholesky(x @ x.T + 3 * jnp.eye(3)),
        (numbers(3, 3),),
    ),
    "solved": (lambda x, y: jax.scipy.linalg.solve_triangular(x + 3 * jnp.eye(3), y), (positive(3, 3), numbers(3, 2))),
    "singular values": (lambda x: jnp.linalg.svd(x, compute_uv=False), (numbers(3, 4),)),
    "eigenvalues": (lambda x: jnp.linalg.eigvalsh(x + x.T), (numbers(3, 3),)),
    "fourier": (lambda x: (jnp.abs(jnp.fft.rfft(x)), jnp.fft.irfft(jnp.fft.rfft(x))), (numbers(2, 8),)),
}


def program(function: Any, inputs: list[np.ndarray]) -> Any:
    """The module of a function for inputs like these."""
    return of_function(function, "f").model.shaped(tuple(map(torch.from_numpy, inputs)), {})


@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_jax(name: str) -> None:
    function, makers = CASES[name]
    rng = np.random.default_rng(0)
    inputs = [np.asarray(make(rng)) for make in makers]

    found = jax.tree_util.tree_leaves(program(function, inputs)(*map(torch.from_numpy, inputs)))
    if name in ("factors", "solved", "singular values", "eigenvalues"):
        pytest.importorskip("scipy")  # JAX's own decompositions are there
    wanted = jax.tree_util.tree_leaves(function(*map(jnp.asarray, inputs)))

    assert [tuple(x.shape) for x in found] == [tuple(x.shape) for x in wanted]
    for mine, own in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine.numpy(), np.asarray(own), rtol=2e-4, atol=2e-5)


def test_how_many_primitives_are_known() -> None:
    assert len(primitives()) >= 120


def test_a_primitive_without_a_rule_is_no_free_op(monkeypatch: pytest.MonkeyPatch) -> None:
    import rfcalc
    from rfcalc.sources.jax import rules

    primitives()
    monkeypatch.delitem(rules._RULES, "tan")
    found = rfcalc.analyze(jax.jit(lambda x: jnp.tan(x) * 2), (2, 3))

    assert found.totals.status != "complete"
    assert "jax.tan" in str(found.totals)
