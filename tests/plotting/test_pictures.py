"""The pictures of the documents are what their command draws today."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "docs" / "pictures"
LARGEST = 150_000

_WORD = re.compile(r"<!-- (.*?) -->", re.DOTALL)
_BOX = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')


def pictures() -> dict[str, str]:
    found: dict[str, str] = runpy.run_path(str(FOLDER / "make.py"))["PICTURES"]
    return found


def words(svg: str) -> list[str]:
    """The texts of a drawing, which matplotlib notes beside their outlines, but for the numbers along the axes."""
    return sorted(word for word in _WORD.findall(svg) if not re.fullmatch(r"[\u2212\d.]+", word))


def shape(svg: str) -> tuple[int, int]:
    """Width and height, which depend on the version of matplotlib by some pixels, in steps of 20."""
    match = _BOX.search(svg)
    assert match is not None
    return round(float(match[1]) / 20), round(float(match[2]) / 20)


def test_the_committed_pictures_are_what_the_command_draws(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    runpy.run_path(str(FOLDER / "make.py"))["make"](tmp_path)

    for name in pictures():
        fresh, kept = ((folder / name).read_text(encoding="utf-8") for folder in (tmp_path, FOLDER))
        assert words(kept) == words(fresh), name
        assert len(words(kept)) > 5, name
        assert all(abs(a - b) <= 1 for a, b in zip(shape(kept), shape(fresh), strict=True)), name
        assert len(re.findall(r"<(path|use|image) ", kept)) > 20


def test_the_pictures_are_small() -> None:
    sizes = {name: (FOLDER / name).stat().st_size for name in (*pictures(), "cat.png")}

    assert {name: size for name, size in sizes.items() if size > LARGEST} == {}
    assert [path.name for path in FOLDER.glob("*.svg") if path.name not in sizes] == []


def test_the_document_shows_each_with_its_command() -> None:
    text = " ".join((ROOT / "docs" / "plot.md").read_text(encoding="utf-8").split())

    for name, arguments in pictures().items():
        assert f"](pictures/{name})" in text
        assert f"rfcalc plot {arguments} -o {name}" in text
