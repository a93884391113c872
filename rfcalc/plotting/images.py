"""A picture to draw over: read, brought to the size of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rfcalc.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

_ELSE = "give a PNG or a JPEG file"


@dataclass(frozen=True)
class Picture:
    """An image in colour, upright; ``size`` is (rows, columns)."""

    path: str
    image: Any
    size: tuple[int, int]

    def fitted(self, rows: int, cols: int) -> np.ndarray:
        """The picture as an array (rows, cols, 3) of bytes, resized where its size is another."""
        import numpy as np
        from PIL.Image import Resampling

        same = self.size == (rows, cols)
        return np.asarray(self.image if same else self.image.resize((cols, rows), Resampling.LANCZOS))


def open_picture(path: str) -> Picture:
    """The picture in a file. Raises `UsageError` for what is none."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
    except UnidentifiedImageError:
        raise UsageError(f"--image {path}: this is no picture that can be read; {_ELSE}") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UsageError(f"--image {path}: cannot read it: {reason}; {_ELSE}") from error
    return Picture(path, image, (image.height, image.width))
