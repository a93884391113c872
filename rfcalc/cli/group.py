"""The group of commands: `rfcalc MODEL` means `rfcalc show MODEL`, and every error ends in one line and a status."""

from __future__ import annotations

import difflib
import errno
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from rfcalc.cli.complete import complete_model
from rfcalc.cli.output import OutputClosedError, complain, unwritten
from rfcalc.errors import RfcalcError

DEFAULT = "show"
#: What writing a stream fails with: help goes to standard output past `Target`.
_NO_ROOM = (errno.ENOSPC, errno.EIO, errno.EPIPE, errno.EDQUOT)
USAGE, FAILED, INTERRUPTED, CLOSED = 2, 3, 130, 141


@dataclass
class State:
    """What the command line asked for that the handling of errors needs to know."""

    commands: tuple[str, ...] = ()
    debug: bool = False
    guessed: str = ""  #: the first argument, if it was taken for a model because it is no command
    words: tuple[str, ...] = ()  #: what was typed


class RfcalcGroup(click.Group):
    """A group with a default command, whose `main` turns every exception into a message and an exit status.

    ``names`` are modules of `rfcalc.cli`, each with its ``command``, imported when it is asked for.
    """

    def __init__(self, *args: Any, names: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.names = tuple(names)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, in the order of the help."""
        return list(self.names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One command by its name."""
        if cmd_name not in self.names:
            return None
        command: click.Command = import_module(f"rfcalc.cli.{cmd_name}").command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command before arguments that name none; without any, show the help."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(USAGE)
        if args and args[0] not in {*self.names, *ctx.help_option_names, "--version"}:
            if isinstance(ctx.obj, State):
                ctx.obj.guessed = args[0]
            args = [DEFAULT, *args]
        if isinstance(ctx.obj, State):
            ctx.obj.words = tuple(args)
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands, and models for the default one."""
        return [*super().shell_complete(ctx, incomplete), *complete_model(ctx, None, incomplete)]

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line; ends the program unless ``standalone_mode`` is off."""
        run = partial(super().main, args, prog_name, complete_var, standalone_mode=False)
        if not standalone_mode:
            return run(**extra)
        state = State(commands=self.names)
        sys.exit(guarded(lambda: run(obj=state, **extra), state))


def guarded(run: Callable[[], Any], state: State) -> int:
    """The exit status of a run; messages go to stderr, a traceback only with ``--debug``."""
    try:
        status = run()
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        return _fail(_click_message(error, state), USAGE, state)
    except RfcalcError as error:
        return _fail(_with_hint(error, state), error.exit_status, state)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except OutputClosedError:
        return CLOSED
    except OSError as error:
        if error.filename is not None or error.errno not in _NO_ROOM:  # about a file, not a stream
            return _internal(error, state)
        return guarded(partial(_raise, unwritten(error)), state)
    except Exception as error:
        return _internal(error, state)


def _internal(error: Exception, state: State) -> int:
    message = f"internal error: {type(error).__name__}: {error}; run again with --debug and report what it prints"
    return _fail(message, FAILED, state)


def _raise(error: Exception) -> None:
    raise error


def _fail(message: str, status: int, state: State) -> int:
    if state.debug:
        traceback.print_exc()
    complain(f"error: {message}")
    return status


#: What a command with one MODEL says of a second one.
_EXTRA = re.compile(r"Got unexpected extra arguments? \((.*)\)", re.DOTALL)


def _click_message(error: click.ClickException, state: State) -> str:
    message = error.format_message().rstrip(".")
    extra = _EXTRA.match(message)
    if near := _meant(state):
        return f"there is no command {state.guessed!r}; nearest: rfcalc {near}"
    if extra is not None and state.words and state.words[0] in _ONE_MODEL:
        name, *_ = [word for word in state.words[1:] if word not in extra[1].split()] or ["MODEL"]
        return (
            f"rfcalc {state.words[0]} takes one model, got {extra[1]} besides {name}; several side by side:"
            f" rfcalc compare {name} {extra[1]}"
        )
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{message}; see {error.ctx.command_path} --help"
    return message


def _with_hint(error: RfcalcError, state: State) -> str:
    """The message; a mistyped command was taken for a model, so name the command that may have been meant."""
    near = _meant(state)
    return f"{error} (or the command rfcalc {near}?)" if near else str(error)


#: Commands that other programs have, and what does the same here.
_ELSEWHERE = {"summary": "show", "info": "show", "help": "--help", "draw": "plot", "graph": "plot", "flops": "show"}
_ONE_MODEL = frozenset({"show", "trace", "verify", "explain", "erf"})


def _meant(state: State) -> str:
    """The command that was meant by the first word, "" where it looks like none."""
    if not state.guessed.isalpha():
        return ""
    near = difflib.get_close_matches(state.guessed.lower(), state.commands, 1, 0.75)
    return near[0] if near else _ELSEWHERE.get(state.guessed.lower(), "")
