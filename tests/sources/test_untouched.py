"""The process and the model are as before, for every form of naming a model, and wherever its code fails."""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rfcalc.api import analyze, verify
from rfcalc.errors import RfcalcError

WRITES = """
import os, random, sys, warnings
import numpy as np
import torch
from torch import nn

def spoil():
    os.environ["RFCALC_TEST_SPOILT"] = "1"
    os.environ.pop("RFCALC_TEST_HELD", None)
    sys.path.append("/nowhere")
    sys.setrecursionlimit(sys.getrecursionlimit() + 7)
    warnings.simplefilter("ignore")
    os.chdir("/")
    random.random(), np.random.rand(), torch.manual_seed(5)
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
    torch.set_float32_matmul_precision("medium")

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        spoil()
        self.conv = nn.Conv2d(3, 2, 3, dtype=torch.float32)

    def forward(self, x):
        spoil()
        return self.conv(x)

net = Net
"""


def settings() -> dict[str, Any]:
    return {
        "environment": dict(os.environ),
        "path": list(sys.path),
        "limit": sys.getrecursionlimit(),
        "filters": list(warnings.filters),
        "directory": os.getcwd(),
        "random": (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()),  # type: ignore[union-attr]
        "defaults": (torch.get_default_dtype(), str(torch.get_default_device()), torch.is_grad_enabled()),
        "threads": torch.get_num_threads(),
        "exact": (torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision()),
        "cudnn": (torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark, torch.backends.mkldnn.enabled),
        "fast": torch.backends.mha.get_fastpath_enabled(),
        "modes": (torch._C._len_torch_dispatch_stack(), torch._C._len_torch_function_stack()),
        "hooks": len(nn.modules.module._global_forward_hooks),
    }


def graph_file(folder: Path) -> str:
    from rfcalc.api import layer_graph
    from rfcalc.graph_json import to_json

    path = folder / "graph.json"
    path.write_text(json.dumps(to_json(layer_graph("lenet5"))), encoding="utf-8")
    return str(path)


def exported(folder: Path) -> str:
    path = folder / "net.pt2"
    net = nn.Sequential(nn.Conv2d(3, 2, 3)).eval()
    torch.export.save(torch.export.export(net, (torch.zeros(1, 3, 8, 8),)), path)
    return str(path)


def own(folder: Path) -> str:
    path = folder / "writes.py"
    path.write_text(WRITES, encoding="utf-8")
    return f"{path}:net"


#: How a model is named: what makes the name, and the input where it has none of its own.
SOURCES: dict[str, tuple[Callable[[Path], Any], Any]] = {
    "zoo": (lambda folder: "lenet5", None),
    "stack": (lambda folder: "3x3 3x3", None),
    "torchvision": (lambda folder: "torchvision:squeezenet1_1", None),
    "timm": (lambda folder: "timm:test_convnext", None),
    "saved": (graph_file, None),
    "exported": (exported, None),
    "python": (own, (3, 8, 8)),
    "module": (lambda folder: nn.Sequential(nn.Conv2d(3, 2, 3), nn.Dropout()), (3, 8, 8)),
}
_NEEDED = {"torchvision": "torchvision", "timm": "timm"}


@pytest.fixture
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process with no other thread: what the user's code draws is put back there only.

    Libraries leave threads behind in the process of the tests, such as one that watches bars of progress.
    """
    monkeypatch.setattr(threading, "active_count", lambda: 1)


@pytest.fixture
def _in_company() -> Iterator[None]:
    """Another thread runs, which may draw."""
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    yield
    done.set()
    other.join()


@pytest.mark.usefixtures("_alone")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", SOURCES)
def test_every_source_leaves_the_process_as_it_was(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in _NEEDED:
        pytest.importorskip(_NEEDED[name])
    monkeypatch.setenv("RFCALC_TEST_HELD", "mine")
    make, inputs = SOURCES[name]
    model = make(tmp_path)
    before = settings()
    found = analyze(model, inputs)
    assert found.totals.macs
    assert settings() == before


class Failing(TorchFunctionMode):
    """Raises at the n-th call of torch's that comes by."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.left -= 1
        if self.left == 0:
            raise OSError("on purpose")
        return func(*args, **(kwargs or {}))


class Net(nn.Module):
    """Writes into all that it holds, and fails where a mode of its own says so."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)])
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.lstm = nn.LSTM(4, 3, batch_first=True)
        self.register_buffer("seen", torch.zeros(3))
        self.rows: list[Any] = []
        self.fail_at = 0

    def forward(self, x: Tensor) -> Any:
        with Failing(self.fail_at):
            self.rows.append(x)
            self.seen += 1
            self.last = x
            for part in self.parts:
                x = part(x).relu_()
            tokens = x.flatten(2).transpose(1, 2)
            tokens = nn.functional.dropout(self.attention(tokens, tokens, tokens)[0], 0.2)
            return self.lstm(tokens)[0] + torch.rand(3)


def held(model: nn.Module) -> list[Any]:
    tensors = [
        (name, id(one), one.data_ptr(), one.detach().numpy().tobytes(), one.requires_grad, one.grad)
        for name, one in model.state_dict(keep_vars=True).items()
    ]
    return [tensors, [(dict(vars(part)), dict(part._parameters), dict(part._buffers)) for part in model.modules()]]


@pytest.mark.usefixtures("_in_company")
@pytest.mark.parametrize("training", [False, True])
def test_a_failure_at_any_call_leaves_the_model_and_the_process_as_they_were(training: bool) -> None:
    torch.manual_seed(0)
    model = Net().train(not training)
    before, world = held(model), settings()
    failed = 0
    for at in range(1, 60):
        model.fail_at = before[1][0][0]["fail_at"] = at
        try:
            analyze(model, torch.zeros(1, 3, 6, 6), training=training)  # no shape: none that fits is looked for
        except RfcalcError as error:
            failed += "on purpose" in str(error)
        assert held(model) == before
        assert settings() == world
    assert 10 < failed < 59  # some are later than the last call


@pytest.mark.usefixtures("_in_company")
@pytest.mark.parametrize("at", [3, 9, 14])
def test_a_failure_of_a_real_pass_leaves_them_too(at: int) -> None:
    torch.manual_seed(0)
    model = Net().eval()
    verify(model, (3, 6, 6), device="cpu", timing=False, probes=1)
    before, world = held(model), settings()
    model.fail_at = before[1][0][0]["fail_at"] = at
    with pytest.raises(RfcalcError, match="on purpose"):
        verify(model, (3, 6, 6), device="cpu", timing=False, probes=1)
    assert held(model) == before
    assert settings() == world


class Scaled(nn.Module):
    """Holds a tensor that is no parameter or buffer, and has no storage."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, device="meta")
        self.scale = torch.empty(4, 1, 1, device="meta")

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * self.scale


def test_a_model_without_storage_keeps_its_tensors() -> None:
    model = Scaled()
    before = dict(vars(model))
    found = analyze(model, (3, 6, 6))

    assert dict(vars(model)) == before
    assert found.notices == ()
