"""The pytest plugin, in sessions of pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from rfcalc.baseline import lockfile
from rfcalc.baseline.lockfile import Lock
from tests import forking
from tests.baseline.test_commands import save

ROOT = Path(__file__).parent.parent.parent

#: The plugin by its name; those of all that is installed, which take longer than a session, are left out (`ALONE`).
LOADED = ["-p", "rfcalc.pytest_plugin"]
ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

Session = subprocess.CompletedProcess[str]

TESTS = """\
import pytest

def test_net(rfcalc_check):
    assert rfcalc_check("net.json", name="net").totals.macs > 0
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a saved graph and a test of it."""
    save(tmp_path / "net.json")
    (tmp_path / "test_it.py").write_text(TESTS, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers -p no:cacheprovider\n", encoding="utf-8")
    return tmp_path


def session(folder: Path, *args: str, python: Sequence[str] = (), by_entry_point: bool = False) -> Session:
    """A session of pytest in a folder, by a ``python`` that has torch already."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "PYTEST_ADDOPTS": ""}
    environment |= {} if by_entry_point else ALONE
    loaded = ["-p", "no:hypothesispytest"] if by_entry_point else LOADED
    return subprocess.run(
        [*(python or forking.python()), "-m", "pytest", "-q", *loaded, *args],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def write(folder: Path, text: str) -> None:
    (folder / "test_it.py").write_text(text, encoding="utf-8")


def test_a_model_is_locked_checked_changed_and_accepted(project: Path) -> None:
    fresh = session(project)
    assert fresh.returncode == 1
    assert "net: not in the lock" in fresh.stdout
    assert "pytest --rfcalc-update accepts what changed" in fresh.stdout

    assert session(project, "--rfcalc-update").returncode == 0
    assert session(project).returncode == 0
    save(project / "net.json", width=5)
    red = session(project)

    assert red.returncode == 1
    assert ["first", "parameters", "108", "135", "+27", "+25.0", "%", "width", "4", "->", "5"] in [
        line.split() for line in red.stdout.splitlines()
    ]
    assert "Traceback" not in red.stdout
    assert session(project, "--rfcalc-update").returncode == 0
    assert session(project).returncode == 0


def test_budgets_by_marker(project: Path) -> None:
    write(
        project,
        "import pytest\n"
        "pytestmark = pytest.mark.rfcalc(max_macs='20k', max_params=252)\n"
        "def test_over(rfcalc_check):\n    rfcalc_check('net.json', name='net')\n"
        "@pytest.mark.rfcalc(max_macs=20412)\n"
        "def test_under(rfcalc_check):\n    rfcalc_check('net.json', name='net')\n"
        "@pytest.mark.rfcalc(max_mac=1)\n"
        "def test_wrong(rfcalc_check):\n    pass\n"
        "@pytest.mark.rfcalc('1G')\n"
        "def test_unnamed(rfcalc_check):\n    pass\n",
    )
    session(project, "--rfcalc-update", "-k", "under")

    done = session(project, "-rA")

    assert "FAILED test_it.py::test_over" in done.stdout
    assert ["net", "max_macs", "20k", "20,412", "broken"] in [line.split() for line in done.stdout.splitlines()]
    assert "PASSED test_it.py::test_under" in done.stdout
    assert "has an unknown key 'max_mac'; did you mean max_macs?" in done.stdout
    assert "takes limits by name" in done.stdout


def test_what_a_budget_forbids_is_not_accepted(project: Path) -> None:
    session(project, "--rfcalc-update")
    before = (project / "rfcalc.lock.json").read_bytes()
    save(project / "net.json", width=5)
    write(project, TESTS.replace("def", "@pytest.mark.rfcalc(max_growth='24%')\ndef"))

    done = session(project, "--rfcalc-update")

    assert (done.returncode, "25% (parameters)" in done.stdout) == (1, True)
    assert (project / "rfcalc.lock.json").read_bytes() == before


def test_a_test_is_a_name_too(project: Path) -> None:
    write(project, "def test_two(rfcalc_check):\n    rfcalc_check('net.json')\n    rfcalc_check('net.json')\n")

    assert session(project, "--rfcalc-update").returncode == 0

    found = lockfile.read(project / "rfcalc.lock.json").models
    assert sorted(found) == ["test_it.py::test_two", "test_it.py::test_two#2"]
    assert {entry.model for entry in found.values()} == {None}


def test_entries_of_the_command_line_stay_its_own(project: Path) -> None:
    """A test may hold on to a model of the configuration; `rfcalc check` leaves alone what only tests know."""
    from click.testing import CliRunner

    from rfcalc.cli import cli

    (project / "pyproject.toml").write_text(
        '[tool.rfcalc]\nlock = "sub.lock"\n[[tool.rfcalc.models]]\nname = "net"\nmodel = "net.json"\n', encoding="utf-8"
    )
    config = ("--config", str(project / "pyproject.toml"))
    write(project, TESTS + "\ndef test_own(rfcalc_check):\n    rfcalc_check('net.json', name='own')\n")

    assert session(project, "--rfcalc-update").returncode == 0
    assert CliRunner().invoke(cli, ["lock", *config]).exit_code == 0
    lock = lockfile.read(project / "sub.lock")
    assert {name: entry.model for name, entry in lock.models.items()} == {"net": None, "own": None}
    assert CliRunner().invoke(cli, ["check", *config]).exit_code == 0


def test_a_damaged_lock_is_left_alone(project: Path) -> None:
    (project / "rfcalc.lock.json").write_text("=======\n", encoding="utf-8")

    done = session(project, "--rfcalc-update")

    assert (done.returncode, "conflict markers" in done.stdout) == (1, True)
    assert (project / "rfcalc.lock.json").read_text(encoding="utf-8") == "=======\n"


def test_another_lock(project: Path) -> None:
    assert session(project, "--rfcalc-update", "--rfcalc-lock", "ci.lock").returncode == 0
    assert session(project, "--rfcalc-lock", "ci.lock").returncode == 0
    assert sorted(path.name for path in project.glob("*lock*")) == ["ci.lock"]


def test_workers_of_xdist_lose_nothing(project: Path) -> None:
    pytest.importorskip("xdist")
    write(
        project,
        "import pytest\n"
        "@pytest.mark.parametrize('number', range(24))\n"
        "def test_net(rfcalc_check, number):\n    rfcalc_check('net.json', name=f'net{number}')\n",
    )
    lockfile.update(project / "rfcalc.lock.json", lambda lock: replace(lock, models=Lock().models))

    assert session(project, "--rfcalc-update", "-p", "xdist", "-n", "3").returncode == 0

    found = lockfile.read(project / "rfcalc.lock.json").models
    assert sorted(found) == sorted(f"net{number}" for number in range(24))
    assert session(project, "-p", "xdist", "-n", "3").returncode == 0


def test_nothing_is_imported_when_it_is_not_used(project: Path) -> None:
    write(
        project,
        "import sys\ndef test_light(pytestconfig):\n"
        "    assert pytestconfig.pluginmanager.hasplugin('rfcalc') or 'rfcalc.pytest_plugin' in sys.modules\n"
        "    ours = {name for name in sys.modules if name.split('.')[0] == 'rfcalc'}\n"
        "    assert ours == {'rfcalc', 'rfcalc.pytest_plugin'}\n"
        "    assert not {'torch', 'numpy', 'networkx', 'click'} & set(sys.modules)\n",
    )

    installed = bool(entry_points(group="pytest11", name="rfcalc"))
    done = session(project, python=[sys.executable], by_entry_point=installed)

    assert done.returncode == 0, done.stdout
