"""A Keras model as the tracer takes one: a torch module with Keras's names, and what it takes as input.

On its torch backend a Keras layer is a `torch.nn.Module`, but its variables hold the tensors, its layers stand in lists
that torch does not look into, and every layer lists the weights of all layers inside it. `KerasStandIn` has the tree as
Keras sees it, ``block/conv`` with ``kernel`` and ``bias``. What stands in it is lent to Keras's variables for the time
of a forward pass.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from typing import Any

import torch
from torch import nn

from rfcalc.errors import LoadError, UsageError
from rfcalc.sources.keras.backend import demand_torch, loaded_keras, running_on
from rfcalc.sources.keras.inputs import demand_built, expected, names_of, symbolic
from rfcalc.sources.keras.layers import cell_of, recorded_whole
from rfcalc.sources.loaded import Loaded
from rfcalc.tracing.construct import Constants
from rfcalc.tracing.known import NeedsDataError
from rfcalc.tracing.tree import StandIn


def is_keras(model: Any) -> bool:
    """Whether an object is a Keras layer or model, whatever it computes with."""
    keras = loaded_keras()
    return keras is not None and isinstance(model, keras.layers.Layer)


def runs_on_jax() -> bool:
    """Whether Keras computes with JAX, and its models are followed as JAX's."""
    keras = loaded_keras()
    return keras is not None and keras.backend.backend() == "jax"


def loaded(model: Any, name: str, constants: Constants | None = None) -> Loaded:
    """A Keras model, ready to be traced. Raises `LoadError` for one that was not built, or not on torch."""
    demand_torch(loaded_keras(), name)
    demand_built(model, name)
    return Loaded(KerasStandIn(model, _Tree({}, set())), name, expected(model), constants=constants, separator="/")


@dataclass(frozen=True)
class _Tree:
    """What was met so far: the layers, and the variables, each of which belongs to the first layer that has it."""

    layers: dict[int, KerasStandIn]
    variables: set[int]


