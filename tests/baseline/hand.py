"""Records made by hand: a lock, a graph and a configuration need no torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rfcalc.baseline.record import Entry, Input, Op, Row, Totals


def field(size: int, **more: Any) -> dict[str, Any]:
    return {"status": "exact", "size": [size, size], "stride": [1, 1], "start": [0, 0], **more}


def row(name: str, width: int, size: int, inputs: tuple[str, ...], **more: Any) -> Row:
    """A convolution of 3x3 over 8 channels of 9x9."""
    return replace(
        Row(
            name=name,
            kind="conv",
            module="Conv2d",
            attrs={"kernel": [3, 3], "in_channels": 8, "out_channels": width},
            inputs=inputs,
            output=(1, width, 9, 9),
            dtype="float32",
            weights={"weight": [width, 8, 3, 3]},
            folded=(Op(f"{name}/relu", "activation", "relu"),),
            params=width * 8 * 9,
            macs=81 * width * 8 * 9,
            flops=2 * 81 * width * 8 * 9,
            activation_bytes=4 * 2 * 81 * width,
            fields={"input": field(size)},
        ),
        **more,
    )


def net(name: str = "net", width: int = 8, model: str | None = "net.py:Net", **totals: Any) -> Entry:
    """Two convolutions, the first of a given width."""
    rows = (
        Row("input", "input", output=(1, 8, 9, 9), dtype="float32", fields={"input": field(1)}),
        row("a", width, 3, ("input",)),
        row("b", 8, 5, ("a",), attrs={"kernel": [3, 3], "in_channels": width, "out_channels": 8}),
    )
    sums = Totals(
        params=sum(one.params for one in rows),
        frozen_params=0,
        unused_params=0,
        buffers=0,
        macs=sum(one.macs or 0 for one in rows),
        flops=sum(one.flops or 0 for one in rows),
        activation_bytes=sum(one.activation_bytes or 0 for one in rows),
        status="complete",
    )
    inputs = (Input("input", (1, 8, 9, 9), "float32", {"H": 2, "W": 3}),)
    return Entry(name, model, False, inputs, replace(sums, **totals), "b", rows)
