"""Networks of all kinds whose every number agrees with a real forward pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn
from torch.nn import functional as F

from rfcalc import zoo
from rfcalc.checking import Verification, verify
from rfcalc.cli import cli
from rfcalc.errors import LoadError, UsageError
from rfcalc.report import render
from rfcalc.report.verification import verification_report
from rfcalc.zoo import CATALOG
from tests.checking.slim import quarter, slim

SMALL = {
    "vgg": (3, 64, 64),
    "resnet": (3, 64, 64),
    "plain": (3, 64, 64),
    "googlenet": (3, 64, 64),
    "inception_v3": (3, 96, 96),
    "inception-": (192, 9, 9),
}


def check(model: Any, inputs: Any = None, **options: Any) -> Verification:
    """Verify on the CPU without timing, and tell what differs."""
    found = verify(model, inputs, **{"device": "cpu", "probes": 5, "timing": False, **options})
    assert found.agree, [check.differences for check in found.checks if check.differences]
    assert all(check.compared == check.agree for check in found.checks)
    return found


@pytest.mark.parametrize("name", CATALOG)
def test_the_zoo_agrees(name: str) -> None:
    channels, *sides = next((s for start, s in SMALL.items() if name.startswith(start)), CATALOG[name].input_shape)
    with torch.device("meta"):
        model = name if name == "lenet5" else slim(zoo.build(name))  # one by its name
    found = check(model, (quarter(channels), *sides), probes=3)
    assert [item.what for item in found.checks] == ["shapes", "params", "macs", "receptive_fields"]
    assert found.check("shapes").compared == found.check("receptive_fields").compared
    assert found.weights == "random"


class Forward(nn.Module):
    """A convolution, then any function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.function = function
        self.after = nn.LazyConv2d(2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.function(self.conv(x)))


def _made(function: Callable[[Tensor], Tensor], size: int = 9) -> nn.Module:
    model = Forward(function)
    with torch.no_grad():
        model(torch.zeros(1, 1, size, size))
    return model


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
        lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"),
        lambda x: F.interpolate(x, size=5, mode="nearest"),
        lambda x: F.pad(x, (2, 1, 3, 0), mode="reflect"),
        lambda x: F.pad(x, (2, 1, 3, 0), mode="circular"),
        lambda x: x.roll((2, -1), (2, 3)),
        lambda x: F.conv_transpose2d(x, torch.ones(4, 1, 3, 3), stride=2, groups=4),
        lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)),
        lambda x: F.adaptive_avg_pool2d(x, 4),
        lambda x: F.pixel_shuffle(x, 2),
        lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
        lambda x: torch.cat([x, x.flip(3)], 1),
    ],
)
def test_functions_agree(function: Callable[[Tensor], Tensor]) -> None:
    check(_made(function), (1, 9, 9), probes=9)


class Causal(nn.Module):
    """Masked attention over tokens: NaN comes through weights of exactly 0, and tokens cannot hold it at all."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 8)
        self.mix = nn.Linear(8, 24)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.mix(self.embed(tokens)).unsqueeze(1).chunk(3, -1)
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)


def test_masked_attention_over_tokens_agrees_by_the_second_method() -> None:
    found = check(Causal(), torch.tensor([[1, 2, 3, 4, 5, 6]]), probes=6)
    fields = found.check("receptive_fields")
    assert any("second method" in note and "float64" in note for note in fields.notes)


class Branches(nn.Module):
    """Two inputs of different sizes, one of them wider than high."""

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        joined = F.avg_pool2d(left, 2) + right
        return joined, joined.argmax(1)


def test_every_input_is_poisoned() -> None:
    found = check(Branches(), {"left": (1, 2, 8, 12), "right": (1, 2, 4, 6)}, probes=12)
    notes = " ".join(found.check("receptive_fields").notes)
    for axis in ("left H", "left W", "right H", "right W"):
        assert axis in notes
    assert list(found.inputs) == ["left", "right"]


def test_what_torch_does_not_count_is_listed_with_a_second_witness() -> None:
    class Vector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(6))

        def forward(self, x: Tensor) -> Tensor:
            return torch.mv(x[0], self.weight)

    macs = check(Vector(), torch.ones(1, 5, 6)).check("macs")
    assert macs.compared == 1  # the op; of the total nothing is left to compare
    assert any("uncounted by torch" in note and "30 here" in note for note in macs.notes)


def test_a_deformable_convolution_is_held_against_a_plain_one() -> None:
    ops = pytest.importorskip("torchvision.ops")

    class Deformable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.where = nn.Conv2d(3, 18, 3, padding=1)
            self.conv = ops.DeformConv2d(3, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x, self.where(x))

    found = check(Deformable(), (3, 9, 9))
    assert found.check("macs").compared == 3
    assert any("upper bound" in note for note in found.check("receptive_fields").notes)


def test_training_mode_counts_the_backward_pass_and_names_the_fault_of_torch() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten())
    model.append(nn.Linear(8 * 25, 4))
    found = check(model, (2, 3, 9, 9), training=True)
    backward = found.check("backward_macs")
    assert backward.compared == 1
    assert any("ignores groups" in note for note in backward.notes)
    assert found.training


def test_batches_of_probes_and_single_probes_say_the_same() -> None:
    together = check("lenet5", probes=6)
    alone = check("lenet5", probes=6, batch=1)
    assert [item.agree for item in together.checks] == [item.agree for item in alone.checks]


def test_the_same_seed_chooses_the_same_rows() -> None:
    first, again, other = (check("lenet5", seed=seed).check("receptive_fields").notes for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_timing_has_every_module() -> None:
    found = verify("lenet5", device="cpu", probes=1, timing=True)
    assert found.timing is not None
    assert found.timing.forward_ms > 0
    assert {"C1", "F6"} <= {name for name, _ in found.timing.layers}
    assert found.timing.peak_tflops_per_s is None


# --- devices and the command line -------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_missing_cuda_device_is_one_line_and_auto_says_that_it_fell_back() -> None:
    with pytest.raises(LoadError, match="auto falls back"):
        verify("lenet5", device="cuda")
    result = CliRunner().invoke(cli, ["verify", "lenet5", "--device", "cuda:1"])
    assert result.exit_code == 3
    found = verify("lenet5", probes=1, timing=False)
    assert any("checked on the CPU" in notice for notice in found.notices)


def test_unknown_devices_and_saved_graphs_are_refused(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="expected auto, cuda"):
        verify("lenet5", device="gpu")
    from rfcalc import graph_json
    from rfcalc.api import layer_graph

    graph_json.save(layer_graph("lenet5"), tmp_path / "lenet5.json")
    with pytest.raises(UsageError, match="cannot be verified"):
        verify(str(tmp_path / "lenet5.json"))


def test_the_command_prints_the_documented_json() -> None:
    arguments = ["verify", "lenet5", "--device", "cpu", "--probes", "3", "--format", "json", "--no-timing"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["schema"] == "rfcalc-verify/1"
    assert data["agree"] is True
    assert (data["seed"], data["probes"]) == (0, 3)
    assert data["versions"]["torch"] == torch.__version__
    for item in data["checks"]:
        assert set(item) == {"what", "compared", "agree", "differences", "notes"}
        assert item["compared"] == item["agree"] > 0


@pytest.mark.parametrize("form", ["table", "markdown", "latex", "html", "csv"])
def test_every_format_has_the_verdict(form: str) -> None:
    text = render(verification_report(check("lenet5", probes=2)), form)
    assert "13" in text
    assert "lenet5" in text or form == "csv"
