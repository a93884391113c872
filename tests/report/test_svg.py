"""Pictures of plain text: well-formed, to scale, cut at the borders, with names that do nothing."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest
from torch import Tensor, nn

import rfcalc
from rfcalc.report import svg
from rfcalc.report.fields import field_picture

SVG = "{http://www.w3.org/2000/svg}"


def rectangles(picture: str) -> list[tuple[float, ...]]:
    """x, y, width and height of all rectangles but the input, in parts of the input's longer side."""
    root = ElementTree.fromstring(picture)
    found = [
        tuple(float(item.get(key, "")) for key in ("x", "y", "width", "height")) for item in root.iter(f"{SVG}rect")
    ]
    x, y, *sides = found[0]
    return [
        ((item[0] - x) / max(sides), (item[1] - y) / max(sides), *(s / max(sides) for s in item[2:])) for item in found
    ]


@pytest.mark.parametrize(
    ("extents", "spans", "place"),
    [
        ((10, 20), ((2, 4), (5, 14)), (0.25, 0.1, 0.5, 0.15)),
        ((20, 20), ((-7, 4), (15, 40)), (0.75, 0, 0.25, 0.25)),
        ((3, 20, 20), ((0, 0), (0, 9), (0, 19)), (0, 0, 1, 0.5)),
        ((40,), ((10, 19),), (0.25, 0, 0.25, 0.1)),
    ],
)
def test_fields_are_to_scale(extents: tuple[int, ...], spans: tuple[svg.Span, ...], place: tuple[float, ...]) -> None:
    first, field = rectangles(svg.nested(extents, [svg.Box("conv", spans)], "a field"))

    assert first[:2] == (0, 0)
    assert max(first[2:]) == 1
    assert field == pytest.approx(place, abs=1e-3)


def test_a_map_is_one_rectangle_for_each_run_of_a_shade() -> None:
    """Shades are square roots, and a hundredth of a shade is not seen."""
    picture = svg.heat([[0, 1, 1, 0.25], [1e-6, 0, 0, 0]], (20, 40), ((0, 9), (10, 39)), "a map")
    _, full, faint, frame = rectangles(picture)

    assert full == pytest.approx((0.25, 0, 0.5, 0.25))
    assert faint == pytest.approx((0.75, 0, 0.25, 0.25))
    assert frame == pytest.approx((0.25, 0, 0.75, 0.25))
    assert 'fill-opacity="0.5"' in picture
    assert len(rectangles(svg.heat([[0, 0]], (20, 40), (None, (0, 3)), "nothing"))) == 1


class Hostile(nn.Module):
    """A layer whose name is markup."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({"<img src=x onerror=alert(1)>&": nn.Conv2d(1, 1, 3)})

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts.values():
            x = part(x)
        return x


def test_names_are_escaped() -> None:
    analysis = rfcalc.analyze(Hostile(), (1, 9, 9))
    for text in (analysis._repr_html_(), rfcalc.erf(Hostile(), (1, 9, 9), images=1)._repr_html_()):
        assert "&lt;img src=x" in text
        assert "<img" not in text
        ElementTree.fromstring(text[: text.index("<h1>")])


# --- of an analysis ---------------------------------------------------------------------------------------------------


def test_vgg16_is_nested_as_in_the_lecture() -> None:
    """pool5's unit 3,3 sees 6..217, of 224 pixels; the others lie one inside the other."""
    picture = field_picture(rfcalc.analyze("vgg16"))
    _, *fields = rectangles(picture)

    assert fields[0] == pytest.approx((6 / 224, 6 / 224, 212 / 224, 212 / 224), abs=1e-3)
    assert [round(field[2] * 224) for field in fields] == [212, 100, 44, 14, 3]
    for outer, inner in pairwise(fields):
        assert all(outer[at] <= inner[at] for at in (0, 1))
        assert all(outer[at] + outer[at + 2] >= inner[at] + inner[at + 2] for at in (0, 1))
    assert "pool5 212x212" in picture


def test_each_input_has_its_picture() -> None:
    class Two(nn.Module):
        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return nn.functional.avg_pool2d(left, 3, 1) + nn.functional.avg_pool2d(right, 2)[:, :, :2, :2]

    text = field_picture(rfcalc.analyze(Two(), {"left": (1, 4, 4), "right": (1, 6, 6)}))

    assert text.count("<svg") == 2
    assert "middle of left 4x4" in text
    assert "middle of right 6x6" in text


def test_without_windows_there_is_no_picture() -> None:
    flat = rfcalc.analyze(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), (1, 4, 4))

    assert field_picture(flat) == ""
    assert field_picture(rfcalc.analyze("lenet5").relative_to("S2")) == ""
