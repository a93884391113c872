"""The lock as a file: what it looks like, what makes no difference, what is refused, and that nothing is lost."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rfcalc import writing
from rfcalc.baseline import lockfile
from rfcalc.baseline.lockfile import Lock, LockError, NoLockError
from rfcalc.baseline.record import CONVENTION
from rfcalc.errors import UsageError
from tests.baseline.hand import net

ROOT = Path(__file__).parent.parent.parent
LOCK = Lock({"net": net(), "another": net("another", 16)}, {"rfcalc": "1.2.3"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder with a lock in it."""
    found = tmp_path / "rfcalc.lock.json"
    found.write_bytes(lockfile.dumps(LOCK).encode())
    return found


# --- layout -----------------------------------------------------------------------------------------------------------


def test_a_lock_comes_back_as_it_was(path: Path) -> None:
    assert lockfile.read(path) == LOCK


def test_one_layer_a_line_models_by_name() -> None:
    lines = lockfile.dumps(LOCK).splitlines()

    assert lines[:4] == [
        "{",
        ' "schema": "rfcalc-lock/1",',
        ' "convention": 1,',
        ' "versions": {"rfcalc": "1.2.3"},',
    ]
    assert [line.strip() for line in lines if line.endswith('": {')] == ['"models": {', '"another": {', '"net": {']
    assert sum('"name": "b"' in line for line in lines) == 2
    (second,) = [line for line in lines if line.startswith('    {"name": "a"') and '"params": 576' in line]
    assert json.loads(second.rstrip(","))["macs"] == 46656


def test_a_wider_layer_changes_the_lines_of_what_changed_and_no_other() -> None:
    before = lockfile.dumps(Lock({"net": net()})).splitlines()
    after = lockfile.dumps(Lock({"net": net(width=9)})).splitlines()

    changed = [line.split(":")[0].strip(' {"') for line, other in zip(before, after, strict=True) if line != other]

    assert changed == ["digest", "totals", "name", "name"]


def test_a_number_beyond_a_float_stays_exact() -> None:
    big = 2**63 + 1

    assert lockfile.loads(lockfile.dumps(Lock({"net": net(macs=big)})), "lock").models["net"].totals.macs == big


# --- what makes no difference -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["line ends", "order of keys", "white space", "byte order mark"])
def test_the_layout_is_no_part_of_the_format(path: Path, layout: str) -> None:
    text = path.read_text(encoding="utf-8")
    data = json.loads(text)
    changed = {
        "line ends": text.replace("\n", "\r\n").encode(),
        "order of keys": json.dumps(data, sort_keys=True, indent=3).encode(),
        "white space": json.dumps(data, separators=(",", ":")).encode(),
        "byte order mark": b"\xef\xbb\xbf" + text.encode(),
    }[layout]
    assert changed != text.encode()
    path.write_bytes(changed)

    assert lockfile.read(path).models == LOCK.models
    lockfile.update(path, lambda lock: replace(lock, models=dict(LOCK.models)))
    assert path.read_bytes() == changed


