from __future__ import annotations

import csv
import io
import json

from rfcalc.ops.registry import Call, Effect, Registered
from rfcalc.report import Style, missing_report, ops_report, render, zoo_report
from rfcalc.zoo import Entry

ZOO = zoo_report(
    [
        Entry("lenet5", "LeNet-5", "LeCun et al. 1998", 1998, (1, 32, 32), "x:y"),
        Entry("vgg11", "VGG11", "Simonyan 2014", 2014, (3, 224, 224), "x:y"),
        Entry("vgg13", "VGG13", "Simonyan 2014", 2014, (3, 224, 224), "x:y"),
    ]
)


def _rule(call: Call) -> Effect:
    """Reads one position.

    More of it.
    """
    return Effect("copy")


def test_zoo_gives_each_paper_once() -> None:
    assert render(ZOO) == (
        "3 architectures of rfcalc's own\n\n"
        "name    title    year      input  paper\n"
        "------  -------  ----  ---------  -----\n"
        "lenet5  LeNet-5  1998    1x32x32    [1]\n"
        "vgg11   VGG11    2014  3x224x224    [2]\n"
        "vgg13   VGG13    2014  3x224x224    [2]\n\n"
        "[1] LeCun et al. 1998\n"
        "[2] Simonyan 2014\n"
    )


def test_zoo_for_programs() -> None:
    assert json.loads(render(ZOO, "json"))["models"][1] == {
        "name": "vgg11",
        "title": "VGG11",
        "year": 2014,
        "input_shape": [3, 224, 224],
        "paper": "Simonyan 2014",
    }
    assert next(csv.DictReader(io.StringIO(render(ZOO, "csv"))))["input_shape"] == "1x32x32"


def test_zoo_on_a_narrow_terminal_keeps_names_and_inputs() -> None:
    lines = render(ZOO, "table", Style(17)).splitlines()
    assert ["name", "input"] in [line.split() for line in lines]


def test_ops_show_the_first_line_of_the_rule() -> None:
    report = ops_report({"aten.copy": Registered(_rule, "pointwise")})
    assert report.records == [{"op": "aten.copy", "family": "pointwise", "summary": "Reads one position."}]
    assert render(report).splitlines()[-1].split(maxsplit=2) == ["aten.copy", "pointwise", "Reads one position."]


def test_missing_ops_and_none() -> None:
    assert render(missing_report("m", {})) == "m: every op has a rule\n"
    report = missing_report("m", {"aten.foo": 1234})
    assert render(report).splitlines()[-1] == "aten.foo  1,234"
    assert report.data == {
        "schema": "rfcalc-missing/1",
        "model": "m",
        "missing": [{"op": "aten.foo", "calls": 1234}],
    }
