"""Where matplotlib comes in: figures made without pyplot, files that are the same every time, colours."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rfcalc.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Okabe and Ito's colours, which people with any kind of colour vision tell apart; without the yellow, which is faint
#: on white, and with a grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C")
MARKERS = "osD^vPXh"
INK, FAINT, OUTSIDE = "#222222", "#B8B8B8", "#E9E9E9"

#: What a file says of its making: nothing that differs from day to day or from machine to machine.
_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": "rfcalc", "Format": None, "Type": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": "rfcalc"},
    "png": {"Software": "rfcalc"},
}
FORMATS = tuple(_METADATA)
_DPI = 120
_LONGEST = 60  #: characters of a name that a drawing has room for
_MOST_INCHES = 500  #: of a PNG of 60,000 pixels; matplotlib stops at 65,535


def need_matplotlib() -> None:
    """Raises `UsageError` with the command that installs matplotlib where it is not there."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError("drawing needs matplotlib, which is not installed: pip install 'rfcalc[plot]'") from None


@contextmanager
def settings() -> Iterator[None]:
    """matplotlib's own defaults for a while, not the user's, and what makes files the same every time."""
    need_matplotlib()
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)  # a box in its place says enough
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.hashsalt": "rfcalc", "svg.fonttype": "path", "font.size": 9})
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches. Raises `UsageError` for one that no file can hold."""
    from matplotlib.figure import Figure

    if max(width, height) > _MOST_INCHES:
        raise UsageError("a picture of this would be too large: fold modules with --depth, or ask for --format dot")
    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")


def render(figure: Figure, format: str) -> bytes:
    """The figure as a file, ``svg``, ``png`` or ``pdf``: the same bytes every time with one version of matplotlib."""
    target = io.BytesIO()
    with settings():
        figure.savefig(target, format=format, metadata=_METADATA[format], bbox_inches="tight", pad_inches=0.12)
    return target.getvalue()


def colour(number: int) -> str:
    """The colour of the layer or the line with this number."""
    return COLOURS[number % len(COLOURS)]


def words(text: str, longest: int = _LONGEST) -> str:
    """The text as matplotlib shows it: a dollar begins no formula, an underscore hides no legend, no end is lost."""
    if len(text) > longest:
        text = f"{text[: longest - 13]}...{text[-10:]}"
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
