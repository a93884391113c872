"""Published numbers of real models, each rebuilt from a public package and held against what was stated.

    python benchmarks/errata.py --list
    python benchmarks/errata.py --only resnet50-params
    python benchmarks/errata.py [--again]

builds the model of each row without weights (`errata_rows_*.py` hold the rows as data), measures the quantity twice, by
rfcalc and by a way that shares no code with it (`errata_measures.py`), and says whether what was stated is

- equal: to the unit, or to the last digit that was stated;
- another convention: the number by a rule of its own, which is rebuilt as well, in both ways, and is what was stated;
- wrong: neither.

A row whose two ways differ is no row: it is said, and the command exits with 1. It writes
``benchmarks/results/errata.jsonl``, a line a row and kept between runs, and ``docs/errata.md`` from it. A row needs the
packages that it names; a row whose packages are not installed is left as it is, and named.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click
from errata_measures import ROOT, WHOLE, Built, Number, Row  # beside this file

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", YOLO_OFFLINE="1")

RESULTS = ROOT / "benchmarks" / "results" / "errata.jsonl"
DOCUMENT = ROOT / "docs" / "errata.md"
UNITS = {"k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12, "P": 10**15, "%": 1, "ms": 1}
AREAS = ("image", "video", "audio", "speech", "genomics", "text", "3-D")


# --- what was stated --------------------------------------------------------------------------------------------------


def stated(row: Row) -> tuple[Number, Fraction]:
    """The number that was stated, and what its last digit stands for."""
    if row.says == WHOLE:
        return WHOLE, Fraction(0)
    digits, _, unit = row.says.replace(",", "").replace("+", "").partition(" ")
    factor = UNITS[unit] if unit else 1
    last = Fraction(factor, 10 ** len(digits.partition(".")[2]))
    if row.exact or (not unit and "." not in digits):
        last = Fraction(0)
    return Fraction(digits) * factor, Fraction(row.step) if row.step is not None else last


def agrees(row: Row, value: Number) -> bool:
    """Whether a number is the one that was stated, to its last digit."""
    said, last = stated(row)
    if isinstance(said, str) or isinstance(value, str):
        return said == value
    return abs(Fraction(value) - said) <= last / 2


# --- one row ----------------------------------------------------------------------------------------------------------


def rebuilt(row: Row) -> dict[str, Any]:
    """The row as a line of results: both numbers, and the verdict."""
    start = time.perf_counter()
    model = Built(row.model)
    found: dict[str, Any] = {"name": row.name, "area": row.area, "subject": row.subject, "says": row.says}
    found |= {"source": row.source, "url": row.url, "package": row.package, "model": row.model}
    found |= {"quantity": row.measure.what, "ways": row.measure.ways, "note": row.note}
    ours, theirs = row.measure.ours(model), row.measure.theirs(model)
    found |= {"ours": plain(ours), "theirs": plain(theirs), "verdict": "", "convention": "", "by_convention": None}
    if ours != theirs:
        found["verdict"] = "the two ways differ"
    elif agrees(row, ours):
        found["verdict"] = "equal"
    else:
        found |= _by_convention(row, model)
    found["seconds"] = round(time.perf_counter() - start, 1)
    return found


def _by_convention(row: Row, model: Built) -> dict[str, Any]:
    """The first convention of the row by which the stated number comes out, in both ways; else the verdict is wrong."""
    named = [("another convention", row.others), ("wrong", row.slip)]
    for verdict, name, measure in ((verdict, *item) for verdict, some in named for item in (some or {}).items()):
        ours, theirs = measure.ours(model), measure.theirs(model)
        if ours != theirs:
            return {"verdict": "the two ways differ", "convention": f"{name}: {plain(ours)}, {plain(theirs)}"}
        if agrees(row, ours):
            return {"verdict": verdict, "convention": name, "by_convention": plain(ours)}
    return {"verdict": "wrong"}


def plain(value: Number) -> int | str:
    """An integer, a fraction as text, or a word."""
    if isinstance(value, str):
        return value
    value = Fraction(value)
    return value.numerator if value.denominator == 1 else str(value)


def number(value: int | str) -> Number:
    """What `plain` made text of."""
    return Fraction(value) if isinstance(value, str) and value != WHOLE else value


def missing(row: Row) -> list[str]:
    """The packages of a row that are not here, as pip names them."""
    lacking = []
    for one in row.package.split():
        name = one.partition("==")[0]
        try:
            version(name)
        except PackageNotFoundError:
            lacking.append(one)
    return lacking


def others_than_pinned(rows: Iterable[Row]) -> dict[str, str]:
    """Packages that are here in another version than the rows name: name==version to what is here."""
    found = {}
    for one in {one for row in rows for one in row.package.split()}:
        name, _, pinned = one.partition("==")
        try:
            here = version(name)
        except PackageNotFoundError:
            continue
        if here.partition("+")[0] != pinned:
            found[one] = here
    return found


# --- the document -----------------------------------------------------------------------------------------------------


HEAD = """\
# Errata: published numbers, held against the code

