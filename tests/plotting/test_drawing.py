"""What matplotlib makes of it: files that can be read, are the same every time, and leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import rfcalc
from rfcalc import plotting
from rfcalc.errors import UsageError
from rfcalc.plotting.canvas import COLOURS, words
from tests.plotting import nets

pytest.importorskip("matplotlib")

SVG = "{http://www.w3.org/2000/svg}"

#: Keyword arguments of `plotting.draw` for each kind, on a stack.
DRAWINGS = {
    "field": {"kind": "field", "layers": [3], "at": (0, 5)},
    "through": {"kind": "field", "layers": [3], "through": 2},
    "growth": {"kind": "growth"},
    "cost": {"kind": "cost"},
    "compare": {"kind": "compare"},
    "graph": {"kind": "graph"},
}


@pytest.fixture(scope="module")
def stack() -> rfcalc.analyses.analysis.Analysis:
    return rfcalc.analyze("3x3:3-3 3x3:3-3d2 max2/2", (3, 12, 12))


@pytest.mark.parametrize("name", DRAWINGS)
def test_svg_is_the_same_every_time(stack, name: str) -> None:
    first, second = (plotting.render(plotting.draw(stack, **DRAWINGS[name]), "svg") for _ in range(2))

    assert first == second
    root = ElementTree.fromstring(first)
    assert root.tag == f"{SVG}svg"
    assert len(list(root.iter(f"{SVG}path"))) > 10


@pytest.mark.parametrize(("format", "head"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_other_formats_are_the_same_every_time(stack, format: str, head: bytes) -> None:
    first, second = (plotting.render(plotting.draw(stack), format) for _ in range(2))

    assert first == second
    assert first.startswith(head)


def test_nothing_in_a_file_says_when_it_was_made(stack) -> None:
    for format in plotting.FORMATS:
        data = plotting.render(plotting.draw(stack), format)
        assert b"Date" not in data.replace(b"<dc:date", b"")
        assert b"dc:date" not in data


def test_a_program_keeps_its_settings(stack) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    matplotlib.rcParams["font.size"] = 31
    try:
        plotting.render(plotting.draw(stack), "png")
        assert matplotlib.rcParams["font.size"] == 31
    finally:
        matplotlib.rcParams["font.size"] = before["font.size"]
    assert dict(matplotlib.rcParams) == before


def test_settings_of_a_user_do_not_show(stack) -> None:
    import matplotlib

    plain = plotting.render(plotting.draw(stack), "svg")
    with matplotlib.rc_context({"font.size": 31, "font.family": "monospace", "svg.fonttype": "none"}):
        assert plotting.render(plotting.draw(stack), "svg") == plain


@pytest.mark.parametrize("kind", ["field", "growth", "cost", "graph"])
def test_odd_names_are_only_text(kind: str) -> None:
    analysis = rfcalc.analyze(nets.Named(), (1, 12, 12))
    data = plotting.render(plotting.draw(analysis, kind, layers=range(2, 9) if kind == "field" else ()), "svg")

    root = ElementTree.fromstring(data)
    tags = {element.tag.removeprefix(SVG) for element in root.iter() if isinstance(element.tag, str)}
    assert tags & {"script", "img", "image", "foreignObject"} == set()
    assert not any(name.startswith("on") for element in root.iter() for name in element.attrib)


def test_words_are_no_formulas_and_do_not_vanish() -> None:
    assert words("$x^2$") == r"\$x^2\$"
    assert words("_hidden") == " _hidden"
    assert words("a" * 61) == "a" * 47 + "..." + "a" * 10
    assert words("a" * 60) == "a" * 60


def test_colours_differ() -> None:
    assert len(set(COLOURS)) == len(COLOURS) == 8


def test_a_picture_lies_under_the_field(stack, tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "red.png"
    Image.new("RGB", (24, 24), (255, 0, 0)).save(path)
    figure = plotting.draw(stack, image=str(path))

    (image,) = figure.axes[0].images
    assert image.get_array().shape == (12, 12, 3)
    assert image.get_array()[0, 0].tolist() == [255, 0, 0]
    assert list(image.get_extent()) == [-0.5, 11.5, 11.5, -0.5]


def test_a_picture_keeps_its_side_up(tmp_path: Path) -> None:
    from PIL import Image

    picture = Image.new("RGB", (3, 2))
    picture.putpixel((2, 0), (0, 255, 0))
    picture.save(tmp_path / "p.png")
    found = plotting.open_picture(str(tmp_path / "p.png"))

    assert found.size == (2, 3)
    assert found.fitted(2, 3)[0, 2].tolist() == [0, 255, 0]
    assert found.fitted(4, 6).shape == (4, 6, 3)


def test_the_field_is_drawn_where_it_is(stack) -> None:
    from matplotlib.patches import Rectangle

    figure = plotting.draw(stack, layers=["conv2"], at=(0, 5))
    boxes = [patch.get_bbox().extents.tolist() for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]

    assert [1.5, -0.5, 8.5, 3.5] in boxes  # columns 2 to 8, rows 0 to 3
    assert [1.5, -3.5, 8.5, 3.5] in boxes  # the window: rows -3 to 3


def test_costs_are_drawn_as_high_as_they_are(stack) -> None:
    figure = plotting.draw(stack, "cost")

    assert [bar.get_height() for bar in figure.axes[0].patches] == [0, 81, 81, 0]
    assert [bar.get_height() for bar in figure.axes[1].patches] == [0, 81 * 144, 81 * 144, 0]


def test_an_unknown_cost_is_drawn_as_a_question_mark(odd: str) -> None:
    figure = plotting.draw(rfcalc.analyze(odd), "cost")

    assert [text.get_text() for text in figure.axes[1].texts] == ["?"]
    assert "at least" in figure.axes[1].get_title(loc="left")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"kind": "pie"}, "there is no kind 'pie'"),
        ({"layers": [2, 3], "through": 2}, "is that of one layer, got 2"),
        ({"layers": [3], "through": 2, "image": "x.png"}, "leave image or through out"),
        ({"image": "no.png"}, "--image no.png: cannot read it: No such file"),
    ],
)
def test_drawings_that_make_no_sense(stack, arguments: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plotting.draw(stack, **arguments)


def test_one_model_or_several(stack) -> None:
    with pytest.raises(UsageError, match="kind cost shows one model, got 2"):
        plotting.draw([stack, stack], "cost")
    with pytest.raises(UsageError, match="kind growth shows one model, got 0"):
        plotting.draw([], "growth")
    assert len(plotting.draw([stack, stack], "growth").axes) == 1


def test_a_graph_too_long_for_a_picture() -> None:
    with pytest.raises(UsageError, match="fold modules with --depth"):
        plotting.draw(rfcalc.analyze(" ".join(["1x1"] * 500), (1, 2, 2)), "graph")


def test_pyplot_stays_out() -> None:
    code = (
        "import sys, rfcalc\nfrom rfcalc import plotting\nassert 'matplotlib' not in sys.modules\n"
        "plotting.render(plotting.draw(rfcalc.analyze('3x3')), 'svg')\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
