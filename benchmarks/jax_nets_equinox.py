"""The architectures of jax_zoo.py in Equinox, for one sample each; norms are of groups, which keep no statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax_nets_torch import TRANSFORMER, VIT, WIDTHS

GROUPS = 8


def _keys() -> Iterator[Any]:
    key = jax.random.PRNGKey(0)
    while True:
        key, one = jax.random.split(key)
        yield one


def _conv(keys: Iterator[Any], given: int, made: int, size: int, stride: int = 1, padding: int = 0) -> Any:
    return eqx.nn.Conv2d(given, made, size, stride, padding, use_bias=False, key=next(keys))


class Basic(eqx.Module):
    """A block of ResNet-18."""

    conv1: Any
    norm1: Any
    conv2: Any
    norm2: Any
    down: Any
    norm3: Any

    def __init__(self, given: int, made: int, stride: int, keys: Iterator[Any]) -> None:
        self.conv1, self.norm1 = _conv(keys, given, made, 3, stride, 1), eqx.nn.GroupNorm(GROUPS, made)
        self.conv2, self.norm2 = _conv(keys, made, made, 3, 1, 1), eqx.nn.GroupNorm(GROUPS, made)
        other = stride != 1 or given != made
        self.down = _conv(keys, given, made, 1, stride) if other else None
        self.norm3 = eqx.nn.GroupNorm(GROUPS, made) if other else None

    def __call__(self, x: Any) -> Any:
        y = self.norm2(self.conv2(jax.nn.relu(self.norm1(self.conv1(x)))))
        return jax.nn.relu(y + (x if self.down is None else self.norm3(self.down(x))))


class ResNet(eqx.Module):
    """ResNet-18."""

    conv1: Any
    norm1: Any
    pool: Any
    blocks: list[Any]
    fc: Any

    def __init__(self, keys: Iterator[Any]) -> None:
        self.conv1, self.norm1 = _conv(keys, 3, 64, 7, 2, 3), eqx.nn.GroupNorm(GROUPS, 64)
        self.pool = eqx.nn.MaxPool2d(3, 2, 1)
        widths = [64, 64, 64, 128, 128, 256, 256, 512, 512]
        strides = [1, 1, 2, 1, 2, 1, 2, 1]
        self.blocks = [Basic(a, b, s, keys) for a, b, s in zip(widths, widths[1:], strides, strict=False)]
        self.fc = eqx.nn.Linear(512, 1000, key=next(keys))

    def __call__(self, x: Any) -> Any:
        x = self.pool(jax.nn.relu(self.norm1(self.conv1(x))))
        for block in self.blocks:
            x = block(x)
        return self.fc(x.mean((1, 2)))


def _attention(width: int, heads: int, keys: Iterator[Any]) -> Any:
    biases = dict.fromkeys(("use_query_bias", "use_key_bias", "use_value_bias", "use_output_bias"), True)
    return eqx.nn.MultiheadAttention(heads, width, **biases, key=next(keys))


class Encoder(eqx.Module):
    """A block of a transformer: norms before its parts, as ViT has it, or after them."""

    norm1: Any
    norm2: Any
    attn: Any
    up: Any
    down: Any
    before: bool

    def __init__(self, width: int, heads: int, inside: int, before: bool, keys: Iterator[Any]) -> None:
        self.norm1, self.norm2 = eqx.nn.LayerNorm(width), eqx.nn.LayerNorm(width)
        self.attn = _attention(width, heads, keys)
        self.up = eqx.nn.Linear(width, inside, key=next(keys))
        self.down = eqx.nn.Linear(inside, width, key=next(keys))
        self.before = before

    def _inside(self, x: Any, activate: Callable[[Any], Any]) -> Any:
        return jax.vmap(self.down)(activate(jax.vmap(self.up)(x)))

    def __call__(self, x: Any) -> Any:
        norm1, norm2 = jax.vmap(self.norm1), jax.vmap(self.norm2)
        if self.before:
            y = norm1(x)
            x = x + self.attn(y, y, y)
            return x + self._inside(norm2(x), jax.nn.gelu)
        x = norm1(x + self.attn(x, x, x))
        return norm2(x + self._inside(x, jax.nn.relu))


class Decoder(eqx.Module):
    """A block that looks at what an encoder made, too."""

    norms: list[Any]
    attn: Any
    cross: Any
    up: Any
    down: Any

    def __init__(self, width: int, heads: int, inside: int, keys: Iterator[Any]) -> None:
        self.norms = [eqx.nn.LayerNorm(width) for _ in range(3)]
        self.attn, self.cross = _attention(width, heads, keys), _attention(width, heads, keys)
        self.up = eqx.nn.Linear(width, inside, key=next(keys))
        self.down = eqx.nn.Linear(inside, width, key=next(keys))

    def __call__(self, x: Any, memory: Any) -> Any:
        first, second, third = (jax.vmap(norm) for norm in self.norms)
        x = first(x + self.attn(x, x, x))
        x = second(x + self.cross(x, memory, memory))
        return third(x + jax.vmap(self.down)(jax.nn.relu(jax.vmap(self.up)(x))))


class ViT(eqx.Module):
    """A vision transformer with a class token."""

    patch: Any
    token: Any
    places: Any
    blocks: list[Any]
    norm: Any
    head: Any

    def __init__(self, keys: Iterator[Any]) -> None:
        image, patch, blocks, heads, width, inside = VIT
        self.patch = eqx.nn.Conv2d(3, width, patch, patch, key=next(keys))
        self.token, self.places = jnp.zeros((1, width)), jnp.zeros(((image // patch) ** 2 + 1, width))
        self.blocks = [Encoder(width, heads, inside, True, keys) for _ in range(blocks)]
        self.norm, self.head = eqx.nn.LayerNorm(width), eqx.nn.Linear(width, 10, key=next(keys))

    def __call__(self, x: Any) -> Any:
        x = self.patch(x)
        x = jnp.concatenate([self.token, x.reshape(x.shape[0], -1).T]) + self.places
        for block in self.blocks:
            x = block(x)
        return self.head(jax.vmap(self.norm)(x)[0])


class Transformer(eqx.Module):
    """An encoder and a decoder, each with a norm at its end."""

    ins: list[Any]
    outs: list[Any]
    norm1: Any
    norm2: Any

    def __init__(self, keys: Iterator[Any]) -> None:
        width, heads, blocks, inside = TRANSFORMER
        self.ins = [Encoder(width, heads, inside, False, keys) for _ in range(blocks)]
        self.outs = [Decoder(width, heads, inside, keys) for _ in range(blocks)]
        self.norm1, self.norm2 = eqx.nn.LayerNorm(width), eqx.nn.LayerNorm(width)

    def __call__(self, src: Any, tgt: Any) -> Any:
        for block in self.ins:
            src = block(src)
        src = jax.vmap(self.norm1)(src)
        for other in self.outs:
            tgt = other(tgt, src)
        return jax.vmap(self.norm2)(tgt)


class Twice(eqx.Module):
    """Two convolutions, each with a norm."""

    conv1: Any
    norm1: Any
    conv2: Any
    norm2: Any

    def __init__(self, given: int, made: int, keys: Iterator[Any]) -> None:
        self.conv1, self.norm1 = _conv(keys, given, made, 3, 1, 1), eqx.nn.GroupNorm(GROUPS, made)
        self.conv2, self.norm2 = _conv(keys, made, made, 3, 1, 1), eqx.nn.GroupNorm(GROUPS, made)

    def __call__(self, x: Any) -> Any:
        return jax.nn.relu(self.norm2(self.conv2(jax.nn.relu(self.norm1(self.conv1(x))))))


class UNet(eqx.Module):
    """A U-Net that goes up by transposed convolutions."""

    down1: Any
    down2: Any
    middle: Any
    rise2: Any
    up2: Any
    rise1: Any
    up1: Any
    out: Any

    def __init__(self, keys: Iterator[Any]) -> None:
        a, b, c = WIDTHS
        self.down1, self.down2, self.middle = Twice(3, a, keys), Twice(a, b, keys), Twice(b, c, keys)
        self.rise2, self.up2 = eqx.nn.ConvTranspose2d(c, b, 2, 2, key=next(keys)), Twice(2 * b, b, keys)
        self.rise1, self.up1 = eqx.nn.ConvTranspose2d(b, a, 2, 2, key=next(keys)), Twice(2 * a, a, keys)
        self.out = eqx.nn.Conv2d(a, 2, 1, key=next(keys))

    def __call__(self, x: Any) -> Any:
        pool = eqx.nn.MaxPool2d(2, 2)
        first = self.down1(x)
        second = self.down2(pool(first))
        x = self.rise2(self.middle(pool(second)))
        x = self.rise1(self.up2(jnp.concatenate([second, x])))
        return self.out(self.up1(jnp.concatenate([first, x])))


class Recurrent(eqx.Module):
    """Equinox's long short-term memory by a scan, and a linear layer on its last state."""

    cell: Any
    head: Any

    def __init__(self, keys: Iterator[Any]) -> None:
        self.cell, self.head = eqx.nn.LSTMCell(12, 16, key=next(keys)), eqx.nn.Linear(16, 5, key=next(keys))

    def __call__(self, x: Any) -> Any:
        state = (jnp.zeros(16), jnp.zeros(16))
        (h, _), _ = jax.lax.scan(lambda s, row: (self.cell(row, s), None), state, x)
        return self.head(h)


def _made(kind: Callable[[Any], Any]) -> Callable[[], Any]:
    return lambda: eqx.filter_eval_shape(lambda: kind(_keys()))


NETS = {
    "ResNet-18": _made(ResNet),
    "ViT": _made(ViT),
    "Transformer": _made(Transformer),
    "U-Net": _made(UNet),
    "LSTM by scan": _made(Recurrent),
}
