"""A sweep from its models to their rows: what is there already is kept, what is new is written down at once."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing, nullcontext
from pathlib import Path

from rfcalc.sweeping import record
from rfcalc.sweeping.patterns import Item
from rfcalc.sweeping.row import Key, Row, asked
from rfcalc.sweeping.run import How, rows


class Session:
    """The models of a sweep and the rows there are."""

    def __init__(self, items: Sequence[Item], how: How, path: Path | None = None, retry: bool = False) -> None:
        """Read the file ``path``, to which rows are added as they come; None for no file.

        ``retry`` does the models again that have failed. Raises `UsageError` for a file that is something else.
        """
        self.path = path
        self._how = how
        self._kept = record.Kept() if path is None else record.read(path)
        self._items = {self._key(item): item for item in reversed(items)}  # of several for one question the first
        self._keys = list(dict.fromkeys(self._key(item) for item in items))
        given = {item.row.key: item.row for item in items if item.row is not None}
        self._new = [row for key, row in given.items() if key not in self._kept.rows]
        self._rows = {**given, **self._kept.rows}
        self.left = [self._items[key] for key in self._keys if self._is_left(key, retry)]

    def _key(self, item: Item) -> Key:
        return (item.name, asked(self._how.inputs)) if item.row is None else item.row.key

    def _is_left(self, key: Key, retry: bool) -> bool:
        row, item = self._rows.get(key), self._items[key]
        if row is None or (retry and row.failed and item.row is None):
            return True
        return item.memory and item.row is None and row.peak_bytes is None and not row.failed

    def __len__(self) -> int:
        """How many models there are."""
        return len(self._keys)

    @property
    def cut(self) -> bool:
        """Whether the last line of the file breaks off; it is dropped when the next row is written."""
        return self._kept.cut

    @property
    def rows(self) -> list[Row]:
        """The rows so far, in the order of the models."""
        return [self._rows[key] for key in self._keys if key in self._rows]

    def run(self) -> Generator[Row]:
        """Fill the rows that are left; each is in the file before it is given."""
        with (
            nullcontext() if self.path is None else closing(record.Writer(self.path, self._kept)) as writer,
            closing(rows(self.left, self._how)) as found,
        ):
            if writer is not None:
                for row in self._new:
                    writer.add(row)
            for row in found:
                self._rows[row.key] = row
                if writer is not None:
                    writer.add(row)
                yield row
