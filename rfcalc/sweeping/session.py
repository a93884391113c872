"""A sweep from its models to their rows: what is there already is kept, what is new is written down at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

from rfcalc.sweeping import record
from rfcalc.sweeping.patterns import Item
from rfcalc.sweeping.row import Row, asked
from rfcalc.sweeping.run import How, rows


@dataclass
class Session:
    """The models of a sweep and the rows there are.

    ``path`` is the file that rows are added to as they come, None for none. Opening a session reads it, and raises
    `UsageError` if it is something else. ``retry`` does the models again that have failed.
    """

    items: Sequence[Item]
    how: How
    path: Path | None = None
    retry: bool = False

    def __post_init__(self) -> None:
        self._kept = record.Kept() if self.path is None else record.read(self.path)
        self._rows = {item.name: item.row for item in self.items if item.row is not None}
        for item in self.items:
            row = self._kept.rows.get((item.name, asked(self.how.inputs)))
            if row is not None and item.name not in self._rows:
                self._rows[item.name] = row
        self.left = [item for item in self.items if self._is_left(item)]

    def _is_left(self, item: Item) -> bool:
        row = self._rows.get(item.name)
        return row is None or (self.retry and row.failed and item.row is None)

    @property
    def cut(self) -> bool:
        """Whether the last line of the file breaks off; it is dropped when the next row is written."""
        return self._kept.cut

    @property
    def rows(self) -> list[Row]:
        """The rows so far, in the order of the models."""
        return [self._rows[item.name] for item in self.items if item.name in self._rows]

    def run(self) -> Iterator[Row]:
        """Fill the rows that are left; each is in the file before it is given."""
        with (
            nullcontext() if self.path is None else closing(record.Writer(self.path, self._kept)) as writer,
            closing(rows(self.left, self.how)) as found,
        ):
            for row in found:
                self._rows[row.model] = row
                if writer is not None:
                    writer.add(row)
                yield row