Numbers that papers, model cards, documents and tools state about real models, each rebuilt from a public package by one
command, twice: by rfcalc, and by a way that shares no code with it (torch's FlopCounterMode for multiply-adds, the sum
over a module's parameters, hooks for activations, and for receptive fields NaN in a part of the input and which units
it reaches). Both ways agree on every row, or it would not be here.

- *equal*: the stated number, to the unit or to the last digit that was stated;
- *another convention*: the number by a rule of its own, which is named and was rebuilt as well, both ways;
- *wrong*: by neither; where it is known how the number came about, that was rebuilt too. The model is the one that the
  source names, as its own or the most used public package builds it.

A table like this one is no judgement on papers: rounding and the counts of another day are in it too. It says what one
has to type today to get a number that can be defended.

"""

TAIL = """\
## Rebuilding a row

Each row names what to install, in the version that it was rebuilt with. In a checkout, for the row `{example}`:

    pip install . {package}
    python benchmarks/errata.py --only {example}

builds the model without weights, prints both numbers and the verdict, and exits with 1 if the two ways differ; a row
whose packages are missing says which. Without `--only` the command fills `benchmarks/results/errata.jsonl`, which holds
all of this and the expressions that build the models, and writes this page from it. The rows are data, in
`benchmarks/errata_rows_*.py`; a row is added there, with a source that one can read. What cannot be rebuilt exactly is
not listed.
"""


def document(rows: list[dict[str, Any]]) -> str:
    """docs/errata.md from the lines of results."""
    good = [row for row in rows if row["verdict"] in ("equal", "another convention", "wrong")]
    counts = Counter(row["verdict"] for row in good)
    lines = [HEAD + f"{len(good)} rows: " + ", ".join(f"{counts[one]} {one}" for one in VERDICTS) + ".", ""]
    for area in AREAS:
        chosen = [row for row in good if row["area"] == area]
        if not chosen:
            continue
        lines += [f"## {area[0].upper()}{area[1:]}", "", *_table(chosen), ""]
        notes = [f"- `{row['name']}`: {row['note']}" for row in chosen if row["note"]]
        lines += [*notes, ""] if notes else []
        packages = sorted({f"`{one}`" for row in chosen for one in row["package"].split()})
        lines += [f"Packages: {', '.join(packages)}.", ""]
    example = good[0]
    tail = TAIL.format(example=example["name"], package=example["package"])
    return "\n".join(lines) + "\n" + tail


VERDICTS = ("equal", "another convention", "wrong")


def _table(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["| row | model and quantity | stated | rebuilt | verdict |", "|---|---|---|---|---|"]
    for row in rows:
        verdict = row["verdict"]
        if row["convention"]:
            verdict = f"{verdict}: {row['convention']}, {grouped(row['by_convention'])}"
        says = f"{row['says']} ([{row['source']}]({row['url']}))"
        cells = (f"`{row['name']}`", f"{row['subject']}: {row['quantity']}", says, grouped(row["ours"]), verdict)
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def grouped(value: int | str | None) -> str:
    """A number with thousands, a fraction with three digits and as it is."""
    if isinstance(value, str) and "/" in value:
        return f"{float(Fraction(value)):,.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


# --- the command ------------------------------------------------------------------------------------------------------


def kept() -> dict[str, dict[str, Any]]:
    """The lines of results by name."""
    if not RESULTS.exists():
        return {}
    lines = map(json.loads, RESULTS.read_text(encoding="utf-8").splitlines())
    return {line["name"]: line for line in lines}


#: What a line says of its row, and no number depends on.
TEXTS = ("area", "subject", "says", "source", "url", "note")


def same(row: Row, line: dict[str, Any] | None) -> bool:
    """Whether a line is what this row would be rebuilt as: the same model, quantity and verdict."""
    if line is None or agrees(row, number(line["ours"])) != (line["verdict"] == "equal"):
        return False
    if line["convention"] and not agrees(row, number(line["by_convention"])):
        return False
    return (line["quantity"], line["package"], line["model"]) == (row.measure.what, row.package, row.model)


def told(row: Row) -> dict[str, str]:
    """The texts of a row, as a line has them."""
    return {name: getattr(row, name) for name in TEXTS}


def save(rows: tuple[Row, ...], found: Mapping[str, dict[str, Any]]) -> None:
    """All lines in the order of the rows, with their texts of today, and the document."""
    lines = [found[row.name] | told(row) for row in rows if row.name in found]
    RESULTS.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    if lines:
        DOCUMENT.write_text(document(lines), encoding="utf-8")


@click.command(help=__doc__)
@click.option("--only", multiple=True, help="A row by its name; may be given more than once.")
@click.option("--again", is_flag=True, help="Also rows that have been rebuilt already.")
@click.option("--list", "listing", is_flag=True, help="Print the rows, and rebuild none.")
@click.option("--write/--no-write", default=None, help="Whether results and document are written; not with --only.")
def main(only: tuple[str, ...], again: bool, listing: bool, write: bool | None) -> None:
    """Rebuild the rows."""
    from errata_rows import ROWS

    warnings.simplefilter("ignore")
    names = {row.name: row for row in ROWS}
    unknown = [name for name in only if name not in names]
    if unknown:
        raise click.UsageError(f"no row {unknown[0]!r}; --list has all {len(names)}")
    chosen = [names[name] for name in only] or list(ROWS)
    if listing:
        for row in chosen:
            click.echo(f"{row.name}: {row.subject}, {row.says} ({row.source}); {row.package}")
        return
    write = not only if write is None else write
    found, failed = kept(), False
    for pinned, here in others_than_pinned(chosen).items():
        click.echo(f"note: {pinned} is pinned, {here} is installed", err=True)
    for row in chosen:
        lacking = missing(row)
        if lacking:
            click.echo(f"{row.name}: needs pip install {' '.join(lacking)}", err=True)
            failed |= bool(only)
        elif only or again or not same(row, found.get(row.name)):
            failed |= not _shown(row, found)
            if write:
                save(ROWS, found)
            gc.collect()
    if write:
        save(ROWS, found)
    sys.exit(1 if failed else 0)


def _shown(row: Row, found: dict[str, dict[str, Any]]) -> bool:
    """Rebuild a row and print it; whether its two ways agree."""
    try:
        line = rebuilt(row)
    except Exception as error:  # one row's package is no reason to lose the others
        found.pop(row.name, None)
        click.echo(f"{row.name}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", err=True)
        return False
    verdict = line["verdict"] + (f" ({line['convention']}: {line['by_convention']})" if line["convention"] else "")
    click.echo(f"{row.name}: stated {row.says}; rfcalc {line['ours']}, {line['ways']} {line['theirs']}: {verdict}")
    if line["verdict"] not in VERDICTS:
        found.pop(row.name, None)
        return False
    found[row.name] = line
    return True


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
