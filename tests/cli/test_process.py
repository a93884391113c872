"""What only a process of its own shows: imports, pipes, colours, completion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}


def run(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m rfcalc` with the arguments."""
    command = [sys.executable, "-W", "error", "-m", "rfcalc", *args]
    return subprocess.run(command, capture_output=True, text=True, env={**ENVIRONMENT, **environment}, timeout=120)


_LOADED = """
import sys
from rfcalc.cli import main
try:
    main()
except SystemExit:
    print("torch" in sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize(
    "args", [("--help",), ("show", "-h"), ("--version",), ("list",), ("ops",), ("GRAPH", "--layer", "3"), ("GRAPH",)]
)
def test_torch_is_not_imported(args: tuple[str, ...], tiny: str) -> None:
    given = [tiny if arg == "GRAPH" else arg for arg in args]
    done = subprocess.run([sys.executable, "-c", _LOADED, *given], capture_output=True, text=True, timeout=120)
    assert done.stderr.splitlines()[-1] == "False"
    assert done.stdout


def test_help_needs_no_graph_either() -> None:
    code = _LOADED.replace('"torch" in sys.modules', '{"numpy", "networkx"} & set(sys.modules)')
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, timeout=120)
    assert done.stderr == "set()\n"


def test_completion_of_models_without_torch() -> None:
    words = {"_RFCALC_COMPLETE": "bash_complete", "COMP_WORDS": "rfcalc vgg1", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _LOADED], capture_output=True, text=True, env={**ENVIRONMENT, **words}, timeout=120
    )
    assert done.stdout.splitlines()[:2] == ["plain,vgg11", "plain,vgg11-bn"]
    assert done.stderr == "False\n"


def test_completion_after_a_command_and_of_options() -> None:
    def complete(line: str, place: int) -> str:
        words = {"_RFCALC_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(place)}
        return run(**words).stdout

    assert "plain,show\n" in complete("rfcalc sh", 1)
    assert "plain,resnet50\n" in complete("rfcalc show resnet5", 2)
    assert "plain,--layer\n" in complete("rfcalc vgg16 --la", 2)
    assert complete("rfcalc my_fi", 1) == "file,my_fi\n"


def test_a_pipe_closed_early_is_quiet(tiny: str) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "rfcalc", tiny]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, timeout=120)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "rfcalc: note: traced by hand\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(tiny: str) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        command = [sys.executable, "-m", "rfcalc", tiny]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, timeout=120)
    assert done.returncode == 2
    assert done.stderr.splitlines()[1:] == ["rfcalc: error: cannot write standard output: No space left on device"]


def test_bold_only_where_wanted(tiny: str) -> None:
    assert "\x1b" not in run(tiny).stdout
    assert "\x1b[1m" in run(tiny, FORCE_COLOR="1").stdout
    assert "\x1b" not in run(tiny, FORCE_COLOR="1", NO_COLOR="1").stdout
    assert "\x1b" not in run(tiny, "--format", "csv", FORCE_COLOR="1").stdout


def test_an_ascii_terminal_gets_ascii(tiny: str) -> None:
    text = Path(tiny).read_text(encoding="utf-8").replace('"model": "tiny"', '"model": "tinü"')
    Path(tiny).write_text(text, encoding="utf-8")
    done = run(tiny, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "tin\\xfc: input 1x3x9x9 (batch 1)")
