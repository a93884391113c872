"""Where in the user's code an op was called: the file and line of the innermost frame that is neither torch's nor ours.

Code of the user's own comes before code of an installed library, from wherever it was called: of a model built around
torchvision's ResNet, all ops of the ResNet have the line that calls it; of torchvision's ResNet itself, its own lines.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
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
#: A spot from its fields in a tuple, in a third of the time that its class takes.
make_spot = partial(tuple.__new__, Spot)


class _Ranks(dict[str, int]):
    """What files are to the user, by the names that their code has; each is looked at once."""

    def __missing__(self, file: str) -> int:
        rank = self[file] = rank_of(file)
        return rank


RANKS = _Ranks()


def rank_of(file: str) -> int:
    """What a file is to the user."""
    if file == _FORWARD:
        return BEGINS
    if file.startswith("<"):
        return OWN if file.startswith(_TYPED) else NONE
    if file.startswith(_NO_PLACES):
        return NONE
    if any(part in file for part in _INSTALLED):
        return LIBRARY
    return NONE if file.startswith(_STDLIB) else OWN


def namer() -> Callable[[Spot], Place | None]:
    """What names spots as places of code are shown: below the working directory or a library's folder.

    None is for code that is neither the user's nor a library's.
    """
    try:
        here = os.getcwd() + os.sep
    except OSError:  # it is gone
        here = ""
    return cache(lambda spot: None if spot.rank <= NONE else Place(_shown(spot.file, spot.rank, here), spot.line))


def _shown(file: str, rank: int, here: str) -> str:
    if rank == LIBRARY:
        mark = next(part for part in _INSTALLED if part in file)
        return file.rpartition(mark)[2].replace(os.sep, "/")
    return file.removeprefix(here).replace(os.sep, "/") if here and file.startswith(here) else file
