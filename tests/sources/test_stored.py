"""Graphs that ship with rfcalc are what a fresh trace gives; what is kept in the cache is right, or not used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rfcalc import graph_json
from rfcalc.api import layer_graph
from rfcalc.errors import UsageError
from rfcalc.graph import LayerGraph
from rfcalc.sources import stored
from rfcalc.zoo import CATALOG

NAME = "torchvision:squeezenet1_1"


def text(graph: LayerGraph) -> str:
    """A graph as text, without torch's version."""
    return graph_json.dumps(replace(graph, meta={**graph.meta, "torch": ""}))


# --- the zoo ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CATALOG)
def test_what_ships_is_what_a_trace_gives(name: str) -> None:
    with stored.using("nothing"):
        fresh = layer_graph(name)
    with stored.using("shipped"):
        shipped = stored.find(stored.Wanted(name, None, None, False))

    assert shipped is not None
    assert text(shipped) == text(fresh)


def test_nothing_ships_that_is_not_in_the_zoo() -> None:
    assert {path.name for path in stored.SHIPPED.iterdir()} == {f"{name}.json.gz" for name in CATALOG}


@pytest.mark.parametrize("inputs", [None, (3, 224, 224), (1, 3, 224, 224), [3, 224, 224]])
def test_the_usual_input_may_be_named(inputs: object) -> None:
    with stored.using("shipped"):
        assert stored.find(stored.Wanted("vgg11", inputs, None, False)) is not None


@pytest.mark.parametrize(
    ("inputs", "axes", "training"),
    [
        ((3, 225, 225), None, False),
        ((2, 3, 224, 224), None, False),
        ({"input": (3, 224, 224)}, None, False),
        (None, {"H": 2}, False),
        (None, None, True),
    ],
)
def test_everything_else_is_traced(inputs: object, axes: object, training: bool) -> None:
    with stored.using("shipped"):
        assert stored.find(stored.Wanted("vgg11", inputs, axes, training)) is None


def test_tensors_are_traced() -> None:
    import torch

    x = torch.rand(1, 1, 32, 32)
    with stored.using("shipped"):
        for inputs in (x, (x,), [x], {"input": x}):
            assert stored.find(stored.Wanted("lenet5", inputs, None, False)) is None
            assert layer_graph("lenet5", inputs).inputs[0].shape == (1, 1, 32, 32)


@pytest.mark.parametrize("inputs", ["1x32x32", 5, 1.5, np.zeros(3), object()])
def test_what_is_no_input_is_refused_as_ever(inputs: object) -> None:
    with stored.using("shipped"), pytest.raises(UsageError, match="cannot use a"):
        layer_graph("lenet5", inputs)


def test_other_inputs_of_the_zoo_are_right() -> None:
    with stored.using("shipped"):
        two, larger = layer_graph("lenet5", (2, 1, 32, 32)), layer_graph("resnet18", (3, 65, 64))

    assert two.inputs[0].shape == (2, 1, 32, 32)
    assert larger.inputs[0].shape == (1, 3, 65, 64)


# --- the cache --------------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the cache, in a process in which no code of the user's has run."""
    monkeypatch.setenv("RFCALC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(stored, "_foreign", False)
    return tmp_path / "graphs"


def wanted(spec: str = NAME, inputs: object = (3, 64, 64)) -> stored.Wanted:
    return stored.Wanted(spec, inputs, None, False)


def test_a_library_is_traced_once(cache: Path) -> None:
    with stored.using("kept"):
        assert stored.find(wanted()) is None
        fresh = layer_graph(NAME, (3, 64, 64))
        kept = stored.find(wanted())

    assert kept is not None
    assert text(kept) == text(fresh)
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("use", ["shipped", "nothing"])
def test_python_and_no_cache_keep_nothing(cache: Path, use: str) -> None:
    with stored.using(use):
        layer_graph(NAME, (3, 64, 64))
        assert stored.find(wanted()) is None

    assert not cache.exists()


@pytest.mark.parametrize(
    "other",
    [
        wanted(inputs=(3, 65, 65)),
        wanted(inputs=None),
        wanted("torchvision:squeezenet1_1(num_classes=10)"),
        wanted("torchvision:squeezenet1_0"),
        stored.Wanted(NAME, (3, 64, 64), {"H": 2}, False),
        stored.Wanted(NAME, (3, 64, 64), None, True),
    ],
)
def test_another_request_has_another_key(cache: Path, other: stored.Wanted) -> None:
    with stored.using("kept"):
        layer_graph(NAME, (3, 64, 64))

        assert stored.find(other) is None


def test_another_release_has_another_key(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stored.using("kept"):
        layer_graph(NAME, (3, 64, 64))
        release = stored.release
        for package in ("torch", "torchvision"):
            with monkeypatch.context() as patch:
                patch.setattr(stored, "release", lambda name, new=package: ["9", 0] if name == new else release(name))
                assert stored.find(wanted()) is None
        with monkeypatch.context() as patch:
            patch.setattr(stored, "_own_release", lambda: [1, 2, 3])
            assert stored.find(wanted()) is None

        assert stored.find(wanted()) is not None


def gzip(data: object) -> bytes:
    return stored.packed(json.dumps(data))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no gzip at all",
        gzip([1, 2])[:-4],
        gzip([1, 2]),
        gzip("text"),
        gzip({"key": ["another"], "graph": {}}),
        gzip({"graph": {}}),
    ],
)
def test_a_damaged_or_foreign_entry_is_ignored_and_replaced(cache: Path, content: bytes) -> None:
    with stored.using("kept"):
        good = text(layer_graph(NAME, (3, 64, 64)))
        (entry,) = cache.iterdir()
        entry.write_bytes(content)

        assert stored.find(wanted()) is None
        assert text(layer_graph(NAME, (3, 64, 64))) == good
        assert (found := stored.find(wanted())) is not None
        assert text(found) == good


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files here have no owner")
def test_an_entry_of_another_user_is_not_believed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stored.using("kept"):
        layer_graph(NAME, (3, 64, 64))
        assert stored.find(wanted()) is not None

        monkeypatch.setattr(os, "getuid", lambda: os.stat(cache).st_uid + 1)
        assert stored.find(wanted()) is None


