"""Keras's functional API: two inputs, a layer shared by both, a concatenation, two outputs.

Each input has a receptive field of its own, and each output sees both. Needs keras: pip install 'rfcalc[keras]'.
"""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"  # before keras is imported: rfcalc follows what torch computes

import keras
from keras import layers

import rfcalc
from rfcalc.report import overview, render


def two_views() -> keras.Model:
    """A pair of pictures of one scene, the right one at half the resolution: a mask, and what the scene is."""
    left = keras.Input((64, 64, 3), name="left")
    right = keras.Input((32, 32, 3), name="right")
    look = layers.Conv2D(16, 3, padding="same", activation="relu", name="look")  # one set of weights for both
    seen_left = layers.MaxPooling2D(name="halve")(look(left))
    both = layers.Concatenate(name="both")([seen_left, look(right)])
    deep = layers.Conv2D(32, 5, padding="same", name="deep")(both)
    deep = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(deep))
    mask = layers.Conv2DTranspose(1, 2, strides=2, activation="sigmoid", name="mask")(deep)
    scene = layers.Dense(10, name="scene")(layers.GlobalAveragePooling2D(name="average")(deep))
    return keras.Model([left, right], [mask, scene], name="two_views")


def main() -> None:
    """Print the table of all layers, and the count of parameters as Keras has it."""
    model = two_views()
    analysis = rfcalc.analyze(model)
    print(render(overview(analysis, analysis.layers)))

    totals = analysis.totals
    print(f"Keras counts {model.count_params():,}: {totals.params:,} parameters, {totals.buffers} statistics of norm")


if __name__ == "__main__":
    main()
