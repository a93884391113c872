"""Long work says how far it is: on a terminal, in one line that is gone at the end, and nowhere else."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from torch import nn

import rfcalc
from rfcalc import api, progress


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 1, 3, padding=1))


WORK: dict[str, tuple[Callable[[], Any], str]] = {
    "erf": (lambda: rfcalc.erf(net(), (1, 8, 8), images=2, device="cpu"), "the gradient of 2 by image 2 of 2"),
    "verify": (
        lambda: rfcalc.verify(net(), (1, 8, 8), probes=2, timing=False, batch=1, device="cpu"),
        "poisoning input H, row 2 of ",
    ),
    "symbolic": (lambda: api.growth("3x3:2-2", {"input": (2, 8, 8)}, symbols="H"), "trace 2, at H="),
}


@pytest.mark.parametrize(("work", "said"), WORK.values(), ids=WORK.keys())
def test_long_work_says_on_a_terminal_what_it_does(
    work: Callable[[], Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "PATIENCE", 0)
    monkeypatch.setattr(progress, "PAUSE", 0)
    with progress.shown("rfcalc work"):
        work()
    lines = screen.getvalue().split("\r")

    assert any(line.startswith(f"rfcalc work: {said}") for line in lines)
    assert "\n" not in screen.getvalue()
    assert not "".join(lines[-2:]).strip()  # written over


def test_nothing_is_said_elsewhere(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0)
    with progress.shown("rfcalc work"):
        progress.told("something", 1, 2)
    monkeypatch.setattr(sys, "stderr", Screen())
    progress.told("something")  # nobody shows it

    assert capsys.readouterr() == ("", "")
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]


def test_quick_work_shows_nothing_and_a_narrow_terminal_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "20")
    with progress.shown("rfcalc work"):
        progress.told("something")
    assert screen.getvalue() == ""

    monkeypatch.setattr(progress, "PATIENCE", 0)
    with suppress(KeyError), progress.shown("rfcalc work"):
        progress.told("something that is long", 1, 2)
        raise KeyError
    assert screen.getvalue().split("\r")[1:] == ["rfcalc work: someth", " " * 19, ""]
