"""Models of diffusers, torch_geometric, MONAI, segmentation_models_pytorch, open_clip, kornia and speechbrain.

Each is made by its own class with few layers, on whatever device is the default, and comes with arguments of its
forward pass, by name or in order. `entries` lists them; a package that is not installed has none.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from typing import Any, TypeAlias

import torch
from examining import NoInputError  # beside this file
from torch import Tensor, nn

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

Make: TypeAlias = Callable[[], nn.Module]
#: Arguments in order, or by name: tensors and whatever else; a tuple of integers is the shape of numbers.
Given: TypeAlias = Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """One model of a package."""

    kind: str
    role: str
    architecture: str

    def build(self) -> nn.Module:
        """The model, without weights of anybody's."""
        return _specs(self.kind)[self.architecture][0]().eval()

    def builds(self) -> Iterator[Make]:
        """The one way to make it."""
        yield self.build

    def inputs(self, model: nn.Module) -> Iterator[dict[str, Tensor]]:
        """Keyword arguments for its forward pass."""
        given = _specs(self.kind)[self.architecture][1]
        given = given() if callable(given) else given
        if not isinstance(given, Mapping):
            names = [name for name, one in inspect.signature(model.forward).parameters.items() if one.kind < 2]
            if len(names) < len(given):
                raise NoInputError(f"takes {', '.join(names)}")
            given = dict(zip(names, given, strict=False))
        with torch.device("cpu"):
            yield {name: torch.rand(value) if _is_shape(value) else value for name, value in given.items()}


def _is_shape(value: Any) -> bool:
    return type(value) is tuple and all(type(item) is int for item in value)


def entries() -> Iterator[Entry]:
    """All models of the packages that are installed."""
    for kind, (module, _) in PACKAGES.items():
        if find_spec(module) is not None:
            yield from (Entry(kind, "model", name) for name in _specs(kind))


@cache
def _specs(kind: str) -> dict[str, tuple[Make, Any]]:
    return dict(PACKAGES[kind][1]())


def _of(module: str, name: str, *args: Any, **kwargs: Any) -> Make:
    """What makes an instance of a class, which is imported when it is made."""

    def make() -> nn.Module:
        made: nn.Module = getattr(importlib.import_module(module), name)(*args, **kwargs)
        return made

    return make


def _ids(*shape: int, most: int = 50) -> Tensor:
    return torch.randint(0, most, shape, generator=torch.Generator().manual_seed(0))


Specs: TypeAlias = Iterator[tuple[str, tuple[Make, Any]]]

# --- segmentation_models_pytorch --------------------------------------------------------------------------------------

_DECODERS = "Unet UnetPlusPlus MAnet Linknet FPN PSPNet PAN DeepLabV3 DeepLabV3Plus UPerNet Segformer".split()  # noqa: SIM905
_ENCODERS = (
    *("resnet18", "resnet50", "resnext50_32x4d", "vgg11_bn", "densenet121", "mobilenet_v2", "efficientnet-b0"),
    *("timm-regnetx_002", "timm-res2net50_26w_4s", "dpn68", "xception", "inceptionv4", "mit_b0", "mobileone_s0"),
    *("se_resnet50", "timm-gernet_s", "timm-skresnet18", "timm-mobilenetv3_small_100"),
)


def _smp() -> Specs:
    package = "segmentation_models_pytorch"
    for decoder in _DECODERS:
        side = 128 if decoder == "PAN" else 64  # it halves features of stride 16 three times more
        for encoder in _ENCODERS:
            yield (
                f"{decoder} {encoder}".replace(" ", "/"),
                (_of(package, decoder, encoder, encoder_weights=None), [(1, 3, side, side)]),
            )
    yield (
        "DPT/vit_tiny",
        (
            _of(package, "DPT", "tu-vit_tiny_patch16_224", encoder_weights=None, dynamic_img_size=True),
            [(1, 3, 224, 224)],
        ),
    )


# --- MONAI ------------------------------------------------------------------------------------------------------------

_FLAT = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2}


