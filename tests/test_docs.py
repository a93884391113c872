"""Everything that the documents show is done here: commands, their output, Python, examples, links.

A fenced block of a document is one of

``console``
    lines ``$ command``, each followed by what it prints (both streams, as on a terminal);
``python``
    a program, or a session with ``>>>``; all blocks of a document share their names; ``python FILE`` is the content of
    a file for the commands after it;
``json FILE``
    the content of a file that a command before it wrote, whatever its layout;
``toml``
    a configuration, ``[tool.rfcalc]``, that rfcalc accepts;
``yaml``
    a job of a CI system: its calls of rfcalc, the inputs of its action and the names of its hooks exist;
``sh``
    how to install and to check; every step is one of .ci/run.

``...`` in an expected output stands for anything. All of it runs in an empty directory that holds ``examples``, as the
checkout does.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import os
import re
import runpy
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click import Context
from click.testing import CliRunner

from rfcalc.baseline import budgets
from rfcalc.cli import cli
from tests import forking

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = sorted((ROOT / "examples").rglob("*.md"))
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", *DOCS, *PAGES]
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))

_FENCE = re.compile(r"^```(?P<info>[^`\n]+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)[^)]*\)")


@dataclass(frozen=True)
class Block:
    """A fenced block: what it is, what follows that word, its text and the line on which it begins."""

    kind: str
    argument: str
    text: str
    line: int


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a document."""
    found = []
    for match in _FENCE.finditer(text):
        kind, _, argument = match["info"].partition(" ")
        found.append(Block(kind, argument, match["text"], text[: match.start()].count("\n") + 1))
    return found


# --- running ----------------------------------------------------------------------------------------------------------


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Each command of a console block with the output that it is to print."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


STATUS = '; echo "exit status: $?"'


def execute(command: str) -> str:
    """What a command prints. ``rfcalc`` and ``python FILE`` run in this process, which has torch already.

    ``NAME=VALUE`` before it, ``| FILTER`` and ``; echo "exit status: $?"`` after it are done as a shell does them.
    """
    asked = command.removesuffix(STATUS)
    own, *filters = asked.split(" | ")
    given, variables = shlex.split(own), {}
    while "=" in given[0]:
        name, _, variables[name] = given.pop(0).partition("=")
    words = list(shlex.shlex(own, posix=True, punctuation_chars=True))
    if given[0] != "rfcalc" or any(set(word) <= set("();<>|&") for word in words):
        if given[0] == "python" and own == command:
            return python_file(given[1])
        return shell(command)
    done = CliRunner().invoke(cli, given[1:], prog_name="rfcalc", env=variables)
    printed = done.stdout if filters else done.output
    for item in filters:
        printed = shell(item, printed)
    if asked != command:
        return f"{printed}exit status: {done.exit_code}\n"
    return printed + (f"exit status {done.exit_code}\n" if done.exit_code and not filters else "")


def python_file(path: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        runpy.run_path(path, run_name="__main__")
    return printed.getvalue()


def shell(command: str, given: str | None = None) -> str:
    """What a command of the shell's prints on what it is given."""
    done = subprocess.run(
        ["bash", "-c", command], input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
    )
    return done.stdout + (f"exit status {done.returncode}\n" if done.returncode else "")


def same(expected: str, got: str) -> bool:
    """Whether an output is the expected one, in which ``...`` stands for anything."""
    return doctest.OutputChecker().check_output(expected.rstrip(), got.rstrip(), doctest.ELLIPSIS)


def check_console(block: Block, names: dict[str, Any]) -> Iterator[str]:
    for command, expected in commands(block):
        got = execute(command)
        if not same(expected, got):
            yield f"$ {command}\n--- the text shows\n{expected.rstrip()}\n--- it prints\n{got.rstrip()}"


def check_python(block: Block, names: dict[str, Any]) -> Iterator[str]:
    if block.argument:
        Path(block.argument).write_text(block.text, encoding="utf-8")
        return
    if ">>>" not in block.text:
        exec(compile(block.text, "the block", "exec"), names)
        return
    report = io.StringIO()
    session = doctest.DocTestParser().get_doctest(block.text, names, "the block", None, block.line)
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(session, out=report.write, clear_globs=False)
    names.update(session.globs)
    if report.getvalue():
        yield report.getvalue()


def check_json(block: Block, names: dict[str, Any]) -> Iterator[str]:
    found = json.loads(Path(block.argument).read_text(encoding="utf-8"))
    if json.loads(block.text) != found:
        yield f"{block.argument} holds\n{json.dumps(found)}"


def check_steps(block: Block, names: dict[str, Any]) -> Iterator[str]:
    for step in steps(block.text):
        if step not in ci_steps():
            yield f"{step!r} is no step of .ci/run"


def check_toml(block: Block, names: dict[str, Any]) -> Iterator[str]:
    Path("block.toml").write_text(block.text, encoding="utf-8")
    if not budgets.load(Path("block.toml")).models:
        yield "no models"


def check_yaml(block: Block, names: dict[str, Any]) -> Iterator[str]:
    yaml = pytest.importorskip("yaml")
    hooks = {hook["id"] for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))}
    inputs = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))["inputs"]
    for part in parts_of(yaml.safe_load(block.text)):
        if "id" in part and part["id"] not in hooks:
            yield f"there is no hook {part['id']}"
        if "/rfcalc@" in str(part.get("uses")):
            yield from (f"the action has no input {name}" for name in part.get("with", {}) if name not in inputs)
        for text in [item for value in part.values() for item in (value if isinstance(value, list) else [value])]:
            calls = re.findall(r"^rfcalc .*", text, re.MULTILINE) if isinstance(text, str) else []
            yield from (f"{call!r} has no {word}" for call in calls for word in unknown_words(call))


