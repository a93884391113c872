"""Models on several devices, compiled, scripted or quantised: analysed or refused, and as before afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rfcalc.api import analyze
from rfcalc.errors import LoadError

X = (1, 3, 8, 8)
MACS = 36 * 8 * 27 + 8 * 36 * 4


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)).eval()


def inside(wrap: Callable[[nn.Module], Any]) -> nn.Module:
    model = network()
    model[0] = wrap(model[0])  # type: ignore[index, operator]
    return model


def compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")


def by_its_method() -> nn.Module:
    model = network()
    model.compile(backend="eager")
    return model


def frozen(model: nn.Module) -> Any:
    return torch.jit.freeze(torch.jit.script(model))


@torch.compile(backend="eager")
def doubled(x: Tensor) -> Tensor:
    return x * 2


class Calls(nn.Module):
    """Calls a function that was compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, x: Tensor) -> Any:
        return self.net(doubled(x))


#: By what was done to the network: how, and the name of the convolution, None where it has lost its name.
WAYS: dict[str, tuple[Callable[[], Any], str | None]] = {
    "compiled": (lambda: compiled(network()), "0"),
    "compiled inside": (lambda: inside(compiled), "0._orig_mod"),
    "compiled by its method": (by_its_method, "0"),
    "a compiled function": (lambda: Calls().eval(), "net.0"),
    "on several devices": (lambda: nn.DataParallel(network()), "0"),
    "scripted": (lambda: torch.jit.script(network()), "0"),
    "scripted inside": (lambda: inside(torch.jit.script), "0"),
    "traced": (lambda: torch.jit.trace(network(), torch.zeros(X)), "0"),
    "frozen": (lambda: frozen(network()), None),
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("way", WAYS)
def test_wrapped_models_are_analysed_and_run_as_before(way: str) -> None:
    make, name = WAYS[way]
    model, x = make(), torch.randn(X)
    given, before = model(x), dict(model.state_dict(keep_vars=True))
    found = analyze(model, X)

    assert found.totals.macs == MACS
    assert torch.equal(model(x), given)
    after = model.state_dict(keep_vars=True)
    assert all(after[key] is tensor and not tensor.is_meta for key, tensor in before.items())
    if name is not None:
        layer = found.layers[1]
        assert (layer.name, layer.receptive_fields["input"].size) == (name, (3, 3))
        assert found.totals.params == 8 * 27 + 8 + 16 + 8 * 36 * 4 + 4


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_quantised_model_runs_as_before() -> None:
    model, x = torch.ao.quantization.quantize_dynamic(network(), {nn.Linear}), torch.randn(X)
    given = model(x)
    assert analyze(model, X).totals.macs is not None
    assert torch.equal(model(x), given)


_DISTRIBUTED = """
import sys
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel
from rfcalc import analyze
from tests.sources.test_wrapped import MACS, X, network

store = distributed.FileStore(sys.argv[1], 1)
distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
mesh = init_device_mesh("cpu", (1,))

def sharded():
    model = network()
    fully_shard(model[4], mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model

ways = {
    "data": lambda: DistributedDataParallel(network()),
    "shards": sharded,
    "tensors": lambda: parallelize_module(network(), mesh, {"4": ColwiseParallel()}),
}
for name, make in ways.items():
    model, x = make(), torch.randn(X)
    given, before = model(x), dict(model.named_parameters())
    found = analyze(model, X)
    assert found.totals.macs == MACS, name
    assert [layer.name for layer in found.layers] == ["input", "0", "4"], name
    assert found.layers[1].module == "Conv2d", name
    assert all(one is before[key] for key, one in model.named_parameters()), name
    assert torch.equal(model(x), given), name
    model.train()
    model(x).sum().backward()  # it trains on
    analyze(model, X)
    assert model.training, name
    model(x).sum().backward()
    print(name, "ok")
try:
    analyze(FullyShardedDataParallel(network(), device_id=torch.device("cpu")), X)
except Exception as error:
    print(type(error).__name__, error)
distributed.destroy_process_group()
"""


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_models_of_several_processes(tmp_path: Any) -> None:
    call = [sys.executable, "-W", "ignore", "-c", _DISTRIBUTED, str(tmp_path / "store")]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr[-2000:]
    *ok, refused = done.stdout.splitlines()
    assert ok == ["data ok", "shards ok", "tensors ok"]
    assert refused.startswith("LoadError the model is in shards of FullyShardedDataParallel")


def test_a_module_that_was_not_set_up_is_said() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            pass

    with pytest.raises(LoadError, match=r"does not call super\(\)\.__init__"):
        analyze(Bare(), X)
