"""The words of a table are explained under it, each only where it stands there."""

from __future__ import annotations

import re

import pytest
from torch import Tensor, nn

import rfcalc
from rfcalc.report.words import ABSENT, FIELDS, VALUES

JUMP, START = FIELDS.values()
STILL, SHARE = ABSENT.values()


def explained(found: object) -> list[str]:
    """What stands under the printed table, after the last blank line."""
    return str(found).rpartition("\n\n")[2].splitlines()


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 2, 3), nn.Linear(2, 2)

    def forward(self, image: Tensor, other: Tensor) -> Tensor:
        return self.head(self.conv(image).mean((2, 3))) + other.mean((2, 3))


def test_each_word_of_a_table_is_explained_and_no_other():
    assert explained(rfcalc.analyze(nn.Conv2d(3, 3, 3), (3, 8, 8))) == [JUMP, START]
    assert explained(rfcalc.analyze(nn.MaxPool2d(2), (1, 3, 8, 8))) == [JUMP, START, SHARE]
    whole = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1))
    assert explained(rfcalc.analyze(whole, (3, 8, 8))) == [JUMP, START, VALUES["whole"], STILL]
    found = rfcalc.analyze(Two(), {"image": (3, 8, 8), "other": (2, 8, 8)})
    assert explained(found) == [JUMP, START, VALUES["whole"], VALUES["none"], STILL]
    deep = nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=1) for _ in range(6)])
    assert explained(rfcalc.analyze(deep, (1, 8, 8))) == [JUMP, START]
    assert explained(found[:2]) == [JUMP, START, VALUES["none"], STILL]


def test_a_table_without_such_words_has_no_legend(run):
    lines = run("net.py:Net", "--input", "3x16x16", "--columns", "name,params").output.splitlines()
    assert lines[-1].startswith("status ")
    told = run("net.py:Net", "--input", "3x16x16", "--columns", "name,size").output.splitlines()
    assert told[-1] == VALUES["whole"]


def test_a_comparison_explains_its_words(run):
    lines = run("compare", "7x7", "3x3 3x3 3x3", "--channels", "4", "--decimals", "1").output.splitlines()
    assert lines[-2:] == [
        JUMP,
        "- under vs 1: the row that the others are measured against",
    ]


@pytest.mark.parametrize("layer", ["stem.0", "mean"])
def test_a_layer_says_jump_and_offset(run, layer):
    output = run("net.py:Net", "--input", "3x16x16", "--layer", layer).output
    assert ("  jump (stride)   2x2\n  offset (start)  -1,-1\n" in output) == (layer == "stem.0")
    assert "FLOPs, 2 for each multiply-add" in output


def test_other_words_for_columns_are_understood_and_all_are_listed(run):
    asked = run("net.py:Net", "--input", "3x16x16", "--columns", "name,receptive_field,jump,offset")
    assert asked.output.splitlines()[2].split() == ["layer", "field", "stride", "start"]
    listed = run("show", "--columns", "help").output
    assert "stride            the field's jump from unit to unit, not a kernel's; or jump" in listed
    assert VALUES["whole"] in listed


def test_flops_are_named_with_their_factor():
    found = rfcalc.analyze(nn.Linear(4, 2), (4,))
    assert "operations     18: FLOPs, 2 for each multiply-add, and 2 others" in str(found)


def test_titles_in_html_lead_to_the_line_that_explains_them(run):
    text = run("net.py:Net", "--input", "3x16x16", "--format", "html").output
    links = dict(re.findall(r'<a href="#([^"]+)">([^<]+)</a>', text))
    assert links == {"rfcalc-stride": "stride", "rfcalc-start": "start", "rfcalc-whole": "field"}
    for name in links:
        assert re.search(rf'<li id="{name}">{name.removeprefix("rfcalc-")}: ', text)
    assert re.findall(r"<th[^>]*> *([^< ]+) *</th>", text)[:2] == ["#", "layer"]