def parts_of(data: Any) -> Iterator[dict[str, Any]]:
    """All mappings inside, however deep."""
    if isinstance(data, dict):
        yield data
    for item in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        yield from parts_of(item)


def unknown_words(call: str) -> Iterator[str]:
    """The command or the options of a call of rfcalc that do not exist."""
    _, name, *rest = shlex.split(call)
    command = cli.get_command(Context(cli), name)
    if command is None:
        yield name
        return
    known = {option for param in command.params for option in param.opts}
    yield from (word for word in rest if word.startswith("-") and word not in known)


CHECKS: dict[str, Callable[[Block, dict[str, Any]], Iterator[str]]] = {
    "console": check_console,
    "python": check_python,
    "json": check_json,
    "toml": check_toml,
    "yaml": check_yaml,
    "sh": check_steps,
}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory with the examples, in which ``rfcalc`` and ``python`` are those of this environment."""
    here, programs = tmp_path / "here", tmp_path / "bin"
    here.mkdir()
    programs.mkdir()
    (here / "examples").symlink_to(ROOT / "examples")
    forking.program(programs, "python")
    for name in ("rfcalc", "pytest"):
        forking.program(programs, name, "-m", name)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # of all that is installed, which takes longest
    monkeypatch.setenv("PYTEST_PLUGINS", "rfcalc.pytest_plugin")
    monkeypatch.chdir(here)
    return here


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
@pytest.mark.usefixtures("workplace")
def test_document(path: Path) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    wrong = []
    for block in blocks(path.read_text(encoding="utf-8")):
        found = [f"{path.name}:{block.line}: {text}" for text in CHECKS[block.kind](block, names)]
        wrong += found
    assert not wrong, "\n\n".join(["the document says otherwise", *wrong])


# --- the documents themselves -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_block_is_checked(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert {block.kind for block in blocks(text)} <= set(CHECKS)
    assert len(re.findall(r"^ *```", text, re.MULTILINE)) == 2 * len(blocks(text))
    for block in blocks(text):
        if block.kind == "console":
            assert block.text.startswith("$ ")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    links = _LINK.findall(path.read_text(encoding="utf-8"))

    assert [link for link in links if not (path.parent / link).exists()] == []


def test_every_example_and_document_is_shown() -> None:
    found = [block for path in DOCUMENTS for block in blocks(path.read_text(encoding="utf-8"))]
    shown = {command for block in found for command, _ in commands(block)}
    linked = {link for path in (README, *DOCS) for link in _LINK.findall(path.read_text(encoding="utf-8"))}

    assert [name for name in EXAMPLES if f"python examples/{name}" not in shown] == []
    assert [path.name for path in DOCS if f"docs/{path.name}" not in linked] == []
    assert [path.name for path in PAGES if f"../{path.relative_to(ROOT)}" not in linked] == []


def test_the_readme_knows_every_command() -> None:
    text = README.read_text(encoding="utf-8")

    assert [name for name in cli.names if f"`rfcalc {name}" not in text] == []


# --- installing -------------------------------------------------------------------------------------------------------


def steps(text: str) -> list[str]:
    """The single commands of lines that join several with ``&&``."""
    return [step.strip() for line in text.splitlines() for step in line.split("&&")]


def ci_steps() -> list[str]:
    """The lines of .ci/run."""
    return (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_readme_has_two_commands_and_ci_runs_them_in_their_order() -> None:
    found = blocks(README.read_text(encoding="utf-8"))
    first, second = (block.text.strip() for block in found if block.kind == "sh")
    wanted = [*steps(first), *steps(second)]

    assert [step for step in ci_steps() if step in wanted] == wanted
    assert "\n" not in first + second
    assert steps(first)[-1] == "rfcalc vgg16 --layer 3"
    assert steps(second)[-1] == "pytest -n auto"


def test_the_first_output_is_that_of_the_first_command() -> None:
    found = blocks(README.read_text(encoding="utf-8"))

    assert found[0].text.startswith("$ rfcalc vgg16 --layer 3\n")


def test_extras_exist() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    named = re.findall(r"pip install '\.\[(\w+)\]'", "\n".join(ci_steps()))

    assert named
    assert set(named) <= set(extras)


def test_the_changelog_has_this_version() -> None:
    from rfcalc import __version__

    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
