"""How much work a trace and an analysis are, counted and never timed, so that what is fast stays so."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from rfcalc import recall
from rfcalc.analyses.analysis import Analysis
from rfcalc.analyses.field.stepping import Plans
from rfcalc.api import analyze, layer_graph
from rfcalc.tracing.recorder import Recorder

ROOT = Path(__file__).parent.parent

#: Ops that give a view, which torch makes in C++ without a kernel.
VIEWS = frozenset(
    f"aten.{name}" for name in ("view", "transpose", "expand", "select", "t", "permute", "unsqueeze", "squeeze")
)
#: What takes the place of the model's input.
INPUT = "aten.empty_strided"


class Underneath(TorchDispatchMode):
    """Counts the ops that the recorder leaves to torch, and so to torch's own meta kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.calls[str(func).rpartition(".")[0]] += 1
        return func(*args, **(kwargs or {}))


def built(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A model of torchvision without storage, and an image."""
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        return models.get_model(name, weights=None).eval(), torch.empty(1, 3, 224, 224)


def left_to_torch(name: str) -> Counter[str]:
    """The ops of a model that run one of torch's kernels on the meta device, and how often.

    What stands for its parameters and buffers is made by one call each, which does not count.
    """
    model, x = built(name)
    with Underneath() as counter:
        layer_graph(model, x)
    counter.calls[INPUT] -= sum(1 for held in (model.parameters(), model.buffers()) for _ in held)
    return Counter({op: calls for op, calls in counter.calls.items() if op not in VIEWS})


# --- tracing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet50", "vgg16", "densenet201", "efficientnet_b0", "mobilenet_v3_large"])
def test_the_shapes_of_convolutional_networks_are_found_without_torch(name: str) -> None:
    assert left_to_torch(name) == Counter({INPUT: 1})


def test_attention_leaves_torch_only_products() -> None:
    found = left_to_torch("vit_b_16")

    # One product in each of 12 blocks, and the class token that is put before the patches.
    assert set(found) <= {INPUT, "aten.bmm", "aten.cat"}
    assert found.total() <= 1 + 12 + 1


class Sums(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.cumsum(-1)


def test_an_op_that_has_no_shortcut_is_left_to_torch() -> None:
    with Underneath() as counter:
        layer_graph(Sums(), (4, 6, 6))

    assert counter.calls["aten.cumsum"] == 1


def dispatched(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """How many ops the recorder sees, and how many nodes the graph has."""
    model, x = built(name)
    calls = Counter[str]()
    original = Recorder.__torch_dispatch__

    def counting(self: Recorder, func: Any, *rest: Any) -> Any:
        calls["seen"] += 1
        return original(self, func, *rest)

    monkeypatch.setattr(Recorder, "__torch_dispatch__", counting)
    graph = layer_graph(model, x)
    return calls["seen"], len(list(graph))


def test_a_kind_of_op_of_resnet50_is_seen_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, nodes = dispatched("resnet50", monkeypatch)

    # Of convolutions: the stem; in the first block of each of four stages 1x1, 3x3, 1x1 and a shortcut, and where the
    # first of them has another input than those of the blocks that follow, another 1x1; 3x3 with and without stride in
    # three stages. ReLUs and sums by shape, two pools, one flattening; norms and the linear layer need no dispatch.
    assert seen <= (1 + 4 * 4 + 3 + 3) + 12 + 4 + 2 + 1
    assert nodes == 1 + 53 + 53 + 49 + 16 + 2 + 1 + 1


def test_one_block_of_vit_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, nodes = dispatched("vit_b_16", monkeypatch)

    # nn.MultiheadAttention splits and moves its three projections in about forty ops; the 11 blocks that follow the
    # first repeat it.
    assert seen <= 100
    assert nodes > 12 * 40


def test_a_second_trace_dispatches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    dispatched("resnet50", monkeypatch)

    assert dispatched("resnet50", monkeypatch) == (0, 176)


def test_torchs_compiler_is_not_imported() -> None:
    code = (
        "import sys, torch, rfcalc\n"
        "from torch import nn\n"
        "norms = [nn.BatchNorm2d(8), nn.GroupNorm(2, 8), nn.ReLU(), nn.GELU(), nn.SiLU(), nn.MaxPool2d(2)]\n"
        "rest = [nn.Flatten(2), nn.TransformerEncoderLayer(225, 5), nn.LSTM(225, 4)]\n"
        "net = nn.Sequential(nn.Conv2d(3, 8, 3), *norms, *rest)\n"
        "found = rfcalc.analyze(net, (3, 32, 32))\n"
        "checked = rfcalc.verify(net[:3], (3, 8, 8), probes=1, timing=False, device='cpu')\n"
        "compilers = {'torch._dynamo', 'sympy', 'torch._inductor'}\n"
        "print(len(found.layers) > 5, checked.agree, compilers & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)

    assert done.stdout == "True True set()\n", done.stderr


# --- growth -----------------------------------------------------------------------------------------------------------


def calls(run: Callable[[], Any]) -> int:
    """How many functions are called, of Python and of C, with nothing known of what ran before."""
    recall.forget()
    count = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(before)
    return count


def chain(layers: int) -> nn.Module:
    with torch.device("meta"):
        return nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(layers)))


def everything(model: nn.Module, side: int) -> Callable[[], Any]:
    def run() -> Any:
        found = analyze(model, (4, side, side))
        return found.layers, found.totals

    return run


def test_work_grows_with_depth_and_not_faster() -> None:
    everything(chain(2), 32)()
    few, some, many = (calls(everything(chain(layers), 32)) for layers in (50, 100, 200))

    assert many - some <= 2.05 * (some - few)


class Dense(nn.Module):
    """Each layer reads all outputs before it: n of them have n (n + 1) / 2 edges."""

    def __init__(self, layer: Callable[[int], nn.Module], layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer(4 * (number + 1)) for number in range(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = [x]
        for layer in self.layers:
            outputs.append(layer(torch.cat(outputs, 1)))
        return outputs[-1]


def aligned(channels: int) -> nn.Module:
    return nn.Conv2d(channels, 4, 3, padding=1)


def shifted(channels: int) -> nn.Module:
    """A layer whose branches lie in other places than those before it."""
    return nn.Sequential(nn.Conv2d(channels, 4, 3, 2, 1), nn.ConvTranspose2d(4, 4, 4, 2, 1))


@pytest.mark.parametrize("layer", [aligned, shifted])
def test_work_grows_with_the_edges_of_concatenations(layer: Callable[[int], nn.Module]) -> None:
    few, some, many = (_of_fields(Dense(layer, layers)) for layers in (20, 40, 80))

    assert many - some <= 4.3 * (some - few)  # edges: 3,240 - 820 is 4.0 of 820 - 210


def _of_fields(model: nn.Module) -> int:
    """How many functions an analysis of a graph calls."""
    found = Analysis(layer_graph(model.to("meta"), (4, 16, 16)))
    return calls(lambda: (found.layers, found.totals))


@pytest.mark.parametrize(
    "model",
    [
        chain(20),
        nn.Sequential(nn.Conv2d(4, 4, 3, 2), nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(4, 4, 3)),
    ],
    ids=["chain", "upsampled"],
)
def test_work_does_not_grow_with_the_image(model: nn.Module) -> None:
    everything(model, 32)()
    small, large = calls(everything(model, 66)), calls(everything(model, 1026))

    assert large <= 1.1 * small


def test_fields_that_a_walk_before_has_found_are_not_worked_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Counter[str]()
    original = Plans.after

    def counting(self: Plans, *arguments: Any) -> Any:
        made["steps"] += 1
        return original(self, *arguments)

    monkeypatch.setattr(Plans, "after", counting)
    block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    for model in (chain(20), nn.Sequential(*(block for _ in range(3)))):
        x = torch.zeros(1, 4, 16, 16) if isinstance(model[0], nn.Conv2d) else torch.zeros(1, 6, 8)
        counts = []
        for _ in range(2):
            made.clear()
            assert Analysis(layer_graph(model.eval(), x)).layers
            counts.append(made["steps"])

        assert counts[0] > 10
        assert counts[1] == 0


def test_a_second_question_is_no_second_analysis() -> None:
    found = Analysis(layer_graph(chain(20), (4, 32, 32)))
    first = calls(lambda: (found.layers, found.totals))

    assert calls(lambda: (found.layers, found.totals)) * 20 < first