def _monai() -> Specs:
    def net(name: str, *args: Any, **kwargs: Any) -> Make:
        return _of("monai.networks.nets", name, *args, **kwargs)

    steps = {"channels": (4, 8, 16), "strides": (2, 2, 2)}
    for dims, side in ((2, 64), (3, 32)):
        plain = {"spatial_dims": dims, "in_channels": 1, "out_channels": 2}
        x, tag = (1, 1, *(side,) * dims), f"{dims}d"
        yield f"UNet/{tag}", (net("UNet", **plain, channels=(4, 8, 16), strides=(2, 2), num_res_units=2), [x])
        yield f"AttentionUnet/{tag}", (net("AttentionUnet", **plain, channels=(4, 8, 16), strides=(2, 2)), [x])
        yield f"BasicUNet/{tag}", (net("BasicUNet", **plain, features=(4, 4, 8, 8, 16, 4)), [x])
        yield f"BasicUNetPlusPlus/{tag}", (net("BasicUNetPlusPlus", **plain, features=(4, 4, 8, 8, 16, 4)), [x])
        yield (
            f"DynUNet/{tag}",
            (
                net("DynUNet", **plain, kernel_size=[3, 3, 3], strides=[1, 2, 2], upsample_kernel_size=[2, 2]),
                [x],
            ),
        )
        yield f"SegResNet/{tag}", (net("SegResNet", **plain, init_filters=8), [x])
        yield f"SegResNetDS/{tag}", (net("SegResNetDS", **plain, init_filters=8), [x])
        yield (
            f"SegResNetVAE/{tag}",
            (
                net("SegResNetVAE", input_image_size=(side,) * dims, **plain, init_filters=8, vae_nz=8),
                [x],
            ),
        )
        yield f"VNet/{tag}", (net("VNet", **plain), [x])
        yield f"HighResNet/{tag}", (net("HighResNet", **plain), [x])
        yield f"AutoEncoder/{tag}", (net("AutoEncoder", spatial_dims=dims, in_channels=1, out_channels=1, **steps), [x])
        yield (
            f"VarAutoEncoder/{tag}",
            (
                net("VarAutoEncoder", dims, (1, *(side,) * dims), 1, 8, steps["channels"], steps["strides"]),
                [x],
            ),
        )
        wide = (1, 1, *(64,) * dims)  # its norm needs more than one position at the deepest level
        yield f"SwinUNETR/{tag}", (net("SwinUNETR", 1, 2, feature_size=12, spatial_dims=dims), [wide])
        yield (
            f"UNETR/{tag}",
            (
                net(
                    "UNETR",
                    1,
                    2,
                    (side,) * dims,
                    feature_size=8,
                    hidden_size=48,
                    mlp_dim=96,
                    num_heads=4,
                    spatial_dims=dims,
                ),
                [x],
            ),
        )
        yield (
            f"ViT/{tag}",
            (
                net("ViT", 1, (side,) * dims, (16,) * dims, 48, 96, 2, 4, classification=True, spatial_dims=dims),
                [x],
            ),
        )
        yield (
            f"ViTAutoEnc/{tag}",
            (
                net("ViTAutoEnc", 1, (side,) * dims, (16,) * dims, 1, 16, 48, 96, 2, 4, spatial_dims=dims),
                [x],
            ),
        )
        yield (
            f"MaskedAutoEncoderViT/{tag}",
            (
                net(
                    "MaskedAutoEncoderViT",
                    1,
                    (side,) * dims,
                    (16,) * dims,
                    48,
                    96,
                    2,
                    4,
                    spatial_dims=dims,
                    decoder_hidden_size=48,
                    decoder_mlp_dim=96,
                    decoder_num_layers=1,
                    decoder_num_heads=4,
                ),
                [x],
            ),
        )
        yield f"FlexibleUNet/{tag}", (net("FlexibleUNet", 1, 2, "efficientnet-b0", spatial_dims=dims), [x])
        yield (
            f"EfficientNetBN/{tag}",
            (
                net(
                    "EfficientNetBN",
                    "efficientnet-b0",
                    pretrained=False,
                    spatial_dims=dims,
                    in_channels=1,
                    num_classes=2,
                ),
                [x],
            ),
        )
        for depth in (121, 169):
            yield f"DenseNet{depth}/{tag}", (net(f"DenseNet{depth}", **plain), [x])
        yield f"SEResNet50/{tag}", (net("SEResNet50", spatial_dims=dims, in_channels=1, num_classes=2), [x])
        yield (
            f"ResNet/{tag}",
            (
                net(
                    "ResNet",
                    "basic",
                    [1, 1, 1, 1],
                    [8, 16, 32, 64],
                    spatial_dims=dims,
                    n_input_channels=1,
                    num_classes=2,
                ),
                [x],
            ),
        )
        yield f"LocalNet/{tag}", (net("LocalNet", dims, 1, 4, extract_levels=(0, 1, 2), out_channels=dims), [x])
        yield f"GlobalNet/{tag}", (net("GlobalNet", (side,) * dims, dims, 1, 4, 2), [x])
        yield f"RegUNet/{tag}", (net("RegUNet", dims, 1, 4, 2), [x])
        yield (
            f"VoxelMorph/{tag}",
            (
                net("VoxelMorph", spatial_dims=dims),
                [x, x],
            ),
        )
        yield f"MedNeXt/{tag}", (net("MedNeXt", spatial_dims=dims, in_channels=1, out_channels=2, init_filters=8), [x])
        yield f"PatchDiscriminator/{tag}", (net("PatchDiscriminator", dims, 8, 1), [x])
        yield (
            f"AutoencoderKL/{tag}",
            (
                net(
                    "AutoencoderKL",
                    **plain,
                    channels=(8, 16),
                    num_res_blocks=1,
                    attention_levels=(False, True),
                    latent_channels=4,
                    norm_num_groups=4,
                ),
                [x],
            ),
        )
        yield (
            f"VQVAE/{tag}",
            (
                net(
                    "VQVAE",
                    spatial_dims=dims,
                    in_channels=1,
                    out_channels=1,
                    channels=(8, 8),
                    num_res_channels=8,
                    num_res_layers=1,
                    num_embeddings=16,
                    downsample_parameters=((2, 4, 1, 1),) * 2,
                    upsample_parameters=((2, 4, 1, 1, 0),) * 2,
                    embedding_dim=4,
                ),
                [x],
            ),
        )
        yield (
            f"DiffusionModelUNet/{tag}",
            (
                net(
                    "DiffusionModelUNet",
                    **{**plain, "out_channels": 1},
                    channels=(8, 16),
                    attention_levels=(False, True),
                    num_res_blocks=1,
                    norm_num_groups=4,
                    num_head_channels=8,
                ),
                [x, torch.tensor([3])],
            ),
        )
        yield (
            f"SPADENet/{tag}",
            (
                net("SPADENet", dims, 1, 1, 2, (side,) * dims, channels=[8, 16], z_dim=8, is_vae=False),
                [(1, 2, *(side,) * dims)],
            ),
        )
    yield "Classifier", (net("Classifier", (1, 32, 32), 2, (4, 8), (2, 2)), [(1, 1, 32, 32)])
    yield "Critic", (net("Critic", (1, 32, 32), (4, 8), (2, 2)), [(1, 1, 32, 32)])
    yield "Discriminator", (net("Discriminator", (1, 32, 32), (4, 8), (2, 2)), [(1, 1, 32, 32)])
    yield "Generator", (net("Generator", (8,), (8, 4, 4), (8, 4), (2, 2)), [(1, 8)])
    yield "Regressor", (net("Regressor", (1, 32, 32), (2, 2), (4, 8), (2, 2)), [(1, 1, 32, 32)])
    yield "FullyConnectedNet", (net("FullyConnectedNet", 8, 2, (16, 8)), [(1, 8)])
    yield "VarFullyConnectedNet", (net("VarFullyConnectedNet", 8, 2, 4, (16,), (16,)), [(1, 8)])
    yield "AHNet", (net("AHNet", spatial_dims=3, in_channels=1, out_channels=2, psp_block_num=0), [(1, 1, 64, 64, 32)])
    yield "DAF3D", (net("DAF3D", 1, 2), [(1, 1, 32, 32, 32)])
    yield (
        "DiNTS",
        (
            lambda: net("DiNTS", net("TopologySearch", channel_mul=0.2, num_blocks=2, num_depths=3)(), 1, 2)(),
            [(1, 1, 32, 32, 32)],
        ),
    )
    yield "HoVerNet", (net("HoVerNet", mode="fast", in_channels=3, out_classes=2), [(1, 3, 256, 256)])
    yield "Quicknat", (net("Quicknat", num_classes=2, num_channels=1, num_filters=8), [(1, 1, 64, 64)])
    yield "MILModel", (net("MILModel", 2, pretrained=False), [(1, 4, 3, 64, 64)])
    yield (
        "TorchVisionFCModel",
        (
            net("TorchVisionFCModel", "resnet18", num_classes=2, use_conv=True, pool=None, pretrained=False),
            [(1, 3, 64, 64)],
        ),
    )

    yield "DecoderOnlyTransformer", (net("DecoderOnlyTransformer", 50, 16, 32, 2, 4), lambda: [_ids(1, 16)])


