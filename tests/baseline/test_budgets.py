"""The configuration: amounts read exactly, mistakes named, and where each limit stands."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from rfcalc.baseline import budgets, units
from rfcalc.baseline.budgets import Watched
from rfcalc.errors import UsageError


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (25_600_000, 25600000),
        ("25600000", 25600000),
        ("25_600_000", 25600000),
        ("4.2G", 4200000000),
        ("4.2 G", 4200000000),
        ("4.089184256G", 4089184256),
        ("0.1k", 100),
        ("1.000001M", 1000001),
        ("3T", 3 * 10**12),
        ("9007199254740993", 9007199254740993),
        ("9.007199254740993P", 9007199254740993),
        ("2Ki", 2048),
        ("1.5Gi", 1610612736),
        (0, 0),
    ],
)
def test_amounts_are_exact(written: Any, meant: int) -> None:
    assert units.amount(written, "here") == meant


@pytest.mark.parametrize(("written", "meant"), [("512MiB", 536870912), ("1.5kB", 1500), ("7B", 7), ("2G", 2 * 10**9)])
def test_bytes_may_say_so(written: str, meant: int) -> None:
    assert units.amount(written, "here", of_bytes=True) == meant


@pytest.mark.parametrize("written", ["4.2X", "G", "", "-1", "1e9", "4,2G", "0.0001k", "1.5", True, None, -3, [1], "1B"])
def test_what_is_no_amount_is_refused(written: Any) -> None:
    with pytest.raises(UsageError, match=r"^here: "):
        units.amount(written, "here")


@pytest.mark.parametrize(("written", "meant"), [("1%", Fraction(1, 100)), ("0.5 %", Fraction(1, 200)), ("0%", 0)])
def test_percentages_are_exact(written: str, meant: Fraction) -> None:
    assert units.percentage(written, "here") == meant


@pytest.mark.parametrize("written", ["1", 1, "-1%", "one%", "1%%", None])
def test_what_is_no_percentage_is_refused(written: Any) -> None:
    with pytest.raises(UsageError, match=r'^here: cannot read .* write a percentage like "1%"'):
        units.percentage(written, "here")


CONFIG = """\
[project]
name = "x"

[tool.rfcalc]
max_growth = "1%"

# a comment with max_macs = 3
[[tool.rfcalc.models]]
name = "one"
model = "net.py:Net(width=32)"
input = "3x64x64"
max_macs = "4.2G"
min_field = "427x395"

[[tool.rfcalc.models]]
model = "vgg16"
"max_macs" = 4.2e9
max_growth = "2%"
min_field = { left = 30, right = "7x7" }
input = { left = "3x64x64", right = "3x32x32" }
axes = "H=2,W=3"
training = true

[tool.other]
max_params = 3
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "pyproject.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_whole_configuration(tmp_path: Path) -> None:
    found = budgets.load(write(tmp_path, CONFIG), "pyproject.toml")

    assert found.lock == tmp_path / "rfcalc.lock.json"
    one, two = found.models
    assert (one.name, one.model, one.inputs, one.axes, one.training) == (
        "one",
        "net.py:Net(width=32)",
        "3x64x64",
        None,
        False,
    )
    assert [(limit.key, limit.value, limit.shown, limit.line) for limit in one.limits] == [
        ("max_growth", Fraction(1, 100), "1%", 5),
        ("max_macs", 4200000000, "4.2G", 12),
        ("min_field", {"": (427, 395)}, "427x395", 13),
    ]
    assert (two.name, two.model, two.axes, two.training, two.line) == ("vgg16", "vgg16", "H=2,W=3", True, 15)
    assert two.inputs == {"left": "3x64x64", "right": "3x32x32"}
    assert [(limit.key, limit.value, limit.line) for limit in two.limits] == [
        ("max_growth", Fraction(2, 100), 18),
        ("max_macs", 4200000000, 17),
        ("min_field", {"left": (30,), "right": (7, 7)}, 19),
    ]
    assert {limit.file for item in found.models for limit in item.limits} == {"pyproject.toml"}


def test_models_may_be_written_in_one_table(tmp_path: Path) -> None:
    text = '[tool.rfcalc]\nmodels = [{ model = "vgg16", max_params = "1M" }]\n[tool.other]\nmax_params = 3\n'
    found = budgets.load(write(tmp_path, text))

    assert [(item.model, item.line, item.limits[0].line) for item in found.models] == [("vgg16", 1, 1)]


@pytest.mark.parametrize("lines", ["\n", "\r\n"])
def test_the_lock_may_be_elsewhere_or_nowhere(tmp_path: Path, lines: str) -> None:
    text = f'[tool.rfcalc]{lines}lock = "ci/models.lock"{lines}'
    (tmp_path / "pyproject.toml").write_bytes(text.encode())

    assert budgets.load(tmp_path / "pyproject.toml").lock == tmp_path / "ci" / "models.lock"
    assert budgets.load(write(tmp_path, "[tool.rfcalc]\nlock = false\n")).lock is None


MODEL = '[[tool.rfcalc.models]]\nmodel = "vgg16"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.rfcalc]\nlokc = 'x'\n", "[tool.rfcalc] has an unknown key 'lokc'; did you mean lock?"),
        (MODEL + "max_mac = 3\n", "model 'vgg16' has an unknown key 'max_mac'; did you mean max_macs?"),
        (MODEL + "qqq = 3\n", "has an unknown key 'qqq'; known are name, model, input,"),
        (MODEL + "max_macs = '4.2X'\n", "model 'vgg16': max_macs: '4.2X' has an unknown unit"),
        (MODEL + "max_macs = 1.5\n", "is no whole number"),
        (MODEL + "min_field = 0\n", "min_field: cannot read 0"),
        (MODEL + "max_growth = 1\n", "max_growth: cannot read 1; write a percentage"),
        (MODEL + "input = 224\n", "cannot read input 224"),
        (MODEL + "training = 'yes'\n", "training is a true or false, not 'yes'"),
        (MODEL + "name = 3\n", "name is a text, not 3"),
        (MODEL + MODEL, "names two models 'vgg16'"),
        ("[[tool.rfcalc.models]]\nname = 'x'\n", "model 'x' has no model"),
        ("[tool.rfcalc]\nmodels = 'vgg16'\n", "models is a list of tables"),
        ("[tool.rfcalc]\nlock = 3\n", "lock is the name of a file, or false"),
        ("[tool.rfcalc\n", "is no TOML"),
        ("[tool.black]\n", "has no section [tool.rfcalc]: write it with rfcalc init"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        budgets.load(write(tmp_path, text))

    assert message in str(caught.value)
    assert "pyproject.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_nearest_file_with_the_section_is_taken(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    write(tmp_path, "[tool.rfcalc]\n")
    write(inner, "[tool.black]\n")

    assert budgets.find(inner) == tmp_path / "pyproject.toml"


def test_no_file_with_the_section(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="rfcalc init"):
        budgets.find(tmp_path)


def test_a_limit_outside_a_file() -> None:
    assert budgets.limit("max_macs", "1G", "a marker").value == 10**9
    with pytest.raises(UsageError, match=r"a marker has an unknown key 'max_mac'; did you mean max_macs\?"):
        budgets.limit("max_mac", "1G", "a marker")


def test_a_model_needs_no_more_than_its_name() -> None:
    assert Watched("net", "net").limits == ()
