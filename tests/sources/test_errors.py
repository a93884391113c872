"""Models that cannot be had: one line that names what was asked, what was found and what to do, and the exit status.

`tests/cli/test_errors.py` covers the options of the command line, `tests/analyses/test_graph.py` the content of graphs.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

import rfcalc
from rfcalc.cli import cli
from rfcalc.errors import LoadError, UsageError

#: The user's file. Every name in it is wrong in its own way, but for `conv`.
MODELS = """
import os, sys
import torch
from torch import nn

conv = modèle = nn.Conv2d(3, 4, 3)
number = 3
lazy = nn.LazyLinear(4)
Alias = nn.Linear

class Odd(BaseException):
    pass

def make(depth, width=3): return nn.Linear(depth, width)
def keyword(*, depth): return nn.Linear(depth, 2)
def nothing(): conv
def pair(): return conv, conv
def a_class(): return nn.Linear
def raises(): raise ValueError("no weights\\nfor this")
def leaves(): sys.exit("no licence")
def recursion(): return recursion()
def interrupted(): raise KeyboardInterrupt
def odd(): raise Odd("odd")

class Unset(nn.Module):
    def __init__(self): self.scale = 2
    def forward(self, x): return x * self.scale

class Hollow(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Unset()

class Empty(nn.Module):
    pass

class Forward(nn.Module):
    def __init__(self, what="x"):
        super().__init__()
        self.conv, self.what = nn.Conv2d(3, 4, 3), what
    def forward(self, x):
        return {"None": None, "int": 3, "str": "x", "list": [], "constant": torch.ones(2)}[self.what]

class Wraps(nn.Module):
    def forward(self, x): return lambda: x * 2

class Two(nn.Module):
    def forward(self, x, y): return x + y

class Keyword(nn.Module):
    def forward(self, x, *, mode): return x * 2

class Raises(nn.Module):
    def forward(self, x): raise KeyError("missing")

class Leaves(nn.Module):
    def forward(self, x): sys.exit(5)

class Recursion(nn.Module):
    def forward(self, x): return self.forward(x)

class Interrupted(nn.Module):
    def forward(self, x): raise KeyboardInterrupt

class Strange(nn.Module):
    def forward(self, x): raise Odd("odd")

class Prints(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        print("making")
    def forward(self, x):
        print("running")
        return self.conv(x)

class Changes(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(3, 4, 3)
    def forward(self, x):
        os.chdir("/")
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.set_grad_enabled(False)
        torch.set_num_threads(1)
        return self.conv(x)
"""

FILES = {
    "models.py": MODELS,
    "ünï cödé.py": MODELS,
    "syntax.py": "x = 1\ndef f(:\n",
    "indent.py": "x = 1\n  y = 2\n",
    "zero.py": "\0",
    "raises.py": "raise RuntimeError('at import')",
    "leaves.py": "import sys; sys.exit(4)",
    "recursion.py": "def f(): return f()\nf()",
    "interrupted.py": "raise KeyboardInterrupt",
    "odd.py": "class Odd(BaseException): pass\nraise Odd('odd')",
    "needs.py": "import a_package_that_nobody_has",
    "empty.py": "",
    "notes.yaml": "a: 1",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the user's files."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "folder.py").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _modules() -> Iterator[None]:
    """What a test imports is forgotten after it."""
    before = dict(sys.modules)
    yield
    for name in set(sys.modules) - set(before):
        if Path(getattr(sys.modules[name], "__file__", None) or "").name in FILES:
            del sys.modules[name]


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, list(args), prog_name="rfcalc")


def refused(status: int, *args: str) -> str:
    """The one line with which the command line is refused."""
    result = run(*args)
    assert (result.exit_code, result.stdout) == (status, ""), result.output
    assert result.stderr.startswith("rfcalc: error: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    assert "internal error" not in result.stderr
    return result.stderr.removeprefix("rfcalc: error: ").rstrip("\n")


SIZE = ("--input", "3x8x8")

#: (exit status, model, what the line says)
LOADING: list[tuple[int, str, str]] = [
    (3, "syntax.py:m", "importing syntax.py failed: SyntaxError: invalid syntax (syntax.py, line 2)"),
    (3, "indent.py:m", "IndentationError: unexpected indent (indent.py, line 2)"),
    (3, "zero.py:m", "importing zero.py failed: SyntaxError"),
    (3, "raises.py:m", "importing raises.py failed: RuntimeError: at import"),
    (3, "leaves.py:m", "importing leaves.py ended the program (sys.exit(4): put what is to run under"),
    (3, "recursion.py:m", "importing recursion.py failed: RecursionError"),
    (3, "odd.py:m", "importing odd.py failed: Odd: odd"),
    (3, "needs.py:m", "ModuleNotFoundError: No module named 'a_package_that_nobody_has'"),
    (3, "empty.py:m", "empty.py has no attribute 'm'"),
    (3, "absent.py:m", "there is no file absent.py"),
    (3, "no/where.py:m", "there is no file no/where.py"),
    (3, "folder.py:m", "folder.py is a directory"),
    (3, "nobody:m", "is it installed, or is nobody.py meant?"),
    (3, "nobody.here:m", "is it installed, or is nobody/here.py meant?"),
    (2, "a:b:c", "a:b is no name of a module and no .py file; write package.module:attr or file.py:attr"),
    (2, "..models:m", "..models is no name of a module"),
    (2, "models.py", "say what in the file makes the model, models.py:ATTRIBUTE"),
    (2, "models.py:", "say what in the file makes the model, models.py:ATTRIBUTE"),
    (3, "absent.py", "there is no file absent.py"),
    (3, "models.py:absent", "models.py has no attribute 'absent'; it has conv, modèle, lazy, "),
    (3, "models.py:make.x", "models.py has no attribute 'make.x'"),
    (3, "models.py:number", "number is an int, expected a torch.nn.Module or a Keras model, or a function"),
    (3, "models.py:os", "os is a module, expected"),
    (2, "models.py:make", "make() needs depth: give models.py:make(depth=...)"),
    (2, "models.py:make(width=2)", "make() needs depth: give models.py:make(width=2, depth=...)"),
    (2, "models.py:keyword", "keyword() needs depth: give models.py:keyword(depth=...)"),
    (2, "models.py:Alias", "give models.py:Alias(in_features=..., out_features=...)"),
    (2, "models.py:make(deep=3)", "make() does not take deep; it takes depth, width"),
    (2, "models.py:make(3)", "expected literal keyword arguments, attr(depth=50), found '(3)'"),
    (2, "models.py:make(depth=open('x'))", "expected literal keyword arguments"),
    (3, "models.py:make(depth='a')", "calling make failed: "),
    (3, "models.py:nothing", "nothing() gave None, expected a torch.nn.Module or a Keras model; is a return missing?"),
    (3, "models.py:pair", "pair() gave a tuple, expected a torch.nn.Module"),
    (3, "models.py:a_class", "a_class() gave a class, expected a torch.nn.Module or a Keras model; name the class"),
    (3, "models.py:raises", "calling raises failed: ValueError: no weights"),
    (3, "models.py:leaves", "calling leaves failed: SystemExit: no licence"),
    (3, "models.py:recursion", "calling recursion failed: RecursionError"),
    (3, "models.py:odd", "calling odd failed: Odd: odd"),
    (3, "models.py:Unset", "Unset.__init__ does not call super().__init__(), which a module needs"),
    (3, "models.py:Hollow", "Unset.__init__ does not call super().__init__(), which a module needs"),
    (2, "", "no model is named"),
    (2, " \n", "no model is named"),
    (2, 'it\'s "odd"', "unknown model 'it\\'s \"odd\"'"),
    (2, "two\nlines", "unknown model 'two\\nlines'"),
    (2, "\0", "unknown model '\\x00'"),
    (2, "x" * 5000, f"unknown model '{'x' * 60}...'"),
    (2, "x/" * 5000, f"unknown model '{'x/' * 30}...'"),
    (3, ".", ". is a directory: name a file in it"),
    (3, "notes.yaml", "notes.yaml is no model: it is in no format that rfcalc knows; name the code"),
    (3, "absent.pth", "absent.pth: there is no such file"),
    (3, "absent/model", "absent/model: there is no such file"),
]


@pytest.mark.parametrize(("status", "model", "says"), LOADING)
def test_loading(here: Path, status: int, model: str, says: str) -> None:
    line = refused(status, model, *SIZE)

    assert says in line
    assert len(line) < 500


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="everything is readable for root")
@pytest.mark.parametrize("name", ["models.py:conv", "model.pt2", "model.json"])
def test_files_that_must_not_be_read(here: Path, name: str) -> None:
    path = here / name.partition(":")[0]
    path.touch()
    path.chmod(0)

    assert "Permission denied" in refused(3, name, *SIZE)


#: (attribute of the user's file, what the line says)
RUNNING = [
    ("Empty", 'Module [Empty] is missing the required "forward" function'),
    ("Forward(what='None')", "returned no tensor that was computed from its inputs, but None"),
    ("Forward(what='int')", "returned no tensor that was computed from its inputs, but an object of type int"),
    ("Forward(what='str')", "but an object of type str"),
    ("Forward(what='list')", "but an object of type list"),
    ("Forward(what='constant')", "but an object of type Tensor"),
    ("Wraps", "but an object of type function"),
    ("Two", "missing 1 required positional argument: 'y'; name a shape for each that is a tensor: --input x=... --i"),
    ("Keyword", "missing 1 required keyword-only argument: 'mode'; name a shape for each"),
    ("Raises", "cannot run on input 1x3x8x8: layer Raises got 1x3x8x8: KeyError: 'missing'"),
    ("Leaves", "its code called sys.exit(5); a model must load without"),
    ("Recursion", "maximum recursion depth exceeded"),
    ("Strange", "its code raised Odd: odd"),
]


COMMANDS = [("trace",), ("ops", "--missing"), ("verify",)]
BY_COMMAND = ["Forward(what='None')", "Two", "Raises", "Leaves", "Strange"]


@pytest.mark.parametrize(
    ("command", "attribute", "says"),
    [
        *(((), *row) for row in RUNNING),
        *((command, *row) for command in COMMANDS for row in RUNNING if row[0] in BY_COMMAND),
    ],
)
def test_running(here: Path, command: tuple[str, ...], attribute: str, says: str) -> None:
    name = f"models.py:{attribute}"

    line = refused(3, *command, name, *SIZE)

    assert name in line
    assert says in line


@pytest.mark.parametrize("model", ["interrupted.py:m", "models.py:interrupted", "models.py:Interrupted"])
def test_an_interrupt_stays_one(here: Path, model: str) -> None:
    result = run(model, *SIZE)

    assert (result.exit_code, result.output.strip()) == (130, "")


@pytest.mark.parametrize(
    ("status", "shape", "says"),
    [
        (3, "8", "layer Conv2d got 1x8, needs 3 channels"),
        (3, "3x8x8x8x8", "got 3x8x8x8x8, needs 3 channels"),
        (3, "4x8x8", "got 1x4x8x8, needs 3 channels"),
        (3, "3x2x2", "layer Conv2d got 1x3x2x2, needs 3 channels: "),
        (2, "picture=3x8x8", "models.py:conv has no input 'picture'; it takes input"),
        (2, "x".join(["2"] * 70), "is too large for a tensor: give a smaller one"),
        (2, "3x99999999999999999999x8", "is no extent of a shape"),
        (2, "٣x8x8", "is no extent of a shape"),
    ],
)
def test_inputs(here: Path, status: int, shape: str, says: str) -> None:
    assert says in refused(status, "models.py:conv", "--input", shape)


@pytest.mark.parametrize("model", ["models.py:modèle", "ünï cödé.py:conv", "models.py:conv ", "./models.py:conv"])
def test_names_that_look_wrong_and_are_not(here: Path, model: str) -> None:
    result = run(model, *SIZE, "--format", "json")

    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["totals"]["params"] == 3 * 3 * 3 * 4 + 4


def test_what_a_model_prints_is_no_result(here: Path) -> None:
    result = run("models.py:Prints", *SIZE, "--format", "json")

    assert json.loads(result.stdout)["totals"]["params"] == 112
    assert result.stderr.splitlines() == ["making", "running"]


def test_what_a_model_changes_is_put_back(here: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        numbers = torch.get_rng_state()
        rfcalc.analyze("models.py:Changes", (3, 8, 8))
        assert Path.cwd() == here
        assert (torch.get_default_dtype(), torch.get_default_device().type) == (torch.float32, "cpu")
        assert torch.is_grad_enabled()
        assert torch.get_num_threads() == threads + 1
        assert torch.equal(torch.get_rng_state(), numbers)
    finally:
        torch.set_num_threads(threads)


def test_objects_that_are_no_model() -> None:
    class Unset(nn.Module):
        def __init__(self) -> None:
            self.scale = 2

    with pytest.raises(UsageError, match="cannot analyse a list"):
        rfcalc.analyze([nn.ReLU()])
    with pytest.raises(LoadError, match=r"Unset.__init__ does not call super\(\).__init__\(\)"):
        rfcalc.analyze(Unset(), (3, 8, 8))


# --- files of weights and of other formats ----------------------------------------------------------------------------


def zipped(path: Path, **names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in names.items():
            archive.writestr(name, text)


def scripted(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("net/data.pkl", "net/code/__torch__.py", "net/constants.pkl"):
            archive.writestr(name, "")


def safetensors(path: Path) -> None:
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)


CHECKPOINT = "it is a checkpoint (torch.save): weights by name, not the network that they are for; name the code"
PICKLED = "it holds a pickled torch.nn.modules.linear.Linear, and loading a pickle can run any code"

CONTENTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "state dict": (lambda path: torch.save(nn.Linear(2, 2).state_dict(), path), CHECKPOINT),
    "dict": (lambda path: torch.save({"epoch": 3, "model": nn.Linear(2, 2).state_dict()}, path), CHECKPOINT),
    "tensor": (lambda path: torch.save(torch.ones(2), path), CHECKPOINT),
    "module": (lambda path: torch.save(nn.Linear(2, 2), path), PICKLED),
    "old state dict": (
        lambda path: torch.save(nn.Linear(2, 2).state_dict(), path, _use_new_zipfile_serialization=False),
        CHECKPOINT,
    ),
    "old module": (
        lambda path: torch.save(nn.Linear(2, 2), path, _use_new_zipfile_serialization=False),
        PICKLED,
    ),
    "TorchScript": (scripted, "TorchScript program"),
    "safetensors": (safetensors, "it holds weights (safetensors), not the network that they are for"),
    "HDF5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100), "it is an HDF5 file"),
    "empty": (lambda path: path.touch(), "the file is empty; copy or save it again"),
    "text": (lambda path: path.write_text("hello"), "it is in no format that rfcalc knows"),
    "zip of nothing": (zipped, "it is a zip file without one"),
    "zip of a text": (lambda path: zipped(path, a="text"), "it is a zip file without one"),
    "pickle cut short": (lambda path: path.write_bytes(b"\x80\x02}"[:2]), "the file is damaged"),
    "directory": (lambda path: path.mkdir(), "is a directory: name a file in it"),
}


@pytest.mark.parametrize("suffix", [".pt2", ".pt"])
@pytest.mark.parametrize("content", CONTENTS)
def test_files_that_hold_no_program(here: Path, content: str, suffix: str) -> None:
    make, says = CONTENTS[content]
    make(here / f"model{suffix}")

    line = refused(3, f"model{suffix}")

    assert says in line
    assert line.startswith(f"model{suffix}")


@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".safetensors", ".bin"])
def test_checkpoints_by_any_suffix(here: Path, suffix: str) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), here / f"weights{suffix}")

    assert CHECKPOINT in refused(3, f"weights{suffix}")


def test_a_file_of_keras_before_version_3(here: Path) -> None:
    (here / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)

    assert "model.h5 is no whole HDF5 file: " in refused(3, "model.h5")
