"""The file of rows: appended to, read back, and left alone where it is something else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rfcalc.errors import UsageError
from rfcalc.sweeping.record import Writer, is_record, read
from rfcalc.sweeping.row import Row

FIRST, SECOND = Row("vgg16", status="complete", params=138_357_544), Row("vgg61", error="unknown")


def lines(*rows: Row) -> str:
    return "".join(f"{row.line()}\n" for row in rows)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


def test_rows_are_in_the_file_at_once(path: Path) -> None:
    writer = Writer(path, read(path))
    writer.add(FIRST)
    assert path.read_text(encoding="utf-8") == lines(FIRST)
    writer.add(SECOND)
    assert path.read_text(encoding="utf-8") == lines(FIRST, SECOND)
    writer.close()

    assert read(path).rows == {("vgg16", None): FIRST, ("vgg61", None): SECOND}
    assert is_record(path)


def test_of_two_rows_for_one_question_the_later_counts(path: Path) -> None:
    again, other = Row("vgg61", status="complete", params=5), Row("vgg61", "3x9x9", "complete", params=6)
    path.write_text(lines(SECOND, FIRST, again, other), encoding="utf-8")

    assert read(path).rows == {("vgg61", None): again, ("vgg16", None): FIRST, ("vgg61", "3x9x9"): other}


@pytest.mark.parametrize("left", [1, 10, 60, len(SECOND.line())])
def test_a_line_that_breaks_off_is_dropped(left: int, path: Path) -> None:
    path.write_text(lines(FIRST) + SECOND.line()[:left], encoding="utf-8")

    kept = read(path)
    assert kept.cut
    assert kept.rows == {("vgg16", None): FIRST}
    assert path.read_text(encoding="utf-8") == lines(FIRST) + SECOND.line()[:left]
    writer = Writer(path, kept)
    writer.add(SECOND)
    writer.close()

    assert path.read_text(encoding="utf-8") == lines(FIRST, SECOND)


def _changed(**values: object) -> str:
    return json.dumps({"schema": "rfcalc-sweep/1", **FIRST.to_dict(), **values}) + "\n"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("my notes, without a line break", 1),
        ("my notes\n", 1),
        ("model,input\nvgg16,\n", 1),
        (lines(FIRST) + "\n", 2),
        (lines(FIRST) + '{"schema": "rfcalc/1"}\n' + lines(SECOND), 2),
        (lines(FIRST) + "[]\n", 2),
        (lines(FIRST)[:40] + "\n" + lines(SECOND), 1),
        (_changed(schema="rfcalc-sweep/2"), 1),
        (_changed(more=1), 1),
        (_changed(size=5), 1),
        (_changed(stride=["a", "b"]), 1),
        (_changed(inputs=None), 1),
        ("\x00\xff\n", 1),
    ],
)
def test_anything_else_is_left_alone(text: str, number: int, path: Path) -> None:
    path.write_text(text, encoding="latin-1")

    with pytest.raises(UsageError, match=rf"line {number} of it is no row of a sweep .* name another file"):
        read(path)
    assert path.read_text(encoding="latin-1") == text


def test_no_file_and_an_empty_one_hold_nothing(path: Path) -> None:
    assert not read(path).rows
    path.touch()
    assert not read(path).rows
    assert not is_record(path)


def test_what_cannot_be_read_or_written(tmp_path: Path, path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read(tmp_path)
    with pytest.raises(UsageError, match="cannot write"):
        Writer(tmp_path / "none" / "rows.jsonl", read(path))
