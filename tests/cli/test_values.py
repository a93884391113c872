"""Inputs given by their values on the command line: fills, ranges, lists and files."""

from __future__ import annotations

from pathlib import Path

import pytest

from rfcalc.cli.parse import parse_inputs
from rfcalc.errors import UsageError
from rfcalc.sources.inputs.values import Values


@pytest.mark.parametrize(
    ("text", "numbers", "dtype"),
    [
        ("ones:1x3", [[1, 1, 1]], "int64"),
        ("zeros:2", [0, 0], "int64"),
        ("true:1x2", [[True, True]], "bool"),
        ("false:1", [False], "bool"),
        ("-7:2", [-7, -7], "int64"),
        ("007:1", [7], "int64"),
        ("0.5:2", [0.5, 0.5], "float16"),
        ("1e3:1", [1000.0], "float16"),
        ("arange:2x3", [[0, 1, 2], [0, 1, 2]], "int64"),
        ("[[1, 4, 4], [2, 2, 2]]", [[1, 4, 4], [2, 2, 2]], "int64"),
        ("[True, False]", [True, False], "bool"),
        ("[3]", [3], "int64"),
    ],
)
def test_values(text: str, numbers: object, dtype: str) -> None:
    import torch

    given = parse_inputs([f"mask={text}", "ids=1x24"])
    assert isinstance(given, dict)
    assert given["ids"] == (1, 24)
    made = given["mask"].tensor(torch.float16)
    assert made.tolist() == numbers
    assert str(made.dtype) == f"torch.{dtype}"
    assert str(given["mask"]) == text


def test_an_only_input_may_have_values() -> None:
    assert parse_inputs(["ones:1x3"]) == Values("ones:1x3", (1, 3), 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ones", "ones of what shape? write ones:1x24"),
        ("nope:1x24", "'nope' is no value; write ones:1x24"),
        ("nan:3", "'nan' is no value"),
        (":3", "'' is no value"),
        ("1_0:3", "'1_0' is no value"),
        ("ones:", "'' is no extent of a shape"),
        ("ones:3x0", "an extent of 0 leaves nothing to look at"),
        ("ones:-3", "'-3' is no extent"),
        ("ones:1xT", "a symbol has no values; write numbers, or the shape alone"),
        ("[[1, 2], [3]]", "no numbers in rows of equal length"),
        ("[]", "no numbers in rows of equal length"),
        ("['a']", "no numbers in rows of equal length"),
        ("[1, 2", "cannot read the list of values"),
        ("[__import__('os')]", "cannot read the list of values"),
        ("[" * 500, "cannot read the list of values"),
    ],
)
def test_what_is_no_value_is_said(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_inputs([f"mask={text}"])
    assert said in str(error.value)
    assert str(error.value).startswith("--input ")
    assert "\n" not in str(error.value)


def test_files(tmp_path: Path) -> None:
    import numpy as np
    import torch

    array, tensor = tmp_path / "mask.npy", tmp_path / "mask.pt"
    np.save(array, np.array([[1, 0]]))
    torch.save(torch.tensor([True, False]), tensor)
    given = parse_inputs([f"a={array}", f"b={tensor}"])
    assert isinstance(given, dict)
    assert [value.tensor(torch.float32).tolist() for value in given.values()] == [[[1, 0]], [True, False]]


class _Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (exec, ("raise SystemExit('it ran')",))


def test_files_that_are_none_of_it(tmp_path: Path) -> None:
    import pickle

    import numpy as np
    import torch

    broken, mapping, bomb, objects = (tmp_path / name for name in ("broken.npy", "state.pt", "bomb.pt", "objects.npy"))
    broken.write_bytes(b"\x93NUMPY nothing")
    torch.save({"weight": torch.ones(1)}, mapping)
    bomb.write_bytes(pickle.dumps(_Bomb()))
    np.save(objects, np.array([_Bomb()], dtype=object), allow_pickle=True)
    said = {
        tmp_path / "gone.npy": "there is no file",
        broken: "cannot be read as an array of numbers",
        mapping: "holds a dict, and an input is one tensor",
        bomb: "cannot be read as an array of numbers",
        objects: "cannot be read as an array of numbers",
    }
    for path, words in said.items():
        given = parse_inputs([str(path)])
        assert isinstance(given, Values)
        with pytest.raises(UsageError, match=words) as error:
            given.tensor(torch.float32)
        assert "\n" not in str(error.value)


def test_values_too_many_for_memory_are_said() -> None:
    import torch

    given = parse_inputs(["ones:999999999x999999999"])
    assert isinstance(given, Values)
    with pytest.raises(UsageError, match="no tensor can be made of it"):
        given.tensor(torch.float32)


def test_values_and_symbols_exclude_each_other() -> None:
    from rfcalc.api import growth

    values = {"input": Values("ones:1x8", (1, 8), 1), "other": (3, "H")}
    with pytest.raises(UsageError, match="its values fix its sizes"):
        growth("3x3:3-3", values, symbols="H")
