"""Where in the user's code an op was called: the file and line of the innermost frame that is neither torch's nor ours.

Code of the user's own comes before code of an installed library, from wherever it was called: of a model built around
torchvision's ResNet, all ops of the ResNet have the line that calls it; of torchvision's ResNet itself, its own lines.
"""

from __future__ import annotations

import os
import sysconfig
from functools import cache
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import torch

from rfcalc.graph import Place

#: What a file is to the user: where a pass begins, none of theirs, a library that they installed, their own.
BEGINS, NONE, LIBRARY, OWN = -1, 0, 1, 2

_PACKAGE = str(Path(__file__).parent.parent) + os.sep
_FORWARD = str(Path(__file__).parent / "forward.py")
_NO_PLACES = (str(Path(torch.__file__).parent) + os.sep, _PACKAGE)
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_STDLIB = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")})
#: How names begin that Python gives to code which a user typed, and not to what was made by a program.
_TYPED = ("<ipython-input", "<stdin>", "<doctest")


class Spot(NamedTuple):
    """A place before it has a name: what kind of file it is in, the file as Python names it, and the line."""

    rank: int
    file: str
    line: int


NOWHERE = Spot(NONE, "", 0)


@cache
def rank_of(file: str) -> int:
    """What a file is to the user, by the name that its code has."""
    if file == _FORWARD:
        return BEGINS
    if file.startswith("<"):
        return OWN if file.startswith(_TYPED) else NONE
    if file.startswith(_NO_PLACES):
        return NONE
    if any(part in file for part in _INSTALLED):
        return LIBRARY
    return NONE if file.startswith(_STDLIB) else OWN


def spot_of(frame: FrameType) -> Spot:
    """Where a frame is."""
    file = frame.f_code.co_filename
    return Spot(rank_of(file), file, frame.f_lineno)


def place_of(spot: Spot) -> Place | None:
    """The place as it is shown: below the working directory or a library's folder where it lies there."""
    return None if spot.rank <= NONE else Place(_shown(spot.file, spot.rank, _here()), spot.line)


def _here() -> str:
    try:
        return os.getcwd() + os.sep
    except OSError:  # it is gone
        return ""


@cache
def _shown(file: str, rank: int, here: str) -> str:
    if rank == LIBRARY:
        mark = next(part for part in _INSTALLED if part in file)
        return file.rpartition(mark)[2].replace(os.sep, "/")
    if not os.path.isabs(file) or (here and file.startswith(here)):
        return file.removeprefix(here).replace(os.sep, "/") if here else file
    return file
