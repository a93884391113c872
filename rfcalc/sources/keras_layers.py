"""Layers of Keras that are recorded as one op each, where their steps in torch would hide what they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rfcalc.sources.keras_backend import loaded_keras
from rfcalc.tracing.composite import whole


def cell_of(layer: Any) -> Any:
    """The cell of an LSTM or a GRU, whose weights are the layer's; None for other layers."""
    return layer.cell if _is(layer, "LSTM", "GRU") else None


def recorded_whole(layer: Any) -> Callable[..., Any] | None:
    """What to call in place of the layer's own ``call``, None for layers that are followed step by step."""
    if _is(layer, "BatchNormalization"):
        return _batch_norm(layer)
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

        if training and layer.trainable:
            return run()
        named = {
            "input": inputs,
            "running_mean": _value(layer.moving_mean),
            "running_var": _value(layer.moving_variance),
            "weight": _value(layer.gamma),
            "bias": _value(layer.beta),
            "axis": layer.axis,
        }
        return whole("keras.batch_norm", named, run)

    return call


def _recurrent(layer: Any) -> Callable[..., Any]:
    own = layer.call
    rule = f"keras.{type(layer).__name__.lower()}"

    def call(sequences: Any, initial_state: Any = None, mask: Any = None, training: Any = False) -> Any:
        def run() -> Any:
            return own(sequences, initial_state=initial_state, mask=mask, training=training)

        # Keras then runs the plain loop over time; others also compute a step more than there are, to see its shape.
        plain = layer.use_cudnn is not False and getattr(layer, "reset_after", True)
        if initial_state is not None or mask is not None or training or layer.stateful or not plain:
            return run()
        cell = layer.cell
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