class KerasStandIn(StandIn):
    """A Keras layer's weights and the layers inside it. Called, it runs the layer on the weights that it holds then.

    What Keras counts as a weight is a parameter if it was made to be trained, frozen since or not, and else a buffer:
    the moving statistics of a batch normalisation. The states of random generators are neither.
    """

    def __init__(self, layer: Any, tree: _Tree) -> None:
        super().__init__(layer)
        tree.layers[id(layer)] = self  # a layer in several places is one module, as in torch
        self._held: dict[str, Any] = {}
        self._attributes: list[str] = []
        self._add_variables(layer, tree.variables)
        for key, value in vars(layer).items():
            if isinstance(value, torch.Tensor):
                self._attributes.append(key)
                self.__dict__[key] = value
        cell = cell_of(layer)
        if cell is not None:
            self.parts = (cell,)
            self._add_variables(cell, tree.variables)
        keras = loaded_keras()
        for inner in layer._layers:
            if inner is not cell and not isinstance(inner, keras.layers.InputLayer):
                found = tree.layers.get(id(inner))
                self._modules[_free(inner.name, self._modules)] = KerasStandIn(inner, tree) if found is None else found

    def _add_variables(self, layer: Any, known: set[int]) -> None:
        keras = loaded_keras()
        wrapped: set[int] = set()  # by a layer around a module of torch's, which reads its own parameters
        for key, module in layer._modules.items():
            if not isinstance(module, keras.layers.Layer | nn.ParameterDict):  # Keras lists all weights in such a dict
                self._modules[key] = module
                wrapped |= {id(tensor) for tensor in module.parameters()}
        trainable = {id(variable) for variable in layer._trainable_variables}
        for variable in (*layer._trainable_variables, *layer._non_trainable_variables):
            if id(variable) in known or id(variable._value) in wrapped:
                continue
            known.add(id(variable))
            name = _free(variable.name, self._held)
            self._held[name] = variable
            if id(variable) in trainable:
                self._parameters[name] = _parameter(variable)
            else:
                self._buffers[name] = variable._value.detach()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run Keras's layer. Several tensors, or tensors by name, are put together as a functional model takes them."""
        args, kwargs = self._arranged(args, kwargs)
        with self._lent() as tree, running_on(_device(tree, (args, kwargs))):
            try:
                return self.original(*args, **kwargs, training=self.training)
            except RuntimeError as error:
                if "META" in str(error):
                    raise NeedsDataError("a random generator of Keras's") from error
                raise

    # --- arguments ----------------------------------------------------------------------------------------------------

    def _arranged(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        inputs = symbolic(self.original)
        if not inputs:
            return args, kwargs
        names = names_of(inputs)
        if kwargs:
            if set(kwargs) != set(names) or args:
                raise UsageError(f"{self.original.name} takes {', '.join(names)}; given by name: {', '.join(kwargs)}")
            args = tuple(kwargs[name] for name in names)
        if len(args) == 1 and not isinstance(args[0], torch.Tensor):
            return args, {}
        if len(args) != len(inputs):
            raise UsageError(
                f"{self.original.name} takes {len(inputs)} inputs, {', '.join(names)}; {len(args)} were given"
            )
        keras = loaded_keras()
        if isinstance(self.original, keras.Sequential):
            return args, {}
        return (keras.tree.pack_sequence_as(self.original.input, args),), {}

    # --- lending ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _lent(self) -> Iterator[list[KerasStandIn]]:
        """Keras's variables hold what the registries of this tree hold; the layers are as before afterwards."""
        tree = [module for module in self.modules() if isinstance(module, KerasStandIn)]
        values = [(variable, variable._value) for stand_in in tree for variable in stand_in._all_held()]
        attributes = [(vars(stand_in.original), dict(vars(stand_in.original))) for stand_in in tree]
        try:
            for stand_in in tree:
                stand_in._lend()
            yield tree
        finally:
            for held, before in attributes:
                held.clear()
                held.update(before)
            for variable, value in values:
                variable._value = value

    def _all_held(self) -> list[Any]:
        layer: Any = self.original
        return [*self._held.values(), *(generator.state for generator in layer._seed_generators)]

    def _lend(self) -> None:
        layer: Any = self.original
        for name, variable in self._held.items():
            variable._value = self._parameters.get(name, self._buffers.get(name))
        for generator in layer._seed_generators:
            state = generator.state._value
            generator.state._value = torch.zeros(state.shape, dtype=state.dtype) if state.is_meta else state.clone()
        own = {key: self.__dict__[key] for key in self._attributes}
        own.update(_losses=[], _loss_ids=set())
        call = recorded_whole(layer)
        if call is not None:
            own["call"] = call
        if not layer.built and not getattr(layer.build, "_is_default", False):
            own["build"] = _unbuilt(layer)
        layer.__dict__.update(own)


def _parameter(variable: Any) -> nn.Parameter:
    value = variable._value
    if isinstance(value, nn.Parameter):
        return value
    return nn.Parameter(value.detach(), requires_grad=variable.trainable)


def _unbuilt(layer: Any) -> Any:
    """In place of ``build``: weights made during the pass would be no part of the model."""

    def build(*_: Any, **__: Any) -> None:
        raise LoadError(
            f"layer {layer.name} ({type(layer).__name__}) is not built, so it has no weights yet: call the model once"
            " on an example"
        )

    return build


def _device(tree: list[KerasStandIn], arguments: Any) -> torch.device:
    """Where a pass runs: where its inputs are, or else the weights."""
    for tensor in (*loaded_keras().tree.flatten(arguments), *(t for one in tree for t in one.parameters())):
        if isinstance(tensor, torch.Tensor):
            return tensor.device
    return torch.device("cpu")


def _free(name: str, taken: Container[str]) -> str:
    """The name without dots, which separate names in torch, and with a number where it is taken."""
    plain = name.replace(".", "_")
    numbered = (f"{plain}_{number}" for number in count(1))
    return next(one for one in chain([plain], numbered) if one not in taken)
