"""Files that are no model: of weights, of other frameworks' formats, without an attribute. Each is told why."""

from __future__ import annotations

from pathlib import Path

from rfcalc.errors import LoadError, UsageError
from rfcalc.sources import exported, torchscript
from rfcalc.sources.files import archives
from rfcalc.sources.files.archives import Kind
from rfcalc.sources.files.code import notebook, offered
from rfcalc.sources.loaded import Loaded

#: Suffixes of files that people keep models in, and what to do with one where that is not what its content says.
_ADVICE = dict.fromkeys(
    (
        *(".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".pkl", ".pickle", ".npz", ".gguf", ".tar", ".zip"),
        *(".torchscript", ".ts", ".ptl", ".jit"),
    ),
    "",
) | {
    ".pb": "save the Keras model that it was made from: model.save('model.keras')",
}

_LONGEST = 1000  #: characters of a text that is taken for the path of a file


def matches(spec: str) -> bool:
    """Whether the text names a file, or looks as if it did."""
    path = spec.removesuffix(":")
    if path.endswith((".py", ".ipynb")) or Path(path).suffix.lower() in _ADVICE:
        return True
    try:
        return bool(path.strip()) and len(path) < _LONGEST and ("/" in path or Path(path).exists())
    except (OSError, ValueError):  # still too long for this system, or with a zero in it
        return False


def load(spec: str) -> Loaded:
    """The program, if torch.export or torch.jit saved one under another suffix.

    Raises `UsageError` for a Python file without an attribute, `LoadError` for any other file.
    """
    path = spec.removesuffix(":")
    if path.endswith(".py"):
        if Path(path).is_file():
            offers = offered(Path(path), path)
            raise UsageError(f"{spec}: say what in the file makes the model, {path}:ATTRIBUTE{offers}")
        raise LoadError(f"{spec}: there is no file {path}")
    if path.endswith(".ipynb"):
        raise UsageError(notebook(path, spec))
    held = archives.held(Path(spec), spec)
    if held.kind is Kind.PROGRAM:
        return exported.load(spec)
    if held.kind is Kind.SCRIPT:
        return torchscript.load(spec)
    raise LoadError(f"{spec} is no model: {held.text}; {_ADVICE.get(Path(spec).suffix.lower()) or held.advice}")
