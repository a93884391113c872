"""Files that are no graph, and graphs that say what cannot be: one line each, and no more read than is needed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rfcalc import graph, graph_json
from rfcalc.api import layer_graph
from rfcalc.errors import LoadError
from tests.sources.test_errors import refused


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", [(), ("trace",), ("ops", "--missing")])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is no rfcalc graph: not valid JSON"),
        ('{"schema": "rfcalc-graph/1"', "not valid JSON"),
        ('{"schema": "rfcalc-graph/1", "x": NaN}', "NaN is no number of JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"schema": "rfcalc-graph/2"}', "found 'rfcalc-graph/2'; a newer rfcalc saved it: install that, or trace"),
        ('{"schema": "rfcalc/1"}', "it is a report, what was printed of a graph; save one with rfcalc trace MODEL"),
        ('{"schema": "%s"}' % ("x" * 1000), "found 'xxx"),
        ("{}", "expected schema 'rfcalc-graph/1', found None; save one with rfcalc trace MODEL -o graph.json"),
        ('{"schema": "rfcalc-graph/1"}', "is damaged: KeyError: 'nodes'"),
    ],
)
def test_files_that_are_no_graph(here: Path, command: tuple[str, ...], content: str, says: str) -> None:
    (here / "graph.json").write_text(content, encoding="utf-8")

    line = refused(3, *command, "graph.json")

    assert says in line
    assert line.startswith("graph.json is")
    assert len(line) < 300


def test_a_graph_is_not_verified(here: Path) -> None:
    graph_json.save(layer_graph("3x3"), here / "graph.json")

    assert "a saved graph cannot be verified: it has nothing to run" in refused(2, "verify", "graph.json")


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (b'{"annotations": [', "found 'none at its beginning'; save one with rfcalc trace MODEL"),
        (b'{"schema": "rfcalc/1", "layers": [', "found 'rfcalc/1'; it is a report"),
        (b'{"schema": "rfcalc-graph/1", "nodes": [', "has 104,857,600 bytes, a saved graph at most 67,108,864"),
    ],
)
def test_a_large_file_is_not_read(here: Path, start: bytes, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred megabytes of another JSON are refused by their first thousand bytes or by their number."""
    with (here / "graph.json").open("wb") as file:
        file.write(start)
        file.truncate(100 << 20)
    taken: list[int] = []

    class Counting(io.FileIO):
        """A file that notes how much is read of it."""

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size) or b""
            taken.append(len(data))
            return data

    monkeypatch.setattr(graph_json, "opened", Counting)

    with pytest.raises(LoadError) as caught:
        graph_json.load(here / "graph.json")

    assert says in str(caught.value)
    assert 0 < sum(taken) <= 4096


@pytest.fixture(scope="module")
def saved() -> dict[str, Any]:
    """The data of a graph with steps of every common kind."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.up = nn.Conv2d(2, 4, 3, 2, 1), nn.ConvTranspose2d(4, 4, 2, 2)
            self.linear = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = nn.functional.interpolate(self.up(self.conv(x)), scale_factor=2, mode="bilinear")
            x = nn.functional.pad(x, (1, 1, 1, 1), mode="reflect").flip(2)
            x = torch.cat([x[:, :2], x[:, 2:].roll(1, 2)], 1).flatten(2).transpose(1, 2)
            x = self.linear(x[:, [1, 0, *range(2, 196)]])
            return nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True).cumsum(1)

    return dict(graph_json.to_json(layer_graph(Net(), (2, 6, 6))))


#: For each field of a node, what it must not be.
WRONG: dict[str, list[Any]] = {
    "id": ["x", None, 1.5, [], True],
    "op": [3, None, []],
    "name": [3, None],
    "kind": [3, None],
    "index": ["x", 1.5, []],
    "scope": [3, None],
    "module": [3, []],
    "inputs": [3, "x", [3], [["x", 0]], [[0, 0, 0]], [[99, 0]], [[0, 99]], [[-1, 0]]],
    "outputs": [3, [], [[3, "float32"]], [[["x"], "float32"]], [[[1.5], "float32"]], [[[-1], "float32"]], [[[1], 3]]],
    "reads": [3, [], [[["x", []]]], [[[99, []]]], [[[0, [["none"]]]]], [[[0, [[]]]]], [[[0, [["reduce", ["x"]]]]]]],
    "params": [3, [3]],
    "macs": ["x", 1.5, []],
    "flops": [3, {"x": "y"}, {"x": 1.5}],
    "formula": [3],
    "attrs": [3, []],
    "inexact": [3],
    "masked": ["x", 1],
    "leans": [3, [3]],
    "notes": [3, [3]],
    "owner": ["x", None, 99],
    "call": ["x", None],
    "function": [3],
    "closed": ["x", 1.5, None],
    "closing": [3],
    "frozen": ["x", 1],
    "again": ["x", 1.5, None],
    "sure": [3, ["x"], [1.5], [99], [-1]],
}


@pytest.mark.parametrize("key", WRONG)
def test_wrong_types_in_every_field(key: str, saved: dict[str, Any]) -> None:
    for value in WRONG[key]:
        data = json.loads(json.dumps(saved))
        data["nodes"][2][key] = value
        with pytest.raises(LoadError, match="graph is damaged: ") as caught:
            graph_json.from_json(data)
        assert "\n" not in str(caught.value)


def test_every_field_of_a_node_is_tried() -> None:
    kept_apart = {"face", "place"}  # as index: a number or nothing; places have their own test

    assert set(WRONG) | kept_apart == set(graph.Node.__dataclass_fields__)


def test_reads_that_cannot_be_made(saved: dict[str, Any]) -> None:
    """Every number in every step, made larger or smaller than any step of this graph allows."""
    steps = [
        (node, output, read, step)
        for node, row in enumerate(saved["nodes"])
        for output, reads in enumerate(row["reads"])
        for read, (_, steps) in enumerate(reads)
        for step in range(len(steps))
    ]
    kinds = {saved["nodes"][n]["reads"][o][r][1][s][0] for n, o, r, s in steps}
    assert {"window", "transposed", "spans", "reduce", "reshape", "permute", "slice", "pad", "place", "take"} <= kinds
    for node, output, read, step in steps:
        for wrong in (-(10**6), 10**6):
            data = json.loads(json.dumps(saved))
            changed = data["nodes"][node]["reads"][output][read][1][step]
            if isinstance(changed[1], int):
                changed[1] = wrong
            else:
                changed[1] = [wrong]
            with pytest.raises(LoadError, match="graph is damaged: "):
                graph_json.from_json(data)


def test_reads_that_end_in_another_shape(saved: dict[str, Any]) -> None:
    data = json.loads(json.dumps(saved))
    data["nodes"][-1]["outputs"][0][0][-1] += 1

    with pytest.raises(LoadError, match=r"reads \[1, 196, 4\] for an output of \[1, 196, 5\]"):
        graph_json.from_json(data)
