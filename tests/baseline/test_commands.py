"""`rfcalc init`, `lock`, `check` and `diff` on saved graphs: no torch, every exit status."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rfcalc import graph, graph_json
from rfcalc.baseline import discover, lockfile
from rfcalc.cli import cli
from rfcalc.graph import InputInfo, Node, Param, Read, Ref, TensorInfo
from rfcalc.reads import Reduce, Window

ROOT = Path(__file__).parent.parent.parent

CONFIG = """\
[[tool.rfcalc.models]]
name = "net"
model = "net.json"
"""


def conv(ident: int, name: str, into: int, out: int) -> Node:
    steps = (Window(2, 3, 1, 1, 1, 9), Window(3, 3, 1, 1, 1, 9), Reduce((1,)))
    return Node(
        id=ident,
        op="aten.convolution",
        name=name,
        kind="conv",
        index=ident + 1,
        scope=name,
        module="Conv2d",
        inputs=(Ref(ident - 1),),
        outputs=(TensorInfo((1, out, 9, 9)),),
        reads=((Read(0, steps),),),
        params=(f"{name}.weight",),
        macs=81 * out * 9 * into,
        attrs={"kernel": [3, 3], "in_channels": into, "out_channels": out},
        owner=ident,
    )


def save(path: Path, width: int = 4, unknown: bool = False) -> None:
    """A graph of two convolutions; the first has ``width`` channels, the second perhaps no rule."""
    image = Node(0, "input", "input", "input", 1, "", "", (), (TensorInfo((1, 3, 9, 9)),), ((),), owner=0)
    second = conv(2, "second", width, 4)
    if unknown:
        second = replace(second, kind="unknown", macs=None, inexact="no rule", reads=((Read(0, (Reduce((2, 3)),)),),))
    built = graph.build(
        [image, conv(1, "first", 3, width), second],
        model="net",
        inputs=[InputInfo("input", 0, (1, 3, 9, 9), "float32", {"H": 2, "W": 3})],
        outputs=[Ref(2)],
        params=[
            Param("first.weight", (width, 3, 3, 3), 27 * width, owner=1),
            Param("second.weight", (4, width, 3, 3), 36 * width, owner=2),
        ],
        buffers=[],
    )
    graph_json.save(built, path)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model and its configuration; nothing is locked yet."""
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    save(tmp_path / "net.json")
    (tmp_path / "pyproject.toml").write_text(CONFIG, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rfcalc(*args: str) -> Result:
    return CliRunner().invoke(cli, list(args), prog_name="rfcalc")


def budget(folder: Path, *lines: str) -> None:
    (folder / "pyproject.toml").write_text(CONFIG + "\n".join(lines) + "\n", encoding="utf-8")


# --- lock and check ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("project")
def test_locked_and_checked() -> None:
    written = rfcalc("lock")
    assert (written.exit_code, written.stdout.splitlines()[0]) == (0, "1 model: 1 accepted")

    checked = rfcalc("check")
    assert (checked.exit_code, checked.stdout, checked.stderr) == (0, "1 model: 1 as locked\n", "")


def test_a_change_is_told_accepted_and_gone(project: Path) -> None:
    rfcalc("lock")
    save(project / "net.json", width=5)

    red = rfcalc("check")
    assert red.exit_code == 1
    assert ["first", "parameters", "108", "135", "+27", "+25.0", "%", "width", "4", "->", "5"] in [
        line.split() for line in red.stdout.splitlines()
    ]
    assert "follows first" in red.stdout
    assert "rfcalc check --update" in red.stderr
    accepted = rfcalc("check", "--update")
    assert (accepted.exit_code, accepted.stdout.splitlines()[0]) == (0, "1 model: 1 accepted")
    assert rfcalc("check").exit_code == 0


def test_a_lock_that_says_the_same_is_not_touched(project: Path) -> None:
    rfcalc("lock")
    lock = project / "rfcalc.lock.json"
    os.utime(lock, (1, 1))

    assert rfcalc("lock").stdout == "1 model: 1 as locked\n"
    assert rfcalc("check", "--update").exit_code == 0

    assert lock.stat().st_mtime == 1


@pytest.mark.usefixtures("project")
def test_without_a_lock() -> None:
    result = rfcalc("check")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "there is no" in result.stderr
    assert "write it with rfcalc lock" in result.stderr


def test_a_budget_is_held_with_and_without_a_lock(project: Path) -> None:
    rfcalc("lock")
    budget(project, "max_macs = 20_411", "max_params = 252")
    over = rfcalc("check", "--format", "github")
    assert over.exit_code == 1
    assert (
        over.stdout == "::error file=pyproject.toml,line=4,title=net is over budget::max_macs: found 20,412, allowed "
        "20,411\n"
    )
    budget(project, "max_macs = 20_412")
    assert rfcalc("check").stdout == "1 model: 1 as locked, 1 limit held\n"
    (project / "pyproject.toml").write_text("[tool.rfcalc]\nlock = false\n" + CONFIG + "max_macs = '20.4k'\n")
    assert rfcalc("check").exit_code == 1
    assert rfcalc("check", "--update").exit_code == 2
    assert rfcalc("lock").exit_code == 2


def test_what_a_budget_forbids_is_not_accepted_by_check(project: Path) -> None:
    rfcalc("lock")
    before = (project / "rfcalc.lock.json").read_bytes()
    save(project / "net.json", width=5)
    budget(project, "max_growth = '24%'")

    refused = rfcalc("check", "--update")

    assert refused.exit_code == 1
    assert "25% (parameters)" in refused.stdout
    assert "was not accepted" in refused.stderr
    assert (project / "rfcalc.lock.json").read_bytes() == before
    assert rfcalc("lock").exit_code == 0
    assert rfcalc("check").exit_code == 0


def test_against_another_lock(project: Path) -> None:
    rfcalc("lock")
    (project / "rfcalc.lock.json").rename(project / "main.lock.json")
    save(project / "net.json", width=5)
    rfcalc("lock")
    budget(project, "max_growth = '24%'")

    assert rfcalc("check").exit_code == 0
    against = rfcalc("check", "--against", "main.lock.json")
    assert (against.exit_code, "max_growth" in against.stdout) == (1, True)
    assert "--update" not in against.stderr
    assert rfcalc("check", "--against", "main.lock.json", "--update").exit_code == 2


def test_incomplete(project: Path) -> None:
    save(project / "net.json", unknown=True)
    rfcalc("lock")
    assert rfcalc("check").exit_code == 0
    assert "no rule at second" in rfcalc("check").stdout
    assert rfcalc("check", "--strict").exit_code == 4
    budget(project, "max_macs = '1G'")
    assert rfcalc("check").exit_code == 4
    budget(project, "max_macs = 1")
    assert rfcalc("check").exit_code == 1


def test_a_model_that_cannot_be_had_does_not_hide_the_others(project: Path) -> None:
    rfcalc("lock")
    (project / "pyproject.toml").write_text(CONFIG + CONFIG.replace("net", "lost"), encoding="utf-8")

    result = rfcalc("check")

    assert result.exit_code == 3
    assert "2 models: 1 as locked, 1 could not be had" in result.stdout
    assert "error: lost: cannot read lost.json: No such file or directory" in result.stderr


def test_some_models_only(project: Path) -> None:
    save(project / "other.json")
    (project / "pyproject.toml").write_text(CONFIG + CONFIG.replace("net", "other"), encoding="utf-8")
    rfcalc("lock")
    save(project / "net.json", width=5)
    save(project / "other.json", width=5)

    assert rfcalc("check", "--only", "net", "--update").exit_code == 0

    assert rfcalc("check", "--only", "net").exit_code == 0
    assert rfcalc("check", "--only", "other").exit_code == 1
    missed = rfcalc("check", "--only", "othr")
    assert (missed.exit_code, "did you mean other?" in missed.stderr) == (2, True)


def test_a_model_that_is_no_longer_watched(project: Path) -> None:
    save(project / "other.json")
    (project / "pyproject.toml").write_text(CONFIG + CONFIG.replace("net", "other"), encoding="utf-8")
    rfcalc("lock")
    budget(project)

    result = rfcalc("check")
    assert (result.exit_code, "other: only in the lock" in result.stdout) == (1, True)
    rfcalc("check", "--update")
    assert sorted(lockfile.read(project / "rfcalc.lock.json").models) == ["net"]


@pytest.mark.parametrize(
    "command", [("lock",), ("check",), ("lock", "--only", "net", "--update"), ("check", "--only", "net", "--update")]
)
def test_a_damaged_lock_is_left_alone(project: Path, command: tuple[str, ...]) -> None:
    lock = project / "rfcalc.lock.json"
    lock.write_text("<<<<<<< HEAD\n{}\n", encoding="utf-8")

    result = rfcalc(*command)

    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "conflict markers" in result.stderr
    assert lock.read_text(encoding="utf-8") == "<<<<<<< HEAD\n{}\n"


@pytest.mark.parametrize("command", ["lock", "check"])
def test_a_damaged_lock_is_written_anew_where_that_is_asked_for(project: Path, command: str) -> None:
    (project / "rfcalc.lock.json").write_text("{", encoding="utf-8")

    assert rfcalc(command, "--update").exit_code == 0
    assert rfcalc("check").exit_code == 0


def test_torch_is_told_only_where_that_is_asked_for(project: Path) -> None:
    lock = project / "rfcalc.lock.json"
    rfcalc("lock")
    assert set(lockfile.read(lock).versions) == {"rfcalc"}
    rfcalc("lock", "--versions")
    assert set(lockfile.read(lock).versions) == {"rfcalc", "torch"}
    lock.write_text(lock.read_text(encoding="utf-8").replace('"torch": "', '"torch": "0'), encoding="utf-8")
    assert rfcalc("check").exit_code == 0


@pytest.mark.usefixtures("project")
def test_a_further_format() -> None:
    rfcalc("lock")

    result = rfcalc("check", "--also", "markdown=summary.md", "--also", "benchmark=bench.json")

    assert result.stdout == "1 model: 1 as locked\n"
    assert Path("summary.md").read_text(encoding="utf-8") == "# 1 model: 1 as locked\n"
    assert json.loads(Path("bench.json").read_text(encoding="utf-8"))[1]["value"] == 20412
    assert rfcalc("check", "--also", "docx=x").exit_code == 2


def test_the_configuration_may_be_elsewhere(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models and lock are named from its folder, whichever folder the command is run in."""
    inner = project / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)

    assert rfcalc("lock").exit_code == 0
    assert (project / "rfcalc.lock.json").exists()
    assert rfcalc("check", "--config", "../../pyproject.toml").exit_code == 0
    budget(project, "max_macs = 1")
    assert "::error file=../../pyproject.toml,line=4," in rfcalc("check", "--format", "github").stdout
    monkeypatch.setenv("GITHUB_WORKSPACE", str(project))
    assert "::error file=pyproject.toml,line=4," in rfcalc("check", "--format", "github").stdout
    assert Path.cwd() == inner


def test_no_models(project: Path) -> None:
    (project / "pyproject.toml").write_text("[tool.rfcalc]\n", encoding="utf-8")

    result = rfcalc("check")

    assert (result.exit_code, "names no model" in result.stderr) == (2, True)


# --- diff -------------------------------------------------------------------------------------------------------------


def test_diff_of_graphs_and_locks(project: Path) -> None:
    rfcalc("lock")
    save(project / "wide.json", width=5)

    assert rfcalc("diff", "net.json", "net.json").exit_code == 0
    graphs = rfcalc("diff", "net.json", "wide.json")
    mixed = rfcalc("diff", "rfcalc.lock.json", "wide.json")

    assert (graphs.exit_code, mixed.exit_code) == (1, 1)
    assert graphs.stdout == mixed.stdout
    assert "width 4 -> 5" in graphs.stdout


def test_diff_of_locks_with_several_models(project: Path) -> None:
    save(project / "other.json")
    (project / "pyproject.toml").write_text(CONFIG + CONFIG.replace("net", "other"), encoding="utf-8")
    rfcalc("lock")
    (project / "rfcalc.lock.json").rename("before.json")
    save(project / "other.json", width=5)
    rfcalc("lock")

    both = rfcalc("diff", "before.json", "rfcalc.lock.json")
    assert (both.exit_code, both.stdout.splitlines()[0]) == (1, "2 models: 1 as locked, 1 changed")
    assert rfcalc("diff", "before.json", "rfcalc.lock.json", "--only", "net").exit_code == 0
    missing = rfcalc("diff", "before.json", "rfcalc.lock.json", "--only", "x")
    assert (missing.exit_code, "has no model 'x'; it has net, other" in missing.stderr) == (2, True)


@pytest.mark.usefixtures("project")
def test_diff_of_what_is_not_there() -> None:
    assert rfcalc("diff", "lost.json", "net.json").exit_code == 2


# --- init -------------------------------------------------------------------------------------------------------------


def test_init_writes_what_the_model_is(project: Path) -> None:
    (project / "pyproject.toml").write_text('[project]\nname = "x"\n', encoding="utf-8")

    result = rfcalc("init", "net.json", "--name", "mine")

    assert (result.exit_code, result.stdout) == (0, "")
    text = (project / "pyproject.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    assert data["project"] == {"name": "x"}
    assert data["tool"]["rfcalc"]["models"] == [{"name": "mine", "model": "net.json"}]
    assert "# max_macs = 20_412\n" in text
    assert '# min_field = "5x5"\n' in text
    assert rfcalc("lock").exit_code == 0
    (project / "pyproject.toml").write_text(text.replace("# max_", "max_").replace("# min_", "min_"))
    assert rfcalc("check").stdout == "1 model: 1 as locked, 4 limits held\n"


def test_init_adds_to_what_is_there(project: Path) -> None:
    content = (CONFIG + "# kept\n").replace("\n", "\r\n").encode()
    (project / "pyproject.toml").write_bytes(content)

    assert rfcalc("init", "net.json", "--name", "again").exit_code == 0

    after = (project / "pyproject.toml").read_bytes()
    assert after.startswith(content)
    assert after.count(b"\n") == after.count(b"\r\n")
    assert [row["name"] for row in tomllib.loads(after.decode())["tool"]["rfcalc"]["models"]] == ["net", "again"]
    twice = rfcalc("init", "net.json", "--name", "net")
    assert (twice.exit_code, "has a model 'net' already" in twice.stderr) == (2, True)
    nothing = rfcalc("init")
    assert (nothing.exit_code, "has a section [tool.rfcalc] already" in nothing.stderr) == (2, True)


def test_init_cannot_add_to_models_in_one_table(project: Path) -> None:
    text = '[tool.rfcalc]\nmodels = [{ model = "vgg16" }]\n'
    (project / "pyproject.toml").write_text(text, encoding="utf-8")

    result = rfcalc("init", "net.json")

    assert (result.exit_code, "cannot be added" in result.stderr) == (2, True)
    assert (project / "pyproject.toml").read_text(encoding="utf-8") == text


def test_init_finds_models_without_running_them(project: Path) -> None:
    (project / "pyproject.toml").unlink()
    for folder in ("src", "tests", ".hidden", "env"):
        (project / folder).mkdir()
    (project / "env" / "pyvenv.cfg").touch()
    source = (
        "raise SystemExit('run')\n"
        "class Block(nn.Module):\n    def forward(self, x): ...\n"
        "class Net(torch.nn.Module):\n    def __init__(self, width=3, *, k=1): self.b = Block()\n"
        "    def forward(self, x): ...\n"
        "class Needs(Module):\n    def __init__(self, width): ...\n    def forward(self, x): ...\n"
        "class Plain:\n    def forward(self, x): ...\n"
        "class _Private(nn.Module):\n    def forward(self, x): ...\n"
        "class NoForward(nn.Module): ...\n"
        "class Lit(pl.LightningModule):\n    def forward(self, x): ...\n"
    )
    for folder in ("src", "tests", ".hidden", "env"):
        (project / folder / "net.py").write_text(source, encoding="utf-8")
    (project / "broken.py").write_text("def (", encoding="utf-8")

    assert discover.models(project) == ["src/net.py:Net", "src/net.py:Lit"]
    result = rfcalc("init")
    assert result.exit_code == 0
    assert tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8")) == {"tool": {"rfcalc": {}}}
    assert '# model = "src/net.py:Net"\n' in (project / "pyproject.toml").read_text(encoding="utf-8")
    assert "src/net.py:Net, src/net.py:Lit" in result.stderr


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("args", [("--input", "3x9x9"), ("--name", "x"), ("net.json", "net.json", "--name", "x")])
def test_init_options_that_belong_to_a_model(args: tuple[str, ...]) -> None:
    assert rfcalc("init", *args).exit_code == 2


def test_init_keeps_the_mode_of_the_file(project: Path) -> None:
    (project / "pyproject.toml").chmod(0o600)

    rfcalc("init", "net.json", "--name", "other")

    assert stat.S_IMODE((project / "pyproject.toml").stat().st_mode) == 0o600


# --- without torch ----------------------------------------------------------------------------------------------------


def run(*calls: tuple[str, ...]) -> float:
    """Run the command line in a fresh process that ends in an error if torch was imported; the seconds of the calls."""
    code = (
        "import sys, time\nfrom rfcalc.cli import cli\nstart = time.perf_counter()\n"
        f"for args in {calls!r}:\n    cli.main(list(args), prog_name='rfcalc', standalone_mode=False)\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
        "print(time.perf_counter() - start, file=sys.stderr)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return float(done.stderr.splitlines()[-1])


@pytest.mark.usefixtures("project")
def test_saved_graphs_and_locks_are_compared_without_torch() -> None:
    rfcalc("lock")

    seconds = run(("check",), ("diff", "rfcalc.lock.json", "rfcalc.lock.json"), ("diff", "net.json", "net.json"))

    assert seconds < 10


def test_locks_are_compared_without_networkx_and_numpy(project: Path) -> None:
    rfcalc("lock")
    code = (
        "import sys\nfrom rfcalc.cli import cli\n"
        "cli.main(['diff', 'rfcalc.lock.json', 'rfcalc.lock.json'], prog_name='rfcalc', standalone_mode=False)\n"
        "print({'torch', 'networkx', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert done.stdout.endswith("set()\n"), done.stderr


@pytest.mark.parametrize("module", ["rfcalc.pytest_plugin", "rfcalc.baseline.check", "rfcalc.report.findings"])
def test_what_every_session_of_pytest_loads_is_light(module: str) -> None:
    heavy = "{'torch', 'networkx', 'numpy', 'click', 'tabulate'}"
    code = f"import sys, {module}\nprint({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)

    assert done.stdout == "set()\n", done.stderr
