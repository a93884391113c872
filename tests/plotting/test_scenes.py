"""What a drawing of fields shows: boxes and indices worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rfcalc
from rfcalc.analyses.analysis import Analysis
from rfcalc.errors import UsageError
from rfcalc.plotting.scenes import Bar, Bars, Box, Panel, field_scene
from rfcalc.plotting.through import Link, through_scene
from tests.plotting import nets


@pytest.fixture(scope="module")
def vgg16() -> Analysis:
    return rfcalc.analyze("vgg16")


def planes(analysis: Analysis, *layers: str, at: tuple[int, ...] | None = None) -> list[Panel]:
    return [panel for panel in field_scene(analysis, layers, at).panels if isinstance(panel, Panel)]


def bars(analysis: Analysis, *layers: str, at: tuple[int, ...] | None = None) -> list[Bars]:
    return [panel for panel in field_scene(analysis, layers, at).panels if isinstance(panel, Bars)]


def test_a_field_in_a_corner_is_cut_and_its_window_is_not(vgg16: Analysis) -> None:
    whole, close = planes(vgg16, "3", at=(0, 0))

    (mark,) = whole.marks
    assert mark.region == Box((0, 2), (0, 2))
    assert mark.window == Box((-2, 2), (-2, 2))
    assert mark.cells == ((-2, -1, 0, 1, 2), (-2, -1, 0, 1, 2))
    assert (whole.extents, whole.view, whole.cells, whole.picture) == (
        (224, 224),
        Box((-2, 223), (-2, 223)),
        False,
        True,
    )
    assert (close.view, close.cells, close.marks) == (Box((-3, 3), (-3, 3)), True, whole.marks)


def test_a_field_inside_has_no_other_window(vgg16: Analysis) -> None:
    (mark,) = planes(vgg16, "conv1_2", at=(10, 20))[0].marks

    assert (mark.region, mark.window) == (Box((8, 12), (18, 22)), None)


def test_the_last_spatial_layer_is_drawn_where_none_is_named(vgg16: Analysis) -> None:
    scene = field_scene(vgg16)

    # pool5: size 212, stride 32, start -90; its middle unit is 3,3
    assert scene.legend == ((0, "layer 19, pool5: 212x212; unit 3,3 sees 6..217 x 6..217"),)
    assert len(scene.panels) == 1  # too large to be shown closely


def test_other_layers_lie_within_the_deepest(vgg16: Analysis) -> None:
    (panel,) = planes(vgg16, "conv5_3", "conv3_3", at=(6, 4))

    # conv5_3: 196, stride 16, start -90: rows 6..201, columns -26..169, in the middle 103.5 and 71.5
    # conv3_3: 40, stride 4, start -18: unit u has its middle at 4u + 1.5, so that 25.5 and 17.5 lie nearest
    deep, shallow = panel.marks[1], panel.marks[0]
    assert (deep.label, deep.colour, deep.region, deep.window) == (
        "conv5_3",
        1,
        Box((6, 201), (0, 169)),
        Box((6, 201), (-26, 169)),
    )
    assert (shallow.label, shallow.colour, shallow.window) == ("conv3_3", 0, None)
    assert shallow.region == Box((86, 125), (54, 93))
    assert panel.view == Box((0, 223), (-26, 223))


@pytest.mark.parametrize(("corner", "nearest"), [(0, Box((0, 2), (0, 2))), (15, Box((13, 15), (13, 15)))])
def test_a_unit_that_does_not_exist_is_not_the_nearest(corner: int, nearest: Box) -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3, padding=2))  # 16, then 14, then 16
    (panel,) = planes(rfcalc.analyze(net, (1, 16, 16)), "2", "3", at=(corner, corner))

    assert panel.marks[0].region == nearest


def test_holes_of_dilation() -> None:
    (panel,) = planes(rfcalc.analyze("3x3d2 3x3d2", (1, 16, 16)), at=(8, 1))

    (mark,) = panel.marks
    assert mark.cells == ((4, 6, 8, 10, 12), (-3, -1, 1, 3, 5))
    assert (mark.region, mark.window) == (Box((4, 12), (1, 5)), Box((4, 12), (-3, 5)))
    assert mark.has_holes
    assert panel.cells


def test_one_hole_is_a_hole() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 2, dilation=2))
    (panel,) = planes(rfcalc.analyze(net, (1, 8, 8)), at=(1, 1))

    assert panel.marks[0].cells == ((1, 3), (1, 3))
    assert panel.marks[0].has_holes


def test_no_holes_without_dilation(vgg16: Analysis) -> None:
    assert not planes(vgg16, "3")[0].marks[0].has_holes


def test_phases_of_upsampling() -> None:
    (found,) = bars(rfcalc.analyze(nets.upsampled(), (1, 16, 16)), at=(8, 8))

    # unit u of 32 reads u - 1, u, u + 1 of the repeated, which are their halves in the input
    assert found.title == "input, H and W: 2 neighbouring units of 1"
    assert found.bars == (Bar("unit 8", 0, (3, 4), (3, 4), (3, 4)), Bar("unit 9", 0, (4, 5), (4, 5), (4, 5)))
    assert (found.view, found.extent, found.axis) == ((2, 6), 16, "H and W")


def test_phases_begin_earlier_at_the_end() -> None:
    (found,) = bars(rfcalc.analyze(nets.upsampled(), (1, 16, 16)), at=(31, 31))

    assert [(item.label, item.region, item.window) for item in found.bars] == [
        ("unit 30", (14, 15), (14, 15)),
        ("unit 31", (15, 15), (15, 16)),
    ]


def test_a_signal_is_drawn_as_bars() -> None:
    net = nn.Sequential(nn.Conv1d(1, 1, 2, dilation=1), nn.Conv1d(1, 1, 2, dilation=4))
    (found,) = bars(rfcalc.analyze(net, (1, 32)), "2", "3", at=(10,))

    deep = Bar("1", 1, (10, 15), (10, 15), (10, 11, 14, 15))
    assert found.bars == (Bar("0", 0, (12, 13), (12, 13), (12, 13)), deep)
    assert deep.has_holes
    assert (found.view, found.axis) == ((0, 31), "L")


def test_a_volume_is_drawn_as_three_slices() -> None:
    found = planes(
        rfcalc.analyze(nn.Sequential(nn.Conv3d(1, 1, (1, 3, 5), padding=(0, 1, 2))), (1, 8, 9, 10)), at=(4, 4, 4)
    )

    assert [panel.axes for panel in found] == [("D", "H"), ("D", "W"), ("H", "W")]
    assert [panel.marks[0].region for panel in found] == [
        Box((4, 4), (3, 5)),
        Box((4, 4), (2, 6)),
        Box((3, 5), (2, 6)),
    ]
    assert not any(panel.picture for panel in found)


def test_what_comes_in_through_the_whole_input_keeps_its_window() -> None:
    analysis = rfcalc.analyze(nets.Excited(), (1, 8, 8))
    (panel,) = planes(analysis, str(len(analysis.layers)), at=(2, 3))

    assert panel.marks[0].region == Box((0, 7), (0, 7))
    assert panel.marks[0].window == Box((1, 3), (2, 4))


def test_a_token_sees_its_patch() -> None:
    (panel,) = planes(rfcalc.analyze(nets.Tokens(), (3, 32, 32)), "head", at=(6,))

    assert panel.marks[0].region == Box((8, 15), (16, 23))  # 4 patches a row
    assert (panel.marks[0].window, panel.marks[0].cells) == (None, None)


def test_each_input_has_a_panel() -> None:
    analysis = rfcalc.analyze(nets.Two(), {"left": (1, 8, 8), "right": (1, 8, 8)})
    scene = field_scene(analysis, ["cat"], (4, 4))

    assert [(panel.title, panel.marks[0].region) for panel in scene.panels if isinstance(panel, Panel)] == [
        ("left", Box((4, 4), (4, 4))),
        ("right", Box((3, 5), (3, 5))),
    ]
    assert [line.rpartition(" of ")[2] for _, line in scene.legend] == ["left", "right"]


def test_an_input_that_is_not_seen_has_none() -> None:
    analysis = rfcalc.analyze(nets.Two(), {"left": (1, 8, 8), "right": (1, 8, 8)})

    assert [panel.title for panel in planes(analysis, "conv")] == ["right"]


def test_a_panel_shows_no_more_than_the_neighbourhood() -> None:
    (panel,) = planes(rfcalc.analyze(" ".join(["3x3d4"] * 16), (1, 8, 8)))

    assert panel.marks[0].window == Box((-60, 68), (-60, 68))
    assert panel.view == Box((-16, 23), (-16, 23))


#: Networks on 1x24x24 whose gradient is nowhere zero by chance, with positive weights.
LINEAR = {
    "dilated and strided": nn.Sequential(nn.Conv2d(1, 1, 3, padding=2, dilation=2), nn.Conv2d(1, 1, 2, 3, dilation=3)),
    "upsampled": nets.upsampled(),
    "transposed": nn.Sequential(nn.Conv2d(1, 1, 3, 2, 1), nn.ConvTranspose2d(1, 1, 3, 2), nn.Conv2d(1, 1, 3)),
    "skipped": nn.Sequential(nn.Conv2d(1, 1, 2, dilation=5), nn.AvgPool2d(2, 3)),
}


def rows_with_gradient(net: nn.Module, at: int) -> list[int]:
    """The rows of the input on which the unit (at, at) of the output really depends."""
    for parameter in net.parameters():
        nn.init.ones_(parameter)
    image = torch.ones(1, 1, 24, 24, requires_grad=True)
    net(image)[0, 0, at, at].backward()
    assert image.grad is not None
    return [row for row in range(24) if image.grad[0, 0, row].abs().sum()]


@pytest.mark.parametrize("name", LINEAR)
def test_boxes_and_cells_are_where_the_gradient_is(name: str) -> None:
    net = LINEAR[name]
    analysis = rfcalc.analyze(net, (1, 24, 24))
    last = analysis.layers[-1]
    for at in range(last.output_shape[2]):
        (mark,) = planes(analysis, str(last.index), at=(at, at))[0].marks
        rows = rows_with_gradient(net, at)
        assert mark.region is not None
        assert mark.region.rows == (rows[0], rows[-1])
        assert mark.cells is not None
        assert set(rows) <= set(mark.cells[0])
        if mark.window is None:
            assert tuple(rows) == mark.cells[0]


@pytest.mark.parametrize(
    ("layers", "at", "said"),
    [
        (("conv9",), None, "there is no layer 'conv9'"),
        (("23",), None, "there is no layer 23"),
        (("*",), None, "names 22 layers, and a drawing shows 8 at most"),
        (("3",), (224, 0), "is outside layer conv1_2"),
        (("3",), (1,), "--at needs 2 numbers"),
        (("conv1_1", "pool5"), (7, 0), "is outside layer pool5"),
    ],
)
def test_what_cannot_be_drawn(vgg16: Analysis, layers: tuple[str, ...], at: tuple[int, ...] | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        field_scene(vgg16, layers, at)


def test_a_unit_that_sees_nothing_is_drawn_without_a_box() -> None:
    net = nn.Sequential(nn.ConvTranspose2d(1, 1, 1, 3))  # only every third unit sees anything
    scene = field_scene(rfcalc.analyze(net, (1, 8, 8)), ["2"], (4, 4))

    (panel,) = scene.panels
    assert isinstance(panel, Panel)
    assert (panel.marks[0].region, panel.marks[0].window) == (None, None)
    assert scene.legend[0][1].endswith("unit 4,4 sees nothing x nothing")


def test_a_picture_lies_under_inputs_only(vgg16: Analysis) -> None:
    assert not any(panel.picture for panel in planes(vgg16.relative_to("conv4_3"), "conv5_3"))
    assert planes(vgg16.relative_to("conv4_3"), "conv5_3", at=(7, 7))[0].marks[0].region == Box((8, 21), (8, 21))


def test_without_axes_there_is_nothing_to_draw() -> None:
    with pytest.raises(UsageError, match=r"nothing to draw: .* no field along any axis"):
        field_scene(rfcalc.analyze(nn.Sequential(nn.Linear(4, 2)), (4,)))


# --- through ----------------------------------------------------------------------------------------------------------


def test_layer_3_through_layer_2(vgg16: Analysis) -> None:
    found = through_scene(vgg16, "3", "2", (112, 112))

    titles = [panel.title for panel in found.scene.panels]
    assert titles == ["layer 1, input\n5x5", "layer 2, conv1_1\n3x3", "layer 3, conv1_2\n1 unit"]
    assert [panel.marks[0].region for panel in found.scene.panels if isinstance(panel, Panel)] == [
        Box((110, 114), (110, 114)),
        Box((111, 113), (111, 113)),
        Box((112, 112), (112, 112)),
    ]
    assert found.links == (
        Link(1, Box((111, 111), (111, 111)), Box((110, 112), (110, 112)), 1),
        Link(2, Box((112, 112), (112, 112)), Box((111, 113), (111, 113)), 2),
    )
    assert found.scene.legend == (
        (1, "one unit of layer 2, conv1_1 reads 3x3 of layer 1, input"),
        (2, "one unit of layer 3, conv1_2 uses 3x3 of layer 2, conv1_1 and 5x5 of layer 1, input"),
    )


def test_through_at_a_border(vgg16: Analysis) -> None:
    found = through_scene(vgg16, "3", "2", (0, 223))
    first, second, own = (panel for panel in found.scene.panels if isinstance(panel, Panel))

    assert first.marks[0].window == Box((-2, 2), (221, 225))
    assert second.marks[0].region == Box((0, 1), (222, 223))
    assert own.view == Box((-1, 1), (222, 224))
    assert found.links[0] == Link(1, Box((0, 0), (222, 222)), Box((-1, 1), (221, 223)), 1)


def test_through_starts_at_the_first_input_that_is_seen() -> None:
    analysis = rfcalc.analyze(nets.Two(), {"left": (1, 8, 8), "right": (1, 8, 8)})

    with pytest.raises(UsageError, match="no such layer lies between left and cat"):
        through_scene(analysis, "cat", "conv")
    found = through_scene(analysis.relative_to("right"), "cat", "conv")
    assert [panel.title.partition("\n")[2] for panel in found.scene.panels] == ["3x3", "1x1", "1 unit"]


def test_all_layers_on_the_way() -> None:
    found = through_scene(rfcalc.analyze("3x3 3x3 max2/2 3x3"), "5", "*")

    # 3x3 of the pool, 6x6 of what it reads, then 2 more for each 3x3
    assert [panel.title.partition("\n")[2] for panel in found.scene.panels] == ["10x10", "8x8", "6x6", "3x3", "1 unit"]


def test_layers_whose_names_are_numbers() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 5))
    found = through_scene(rfcalc.analyze(net, (1, 16, 16)), "3", "2")

    titles = [panel.title for panel in found.scene.panels]
    assert titles == ["layer 1, input\n7x7", "layer 2, 0\n5x5", "layer 3, 1\n1 unit"]


def test_from_a_layer_instead_of_the_input(vgg16: Analysis) -> None:
    found = through_scene(vgg16.relative_to("conv1_1"), "4", "3")

    assert [panel.title.partition("\n")[2] for panel in found.scene.panels] == ["4x4", "2x2", "1 unit"]


@pytest.mark.parametrize(
    ("layer", "through", "said"),
    [
        ("3", "4", "no such layer lies between input and conv1_2"),
        ("3", "1", "no such layer lies between"),
        ("pool5", "conv*", "names 13 layers before pool5; a drawing shows 4 at most"),
        ("conv1_*", "1", "with --through it must name one"),
        ("fc8", "fc7", "--through draws planes"),
        ("3", "nothing", "there is no layer 'nothing'"),
    ],
)
def test_what_lies_on_no_way(vgg16: Analysis, layer: str, through: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        through_scene(vgg16, layer, through)
