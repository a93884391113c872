"""What the commands around locks and budgets share: the configuration, tracing its models, options and output."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rfcalc.cli.endings import TABLES, format_of
from rfcalc.cli.options import Request, target_option, user_code
from rfcalc.cli.output import Target, complain
from rfcalc.cli.parse import parse_axes, parse_inputs
from rfcalc.errors import RfcalcError, UsageError
from rfcalc.report.formats import CHECK_FORMATS, render_check

if TYPE_CHECKING:
    from rfcalc.baseline.budgets import Config, Watched
    from rfcalc.baseline.check import Checked
    from rfcalc.baseline.lockfile import Lock
    from rfcalc.baseline.record import Entry
    from rfcalc.graph import LayerGraph, Place

_ROWS = 20  #: consequences that a terminal is shown of each model

config_option = click.option(
    "--config", metavar="FILE", help="The pyproject.toml; default: the nearest one upward with a section [tool.rfcalc]."
)
only_option = click.option("--only", multiple=True, metavar="NAME", help="Only the model called NAME; may be repeated.")


@dataclass(frozen=True)
class CheckOutput:
    """Where a check's report goes: formats, each with its target."""

    parts: tuple[tuple[str, Target], ...]

    def emit(self, models: Sequence[Checked], lock: Path | None = None) -> None:
        """Render what was found, then write it."""
        from rfcalc.report.changes import changes_report

        for name, target in self.parts:
            rows = _ROWS if name == "table" else None
            report = changes_report(models, lock=shown(lock) if lock is not None else "", rows=rows)
            target.write(render_check(report, name, target.style()))


def check_output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--format`` with what CI systems read, ``-o`` and ``--also``; the command gets ``output``."""

    @click.option(
        "--format",
        "format_name",
        type=click.Choice(tuple(CHECK_FORMATS)),
        help="How to print the result; github are annotations, benchmark is for github-action-benchmark. Default: what"
        " the ending of -o says, or a table.",
    )
    @target_option
    @click.option(
        "--also", multiple=True, metavar="FORMAT=FILE", help="Write the result in a further format; may be repeated."
    )
    @functools.wraps(command)
    def wrapper(format_name: str | None, target: Target, also: Sequence[str], **rest: Any) -> Any:
        chosen = format_of(format_name, target.path, {**TABLES, ".xml": "junit"})
        return command(output=CheckOutput(((chosen, target), *map(_further, also))), **rest)

    return wrapper


def _further(text: str) -> tuple[str, Target]:
    name, _, path = text.partition("=")
    if name not in CHECK_FORMATS or not path:
        raise UsageError(f"--also {text}: write FORMAT=FILE with a format out of {', '.join(CHECK_FORMATS)}")
    return name, Target(path)


def configuration(file: str | None) -> Config:
    """The configuration of a file, or of the nearest one. Raises UsageError where there is none or it is wrong."""
    from rfcalc.baseline import budgets

    path = Path(file) if file is not None else budgets.find(Path.cwd())
    found = budgets.load(path, shown(path))
    if not found.models:
        raise UsageError(f"{shown(path)}: [tool.rfcalc] names no model: add [[tool.rfcalc.models]], or use rfcalc init")
    return found


def measuring(config: Config) -> Callable[[Watched], Entry]:
    """A function that traces a model of the configuration, as its folder sees it."""

    def measure(item: Watched) -> Entry:
        from rfcalc.baseline.record import entry_of
        from rfcalc.baseline.streams import LIMITS, Flow

        try:
            request = Request(item.model, parse_inputs(_texts(item.inputs)), parse_axes(item.axes), item.training)

            def trace(inputs: Any = None) -> LayerGraph:
                with contextlib.chdir(config.folder):
                    return (request if inputs is None else replace(request, inputs=inputs)).trace()

            graph = trace()
            with contextlib.chdir(config.folder):
                footprint = _footprint(item, request)
            entry = entry_of(graph, item.name, item.model)
            entry = replace(entry, footprint=footprint, places=_own_places(config.folder, entry.places))
            flows = any(limit.key in LIMITS for limit in item.limits)
            return replace(entry, flow=Flow(item, graph, trace)) if flows else entry
        except RfcalcError as error:
            raise type(error)(f"{item.name}: {error}") from error

    return measure


def _footprint(item: Watched, request: Request) -> dict[str, Any]:
    """What limits on memory and tiles are held against; nothing where there are none."""
    from rfcalc import api
    from rfcalc.baseline.budgets import FOOTPRINT

    wanted = [limit.key for limit in item.limits if limit.key in FOOTPRINT]
    if not wanted:
        return {}
    with user_code(request.spec, request.fresh):
        return api.footprint(request.spec, request.inputs, wanted, axes=request.axes, training=request.training)


def _own_places(folder: Path, places: Mapping[str, Place]) -> dict[str, Place]:
    """The places in files of the project, as a CI system knows them."""
    here = {name: (folder / place.file, place) for name, place in places.items()}
    return {name: place._replace(file=shown(path)) for name, (path, place) in here.items() if path.is_file()}


def existing(path: Path, *, anew: bool, partly: bool) -> Lock:
    """The lock as it is. With ``anew`` one that is missing or cannot be used counts as empty.

    Not if it is to be written only partly: what it says of the other models would be lost.
    """
    from rfcalc.baseline.lockfile import Lock, LockError, NoLockError, read

    try:
        return read(path)
    except NoLockError:
        if not anew:
            raise
    except LockError as error:
        if not anew or partly:
            raise
        complain(f"note: {error}")
    return Lock()


def write(path: Path, models: Sequence[Checked], *, anew: bool, with_torch: bool = False) -> None:
    """Put what was found of these models into the lock."""
    from rfcalc.baseline import check, lockfile

    def change(lock: Lock) -> Lock:
        return check.accepting(lock, models, with_torch=with_torch)

    lockfile.update(path, change, anew=anew)


def _texts(inputs: Any) -> list[str]:
    """The inputs as they would be given to ``--input``."""
    if inputs is None:
        return []
    return [inputs] if isinstance(inputs, str) else [f"{name}={shape}" for name, shape in inputs.items()]


def shown(path: Path) -> str:
    """A path as a CI system knows it: from the checkout's root, or from here."""
    return os.path.relpath(path, os.environ.get("GITHUB_WORKSPACE") or os.curdir)


def tell(models: Sequence[Checked]) -> None:
    """Errors of single models, on stderr."""
    for model in models:
        if model.error:
            complain(f"error: {model.error}")
