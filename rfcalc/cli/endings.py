"""What the ending of ``-o FILE`` says of its format, in one place for all commands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from rfcalc.errors import UsageError

#: The formats of tables by ending.
TABLES = {
    **dict.fromkeys((".txt", ".text"), "table"),
    ".json": "json",
    ".csv": "csv",
    **dict.fromkeys((".md", ".markdown"), "markdown"),
    **dict.fromkeys((".tex", ".latex"), "latex"),
    **dict.fromkeys((".html", ".htm"), "html"),
}
#: Those of pictures.
DRAWN = {".svg": "svg", ".png": "png", ".pdf": "pdf"}
#: Formats of their own kinds that are written in a file of another's ending.
_WITHIN = {"benchmark": ".json", "lines": ".json", "github": ".txt"}


def format_of(
    asked: str | None,
    path: str | None,
    endings: Mapping[str, str] = TABLES,
    *,
    draws: bool = False,
    default: str = "table",
) -> str:
    """The format: the one asked for, or that of the file's ending, or the default one.

    Raises `UsageError` where the two disagree, and for the ending of a picture where the command ``draws`` none.
    """
    ending = "" if path in (None, "-") else PurePath(path or "").suffix.lower()
    if ending in DRAWN and not draws and ending not in endings:
        others = ", ".join(endings)
        raise UsageError(f"-o {path}: this command draws no picture; end the file in {others}, or see rfcalc plot")
    meant = endings.get(ending) or (DRAWN.get(ending) if draws else None)
    if asked is None:
        return meant or default
    if meant is not None and meant != asked and _WITHIN.get(asked) != ending:
        raise UsageError(
            f"-o {path} and --format {asked} disagree: its ending means {meant}; leave one out, or name another file"
        )
    return asked
