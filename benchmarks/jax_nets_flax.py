"""The architectures of jax_zoo.py in Flax's nnx."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax_nets_torch import TRANSFORMER, VIT, WIDTHS


class Basic(nnx.Module):
    """A block of ResNet-18."""

    def __init__(self, given: int, made: int, stride: int, rngs: Any) -> None:
        conv = partial(nnx.Conv, use_bias=False, rngs=rngs)
        self.conv1, self.bn1 = conv(given, made, (3, 3), stride, padding=1), nnx.BatchNorm(made, rngs=rngs)
        self.conv2, self.bn2 = conv(made, made, (3, 3), padding=1), nnx.BatchNorm(made, rngs=rngs)
        other = stride != 1 or given != made
        self.down = conv(given, made, (1, 1), stride) if other else None
        self.bn3 = nnx.BatchNorm(made, rngs=rngs) if other else None

    def __call__(self, x: Any) -> Any:
        y = self.bn2(self.conv2(nnx.relu(self.bn1(self.conv1(x)))))
        return nnx.relu(y + (x if self.down is None else self.bn3(self.down(x))))


class ResNet(nnx.Module):
    """ResNet-18."""

    def __init__(self, rngs: Any) -> None:
        self.conv1 = nnx.Conv(3, 64, (7, 7), 2, padding=3, use_bias=False, rngs=rngs)
        self.bn1 = nnx.BatchNorm(64, rngs=rngs)
        widths = [64, 64, 64, 128, 128, 256, 256, 512, 512]
        strides = [1, 1, 2, 1, 2, 1, 2, 1]
        blocks = [Basic(a, b, s, rngs) for a, b, s in zip(widths, widths[1:], strides, strict=False)]
        self.blocks = nnx.List(blocks) if hasattr(nnx, "List") else blocks
        self.fc = nnx.Linear(512, 1000, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        x = nnx.relu(self.bn1(self.conv1(x)))
        x = nnx.max_pool(x, (3, 3), (2, 2), [(1, 1), (1, 1)])
        for block in self.blocks:
            x = block(x)
        return self.fc(x.mean((1, 2)))


class Encoder(nnx.Module):
    """A block of a transformer: norms before its parts, as ViT has it, or after them."""

    def __init__(self, width: int, heads: int, inside: int, before: bool, rngs: Any) -> None:
        self.norm1, self.norm2 = nnx.LayerNorm(width, rngs=rngs), nnx.LayerNorm(width, rngs=rngs)
        self.attn = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)
        self.up, self.down = nnx.Linear(width, inside, rngs=rngs), nnx.Linear(inside, width, rngs=rngs)
        self.before = before

    def __call__(self, x: Any) -> Any:
        if self.before:
            x = x + self.attn(self.norm1(x))
            return x + self.down(nnx.gelu(self.up(self.norm2(x))))
        x = self.norm1(x + self.attn(x))
        return self.norm2(x + self.down(nnx.relu(self.up(x))))


class Decoder(nnx.Module):
    """A block that looks at what an encoder made, too."""

    def __init__(self, width: int, heads: int, inside: int, rngs: Any) -> None:
        self.norm1, self.norm2, self.norm3 = (nnx.LayerNorm(width, rngs=rngs) for _ in range(3))
        self.attn = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)
        self.cross = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)
        self.up, self.down = nnx.Linear(width, inside, rngs=rngs), nnx.Linear(inside, width, rngs=rngs)

    def __call__(self, x: Any, memory: Any) -> Any:
        x = self.norm1(x + self.attn(x))
        x = self.norm2(x + self.cross(x, memory, memory))
        return self.norm3(x + self.down(nnx.relu(self.up(x))))


class ViT(nnx.Module):
    """A vision transformer with a class token."""

    def __init__(self, rngs: Any) -> None:
        image, patch, blocks, heads, width, inside = VIT
        self.patch = nnx.Conv(3, width, (patch, patch), patch, padding="VALID", rngs=rngs)
        self.token = nnx.Param(jnp.zeros((1, 1, width)))
        self.places = nnx.Param(jnp.zeros((1, (image // patch) ** 2 + 1, width)))
        made = [Encoder(width, heads, inside, True, rngs) for _ in range(blocks)]
        self.blocks = nnx.List(made) if hasattr(nnx, "List") else made
        self.norm, self.head = nnx.LayerNorm(width, rngs=rngs), nnx.Linear(width, 10, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        x = self.patch(x)
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        token = jnp.broadcast_to(self.token[...], (x.shape[0], 1, x.shape[-1]))
        x = jnp.concatenate([token, x], 1) + self.places[...]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class Transformer(nnx.Module):
    """An encoder and a decoder, each with a norm at its end."""

    def __init__(self, rngs: Any) -> None:
        width, heads, blocks, inside = TRANSFORMER
        ins = [Encoder(width, heads, inside, False, rngs) for _ in range(blocks)]
        outs = [Decoder(width, heads, inside, rngs) for _ in range(blocks)]
        self.ins, self.outs = (nnx.List(ins), nnx.List(outs)) if hasattr(nnx, "List") else (ins, outs)
        self.norm1, self.norm2 = nnx.LayerNorm(width, rngs=rngs), nnx.LayerNorm(width, rngs=rngs)

    def __call__(self, src: Any, tgt: Any) -> Any:
        for block in self.ins:
            src = block(src)
        src = self.norm1(src)
        for other in self.outs:
            tgt = other(tgt, src)
        return self.norm2(tgt)


class Twice(nnx.Module):
    """Two convolutions, each with a norm."""

    def __init__(self, given: int, made: int, rngs: Any) -> None:
        conv = partial(nnx.Conv, use_bias=False, rngs=rngs)
        self.conv1, self.norm1 = conv(given, made, (3, 3)), nnx.BatchNorm(made, rngs=rngs)
        self.conv2, self.norm2 = conv(made, made, (3, 3)), nnx.BatchNorm(made, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return nnx.relu(self.norm2(self.conv2(nnx.relu(self.norm1(self.conv1(x))))))


class UNet(nnx.Module):
    """A U-Net that goes up by transposed convolutions."""

    def __init__(self, rngs: Any) -> None:
        a, b, c = WIDTHS
        self.down1, self.down2, self.middle = Twice(3, a, rngs), Twice(a, b, rngs), Twice(b, c, rngs)
        self.rise2, self.up2 = nnx.ConvTranspose(c, b, (2, 2), 2, rngs=rngs), Twice(2 * b, b, rngs)
        self.rise1, self.up1 = nnx.ConvTranspose(b, a, (2, 2), 2, rngs=rngs), Twice(2 * a, a, rngs)
        self.out = nnx.Conv(a, 2, (1, 1), rngs=rngs)

    def __call__(self, x: Any) -> Any:
        first = self.down1(x)
        second = self.down2(nnx.max_pool(first, (2, 2), (2, 2)))
        x = self.rise2(self.middle(nnx.max_pool(second, (2, 2), (2, 2))))
        x = self.rise1(self.up2(jnp.concatenate([second, x], -1)))
        return self.out(self.up1(jnp.concatenate([first, x], -1)))


class Recurrent(nnx.Module):
    """Flax's long short-term memory by its own scan, and a linear layer on its last state."""

    def __init__(self, rngs: Any) -> None:
        self.rnn = nnx.RNN(nnx.OptimizedLSTMCell(12, 16, rngs=rngs), rngs=rngs)
        self.head = nnx.Linear(16, 5, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.head(self.rnn(x)[:, -1])


def _made(kind: Callable[[Any], Any]) -> Callable[[], Any]:
    return lambda: nnx.eval_shape(lambda: kind(nnx.Rngs(0)))


NETS = {
    "ResNet-18": _made(ResNet),
    "ViT": _made(ViT),
    "Transformer": _made(Transformer),
    "U-Net": _made(UNet),
    "LSTM by scan": _made(Recurrent),
}
