"""What is kept from one analysis for the next, of the same model or of another: where it is forgotten."""

from __future__ import annotations

from collections.abc import Callable

_FORGETS: list[Callable[[], None]] = []


def forgets(function: Callable[[], None]) -> Callable[[], None]:
    """Have a function called that forgets what its module keeps."""
    _FORGETS.append(function)
    return function


def forget() -> None:
    """Forget all that is kept: the next analysis works everything out."""
    for function in _FORGETS:
        function()
