"""Keras's parameter count: the moving statistics of BatchNorm are parameters there, which are not trainable."""

from __future__ import annotations

from rfcalc.conventions.facts import BufferSite
from rfcalc.conventions.rules import Convention, Pass, extra


def _elements(site: BufferSite) -> int:
    return site.out_size


CONVENTION = Convention(
    name="keras",
    version="3",
    call="model.count_params()",
    passes=(
        Pass(
            "buffers",
            (
                extra(
                    "BatchNorm: moving mean and variance",
                    *("running_mean", "running_var", "moving_mean", "moving_variance"),
                    count=_elements,
                ),
            ),
        ),
    ),
    misses={},
    prints="parameters",
    unit="parameters",
)
