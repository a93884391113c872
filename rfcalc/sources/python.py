"""``package.module:attr`` and ``path/file.py:attr``: the user's own module or function. Naming it runs its code."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from rfcalc.errors import LoadError
from rfcalc.sources.arguments import arguments, place
from rfcalc.sources.loaded import Loaded


def matches(spec: str) -> bool:
    """Whether the text has the form ``somewhere:attribute``."""
    where, colon, attribute = place(spec)
    return bool(colon and where and attribute) and " " not in where


def load(spec: str) -> Loaded:
    """The module that the attribute is, or that calling it gives.

    Raises `LoadError` where the file, the attribute or the call fails, naming what failed.
    """
    from torch import nn

    from rfcalc.tracing.construct import build_on_meta

    where, _, call = place(spec)
    name, given = arguments(call, spec)
    home = import_home(where, spec)
    target: Any = home
    for part in name.split("."):
        if not hasattr(target, part):
            raise LoadError(f"{spec}: {where} has no attribute {name!r}{_offers(home)}")
        target = getattr(target, part)
    if isinstance(target, nn.Module):
        return Loaded(target, spec)
    if not callable(target):
        raise LoadError(
            f"{spec}: {name} is a {type(target).__name__}, expected a torch.nn.Module or a function that makes one"
        )
    try:
        model, constants = build_on_meta(lambda: target(**given))
    except Exception as error:
        raise LoadError(f"{spec}: calling {name} failed: {_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise LoadError(f"{spec}: {name}() gave a {type(model).__name__}, expected a torch.nn.Module")
    return Loaded(model, spec, constants=constants)


def import_home(where: str, spec: str) -> ModuleType:
    """The module that ``where``, a file or a dotted name, stands for. Raises `LoadError` that begins with ``spec``."""
    path = Path(where)
    try:
        if where.endswith(".py"):
            if not path.is_file():
                raise LoadError(f"{spec}: there is no file {where}")
            return _import_file(path)
        sys.path.insert(0, "")
        try:
            return importlib.import_module(where)
        finally:
            sys.path.remove("")
    except LoadError:
        raise
    except ModuleNotFoundError as error:
        hint = (
            ""
            if ":" in spec and error.name != where.partition(".")[0]
            else f"; is it installed, or is {where}.py meant?"
        )
        raise LoadError(f"{spec}: importing {where} failed: {_line(error)}{hint}") from error
    except (Exception, SystemExit) as error:
        raise LoadError(f"{spec}: importing {where} failed: {_line(error)}") from error


def _import_file(path: Path) -> ModuleType:
    details = importlib.util.spec_from_file_location(path.stem, path)
    if details is None or details.loader is None:
        raise LoadError(f"{path} cannot be imported as a Python file")
    module = importlib.util.module_from_spec(details)
    before = sys.modules.get(path.stem)
    sys.modules[path.stem] = module  # dataclasses and pickles look their module up there
    sys.path.insert(0, str(path.parent))
    try:
        details.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
        if before is not None:
            sys.modules[path.stem] = before
    return module


def _offers(home: ModuleType) -> str:
    from torch import nn

    def fits(value: Any) -> bool:
        return isinstance(value, nn.Module) or (callable(value) and getattr(value, "__module__", None) == home.__name__)

    names = [name for name, value in vars(home).items() if not name.startswith("_") and fits(value)]
    return f"; it has {', '.join(names[:6])}" if names else ""


def _line(error: BaseException) -> str:
    text = str(error).splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
