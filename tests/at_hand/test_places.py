"""Each op knows the line of the model's code that called it."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import rfcalc
from rfcalc import graph_json
from rfcalc.tracing import modules, replay
from rfcalc.tracing.places import LIBRARY, NONE, OWN, rank_of


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)  # the call of the block
        return y + x  # the sum of the block


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = Block(), Block()

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        x = self.two(x)
        return nn.functional.avg_pool2d(x, 2)  # the pooling


def line(text: str) -> int:
    """The number of the only line of this file that ends with the text."""
    lines = Path(__file__).read_text().splitlines()
    (found,) = [number for number, one in enumerate(lines, 1) if one.endswith(f"# {text}")]
    return found


def test_an_op_knows_the_line_that_called_it_through_torchs_modules():
    replay.forget()
    graph = rfcalc.analyze(Net(), (3, 8, 8)).layer_graph

    here = str(Path(__file__))
    places = {record.name: record.place for record in graph}
    assert all(place is None or here.endswith(place.file) for place in places.values())
    lines = {name: place and place.line for name, place in places.items()}
    block = [line("the call of the block"), line("the call of the block"), line("the sum of the block")]
    # The second block's calls are replayed from the first one's: equal calls from the same lines.
    assert list(lines.values()) == [None, *block, *block, line("the pooling")]


def test_replayed_calls_from_another_line_have_that_line():
    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(x)
            return torch.relu(x)

    start = inspect.getsourcelines(Twice)[1]
    lines = [record.place.line for record in rfcalc.analyze(Twice(), (3, 8, 8)).layer_graph if record.place]
    assert lines == [start + 2, start + 3]


def test_places_are_saved_with_the_graph():
    graph = rfcalc.analyze(Net(), (3, 8, 8)).layer_graph
    again = graph_json.from_json(graph_json.to_json(graph))
    assert [record.place for record in again] == [record.place for record in graph]


def test_of_a_librarys_model_its_own_lines_unless_code_of_the_users_calls_it():
    models = pytest.importorskip("torchvision.models")

    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            with torch.device("meta"):
                self.body = models.alexnet().features

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)  # the whole body

    own = {record.place for record in rfcalc.analyze(Around(), (3, 64, 64)).layer_graph if record.place}
    assert {place.line for place in own} == {line("the whole body")}
    theirs = {record.place.file for record in rfcalc.analyze("torchvision:alexnet").layer_graph if record.place}
    assert theirs == {"torchvision/models/alexnet.py"}


@pytest.mark.parametrize(
    ("file", "rank"),
    [
        (inspect.getsourcefile(nn.Conv2d), NONE),
        (inspect.getsourcefile(inspect), NONE),
        ("<eval_with_key>.1", NONE),
        ("<ipython-input-3-abc>", OWN),
        ("/home/me/.venv/lib/python3.12/site-packages/timm/layers/norm.py", LIBRARY),
        ("/home/me/project/net.py", OWN),
    ],
)
def test_whose_file_it_is(file: str, rank: int):
    assert rank_of(file) == rank


class Counted(dict[str, int]):
    """Ranks that count how often they are asked."""

    asked = 0

    def __missing__(self, file: str) -> int:
        return rank_of(file)

    def __getitem__(self, file: str) -> int:
        Counted.asked += 1
        return super().__getitem__(file)


def test_a_line_is_found_in_the_nearest_frames_however_deep_a_module_lies(monkeypatch):
    monkeypatch.setattr(modules, "RANKS", Counted())
    asked = []
    for depth in (1, 12):
        Counted.asked = 0
        model: nn.Module = nn.Sequential(*[nn.Conv2d(3, 3, 3, padding=1) for _ in range(20)])
        for _ in range(depth):
            model = nn.Sequential(model)
        rfcalc.trace(model, (3, 16, 16))
        asked.append(Counted.asked)
    assert 20 <= asked[0] < 20 * 5  # two looks at each layer, of two frames each
    assert asked[1] - asked[0] <= 11 * 2  # for the calls of the modules around, and none for each layer within
