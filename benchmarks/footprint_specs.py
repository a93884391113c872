"""Models that `footprint.py` runs: torchvision's and timm's by name, small configurations of transformers, U-Nets and
networks of three axes, and those of packages as other benchmarks build them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

#: Models that are run, by where they come from and the input that keeps the run short, "" for the model's own.
GROUPS = {
    ("", ""): """
        lenet5 alexnet-single resnet18
    """,
    ("torchvision:", "2x3x64x64"): """
        alexnet vgg11 vgg13_bn squeezenet1_0 squeezenet1_1 mobilenet_v2 mobilenet_v3_small mobilenet_v3_large
        mnasnet0_5 mnasnet1_0 shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x2_0 resnet18 resnet34
        resnet50 resnext50_32x4d wide_resnet50_2 resnet101 densenet121 densenet169 efficientnet_b0
        efficientnet_b1 efficientnet_v2_s regnet_x_400mf regnet_y_400mf regnet_x_800mf regnet_y_800mf
        regnet_x_1_6gf regnet_y_1_6gf convnext_tiny convnext_small swin_t swin_s swin_v2_t mnasnet0_75
        mnasnet1_3 efficientnet_b2 fcn_resnet50 deeplabv3_resnet50 deeplabv3_mobilenet_v3_large
        lraspp_mobilenet_v3_large
    """,
    ("torchvision:", ""): """
        googlenet vit_b_32 maxvit_t
    """,
    ("torchvision:", "2x3x299x299"): """
        inception_v3
    """,
    ("torchvision:", "1x3x8x64x64"): """
        r3d_18 mc3_18 r2plus1d_18
    """,
    ("torchvision:", "1x3x16x224x224"): """
        s3d
    """,
    ("timm:", "2x3x64x64"): """
        resnet10t resnet14t resnet26 resnetv2_50 resnest14d seresnet18 skresnet18 dla34 dla46_c dpn48b
        hrnet_w18_small res2net50_14w_8s repvgg_a0 selecsls42 cspresnet50 cspdarknet53 vovnet39a
        ese_vovnet19b_dw efficientnet_lite0 tf_efficientnet_b0 mixnet_s fbnetc_100 spnasnet_100 mnasnet_100
        mobilenetv2_035 mobilenetv3_small_050 lcnet_035 tinynet_e ghostnet_050 ghostnetv2_100 hardcorenas_a
        rexnet_100 mobileone_s0 mobilenetv4_conv_small mobilenetv4_hybrid_medium regnetx_002 regnety_002
        regnetz_005 nf_regnet_b0 nfnet_f0 dm_nfnet_f0 convnext_atto convnext_femto convnext_pico convnextv2_atto
        inception_next_atto edgenext_xx_small fastvit_t8 repvit_m0_9 starnet_s1 poolformer_s12 poolformerv2_s12
        caformer_s18 convformer_s18 pvt_v2_b0 mobilevit_xxs mobilevitv2_050
        tiny_vit_5m_224 hgnet_tiny hgnetv2_b0 rdnet_tiny densenet121 xception41
        focalnet_tiny_srf gernet_s eca_resnet33ts 
        resnet33ts efficientvit_b0 efficientvit_m0 mobilenet_edgetpu_v2_xs semnasnet_075
        ghostnetv3_100
    """,
    ("timm:", ""): """
        vit_tiny_patch16_224 vit_small_patch32_224 deit_tiny_patch16_224 deit3_small_patch16_224 cait_xxs24_224
        mixer_s32_224 resmlp_12_224 gmlp_ti16_224 gmixer_12_224 crossvit_tiny_240 xcit_nano_12_p16_224
        pit_ti_224 convit_tiny coat_tiny twins_svt_small nest_tiny visformer_tiny swin_tiny_patch4_window7_224
        maxvit_nano_rw_256 coatnet_nano_rw_224 eva02_tiny_patch14_224 beit_base_patch16_224
        volo_d1_224 sequencer2d_s vit_relpos_small_patch16_224 tnt_s_legacy_patch16_224
        vit_wee_patch16_reg1_gap_256 efficientformerv2_s0 levit_128s inception_v4 lambda_resnet26rpt_256
        botnet26t_256 halonet26t bat_resnext26ts coatnext_nano_rw_224
    """,
}


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

#: Model types of transformers of which the model with a head is run, as `transformers_specs.py` makes it small.
HEADS = """
    pp_lcnet falcon_mamba mobilebert swiftformer segformer pvt_v2 glpn fnet squeezebert mobilevit beit ijepa deit
    convbert mt5 umt5 roformer nanochat imagegpt nomic_bert deberta gte mpnet camembert ibert roberta-prelayernorm
    nystromformer
    speech_to_text longt5 t5 clip lilt levit tapas layoutlmv3 siglip blenderbot-small yoso moonshine xglm big_bird
    longformer layoutlm poolformer biogpt ernie4_5 doge pvt hgnet_v2 sew git dinov2 hubert wav2vec2 wavlm openai-gpt
    rembert markuplm switch_transformers cvt plbart whisper deberta-v2 swin swinv2 focalnet convnext convnextv2 xlnet
    detr gemma2 bart mbart
""".split()  # noqa: SIM905
#: Networks of packages that take minutes or more memory than they show.
HEAVY = frozenset(
    {
        "HoVerNet",
        "AHNet",
        "DAF3D",
        "MILModel",
        "VNet/3d",
        "HighResNet/3d",
        "SwinUNETR/3d",
        "AutoencoderKL/3d",
        "DynUNet/3d",
    }
)


@dataclass(frozen=True)
class Case:
    """A model that is run: what makes it, or its name, and the inputs that are given to what was made."""

    name: str
    make: Callable[[], Any]
    inputs: Callable[[Any], Any]


def cases() -> Iterator[Case]:
    """All of them, in the order in which they are run."""
    for name, (make, shape) in {**TRANSFORMERS, **UNETS}.items():
        yield _case(name, make, shape)
    for (home, shape), names in GROUPS.items():
        for name in names.split():
            yield _case(f"{home}{name}", lambda spec=f"{home}{name}": spec, shape)  # type: ignore[misc]
    import package_specs
    import transformers_specs

    heads = [one for one in transformers_specs.entries() if one.role == "head" and one.kind in HEADS]
    packages = [one for one in package_specs.entries() if _is_run(one)]
    for entry in [*heads, *packages]:
        yield Case(f"{entry.kind}: {entry.architecture}", entry.build, lambda model, at=entry: next(at.inputs(model)))  # type: ignore[misc]


def _case(name: str, make: Callable[[], Any], shape: str | None) -> Case:
    sizes = tuple(int(part) for part in shape.split("x")) if shape else None
    return Case(name, make, lambda model: sizes)


def _is_run(entry: Any) -> bool:
    """All of MONAI's networks but for the heaviest, every decoder of segmentation_models_pytorch on one encoder."""
    return (entry.kind == "monai" and entry.architecture not in HEAVY) or (
        entry.kind == "segmentation_models_pytorch" and entry.architecture.endswith(("/resnet18", "/mit_b0"))
    )


__all__ = ["Case", "cases"]
