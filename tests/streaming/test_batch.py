"""Whether examples of a batch are independent, and limits on streams and batches in a budget."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

from rfcalc.api import layer_graph
from rfcalc.cli import cli
from rfcalc.errors import UsageError
from rfcalc.streaming.batch import Mixture, mixtures
from tests.baseline.test_plugin import session, write


class Softmax(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.softmax(0)


class WrongReshape(nn.Module):
    """Puts time first by a view where a transposition was meant: rows of the batch hold several examples."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.rnn(x.transpose(0, 1))[0]  # (time, batch, 4)
        return found.reshape(x.shape[0], x.shape[1], 4)


class Right(WrongReshape):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rnn(x.transpose(0, 1))[0].transpose(0, 1)  # type: ignore[no-any-return]


def only(model: nn.Module, shape: tuple[int, ...], training: bool = False) -> Mixture | None:
    found = mixtures(layer_graph(model, torch.empty(shape, device="meta"), training=training))
    return found[0] if found else None


@pytest.mark.parametrize(
    ("model", "shape", "training"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), (5, 3, 8, 8), False),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)), (5, 3, 8, 8), True),
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (5, 10, 8), False),
        (nn.LSTM(3, 4, batch_first=True), (5, 10, 3), False),
        (Right(), (5, 10, 3), False),
    ],
)
def test_examples_that_are_independent(model: nn.Module, shape: tuple[int, ...], training: bool) -> None:
    assert only(model, shape, training) is None


@pytest.mark.parametrize(
    ("model", "shape", "training", "layer", "reason"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), (5, 3, 8, 8), True, "1", "statistics of the"),
        (
            nn.Sequential(nn.Linear(3, 4), Softmax(), nn.Linear(4, 2)),
            (5, 3),
            False,
            "1",
            "softmax over the batch",
        ),
        (WrongReshape(), (5, 10, 3), False, "view", "a reshape of 10x5x4 to 5x10x4 that takes places for examples"),
        (WrongReshape(), (2, 10, 3), False, "view", "a reshape of 10x2x4 to 2x10x4 that takes places for examples"),
        (nn.TransformerEncoderLayer(8, 2, 16), (5, 10, 8), False, "self_attn", "attention between examples"),
    ],
)
def test_examples_that_see_each_other(
    model: nn.Module, shape: tuple[int, ...], training: bool, layer: str, reason: str
) -> None:
    found = only(model, shape, training)

    assert found is not None
    assert found.layer.startswith(layer) or layer == "self_attn"
    assert found.reason.startswith(reason) or layer == "self_attn"
    assert found.first < found.last
    assert f"sees examples {found.first} to {found.last} of input" in found.witness


def test_a_single_example_tells_nothing() -> None:
    with pytest.raises(UsageError, match="batch of 1, of which none can see another"):
        mixtures(layer_graph(nn.Conv2d(3, 4, 3), (3, 8, 8)))


# --- budgets ----------------------------------------------------------------------------------------------------------

NET = """
import torch.nn as nn
class Net(nn.Sequential):
    def __init__(self, ahead=0):
        super().__init__(nn.ConstantPad1d((4 - ahead, ahead), 0), nn.Conv1d(1, 2, 5), nn.BatchNorm1d(2))
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("flow_net.py").write_text(NET, encoding="utf-8")
    return tmp_path


def checked(limits: str, *, ahead: int = 0, more: str = "") -> Result:
    text = "[tool.rfcalc]\nlock = false\n[[tool.rfcalc.models]]\nname = 'net'\n"
    text += f'model = "flow_net.py:Net(ahead={ahead})"\ninput = "1x64"\n{more}{limits}'
    Path("pyproject.toml").write_text(text, encoding="utf-8")
    return CliRunner(env={"COLUMNS": "300"}).invoke(cli, ["check"], prog_name="rfcalc")


def test_limits_that_hold(project: Path) -> None:
    done = checked('causal = true\nmax_lookahead = 0\nmax_latency = "1ms"\nrate = "16k"\nindependent = true\n')

    assert done.exit_code == 0, done.output
    assert "4 limits held" in done.output


def test_a_model_without_padding_is_causal_from_the_end(project: Path) -> None:
    Path("flow_net.py").write_text(NET.replace("(4 - ahead, ahead)", "(0, ahead)"), encoding="utf-8")

    assert checked("causal = true\n").exit_code == 1
    assert checked("causal = true\n", more='align = "end"\n').exit_code == 0


@pytest.mark.parametrize(
    ("limits", "ahead", "more", "said"),
    [
        ("causal = true\n", 1, "", "no: 1 (+1: padding on both sides (3 before, 1 after, by 0/constant_pad_nd; the"),
        ("max_lookahead = 1\n", 2, "", "2: 1 (+2: padding on both sides"),
        ('max_latency = "0.1ms"\n', 2, "rate = 16000\n", "3: 1 (+2"),
        (
            "independent = true\n",
            0,
            "training = true\n",
            "no: 2 (statistics of the whole batch): unit (0,0,0) of 2 sees",
        ),
        ("causal = 4\n", 1, "", "no: 1 (+1"),
        ("causal = true\n", 1, 'align = "end"\n', "no: 1 (+1"),
    ],
)
def test_a_red_check_names_the_layer(project: Path, limits: str, ahead: int, more: str, said: str) -> None:
    done = checked(limits, ahead=ahead, more=more)

    assert done.exit_code == 1, done.output
    assert said in done.output


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ("causal = false\n", "causal: cannot read False; write true, or a chunk"),
        ("independent = 1\n", "independent: cannot read 1; write true"),
        ('max_latency = "20m"\n', "max_latency: '20m'"),
        ('max_latency = "fast ms"\n', "max_latency: cannot read 'fast ms'; write a time like"),
        ('max_latency = "20ms"\n', "max_latency is a time, which needs the rate: add rate = 16000"),
        ('rate = "x"\n', "rate: cannot read 'x'"),
        ("rate = 0\n", "rate: 0 is no rate"),
        ("max_lookahead = -1\n", "max_lookahead"),
        ("time = 3\n", "time is a text, not 3"),
        ('align = "middle"\ncausal = true\n', "align start or end, not 'middle'"),
        ('time = "W"\ncausal = true\n', "no input has an axis 'W'"),
        ('stream = "b"\ncausal = true\n', "has no input 'b'"),
    ],
)
def test_a_budget_that_makes_no_sense(project: Path, limits: str, said: str) -> None:
    done = checked(limits)

    assert done.exit_code == 2, done.output
    assert said in done.output


def test_the_marker_of_pytest(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
import pytest
from torch import nn
@pytest.mark.rfcalc(causal=True, max_latency="1ms", rate=16000)
def test_it(rfcalc_check):
    rfcalc_check(nn.Conv1d(1, 1, 3, padding=1), (1, 64), name="net")
""",
    )
    done = session(tmp_path, "--rfcalc-update")

    assert done.returncode == 1, done.stdout
    assert "no: " in done.stdout
    assert "padding on both sides" in done.stdout
