"""``model.pt2``: a program that torch.export.save wrote, with the inputs that it was exported with.

Nothing in the file is unpickled but tensors, compiled code in it is not loaded, and no size in it is more than an
expression.
"""

from __future__ import annotations

import logging
import os
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rfcalc.errors import LoadError
from rfcalc.sources.exported import check as exported_check
from rfcalc.sources.files import archives
from rfcalc.sources.files.archives import Kind
from rfcalc.sources.loaded import Expected, Loaded

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_LONGEST = 200  #: characters of an error of torch's that are shown

#: Who in torch says something about a file that cannot be loaded.
_LOGGERS = ("torch.export", "torch.export.pt2_archive._package", "torch._export.serde.serialize")


def load(spec: str) -> Loaded:
    """The program as a module, with the inputs of its export. Raises `LoadError` for a file that holds none."""
    held = archives.held(Path(spec), spec)
    if held.kind is not Kind.PROGRAM:
        raise LoadError(f"{spec} is no exported program: {held.text}; {held.advice}")
    exported_check.check(spec)
    return of_program(_read(spec), spec)


def of_program(program: ExportedProgram, spec: str) -> Loaded:
    """A program that is there already. Raises `LoadError` for one that cannot be run here."""
    from rfcalc.sources.exported.program import module_of

    model = module_of(program, spec)
    inputs = tuple(Expected(one.name, one.usual, str(one.dtype).removeprefix("torch.")) for one in model.takes)
    examples = tuple(one.example for one in model.takes if one.example is not None)
    return Loaded(model, spec, inputs, example=(examples, {}) if len(examples) == len(inputs) else None)


def _read(spec: str) -> ExportedProgram:
    import torch

    with _harmless(), _quiet() as said, open(spec, "rb") as file:
        try:
            return torch.export.load(file)
        except Exception as error:
            reason = _reason(said[-1] if said else error)
            raise LoadError(f"{spec}: torch {torch.__version__} cannot load it: {reason}") from error


@contextmanager
def _harmless() -> Iterator[None]:
    """torch unpickles tensors only, whatever its loader asks for."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextmanager
def _quiet() -> Iterator[list[BaseException]]:
    """torch's warnings about the file are not printed; the errors behind them are yielded."""
    said: list[BaseException] = []

    def keep(record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            said.append(record.exc_info[1])
        return False

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(keep)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield said
    finally:
        for logger in loggers:
            logger.removeFilter(keep)


def _reason(error: BaseException) -> str:
    """Why a program cannot be loaded, and what to do."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, pickle.UnpicklingError):
        return "it holds pickled objects, and loading those can run any code; export the model with tensors as inputs"
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if "CUDA" in text or "NVIDIA" in text:
        return (
            "it was exported on a GPU and there is none here; bring it to the CPU where there is one:"
            " torch.export.passes.move_to_device_pass(program, 'cpu')"
        )
    short = text.partition(". ")[0].rstrip(".")
    short = short if len(short) < _LONGEST else f"{short[:_LONGEST]}..."
    return f"{short}; export it again with this version of torch, or name the code that makes the model (file.py:attr)"
