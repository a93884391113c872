"""``package.module:attr`` and ``path/file.py:attr``: the user's own module or function. Naming it runs its code."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from rfcalc.errors import LoadError, UsageError
from rfcalc.sources import jax
from rfcalc.sources.files.code import notebook, relative_levels
from rfcalc.sources.given import from_object
from rfcalc.sources.loaded import Loaded
from rfcalc.sources.naming.arguments import arguments, place


def matches(spec: str) -> bool:
    """Whether the text has the form ``somewhere:attribute``."""
    where, colon, attribute = place(spec)
    return bool(colon and where and attribute.strip()) and (" " not in where or where.endswith(".py"))


def load(spec: str, *, shown: str = "", with_jax: bool = False) -> Loaded:
    """The module that the attribute is, or that calling it gives; with JAX, what its function or module is.

    ``shown`` is what the user wrote, if it is not ``spec``. Raises `LoadError` where the file, the attribute or the
    call fails, naming what failed, and `UsageError` for arguments that the attribute does not take, or that it misses.
    """
    from rfcalc.sources.keras.backend import on_meta, torch_by_default
    from rfcalc.tracing.construct import build_on_meta

    where, _, call = place(spec)
    spec = shown or spec
    name, given = arguments(call.strip(), spec)
    with torch_by_default():
        home = import_home(where, spec)
    target: Any = home
    for part in name.split("."):
        if not hasattr(target, part):
            raise LoadError(f"{spec}: {where} has no attribute {name!r}{_offers(home)}")
        target = getattr(target, part)
    found = from_object(target, spec)
    if found is not None:
        return found
    if callable(target) and (with_jax or jax.is_used_by(home)):
        if jax.is_function(target, given):
            return jax.of_function(target, spec)
        known = {**dict.fromkeys(jax.seeded(target, given)), **given}
        _check_arguments(target, known, f"{where}:{name}", spec)
        found = jax.of_target(target, given, spec)
        if found is not None:
            return found
    if not callable(target):
        raise LoadError(f"{spec}: {name} is {_a(target)}, expected {_EXPECTED}, or a function that makes one")
    _check_arguments(target, given, f"{where}:{name}", spec)
    try:
        model, constants = build_on_meta(lambda: target(**given), on_meta)
    except (KeyboardInterrupt, LoadError):
        raise
    except BaseException as error:
        raise LoadError(f"{spec}: calling {name} failed: {_line(error)}") from error
    found = from_object(model, spec, constants)
    if found is None:
        raise LoadError(f"{spec}: {name}() gave {_a(model)}, expected {_EXPECTED}{_instead(model, where)}")
    return found


_EXPECTED = "a torch.nn.Module or a Keras model"


def _a(value: Any) -> str:
    if value is None:
        return "None"
    kind = "class" if isinstance(value, type) else type(value).__name__
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"


def _instead(value: Any, where: str) -> str:
    """What to do about a value that a function gave instead of a model."""
    if value is None:
        return "; is a return missing?"
    if isinstance(value, type):
        return f"; name the class itself, {where}:{value.__name__}, or call it there"
    return ""


def _check_arguments(target: Any, given: Mapping[str, Any], place: str, spec: str) -> None:
    """Raises `UsageError` where the given arguments are not those that the function takes."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):  # it does not tell
        return
    name = place.rpartition(":")[2]
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    unknown = [key for key in given if key not in {p.name for p in named}]
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        takes = ", ".join(p.name for p in named) or "no argument"
        raise UsageError(f"{spec}: {name}() does not take {unknown[0]}; it takes {takes}")
    missing = [p.name for p in named if p.default is p.empty and p.name not in given]
    if missing:
        shown = ", ".join(f"{key}={value!r}" for key, value in given.items())
        asked = ", ".join(filter(None, [shown, *(f"{key}=..." for key in missing)]))
        raise UsageError(f"{spec}: {name}() needs {', '.join(missing)}: give {place}({asked})")


