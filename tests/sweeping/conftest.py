"""A file of models, as a user would write it, and the command line in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke, invoke, odd, tiny

__all__ = ["Invoke", "invoke", "nets", "odd", "tiny"]

NETS = '''
import os
import pathlib
import signal
import sys
import time

from torch import nn


class Small(nn.Module):
    """A convolution of 3x3 from 3 to 4 channels: 3 * 4 * 9 + 4 = 112 parameters."""

    def __init__(self):
        super().__init__()
        print("a model is made")
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x)


def wide():
    return nn.Sequential(nn.Conv2d(3, 64, 3))


def broken():
    raise ValueError("no such width")


def quits():
    sys.exit(3)


def blocked():
    """Takes a minute unless FREE is in the environment."""
    print("blocked", flush=True)
    if "FREE" not in os.environ:
        time.sleep(60)
    return Small()


def meeting(own, other):
    """Waits for the other of two models, which must be made at the same time."""

    def make():
        place = pathlib.Path(__file__).parent
        (place / own).touch()
        for _ in range(300):
            if (place / other).exists():
                return Small()
            time.sleep(0.1)
        raise TimeoutError("nobody came")

    return make


def deadly():
    os.kill(os.getpid(), signal.SIGKILL)


CHOICES = {
    "small": ("small", Small(), (3, 9, 9)),
    "unnamed": Small(),
    "function": wide,
    "spec": "3x3 3x3",
    "named spec": ("own name", "3x3", (1, 7, 7)),
    "wide": ("wide", wide, (3, 9, 9)),
    "again": ("wide", wide, (3, 5, 5)),
    "broken": ("broken", broken, (3, 9, 9)),
    "quits": ("quits", quits, (3, 9, 9)),
    "number": 5,
    "left": ("left", meeting("left", "right"), (3, 9, 9)),
    "right": ("right", meeting("right", "left"), (3, 9, 9)),
    "blocked": ("blocked", blocked, (3, 9, 9)),
    "deadly": ("deadly", deadly, (3, 9, 9)),
}


def models():
    for name in os.environ["MODELS"].split(","):
        if name == "raise":
            raise RuntimeError("that was all")
        yield CHOICES[name]
'''


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The path of a file whose ``models()`` yields what MODELS in the environment names."""
    path = tmp_path / "nets.py"
    path.write_text(NETS, encoding="utf-8")
    monkeypatch.setenv("MODELS", "small,wide")
    return str(path)
