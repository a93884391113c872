"""What patterns mean."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rfcalc.errors import LoadError, UsageError
from rfcalc.sweeping.patterns import Item, expand
from rfcalc.sweeping.row import Row

VGG = [*("vgg11", "vgg13", "vgg16", "vgg19"), *("vgg11-bn", "vgg13-bn", "vgg16-bn", "vgg19-bn")]


def names(*patterns: str, stdin: str = "") -> list[str]:
    return [item.name for item in expand(patterns, stdin.splitlines)]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["vgg16"], ["vgg16"]),
        (["plain*"], ["plain18", "plain34"]),
        (["torchvision:resnet1*"], ["torchvision:resnet101", "torchvision:resnet152", "torchvision:resnet18"]),
        (["torchvision:vgg1[16]"], ["torchvision:vgg11", "torchvision:vgg16"]),
        (["plain?4", "vgg16", "plain1*"], ["plain34", "vgg16", "plain18"]),
        (["3x3 3x3", "5x5:480-48"], ["3x3 3x3", "5x5:480-48"]),
        (["net.py:Net(widths=[1, 2])"], ["net.py:Net(widths=[1, 2])"]),
        (["net.py:Net", "package.module:net", "graph.json"], ["net.py:Net", "package.module:net", "graph.json"]),
        (["no_such_model"], ["no_such_model"]),
    ],
)
def test_patterns(patterns: list[str], expected: list[str]) -> None:
    assert names(*patterns) == expected


def test_all_of_the_zoo_by_a_glob() -> None:
    assert sorted(names("vgg*")) == sorted(VGG)


def test_names_from_standard_input() -> None:
    text = "# the lecture's\nvgg16\n\n  plain1*  \nvgg16\n"

    assert names("lenet5", "-", stdin=text) == ["lenet5", "vgg16", "plain18", "vgg16"]


def test_standard_input_is_not_read_for_other_patterns() -> None:
    def unread() -> list[str]:
        raise AssertionError("read")

    assert expand(["vgg16"], unread) == [Item("vgg16")]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("resnet9*", "no model of rfcalc matches 'resnet9*'; nearest: resnet"),
        ("torchvision:resnett*", "no model of torchvision matches 'torchvision:resnett*'; nearest: resnet"),
        ("package.module:*", "cannot list the models of 'package.module' for 'package.module:*'"),
        ("missing.jsonl", "there is no file missing.jsonl"),
    ],
)
def test_patterns_that_mean_nothing(pattern: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        names("vgg16", pattern)

    assert str(error.value).startswith(message)


def test_a_source_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)

    with pytest.raises(LoadError, match=r"timm:\* needs timm, which is not installed: pip install 'rfcalc\[timm\]'"):
        names("timm:res*")


# --- files ------------------------------------------------------------------------------------------------------------


def test_what_a_file_yields(nets: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MODELS", "unnamed,spec,wide,function,again,named spec,number,small")

    items = expand([nets], tuple)

    short = [item.name.removeprefix(f"{nets}#") for item in items]
    assert short == ["Small", "3x3 3x3", "wide", "wide#2", "wide#3", "own name", "7", "small"]
    assert [item.position for item in items] == list(range(8))
    assert {item.file for item in items} == {nets}
    assert [item.name for item in items if item.error] == [f"{nets}#7"]
    assert items[6].error is not None
    assert items[6].error.startswith("models() yielded a int; yield a spec, a module or a function")
    assert capsys.readouterr().out == ""


def test_a_file_that_breaks_off_ends_in_a_failure(nets: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS", "small,raise,wide")

    items = expand([nets], tuple)

    assert [(item.name, item.error) for item in items] == [
        (f"{nets}#small", None),
        (f"{nets}#2", "RuntimeError: that was all"),
    ]


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (None, LoadError, "there is no file"),
        ("import no_such_package", LoadError, "importing .* failed: ModuleNotFoundError"),
        ("def other():\n    yield 1\n", LoadError, r"has no function models\(\) that yields models"),
        ("models = 5\n", LoadError, r"has no function models\(\) that yields models"),
        ("def models():\n    return []\n", UsageError, r"models\(\) of .* yields nothing; yield a spec"),
    ],
)
def test_files_that_mean_nothing(text: str | None, kind: type[Exception], message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    if text is not None:
        path.write_text(text, encoding="utf-8")

    with pytest.raises(kind, match=message):
        expand([str(path)], tuple)


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    for name in ("vgg16", "lenet5 "):
        path.write_text(f"def models():\n    return [{name!r}]\n", encoding="utf-8")
        assert names(str(path)) == [name]


def test_rows_of_an_earlier_sweep(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [Row("vgg16", status="complete", params=1), Row("net", "3x9x9", error="no")]
    path.write_text("".join(f"{row.line()}\n" for row in rows), encoding="utf-8")

    assert [(item.name, item.row) for item in expand([str(path)], tuple)] == [(row.model, row) for row in rows]
