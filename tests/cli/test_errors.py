"""Bad input: one line on stderr, nothing on stdout, the documented exit status, no traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rfcalc import api
from rfcalc.errors import LoadError, TraceError
from tests.cli.conftest import Invoke


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--layer", "99"), "there is no layer 99: tiny has layers 1 (the input) to 3"),
        (("--layer", "conf1"), "nearest: conv1"),
        (("--of", "conv*"), "names 2 layers"),
        (("--layer", "2", "--at", "9,9"), "--at 9,9 is outside layer conv1"),
        (("--at", "x"), "--at x: 'x' is no position; write --at Y,X"),
        (("--at", "99,99"), "--at 99,99 is outside layer input"),
        (("--input", "3x"), "--input 3x: '' is no extent of a shape; write --input 3x224x224"),
        (("--axes", "H"), "--axes H: cannot read 'H'"),
        (("--all", "--layer", "2"), "--all and --layer exclude each other"),
        (("--format", "yaml"), "'yaml' is not one of 'table', 'json', 'csv', 'markdown', 'latex', 'html'"),
        (("--lyer", "2"), "see rfcalc show --help"),
        (("--layer",), "requires an argument"),
        (("again",), "rfcalc show takes one model, got again besides"),
        (("-o", "/nowhere/at/all.txt"), "cannot write /nowhere/at/all.txt: there is no directory /nowhere/at"),
        (("-o", "/"), "cannot write /: it is a directory"),
        (("-o", "/proc/rfcalc.txt"), "cannot write /proc/rfcalc.txt"),
    ],
)
def test_bad_options(invoke: Invoke, tiny: str, args: tuple[str, ...], said: str) -> None:
    result = invoke(tiny, *args)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("rfcalc: note:")]
    assert (result.exit_code, result.stdout, len(lines)) == (2, "", 1)
    assert lines[0].startswith("rfcalc: error: ")
    assert said in lines[0]


def test_no_model(invoke: Invoke) -> None:
    result = invoke("show")
    assert (result.exit_code, result.stderr) == (2, "rfcalc: error: Missing argument 'MODEL'; see rfcalc show --help\n")


def test_unknown_model_names_the_nearest(invoke: Invoke) -> None:
    result = invoke("vgg17")
    assert result.exit_code == 2
    assert "unknown model 'vgg17'; nearest: vgg19, vgg16" in result.stderr


def test_a_mistyped_command_is_named(invoke: Invoke) -> None:
    assert invoke("lst").stderr.endswith("(or the command rfcalc list?)\n")
    assert "or the command" not in invoke("vgg17").stderr


def test_a_damaged_graph(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text("{", encoding="utf-8")
    result = invoke(str(path))
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (3, "", 1)
    assert "is no rfcalc graph" in result.stderr


def _raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(api, "analyze", fail)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (LoadError("no such\nmodel"), 3, "rfcalc: error: no such model\n"),
        (TraceError("conv1 got 1 channel"), 3, "rfcalc: error: conv1 got 1 channel\n"),
        (SystemExit(7), 3, "rfcalc: error: m: its code called sys.exit(7); a model must load without\n"),
        (
            ZeroDivisionError("oops"),
            3,
            "rfcalc: error: internal error: ZeroDivisionError: oops; run again with --debug",
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_end_in_a_status(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, said: str
) -> None:
    _raising(monkeypatch, error)
    result = invoke("m")
    assert (result.exit_code, result.stdout) == (status, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_debug_shows_the_traceback_and_keeps_the_status(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    _raising(monkeypatch, LoadError("no such model"))
    result = invoke("m", "--debug")
    assert result.exit_code == 3
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.endswith("rfcalc: error: no such model\n")


def test_what_a_model_prints_does_not_mix_with_the_data(
    invoke: Invoke, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = api.analyze

    def chatty(*args: Any, **kwargs: Any) -> Any:
        print("building ...")
        return real(*args, **kwargs)

    monkeypatch.setattr(api, "analyze", chatty)
    result = invoke(tiny, "--format", "json")
    assert result.stdout.startswith("{")
    assert "building ...\n" in result.stderr


def test_input_options_reach_the_trace(invoke: Invoke, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    real = api.analyze

    def record(model: str, inputs: Any, **rest: Any) -> Any:
        seen.append((model, inputs, rest))
        return real(tiny)

    monkeypatch.setattr(api, "analyze", record)
    invoke("m", "--input", "left=3x4x4", "--input", "right=3x2x2", "--axes", "H=2,W=3", "--training", "--of", "2")
    rest = {"of": 2, "axes": {"H": 2, "W": 3}, "training": True, "dtype": None}
    assert seen == [("m", {"left": (3, 4, 4), "right": (3, 2, 2)}, rest)]
