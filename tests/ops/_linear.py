"""A witness for masked reads: 0 x NaN is NaN, so elements change by finite amounts and any changed bit counts."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from tests.ops.finite import Ruled

Outputs = Callable[[], Sequence[torch.Tensor]]

AMOUNTS = (0.5, 1.5, -2.5)
#: for what is found by comparing: past all other elements
FAR = (40.0, -40.0)


def changed(tensor: torch.Tensor, call: Outputs, amounts: Sequence[float] = AMOUNTS) -> list[np.ndarray]:
    """For each output of the call, which elements of the tensor change which of its elements: shape + (numel,)."""
    base = [out.clone() for out in call()]
    flat = tensor.view(-1)
    seen = [np.zeros((*out.shape, flat.numel()), dtype=bool) for out in base]
    for i in range(flat.numel()):
        kept = flat[i].item()
        for amount in amounts:
            flat[i] = kept + amount
            for found, out, before in zip(seen, call(), base, strict=True):
                found[..., i] |= ~torch.isclose(out, before, rtol=0, atol=0, equal_nan=True).numpy()
        flat[i] = kept
    return seen


def hold(ruled: Ruled, tensors: Sequence[torch.Tensor], call: Outputs, amounts: Sequence[float] = AMOUNTS) -> None:
    """The rule says of each tensor exactly what the witness sees (or contains it, where it is inexact)."""
    for tensor in tensors:
        for output, found in enumerate(changed(tensor, call, amounts)):
            told = ruled.told(tensor, output)
            if ruled.effect.inexact:
                assert not (found & ~told).any(), f"output {output} reads more than the rule says"
            else:
                np.testing.assert_array_equal(told, found, err_msg=f"output {output}")
