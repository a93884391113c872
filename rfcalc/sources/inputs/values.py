"""Inputs given by their values, not by their shapes alone: a fill, a range, a list, or a file. Tensors come late."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfcalc.errors import UsageError

if TYPE_CHECKING:
    import torch

#: Files that hold one array or tensor.
SUFFIXES = (".npy", ".pt", ".pth")


@dataclass(frozen=True)
class Values:
    """One input by its values; ``text`` is how it was typed.

    ``fill`` is the number in every place of a tensor of that ``shape``, None for 0, 1, 2, ... along its last axis;
    ``listed`` has numbers in nested lists instead, and ``path`` is a file with an array or a tensor.
    """

    text: str
    shape: tuple[int, ...] = ()
    fill: bool | int | float | None = None
    listed: Any = None
    path: str = ""

    def __str__(self) -> str:
        return self.text.partition("=")[2] or self.text

    def tensor(self, floats: torch.dtype) -> torch.Tensor:
        """The tensor: whole numbers as int64, truth values as bool, numbers with a fraction as ``floats``.

        Raises `UsageError` for a file that cannot be read, and for what is no tensor.
        """
        import torch

        try:
            if self.path:
                return _read(self.path)
            if self.listed is not None:
                made = torch.tensor(self.listed)
            elif self.fill is None:
                made = torch.arange(self.shape[-1]).expand(self.shape).contiguous()
            else:
                made = torch.full(self.shape, self.fill)
        except (RuntimeError, ValueError, TypeError, OverflowError, MemoryError) as error:
            line = (str(error).splitlines() or [type(error).__name__])[0]
            raise UsageError(f"--input {self.text}: no tensor can be made of it: {line}") from None
        return made.to(floats) if made.is_floating_point() else made


def _read(path: str) -> torch.Tensor:
    """The array or the tensor in a file, without running anything in it."""
    import numpy as np
    import torch

    file = Path(path)
    if not file.is_file():
        raise UsageError(f"--input: there is no file {path}")
    try:
        if file.suffix == ".npy":
            return torch.from_numpy(np.load(file, allow_pickle=False))
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in many ways
        line = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise UsageError(f"--input: {path} cannot be read as an array of numbers: {line[:120]}") from None
    if not isinstance(found, torch.Tensor):
        raise UsageError(f"--input: {path} holds a {type(found).__name__}, and an input is one tensor: save that alone")
    return found.detach()


def with_tensors(inputs: Any, floats: torch.dtype) -> Any:
    """The inputs of a user's with tensors in the place of values."""
    if isinstance(inputs, Values):
        return inputs.tensor(floats)
    if isinstance(inputs, dict) and any(isinstance(value, Values) for value in inputs.values()):
        return {name: with_tensors(value, floats) for name, value in inputs.items()}
    return inputs


def given_among(inputs: Any) -> Iterator[str]:
    """What was typed for those of the inputs that are given by their values."""
    for value in inputs.values() if isinstance(inputs, dict) else [inputs]:
        if isinstance(value, Values):
            yield value.text