def import_home(where: str, spec: str) -> ModuleType:
    """The module that ``where``, a file or a dotted name, stands for. Raises `LoadError` that begins with ``spec``."""
    path = Path(where)
    if where.endswith(".ipynb"):
        raise UsageError(notebook(where, spec))
    if where.endswith(".py"):
        if not path.is_file():
            raise LoadError(f"{spec}: {f'{where} is a directory' if path.is_dir() else f'there is no file {where}'}")
    elif not all(part.isidentifier() for part in where.split(".")):
        raise UsageError(
            f"{spec}: {where} is no name of a module and no .py file; write package.module:attr or file.py:attr"
        )
    try:
        with _own_words(where):
            return _import_file(path) if where.endswith(".py") else _import_module(where)
    except (LoadError, KeyboardInterrupt):
        raise
    except SystemExit as error:
        raise LoadError(f"{spec}: importing {where} ended the program ({_ended(error)})") from error
    except ModuleNotFoundError as error:
        missing = error.name == where.partition(".")[0] or ":" not in spec
        hint = f"; is it installed, or is {where.replace('.', '/')}.py meant?" if missing else ""
        raise LoadError(f"{spec}: importing {where} failed: {_line(error)}{hint}") from error
    except BaseException as error:
        raise LoadError(f"{spec}: importing {where} failed: {_line(error)}") from error


@contextmanager
def _own_words(where: str) -> Iterator[None]:
    """While code is imported, the words of the command line are those of a program called without any."""
    before = sys.argv
    sys.argv = [where]
    try:
        yield
    finally:
        sys.argv = before


def _ended(error: SystemExit) -> str:
    """What ended the program, and what to do about it."""
    at = error.__traceback__
    while at is not None:
        if at.tb_frame.f_globals.get("__name__") == "argparse":
            return "it reads a command line of its own: put parse_args() under if __name__ == '__main__':"
        at = at.tb_next
    return f"sys.exit({error.code!r}): put what is to run under if __name__ == '__main__':"


def _import_module(name: str) -> ModuleType:
    sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    finally:
        with suppress(ValueError):  # the code may have taken it away
            sys.path.remove("")


def _import_file(path: Path) -> ModuleType:
    package = _package_of(path)
    return _import_alone(path) if package is None else _import_inside(path, *package)


def _package_of(path: Path) -> tuple[str, Path] | None:
    """For a file with relative imports: its dotted name in the outermost package around it, and the folder of that.

    A folder is a package where it has an ``__init__.py``, and as far up as the imports reach.
    """
    levels = relative_levels(path)
    if not levels:
        return None
    folder, parts = path.resolve().parent, [path.stem]
    while len(parts) <= levels or (folder / "__init__.py").is_file():
        if folder.parent == folder:
            return None
        parts.insert(0, folder.name)
        folder = folder.parent
    return (".".join(parts), folder) if all(part.isidentifier() for part in parts) else None


def _import_inside(path: Path, name: str, folder: Path) -> ModuleType:
    """The file as a module of its package."""
    top = name.partition(".")[0]
    others = sys.modules.get(top)
    if others is not None and not _is_in(others, folder / top):
        raise LoadError(
            f"{path} has relative imports, and its package {top} has the name of a module that is imported already:"
            f" run from {folder} and name it package.module:attr, or rename the package"
        )
    sys.path.insert(0, str(folder))
    try:
        importlib.invalidate_caches()
        return importlib.import_module(name)
    finally:
        with suppress(ValueError):
            sys.path.remove(str(folder))


def _is_in(module: ModuleType, folder: Path) -> bool:
    places = [*getattr(module, "__path__", ()), *filter(None, [getattr(module, "__file__", None)])]
    return any(Path(place).resolve().is_relative_to(folder) for place in places)


def _import_alone(path: Path) -> ModuleType:
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
        with suppress(ValueError):
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
