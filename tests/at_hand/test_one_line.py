"""One line of Python: what results print, how they behave as sequences, and what torchinfo's users type."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rfcalc
from rfcalc.errors import UsageError


@pytest.fixture(scope="module")
def found() -> rfcalc.Analysis:
    # Layers 2 to 7 of the table are called 0 to 5.
    return rfcalc.analyze(nn.Sequential(*[nn.Conv2d(3, 3, 3, padding=1) for _ in range(6)]), (3, 8, 8))


def test_an_analysis_prints_as_the_table_of_the_command_line(found):
    lines = str(found).splitlines()

    assert lines[0] == "Sequential: input 1x3x8x8 (batch 1)"
    assert lines[2].split() == ["#", "layer", "kind", "output", "field", "stride", "start", "params", "multiply-adds",
                                "share"]  # fmt: skip
    assert lines[5].split() == ["2", "0", "conv", "1x3x8x8", "3x3", "1x1", "-1,-1", "84", "5,184", "16.7", "%"]
    assert lines[-4] == "status         complete: every op is counted or declared free"
    assert repr(found).startswith("<Analysis of Sequential on input 1x3x8x8: 7 layers, 504 parameters")


def test_an_analysis_is_a_sequence_of_its_layers(found):
    assert len(found) == 7
    assert [layer.name for layer in found] == ["input", "0", "1", "2", "3", "4", "5"]
    assert found[1].name == "input"
    assert found[-1].name == "5"
    assert [layer.index for layer in found[2:5]] == [2, 3, 4]
    assert [layer.index for layer in found[-2:]] == [6, 7]
    assert [layer.index for layer in found[:3]] == [1, 2]
    assert "5" in found
    assert found[3] in found
    assert 7 in found
    assert 8 not in found
    assert "6" not in found
    for wrong in (0, 8, -8):
        with pytest.raises(IndexError, match=r"Sequential has layers 1 \(the input\) to 7"):
            found[wrong]


def test_a_string_is_a_name_before_it_is_a_number(found):
    assert found["5"].index == 7
    assert found[5].name == "3"
    assert found["6"].index == 6  # nothing is called 6
    assert found.receptive_field("5").size == (13, 13)
    assert found.receptive_field(5).size == (9, 9)
    assert found.receptive_field("5", of="3").size == (5, 5)
    assert found.receptive_field(7, of=5).size == (5, 5)
    with pytest.raises(KeyError):
        found["9"]


def test_layers_totals_and_fields_print_and_draw(found):
    shown = {
        "table": found.layers,
        "block": found["0"],
        "totals": found.totals,
        "field": found["0"].receptive_field,
        "rows": found[2:4],
    }
    first = {name: str(value).splitlines()[0] for name, value in shown.items()}

    assert first == {
        "table": "7 layers",
        "block": "layer 2: 0 (conv, Conv2d)",
        "totals": "whole model",
        "field": "receptive field in input",
        "rows": "2 layers",
    }
    assert "multiply-adds  31,104" in str(found.totals)
    assert "field in input  3x3" in str(found["0"].receptive_field)
    for name, value in shown.items():
        assert value._repr_html_().startswith(f"<h1>{first[name]}</h1>")
    assert found._repr_html_().count("<svg") == 1


class TestSummary:
    """`rfcalc.summary` takes what `torchinfo.summary` takes."""

    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Flatten(), nn.Linear(4 * 36, 2))

    def test_it_prints_and_gives_back_the_numbers(self, capsys):
        found = rfcalc.summary(self.model, input_size=(1, 3, 8, 8))

        assert capsys.readouterr().out == f"{found}\n"
        assert found.total_params == found.trainable_params == 402
        assert found.total_mult_adds == 36 * 27 * 4 + 288
        assert found.total_param_bytes == 1608

    @pytest.mark.parametrize(
        "asked",
        [
            {"input_size": (3, 8, 8), "batch_dim": 0},
            {"input_size": [1, 3, 8, 8], "device": "cpu", "cache_forward_pass": True, "col_width": 16},
            {"input_data": torch.zeros(1, 3, 8, 8)},
            {"input_size": (1, 3, 8, 8), "dtypes": [torch.float32], "row_settings": ["var_names"]},
        ],
    )
    def test_inputs_in_every_form(self, asked, capsys):
        assert rfcalc.summary(self.model, **asked, verbose=0).total_mult_adds == 36 * 27 * 4 + 288
        assert capsys.readouterr().out == ""

    def test_columns_by_torchinfos_names_and_modules_to_a_depth(self):
        names = ("input_size", "output_size", "num_params", "params_percent", "kernel_size", "mult_adds", "trainable")
        found = rfcalc.summary(self.model, (3, 8, 8), col_names=names, depth=1, verbose=0)

        header, _, *rows = str(found).splitlines()[2:7]
        assert header.split() == ["#", "layer", "kind", "input", "output", "params", "of", "params", "settings",
                                  "multiply-adds", "trainable"]  # fmt: skip
        assert [row.split()[:2] for row in rows[:2]] == [["1", "input"], ["0", "module"]]
        assert found._repr_html_().startswith("<h1>Sequential")

    def test_training_only_where_it_is_asked_for(self):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)).train()
        sizes = {}
        for mode in ("eval", "same", "train"):
            sizes[mode] = rfcalc.summary(model, (2, 3, 16, 16), mode=mode, verbose=0).analysis["2"].receptive_field
        assert [field.whole_input for field in sizes.values()] == [False, True, True]

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            ({"input_size": (1,), "input_data": torch.zeros(1)}, "got both"),
            ({"input_size": (3, 8, 8), "mode": "test"}, "one of eval, train and same"),
            ({"input_size": (3, 8, 8), "col_names": ["params_percnt"]}, "nearest: params_percent"),
            ({"input_size": (3, 8, 8), "dtypes": [torch.half, torch.half]}, "2 dtypes for 1 inputs"),
            ({"input_size": (3, 8, 8), "depth": 0}, "at least 1 part"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, asked, said):
        with pytest.raises(UsageError, match=said):
            rfcalc.summary(self.model, **asked, verbose=0)


def test_results_become_data_frames(found, monkeypatch):
    class Pandas:
        DataFrame = staticmethod(list)

    monkeypatch.setitem(__import__("sys").modules, "pandas", Pandas)
    rows = found.to_dataframe()
    assert [row["name"] for row in rows] == ["input", "0", "1", "2", "3", "4", "5"]
    assert rows[1]["size_H"] == 3
    compared = rfcalc.compare({"one": found, "two": found}).to_dataframe()
    assert [(row["model"], row["macs"]) for row in compared] == [("one", 31104), ("two", 31104)]
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        found.to_dataframe()
