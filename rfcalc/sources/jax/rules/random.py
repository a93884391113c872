"""Random numbers. A key has no numbers here: what is drawn with it is drawn by torch."""

from __future__ import annotations

import torch

from rfcalc.sources.jax.rules import Op, Value, rule

T = torch.Tensor


@rule("random_seed", "random_wrap", "random_split", "random_fold_in", "random_clone")
def key(op: Op, *values: Value) -> T:
    """A key, or several."""
    return torch.zeros(op.out.shape, dtype=torch.int64)


@rule("random_unwrap")
def unwrap(op: Op, x: Value) -> T:
    """The numbers of a key."""
    return torch.zeros(op.out.shape, dtype=op.out.dtype)


@rule("random_bits")
def bits(op: Op, *values: Value) -> T:
    """Random bits."""
    return torch.randint(0, 1 << min(int(op["bit_width"]), 62), op.out.shape, dtype=op.out.dtype)


@rule("threefry2x32")
def threefry(op: Op, *values: Value) -> list[T]:
    """Two words of random bits for each counter."""
    return [torch.randint(0, 1 << 32, given.shape, dtype=given.dtype) for given in op.gives]


@rule("rng_bit_generator")
def generator(op: Op, state: Value) -> list[Value]:
    """The next state, and random bits."""
    return [state, torch.randint(0, 1 << 32, op.gives[1].shape, dtype=op.gives[1].dtype)]


@rule("rng_uniform")
def uniform(op: Op, low: Value, high: Value) -> T:
    """Numbers evenly spread between two."""
    return torch.rand(op.out.shape, dtype=op.out.dtype) * (high - low) + low


@rule("random_gamma")
def gamma(op: Op, _: Value, shape: Value) -> T:
    """Numbers of gamma distributions."""
    return torch._standard_gamma(shape)
