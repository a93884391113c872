"""Terms add up, on networks drawn at random; and what a tally says of itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from rfcalc import graph_json
from rfcalc.api import layer_graph
from rfcalc.conventions import CONVENTIONS, count, explain, lookup
from rfcalc.errors import UsageError
from rfcalc.graph import LayerGraph
from tests.conventions.nets import NETS
from tests.conventions.test_numbers import graph
from tests.randomnets.draw import draw

ROOT = Path(__file__).parents[2]


def check(traced: LayerGraph) -> None:
    """Every tool's terms lead from rfcalc's number to the sum of what the tool's rules count."""
    own = sum(node.macs or 0 for node in traced)
    for tally in explain(traced).tallies:
        assert tally.base == own or tally.unit != "multiply-adds"
        assert tally.base + sum(term.amount for term in tally.terms) == tally.total, tally.tool
        assert tally.total >= 0
        for term in tally.terms:
            assert term.amount == sum(part.amount for part in term.parts)
            assert term.label, f"{tally.tool} counts what no label explains: {term}"
            assert 0 < term.layers <= len(term.parts)


@pytest.mark.parametrize("seed", range(60))
def test_terms_add_up_on_random_networks(seed: int) -> None:
    network, inputs = draw(Random(seed))

    check(layer_graph(network, tuple(inputs)))


@pytest.mark.parametrize("name", NETS)
def test_terms_add_up(name: str) -> None:
    check(graph(f"net:{name}"))


def test_a_saved_graph_explains_the_same_without_torch(tmp_path: Path) -> None:
    traced = graph("net:multihead")
    graph_json.save(traced, tmp_path / "net.json")
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from rfcalc.graph_json import load\nfrom rfcalc.conventions import explain\n"
        f"print([tally.total for tally in explain(load(Path({str(tmp_path / 'net.json')!r}))).tallies])\n"
        "assert 'torch' not in sys.modules"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str([tally.total for tally in explain(traced).tallies])


def test_an_unknown_tool_gets_the_nearest_names() -> None:
    with pytest.raises(UsageError, match="unknown tool 'ptflop'; nearest: ptflops, ptflops-aten"):
        lookup("ptflop")
    with pytest.raises(UsageError, match="known: fvcore, timm, torchinfo"):
        count(layer_graph("3x3:1-1"), "xyz")


def test_tools_without_a_number_say_why() -> None:
    two = layer_graph("3x3:3-4", (2, 3, 8, 8))

    assert "IndexError" in count(graph("net:vector"), "fvcore").refused
    assert "batch of 1" in count(two, "ptflops").refused
    assert count(two, "ptflops").to_dict()["total"] is None
    assert not count(two, "thop").refused


def test_every_convention_says_how_it_is_run_and_in_what_unit() -> None:
    for convention in CONVENTIONS.values():
        assert convention.call
        assert convention.version
        assert convention.prints
        assert (convention.factor == 2) == ("2 for each multiply-add" in convention.prints)


def test_products_missed_without_a_name_are_a_fault_too() -> None:
    (term,) = count(graph("net:bilinear"), "deepspeed").terms

    assert (term.amount, bool(term.fault)) == (-60, True)
