"""A second opinion on fields: poison one index of the input at a time and look where the real forward pass lets it out.

Shares no code with the engine: the model itself runs, on tiny tensors with an index of one axis set to NaN. It works
where NaN passes through everything that reads it; comparisons, indices and finite masks do not let it through.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import rfcalc
from rfcalc import Analysis
from rfcalc.api import layer_graph

Regions = tuple[np.ndarray, np.ndarray]


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Without convolution algorithms that smear NaN over whole tiles, and without fused fast paths."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), torch.backends.nnpack.flags(enabled=False), torch.backends.mkldnn.flags(enabled=False):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def tensors(value: Any) -> list[Tensor]:
    """The tensors of a result, in order."""
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for item in items for tensor in tensors(item)]


def poisoned(model: nn.Module, inputs: tuple[Tensor, ...], which: int, axis: int) -> list[Regions]:
    """First and last index of one axis of one input that turns each output element into NaN; (1, 0) where none does."""
    hits: list[list[np.ndarray]] = []
    for index in range(inputs[which].shape[axis]):
        given = [tensor.clone() for tensor in inputs]
        given[which].select(axis, index).fill_(torch.nan)
        hits.append([torch.isnan(out).numpy() for out in tensors(model(*given))])
    found = []
    for rows in zip(*hits, strict=True):
        seen = np.stack(rows)
        first, last = seen.argmax(0), len(seen) - 1 - seen[::-1].argmax(0)
        found.append((np.where(seen.any(0), first, 1), np.where(seen.any(0), last, 0)))
    return found


def check(model: nn.Module, *inputs: Tensor) -> Analysis:
    """Compare the regions of every output, along every axis of every float input, with poisoned forward passes.

    The ends of each region must be poisoned and nothing outside it may be. Returns the analysis.
    """
    torch.manual_seed(0)
    names = [item.name for item in layer_graph(model, inputs).inputs]
    axes = {name: {f"axis{k}": k for k in range(value.ndim)} for name, value in zip(names, inputs, strict=True)}
    a = rfcalc.analyze(model, inputs, axes=axes)
    was_training = model.training
    model.eval()
    with plain_kernels():
        for which, (name, value) in enumerate(zip(names, inputs, strict=True)):
            if not value.is_floating_point():
                continue
            for axis in range(value.ndim):
                compare(a, name, axis, poisoned(model, inputs, which, axis))
    model.train(was_training)
    return a


def compare(a: Analysis, source: str, axis: int, found: list[Regions]) -> None:
    """Hold the regions of all outputs along one axis of one input against the poisoned ones."""
    outputs = a.layer_graph.outputs
    assert len(outputs) == len(found)
    for ref, (first, last) in zip(outputs, found, strict=True):
        assert ref.output == 0
        (layer,) = (op for op in a.ops if op.node == ref.node)
        assert layer.receptive_fields[source].status == "exact", layer.receptive_fields[source].reasons
        lo, hi = a.regions(layer.name, source=source)[axis]
        what = f"{layer.name}, axis {axis} of {source}"
        np.testing.assert_array_equal(np.broadcast_to(lo, first.shape), first, err_msg=f"first of {what}")
        np.testing.assert_array_equal(np.broadcast_to(hi, last.shape), last, err_msg=f"last of {what}")