def test_line_ends_are_kept_when_something_changes(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    lockfile.update(path, lambda lock: replace(lock, models={"net": net(width=9)}))

    content = path.read_bytes()
    assert content.count(b"\n") == content.count(b"\r\n") > 10


# --- what is refused --------------------------------------------------------------------------------------------------


def _edited(text: str) -> str:
    return text.replace('"params": 576,', '"params": 577,', 1)


def _with(key: str, value: object) -> str:
    return json.dumps({**json.loads(lockfile.dumps(LOCK)), key: value})


TEXT = lockfile.dumps(LOCK)
DAMAGED = {
    "empty": ("", "is damaged: Expecting value"),
    "truncated": (TEXT[: len(TEXT) // 2], "is damaged: "),
    "conflict": (
        TEXT.replace(' "convention"', '<<<<<<< HEAD\n "convention"').replace(' "models"', '=======\n "models"'),
        ":3 has conflict markers: a merge is not finished",
    ),
    "edited": (_edited(TEXT), "the entry of another was edited by hand or mixed by a merge"),
    "no digest": (TEXT.replace('"digest"', '"digets"', 1), "is damaged: KeyError: 'digest'"),
    "key twice": (TEXT.replace(' "models"', ' "convention": 1,\n "models"'), "the key 'convention' stands twice"),
    "layer lost": ("\n".join(line for line in TEXT.splitlines() if '"name": "b"' not in line), "is damaged"),
    "newer": (_with("schema", "rfcalc-lock/2"), "its schema is 'rfcalc-lock/2', this one knows 'rfcalc-lock/1'"),
    "other counting": (_with("convention", CONVENTION + 1), f"counts by convention {CONVENTION + 1}, this rfcalc by"),
    "other file": ('{"schema": "rfcalc-graph/1"}', "is no lock of rfcalc: expected schema 'rfcalc-lock/1'"),
    "no number": (TEXT.replace('"params": 576', '"params": NaN', 1), "is damaged: NaN is no number of JSON"),
    "a list": ("[]", "is no lock of rfcalc: expected schema 'rfcalc-lock/1', found 'list'"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_lock_that_cannot_be_used_says_so_in_a_line_and_stays(path: Path, kind: str) -> None:
    text, message = DAMAGED[kind]
    path.write_text(text, encoding="utf-8")

    with pytest.raises(LockError) as caught:
        lockfile.update(path, lambda lock: LOCK)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "rfcalc check --update" in str(caught.value)
    assert str(path) in str(caught.value)
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("kind", DAMAGED)
def test_it_is_written_anew_only_where_that_is_asked_for(path: Path, kind: str) -> None:
    path.write_text(DAMAGED[kind][0], encoding="utf-8")

    lockfile.update(path, lambda lock: replace(lock, models=LOCK.models), anew=True)

    assert lockfile.read(path).models == LOCK.models


def test_bytes_that_are_no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(LockError, match="no UTF-8 text"):
        lockfile.read(path)


def test_no_lock(tmp_path: Path) -> None:
    with pytest.raises(NoLockError, match="write it with rfcalc lock"):
        lockfile.read(tmp_path / "rfcalc.lock.json")


# --- versions ---------------------------------------------------------------------------------------------------------


def test_versions_are_no_reason_to_write(path: Path) -> None:
    before = path.read_bytes()

    lockfile.update(path, lambda lock: replace(lock, versions={"rfcalc": "9.9"}))

    assert path.read_bytes() == before


def test_torch_is_told_where_it_is_asked_for_and_from_then_on() -> None:
    assert set(lockfile.versions({}, with_torch=False)) == {"rfcalc"}
    asked = lockfile.versions({}, with_torch=True)
    assert set(asked) == {"rfcalc", "torch"}
    assert lockfile.versions({"torch": "0.1"}, with_torch=False) == asked


# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_new_lock_has_the_mode_that_the_mask_leaves(tmp_path: Path) -> None:
    path = tmp_path / "rfcalc.lock.json"
    before = os.umask(0o027)
    try:
        lockfile.update(path, lambda lock: LOCK)
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_lock_keeps_its_mode(path: Path) -> None:
    path.chmod(0o604)

    lockfile.update(path, lambda lock: Lock())

    assert stat.S_IMODE(path.stat().st_mode) == 0o604


def test_a_symbolic_link_stays_one(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "sub" / "link.json"
    link.parent.mkdir()
    link.symlink_to(path)

    lockfile.update(link, lambda lock: Lock({"net": net()}))

    assert link.is_symlink()
    assert lockfile.read(path).models == {"net": net()}


def test_a_folder_that_cannot_be_written_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write .*missing"):
        lockfile.update(tmp_path / "missing" / "rfcalc.lock.json", lambda lock: LOCK)


@pytest.mark.parametrize("step", ["fsync", "replace", "chmod"])
def test_a_write_that_fails_leaves_the_old_lock_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fails(*args: object) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(writing.os, step, fails)

    with pytest.raises(UsageError, match="No space left on device"):
        lockfile.update(path, lambda lock: Lock())

    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def _add(path: Path, number: int) -> None:
    name = f"net{number}"
    lockfile.update(path, lambda lock: replace(lock, models={**lock.models, name: net(name, number + 1)}))


def _add_with_markers(path: Path, number: int) -> None:
    writing.fcntl = None  # type: ignore[assignment]
    _add(path, number)


@pytest.mark.parametrize("add", [_add, _add_with_markers])
def test_writers_at_the_same_time_lose_nothing(tmp_path: Path, add: object) -> None:
    path = tmp_path / "rfcalc.lock.json"
    with multiprocessing.get_context("fork").Pool(8) as pool:
        pool.starmap(add, [(path, number) for number in range(48)])  # type: ignore[arg-type]

    assert sorted(lockfile.read(path).models) == sorted(f"net{number}" for number in range(48))
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("markers", [False, True])
def test_a_writer_that_never_ends_is_named(path: Path, monkeypatch: pytest.MonkeyPatch, markers: bool) -> None:
    monkeypatch.setattr(writing, "_PATIENCE", 0.05)
    if markers:
        monkeypatch.setattr(writing, "fcntl", None)

    with (
        writing.held(path),
        pytest.raises(UsageError, match="another program has held"),
    ):
        lockfile.update(path, lambda lock: Lock())

    lockfile.update(path, lambda lock: Lock())
    assert lockfile.read(path).models == {}


# --- the same from every process --------------------------------------------------------------------------------------


def test_the_lock_does_not_depend_on_the_hash_seed() -> None:
    code = (
        "from rfcalc.api import layer_graph; from rfcalc.baseline import lockfile, record\n"
        "names = 'resnet18', 'inception-reduced'\n"
        "sizes = {'resnet18': (3, 64, 64), 'inception-reduced': (192, 14, 14)}  # other sizes than those that ship\n"
        "entries = {name: record.entry_of(layer_graph(name, sizes[name]), name, name) for name in names}\n"
        "print(lockfile.dumps(lockfile.Lock(entries)), 'hash of a text:', hash('text'))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", code]
    there = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=300)
    here = io.StringIO()
    with contextlib.redirect_stdout(here):
        exec(code, {})
    texts, hashes = zip(*(text.split("hash of a text:") for text in (there.stdout, here.getvalue())), strict=True)

    assert hashes[0] != hashes[1]
    assert texts[0] == texts[1]
    assert '"conv2_1/conv1"' in texts[0]
