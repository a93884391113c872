"""The options that commands share, as decorators, and the records in which a command receives them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from rfcalc.cli.complete import complete_layer, complete_model
from rfcalc.cli.endings import format_of
from rfcalc.cli.output import Output, Target
from rfcalc.cli.parse import OpenInputs, layer_key, numbers_only, parse_axes, parse_open_inputs
from rfcalc.errors import LoadError
from rfcalc.report import FORMATS
from rfcalc.sources.forms import help_lines

if TYPE_CHECKING:
    from rfcalc.analyses.analysis import Analysis
    from rfcalc.graph import LayerGraph
    from rfcalc.tiling.plan import Tiling

Function: TypeAlias = Callable[..., Any]

INCOMPLETE = 4  #: exit status under --strict

MODEL_HELP = f"""\b
MODEL is one of
{help_lines()}

Naming a file or module of yours runs its code. Nothing is ever downloaded; models are built without weights.
"""


@dataclass(frozen=True)
class Request:
    """A model as the user named it, and how to trace it."""

    spec: str
    inputs: OpenInputs = None
    axes: dict[str, int] | None = None
    training: bool = False
    fresh: bool = False
    dtype: str | None = None

    def trace(self) -> LayerGraph:
        """The model's graph."""
        from rfcalc import api

        with user_code(self.spec, self.fresh):
            return api.layer_graph(self.spec, self.inputs, axes=self.axes, training=self.training, dtype=self.dtype)

    def analyze(self, of: str | int | None = None) -> Analysis:
        """The model's analysis, with fields in the inputs or in the layer ``of``."""
        from rfcalc import api

        with user_code(self.spec, self.fresh):
            return api.analyze(self.spec, self.inputs, of=of, axes=self.axes, training=self.training, dtype=self.dtype)

    def with_memory(self, analysis: Analysis, *, trained: bool) -> Analysis:
        """The analysis with the bytes of its modules, of a step of training too if ``trained``."""
        from rfcalc import api

        with user_code(self.spec, self.fresh):
            found = api.memory(self.spec, self.inputs, training=trained, axes=self.axes)
        return analysis.with_memory(found.layers)

    def tiles(self, lengths: Sequence[int] | None) -> Tiling:
        """The tiles of the input for a picture, of these lengths, by default the shortest.

        Raises UsageError where there are none.
        """
        from rfcalc import plotting

        with user_code(self.spec, self.fresh):
            return plotting.tile_plan(self.spec, self.inputs, lengths, axes=self.axes, training=self.training)


@contextmanager
def user_code(spec: str, fresh: bool = False) -> Iterator[None]:
    """While the user's code runs, what it prints goes to stderr, and it does not end the program.

    Graphs that are stored are used, unless everything is to be traced ``fresh``.
    """
    from rfcalc.sources import stored

    try:
        with redirect_stdout(sys.stderr), stored.using("nothing" if fresh else "kept"):
            yield
    except SystemExit as error:
        raise LoadError(f"{spec}: its code called sys.exit({error.code!r}); a model must load without") from error


def trace_options(command: Function, *, symbols: bool = False) -> Function:
    """``--input``, ``--axes``, ``--training``; the command gets ``request``, a function from a MODEL to a `Request`.

    With ``symbols`` the extents of the input may be symbols.
    """

    @click.option(
        "--input",
        "inputs",
        multiple=True,
        metavar="SHAPE",
        help="Input shape, 3x224x224 or with a batch 8x3x224x224; NAME=SHAPE for each of several inputs. With values:"
        " ones:1x24, 7:1x24, true:1x24, arange:1x24, [[1,4,4]], or a file FILE.npy, FILE.pt.",
    )
    @click.option("--axes", metavar="H=2,W=3", help="Axes of the input along which fields are measured.")
    @click.option("--training", is_flag=True, help="Trace the model as it runs in training, not in inference.")
    @click.option("--no-cache", "fresh", is_flag=True, help="Trace anew what is known from before.")
    @functools.wraps(command)
    def wrapper(inputs: Sequence[str], axes: str | None, training: bool, fresh: bool, **rest: Any) -> Any:
        shapes, places = parse_open_inputs(inputs), parse_axes(axes)
        if not symbols:
            numbers_only(shapes)
        return command(request=lambda spec: Request(spec, shapes, places, training, fresh), **rest)

    return wrapper


#: `trace_options` for a command that takes symbols.
open_trace_options = functools.partial(trace_options, symbols=True)


def model_options(command: Function, *, symbols: bool = False) -> Function:
    """The argument MODEL and how to trace it; the command gets one `Request` as ``request``."""

    @click.argument("model", shell_complete=complete_model)
    @functools.partial(trace_options, symbols=symbols)
    @functools.wraps(command)
    def wrapper(model: str, request: Callable[[str], Request], **rest: Any) -> Any:
        return command(request=request(model), **rest)

    return wrapper


#: `model_options` for a command that takes symbols.
open_model_options = functools.partial(model_options, symbols=True)


def target_option(command: Function) -> Function:
    """``-o``; the command gets ``target``."""

    @click.option(
        "-o",
        "--output",
        "path",
        metavar="FILE",
        type=click.Path(),
        help="Write to FILE instead of standard output; its ending says in which format.",
    )
    @functools.wraps(command)
    def wrapper(path: str | None, **rest: Any) -> Any:
        return command(target=Target(path), **rest)

    return wrapper


def output_options(command: Function, *, draws: bool = False, own: Sequence[str] = ()) -> Function:
    """``--format`` and ``-o``; the command gets ``output``.

    One that ``draws`` has its format ``svg``, ``png`` or ``pdf`` for a file that ends so. Endings of its ``own`` are
    for the command to understand.
    """

    @click.option(
        "--format",
        "format_name",
        type=click.Choice(tuple(FORMATS)),
        help="How to print the result. Default: what the ending of -o says, or a table.",
    )
    @click.option(
        "--spreadsheet",
        is_flag=True,
        help="CSV for a spreadsheet: a text that it would take for a formula gets an apostrophe before it.",
    )
    @target_option
    @functools.wraps(command)
    def wrapper(format_name: str | None, spreadsheet: bool, target: Target, **rest: Any) -> Any:
        ending = "" if target.to_file is None else target.to_file.suffix.lower()
        path = None if ending in own else target.path
        return command(output=Output(format_of(format_name, path, draws=draws), target, spreadsheet), **rest)

    return wrapper


#: `output_options` for a command that draws pictures, too.
drawing_output_options = functools.partial(output_options, draws=True)


device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="DEVICE",
    help="auto, cuda, cuda:N, cpu or mps; auto takes the CPU where there is no CUDA device.",
)

dtype_option = click.option(
    "--dtype",
    type=click.Choice(("float16", "bfloat16", "float32", "float64")),
    help="Run the model in this type: all floating-point parameters, buffers and inputs.",
)


def layer_option(name: str, helps: str) -> Callable[[Function], Function]:
    """An option that names one layer; the command gets its number or its name, None where it is left out."""
    return click.option(
        name,
        metavar="L",
        shell_complete=complete_layer,
        callback=lambda ctx, param, value: None if value is None else layer_key(value),
        help=helps,
    )


strict_option = click.option(
    "--strict", is_flag=True, help="Exit with status 4 if an op has no rule or a field is only an upper bound."
)


def _set_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    state = ctx.find_root().obj
    if value and state is not None:
        state.debug = True


debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_set_debug,
    help="Show a traceback with an error.",
)


def show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Print the version and end."""
    if value and not ctx.resilient_parsing:
        from rfcalc import __version__

        click.echo(f"rfcalc {__version__}")
        ctx.exit()
