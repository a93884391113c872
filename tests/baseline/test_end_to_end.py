"""A project as its users have it, in a git repository: locked, changed by a commit, red, accepted, green.

The same four times: on the command line, by the pytest plugin, by pre-commit and by the steps of the GitHub action.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import forking
from tests.baseline.test_plugin import ALONE, LOADED

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parent.parent.parent
NET = """\
from torch import nn


class Net(nn.Sequential):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Conv2d(8, width, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(width, 4, 1)
"""
#: What the wider layer is told by: 8 x 3 x 3 weights and a bias for each of 8 channels more.
CAUSE = ["body", "parameters", "1,168", "1,752", "+584", "+50.0", "%", "width", "16", "->", "24"]


class Project:
    """A git repository with a model; ``rfcalc`` is a program on its path."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self.programs = folder, programs
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYTEST_"))},
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            **ALONE,
            "HOME": str(programs),
            "PRE_COMMIT_HOME": str(programs / "pre-commit"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "protocol.file.allow",
            "GIT_CONFIG_VALUE_0": "always",
            "NO_COLOR": "1",
        }
        for name in ("COLUMNS", "GITHUB_WORKSPACE"):
            self.environment.pop(name, None)

    def run(self, *command: str, status: int = 0, **environment: str) -> str:
        """What a command prints, which must end with a status."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        assert done.returncode == status, f"{' '.join(command)}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        identity = ("-c", "user.name=A User", "-c", "user.email=user@example.org")
        self.run("git", *identity, "commit", "--quiet", "--no-verify", "--message", message)

    def widen(self) -> None:
        """A commit that makes one layer wider."""
        self.write("net.py", NET.replace("width: int = 16", "width: int = 24"))
        self.commit("more capacity")


def programs(folder: Path) -> Path:
    """A folder with the program ``rfcalc`` of this environment."""
    folder.mkdir()
    forking.program(folder, "rfcalc", "-m", "rfcalc")
    return folder


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project after ``rfcalc init``, ``rfcalc lock`` and a commit of both."""
    folder = tmp_path_factory.mktemp("scratch")
    (folder / "project").mkdir()
    project = Project(folder / "project", programs(folder / "bin"))
    project.run("git", "init", "--quiet")
    project.write("net.py", NET)
    project.write(".gitignore", "__pycache__\n")
    project.run("rfcalc", "init", "net.py:Net", "--input", "3x16x16", "--name", "net")
    project.run("rfcalc", "lock")
    project.commit("a model and its lock")
    return project


@pytest.fixture
def project(locked: Project, tmp_path: Path) -> Project:
    """A copy of the locked project."""
    shutil.copytree(locked.folder, tmp_path / "project")
    return Project(tmp_path / "project", programs(tmp_path / "bin"))


def words(text: str) -> list[list[str]]:
    return [line.replace("|", " ").replace("&gt;", ">").split() for line in text.splitlines()]


def test_on_the_command_line(project: Project) -> None:
    assert project.run("rfcalc", "check") == "1 model: 1 as locked\n"
    project.widen()

    red = project.run("rfcalc", "check", status=1)

    assert CAUSE in words(red)
    changed, follows = red.split("layers that follow from these")
    assert {line[0] for line in words(changed) if line[1:2] in (["parameters"], ["multiply-adds"])} == {"body"}
    assert "follows body" in follows
    project.run("rfcalc", "check", "--update")
    project.commit("accepted")
    assert project.run("git", "show", "--format=", "--name-only").split() == ["rfcalc.lock.json"]
    lines = project.run("git", "show", "--format=", "--unified=0").splitlines()
    assert [line.split('"')[3] for line in lines if line.startswith('+    {"name"')] == ["body", "pool", "head"]
    assert project.run("rfcalc", "check") == "1 model: 1 as locked\n"
    project.run("git", "show", "HEAD~1:rfcalc.lock.json")
    project.run("sh", "-c", "git show HEAD~1:rfcalc.lock.json > before.json")
    assert CAUSE in words(project.run("rfcalc", "diff", "before.json", "rfcalc.lock.json", status=1))


def test_by_the_pytest_plugin(project: Project) -> None:
    project.write(
        "test_net.py",
        "from net import Net\n\ndef test_net(rfcalc_check):\n    rfcalc_check(Net(), (3, 16, 16), name='net')\n",
    )
    session = forking.python("-m", "pytest", "-q", "-p", "no:cacheprovider", *LOADED)
    project.run(*session)
    project.widen()

    assert CAUSE in words(project.run(*session, status=1))
    project.run(*session, "--rfcalc-update")
    project.commit("accepted")
    project.run(*session)
    assert project.run("rfcalc", "check") == "1 model: 1 as locked\n"


def test_by_pre_commit(project: Project, tmp_path: Path) -> None:
    pytest.importorskip("pre_commit")
    hooks = Project(tmp_path / "hooks", project.programs)
    hooks.folder.mkdir()
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", hooks.folder)
    hooks.run("git", "init", "--quiet")
    hooks.commit("the hook as rfcalc has it")
    revision = hooks.run("git", "rev-parse", "HEAD").strip()
    project.write(
        ".pre-commit-config.yaml",
        f"repos:\n- repo: {hooks.folder}\n  rev: {revision}\n  hooks:\n  - id: rfcalc-check\n",
    )
    project.commit("a hook")
    hook = (sys.executable, "-m", "pre_commit", "run", "--all-files")
    assert "Passed" in project.run(*hook)
    project.widen()

    red = project.run(*hook, status=1)

    assert "exit code: 1" in red
    assert CAUSE in words(red)
    project.run("rfcalc", "check", "--update")
    project.commit("accepted")
    assert "Passed" in project.run(*hook)


def test_by_the_steps_of_the_action(project: Project, tmp_path: Path) -> None:
    assert run_action(project, tmp_path).startswith("::notice title=rfcalc::1 model: 1 as locked")
    project.widen()

    red = run_action(project, tmp_path, status=1)

    (annotation,) = [line for line in red.splitlines() if line.startswith("::error")]
    assert annotation.startswith("::error file=pyproject.toml,line=")
    assert "%0Abody: parameters 1,168 -> 1,752 (+50.0 %25); width 16 -> 24%0A" in annotation
    assert CAUSE in words((tmp_path / "summary.md").read_text(encoding="utf-8"))
    project.run("rfcalc", "check", "--update")
    project.commit("accepted")
    assert "::notice" in run_action(project, tmp_path, args="--only net --strict")
    assert "did you mean net?" in run_action(project, tmp_path, status=2, args='--only "nett"')
    run_action(project, tmp_path, status=2, args="--only $(touch${IFS}pwned) ; touch pwned")
    assert not (project.folder / "pwned").exists()


def run_action(project: Project, work: Path, status: int = 0, args: str = "") -> str:
    """Run the shell steps of action.yml as a runner does, with rfcalc installed already."""
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    given = {name: str(item["default"]) for name, item in action["inputs"].items()} | {"args": args, "install": "false"}
    (work / "summary.md").write_text("", encoding="utf-8")
    files = {"GITHUB_STEP_SUMMARY": str(work / "summary.md"), "GITHUB_ACTION_PATH": str(ROOT)}
    printed = ""
    for step in action["runs"]["steps"]:
        if step.get("if") == "${{ inputs.install == 'true' }}" and given["install"] != "true":
            continue
        assert step["shell"] == "bash"
        assert "${{" not in step["run"]
        assert filled(step.get("working-directory", "."), given) == "."
        environment = {name: filled(value, given) for name, value in step.get("env", {}).items()}
        shell = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"])
        printed += project.run(*shell, status=status, **environment, **files, GITHUB_WORKSPACE=str(project.folder))
    assert printed
    return printed


def filled(text: str, given: dict[str, Any]) -> str:
    """A text of the action with its inputs put in."""
    for name, value in given.items():
        text = text.replace(f"${{{{ inputs.{name} }}}}", value)
    assert "${{" not in text
    return text


def test_the_action_installs_itself() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    first = action["runs"]["steps"][0]

    assert action["runs"]["using"] == "composite"
    assert first["run"] == 'python -m pip install "$GITHUB_ACTION_PATH"'
    assert (ROOT / "pyproject.toml").exists()


def test_the_hook_runs_in_the_environment_of_the_user() -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))

    assert (hook["id"], hook["language"], hook["entry"]) == ("rfcalc-check", "system", "rfcalc check")
    assert (hook["pass_filenames"], hook["require_serial"]) == (False, True)
