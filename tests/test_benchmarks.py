"""The benchmarks of speed: their arithmetic on numbers that are known, and each measurement once on something small."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import torch
from torch import nn

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a module of benchmarks/, which finds the one beside it as a program does."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return import_module


def test_slopes_are_exponents(benchmark: Callable[[str], Any]) -> None:
    scale = benchmark("scale")
    sizes = (10, 100, 1000)

    assert scale.slope(sizes, [3 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert scale.slope(sizes, [0.2, 0.2, 0.2]) == pytest.approx(0)


def test_the_dense_network_has_the_edges_that_it_says(benchmark: Callable[[str], Any]) -> None:
    scale = benchmark("scale")

    for edges in scale.SERIES["edges"].sizes[:2]:
        model, _ = scale.edges(edges)
        assert sum(layer.in_channels // 4 for layer in model.layers) == edges


def test_growth_has_a_time_for_each_size(benchmark: Callable[[str], Any]) -> None:
    scale = benchmark("scale")

    found = scale.growth("side", rounds=1, quick=True)

    assert found["sizes"] == [64, 256]
    assert all(second > 0 for part in ("trace", "analysis") for second in found[part]["cpu"])
    assert "| trace    |" in scale.tabled("side", found)


def test_turns_are_medians_after_a_run_that_does_not_count(benchmark: Callable[[str], Any]) -> None:
    measuring = benchmark("measuring")
    calls: list[str] = []

    found = measuring.interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2)

    assert calls == ["a", "b"] * 3
    assert set(found) == {"a", "b"}
    assert measuring.Times([1.0, 2.0, 9.0], [3.0, 1.0, 2.0]).summary() == {
        "cpu": 2.0,
        "wall": 2.0,
        "cpu_min": 1.0,
        "wall_min": 1.0,
    }


def test_a_pass_of_less_than_ten_milliseconds_counts_as_ten(
    benchmark: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    speed = benchmark("speed")
    times = {"cpu": 0.004, "cpu_min": 0.004, "wall": 0.004}
    monkeypatch.setattr(speed, "torchvision_model", lambda name: (nn.Identity(), torch.zeros(1)))
    found = {"bare": times, "first": {**times, "cpu": 0.02}, "next": {**times, "cpu": 0.005}}
    monkeypatch.setattr(speed, "interleaved", lambda runs, rounds: found)

    row = speed.analysis("any", 1)

    assert (row["first_ratio"], row["next_ratio"]) == (pytest.approx(2.0), pytest.approx(0.5))


def test_what_misses_a_target_says_so(benchmark: Callable[[str], Any]) -> None:
    speed = benchmark("speed")
    times = {f"{part}_{kind}": 0.07 for part in ("bare", "first", "next") for kind in ("cpu", "cpu_min")}
    row = times | {"first_ratio": 0.7, "next_ratio": 0.5}
    found = {name: row for names in speed.GROUPS.values() for name in names}

    text = speed.analysis_table(found | {"swin_t": {**row, "first_ratio": 1.25}})

    assert text.count("1.0, met") == 10 + 11
    assert text.count("1.0, missed") == 1
    assert text.count("0.70    | 0.6, missed | 0.50   | 0.6, met") == 2


def test_a_process_is_timed_and_must_succeed(benchmark: Callable[[str], Any], tmp_path: Path) -> None:
    speed, times = benchmark("speed"), benchmark("measuring").Times()

    speed.process(["-c", "sum(range(10**6))"], tmp_path, {}, times)

    assert times.cpu[0] > 0
    assert times.wall[0] > 0
    with pytest.raises(click.ClickException, match="exit status 3"):
        speed.process(["-c", "raise SystemExit(3)"], tmp_path, {}, times)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is counted by Linux")
def test_memory_is_the_peak_of_a_process_of_its_own(benchmark: Callable[[str], Any]) -> None:
    memory = benchmark("memory")

    found = memory.in_a_process("volume")

    assert found["layers"] == 18
    assert found["over_import_torch"] == found["model"] + found["analysis"] > 0
    assert found["import_torch"] > 50e6  # torch's libraries alone
    assert "| a 3D encoder" in memory.tabled({"volume": found})


def test_the_decoder_has_the_parameters_of_its_paper(benchmark: Callable[[str], Any]) -> None:
    with torch.device("meta"):
        model, _ = benchmark("memory").decoder()

    # Llama 2 70B: 68,976,648,192, of which 32,000 x 8,192 are the table of tokens.
    assert sum(parameter.numel() for parameter in model.parameters()) == 68_976_648_192 - 32_000 * 8192


# --- peers ------------------------------------------------------------------------------------------------------------


def fails(model: nn.Module, x: torch.Tensor) -> int:
    raise ValueError("no such model\nmore of it")


def sleeps(model: nn.Module, x: torch.Tensor) -> int:
    time.sleep(5)
    return 1


def on_meta_otherwise(model: nn.Module, x: torch.Tensor) -> int:
    return 3 if x.is_meta else 4


def not_on_meta(model: nn.Module, x: torch.Tensor) -> int:
    return int(x.sum().item()) + 7


@pytest.fixture
def peers(benchmark: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    module = benchmark("peers_speed")
    monkeypatch.setattr(
        module, "torchvision_model", lambda name, device: (nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 4, 4, device=device))
    )
    monkeypatch.setattr(module, "LIMIT", 0.5)
    return module


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (fails, {"kind": "weights", "failed": "ValueError: no such model"}),
        (sleeps, {"kind": "weights", "failed": "TooLongError: took more than 0.5 s"}),
        (on_meta_otherwise, {"kind": "weights", "macs": 4, "on_meta": "counts 3"}),
        (lambda model, x: 5, {"kind": "meta", "macs": 5}),
    ],
    ids=["fails", "sleeps", "on_meta_otherwise", "plain"],
)
def test_a_tool_is_timed_where_it_works(peers: Any, run: Any, expected: dict[str, Any]) -> None:
    subjects = {kind: peers.Subject("any", kind) for kind in peers.KINDS}

    assert peers.chosen("tool", run, subjects) == {"tool": "tool", **expected}


def test_peers_are_compared_on_the_same_kind_of_model(peers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = {"fvcore": not_on_meta, "thop": fails}
    monkeypatch.setattr(peers, "installed", lambda: tools)
    monkeypatch.setattr(peers, "own", lambda model, x: time.sleep(0.002) or 16)

    rows = peers.side_by_side("any", 2)

    assert [(row["tool"], row["kind"]) for row in rows] == [
        *(("rfcalc", "meta"), ("rfcalc", "weights"), ("fvcore", "weights"), ("thop", "weights"))
    ]
    assert rows[2]["runs"] == 2
    assert rows[2]["wall_ratio"] == pytest.approx(rows[2]["wall"] / rows[1]["wall"])
    assert "| thop   | weights | failed: ValueError: no such model |" in peers.tabled("any", rows)
    assert "| any     | " in peers.headline({"any": rows})


def test_threads_say_the_same_and_leave_the_models(benchmark: Callable[[str], Any]) -> None:
    pytest.importorskip("torchvision")
    threads = benchmark("threads")

    found = threads.stress(2, 4)

    assert (found["wrong"], found["model_as_before"], found["training_as_alone"]) == (0, True, True)
    assert "| analyses of one model " in threads.text_of(found)
