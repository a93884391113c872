"""What the page computes of any unit and any pixel is what the analysis says."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from rfcalc.graph import InputInfo
from rfcalc.page.data import document
from rfcalc.page.regions import crowded_axes, hulls, position_axes, varying
from tests.page.javascript import evaluate, needs_node
from tests.page.nets import EXAMPLES, example

MODELS = (*EXAMPLES, "lenet5", "inception-naive")

#: Of every layer and input all regions of single units, by axis, over the axes of the output along which they differ.
ALL_REGIONS = """
const model = new Model(data.models[0], 0);
return model.layers.map((layer) => model.inputs.map((input) => {
  const field = model.fieldArrays(layer, input);
  if (!field) return null;
  const free = model.unitAxes(layer, input);
  const found = [];
  const walk = (depth, unit) => {
    if (depth === free.length) return found.push(regionOf(field, unit).map((span) => span ?? [1, 0]));
    for (let at = 0; at < free[depth].extent; at += 1) {
      unit[free[depth].axis] = at;
      walk(depth + 1, unit);
    }
  };
  walk(0, layer.shape.map(() => 0));
  return { axes: free.map((item) => item.axis), regions: found };
}));
"""

CHANGES = """
const model = new Model(data.models[0], 0);
return data.pixels.map(([number, pixel]) => {
  const input = model.inputs[number];
  return model.layers.map((layer) => model.changed(layer, input, pixel));
});
"""


@needs_node
@pytest.mark.parametrize("name", MODELS)
def test_every_unit_sees_what_the_analysis_says(name: str) -> None:
    analysis = example(name)
    found = evaluate(ALL_REGIONS, document([analysis]))

    for layer, row in zip(analysis.layers, found, strict=True):
        for source, got in zip(analysis.inputs, row, strict=True):
            arrays = analysis.regions(layer.name, source=source.name)
            nothing = not arrays or all((lo > hi).all() for lo, hi in arrays)
            assert nothing == (got is None), (layer.name, source.name)
            if got is not None:
                expected = _ends(arrays, layer.output_shape)
                assert np.array_equal(_spread(got, layer.output_shape, len(arrays)), expected), layer.name


def _ends(arrays: Any, shape: tuple[int, ...]) -> np.ndarray:
    """First and last index of every unit: axes of the output, then the input's axis, then the end."""
    return np.stack([np.stack([np.broadcast_to(end, shape) for end in pair], -1) for pair in arrays], -2)


def _spread(got: dict[str, Any], shape: tuple[int, ...], axes: int) -> np.ndarray:
    """The same of what the page computed, which leaves axes out along which all units see alike."""
    short = [extent if axis in got["axes"] else 1 for axis, extent in enumerate(shape)]
    return np.broadcast_to(np.array(got["regions"]).reshape(*short, axes, 2), (*shape, axes, 2))


@needs_node
@pytest.mark.parametrize("name", ["branches", "up", "two", "volume", "lenet5", "dilated"])
def test_a_pixel_changes_what_the_analysis_says(name: str) -> None:
    """Hulls of the positions whose regions hold the pixel; these models leave no gap that would make them larger."""
    analysis = example(name)
    pixels = []
    for number, source in enumerate(analysis.inputs):
        extents = [source.shape[axis] for axis in source.axes.values()]
        corners = [(0, extent // 2, extent - 1) for extent in extents]
        pixels += [(number, list(pixel)) for pixel in itertools.product(*corners)]

    found = evaluate(CHANGES, {**document([analysis]), "pixels": pixels})

    for (number, pixel), row in zip(pixels, found, strict=True):
        source = analysis.inputs[number]
        for layer, got in zip(analysis.with_affects(analysis.layers, pixel, source=source.name), row, strict=True):
            expected = layer.receptive_fields[source.name].affects or ()
            seen = got["hull"] if got else [None] * len(layer.output_shape)
            where = (layer.name, source.name, pixel)
            assert (got is None) == (None in expected), where
            places = [span for span in seen if span is not None]
            assert all(list(span) in places for span in expected if span and got and any(seen)), where


@needs_node
def test_a_unit_of_all_channels_sees_the_hull_of_them() -> None:
    """A 3x3 and a 1x1 convolution side by side: channel 5 is of the second."""
    found = evaluate(
        """
        const model = new Model(data.models[0], 0);
        const layer = model.layers[model.byName.get("cat")];
        const [input] = model.inputs;
        const field = model.fieldArrays(layer, input);
        return [regionOf(field, [0, null, 5, 5]), regionOf(field, [0, 5, 5, 5]), model.unitAxes(layer, input)];
        """,
        document([example("branches")]),
    )

    assert found[0] == [[4, 6], [4, 6]]
    assert found[1] == [[5, 5], [5, 5]]
    assert [(item["axis"], item["label"], item["place"]) for item in found[2]] == [
        (1, "axis 1", False),
        (2, "H", True),
        (3, "W", True),
    ]


@needs_node
def test_windows_reach_over_the_border_and_end_where_none_is_known() -> None:
    """LeNet-5: conv 5x5, pool 2x2, conv 5x5 have size 14, stride 2, start 0. Behind an upsampling sizes vary."""
    window = """
    const model = new Model(data.models[0], 0);
    const layer = model.layers[model.byName.get(data.layer)];
    return model.windowOf(layer, model.inputs[0], data.unit);
    """
    lenet = document([example("lenet5")])
    up = document([example("up")])
    wide = document([example("volume")])

    assert evaluate(window, {**lenet, "layer": "C3", "unit": [0, None, 0, 9]}) == [[0, 13], [18, 31]]
    assert evaluate(window, {**up, "layer": "out", "unit": [0, None, 0, 0]}) == [None, None]
    assert evaluate(window, {**wide, "layer": "step0", "unit": [0, None, 0, 0, 7]}) == [[-1, 1], [-1, 1], [6, 8]]


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([(1, 64, 400, 1), (1, 64, 1, 400)], []),
        ([(64, 8, 400, 400)], [3]),
        ([(1, 700, 700, 1), (1, 700, 1, 1)], [2]),
        ([(900, 900, 900)], [1, 2]),
    ],
)
def test_only_axes_of_huge_arrays_are_taken_together(shapes: list[tuple[int, ...]], expected: list[int]) -> None:
    assert crowded_axes(shapes) == expected


