"""The conventions against the tools that are installed: equal to the unit, for every network.

The extra ``peers`` installs all of them but ultralytics-thop, which has a module's name in common with thop.
"""

from __future__ import annotations

from importlib.metadata import version

import pytest
import torch

from rfcalc.conventions import CONVENTIONS, count
from tests.conventions.nets import EXCEPTED, NETS, net
from tests.conventions.test_numbers import graph
from tests.conventions.tools import TOOLS, quiet

#: torchvision's models that differ in what tools count, and take the least time.
MODELS = ("squeezenet1_1", "mobilenet_v3_large", "shufflenet_v2_x1_0")


#: The tools that are here, in versions that their conventions describe.
HERE = [name for name, tool in TOOLS.items() if tool.fits]


@pytest.mark.parametrize("name", TOOLS)
def test_the_tool_is_here(name: str) -> None:
    """Says which tools the tests below do without."""
    if TOOLS[name].version is None:
        pytest.skip(f"{name} is not installed")
    if name not in HERE:
        pytest.skip(f"the rules are those of {name} {CONVENTIONS[name].version}, installed is {TOOLS[name].version}")


#: What ptflops' second backend sees of attention is for torch to say: before 2.14 its caveat holds for these.
BEFORE = {("attention_three_axes", "ptflops-aten")}
IS_BEFORE = tuple(map(int, version("torch").split(".")[:2])) < (2, 14)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("tool", HERE)
def test_small_networks(tool: str, name: str) -> None:
    tally = count(graph(f"net:{name}"), tool)
    if (f"net:{name}", tool) in EXCEPTED or "batch of 1" in tally.refused:
        pytest.skip(tally.refused or tally.caveat)
    model, x = net(name)
    if IS_BEFORE and (name, tool) in BEFORE:
        assert "before torch 2.14" in tally.caveat
        pytest.skip(tally.caveat)
    if tally.refused:
        with quiet(), pytest.raises(IndexError):
            TOOLS[tool].run(model, [x])
        return
    with quiet():
        printed = TOOLS[tool].run(model, [x])
    assert printed == tally.printed


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("tool", HERE)
def test_models_of_torchvision(tool: str, name: str) -> None:
    torchvision = pytest.importorskip("torchvision")
    with quiet():
        model = torchvision.models.get_model(name, weights=None).eval()
        printed = TOOLS[tool].run(model, [torch.rand(1, 3, 224, 224)])
    assert printed == count(graph(f"torchvision:{name}"), tool).printed
