"""Transforms of signals, and the windows and filters that go with them."""

from __future__ import annotations

import math
from typing import Any

import torch

from rfcalc.sources.onnx.dtypes import TORCH
from rfcalc.sources.onnx.rules import Op, one, rule

T = torch.Tensor


@rule("DFT")
def dft(op: Op, x: T, length: T | None = None, axis: T | None = None) -> T:
    """The discrete Fourier transform along an axis; the last axis is one real number or a complex one's two."""
    at = int(one(axis)) if axis is not None else op.get("axis", 1 if op.version < 20 else -2)
    at = at % x.ndim
    size = int(one(length)) if length is not None else None
    inverse, half = bool(op.get("inverse", 0)), bool(op.get("onesided", 0))
    numbers = torch.view_as_complex(x.contiguous()) if x.shape[-1] == 2 else x[..., 0]
    if inverse and half:
        count = size if size is not None else 2 * (numbers.shape[at] - 1)
        return torch.fft.irfft(numbers, count, at).unsqueeze(-1)
    transform: Any = torch.fft.ifft if inverse else torch.fft.fft
    found = torch.fft.rfft(numbers, size, at) if half else transform(numbers, size, at)
    return torch.view_as_real(found)


@rule("STFT")
def stft(op: Op, signal: T, step: T, window: T | None = None, length: T | None = None) -> T:
    """The Fourier transform of each frame."""
    hop = int(one(step))
    size = int(one(length)) if length is not None else (window.shape[0] if window is not None else signal.shape[1])
    real = signal.ndim == 2 or signal.shape[-1] == 1
    numbers = signal.reshape(signal.shape[:2]) if real else torch.view_as_complex(signal.contiguous())
    half = bool(op.get("onesided", 1)) and real
    if window is None:
        window = torch.ones(size, dtype=signal.dtype, device=signal.device)
    found = torch.stft(numbers, size, hop, size, window, False, onesided=half, return_complex=True)
    return torch.view_as_real(found.transpose(1, 2))


def _window(op: Op, size: T, terms: tuple[float, ...]) -> T:
    """A sum of cosines over so many samples, one period or, symmetric, one less."""
    count = int(one(size))
    around = count if op.get("periodic", 1) else count - 1
    angle = 2 * math.pi * torch.arange(count, dtype=torch.float64) / around
    values = torch.zeros(count, dtype=torch.float64)
    for number, term in enumerate(terms):
        values = values + term * torch.cos(number * angle)
    return values.to(TORCH[op.get("output_datatype", 1)])


@rule("HannWindow")
def hann(op: Op, size: T) -> T:
    """Hann's window."""
    return _window(op, size, (0.5, -0.5))


@rule("HammingWindow")
def hamming(op: Op, size: T) -> T:
    """Hamming's window."""
    return _window(op, size, (25 / 46, -21 / 46))


@rule("BlackmanWindow")
def blackman(op: Op, size: T) -> T:
    """Blackman's window."""
    return _window(op, size, (0.42, -0.5, 0.08))


@rule("MelWeightMatrix")
def mel(op: Op, bins: T, length: T, rate: T, lowest: T, highest: T) -> T:
    """The weights of triangular filters, evenly spaced on the mel scale."""
    count, size, sampled = int(one(bins)), int(one(length)), int(one(rate))
    half = size // 2 + 1

    def to_mel(frequency: float) -> float:
        return 2595 * math.log10(1 + frequency / 700)

    low, high = to_mel(float(one(lowest))), to_mel(float(one(highest)))
    step = (high - low) / (count + 2)
    edges = [700 * (10 ** ((low + at * step) / 2595) - 1) for at in range(count + 2)]
    places = [math.floor((size + 1) * edge / sampled) for edge in edges]
    matrix = torch.zeros(half, count, dtype=torch.float64)
    for at in range(count):
        first, middle, last = places[at : at + 3]
        if middle == first:
            matrix[middle, at] = 1
        for bin_ in range(first, middle + 1):
            if middle > first:
                matrix[bin_, at] = (bin_ - first) / (middle - first)
        for bin_ in range(middle, last):
            if last > middle:
                matrix[bin_, at] = (last - bin_) / (last - middle)
    return matrix.to(TORCH[op.get("output_datatype", 1)])
