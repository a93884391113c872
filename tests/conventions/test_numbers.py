"""What each convention counts, against numbers that the tools themselves printed (``tests/data/peers.json``)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
import torch
from torch import nn
from torch.nn import functional

from rfcalc.api import layer_graph
from rfcalc.conventions import CONVENTIONS, count
from tests.conventions.nets import EXCEPTED, NETS, net
from tests.conventions.tools import TOOLS, quiet

RECORDED: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "peers.json").read_text(encoding="utf-8"))


@cache
def graph(spec: str) -> nx.DiGraph[int]:
    """The graph of a recorded model."""
    kind, _, name = spec.partition(":")
    with quiet():
        if kind == "net":
            model, x = net(name)
            return layer_graph(model, (x,))
        return layer_graph(spec, tuple(RECORDED["models"][spec]["input"]))


@pytest.mark.parametrize("spec", RECORDED["models"])
def test_recorded_numbers(spec: str) -> None:
    printed = RECORDED["models"][spec]["printed"]
    assert printed

    found = {tool: count(graph(spec), tool).printed for tool in printed if (spec, tool) not in EXCEPTED}

    assert found == {tool: number for tool, number in printed.items() if (spec, tool) not in EXCEPTED}


@pytest.mark.parametrize(("spec", "tool"), sorted(EXCEPTED))
def test_exceptions_are_named(spec: str, tool: str) -> None:
    assert RECORDED["models"][spec]["printed"][tool] == 0
    assert 'padding="same"' in count(graph(spec), tool).caveat


def test_every_net_and_every_tool_is_recorded() -> None:
    """timm, torchvision and Keras publish numbers; there is nothing to run."""
    assert {f"net:{name}" for name in NETS} <= set(RECORDED["models"])
    assert set(RECORDED["tools"]) == set(TOOLS) == set(CONVENTIONS) - {"timm", "torchvision", "keras", "xla"}
    for name, tool in RECORDED["tools"].items():
        assert tool["version"].startswith(TOOLS[name].versions)
        if TOOLS[name].package != "torch":
            assert TOOLS[name].versions == (CONVENTIONS[name].version,)


# --- resnet50, of which every number is known from its layers ---------------------------------------------------------

BASE = 4_089_184_256
NORMED, ACTIVATED = 11_113_984, 9_608_704  #: elements of all BatchNorm inputs and of all ReLU outputs
MAX_POOLED, AVERAGED = 802_816, 100_352  #: elements that the two poolings read

RESNET50 = {
    "fvcore": (4_111_512_576, 2 * NORMED + AVERAGED),
    "timm": (4_111_512_576, 2 * NORMED + AVERAGED),
    "torchinfo": (4_089_238_376, 53_120 + 1_000),
    "ptflops": (4_132_436_968, 1_000 + 2 * NORMED + 2 * (ACTIVATED + MAX_POOLED + AVERAGED)),
    "ptflops-aten": (4_089_185_256, 1_000),
    "thop": (4_133_742_592, 4 * NORMED + 102_400),
    "ultralytics-thop": (4_133_742_592, 4 * NORMED + 102_400),
    "calflops": (BASE, 0),
    "deepspeed": (BASE, 0),
    "torchprofile": (4_100_300_288, NORMED + 2_048),
    "flopcounter": (BASE, 0),
    "flopcounter-2.14": (BASE, 0),
    "flopcounter-2.13": (BASE, 0),
    "torchvision": (BASE, 0),
    "keras": (25_557_032 + 53_120, 53_120),
    # 3,948,251,904 multiply-adds do not meet padding; a window of the first pooling has 8 comparisons, a mean 49
    "xla": (7_913_338_856, 3_948_251_904 - 140_932_352 + 9_608_704 + 5_519_360 + 8 * 200_704 + 49 * 2_048 + 1_000),
}


@pytest.fixture(scope="module")
def resnet50() -> nx.DiGraph[int]:
    return layer_graph("resnet50")


@pytest.mark.parametrize("tool", CONVENTIONS)
def test_resnet50(resnet50: nx.DiGraph[int], tool: str) -> None:
    tally = count(resnet50, tool)

    assert (tally.total, tally.total - tally.base) == RESNET50[tool]
    assert tally.base == (25_557_032 if tool == "keras" else BASE)


def test_keras_resnet50_with_the_biases_of_its_convolutions(resnet50: nx.DiGraph[int]) -> None:
    """Keras publishes 25,636,712 for its ResNet50, whose 53 convolutions have a bias for each of 26,560 channels."""
    assert count(resnet50, "keras").total + 26_560 == 25_636_712


def test_faults_of_vit_b_16() -> None:
    """Attention is 715,327,488 multiply-adds of ViT-B/16, MultiheadAttention as a whole 6,292,703,232."""
    graph = layer_graph("torchvision:vit_b_16")
    missed = {
        "fvcore": -715_327_488,
        "ptflops-aten": -715_327_488,
        "calflops": -715_327_488,
        "flopcounter": -6_292_703_232,
    }

    for tool, amount in missed.items():
        (term,) = [term for term in count(graph, tool).terms if term.fault]
        assert (tool, term.amount) == (tool, amount)
        assert CONVENTIONS[tool].version.removeprefix("torch ") in term.fault
    assert not count(graph, "deepspeed").terms
    assert count(graph, "torchvision").total == 17_563_828_224
    assert count(graph, "flopcounter").total == 11_271_124_992


class Attention(nn.Module):
    """Attention as timm's, under its name: ptflops has a rule for the whole, which hides the linear layers inside."""

    __module__, __qualname__ = "timm.layers.attention", "Attention"

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).reshape(1, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
        return self.proj(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(1, 5, 8))


def test_ptflops_hides_what_is_inside_timms_attention() -> None:
    """2 heads of 4, 5 positions: 40 to scale the queries, 25 scores a head, two products of 100; 1,280 hidden."""
    tally = count(layer_graph(Attention(), (5, 8)), "ptflops")

    assert tally.total == 40 + 2 * (100 + 25 + 100)
    assert [term.amount for term in tally.terms if term.fault] == [-5 * 8 * (24 + 8)]


def test_ptflops_on_a_model_of_timm() -> None:
    """What ptflops 0.7.5 printed for timm 1.0.31's model."""
    pytest.importorskip("timm")

    assert count(layer_graph("timm:vit_tiny_patch16_224"), "ptflops").printed == 912_887_404


def test_transposed_convolution_by_output_size() -> None:
    """4 to 6 channels, 3x3, from 5x5 to 12x12, then 6 to 6, 2x2, to 24x24.

    By inputs 25 x 4 x 9 x 6 and 144 x 6 x 4 x 6, by outputs 144 x 6 x 9 x 4 and 576 x 6 x 4 x 6.
    """
    for tool in ("thop", "torchinfo", "torchprofile"):
        tally = count(graph("net:transposed"), tool)
        (fault,) = [term for term in tally.terms if term.fault]
        assert (tally.base, fault.amount) == (26_136, 31_104 + 82_944 - 26_136)
    assert count(graph("net:transposed"), "ultralytics-thop").total == 26_136
