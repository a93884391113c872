"""Keras on its JAX backend: the same numbers as on torch's, and models that are as they were."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if not (find_spec("keras") and find_spec("jax")):
    pytest.skip("it needs keras and jax", allow_module_level=True)

_NETS = """
import os
os.environ["KERAS_BACKEND"] = BACKEND
import keras
from keras import layers

def two():
    left, right = keras.Input((16, 16, 3), name="left"), keras.Input((16, 16, 3), name="right")
    shared = layers.Conv2D(4, 3, padding="same", name="shared")
    joined = layers.Flatten()(layers.Concatenate()([shared(left), shared(right)]))
    return keras.Model([left, right], [layers.Dense(3, name="one")(joined), layers.Conv2D(1, 1)(shared(left))])

def windows():
    x = keras.Input((16, 16, 3))
    y = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    y = layers.Conv2D(8, 3, strides=2)(y)
    y = layers.BatchNormalization(name="norm")(y)
    y = layers.Conv2DTranspose(4, 3, strides=2, padding="same")(y)
    return keras.Model(x, layers.SeparableConv2D(4, 3)(layers.UpSampling2D(2)(y)))

class Block(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.Dense(4, name="first")
        self.drop = layers.Dropout(0.5)

    def build(self, shape):
        self.first.build(shape)

    def call(self, x, training=False):
        return self.drop(self.first(x), training=training)

def recurrent():
    return keras.Sequential([keras.Input((9, 12)), layers.LSTM(16, return_sequences=True), layers.GRU(8), Block()])
"""
_ASK = """
import json
import sys
import rfcalc

found = {}
for make in (two, windows, recurrent):
    model = make()
    kinds = [type(layer) for layer in model.layers]
    before = [value.shape for value in model.get_weights()]
    for training in (False, True):
        a = rfcalc.analyze(model, training=training)
        fields = [
            [name, str(field.size), str(field.stride), str(field.start)]
            for layer in a.layers if layer.kind in ("conv", "conv_transpose") and not training
            for name, field in layer.receptive_fields.items()
        ]
        held = [layer.name for layer in a.layers if layer.kind == "conv"] if not training else []
        found[f"{make.__name__} {training}"] = [a.totals.params, a.totals.macs, a.totals.buffers, fields, held]
    assert kinds == [type(layer) for layer in model.layers]
    assert before == [value.shape for value in model.get_weights()]
print(json.dumps(found))
"""


def said(backend: str, ask: str, folder: Path) -> Any:
    """What a program says that computes with a backend."""
    program = folder / f"on_{backend}.py"
    program.write_text(f"BACKEND = {backend!r}\n{_NETS}{ask}")
    here = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_numbers_are_those_on_torch(tmp_path: Path) -> None:
    one, other = said("torch", _ASK, tmp_path), said("jax", _ASK, tmp_path)

    assert other == one
    assert one["two False"][:2] == [3 * 3 * 3 * 4 + 4 + 2048 * 3 + 3 + 4 + 1, 3 * 256 * 3 * 9 * 4 + 2048 * 3 + 256 * 4]
    assert one["windows False"][3][0] == ["input", "(3, 3)", "(2, 2)", "(0, 0)"]


def test_what_is_refused(tmp_path: Path) -> None:
    ask = """
import json
import rfcalc

model = keras.Sequential([layers.Dense(3)])
try:
    rfcalc.analyze(model, (4,))
except rfcalc.errors.LoadError as error:
    print(json.dumps(str(error)))
"""
    text = said("jax", ask, tmp_path)

    assert text.startswith("sequential is not built, so its layers have no weights yet: give it a keras.Input")
