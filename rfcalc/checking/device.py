"""The device: which one, its versions and peak, honest algorithms for the probe, and the random state put back."""

from __future__ import annotations

import platform
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import numpy as np
import torch

from rfcalc.errors import LoadError, UsageError
from rfcalc.sources.user_code import undrawn

#: Dense peak in TFLOP/s by a part of the device's name: (float32, TF32, half). From the vendors' data sheets.
_PEAKS: tuple[tuple[str, tuple[float, float | None, float]], ...] = (
    ("GH200", (66.9, 494.7, 989.4)),
    ("H200", (66.9, 494.7, 989.4)),
    ("H100 PCIe", (51.2, 378.0, 756.0)),
    ("H100", (66.9, 494.7, 989.4)),
    ("A100", (19.5, 156.0, 312.0)),
    ("A10", (31.2, 62.5, 125.0)),
    ("L40S", (91.6, 183.0, 362.0)),
    ("L4", (30.3, 60.0, 121.0)),
    ("V100", (15.7, None, 125.0)),
    ("T4", (8.1, None, 65.0)),
    ("RTX 4090", (82.6, 82.6, 165.2)),
    ("RTX 3090", (35.6, 35.6, 71.0)),
)


def choose(name: str) -> tuple[torch.device, tuple[str, ...]]:
    """The device and what to tell the user about the choice.

    Raises `LoadError` for a device that this machine or this torch lacks, `UsageError` for a name that means none.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device()), ()
        return torch.device("cpu"), ("no CUDA device is at hand: checked on the CPU",)
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}: expected auto, cuda, cuda:N, cpu or mps") from None
    if device.type == "cpu":
        return torch.device("cpu"), ()
    if device.type == "cuda":
        return _cuda(device, name), ()
    if device.type == "mps":
        if not torch.backends.mps.is_available():
            raise LoadError("--device mps: there is no MPS device here; --device auto falls back to the CPU")
        return device, ()
    raise UsageError(f"unknown device {name!r}: expected auto, cuda, cuda:N, cpu or mps")


def _cuda(device: torch.device, name: str) -> torch.device:
    if not torch.cuda.is_available():
        built = "torch is built without CUDA" if torch.version.cuda is None else "no CUDA device is visible"
        raise LoadError(f"--device {name}: {built}; --device auto falls back to the CPU")
    index = torch.cuda.current_device() if device.index is None else device.index
    if index >= torch.cuda.device_count():
        raise LoadError(f"--device {name}: there are {torch.cuda.device_count()} CUDA devices, numbered from 0")
    return torch.device("cuda", index)


def describe(device: torch.device) -> str:
    """The device with its product name."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        return f"cpu ({_processor()}, {torch.get_num_threads()} threads)"
    return str(device)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def versions(device: torch.device) -> dict[str, str]:
    """Versions of everything that can move a number."""
    from rfcalc import __version__

    found = {"rfcalc": __version__, "torch": torch.__version__}
    found |= {"python": platform.python_version(), "numpy": np.__version__}
    torchvision = sys.modules.get("torchvision")
    if torchvision is not None:
        found["torchvision"] = str(torchvision.__version__)
    if device.type == "cuda":
        found["cuda"] = str(torch.version.cuda or torch.version.hip)
        cudnn: Any = torch.backends.cudnn
        found["cudnn"] = str(cudnn.version())
        found["driver"] = _driver()
    return found


def _driver() -> str:
    try:
        with open("/proc/driver/nvidia/version", encoding="utf-8") as lines:
            words = lines.readline().split()
    except OSError:
        words = []
    numbers = [word for word in words if word[:1].isdigit() and "." in word]
    return numbers[0] if numbers else "unknown"


def precision(dtype: torch.dtype, device: torch.device) -> str:
    """In which arithmetic the device multiplies numbers of this type under the current settings."""
    if dtype == torch.float32 and device.type == "cuda" and torch.backends.cudnn.allow_tf32:
        return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "float32, tf32 in convolutions"
    return str(dtype).removeprefix("torch.")


def peak(device: torch.device, arithmetic: str) -> float | None:
    """The device's dense peak in TFLOP/s for that arithmetic, None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    for part, (single, tf32, half) in _PEAKS:
        if part in name:
            if arithmetic in ("float16", "bfloat16"):
                return half
            return (tf32 or single) if "tf32" in arithmetic else single if arithmetic == "float32" else None
    return None


class _Shared:
    """Settings of the process while any thread is in such a block: the first sets, the last puts back.

    They are torch's for all threads. Blocks that overlap would otherwise take each other's settings for the user's.
    """

    def __init__(self, settings: Callable[[], Sequence[AbstractContextManager[Any]]]) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._inside = 0
        self._held = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._held = self._set()
            self._inside += 1

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._held.close()

    def _set(self) -> ExitStack:
        with ExitStack() as stack:
            for setting in self._settings():
                stack.enter_context(setting)
            return stack.pop_all()


def _direct() -> Sequence[AbstractContextManager[Any]]:
    """Without algorithms that transform tiles of numbers (Winograd, FFT), and without ops hidden in others."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    cudnn = _attribute(torch.backends.cudnn, "enabled", False)
    return torch.backends.nnpack.flags(enabled=False), cudnn, _fastpath(), sdpa_kernel(SDPBackend.MATH)


_sums = _Shared(_direct)
_blocks = _Shared(lambda: (torch.backends.mkldnn.flags(enabled=False),))


@contextmanager
def honest() -> Iterator[None]:
    """Turn off what smears NaN over tiles or hides ops from the dispatcher; all settings are as before afterwards."""
    with zeros_kept(), _blocks:
        yield


@contextmanager
def zeros_kept() -> Iterator[None]:
    """As `honest`, but with the CPU's blocked kernels: they read more than they use, and 0 times a number is 0."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TF32 acceleration on top of oneDNN")
        with _sums:
            yield


@contextmanager
def _attribute(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def _fastpath() -> Iterator[None]:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def random_state(device: torch.device) -> Iterator[None]:
    """Put the random states of Python, numpy, torch and the device back at the end of the block.

    As `rfcalc.sources.user_code.undrawn` does, where there is no other thread that may draw from them.
    """
    home: Any = {"cuda": torch.cuda, "mps": torch.mps}.get(device.type)
    where = (device,) if device.type == "cuda" else ()
    held = None if home is None else home.get_rng_state(*where)
    try:
        with undrawn():
            yield
    finally:
        if held is not None and threading.active_count() == 1:
            home.set_rng_state(held, *where)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def free_memory(device: torch.device) -> int:
    """Bytes that the check may plan with."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * 0.6)
    try:
        with open("/proc/meminfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("MemAvailable"):
                    return int(line.split()[1]) * 1024 // 3
    except OSError:
        pass
    return 2 << 30