# --- torch_geometric --------------------------------------------------------------------------------------------------


def _edges() -> Tensor:
    return torch.tensor([[0, 1, 1, 2, 2, 3, 3, 0, 4, 5], [1, 0, 2, 1, 3, 2, 0, 3, 5, 4]])


_NODES = (6, 8)
_CONVOLUTIONS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    **{
        name: ((8, 16), {})
        for name in ("GCNConv", "SAGEConv", "GraphConv", "ResGatedGraphConv", "GATConv", "GATv2Conv")
    },
    **{
        name: ((8, 16), {})
        for name in ("TransformerConv", "TAGConv", "ARMAConv", "SGConv", "SSGConv", "MFConv", "LEConv")
    },
    **{
        name: ((8, 16), {})
        for name in ("FeaStConv", "ClusterGCNConv", "GENConv", "FiLMConv", "SuperGATConv", "GeneralConv")
    },
    **{name: ((8, 16), {}) for name in ("HypergraphConv", "MixHopConv")},
    "SSGConv": ((8, 16), {"alpha": 0.1}),
    "ChebConv": ((8, 16), {"K": 3}),
    "GatedGraphConv": ((16, 2), {}),
    "AGNNConv": ((), {}),
    "APPNP": ((2, 0.1), {}),
    "LGConv": ((), {}),
    "SimpleConv": ((), {}),
    "CGConv": ((8,), {}),
    "EGConv": ((8, 16), {"num_heads": 4}),
    "AntiSymmetricConv": ((8,), {}),
}


