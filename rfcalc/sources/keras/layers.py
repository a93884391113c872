"""Layers of Keras that are recorded as one op each, where their steps in torch would hide what they are."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from rfcalc.sources.keras.backend import loaded_keras
from rfcalc.tracing.composite import whole


def cell_of(layer: Any) -> Any:
    """The cell of an LSTM or a GRU, whose weights are the layer's; None for other layers."""
    return layer.cell if _is(layer, "LSTM", "GRU") else None


def recorded_whole(layer: Any) -> Callable[..., Any] | None:
    """What to call in place of the layer's own ``call``, None for layers that are followed step by step."""
    if _is(layer, "BatchNormalization"):
        return _batch_norm(layer)
    if _is(layer, "GroupNormalization"):
        return _group_norm(layer)
    if _is(layer, "UpSampling1D", "UpSampling2D", "UpSampling3D"):
        return _up_sampling(layer)
    if _is(layer, "LSTM", "GRU"):
        return _recurrent(layer)
    return None


def _is(layer: Any, *names: str) -> bool:
    """Whether a layer is one of Keras's own of these names: a subclass may compute something else."""
    keras = loaded_keras()
    return any(type(layer) is getattr(keras.layers, name) for name in names)


def _value(variable: Any) -> Any:
    return None if variable is None else variable.value


def _batch_norm(layer: Any) -> Callable[..., Any]:
    own = layer.call

    def call(inputs: Any, training: Any = None, mask: Any = None) -> Any:
        def run() -> Any:
            return own(inputs, training=training, mask=mask)

        if mask is not None:
            return run()
        named = {
            "input": inputs,
            "running_mean": _value(layer.moving_mean),
            "running_var": _value(layer.moving_variance),
            "weight": _value(layer.gamma),
            "bias": _value(layer.beta),
            "axis": layer.axis,
            "training": bool(training) and layer.trainable,
        }
        return whole("keras.batch_norm", named, run)

    return call


def _group_norm(layer: Any) -> Callable[..., Any]:
    own = layer.call

    def call(inputs: Any) -> Any:
        named = {
            "input": inputs,
            "weight": _value(layer.gamma),
            "bias": _value(layer.beta),
            "axis": layer.axis,
            "groups": layer.groups if layer.groups > 0 else inputs.shape[layer.axis],
        }
        return whole("keras.group_norm", named, lambda: own(inputs))

    return call


def _up_sampling(layer: Any) -> Callable[..., Any] | None:
    own = layer.call
    if getattr(layer, "interpolation", "nearest") != "nearest":
        return None  # one op of torch's
    size = (layer.size,) if isinstance(layer.size, int) else tuple(layer.size)
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    named = {"factors": (1, 1, *size) if first else (1, *size, 1)}

    def call(inputs: Any) -> Any:
        return whole("keras.up_sampling", {"input": inputs, **named}, lambda: own(inputs))

    return call


def _recurrent(layer: Any) -> Callable[..., Any]:
    own = layer.call
    rule = f"keras.{type(layer).__name__.lower()}"

    def call(sequences: Any, initial_state: Any = None, mask: Any = None, training: Any = False) -> Any:
        def run() -> Any:
            return own(sequences, initial_state=initial_state, mask=mask, training=training)

        cell = layer.cell
        dropping = training and (cell.dropout or cell.recurrent_dropout)
        if initial_state is not None or mask is not None or dropping or layer.stateful or not _plain_loop(layer):
            return run()
        named = {
            "input": sequences,
            "kernel": _value(cell.kernel),
            "recurrent_kernel": _value(cell.recurrent_kernel),
            "bias": _value(cell.bias),
            "go_backwards": layer.go_backwards,
            "return_sequences": layer.return_sequences,
        }
        return whole(rule, named, run)

    return call


def _plain_loop(layer: Any) -> bool:
    """Whether Keras runs one step of the cell for each step of the sequence.

    Its general loop runs one more, to see the shape of what comes out: that is followed step by step.
    """
    loops = importlib.import_module("keras.src.backend.torch.rnn")
    here = hasattr(loops, f"_fallback_{type(layer).__name__.lower()}")  # from Keras 3.14 on
    return here and layer.use_cudnn is not False and getattr(layer, "reset_after", True)
