"""Receptive fields of TF-Slim's end-points against the table of google-research/receptive_field, for `errata.py`.

``errata_slim.csv`` has its 561 rows: RECEPTIVE_FIELD_TABLE.md at commit f12ae8e (Araujo, Norris and Sim, 2019), without
the operations. A padding that depends on an unknown size is empty there, and then not compared.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from errata_measures import Built, Measure, output_rows, plain_kernels  # beside this file
from errata_nets import Slim

import rfcalc

TABLE = Path(__file__).with_suffix(".csv")
#: A period of every end-point's window, and how much longer the witness's input is than the image.
PERIOD, LONGER = 32, 32 * 160
Window = tuple[int, int, int]  #: size, stride, padding before


@cache
def table() -> tuple[dict[str, str], ...]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


@dataclass(frozen=True)
class SlimRows(Measure):
    """How many rows of the table come out for one network."""

    network: str

    def ours(self, model: Built) -> int:
        return sum(self._matching(lambda size: [by_rfcalc(self.network, size)]))

    def theirs(self, model: Built) -> int:
        return sum(self._matching(lambda size: [by_nan(self.network, size, 0), by_nan(self.network, size, 1)]))

    def _matching(self, windows) -> Iterator[bool]:  # type: ignore[no-untyped-def]
        found = {size: windows(size) for size in (224, 321)}
        for row in table():
            if row["network"] == self.network:
                size, stride = int(row["field"]), int(row["stride"])
                seen = [one[row["end_point"]] for one in found[int(row["resolution"] or 224)]]
                wanted = [(size, stride, int(row["padding"]) if row["padding"] else None)] * len(seen)
                pairs = zip(seen, wanted, strict=True)
                yield all(a[:2] == b[:2] and b[2] in (None, a[2]) for a, b in pairs)

    @property
    def what(self) -> str:
        total = sum(row["network"] == self.network for row in table())
        return f"rows of the table (field, stride, padding) that come out, of {total}"

    @property
    def ways(self) -> str:
        return "NaN at every position of a period, along rows and columns apart"


def by_rfcalc(network: str, size: int) -> dict[str, Window]:
    """The window of every end-point, for an image of the size."""
    net = Slim(network)
    analysis = rfcalc.analyze(net, (1, 1, size, size))
    found = {}
    for end, row in zip(net.names, output_rows(analysis), strict=True):
        field = row.receptive_field
        assert len(set(field.size)) == 1
        found[end] = (field.size[0], int(field.stride[0]), -field.start[0])
    return found


@cache
def by_nan(network: str, size: int, axis: int) -> dict[str, Window]:
    """The same along one axis, from which units a NaN at each position of a period reaches: of unit u the field is
    [start + stride u, end + stride u], so that start is the least of p - stride u, u the last unit that p reaches."""
    length = size + LONGER
    at = length // 2 // PERIOD * PERIOD
    x = torch.rand(PERIOD + 1, 1, length)
    for n in range(PERIOD + 1):
        x[n, 0, at + n] = torch.nan
    net = Slim(network, (axis,)).eval()
    with plain_kernels():
        ends = net(x)
    found = {}
    for end, y in ends.items():
        hit = y.isnan()[:, 0]
        reach = [int(row.nonzero().max()) for row in hit]
        stride = PERIOD // (reach[PERIOD] - reach[0])  # one period further, so many units further
        units = torch.arange(y.shape[-1])
        start = min(at + n - stride * int(units[row].max()) for n, row in enumerate(hit))
        stop = max(at + n - stride * int(units[row].min()) for n, row in enumerate(hit))
        found[end] = (stop - start + 1, stride, -start)
    return found
