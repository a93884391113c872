"""Models of JAX's libraries: their numbers against the same architectures in PyTorch, names, inputs, errors."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import rfcalc
from rfcalc.errors import LoadError, RfcalcError, TraceError, UsageError
from rfcalc.sources import load

jax: Any = pytest.importorskip("jax")
jnp: Any = jax.numpy


def facts(model: Any, inputs: Any, axes: Any = None) -> dict[str, Any]:
    """Multiply-adds, parameters, and of each convolution and pooling, in order, the fields along the image."""
    a = rfcalc.analyze(model, inputs, axes=axes)
    assert a.totals.status == "complete"
    fields = [
        (
            layer.kind,
            str(layer.receptive_field.size),
            str(layer.receptive_field.stride),
            str(layer.receptive_field.start),
        )
        for layer in a.layers
        if layer.kind in ("conv", "conv_transpose", "pool") and layer.receptive_field.stride is not None
    ]
    return {"macs": a.totals.macs, "params": a.totals.params, "fields": fields}


# --- plain functions --------------------------------------------------------------------------------------------------

SCALE = np.float32(2.0)


def test_what_a_function_closes_over_is_its_parameters() -> None:
    weights = {"first": {"kernel": jnp.ones((6, 4)), "bias": jnp.ones(4)}, "last": {"kernel": jnp.ones((4, 3))}}

    @jax.jit
    def apply(x: Any) -> Any:
        hidden = jax.nn.relu(x @ weights["first"]["kernel"] + weights["first"]["bias"])
        return SCALE * (hidden @ weights["last"]["kernel"])

    a = rfcalc.analyze(apply, (5, 6))

    assert (a.totals.params, a.totals.macs) == (6 * 4 + 4 + 4 * 3, 5 * 6 * 4 + 5 * 4 * 3)
    assert [layer.name for layer in a.layers if layer.kind == "linear"] == ["weights.first", "weights.last"]


def test_padding_leaves_a_window_a_window() -> None:
    """jnp.pad converts the number in the program; it is known all the same."""
    weight = jnp.ones((3, 3, 4, 4))

    @jax.jit
    def apply(x: Any) -> Any:
        around = jnp.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0)))
        return jax.lax.conv_general_dilated(around, weight, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    field = rfcalc.analyze(apply, (1, 16, 16, 4))["conv"].receptive_field

    assert (field.size, field.stride, field.start, field.status) == ((3, 3), (2, 2), (-1, 0), "exact")


def test_what_was_given_before_is_parameters_too() -> None:
    def apply(params: Any, x: Any) -> Any:
        return jnp.tanh(x @ params["dense"]["w"])

    a = rfcalc.analyze(functools.partial(apply, {"dense": {"w": jax.ShapeDtypeStruct((6, 4), jnp.float32)}}), (5, 6))

    assert (a.totals.params, a.totals.macs) == (24, 120)
    assert a.layers[-1].name == "dense"


def test_a_recurrent_network_by_scan_takes_all_its_steps() -> None:
    w, u = jnp.ones((4, 8)), jnp.ones((8, 8))

    @jax.jit
    def run(x: Any) -> Any:
        def step(h: Any, row: Any) -> Any:
            h = jnp.tanh(row @ w + h @ u)
            return h, h

        return jax.lax.scan(step, jnp.zeros((x.shape[0], 8)), jnp.swapaxes(x, 0, 1))[1]

    a = rfcalc.analyze(run, (1, 5, 4))

    # The zeros that the state begins with are multiplied as any other state.
    assert (a.totals.macs, a.totals.params) == (5 * (4 * 8 + 8 * 8), 96)
    assert str(a.layers[-1].receptive_field.size) == "(5,)"


# --- the same architectures -------------------------------------------------------------------------------------------


class TorchBlock(nn.Module):
    """A residual block that halves the image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv1, self.bn1 = nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.down, self.head = nn.Conv2d(8, 16, 1, 2, bias=False), nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(self.stem(x), 2)
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return self.head(functional.relu(y + self.down(x)).mean((2, 3)))


