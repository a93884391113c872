"""Two models layer by layer."""

from __future__ import annotations

import rfcalc


def test_what_a_deeper_vgg_adds() -> None:
    found = rfcalc.compare(["vgg11", "vgg13"], per_layer=True).aligned

    assert found is not None
    assert found.models == ("vgg11", "vgg13")
    assert [layer.new.name for layer in found.layers if layer.how == "added"] == ["conv1_2", "conv2_2"]
    assert found.counts == {"same": 17, "added": 2}


def test_what_changed_is_told_by_settings_and_results() -> None:
    found = rfcalc.compare(["3x3:3-8 max2 3x3:8-8", "5x5:3-8 max2"], (3, 16, 16), per_layer=True)
    rows = {(layer.old or layer.new).name: layer for layer in found.aligned.layers}

    assert (rows["conv1"].how, rows["conv3"].how, rows["max2"].how) == ("changed", "removed", "same")
    assert rows["conv3"].new is None
    assert [(item.what, item.old, item.new) for item in rows["conv1"].differences] == [
        ("kernel", [3, 3], [5, 5]),
        ("padding", [1, 1], [2, 2]),
        ("params", 216, 600),
        ("macs", 216 * 256, 600 * 256),
    ]


def test_in_json() -> None:
    data = rfcalc.compare(["3x3 3x3", "3x3"], per_layer=True).to_dict()

    assert [(row["how"], row["old"]["name"]) for row in data["layers"]] == [
        ("same", "input"),
        ("same", "conv1"),
        ("removed", "conv2"),
    ]
    assert data["layers"][2]["new"] is None
    assert data["layers"][1]["differences"] == []
    assert "layers" not in rfcalc.compare(["3x3"]).to_dict()
