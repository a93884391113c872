"""Keras models by name, in saved files and in files of code; what is wrong with them is said in one line."""

from __future__ import annotations

import os
import subprocess
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

import rfcalc
from rfcalc.errors import LoadError, UsageError
from tests import forking

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
layers = keras.layers

pytestmark = pytest.mark.filterwarnings("ignore")  # of Keras and of what it imports


def small() -> Any:
    parts = [layers.Conv2D(4, 3, name="conv"), layers.BatchNormalization(name="norm"), layers.Flatten()]
    return keras.Sequential([keras.Input((8, 8, 3)), *parts, layers.Dense(2, name="last")], name="small")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "small.keras"
    model = small()
    model.compile("adam", "mse")
    model.save(path)
    return path


def test_a_saved_model_is_the_one_that_was_saved(saved: Path) -> None:
    a, here = rfcalc.analyze(str(saved)), rfcalc.analyze(small())

    assert (a.totals, a.model) == (here.totals, str(saved))
    assert [layer.name for layer in a.layers] == ["input", "conv", "last"]
    assert (a.totals.params, a.totals.buffers) == (3 * 36 + 4 + 8 + 6 * 6 * 4 * 2 + 2, 8)


def test_the_weights_in_a_file_are_not_read(saved: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        config = archive.read("config.json")
    alone = saved.with_name("alone.keras")
    with zipfile.ZipFile(alone, "w") as archive:
        archive.writestr("config.json", config)

    assert rfcalc.analyze(str(alone)).totals == rfcalc.analyze(str(saved)).totals


def test_how_the_model_was_trained_does_not_matter(tmp_path: Path) -> None:
    def loss(wanted: Any, found: Any) -> Any:
        return keras.ops.mean(wanted - found)

    path = tmp_path / "trained.keras"
    model = small()
    model.compile("adam", loss)
    model.save(path)

    assert rfcalc.analyze(str(path)).totals.params == 410


@keras.saving.register_keras_serializable("tests")
class Known(layers.Layer):  # type: ignore[misc, name-defined]
    def call(self, x: Any) -> Any:
        return x[:, ::2]


def test_layers_that_the_process_has_registered_are_known(tmp_path: Path) -> None:
    path = tmp_path / "known.keras"
    keras.Sequential([keras.Input((8, 4)), Known()]).save(path)

    assert rfcalc.analyze(str(path)).graph.nodes[1]["record"].outputs[0].shape == (1, 4, 4)


# --- damage -----------------------------------------------------------------------------------------------------------


def refused(path: Path | str) -> str:
    with pytest.raises(LoadError) as caught:
        rfcalc.analyze(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kept", [0, 1, 0.5, 0.999])
def test_a_truncated_file(saved: Path, kept: float) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(kept) if kept >= 1 else int(len(whole) * kept)])

    assert refused(saved).startswith(f"{saved} is no whole file of Keras's, which is a zip archive")


def test_a_file_with_a_changed_byte(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[content.index(b'"class_name"') + 20] ^= 0xFF
    saved.write_bytes(content)

    assert "Bad CRC-32 for file 'config.json'" in refused(saved)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (None, "is a zip archive without config.json, so no model that Keras saved"),
        ("{", "is damaged: its config.json is not JSON"),
        ("\udcff".encode("utf-8", "surrogateescape"), "is damaged: its config.json is not JSON"),
        ("[1]", "is damaged: its config.json holds a list, expected an object"),
        ("{}", "holds a dict, expected a Keras model"),
        (
            '{"module": "keras.optimizers", "class_name": "SGD", "config": {}, "registered_name": null}',
            "holds a SGD, expected a Keras model",
        ),
        (
            '{"module": "nowhere", "class_name": "Foo", "config": {}, "registered_name": "Foo"}',
            "it needs Foo, which is code of its author's and not in the file: name the code that makes the model",
        ),
        (
            '{"module": "keras", "class_name": "Sequential", "config": {"layers": []}, "registered_name": null}',
            "Keras could not build what its config.json says: A Sequential model configuration must be",
        ),
    ],
)
def test_an_archive_that_holds_something_else(tmp_path: Path, config: str | bytes | None, says: str) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json" if config is not None else "other.txt", config or "")

    message = refused(path)

    assert message.startswith(str(path))
    assert says in message


