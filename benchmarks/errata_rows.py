"""All rows of `errata.py`, area by area."""

from __future__ import annotations

from errata_measures import Row
from errata_rows_audio import ROWS as AUDIO
from errata_rows_genomics import ROWS as GENOMICS
from errata_rows_image import ROWS as IMAGE
from errata_rows_text import ROWS as TEXT
from errata_rows_video import ROWS as VIDEO

ROWS: tuple[Row, ...] = (*TEXT, *AUDIO, *GENOMICS, *IMAGE, *VIDEO)

assert len({row.name for row in ROWS}) == len(ROWS), "names of rows are unique"