class TorchUNet(nn.Module):
    """One level of a U-Net."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.inner = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.up, self.leave = nn.ConvTranspose2d(16, 8, 2, 2), nn.Conv2d(16, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.enter(x))
        y = functional.relu(self.inner(functional.max_pool2d(x, 2)))
        return self.leave(torch.cat([x, self.up(y)], 1))


class TorchEncoder(nn.Module):
    """A patch embedding and one block of a transformer, before its norms."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, 4)
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.attn = nn.MultiheadAttention(16, 2, batch_first=True)
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        y = self.norm1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


def flax_models() -> dict[str, Any]:
    """The same in Flax's nnx."""
    nnx: Any = pytest.importorskip("flax.nnx")

    class Block(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            conv = functools.partial(nnx.Conv, rngs=rngs, use_bias=False)
            self.stem = nnx.Conv(3, 8, (3, 3), rngs=rngs)
            self.conv1, self.bn1 = conv(8, 16, (3, 3), strides=2, padding=1), nnx.BatchNorm(16, rngs=rngs)
            self.conv2, self.bn2 = conv(16, 16, (3, 3)), nnx.BatchNorm(16, rngs=rngs)
            self.down, self.head = conv(8, 16, (1, 1), strides=2), nnx.Linear(16, 10, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = nnx.max_pool(self.stem(x), (2, 2), (2, 2))
            y = self.bn2(self.conv2(nnx.relu(self.bn1(self.conv1(x)))))
            return self.head(nnx.relu(y + self.down(x)).mean((1, 2)))

    class UNet(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.enter, self.inner = nnx.Conv(3, 8, (3, 3), rngs=rngs), nnx.Conv(8, 16, (3, 3), rngs=rngs)
            self.up, self.leave = nnx.ConvTranspose(16, 8, (2, 2), 2, rngs=rngs), nnx.Conv(16, 2, (3, 3), rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = nnx.relu(self.enter(x))
            y = nnx.relu(self.inner(nnx.max_pool(x, (2, 2), (2, 2))))
            return self.leave(jnp.concatenate([x, self.up(y)], -1))

    class Encoder(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.patch = nnx.Conv(3, 16, (4, 4), 4, rngs=rngs)
            self.norm1, self.norm2 = nnx.LayerNorm(16, rngs=rngs), nnx.LayerNorm(16, rngs=rngs)
            self.attn = nnx.MultiHeadAttention(2, 16, decode=False, rngs=rngs)
            self.up, self.down = nnx.Linear(16, 32, rngs=rngs), nnx.Linear(32, 16, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = self.patch(x)
            x = x.reshape(x.shape[0], -1, x.shape[-1])
            x = x + self.attn(self.norm1(x))
            return x + self.down(nnx.gelu(self.up(self.norm2(x))))

    return {
        name: nnx.eval_shape(lambda kind=kind: kind(nnx.Rngs(0)))
        for name, kind in {"block": Block, "unet": UNet, "encoder": Encoder}.items()
    }


TORCH = {"block": TorchBlock, "unet": TorchUNet, "encoder": TorchEncoder}


@pytest.fixture(scope="module")
def flax() -> dict[str, Any]:
    return flax_models()


@pytest.mark.parametrize("name", TORCH)
def test_flax_says_what_torch_says(name: str, flax: dict[str, Any]) -> None:
    assert facts(flax[name], (1, 16, 16, 3)) == facts(TORCH[name](), (1, 3, 16, 16))


def test_layers_have_the_names_of_the_tree(flax: dict[str, Any]) -> None:
    a = rfcalc.analyze(flax["block"], (16, 16, 3))

    named = [layer.name for layer in a.layers if layer.kind in ("conv", "linear")]
    assert named == ["stem", "conv1", "conv2", "down", "head"]
    assert [layer.module for layer in a.layers if layer.name == "conv1"] == ["Conv"]


def test_a_flax_model_is_as_before(flax: dict[str, Any]) -> None:
    model = flax["block"]
    kinds = {name: type(value) for name, value in vars(model).items()}

    rfcalc.analyze(model, (1, 16, 16, 3), training=True)

    assert {name: type(value) for name, value in vars(model).items()} == kinds
    assert model.bn1.use_running_average is False


def test_verify_agrees(flax: dict[str, Any]) -> None:
    found = rfcalc.verify(flax["unet"], (1, 8, 8, 3), probes=2, device="cpu", timing=False)

    assert found.agree, found
    assert found.check("own_pass").compared == 1 + 2 * 3 + 1  # as it is, and two rows along each axis but the batch


def test_a_wrong_rule_is_found_by_jax_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from rfcalc.sources.jax import rules

    rules.primitives()
    monkeypatch.setitem(rules._RULES, "tanh", lambda op, x: torch.sin(x))
    found = rfcalc.verify(jax.jit(jnp.tanh), (2, 3), probes=1, device="cpu", timing=False)

    assert [check.what for check in found.checks if check.differences] == ["own_pass"]


def test_linen_needs_an_input_to_have_parameters() -> None:
    linen: Any = pytest.importorskip("flax.linen")

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: Any, train: bool) -> Any:
            x = linen.Conv(8, (3, 3), name="stem")(x)
            x = linen.relu(linen.BatchNorm(use_running_average=not train)(x))
            return linen.Dense(5)(linen.Dropout(0.5, deterministic=not train)(x))

    a = rfcalc.analyze(Net(), (8, 8, 3))

    assert (a.totals.params, a.totals.macs) == (216 + 8 + 16 + 45, 64 * 8 * 27 + 64 * 8 * 5)
    assert [layer.name for layer in a.layers] == ["input", "stem", "Dense_0"]


def test_equinox_takes_one_sample() -> None:
    eqx: Any = pytest.importorskip("equinox")

    class Net(eqx.Module):
        layers: list[Any]

        def __init__(self, key: Any) -> None:
            self.layers = [
                eqx.nn.Conv2d(3, 8, 3, 2, 1, key=key),
                eqx.nn.MaxPool2d(2, 2),
                eqx.nn.Conv2d(8, 4, 3, key=key),
            ]

        def __call__(self, x: Any) -> Any:
            for layer in self.layers:
                x = jax.nn.relu(layer(x))
            return x

    model = eqx.filter_eval_shape(lambda: Net(jax.random.PRNGKey(0)))
    same = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2, 2), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU()
    )

    assert facts(model, (3, 16, 16)) == facts(same, (1, 3, 16, 16))
    assert [x.name for x in rfcalc.analyze(model, (3, 16, 16)).layers][1] == "layers.0"


def test_haiku_has_its_own_names() -> None:
    hk: Any = pytest.importorskip("haiku")

    def run(x: Any) -> Any:
        return hk.nets.MLP([16, 8], name="mlp")(x)

    a = rfcalc.analyze(hk.without_apply_rng(hk.transform(run)), (1, 6))

    assert (a.totals.params, a.totals.macs) == (6 * 16 + 16 + 16 * 8 + 8, 6 * 16 + 16 * 8)
    assert [layer.name for layer in a.layers] == ["input", "mlp/linear_0", "mlp/linear_1"]


# --- the command line's names -----------------------------------------------------------------------------------------

CODE = """
import jax
import jax.numpy as jnp

W = jnp.ones((4, 6))

def apply(x):
    return jnp.tanh(x @ W)

def make(width=3):
    w = jnp.ones((6, width))
    return lambda x: apply(x) @ w

def wrong(x):
    return x @ jnp.ones((99, 2))

def number():
    return 3
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "code.py"
    path.write_text(CODE, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(("name", "params"), [("apply", 24), ("make", 24 + 18), ("make(width=5)", 24 + 30)])
@pytest.mark.parametrize("prefix", ["", "jax:"])
def test_a_function_or_what_makes_one_is_named(file: str, prefix: str, name: str, params: int) -> None:
    assert rfcalc.analyze(f"{prefix}{file}:{name}", (2, 4)).totals.params == params


@pytest.mark.parametrize(
    ("name", "inputs", "error", "says"),
    [
        ("nothing", (2, 4), LoadError, "has no attribute"),
        ("number", (2, 4), LoadError, "number() gave an int"),
        ("wrong", (2, 4), TraceError, "cannot run on input"),
        ("apply", None, UsageError, "has no default input"),
        ("make(depth=3)", (2, 4), UsageError, "does not take depth"),
    ],
)
def test_what_cannot_be_is_one_line(file: str, name: str, inputs: Any, error: type[RfcalcError], says: str) -> None:
    with pytest.raises(error, match=says.replace("(", r"\(").replace(")", r"\)")) as caught:
        rfcalc.analyze(f"{file}:{name}", inputs)

    assert "\n" not in str(caught.value)


def test_without_jax_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(LoadError, match=r"pip install 'rfcalc\[jax\]'"):
        load("jax:code.py:apply")
