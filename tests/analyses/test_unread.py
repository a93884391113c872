"""Rows at the end of an input that no output reads, by hand and by NaN."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rfcalc
from rfcalc.report.formats import render
from rfcalc.report.layers import overview


def pooled() -> nn.Module:
    """Two poolings by 2 with 3x3 kernels before them, and a strided kernel of 2."""
    kernels = [nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, padding=1)]
    return nn.Sequential(kernels[0], nn.MaxPool2d(2), kernels[1], nn.MaxPool2d(2), nn.Conv2d(1, 1, 2, 2))


def test_what_windows_leave_over() -> None:
    """Of 45 rows the last kernel reads 10 of 11, so the pooling before it 20 of 22, its kernel 21, and the input 43."""
    found = rfcalc.analyze(pooled(), (1, 45, 47))

    assert found.unread == {"input": {"H": 2, "W": 4}}
    assert found.to_dict()["unread"] == {"input": {"H": 2, "W": 4}}
    assert "never read of input: the last 2 of 45 along H and the last 4 of 47 along W" in render(
        overview(found, found.layers)
    )


@pytest.mark.parametrize("size", range(24, 33))
def test_nan_reaches_an_output_from_what_is_read_alone(size: int) -> None:
    model = pooled()
    count = rfcalc.analyze(model, (1, size, 32)).unread.get("input", {}).get("H", 0)
    x = torch.randn(1, 1, size, 32)
    if count:
        x[:, :, size - count :] = float("nan")
    with torch.no_grad():
        assert not model(x).isnan().any()
        x[:, :, size - count - 1] = float("nan")
        assert model(x).isnan().any()


@pytest.mark.parametrize("model", [nn.Conv2d(1, 1, 3, padding=1), nn.Sequential(nn.AdaptiveAvgPool2d(1))])
def test_where_all_is_read_nothing_is_said(model: nn.Module) -> None:
    found = rfcalc.analyze(model, (1, 31, 31))

    assert not found.unread
    assert "unread" not in found.to_dict()
