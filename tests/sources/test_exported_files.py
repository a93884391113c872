"""Files that are no exported program, or a damaged or a hostile one: one line, and no code of theirs is run."""

from __future__ import annotations

import io
import logging
import random
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import Dim

import rfcalc
from rfcalc.api import layer_graph
from rfcalc.errors import LoadError, RfcalcError
from tests.sources.test_exported import exported, image

pytestmark = pytest.mark.filterwarnings("default")  # torch.export warns of what it will do in later versions

Change = Callable[[str, bytes], bytes | None]


def rewritten(source: str, target: Path, change: Change) -> str:
    """The archive with the content of each file changed, or the file left out where that gives None."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for item in old.infolist():
            content = change(item.filename, old.read(item.filename))
            if content is not None:
                new.writestr(item.filename, content)
    return str(target)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def pickled(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


DAMAGES: dict[str, tuple[Change, str]] = {
    "no program": (lambda name, data: None if "/models/" in name else data, "it is a zip file without one"),
    "a program that is no JSON": (lambda name, data: b"{" if "/models/" in name else data, "JSONDecodeError"),
    "a weight too few": (lambda name, data: None if name.endswith("weight_0") else data, "weights/weight_0"),
    "a weight cut short": (lambda name, data: data[:4] if name.endswith("weight_0") else data, "out of bounds"),
    "another version": (lambda name, data: b"99" if name.endswith("archive_version") else data, "version 99"),
    "an unknown op": (lambda name, data: data.replace(b"aten.conv2d", b"mine.conv2d"), "mine.conv2d"),
    "a GPU": (lambda name, data: data.replace(b'"type": "cpu"', b'"type": "cuda"'), "exported on a GPU"),
    "compiled code": (lambda name, data: data, "compiled by AOTInductor"),
    "pickled objects": (lambda name, data: data, "pickled objects"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_programs(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    if name == "a GPU" and torch.cuda.is_available():
        pytest.skip("there is one")
    change, says = DAMAGES[name]
    whole = exported(tmp_path / "whole.pt2", nn.Conv2d(1, 1, 3), (image(1, 1, 8, 8),))
    spec = rewritten(whole, tmp_path / "model.pt2", change)
    if name in ("compiled code", "pickled objects"):
        inside = "aotinductor/model/a.so" if name == "compiled code" else "constants/opaque_obj_0"
        with zipfile.ZipFile(spec, "a") as archive:
            archive.writestr(f"whole/data/{inside}", b"")

    caplog.clear()
    with pytest.raises(LoadError) as caught:
        layer_graph(spec)

    text = str(caught.value)
    assert says in text
    assert text.startswith(spec)
    assert "\n" not in text
    assert len(text) < len(spec) + 420
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("where", ["sample_inputs", "weights"])
def test_no_pickle_of_the_file_is_run(where: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    whole = exported(tmp_path / "whole.pt2", nn.Conv2d(1, 1, 3), (image(1, 1, 8, 8),))
    bomb = pickled(((Bomb(mark),), {}))

    def change(name: str, data: bytes) -> bytes:
        if where == "sample_inputs":
            return bomb if name.endswith("sample_inputs/model.pt") else data
        if name.endswith("weight_0"):
            return bomb
        return data.replace(b'"use_pickle": false', b'"use_pickle": true')

    spec = rewritten(whole, tmp_path / "model.pt2", change)

    with pytest.raises(LoadError, match="pickled objects, and loading those can run any code"):
        layer_graph(spec)
    assert not mark.exists()
    torch.load(io.BytesIO(bomb), weights_only=False)  # which would have shown
    assert mark.exists()


@pytest.mark.parametrize("where", ["Integer(2)", '"2*'])
def test_no_size_of_the_file_is_evaluated_as_code(where: str, tmp_path: Path) -> None:
    """torch evaluates the expressions for open sizes."""
    mark = tmp_path / "mark"
    sizes = ({2: 2 * Dim("half", min=4, max=20)},)
    whole = exported(tmp_path / "whole.pt2", nn.Conv2d(1, 1, 3), (image(1, 1, 8, 8),), dynamic_shapes=sizes)
    code = f"__import__('pathlib').Path('{mark}').touch()"
    new = where.replace("Integer(2)", code).replace("2*", f"{code} or 2*")
    spec = rewritten(whole, tmp_path / "model.pt2", lambda name, data: data.replace(where.encode(), new.encode()))

    with pytest.raises(LoadError, match=r"has a size that is no plain expression, .*: loading it could run any code"):
        layer_graph(spec)
    assert not mark.exists()
    with suppress(Exception):
        torch.export.load(spec)
    assert mark.exists() == (where == "Integer(2)")  # else this would show nothing


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("s0", True),
        ("2*s0 + 1", True),
        ("Max(Integer(1), Add(Mul(Integer(2), Symbol('s39', positive=True, integer=True)), Integer(-1)))", True),
        ("FloorDiv(s0, 2)", True),
        ("Eq(s0, 4) & (s1 >= 2)", True),
        ("exit()", False),
        ("s0.__class__", False),
        ("Symbol('a b')", False),
        ("S('exit()')", False),
        ("(lambda: 0)()", False),
        ("[s0 for s0 in s1]", False),
        ("s0[0]", False),
        ("f'{s0}'", False),
        ("s0 +", False),
        ("", False),
    ],
)
def test_plain_expressions(text: str, plain: bool) -> None:
    from rfcalc.sources.exported import check as exported_check

    assert exported_check._is_plain(text) == plain


def test_truncated_at_every_part(tmp_path: Path) -> None:
    whole = Path(exported(tmp_path / "whole.pt2", nn.Conv2d(1, 1, 3), (image(1, 1, 8, 8),))).read_bytes()
    path = tmp_path / "model.pt2"
    for part in range(20):
        path.write_bytes(whole[: len(whole) * part // 20])
        with pytest.raises(LoadError) as caught:
            layer_graph(str(path))
        assert ("the file is cut short" if part else "the file is empty") in str(caught.value)


def test_random_damage_is_refused_or_does_no_harm(tmp_path: Path) -> None:
    """Bytes of the description of the program changed at random: one line, or an analysis."""
    rng = random.Random(0)
    whole = exported(tmp_path / "whole.pt2", nn.Conv2d(1, 1, 3), (image(1, 1, 8, 8),))

    def change(name: str, data: bytes) -> bytes:
        if "/models/" not in name:
            return data
        at = rng.randrange(len(data))
        return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]

    refused = 0
    for _ in range(40):
        spec = rewritten(whole, tmp_path / "model.pt2", change)
        with suppress(RfcalcError):
            rfcalc.analyze(spec)
            continue
        refused += 1
    assert refused > 5
