from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from fractions import Fraction

import pytest

from rfcalc.analyses.results import Patch
from rfcalc.report import FORMATS, Column, Report, Section, Style, Table, details, overview, render
from tests.report.samples import CONV, CONV2, INPUT, analysis, field, layer

TINY = overview(analysis(), analysis().layers)

TABLE = """\
tiny: input 1x3x9x9 (batch 1)

#  layer  kind    output   field  stride  start  params  multiply-adds   share
-  -----  ------  -------  -----  ------  -----  ------  -------------  ------
1  input  input   1x3x9x9    1x1     1x1    0,0       0              0   0.0 %
2  conv1  conv    1x8x9x9    3x3     1x1  -1,-1     224         17,496  24.8 %
3  conv2  conv    1x8x9x9    5x5     1x1  -2,-2     584         46,656  66.1 %
4  fc     linear  1x10     whole       -      -   6,490          6,480   9.2 %

parameters     7,298
multiply-adds  70,632
operations     142,000: FLOPs, 2 for each multiply-add, and 736 others
status         complete: every op is counted or declared free

stride: the field's jump from unit to unit, not a kernel's
start: the field's offset, the first index that unit 0 reads
whole: each unit sees all of it, wherever the unit is
- under stride, start: no window moves from unit to unit
"""

NARROW = """\
tiny: input 1x3x9x9 (batch 1)

#  layer  field  params  multiply-adds
-  -----  -----  ------  -------------
1  input    1x1       0              0
2  conv1    3x3     224         17,496
3  conv2    5x5     584         46,656
4  fc     whole   6,490          6,480

parameters     7,298
multiply-adds  70,632
operations     142,000: FLOPs, 2 for
               each multiply-add, and
               736 others
status         complete: every op is
               counted or declared free

whole: each unit sees all of it,
  wherever the unit is
columns left out at this width: kind,
  output, stride, start, share
"""

BLOCK = """\
tiny: input 1x3x9x9 (batch 1)

layer 2: conv1 (conv, Conv2d)
  op              aten.convolution
  settings        kernel 3x3, groups 1
  reads           input
  output          1x8x9x9
  field in input  3x3
  jump (stride)   1x1
  offset (start)  -1,-1
  center          0,0
  reach           1,1 before and 2,2 after
  samples         3x3, every index
  status          exact
  parameters      224
  multiply-adds   (9x9x8) x (3x3x3) = 17,496
  operations      35,640: macs 34,992, bias 648
  included        relu1

  one unit uses  of layer  name
  -------------  --------  -----
            3x3         1  input

whole model
  parameters     7,298
  multiply-adds  70,632
  operations     142,000: FLOPs, 2 for each multiply-add, and 736 others
  status         complete: every op is counted or declared free
"""


def test_table() -> None:
    assert render(TINY) == TABLE


def test_table_for_a_narrow_terminal() -> None:
    assert render(TINY, "table", Style(width=40)) == NARROW


