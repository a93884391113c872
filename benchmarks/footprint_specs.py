"""Models that `footprint.py` builds itself: small configurations of transformers, U-Nets, networks of three axes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def _transformer(kind: str, config: str, **sizes: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import transformers

        made = getattr(transformers, config)(**sizes)
        model: nn.Module = getattr(transformers, kind)(made)
        return model

    return make


_DECODER: dict[str, Any] = {
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
_GROUPED = {**_DECODER, "num_key_value_heads": 2}

#: By name: a function that makes the model, and the shape of its input.
TRANSFORMERS: dict[str, tuple[Callable[[], nn.Module], str | None]] = {
    "transformers:bert": (_transformer("BertModel", "BertConfig", **_DECODER), "2x12"),
    "transformers:roberta": (_transformer("RobertaModel", "RobertaConfig", **_DECODER), "2x12"),
    "transformers:distilbert": (
        _transformer("DistilBertModel", "DistilBertConfig", vocab_size=128, dim=64, hidden_dim=128, n_layers=2,
                     n_heads=4),
        "2x12",
    ),
    "transformers:electra": (_transformer("ElectraModel", "ElectraConfig", embedding_size=32, **_DECODER), "2x12"),
    "transformers:gpt2": (
        _transformer("GPT2LMHeadModel", "GPT2Config", vocab_size=128, n_embd=64, n_layer=2, n_head=4, n_positions=64),
        "2x12",
    ),
    "transformers:opt": (
        _transformer("OPTForCausalLM", "OPTConfig", vocab_size=128, hidden_size=64, ffn_dim=128, num_hidden_layers=2,
                     num_attention_heads=4, word_embed_proj_dim=64, max_position_embeddings=64),
        "2x12",
    ),
    "transformers:llama": (_transformer("LlamaForCausalLM", "LlamaConfig", **_GROUPED), "2x12"),
    "transformers:mistral": (_transformer("MistralForCausalLM", "MistralConfig", sliding_window=8, **_GROUPED), "2x12"),
    "transformers:qwen2": (_transformer("Qwen2ForCausalLM", "Qwen2Config", **_GROUPED), "2x12"),
    "transformers:gemma": (_transformer("GemmaForCausalLM", "GemmaConfig", head_dim=16, **_GROUPED), "2x12"),
    "transformers:phi": (_transformer("PhiForCausalLM", "PhiConfig", **_DECODER), "2x12"),
    "transformers:gpt_neox": (_transformer("GPTNeoXForCausalLM", "GPTNeoXConfig", **_DECODER), "2x12"),
    "transformers:falcon": (
        _transformer("FalconForCausalLM", "FalconConfig", vocab_size=128, hidden_size=64, num_hidden_layers=2,
                     num_attention_heads=4),
        "2x12",
    ),
    "transformers:bloom": (
        _transformer("BloomForCausalLM", "BloomConfig", vocab_size=128, hidden_size=64, n_layer=2, n_head=4),
        "2x12",
    ),
    "transformers:mamba": (
        _transformer("MambaForCausalLM", "MambaConfig", vocab_size=128, hidden_size=64, num_hidden_layers=2,
                     state_size=8),
        "2x12",
    ),
    "transformers:vit": (
        _transformer("ViTModel", "ViTConfig", hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                     num_attention_heads=4, image_size=32, patch_size=8),
        "2x3x32x32",
    ),
    "transformers:segformer": (
        _transformer("SegformerModel", "SegformerConfig", hidden_sizes=[16, 32, 64, 128], depths=[1, 1, 1, 1]),
        "2x3x64x64",
    ),
}  # fmt: skip


class UNet(nn.Module):
    """A U-Net over two or three axes, with skips that are concatenated."""

    def __init__(self, axes: int, width: int = 8, depth: int = 3) -> None:
        super().__init__()
        conv = (nn.Conv2d, nn.Conv3d)[axes - 2]
        norm = (nn.BatchNorm2d, nn.InstanceNorm3d)[axes - 2]
        up = (nn.ConvTranspose2d, nn.ConvTranspose3d)[axes - 2]
        self.pool = (nn.MaxPool2d, nn.MaxPool3d)[axes - 2](2)

        def block(inside: int, out: int) -> nn.Sequential:
            return nn.Sequential(conv(inside, out, 3, padding=1), norm(out), nn.LeakyReLU(inplace=True))

        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(block(a, b) for a, b in zip([1, *widths], widths, strict=False))
        self.up = nn.ModuleList(up(b, a, 2, stride=2) for a, b in itertools.pairwise(widths))
        self.join = nn.ModuleList(block(2 * a, a) for a in widths[:-1])
        self.head = conv(width, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for block in self.down[:-1]:
            x = block(x)
            skips.append(x)
            x = self.pool(x)
        x = self.down[-1](x)
        for up, join in zip(reversed(self.up), reversed(self.join), strict=True):
            x = join(torch.cat([skips.pop(), up(x)], 1))
        return self.head(x)


class Residual3d(nn.Module):
    """Residual blocks over three axes, with dropout and trilinear upsampling."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv3d(1, width, 3, stride=2, padding=1)
        self.body = nn.ModuleList(nn.Conv3d(width, width, 3, padding=1) for _ in range(3))
        self.norm = nn.ModuleList(nn.GroupNorm(2, width) for _ in range(3))
        self.drop, self.up = nn.Dropout3d(0.1), nn.Upsample(scale_factor=2, mode="trilinear")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for conv, norm in zip(self.body, self.norm, strict=True):
            x = x + self.drop(torch.relu_(norm(conv(x))))
        return self.up(x)


UNETS: dict[str, tuple[Callable[[], nn.Module], str | None]] = {
    "unet 2-D": (lambda: UNet(2), "2x1x32x32"),
    "unet 3-D": (lambda: UNet(3), "1x1x16x16x16"),
    "unet 2-D, depth 4": (lambda: UNet(2, 4, 4), "1x1x64x64"),
    "residual 3-D": (Residual3d, "2x1x8x16x16"),
}

__all__ = ["TRANSFORMERS", "UNETS"]