def test_an_entry_of_another_model_is_ignored(cache: Path) -> None:
    with stored.using("kept"):
        layer_graph(NAME, (3, 64, 64))
        (entry,) = cache.iterdir()
        layer_graph(NAME, (3, 65, 65))
        (other,) = {*cache.iterdir()} - {entry}
        other.replace(entry)

        assert stored.find(wanted()) is None


@pytest.mark.parametrize("graph", [{}, {"schema": "rfcalc-graph/1"}, {"schema": "other"}, [], None])
def test_an_entry_with_the_right_key_and_no_graph_is_ignored(cache: Path, graph: object) -> None:
    with stored.using("kept"):
        layer_graph(NAME, (3, 64, 64))
        (entry,) = cache.iterdir()
        data = json.loads(zlib.decompress(entry.read_bytes(), 31))
        entry.write_bytes(gzip({**data, "graph": graph}))

        assert stored.find(wanted()) is None


@pytest.mark.skipif(sys.platform == "win32", reason="folders are no files there")
def test_a_cache_that_cannot_be_written_is_no_error(cache: Path) -> None:
    cache.write_text("a file where the folder should be")

    with stored.using("kept"):
        assert layer_graph(NAME, (3, 64, 64)).model == NAME


def test_an_empty_folder_name_turns_the_cache_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RFCALC_CACHE_DIR", "")

    assert stored.folder() is None


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/rfcalc"),
        ("linux", {"XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/rfcalc"),
        ("darwin", {"HOME": "/h"}, "/h/Library/Caches/rfcalc"),
        ("win32", {"LOCALAPPDATA": "/l"}, "/l/rfcalc/Cache"),
    ],
)
def test_the_folder_is_the_users(
    platform: str, variables: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RFCALC_CACHE_DIR", raising=False)
    monkeypatch.setattr(stored, "sys", SimpleNamespace(platform=platform))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert stored.folder() == Path(folder)


# --- what is the user's -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["net.py:Net", "package.module:net", "3x3", "vgg16(3)", "keras:ResNet50"])
def test_only_libraries_are_kept(cache: Path, spec: str) -> None:
    with stored.using("kept"):
        assert stored._place(wanted(spec)) is None


def test_after_code_of_the_users_no_name_is_trusted(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\nNet = nn.Identity\n")
    with stored.using("kept"):
        layer_graph(NAME, (3, 64, 64))
        assert stored.find(wanted()) is not None

        layer_graph(f"{tmp_path}/net.py:Net", (3, 8, 8))

        assert stored.find(wanted()) is None


def test_tensors_are_no_part_of_a_key(cache: Path) -> None:
    import torch

    with stored.using("kept"):
        layer_graph(NAME, torch.rand(1, 3, 64, 64))

    assert not cache.exists()


def test_a_checkout_is_not_kept(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").touch()
    assert stored.release("torchvision") is not None

    spec = SimpleNamespace(origin=str(tmp_path / "torchvision" / "__init__.py"))
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: spec)
        assert stored.release("torchvision") is None
    editable = SimpleNamespace(read_text=lambda name: '{"url": "file:///here", "dir_info": {"editable": true}}')
    with monkeypatch.context() as patch:
        patch.setattr("importlib.metadata.distribution", lambda name: editable)
        assert stored.release("torchvision") is None
    assert stored.release("there-is-no-such-package") is None


# --- the command line -------------------------------------------------------------------------------------------------


def rfcalc(*args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A run in a process of its own, which says on stderr whether torch was imported."""
    code = (
        "import sys\nfrom rfcalc.cli import cli\n"
        f"try:\n    cli({list(args)!r}, prog_name='rfcalc')\n"
        "finally:\n    print('torch' if 'torch' in sys.modules else 'light', file=sys.stderr)"
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **variables}, timeout=300
    )


def test_the_second_run_needs_no_torch_and_says_the_same_and_no_cache_traces_again(tmp_path: Path) -> None:
    words = ("show", NAME, "--layer", "3")
    runs = [rfcalc(*words, *more, RFCALC_CACHE_DIR=str(tmp_path)) for more in ((), (), ("--no-cache",))]

    assert [run.stderr.split()[-1] for run in runs] == ["torch", "light", "torch"]
    assert runs[0].stdout == runs[1].stdout == runs[2].stdout != ""


def test_what_ships_is_traced_without_the_cache() -> None:
    done = rfcalc("show", "lenet5", "--no-cache")

    assert (done.returncode, done.stderr.split()[-1]) == (0, "torch")


@pytest.mark.parametrize(
    "args",
    [
        ("show", "vgg16", "--layer", "3"),
        ("show", "resnet152"),
        ("compare", "vgg16", "resnet50"),
        ("explain", "resnet50"),
        ("list",),
    ],
)
def test_the_zoo_needs_no_torch(args: tuple[str, ...]) -> None:
    done = rfcalc(*args)

    assert (done.returncode, done.stderr.split()[-1]) == (0, "light")