def test_files_that_are_not_there(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.keras") == f"cannot read {tmp_path}/none.keras: No such file or directory"
    (tmp_path / "folder.keras").mkdir()
    assert refused(tmp_path / "folder.keras") == f"cannot read {tmp_path}/folder.keras: Is a directory"


class Own(layers.Layer):  # type: ignore[misc, name-defined]
    def call(self, x: Any) -> Any:
        return 2 * x


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (Own, "it needs Own, which is code of its author's and not in the file: name the code that makes the model"),
        (
            lambda: layers.Lambda(lambda x: 2 * x),
            "it holds code, as a Lambda layer does, and code in a file is not run",
        ),
        (lambda: layers.TorchModuleWrapper(torch.nn.Identity()), "it holds code, as a Lambda layer does"),
    ],
)
def test_code_in_a_file_is_not_run(tmp_path: Path, layer: Any, says: str) -> None:
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((4,)), layer()]).save(path)

    assert says in refused(path)


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("keras:ResNet5", UsageError, "keras.applications has no model 'ResNet5'; nearest: ResNet50, "),
        ("keras:VGG16(weights='imagenet')", UsageError, "nothing is downloaded: leave weights out"),
        ("keras:VGG16(depth=3)", LoadError, "building the model failed: .*unexpected keyword argument 'depth'"),
        ("keras:VGG16(input_shape=(7, 7, 3))", LoadError, "Input size must be at least 32x32"),
        (
            "keras:VGG16(include_top=False)",
            UsageError,
            r"leaves the size of its input open \(\?x\?x3\): give it, --input 224x224x3",
        ),
    ],
)
def test_names_that_are_refused(spec: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        rfcalc.analyze(spec)


def test_an_open_size_is_given() -> None:
    a = rfcalc.analyze("keras:VGG16(include_top=False)", (32, 48, 3))

    assert a["block5_pool"].output_shape == (1, 1, 1, 512)
    assert a.totals.params == 14_714_688


def test_keras_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    assert refused("keras:VGG16") == "keras:VGG16 needs keras, which is not installed: pip install 'rfcalc[keras]'"


CODE = """
import keras
from keras import layers

def make(width=4):
    return keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(width, 3), layers.Conv2D(2, 1)])

model = make(6)
"""


@pytest.mark.parametrize(("attribute", "width"), [("make", 4), ("make(width=5)", 5), ("model", 6)])
def test_code_that_makes_a_model(tmp_path: Path, attribute: str, width: int) -> None:
    (tmp_path / "net.py").write_text(CODE)

    a = rfcalc.analyze(f"{tmp_path}/net.py:{attribute}")

    assert a.layers[1].params == 28 * width
    if attribute != "model":  # which importing the file made, after others
        assert [layer.name for layer in a.layers] == ["input", "conv2d", "conv2d_1"]


def test_what_is_built_without_weights_can_be_verified(tmp_path: Path) -> None:
    parts = "layers.Reshape((36, -1)), layers.Normalization(), layers.LSTM(3)"
    (tmp_path / "net.py").write_text(CODE.replace("layers.Conv2D(2, 1)", parts))

    assert rfcalc.verify(f"{tmp_path}/net.py:make", device="cpu", timing=False, probes=4).agree


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    here = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    command = forking.python("-m", "rfcalc", *words)
    return subprocess.run(command, capture_output=True, text=True, env={**here, **environment}, check=False)


def test_what_fails_while_a_model_is_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(CODE.replace("layers.Conv2D(2, 1)", "layers.Conv2D(2, 9)").replace("make(6)", "0"))

    message = refused(f"{tmp_path}/net.py:make")

    assert "calling make failed: ValueError: Computed output" in message  # as Keras says it, without its frame
    assert "kernel shape=(9, 9, 4, 2)" in message


def test_torch_is_chosen_where_nothing_else_is(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(CODE)

    done = run(f"{tmp_path}/net.py:make", KERAS_HOME=str(tmp_path))

    assert (done.returncode, done.stderr) == (0, "")
    assert "conv2d_1" in done.stdout


def test_another_backend_in_the_environment_is_not_in_the_way(saved: Path) -> None:
    done = run(str(saved), KERAS_BACKEND="nonsense")

    assert (done.returncode, done.stderr) == (0, "")


def test_the_older_formats_say_the_same(saved: Path, tmp_path: Path) -> None:
    """HDF5, and the configuration alone as text."""
    model = keras.saving.load_model(saved)
    (tmp_path / "net.json").write_text(model.to_json(), encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(tmp_path / "net.h5")
    one = rfcalc.analyze(str(saved)).totals

    assert rfcalc.analyze(str(tmp_path / "net.json")).totals == one
    assert rfcalc.analyze(str(tmp_path / "net.h5")).totals == one


def test_weights_alone_in_the_older_format(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.save_weights(tmp_path / "net.weights.h5")

    assert "HDF5 file of weights alone" in refused(str(tmp_path / "net.weights.h5"))