def test_hulls_leave_out_units_that_see_nothing() -> None:
    lo, hi = np.array([[4, 7, 9], [1, 1, 1]]), np.array([[5, 6, 9], [0, 0, 0]])

    first, last = hulls(lo, hi, [1])

    assert (first.tolist(), last.tolist()) == ([[4], [1]], [[9], [0]])
    assert [end.tolist() for end in hulls(lo, hi, [])] == [[[4, 1, 9], [1, 1, 1]], [[5, 0, 9], [0, 0, 0]]]


def test_axes_along_which_all_is_alike_are_left_out() -> None:
    lo = np.array([[[0, 0], [2, 2]], [[0, 0], [2, 2]]])

    first, last = varying(lo, lo + 3)

    assert (first.tolist(), last.tolist()) == ([[[0], [2]]], [[[3], [5]]])
    assert varying(lo, lo + np.arange(2))[0].shape == (1, 2, 2), "the last index differs along the last axis"
    bow = np.array([[0, 1, 0]])
    assert varying(bow, bow)[0].shape == (1, 3), "the ends are alike, the middle is not"


@pytest.mark.parametrize(
    ("shape", "axes", "extents", "expected"),
    [
        ((1, 3, 9, 9), {"H": 2, "W": 3}, {"H": (1, 1, 9, 1), "W": (1, 1, 1, 9)}, [2, 3]),
        ((1, 3, 9, 9), {"H": 2, "W": 3}, {"H": (1, 9, 1, 1), "W": (1, 1, 9, 1)}, [1, 2]),
        ((1, 3, 9, 9), {"H": 2, "W": 3}, {"H": (1, 9, 1), "W": (1, 9, 1)}, [1]),
        ((1, 3, 9, 9), {"H": 2, "W": 3}, {"H": (1, 6, 9, 1), "W": (1, 6, 1, 9)}, [2, 3]),
        ((1, 3, 9), {"L": 2}, {"L": (1, 6, 9)}, [2]),
        ((1, 3, 9), {"L": 2}, {"L": (1, 1, 1)}, []),
        ((1, 3), {}, {}, []),
    ],
    ids=["picture", "channels last", "tokens", "concatenation", "concatenation of signals", "all alike", "no axes"],
)
def test_positions_are_told_from_channels(
    shape: tuple[int, ...], axes: dict[str, int], extents: dict[str, tuple[int, ...]], expected: list[int]
) -> None:
    source = InputInfo("input", 0, shape, "float32", axes)

    assert position_axes(source, {name: (np.zeros(one), np.zeros(one)) for name, one in extents.items()}) == expected


@needs_node
def test_modules_that_hold_one_thing_are_no_boxes_of_their_own() -> None:
    """What shows with all modules closed, and with all open: boxes, frames and edges."""
    show = """
    const layer = (at, name, group, inputs) => ({ at, name, group, inputs });
    const layers = [
      layer(0, "input", [], []), layer(1, "body.0.conv", ["body", "0"], [0]), layer(2, "body.1.a", ["body", "1"], [1]),
      layer(3, "body.1.b", ["body", "1"], [2, 0]), layer(4, "head.fc", ["head"], [3]),
    ];
    const model = { layers, tree: moduleTree(layers) };
    const sight = (most) => {
      const found = folded(model, openUpTo(model.tree, most));
      const names = (nodes) => nodes.map((node) => node.name);
      return [names(found.nodes), names(found.frames), found.edges.map(({ from, to }) => `${from.name}>${to.name}`)];
    };
    const lonely = moduleTree([layer(0, "net.a", ["net"], [])]);
    return [sight(0), sight(5), sight(99), [lonely.name, lonely.children.map((one) => one.name)]];
    """
    closed, some, all_open, lonely = evaluate(show, None)

    assert lonely == ["", ["net.a"]]
    assert closed == [["input", "body", "head.fc"], [], ["input>body", "body>head.fc"]]
    assert some[:2] == [["input", "0.conv", "1", "head.fc"], ["body"]]
    assert all_open == [
        ["input", "0.conv", "a", "b", "head.fc"],
        ["body", "1"],
        ["input>0.conv", "0.conv>a", "a>b", "input>b", "b>head.fc"],
    ]
