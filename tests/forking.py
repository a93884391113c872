"""Programs of Python that start in a tenth of a second: a process that has torch already forks for each.

``program(folder, name, *call)`` writes a program into a folder, which a shell finds on its path as any other. What it
runs is a child of one process per session of tests, with the caller's arguments, environment, directory, standard
streams and status. rfcalc itself, and what a test has written, are imported anew by each; only torch and what comes
with it are there. What a test wants to know of imports, signals or the start of a process needs a real one.
"""

from __future__ import annotations

import array
import atexit
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parent.parent

#: What is there before a program begins; of rfcalc itself nothing, since a program may bring its own.
PRELOADED = ("torch", "torch.utils.flop_counter", "torch.nn.attention", "networkx", "tabulate", "click", "pytest")

_CLIENT = """\
import array, json, os, socket, sys
with socket.socket(socket.AF_UNIX) as asked:
    asked.connect({address!r})
    given = json.dumps([{call!r} + sys.argv[1:], dict(os.environ), os.getcwd()]).encode()
    streams = array.array("i", [0, 1, 2])
    asked.sendmsg([len(given).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
    asked.sendall(given)
    sys.stdout, sys.stderr = None, None
    for stream in (0, 1, 2):
        os.close(stream)
    answer = asked.recv(1)
os._exit(answer[0] if answer else 255)
"""


def program(folder: Path, name: str, *call: str) -> Path:
    """A program that calls ``python CALL...``, as ``-m rfcalc`` or nothing for ``python`` itself, with what it gets."""
    path = folder / name
    path.write_text(
        f"#!/bin/sh\nexec '{sys.executable}' -I -S '{_client(folder, name, call)}' \"$@\"\n", encoding="utf-8"
    )
    path.chmod(0o755)
    return path


def python(*call: str) -> list[str]:
    """The words of a command that is ``python CALL...``."""
    return [str(_programs() / "python"), *call]


@cache
def _programs() -> Path:
    """A folder with ``python``, as long as this process lives."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    program(folder, "python")
    return folder


def _client(folder: Path, name: str, call: Sequence[str]) -> Path:
    path = folder / f".{name}.py"
    path.write_text(_CLIENT.format(address=_address(), call=list(call)), encoding="utf-8")
    return path


@cache
def _address() -> str:
    """Where the process that forks listens; it ends with this one."""
    folder = tempfile.mkdtemp()
    address = os.path.join(folder, "forks")
    command = [sys.executable, "-c", "from tests.forking import serve; import sys; serve(sys.argv[1])", address]
    server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(_ended, server, folder)
    assert server.stdout is not None
    assert server.stdout.readline() == "listening\n"
    return address


def _ended(server: subprocess.Popen[str], folder: str) -> None:
    server.kill()
    server.wait()
    shutil.rmtree(folder, ignore_errors=True)


# --- the process that forks -------------------------------------------------------------------------------------------


def serve(address: str) -> None:
    """Fork for each request; in the child, become the program that was asked for. Ends when standard input does."""
    import gc
    import importlib

    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        print("listening", flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            asked, _ = listening.accept()
            if os.fork() == 0:
                break
            asked.close()
        else:
            return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _supervise(asked)


def _supervise(asked: socket.socket) -> None:
    """Fork once more, and tell the caller how that ended."""
    call, environment, folder, streams = _request(asked)
    child = os.fork()
    if child == 0:
        asked.close()
        _take_place(environment, folder, streams)
        _end(_status(call, folder))
    for stream in streams:
        os.close(stream)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    asked.sendall(bytes([code if code >= 0 else 128 - code]))
    os._exit(0)


def _request(asked: socket.socket) -> tuple[list[str], dict[str, str], str, list[int]]:
    size, rights, _, _ = asked.recvmsg(4, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    streams = array.array("i")
    streams.frombytes(rights[0][2])
    given = b""
    while len(given) < int.from_bytes(size, "big"):
        given += asked.recv(1 << 16)
    call, environment, folder = json.loads(given)
    return call, environment, folder, list(streams)


def _take_place(environment: dict[str, str], folder: str, streams: Sequence[int]) -> None:
    """What surrounds a program, as its caller has it."""
    for place, stream in enumerate(streams):
        os.dup2(stream, place)
        os.close(stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    added = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [*added, *(path for path in sys.path if path not in ("", str(ROOT)))]
    for name in [name for name in sys.modules if name == "tests" or name.startswith("tests.")]:
        del sys.modules[name]


def _status(call: list[str], folder: str) -> int:
    """The status of ``python CALL...`` after it has run."""
    try:
        if call[0] == "-m":
            sys.path.insert(0, folder)
            sys.argv = call[1:]
            runpy.run_module(call[1], run_name="__main__", alter_sys=True)
        else:
            sys.path.insert(0, str(Path(call[0]).absolute().parent))
            sys.argv = call
            runpy.run_path(call[0], run_name="__main__")
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _end(status: int) -> NoReturn:
    """As Python ends, but for taking torch apart, which takes longer than most programs."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status & 0xFF)
