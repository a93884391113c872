"""Time and memory of the forward pass as the user runs it: the usual fast algorithms, no recorder."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from rfcalc.analyses import cost
from rfcalc.checking import device as devices
from rfcalc.checking.first_pass import FirstPass
from rfcalc.checking.results import Timing
from rfcalc.checking.subject import map_tensors
from rfcalc.checking.witness import gradients
from rfcalc.tracing.placing import Placing

_WARM_UP, _RUNS, _SECONDS = 2, 10, 10.0  #: runs before, runs at most, and after how long no further one is started


class _Clock:
    """Moments on a device: CUDA events, or the host's clock."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def now(self) -> Any:
        if self._device.type == "cuda":
            cuda: Any = torch.cuda
            event = cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self._device))
            return event
        if self._device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter()

    def finish(self) -> None:
        """Wait for everything that was started."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()

    @staticmethod
    def between(first: Any, last: Any) -> float:
        """Milliseconds between two moments, once finished."""
        return float(last - first) * 1e3 if isinstance(first, float) else float(first.elapsed_time(last))


def measure(first_pass: FirstPass) -> Timing:
    """Median latency in total and by module, the rate of arithmetic, and the peak memory of the forward pass."""
    subject, standins = first_pass.subject, first_pass.standins
    clock = _Clock(standins.device)
    args, kwargs = first_pass.inputs.arguments()
    placing = Placing(standins.device) if first_pass.named else nullcontext()  # which takes a while with every call
    with gradients(subject), devices.random_state(standins.device), standins.installed() as (double, _), placing:
        args, kwargs = map_tensors((args, kwargs), lambda tensor: tensor, double.of)

        def forward() -> None:
            double.model(*args, **kwargs)

        for _ in range(_WARM_UP):
            forward()
        clock.finish()
        if standins.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(standins.device)
        totals = _repeat(clock, forward)
        memory = torch.cuda.max_memory_allocated(standins.device) if standins.device.type == "cuda" else None
        layers = _by_module(double.model, clock, forward, len(totals))
    milliseconds = statistics.median(totals)
    arithmetic = devices.precision(_dtype(first_pass), standins.device)
    return Timing(
        milliseconds,
        len(totals),
        tuple((subject.name_of(name), ms) for name, ms in layers.items()),
        2 * cost.totals(subject.graph).macs / (milliseconds * 1e9),
        devices.peak(standins.device, arithmetic),
        arithmetic,
        memory,
    )


def _dtype(first_pass: FirstPass) -> torch.dtype:
    floats = (p.dtype for p in first_pass.subject.model.parameters() if p.is_floating_point())
    return next(floats, torch.float32)


def _repeat(clock: _Clock, forward: Callable[[], None]) -> list[float]:
    spans: list[float] = []
    started = time.perf_counter()
    while len(spans) < _RUNS and (len(spans) < 3 or time.perf_counter() - started < _SECONDS):
        first = clock.now()
        forward()
        last = clock.now()
        clock.finish()
        spans.append(clock.between(first, last))
    return spans


def _by_module(model: nn.Module, clock: _Clock, forward: Callable[[], None], runs: int) -> dict[str, float]:
    """Median milliseconds of every module without children, its calls in one pass added up.

    Scripted modules are left out: torch calls what is inside without Python, and lets nobody hook them.
    """
    leaves = (item for item in model.named_modules() if not any(True for _ in item[1].children()))
    names = {id(module): name for name, module in leaves if not isinstance(module, torch.jit.ScriptModule)}
    open_: list[Any] = []
    spans: list[tuple[str, Any, Any]] = []

    def enter(module: nn.Module, args: Any) -> None:
        open_.append(clock.now())

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        spans.append((names[id(module)], open_.pop(), clock.now()))

    passes: dict[str, list[float]] = {}
    for module in model.modules():
        if id(module) in names:
            module.register_forward_pre_hook(enter)
            module.register_forward_hook(leave)
    for _ in range(min(5, runs)):
        spans.clear()
        forward()
        clock.finish()
        total: Counter[str] = Counter()
        for name, first, last in spans:
            total[name] += clock.between(first, last)  # type: ignore[assignment]
        for name, ms in total.items():
            passes.setdefault(name, []).append(ms)
    return {name: statistics.median(values) for name, values in passes.items()}