def _geometric() -> Specs:
    package = "torch_geometric.nn"
    graph = lambda: {"x": _NODES, "edge_index": _edges()}  # noqa: E731
    for name, (args, kwargs) in _CONVOLUTIONS.items():
        edges = "hyperedge_index" if name == "HypergraphConv" else "edge_index"
        yield name, (_of(package, name, *args, **kwargs), lambda edges=edges: {"x": _NODES, edges: _edges()})
    for name in ("GINConv", "EdgeConv"):
        width = 16 if name == "EdgeConv" else 8
        yield name, (partial(_with_mlp, name, width), graph)
    yield "RGCNConv", (_of(package, "RGCNConv", 8, 16, 3), lambda: {**graph(), "edge_type": _ids(10, most=3)})
    yield "RGATConv", (_of(package, "RGATConv", 8, 16, 3), lambda: {**graph(), "edge_type": _ids(10, most=3)})
    yield "FAConv", (_of(package, "FAConv", 8), lambda: {**graph(), "x_0": _NODES})
    yield "GCN2Conv", (_of(package, "GCN2Conv", 8, 0.1), lambda: {**graph(), "x_0": _NODES})
    yield (
        "PNAConv",
        (
            lambda: _of(package, "PNAConv", 8, 16, ["mean", "max"], ["identity"], torch.tensor([0, 2, 4]))(),
            graph,
        ),
    )
    for name in ("GCN", "GraphSAGE", "GIN", "GAT", "EdgeCNN"):
        yield f"{name}/model", (_of(package, name, 8, 16, 2), graph)
    yield "PMLP/model", (_of(package, "PMLP", 8, 16, 4, 2), graph)
    yield "MLP/model", (_of(package, "MLP", [8, 16, 4]), [_NODES])
    yield "GraphUNet/model", (_of(package, "GraphUNet", 8, 16, 4, 2), graph)
    yield (
        "AttentiveFP/model",
        (
            _of(package, "AttentiveFP", 8, 16, 4, 3, 2, 2),
            lambda: {**graph(), "edge_attr": (10, 3), "batch": torch.tensor([0, 0, 0, 0, 1, 1])},
        ),
    )
    yield "LightGCN/model", (_of(package, "LightGCN", 6, 8, 2), lambda: {"edge_index": _edges()})
    yield "LINKX/model", (_of(package, "LINKX", 6, 8, 16, 4, 2), graph)
    atoms = lambda: {"z": _ids(6, most=9) + 1, "pos": (6, 3), "batch": torch.zeros(6, dtype=torch.long)}  # noqa: E731
    yield "SchNet/model", (partial(_bonded, "SchNet"), atoms)


def _with_mlp(name: str, width: int) -> nn.Module:
    """A convolution over a graph with a small network of its own."""
    return _of("torch_geometric.nn", name, nn.Sequential(nn.Linear(width, 16), nn.ReLU(), nn.Linear(16, 4)))()


