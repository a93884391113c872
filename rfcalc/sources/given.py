"""A model that is there already, as an object of torch's, of Keras's or of JAX's, or as an exported program."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rfcalc.errors import LoadError
from rfcalc.sources.loaded import Arguments, Loaded

if TYPE_CHECKING:
    from rfcalc.tracing.construct import Constants


def from_object(model: Any, name: str = "", constants: Constants | None = None) -> Loaded | None:
    """The model ready to be traced, None for an object that is no model. ``name`` is its own, or that of its class.

    Raises `LoadError` for a Keras model that cannot be traced.
    """
    from torch import nn

    exports: Any = sys.modules.get("torch.export")
    if exports is not None and isinstance(model, exports.ExportedProgram):
        from rfcalc.sources import exported

        return exported.of_program(model, name or "the exported program")
    if isinstance(model, nn.Module):
        model = _unwrapped(model, name)
        _check_initialised(model, name)
    if "keras" in sys.modules:
        from rfcalc.sources.keras import modules as keras_modules

        if keras_modules.is_keras(model) and not keras_modules.runs_on_jax():
            return keras_modules.loaded(model, name or str(model.name), constants)
        parts = model.modules() if isinstance(model, nn.Module) else ()
        inside = next((part for part in parts if keras_modules.is_keras(part)), None)
        if inside is not None:
            raise LoadError(
                f"{name or type(model).__name__} is a module of torch's with Keras layers inside ({inside.name}),"
                " which are followed in a Keras model only: make it a keras.Model"
            )
    if not isinstance(model, nn.Module):
        from rfcalc.sources import jax

        return jax.of_object(model, name)
    return Loaded(model, name or type(model).__name__, example=_example(model), constants=constants)


def _example(model: Any) -> Arguments | None:
    """The call that a module of Lightning's says it can be made with; None without."""
    from torch import Tensor

    example = getattr(model, "example_input_array", None)
    if isinstance(example, Tensor):
        return (example,), {}
    if isinstance(example, tuple | list) and example and all(isinstance(one, Tensor) for one in example):
        return tuple(example), {}
    if isinstance(example, dict) and example and all(isinstance(key, str) for key in example):
        return (), dict(example)
    return None


def _unwrapped(model: Any, name: str) -> Any:
    """The model inside what runs it on several devices, or compiled. Raises `LoadError` where it is there in parts.

    `torch.distributed.fsdp.fully_shard` leaves modules what they are; its shards are whole in a double of the model.
    """
    from torch import nn

    dynamo = getattr(sys.modules.get("torch._dynamo.eval_frame"), "OptimizedModule", ())
    sharded = getattr(sys.modules.get("torch.distributed.fsdp"), "FullyShardedDataParallel", ())
    while True:
        if isinstance(model, dynamo):
            model = model._orig_mod
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            break
    if sharded and any(isinstance(part, sharded) for part in _initialised(model)):
        raise LoadError(
            f"{name or 'the model'} is in shards of FullyShardedDataParallel, whose parameters have lost their"
            " shapes: give the model as it was before, or sharded by torch.distributed.fsdp.fully_shard"
        )
    return model


def _initialised(model: Any) -> Any:
    try:
        return list(model.modules())
    except AttributeError:  # `_check_initialised` says which is not
        return []


def _check_initialised(model: Any, name: str) -> None:
    """Raises `LoadError` for a module whose class sets it up without `torch.nn.Module.__init__`."""
    from torch import jit

    left = [model]
    while left:
        part = left.pop()
        if isinstance(part, jit.ScriptModule):  # keeps what it has in a program of torch's
            continue
        if "_modules" not in vars(part):
            kind = type(part).__name__
            raise LoadError(f"{name or kind}: {kind}.__init__ does not call super().__init__(), which a module needs")
        left += [inside for inside in part._modules.values() if inside is not None]