@pytest.mark.parametrize("width", [30, 40, 50, 60, 70, 77, 78, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(len, render(TINY, "table", Style(width)).splitlines())) <= width


def test_columns_are_left_out_only_when_they_must_be() -> None:
    assert "left out" not in render(TINY, "table", Style(78))
    assert "left out at this width: start\n" in render(TINY, "table", Style(77))


def test_long_names_are_cut_in_the_middle_before_numbers_go() -> None:
    given = layer(2, "features.denseblock4.denselayer16.conv2", params=12, receptive_fields={"input": field(3)})
    text = render(overview(analysis(given), [given]), "table", Style(70))
    assert "features..denselayer16.conv2" in text
    assert "params" in text
    assert max(map(len, text.splitlines()[2:6])) == 70


def test_prose_is_cut_at_its_end_and_before_columns_go() -> None:
    columns = (Column("name", shorten=2), Column("what", shorten=1, prose=True, drop=2))
    report = Report("r", (Section(table=Table(columns, (("n" * 10, "a sentence of some length. And more"),))),))
    assert "nnnnnnnnnn  a sentence of some length..\n" in render(report, "table", Style(39))
    assert "a sentence of some length. And more" in render(report, "table", Style(47))
    assert "columns left out at this\n" in render(report, "table", Style(30))


def test_a_block_for_a_layer() -> None:
    chosen = replace(CONV, reads=(Patch(1, "input", (3, 3)),))
    assert render(details(analysis(), [chosen])) == BLOCK


def test_bold_only_when_asked() -> None:
    assert "\x1b" not in render(TINY)
    lines = render(TINY, "table", Style(bold=True)).splitlines()
    assert lines[0] == "\x1b[1mtiny: input 1x3x9x9 (batch 1)\x1b[0m"
    assert lines[2].startswith("\x1b[1m#  layer")


def test_json_is_the_document_of_the_analysis() -> None:
    document = json.loads(render(TINY, "json"))
    assert document["schema"] == "rfcalc/1"
    assert document["layers"][1]["macs"] == 17_496


def test_csv_has_exact_numbers_and_one_row_a_layer() -> None:
    rows = list(csv.DictReader(io.StringIO(render(TINY, "csv"))))
    assert [row["name"] for row in rows] == ["input", "conv1", "conv2", "fc"]
    conv2 = rows[2]
    assert (conv2["index"], conv2["macs"], conv2["size_H"], conv2["start_W"]) == ("3", "46656", "5", "-2")
    assert (conv2["output_shape"], conv2["whole_input"], conv2["inputs"]) == ("1x8x9x9", "false", "conv1")
    assert (rows[3]["stride_H"], rows[3]["whole_input"]) == ("", "true")


def test_csv_columns_stay_in_their_places_and_new_ones_come_last() -> None:
    columns = render(TINY, "csv").splitlines()[0].split(",")
    counts = ["params", "trainable_params", "macs", "flops", "formula", "status", "whole_input", "size_H"]
    assert columns[7:15] == counts
    assert columns[-4:] == ["folded", "notes", "unmasked_macs", "backward_macs"]


def test_csv_of_two_sources_fractions_regions_and_reads() -> None:
    left = field(3, Fraction(1, 2), region=((0, 2), None))
    given = layer(2, "up", receptive_fields={"left": left, "right": field(5)}, reads=(Patch(1, "left", (3, 3)),))
    odd = replace(INPUT, receptive_fields={})
    rows = list(csv.DictReader(io.StringIO(render(overview(analysis(), [odd, given]), "csv"))))
    assert rows[1]["left.stride_H"] == "1/2"
    assert rows[1]["right.size_W"] == "5"
    assert (rows[1]["left.region_last_H"], rows[1]["left.region_first_W"]) == ("2", "")
    assert rows[1]["reads"] == "left:3x3"
    assert rows[0]["left.size_H"] == ""


def test_unknown_costs_are_empty_in_csv_null_in_json_and_marked_for_people() -> None:
    given = layer(2, "mystery", "unknown", macs=None, flops=None)
    report = overview(analysis(given), [given])
    assert next(csv.DictReader(io.StringIO(render(report, "csv"))))["macs"] == ""
    assert json.loads(render(report, "json"))["layers"][0]["macs"] is None
    assert " ? " in render(report)


NASTY = Report(
    "a|b <i> & _x_ 100 % $y$",
    (
        Section("s*t", (("fact_1", "<b>"),)),
        Section(table=Table((Column("na|me"), Column("n", right=True)), (("x_1|<script>#2\n", 7),))),
    ),
    ("see [1] \\ ~",),
)


def test_markdown_escapes() -> None:
    assert render(NASTY, "markdown") == (
        "# a\\|b &lt;i&gt; &amp; \\_x\\_ 100 % $y$\n\n"
        "## s\\*t\n\n"
        "- fact_1: &lt;b&gt;\n\n"
        "| na\\|me                   |   n |\n"
        "|:-------------------------|----:|\n"
        "| x_1\\|&lt;script&gt;#2\\\\n |   7 |\n\n"
        "- see \\[1\\] \\\\ \\~\n"
    )


def test_latex_escapes() -> None:
    text = render(NASTY, "latex")
    assert r"\textbf{a|b \ensuremath{<}i\ensuremath{>} \& \_x\_ 100 \% \$y\$}" in text
    assert r"fact\_1 & \ensuremath{<}b\ensuremath{>} \\" in text
    assert r"x\_1|\ensuremath{<}script\ensuremath{>}\#2\textbackslash{}n" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2


def test_html_escapes_and_stands_alone() -> None:
    text = render(NASTY, "html")
    assert text.startswith('<!doctype html>\n<html lang="en">')
    assert "<title>a|b &lt;i&gt; &amp; _x_ 100 % $y$</title>" in text
    assert "<dt>fact_1</dt><dd>&lt;b&gt;</dd>" in text
    assert "x_1|&lt;script&gt;#2\\n" in text
    assert "<script" not in text
    assert "http" not in text


def test_terminal_output_of_nasty_names_keeps_its_lines() -> None:
    given = layer(2, "a\nb\x1b[31m")
    lines = render(overview(analysis(given), [given])).splitlines()
    assert r"a\nb\x1b[31m" in lines[4]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_ends_in_one_line_break(name: str) -> None:
    text = render(TINY, name)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_takes_a_report_without_rows(name: str) -> None:
    empty = Report("nothing", (Section(table=Table((Column("a"), Column("b", right=True)), ())),), (), {}, ())
    assert "nothing" in render(empty, name) or name in ("json", "csv")


def test_details_of_two_layers_hold_two_blocks() -> None:
    titles = [section.title for section in details(analysis(), [CONV, CONV2]).sections]
    assert titles == ["layer 2: conv1 (conv, Conv2d)", "layer 3: conv2 (conv, Conv2d)", "whole model"]
