"""Hand-made results of an analysis, so that reports are tested without torch and without the analyses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rfcalc.analyses.results import Layer, ReceptiveField, Totals
from rfcalc.graph import InputInfo


@dataclass(frozen=True)
class FakeAnalysis:
    """What a report asks of an `Analysis`."""

    model: str
    inputs: tuple[InputInfo, ...]
    totals: Totals
    layers: tuple[Layer, ...]
    scans: tuple[Any, ...] = ()
    outputs: tuple[Layer, ...] = ()
    of: str | None = None
    unread: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)

    def to_dict(self, layers: Sequence[Layer] | None = None) -> dict[str, Any]:
        return {"schema": "rfcalc/1", "model": self.model, "layers": [layer.to_dict() for layer in layers or ()]}


def field(size: int | tuple[int, ...] = 1, stride: Any = 1, start: Any = 0, **changes: Any) -> ReceptiveField:
    """A field, by default in the two axes H and W of ``input``; single numbers serve for both axes."""
    sizes = (size, size) if isinstance(size, int) else size
    rank = len(sizes)

    def each(value: Any) -> Any:
        return value if value is None or isinstance(value, tuple) else (value,) * rank

    window = stride is not None
    values: dict[str, Any] = {
        "source": "input",
        "axes": {0: (), 1: ("L",), 2: ("H", "W")}[rank],
        "status": "exact",
        "whole_input": False,
        "size": sizes,
        "size_min": sizes,
        "stride": each(stride),
        "start": each(start) if window else None,
        "center": each(0) if window else None,
        "samples": sizes,
        "local_size": sizes,
        "period": (1,) * rank,
        "reach": (None if not window else ((1, 2),) * rank),
    }
    return ReceptiveField(**{**values, **changes})


WHOLE = field((9, 9), None, whole_input=True)


def layer(index: int | None, name: str, kind: str = "conv", **changes: Any) -> Layer:
    """A layer with a field of 1x1 and no cost."""
    values: dict[str, Any] = {
        "index": index,
        "name": name,
        "kind": kind,
        "op": f"aten.{kind}",
        "module": "",
        "inputs": (),
        "output_shape": (1, 3, 9, 9),
        "params": 0,
        "trainable_params": changes.get("params", 0),
        "macs": 0,
        "flops": 0,
        "flops_by": {},
        "formula": "",
        "attrs": {},
        "receptive_fields": {"input": field()},
    }
    return Layer(**{**values, **changes})


INPUT = layer(1, "input", "input", op="input")
CONV = layer(
    2,
    "conv1",
    module="Conv2d",
    op="aten.convolution",
    inputs=("input",),
    output_shape=(1, 8, 9, 9),
    params=224,
    macs=17_496,
    flops=35_640,
    flops_by={"macs": 34_992, "bias": 648},
    formula="(9x9x8) x (3x3x3)",
    attrs={"kernel": [3, 3], "groups": 1},
    receptive_fields={"input": field(3, start=-1)},
    folded=("relu1",),
)
CONV2 = replace(
    CONV,
    index=3,
    name="conv2",
    inputs=("conv1",),
    params=584,
    trainable_params=584,
    macs=46_656,
    formula="(9x9x8) x (3x3x8)",
    receptive_fields={"input": field(5, start=-2)},
)
FC = layer(4, "fc", "linear", output_shape=(1, 10), params=6_490, macs=6_480, receptive_fields={"input": WHOLE})

TOTALS = Totals(
    params=7_298,
    trainable_params=7_298,
    buffers=0,
    macs=70_632,
    flops=142_000,
    flops_by={"macs": 141_264, "other": 736},
    status="complete",
    unknown_ops={},
    unused_params={},
)

IMAGE = InputInfo("input", 0, (1, 3, 9, 9), "float32", {"H": 2, "W": 3})


def analysis(*layers: Layer, **changes: Any) -> Any:
    """A small network: input, two convolutions, a linear layer."""
    values: dict[str, Any] = {
        "model": "tiny",
        "inputs": (IMAGE,),
        "totals": TOTALS,
        "layers": layers or (INPUT, CONV, CONV2, FC),
    }
    return FakeAnalysis(**{**values, **changes})
