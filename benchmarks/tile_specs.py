"""Dense networks for `tile_models.py`: of public packages, and those of `tile_nets.py` and the files beside it."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Case:
    """One network. ``shape`` is without batch; ``axes`` names them where the usual names are not meant."""

    name: str
    source: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    axes: Mapping[str, int] | None = None


class Part(nn.Module):
    """A model of which one method, or one part of the result, is looked at."""

    def __init__(self, inner: nn.Module, call: Callable[[Any, torch.Tensor], Any]) -> None:
        super().__init__()
        self.inner = inner
        self.call = call

    def forward(self, x: torch.Tensor) -> Any:
        return self.call(self.inner, x)


# --- segmentation-models-pytorch --------------------------------------------------------------------------------------

ENCODERS = (
    *("resnet18", "mobilenet_v2", "vgg11", "efficientnet-b0", "mit_b0", "timm-tf_efficientnet_lite0"),
    *("tu-regnetx_002", "tu-mobilenetv3_small_100", "timm-skresnet18", "tu-resnet10t", "tu-mnasnet_small"),
)
LARGER = ("resnet34", "densenet121", "xception", "dpn68", "mobileone_s0", "tu-resnest14d", "tu-hrnet_w18_small")
DECODERS = ("Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "DeepLabV3", "DeepLabV3Plus", "PAN", "UPerNet")


def _smp() -> Iterator[Case]:
    """Encoders of three levels, which show what one of five does at a fraction of the time, and some of five."""
    of_three = [*itertools.product(DECODERS, ENCODERS), *itertools.product(("Unet", "FPN", "Linknet"), LARGER)]
    of_five = itertools.product((*DECODERS, "Segformer"), ENCODERS[:2])
    for depth, pairs in ((3, of_three), (5, of_five)):
        for decoder, encoder in pairs:
            if not _refused(decoder, encoder, depth):
                name = f"{decoder}-{encoder}" + ("" if depth == 5 else f" of {depth}")
                make = _smp_maker(decoder, encoder, depth)
                side = {("PAN", 3): 64, ("PAN", 5): 128, ("FPN", 5): 64}.get((decoder, depth), 32)
                yield Case(name, "segmentation-models-pytorch", make, (3, side, side))


def _refused(decoder: str, encoder: str, depth: int) -> bool:
    """Pairs that the package refuses: encoders that cannot be dilated, or have no features at a size."""
    dilated = decoder in ("DeepLabV3", "DeepLabV3Plus", "PAN")
    fixed = ("vgg", "mit_", "tu-mobilenetv3")
    pyramid = decoder in ("UnetPlusPlus", "Linknet") or (decoder == "FPN" and depth < 5)
    return (dilated and encoder.startswith(fixed)) or (encoder == "mit_b0" and pyramid)


def _smp_maker(decoder: str, encoder: str, depth: int) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        smp = importlib.import_module("segmentation_models_pytorch")
        more: dict[str, Any] = {"encoder_depth": depth}
        if decoder in ("Unet", "UnetPlusPlus", "MAnet"):
            more["decoder_channels"] = (32, 16, 16, 8, 8)[5 - depth :]
        elif decoder in ("FPN", "Segformer", "UPerNet"):
            more |= (
                {"decoder_segmentation_channels" if decoder == "Segformer" else "decoder_channels": 32}
                if (decoder != "FPN")
                else {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32}
            )
        elif decoder in ("DeepLabV3", "DeepLabV3Plus"):
            more["decoder_channels"] = 32
        made: nn.Module = getattr(smp, decoder)(encoder, encoder_weights=None, **more)
        for name, weight in made.named_parameters():
            if name.endswith("weight") and not weight.any():  # where training starts, a block adds nothing
                nn.init.uniform_(weight)
        return made

    return make


# --- monai ------------------------------------------------------------------------------------------------------------


def _monai() -> Iterator[Case]:
    for dims in (2, 3):
        shape = (1, *(64,) * dims) if dims == 2 else (1, 16, 16, 16)
        for name, kind, settings, side in _monai_nets(dims):
            own = shape if side is None else (1, *(side,) * dims)
            own = (settings.get("in_channels", 1), *own[1:])
            yield Case(f"{name} {dims}d", "monai", _monai_maker(kind, settings), own)


def _monai_maker(kind: str, settings: Mapping[str, Any]) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        made: nn.Module = getattr(importlib.import_module("monai.networks.nets"), kind)(**settings)
        return made

    return make


def _monai_nets(dims: int) -> Iterator[tuple[str, str, dict[str, Any], int | None]]:
    """Name, class, settings and the side of the input."""
    both = {"spatial_dims": dims, "in_channels": 1, "out_channels": 2}
    for norm in ("batch", "instance"):
        unet = {**both, "channels": (4, 8, 8), "strides": (2, 2), "norm": norm}
        yield f"UNet {norm}", "UNet", unet, None
        yield f"UNet {norm} residual", "UNet", {**unet, "num_res_units": 2}, None
        features = (4, 4, 8, 8, 8, 4)
        side = 32 if (dims, norm) == (3, "instance") else None  # statistics are of more than one position
        yield f"BasicUNet {norm}", "BasicUNet", {**both, "features": features, "norm": norm}, side
        plus = {**both, "features": features, "norm": norm}
        quick = (dims, norm) != (3, "instance")  # of three axes these take minutes each
        if quick:
            yield f"BasicUNetPlusPlus {norm}", "BasicUNetPlusPlus", plus, None
        dyn = {**both, "kernel_size": [3] * 4, "strides": [1, 2, 2, 2], "upsample_kernel_size": [2] * 3}
        dyn |= {"filters": [4, 4, 8, 8], "norm_name": norm}
        yield f"DynUNet {norm}", "DynUNet", dyn, None
        yield f"DynUNet {norm} residual", "DynUNet", {**dyn, "res_block": True}, None
        high = {**both, "norm_type": norm}
        if quick:
            yield f"HighResNet {norm}", "HighResNet", high, None
        auto = {**both, "channels": (4, 8), "strides": (2, 2), "norm": norm}
        yield f"AutoEncoder {norm}", "AutoEncoder", auto, None
        seg = {**both, "init_filters": 4, "norm": norm, "blocks_down": (1, 1, 2), "blocks_up": (1, 1)}
        yield f"SegResNet {norm}", "SegResNet", seg, None
        deep = {**both, "init_filters": 4, "norm": norm, "blocks_down": (1, 1, 2)}
        yield f"SegResNetDS {norm}", "SegResNetDS", deep, None
    deeper = {**both, "channels": (4, 4, 8, 8, 8), "strides": (2, 2, 2, 2), "norm": "batch"}
    yield "UNet deep", "UNet", deeper, None
    yield (
        "UNet kernel 5",
        "UNet",
        {**both, "channels": (4, 8), "strides": (2,), "kernel_size": 5, "norm": "batch"},
        None,
    )
    yield "UNet stride 4", "UNet", {**both, "channels": (4, 8), "strides": (4,), "norm": "batch"}, None
    for mode in ("nontrainable", "pixelshuffle"):
        plain = {**both, "features": (4, 4, 8, 8, 8, 4), "norm": "batch", "upsample": mode}
        yield f"BasicUNet {mode}", "BasicUNet", plain, None
    yield "AttentionUnet", "AttentionUnet", {**both, "channels": (4, 8, 8), "strides": (2, 2)}, None
    if dims == 2:  # of three axes these take minutes each
        yield "VNet", "VNet", {**both, "act": "relu"}, None
    yield "SegResNet group", "SegResNet", {**both, "init_filters": 8}, None
    yield "RegUNet", "RegUNet", {**both, "num_channel_initial": 4, "depth": 2}, None
    flexible = {**both, "backbone": "resnet18", "decoder_channels": (16, 8, 8, 8, 8)}
    if dims == 2:
        yield "FlexibleUNet resnet18", "FlexibleUNet", flexible, 64
        yield "FlexibleUNet efficientnet-b0", "FlexibleUNet", {**flexible, "backbone": "efficientnet-b0"}, None
    med = {**both, "init_filters": 4, "blocks_down": (1, 1), "blocks_bottleneck": 1, "blocks_up": (1, 1)}
    yield "MedNeXt", "MedNeXt", {**med, "kernel_size": 3, "encoder_expansion_ratio": 2}, None
    vox = {"spatial_dims": dims, "unet_out_channels": 8, "channels": (4, 4, 4, 4, 4, 4)}
    yield "VoxelMorphUNet", "VoxelMorphUNet", {**vox, "in_channels": 2, "final_conv_channels": (4,)}, None
    swin = {**both, "feature_size": 12, "num_heads": (1, 1, 2, 2), "depths": (1, 1, 1, 1)}
    if dims == 2:
        yield "SwinUNETR", "SwinUNETR", swin, 64
    unetr = {**both, "img_size": (64,) * dims if dims == 2 else (32,) * dims, "feature_size": 4, "hidden_size": 12}
    yield "UNETR", "UNETR", {**unetr, "mlp_dim": 16, "num_heads": 2}, 64 if dims == 2 else 32
    patch = {"spatial_dims": dims, "in_channels": 1, "channels": 4, "num_layers_d": 2}
    yield "PatchDiscriminator", "PatchDiscriminator", patch, None
    kl = {**both, "channels": (4, 8), "num_res_blocks": 1, "norm_num_groups": 2, "latent_channels": 2}
    if dims == 2:
        yield "AutoencoderKL", "AutoencoderKL", {**kl, "attention_levels": (False, False)}, 16


# --- torchvision, timm ------------------------------------------------------------------------------------------------


def _torchvision() -> Iterator[Case]:
    for name in ("fcn_resnet50", "deeplabv3_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"):
        yield Case(name, "torchvision", _torchvision_maker(name, aux_loss=None), (3, 64, 64))
    yield Case("fcn_resnet50 aux", "torchvision", _torchvision_maker("fcn_resnet50", aux_loss=True), (3, 64, 64))
    for name in ("resnet18", "vgg11", "mobilenet_v2", "shufflenet_v2_x0_5", "squeezenet1_1", "convnext_tiny", "swin_t"):
        yield Case(f"{name} features", "torchvision", _features(name), (3, 32, 32))


def _torchvision_maker(name: str, aux_loss: bool | None) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        models = importlib.import_module("torchvision.models.segmentation")
        more = {} if name.startswith("lraspp") else {"aux_loss": aux_loss}
        made: nn.Module = getattr(models, name)(weights=None, weights_backbone=None, num_classes=4, **more)
        return made

    return make


def _features(name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        model = getattr(importlib.import_module("torchvision.models"), name)(weights=None)
        if hasattr(model, "features"):
            made: nn.Module = model.features
            return made
        last = "conv5" if hasattr(model, "conv5") else "layer4"
        layers = []
        for key, child in model.named_children():
            layers.append(child)
            if key == last:
                break
        return nn.Sequential(*layers)

    return make


_TIMM = (
    *("resnet10t", "resnet14t", "mobilenetv2_035", "mobilenetv3_small_050", "efficientnet_lite0", "regnetx_002"),
    *(
        "hrnet_w18_small",
        "dla34",
        "vgg11",
        "convnext_atto",
        "ghostnet_050",
        "mnasnet_small",
        "repvgg_a0",
        "rexnetr_100",
    ),
    *("fbnetc_100", "hardcorenas_a", "semnasnet_075", "resnet18d", "lcnet_035", "tinynet_e"),
    *("poolformerv2_s12", "cspdarknet53", "selecsls42", "starnet_s1", "edgenext_xx_small", "mobileone_s0"),
)


def _timm() -> Iterator[Case]:
    for name in _TIMM:
        yield Case(f"{name} features timm", "timm", _timm_maker(name), (3, 32, 32))


def _timm_maker(name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        made: nn.Module = importlib.import_module("timm").create_model(name, pretrained=False, features_only=True)
        return made

    return make


# --- diffusers --------------------------------------------------------------------------------------------------------


def _diffusers() -> Iterator[Case]:
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    kl = {**blocks, "block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 2, "latent_channels": 2}
    tiny: dict[str, Any] = {}
    small = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
    kinds: list[tuple[str, str, dict[str, Any], str, tuple[int, ...]]] = [
        ("AutoencoderKL encoder", "AutoencoderKL", kl, "encode", (3, 64, 64)),
        ("AutoencoderKL decoder", "AutoencoderKL", kl, "decode", (2, 32, 32)),
        ("TAESD encoder", "AutoencoderTiny", tiny, "encode", (3, 64, 64)),
        ("TAESD decoder", "AutoencoderTiny", tiny, "decode", (4, 16, 16)),
        ("TAESD of 16 channels", "AutoencoderTiny", {"latent_channels": 16}, "decode", (16, 16, 16)),
        ("small TAESD decoder", "AutoencoderTiny", small, "decode", (4, 16, 16)),
        ("small TAESD encoder", "AutoencoderTiny", small, "encode", (3, 64, 64)),
        ("VQModel", "VQModel", {**kl, "num_vq_embeddings": 16}, "", (3, 64, 64)),
        ("AutoencoderOobleck", "AutoencoderOobleck", _OOBLECK, "decode", (4, 32)),
        ("AutoencoderOobleck encoder", "AutoencoderOobleck", _OOBLECK, "encode", (1, 512)),
        ("AutoencoderDC decoder", "AutoencoderDC", _DC, "decode", (4, 16, 16)),
        ("AutoencoderDC encoder", "AutoencoderDC", _DC, "encode", (3, 64, 64)),
    ]
    for name, kind, settings, method, shape in kinds:
        yield Case(name, "diffusers", _diffusers_maker(kind, settings, method), shape)


_OOBLECK = {
    "encoder_hidden_size": 4,
    "downsampling_ratios": [2, 4],
    "channel_multiples": [1, 2],
    "decoder_channels": 4,
    "decoder_input_channels": 4,
    "audio_channels": 1,
}
_DC: dict[str, Any] = {
    "latent_channels": 4,
    "attention_head_dim": 4,
    "encoder_block_types": "ResBlock",
    "decoder_block_types": "ResBlock",
    "encoder_block_out_channels": (8, 8, 8),
    "decoder_block_out_channels": (8, 8, 8),
    "encoder_qkv_multiscales": ((), (), ()),
    "decoder_qkv_multiscales": ((), (), ()),
    "encoder_layers_per_block": (1, 1, 1),
    "decoder_layers_per_block": (1, 1, 1),
    "scaling_factor": 1.0,
}


def _diffusers_maker(kind: str, settings: Mapping[str, Any], method: str) -> Callable[[], nn.Module]:
    def decode(model: Any, x: torch.Tensor) -> Any:
        return model.decode(x).sample

    def encode(model: Any, x: torch.Tensor) -> Any:
        return model.encoder(x)

    def whole(model: Any, x: torch.Tensor) -> Any:
        return model(x).sample

    def make() -> nn.Module:
        model = getattr(importlib.import_module("diffusers"), kind)(**settings)
        return Part(model, {"decode": decode, "encode": encode, "": whole}[method])

    return make


def cases() -> Iterator[Case]:
    """All networks."""
    from tile_nets import super_resolution
    from tile_restoration import restoration
    from tile_sounds import sounds
    from tile_unets import u_nets

    for name, source, make, shape in (*super_resolution(), *restoration(), *sounds(), *u_nets()):
        yield Case(name, source, make, shape)
    yield from _diffusers()
    yield from _torchvision()
    yield from _timm()
    yield from _monai()
    yield from _smp()


__all__ = ["Case", "cases"]
