"""What holds for every test: the same random numbers in every run, nothing of the user's, and which tests are quick."""

import gc
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

HERE = Path(__file__).parent

#: What `pytest -m quick` runs, by the files that it is in: each room once, without browsers, files and whole models.
QUICK = {
    *("test_architecture.py", "test_graph_json.py", "test_lecture.py"),
    *("analyses/test_analysis.py", "analyses/test_windows.py", "analyses/test_merging.py"),
    *("baseline/test_budgets.py", "baseline/test_causes.py"),
    *("cli/test_parse.py", "cli/test_show.py", "cli/test_errors.py"),
    *("comparing/test_rows.py", "conventions/test_terms.py", "conventions/test_kernels.py"),
    *("ops/test_attention.py", "ops/test_conv.py", "ops/test_linear.py", "ops/test_norm.py", "ops/test_pool.py"),
    *("ops/test_recurrent.py", "ops/test_reduction.py"),
    *("page/test_packing.py", "plotting/test_scenes.py", "report/test_text.py", "report/test_layers.py"),
    *("sources/test_inputs.py", "sweeping/test_patterns.py"),
    *("tracing/test_tracing.py", "tracing/test_naming.py", "tracing/test_views.py"),
}

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: threads of torch's besides would be in the way
    os.environ.setdefault("OMP_NUM_THREADS", "1")

gc.set_threshold(20_000, 20, 20)  # what tests make is mostly gone by itself

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

#: A model's file that a test writes anew within a second would be met as it was compiled before; and a process that may
#: write only small files would leave a part of what it compiles.
sys.dont_write_bytecode = True
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"

os.environ["RFCALC_CACHE_DIR"] = ""  # nothing of a user's cache is used or written, in processes started here neither


@pytest.fixture(autouse=True)
def _traced_anew():
    """Tests see what is traced now, not what was stored before, nor what another test has traced."""
    from rfcalc.sources import stored
    from rfcalc.tracing import replay

    replay.forget()
    with stored.using("nothing"):
        yield


@pytest.fixture(autouse=True)
def _seeded():
    import torch

    torch.manual_seed(0)


def pytest_collection_finish() -> None:
    """What has been imported stays to the end, and the collector need not go through it again and again."""
    gc.collect()
    gc.freeze()


# --- which tests run, and where ---------------------------------------------------------------------------------------


def _is_quick(path: Path) -> bool:
    return path.is_relative_to(HERE) and path.relative_to(HERE).as_posix() in QUICK


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Under ``-m quick`` the other files are not even imported."""
    if config.getoption("markexpr") != "quick" or collection_path.suffix != ".py":
        return None
    return True if collection_path.name.startswith("test_") and not _is_quick(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _is_quick(item.path):
            item.add_marker(pytest.mark.quick)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Files stay together, so that what they share is made once; a process without work takes from another."""
    if config.getvalue("dist") != "load":
        return None  # asked for another way
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)
