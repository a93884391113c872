"""Several processes: killed, interrupted, late, on a cluster. All of them are real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from rfcalc.sweeping import child
from rfcalc.sweeping.patterns import Item
from rfcalc.sweeping.run import How, rows
from tests.sweeping.conftest import Invoke

ROOT = Path(__file__).parent.parent.parent

#: Parameters of 3x3 convolutions: from 3 to 4 channels, from 3 to 64, and one of 1 to 1 without bias.
PARAMS = {"small": 112, "wide": 1_792, "own name": 9}
MEETING = {"left": 112, "right": 112}  #: each waits until the other is made, too


def found_in(text: str) -> dict[str, Any]:
    """Rows as JSON lines, by the part of the model's name after the file's."""
    rows = [json.loads(line) for line in text.splitlines()]
    assert len({row["model"] for row in rows}) == len(rows)
    return {row["model"].rpartition("#")[2]: row for row in rows}


def params_of(rows: dict[str, Any]) -> dict[str, int | None]:
    return {name: row["params"] for name, row in rows.items()}


@contextmanager
def sweeping(*args: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A sweep in a process group of its own, which is gone afterwards."""
    command = [sys.executable, "-m", "rfcalc", "sweep", *args]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    with process:
        yield process
        process.kill()
    assert gone(process.pid), "something that it started is left"


def gone(group: int) -> bool:
    """Whether a process group comes to its end within some seconds."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def wait_until_blocked(process: subprocess.Popen[str]) -> None:
    """Wait until the sweep has come to the model that takes a minute."""
    assert process.stderr is not None
    assert any("blocked" in line for line in process.stderr)


def test_a_killed_sweep_goes_on_where_it_was(
    nets: str, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.jsonl"
    monkeypatch.setenv("MODELS", "small,wide,blocked,named spec")
    with sweeping(nets, "-o", str(path), "--timeout", "50") as process:
        wait_until_blocked(process)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    before = path.read_text(encoding="utf-8")
    assert params_of(found_in(before)) == {"small": 112, "wide": 1_792}

    monkeypatch.setenv("FREE", "1")
    done = invoke("sweep", nets, "-o", str(path))

    assert "note: 2 of 4 models have a row already" in done.stderr
    after = path.read_text(encoding="utf-8")
    assert after.startswith(before)
    assert params_of(found_in(after)) == {**PARAMS, "blocked": 112}


@pytest.mark.parametrize(
    ("args", "models", "least"),
    [((), "small,wide", {"small", "wide"}), (("--jobs", "2"), "left,right", set())],
)
def test_an_interrupt_prints_what_there_is(args: tuple[str, ...], models: str, least: set[str], nets: str) -> None:
    with sweeping(nets, "--format", "jsonl", *args, MODELS=f"{models},blocked,named spec") as process:
        wait_until_blocked(process)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)

    assert process.returncode == 130
    found = params_of(found_in(out))
    assert found.items() <= {**PARAMS, **MEETING}.items()
    assert found.keys() >= least
    assert "Traceback" not in err
    assert err.strip().splitlines()[-1] == f"rfcalc: interrupted: {len(found)} of 4 models have a row"


def test_models_may_be_late_or_die(nets: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS", "small,deadly,wide,blocked,broken,named spec")

    done = invoke("sweep", nets, "resnet18", "--jobs", "2", "--timeout", "3", "--format", "jsonl")

    found = found_in(done.stdout)
    lost = {"deadly": None, "blocked": None, "broken": None}
    assert params_of(found) == {**PARAMS, **lost, "resnet18": 11_689_512}
    assert list(found) == ["small", "deadly", "wide", "blocked", "broken", "own name", "resnet18"]
    assert (found["blocked"]["status"], found["blocked"]["error"]) == ("timed_out", "not done after 3 seconds")
    assert found["deadly"]["error"].startswith("the process that ran it died")
    assert found["broken"]["error"] == "ValueError: no such width"
    assert child._all == []


def test_a_process_that_ended_while_it_waited_is_replaced(
    nets: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODELS", "blocked")
    first = child.fill(Item("3x3"), None, None, "this")
    assert len(child._idle) == len(child._all) == 1
    child._idle[0]._process.kill()

    second = child.fill(Item("5x5"), None, None, "this")
    child.end("another")
    assert len(child._idle) == len(child._all) == 1
    os.kill(child._idle[0]._process.pid, signal.SIGINT)
    time.sleep(1)
    assert "KeyboardInterrupt" not in capfd.readouterr().err  # it is for the parent
    third, fourth = rows([Item("1x1"), Item(f"{nets}#blocked", nets)], How(timeout=0.5))

    assert (first.params, second.params, third.params) == (9, 25, 1)
    assert (fourth.status, fourth.seconds) == ("timed_out", 0.5)
    assert child._idle == child._all == []


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A dask cluster of two processes on this machine."""
    import distributed

    how = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with distributed.LocalCluster(host="127.0.0.1", env={"MODELS": "small,wide,left,right,broken"}, **how) as found:
        yield found


def test_a_dask_cluster(
    cluster: Any, nets: str, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS", "small,wide,left,right,broken,unnamed")
    path = tmp_path / "rows.jsonl"
    address = cluster.scheduler_address
    assert address.startswith("tcp://127.0.0.1:")

    done = invoke("sweep", nets, "resnet18", "vgg61", "-o", str(path), "--backend", "dask", "--scheduler", address)

    assert done.exit_code == 0, done.stderr
    found = found_in(path.read_text(encoding="utf-8"))
    counts = {"small": 112, "wide": 1_792, **MEETING, "resnet18": 11_689_512}
    assert params_of(found) == {**counts, "broken": None, "Small": None, "vgg61": None}
    assert found["resnet18"]["size"] == [435, 435]
    assert "models() yields nothing here, it must yield the same models" in found["Small"]["error"]
    with cluster.get_client() as client:
        left = client.run(lambda: len(import_module("rfcalc.sweeping.child")._all))
    assert list(left.values()) == [0, 0]


def test_a_scheduler_that_is_not_there(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rfcalc.sweeping.run._PATIENCE", 0.5)

    done = invoke("sweep", "3x3", "--backend", "dask", "--scheduler", "tcp://127.0.0.1:9")

    assert done.exit_code == 2
    assert "no dask scheduler answers at tcp://127.0.0.1:9" in done.stderr
