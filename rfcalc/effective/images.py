"""The images to take the gradient at: random ones, given ones, or pictures from files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rfcalc.errors import LoadError, UsageError

#: How many random images where nothing is said.
USUAL = 8
#: Mean and deviation of the channels of ImageNet's training images, which most published weights were trained with.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_EXPECTED = "a number, a tensor of images, or files"


class Images:
    """The values of one input, one after the other. ``text`` says what they are."""

    def __init__(self, asked: Any, example: torch.Tensor, seed: int) -> None:
        """``example`` is the input of the call, whose numbers count if it has any; ``asked`` goes before it."""
        self._shape, self._dtype, self._seed = tuple(example.shape), example.dtype, seed
        self._given: list[torch.Tensor] | None = None
        if asked is None and example.is_meta:
            asked = USUAL
        if isinstance(asked, int) and not isinstance(asked, bool):
            self._random(asked)
        elif isinstance(asked, str | Path):
            self._files([asked])
        elif isinstance(asked, list | tuple) and asked and all(isinstance(item, str | Path) for item in asked):
            self._files(asked)
        else:
            self._tensor(example if asked is None else asked)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[torch.Tensor]:
        if self._given is not None:
            yield from self._given
            return
        generator = torch.Generator().manual_seed(self._seed)
        for _ in range(self._count):
            yield torch.randn(self._shape, generator=generator).to(self._dtype)

    def _random(self, count: int) -> None:
        if count < 1:
            raise UsageError(f"at least one image is needed, got {count}")
        self._count = count
        self.text = f"{count} random normal, seed {self._seed}"

    def _files(self, paths: Sequence[str | Path]) -> None:
        self._given = [_picture(Path(path), self._shape).to(self._dtype) for path in paths]
        self._count = len(self._given)
        names = ", ".join(Path(path).name for path in paths[:3])
        self.text = f"{names}{f' and {self._count - 3} more' if self._count > 3 else ''}"

    def _tensor(self, asked: Any) -> None:
        try:
            values = torch.as_tensor(asked).detach().to("cpu", self._dtype)
        except (TypeError, ValueError, RuntimeError):
            raise UsageError(f"cannot use a {type(asked).__name__} as images: expected {_EXPECTED}") from None
        self._given = _groups(values, self._shape)
        self._count = len(self._given)
        self.text = f"{self._count} given"


def _groups(values: torch.Tensor, shape: tuple[int, ...]) -> list[torch.Tensor]:
    """A tensor of images as inputs of that shape: it is one, or holds several of them, or several batches in a row."""
    if values.shape == shape:
        return [values]
    if values.shape[1:] == shape:
        return list(values)
    if values.ndim == len(shape) and values.shape[1:] == shape[1:] and len(values) and len(values) % shape[0] == 0:
        return [values[at : at + shape[0]] for at in range(0, len(values), shape[0])]
    texts = ["x".join(map(str, found)) or "a scalar" for found in (values.shape, shape)]
    raise UsageError(f"the images are {texts[0]}, which holds no input of {texts[1]}")


def _picture(path: Path, shape: tuple[int, ...]) -> torch.Tensor:
    """A picture at the size of the input, without cutting, as most published weights expect it."""
    if len(shape) < 3 or shape[-3] not in (1, 3):
        raise UsageError(f"an image has 1 or 3 channels and two axes, and the input is {'x'.join(map(str, shape))}")
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise LoadError("--image needs Pillow, which is not installed: pip install 'rfcalc[plot]'") from None
    channels, height, width = shape[-3:]
    try:
        with Image.open(path) as picture:
            sized = picture.convert("RGB" if channels == 3 else "L").resize((width, height), Image.Resampling.BILINEAR)
    except UnidentifiedImageError:
        raise UsageError(f"{path} is no image that Pillow knows") from None
    except OSError as error:
        raise UsageError(f"cannot read the image {path}: {error.strerror or error}") from error
    values = np.asarray(sized, dtype=np.float32).reshape(height, width, channels).transpose(2, 0, 1) / 255
    if channels == 3:
        values = (values - np.reshape(_MEAN, (3, 1, 1))) / np.reshape(_DEVIATION, (3, 1, 1))
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).expand(shape).clone()
