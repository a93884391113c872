"""The kernels by which random networks are drawn, traced and run: none that blurs what is read."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Without the algorithms that smear NaN over a tile, and without fast paths."""
    fast, threads = torch.backends.mha.get_fastpath_enabled(), torch.get_num_threads()
    torch.backends.mha.set_fastpath_enabled(False)
    torch.set_num_threads(1)  # the tensors are small
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with (
                torch.backends.mkldnn.flags(enabled=False),
                torch.backends.nnpack.flags(enabled=False),
                sdpa_kernel(SDPBackend.MATH),
            ):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch.set_num_threads(threads)