class _AllPairs(nn.Module):
    """Every atom is bound to every other one."""

    def forward(self, pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        count = pos.shape[0]
        pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
        row, col = torch.tensor(pairs).T
        return torch.stack([row, col]), (pos[row] - pos[col]).norm(dim=-1)


def _bonded(name: str) -> nn.Module:
    package = "torch_geometric.nn"
    return _of(package, name, hidden_channels=16, num_filters=16, num_interactions=2, interaction_graph=_AllPairs())()


# --- open_clip --------------------------------------------------------------------------------------------------------


def _open_clip() -> Specs:
    import open_clip

    for name in open_clip.list_models():
        config = open_clip.get_model_config(name)
        if "hf_model_name" in config["text_cfg"]:
            continue  # asks a registry for the text model
        side = config["vision_cfg"].get("image_size", 224)
        side = side if isinstance(side, int) else side[0]
        words = config["text_cfg"].get("context_length", 77)
        made = partial(_clip, name)
        yield name, (made, partial(_image_and_text, side, words))


def _clip(name: str) -> nn.Module:
    """A published configuration, on the default device, where `create_model` would move it to the CPU."""
    import open_clip

    return open_clip.create_model(name, load_weights=False, pretrained=None, device=torch.get_default_device())


def _image_and_text(side: int, words: int) -> dict[str, Any]:
    return {"image": (1, 3, side, side), "text": _ids(1, words)}


# --- kornia -----------------------------------------------------------------------------------------------------------


def _kornia() -> Specs:
    for name in ("HardNet", "HardNet8", "HyNet", "SOSNet", "TFeat"):
        yield name, (_of("kornia.feature", name, pretrained=False), [(2, 1, 32, 32)])
    yield "KeyNet", (_of("kornia.feature", "KeyNet", pretrained=False), [(1, 1, 64, 64)])
    yield "OriNet", (_of("kornia.feature", "OriNet", pretrained=False), [(2, 1, 32, 32)])
    yield "DISK", (_of("kornia.feature", "DISK"), [(1, 3, 64, 64)])

    yield "XFeatModel", (_of("kornia.feature", "XFeatModel"), [(1, 3, 64, 64)])
    yield "DeFMO", (_of("kornia.feature", "DeFMO", pretrained=False), [(1, 6, 64, 64)])
    yield "SIFTDescriptor", (_of("kornia.feature", "SIFTDescriptor", 32), [(2, 1, 32, 32)])
    yield "MKDDescriptor", (_of("kornia.feature", "MKDDescriptor", 32, whitening=None), [(2, 1, 32, 32)])
    yield "DexiNed", (_of("kornia.models.dexined", "DexiNed", pretrained=False), [(1, 3, 64, 64)])
    yield "RRDBNet", (_of("kornia.models", "RRDBNet", 3, 3, 4, 8, 2, 4), [(1, 3, 32, 32)])
    yield "YuNet", (_of("kornia.models.yunet", "YuNet", "test", pretrained=False), [(1, 3, 64, 64)])
    yield "TinyViT", (_of("kornia.models.tiny_vit", "TinyViT"), [(1, 3, 224, 224)])
    colours = "RgbToGrayscale RgbToHsv RgbToLab RgbToYcbcr RgbToXyz RgbToLuv RgbToHls RgbToBgr".split()  # noqa: SIM905
    for name in colours:
        yield name, (_of("kornia.color", name), [(1, 3, 16, 16)])
    filters = {"GaussianBlur2d": ((5, 5), (1.0, 1.0)), "MedianBlur": ((3, 3),), "Laplacian": (3,), "Sobel": ()}
    filters |= {"BoxBlur": ((3, 3),), "UnsharpMask": ((5, 5), (1.0, 1.0)), "BilateralBlur": ((3, 3), 0.1, (1.0, 1.0))}
    filters |= {"SpatialGradient": (), "MaxBlurPool2D": (3,), "MotionBlur": (5, 35.0, 0.5), "Canny": ()}
    for name, args in filters.items():
        yield name, (_of("kornia.filters", name, *args), [(1, 1, 16, 16)])


# --- speechbrain ------------------------------------------------------------------------------------------------------


def _speechbrain() -> Specs:
    def lobe(module: str, name: str, *args: Any, **kwargs: Any) -> Make:
        return _of(f"speechbrain.lobes.models.{module}", name, *args, **kwargs)

    frames = (1, 40, 24)
    yield (
        "CRDNN",
        (
            lobe("CRDNN", "CRDNN", input_shape=[1, 40, 24], cnn_channels=(4, 8), rnn_neurons=16, dnn_neurons=16),
            [frames],
        ),
    )
    yield (
        "ECAPA_TDNN",
        (
            lobe("ECAPA_TDNN", "ECAPA_TDNN", 24, channels=[16, 16, 16, 16, 48], lin_neurons=16, attention_channels=8),
            [frames],
        ),
    )
    yield (
        "Xvector",
        (
            lobe("Xvector", "Xvector", tdnn_channels=[16, 16, 16, 16, 48], lin_neurons=16, in_channels=24),
            [frames],
        ),
    )
    yield "ResNet", (lobe("ResNet", "ResNet", input_size=24, lin_neurons=16, channels=[8, 8, 16, 16]), [frames])
    yield (
        "ContextNet",
        (
            lobe(
                "ContextNet",
                "ContextNet",
                [1, 40, 24],
                num_blocks=2,
                alpha=0.1,
                strides=[1, 2],
                residuals=[False, True],
            ),
            [frames],
        ),
    )
    yield (
        "ConvolutionFrontEnd",
        (
            lobe(
                "convolution",
                "ConvolutionFrontEnd",
                (1, 40, 24),
                num_blocks=2,
                out_channels=[8, 8],
                kernel_sizes=[3, 3],
                strides=[2, 2],
                residuals=[False, False],
            ),
            [frames],
        ),
    )
    yield "EnhanceResnet", (lobe("EnhanceResnet", "EnhanceResnet"), [(1, 1600)])
    yield "MetricDiscriminator", (lobe("MetricGAN", "MetricDiscriminator"), [(1, 2, 64, 64)])
    yield (
        "EnhancementGenerator",
        (
            lobe("MetricGAN", "EnhancementGenerator"),
            lambda: {"x": (1, 40, 257), "lengths": torch.ones(1)},
        ),
    )
    yield "Cnn14", (lobe("Cnn14", "Cnn14", 64, 16), [(1, 128, 64)])
    yield "VanillaNN", (lobe("VanillaNN", "VanillaNN", input_shape=[1, 40, 24], dnn_neurons=16), [frames])
    yield "MaskNet", (lobe("conv_tasnet", "MaskNet", 16, 8, 16, 3, 2, 2, 2), [(1, 16, 40)])
    yield "Encoder", (lobe("dual_path", "Encoder", 16, 16), [(1, 1600)])
    yield "SBTransformerBlock", (lobe("dual_path", "SBTransformerBlock", 1, 16, 4, 32), [(*frames[:2], 16)])
    yield "SBRNNBlock", (lobe("dual_path", "SBRNNBlock", 16, 8, 1, bidirectional=True), [(1, 40, 16)])
    yield (
        "HifiganGenerator",
        (
            lobe("HifiGAN", "HifiganGenerator", 24, 1, "1", [[1, 3, 5]], [3], [8, 8], 32, [4, 4]),
            [(1, 24, 20)],
        ),
    )
    yield "PeriodDiscriminator", (lobe("HifiGAN", "DiscriminatorP", 3), [(1, 1, 1600)])
    yield "ScaleDiscriminator", (lobe("HifiGAN", "DiscriminatorS"), [(1, 1, 1600)])
    yield (
        "SeganGenerator",
        (lobe("segan_model", "Generator", 31, True, 0.0), [(1, 16384, 1)]),
    )
    yield "NMFDecoderAudio", (lobe("L2I", "NMFDecoderAudio", 16, 64), [(1, 16, 40)])
    yield (
        "TransformerLM",
        (
            lobe("transformer.TransformerLM", "TransformerLM", 50, d_model=32, nhead=4, num_encoder_layers=2, d_ffn=64),
            lambda: [_ids(1, 16)],
        ),
    )
    yield (
        "CNNTransformerSE",
        (
            lobe("transformer.TransformerSE", "CNNTransformerSE", 16, 24, nhead=4, num_layers=2, d_ffn=64),
            [(*frames[:2], 16)],
        ),
    )
    for attention in ("regularMHA", "RelPosMHAXL"):
        for kind in ("transformer", "conformer"):
            yield (
                f"TransformerASR/{kind}/{attention}",
                (
                    lobe(
                        "transformer.TransformerASR",
                        "TransformerASR",
                        tgt_vocab=50,
                        input_size=24,
                        d_model=32,
                        nhead=4,
                        num_encoder_layers=2,
                        num_decoder_layers=1,
                        d_ffn=64,
                        encoder_module=kind,
                        attention_type=attention,
                        normalize_before=True,
                        causal=False,
                    ),
                    lambda: {"src": frames, "tgt": _ids(1, 8)},
                ),
            )

    yield "RNNLM", (lobe("RNNLM", "RNNLM", 50, embedding_dim=16, rnn_neurons=16, dnn_neurons=16), lambda: [_ids(1, 16)])
    yield (
        "DiffWave",
        (
            lobe(
                "DiffWave",
                "DiffWave",
                input_channels=24,
                residual_layers=2,
                residual_channels=8,
                dilation_cycle_length=2,
                total_steps=10,
                unconditional=True,
            ),
            lambda: {"audio": (1, 1, 1600), "diffusion_step": torch.tensor([3])},
        ),
    )


# --- diffusers --------------------------------------------------------------------------------------------------------


def _diffusers() -> Specs:
    def model(name: str, **kwargs: Any) -> Make:
        return _of("diffusers", name, **kwargs)

    step = torch.tensor([3])
    blocks = {"block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8}
    vae = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2, **blocks}
    yield "AutoencoderKL", (model("AutoencoderKL", **vae), [(1, 3, 32, 32)])
    yield "VQModel", (model("VQModel", **vae), [(1, 3, 32, 32)])
    yield "AutoencoderTiny", (model("AutoencoderTiny"), [(1, 3, 32, 32)])
    yield (
        "AsymmetricAutoencoderKL",
        (
            model(
                "AsymmetricAutoencoderKL",
                down_block_types=("DownEncoderBlock2D",) * 2,
                down_block_out_channels=(16, 32),
                up_block_types=("UpDecoderBlock2D",) * 2,
                up_block_out_channels=(16, 32),
                norm_num_groups=8,
            ),
            [(1, 3, 32, 32)],
        ),
    )
    yield (
        "AutoencoderKLTemporalDecoder",
        (
            model(
                "AutoencoderKLTemporalDecoder",
                down_block_types=("DownEncoderBlock2D",) * 2,
                block_out_channels=(32, 32),
            ),
            {"sample": (2, 3, 32, 32), "num_frames": 2},
        ),
    )
    yield (
        "AutoencoderDC",
        (
            model(
                "AutoencoderDC",
                encoder_block_out_channels=(16, 32),
                decoder_block_out_channels=(16, 32),
                encoder_block_types="ResBlock",
                decoder_block_types="ResBlock",
                encoder_layers_per_block=(1, 1),
                decoder_layers_per_block=(1, 1),
                encoder_qkv_multiscales=((), ()),
                decoder_qkv_multiscales=((), ()),
                latent_channels=4,
            ),
            [(1, 3, 32, 32)],
        ),
    )
    yield (
        "AutoencoderOobleck",
        (
            model(
                "AutoencoderOobleck",
                encoder_hidden_size=8,
                downsampling_ratios=[2, 4],
                channel_multiples=[1, 2],
                decoder_channels=8,
                decoder_input_channels=4,
            ),
            [(1, 2, 256)],
        ),
    )
    yield (
        "AutoencoderKLCogVideoX",
        (
            model(
                "AutoencoderKLCogVideoX",
                down_block_types=("CogVideoXDownBlock3D",) * 4,
                up_block_types=("CogVideoXUpBlock3D",) * 4,
                block_out_channels=(8, 8, 8, 8),
                latent_channels=4,
                layers_per_block=1,
                norm_num_groups=4,
            ),
            [(1, 3, 5, 16, 16)],
        ),
    )
    yield (
        "AutoencoderKLWan",
        (
            model(
                "AutoencoderKLWan",
                base_dim=8,
                z_dim=4,
                dim_mult=[1, 1, 1, 1],
                num_res_blocks=1,
                temperal_downsample=[False, True, True],
                latents_mean=[0.0] * 4,
                latents_std=[1.0] * 4,
            ),
            [(1, 3, 5, 16, 16)],
        ),
    )

    yield (
        "AutoencoderKLLTXVideo",
        (
            model(
                "AutoencoderKLLTXVideo",
                block_out_channels=(8, 8, 8, 8),
                decoder_block_out_channels=(8, 8, 8, 8),
                layers_per_block=(1, 1, 1, 1, 1),
                decoder_layers_per_block=(1, 1, 1, 1, 1),
                latent_channels=8,
            ),
            [(1, 3, 9, 32, 32)],
        ),
    )
    unet = {"sample_size": 16, "down_block_types": ("DownBlock2D", "AttnDownBlock2D")}
    unet |= {"up_block_types": ("AttnUpBlock2D", "UpBlock2D"), **blocks}
    yield "UNet2DModel", (model("UNet2DModel", **unet), {"sample": (1, 3, 16, 16), "timestep": step})
    yield (
        "UNet1DModel",
        (
            model("UNet1DModel", block_out_channels=(32, 32, 64), in_channels=2, out_channels=2, extra_in_channels=64),
            {"sample": (1, 2, 64), "timestep": step},
        ),
    )
    cross = {"sample_size": 16, "cross_attention_dim": 16, "attention_head_dim": 4, **blocks}
    text = {"sample": (1, 4, 16, 16), "timestep": step, "encoder_hidden_states": (1, 7, 16)}
    yield (
        "UNet2DConditionModel",
        (
            model(
                "UNet2DConditionModel",
                down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
                **cross,
            ),
            text,
        ),
    )
    yield (
        "UNet3DConditionModel",
        (
            model(
                "UNet3DConditionModel",
                down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
                up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
                **cross,
            ),
            {**text, "sample": (1, 4, 3, 16, 16)},
        ),
    )

    yield (
        "UNetSpatioTemporalConditionModel",
        (
            model(
                "UNetSpatioTemporalConditionModel",
                sample_size=16,
                block_out_channels=(32, 64),
                layers_per_block=1,
                down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
                cross_attention_dim=16,
                up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
                num_attention_heads=(2, 2),
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=24,
            ),
            {
                "sample": (1, 3, 8, 16, 16),
                "timestep": step,
                "encoder_hidden_states": (1, 1, 16),
                "added_time_ids": (1, 3),
            },
        ),
    )
    yield (
        "ControlNetModel",
        (
            model(
                "ControlNetModel",
                down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                cross_attention_dim=16,
                attention_head_dim=4,
                conditioning_embedding_out_channels=(8, 16),
                **blocks,
            ),
            {**text, "controlnet_cond": (1, 3, 32, 32)},
        ),
    )
    yield (
        "DiTTransformer2DModel",
        (
            model("DiTTransformer2DModel", num_attention_heads=2, attention_head_dim=8, num_layers=2, sample_size=8),
            {"hidden_states": (1, 4, 8, 8), "timestep": step, "class_labels": step},
        ),
    )
    yield (
        "PixArtTransformer2DModel",
        (
            model(
                "PixArtTransformer2DModel",
                num_attention_heads=2,
                attention_head_dim=8,
                num_layers=2,
                sample_size=8,
                cross_attention_dim=16,
                caption_channels=16,
                out_channels=8,
                norm_type="ada_norm_single",
            ),
            {
                "hidden_states": (1, 4, 8, 8),
                "encoder_hidden_states": (1, 7, 16),
                "timestep": step,
                "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
            },
        ),
    )
    yield (
        "SD3Transformer2DModel",
        (
            model(
                "SD3Transformer2DModel",
                sample_size=8,
                in_channels=4,
                num_layers=2,
                attention_head_dim=8,
                num_attention_heads=2,
                caption_projection_dim=16,
                joint_attention_dim=16,
                pooled_projection_dim=16,
                out_channels=4,
            ),
            {
                "hidden_states": (1, 4, 8, 8),
                "encoder_hidden_states": (1, 7, 16),
                "pooled_projections": (1, 16),
                "timestep": step,
            },
        ),
    )
    yield (
        "FluxTransformer2DModel",
        (
            model(
                "FluxTransformer2DModel",
                in_channels=4,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=16,
                pooled_projection_dim=16,
                axes_dims_rope=[4, 4, 8],
            ),
            {
                "hidden_states": (1, 16, 4),
                "encoder_hidden_states": (1, 7, 16),
                "pooled_projections": (1, 16),
                "timestep": torch.tensor([1.0]),
                "img_ids": (16, 3),
                "txt_ids": (7, 3),
            },
        ),
    )
    yield (
        "SanaTransformer2DModel",
        (
            model(
                "SanaTransformer2DModel",
                sample_size=8,
                in_channels=4,
                out_channels=4,
                num_layers=1,
                attention_head_dim=8,
                num_attention_heads=2,
                num_cross_attention_heads=2,
                cross_attention_head_dim=8,
                cross_attention_dim=16,
                caption_channels=16,
                patch_size=1,
            ),
            {"hidden_states": (1, 4, 8, 8), "encoder_hidden_states": (1, 7, 16), "timestep": step},
        ),
    )
    yield (
        "WanTransformer3DModel",
        (
            model(
                "WanTransformer3DModel",
                num_attention_heads=2,
                attention_head_dim=12,
                in_channels=4,
                out_channels=4,
                text_dim=16,
                freq_dim=16,
                ffn_dim=32,
                num_layers=2,
                rope_max_seq_len=32,
            ),
            {"hidden_states": (1, 4, 2, 8, 8), "timestep": step, "encoder_hidden_states": (1, 7, 16)},
        ),
    )
    yield (
        "CogVideoXTransformer3DModel",
        (
            model(
                "CogVideoXTransformer3DModel",
                num_attention_heads=2,
                attention_head_dim=8,
                in_channels=4,
                out_channels=4,
                time_embed_dim=8,
                text_embed_dim=16,
                num_layers=2,
                sample_width=8,
                sample_height=8,
                sample_frames=9,
                max_text_seq_length=7,
            ),
            {"hidden_states": (1, 3, 4, 8, 8), "encoder_hidden_states": (1, 7, 16), "timestep": step},
        ),
    )
    yield (
        "LTXVideoTransformer3DModel",
        (
            model(
                "LTXVideoTransformer3DModel",
                in_channels=4,
                out_channels=4,
                num_attention_heads=2,
                attention_head_dim=8,
                cross_attention_dim=16,
                num_layers=2,
                caption_channels=16,
            ),
            {
                "hidden_states": (1, 32, 4),
                "encoder_hidden_states": (1, 7, 16),
                "timestep": step,
                "encoder_attention_mask": (1, 7),
                "num_frames": 2,
                "height": 4,
                "width": 4,
            },
        ),
    )
    yield (
        "AuraFlowTransformer2DModel",
        (
            model(
                "AuraFlowTransformer2DModel",
                sample_size=8,
                num_mmdit_layers=1,
                num_single_dit_layers=1,
                in_channels=4,
                attention_head_dim=8,
                num_attention_heads=2,
                joint_attention_dim=16,
                caption_projection_dim=16,
                pos_embed_max_size=64,
                out_channels=4,
            ),
            {"hidden_states": (1, 4, 8, 8), "encoder_hidden_states": (1, 7, 16), "timestep": step},
        ),
    )
    yield (
        "PriorTransformer",
        (
            model(
                "PriorTransformer",
                num_attention_heads=2,
                attention_head_dim=8,
                num_layers=2,
                embedding_dim=16,
                num_embeddings=7,
            ),
            {
                "hidden_states": (1, 16),
                "timestep": step,
                "proj_embedding": (1, 16),
                "encoder_hidden_states": (1, 7, 16),
            },
        ),
    )
    yield (
        "UVit2DModel",
        (
            model(
                "UVit2DModel",
                hidden_size=32,
                cond_embed_dim=16,
                encoder_hidden_size=16,
                num_hidden_layers=1,
                micro_cond_encode_dim=8,
                micro_cond_embed_dim=40,
                num_attention_heads=2,
                intermediate_size=32,
                block_out_channels=32,
                block_num_heads=2,
                num_res_blocks=1,
                in_channels=32,
                vocab_size=32,
            ),
            lambda: {
                "input_ids": _ids(1, 8, 8, most=30),
                "encoder_hidden_states": (1, 7, 16),
                "pooled_text_emb": (1, 16),
                "micro_conds": (1, 5),
            },
        ),
    )
    yield (
        "StableAudioDiTModel",
        (
            model(
                "StableAudioDiTModel",
                sample_size=32,
                in_channels=4,
                num_layers=2,
                attention_head_dim=8,
                num_attention_heads=2,
                num_key_value_attention_heads=2,
                out_channels=4,
                cross_attention_dim=16,
                time_proj_dim=16,
                global_states_input_dim=16,
                cross_attention_input_dim=16,
            ),
            {
                "hidden_states": (1, 4, 32),
                "timestep": torch.tensor([1.0]),
                "encoder_hidden_states": (1, 7, 16),
                "global_hidden_states": (1, 1, 16),
            },
        ),
    )
    yield (
        "StableCascadeUNet",
        (
            model(
                "StableCascadeUNet",
                in_channels=4,
                out_channels=4,
                timestep_ratio_embedding_dim=8,
                conditioning_dim=16,
                block_out_channels=(16, 16),
                num_attention_heads=(0, 2),
                down_num_layers_per_block=(1, 1),
                up_num_layers_per_block=(1, 1),
                down_blocks_repeat_mappers=(1, 1),
                up_blocks_repeat_mappers=(1, 1),
                block_types_per_layer=(
                    ("SDCascadeResBlock", "SDCascadeTimestepBlock"),
                    ("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"),
                ),
                clip_text_pooled_in_channels=16,
                clip_seq=2,
                self_attn=True,
                dropout=(0.1, 0.1),
                switch_level=(False,),
            ),
            {"sample": (1, 4, 16, 16), "timestep_ratio": (1,), "clip_text_pooled": (1, 1, 16)},
        ),
    )


#: Of each package: the module that it is, and its models.
PACKAGES: dict[str, tuple[str, Callable[[], Specs]]] = {
    "diffusers": ("diffusers", _diffusers),
    "kornia": ("kornia", _kornia),
    "monai": ("monai", _monai),
    "open_clip": ("open_clip", _open_clip),
    "segmentation_models_pytorch": ("segmentation_models_pytorch", _smp),
    "speechbrain": ("speechbrain", _speechbrain),
    "torch_geometric": ("torch_geometric", _geometric),
}
