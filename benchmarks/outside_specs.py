"""The models that `outside_models.py` examines: their constructors, inputs and small configurations.

Each is also a MODEL of the command line, from the repository's root, as `Model.spec` writes it:
``benchmarks/outside_specs.py:hf(architecture='BertModel')``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from importlib import import_module
from runpy import run_path
from typing import Any

from torch import nn

HERE = "benchmarks/outside_specs.py"

os.environ.update(HF_HUB_OFFLINE="1", YOLO_OFFLINE="1", YOLO_VERBOSE="false", TRANSFORMERS_VERBOSITY="error")


# --- constructors -----------------------------------------------------------------------------------------------------


def smp(architecture: str, encoder: str) -> nn.Module:
    """A segmentation model of segmentation_models_pytorch."""
    import segmentation_models_pytorch

    return getattr(segmentation_models_pytorch, architecture)(encoder, encoder_weights=None).eval()


def yolo(config: str) -> nn.Module:
    """A detector or segmenter of ultralytics by the YAML file that ships with it."""
    from ultralytics.nn import tasks

    kind = tasks.SegmentationModel if "seg" in config else tasks.DetectionModel
    return kind(config, verbose=False).eval()


def hf(architecture: str, **config: Any) -> nn.Module:
    """A model of transformers from its configuration."""
    import transformers

    model = getattr(transformers, architecture)
    return model(model.config_class(**config)).eval()


def diffusion(**config: Any) -> nn.Module:
    """The denoising U-Net of diffusers."""
    import diffusers

    return diffusers.UNet2DConditionModel(**config).eval()


# --- the models -------------------------------------------------------------------------------------------------------


Shape = tuple[int, ...]


@dataclass(frozen=True)
class Model:
    """A model, its inputs with their batch, and what makes it small enough to be checked in every number."""

    name: str
    package: str
    make: str
    options: dict[str, Any]
    inputs: dict[str, Shape] | Shape
    less: dict[str, Any] = field(default_factory=dict)
    small: dict[str, Shape] | Shape | None = None
    published: int | None = None  #: parameters that the authors or the package publish

    def spec(self, *, small: bool = False) -> str:
        """The name by which `rfcalc` takes it, from the repository's root."""
        options = {**self.options, **(self.less if small else {})}
        where = self.make if ":" in self.make else f"{HERE}:{self.make}"
        return f"{where}({', '.join(f'{key}={value!r}' for key, value in options.items())})"

    def build(self) -> nn.Module:
        """The module itself, without rfcalc."""
        where, _, name = self.make.rpartition(":")
        home = run_path(where) if where.endswith(".py") else vars(import_module(where)) if where else globals()
        made: nn.Module = home[name](**self.options)
        return made.eval()


NETS = "monai.networks.nets"
SMALL_BERT = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4}
SMALL_LLM = {**SMALL_BERT, "vocab_size": 500, "num_key_value_heads": 2}
SMALL_WHISPER = {
    "max_source_positions": 50,
    "num_mel_bins": 20,
    "d_model": 64,
    "vocab_size": 500,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
TOKENS = {"input_ids": (1, 128)}
FEW = {"input_ids": (1, 24)}


def _smp(architecture: str, encoder: str, small: str) -> Model:
    name, options = f"{architecture} {encoder}", {"architecture": architecture, "encoder": encoder}
    return Model(
        name, "segmentation-models-pytorch", "smp", options, (1, 3, 256, 256), {"encoder": small}, (1, 3, 64, 96)
    )


def _yolo(config: str, published: int | None = None) -> Model:
    name = config.removesuffix(".yaml")
    return Model(name, "ultralytics", "yolo", {"config": config}, (1, 3, 640, 640), {}, (1, 3, 64, 96), published)


def _monai(name: str, options: dict[str, Any], inputs: Shape, less: dict[str, Any], small: Shape) -> Model:
    return Model(f"{name} 3-D", "monai", f"{NETS}:{name}", options, inputs, less, small)


def _hf(name: str, options: dict[str, Any], inputs: Any, less: Any, small: Any, published: int | None = None) -> Model:
    return Model(name, "transformers", "hf", {"architecture": name, **options}, inputs, less, small, published)


VOLUME = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2}
MODELS = (
    _smp("Unet", "resnet34", "resnet18"),
    _smp("Unet", "efficientnet-b0", "efficientnet-b0"),
    _smp("UnetPlusPlus", "resnet34", "resnet18"),
    _smp("FPN", "resnet34", "resnet18"),
    _smp("DeepLabV3Plus", "resnet50", "resnet18"),
    _smp("DeepLabV3Plus", "efficientnet-b0", "efficientnet-b0"),
    _smp("MAnet", "resnet34", "resnet18"),
    _smp("PSPNet", "resnet34", "resnet18"),
    _monai(
        "UNet",
        {**VOLUME, "channels": (16, 32, 64, 128, 256), "strides": (2, 2, 2, 2), "num_res_units": 2},
        (1, 1, 96, 96, 96),
        {"channels": (8, 16, 32), "strides": (2, 2), "norm": "BATCH"},
        (1, 1, 24, 24, 24),
    ),
    _monai(
        "DynUNet",
        {**VOLUME, "kernel_size": (3, 3, 3, 3), "strides": (1, 2, 2, 2), "upsample_kernel_size": (2, 2, 2)},
        (1, 1, 64, 64, 64),
        {"kernel_size": (3, 3, 3), "strides": (1, 2, 2), "upsample_kernel_size": (2, 2), "filters": (8, 16, 32)},
        (1, 1, 24, 24, 24),
    ),
    _monai(
        "SegResNet",
        {"spatial_dims": 3, "in_channels": 4, "out_channels": 3, "init_filters": 16},
        (1, 4, 64, 64, 64),
        {"init_filters": 8},
        (1, 4, 24, 24, 24),
    ),
    _monai(
        "UNETR",
        {"in_channels": 1, "out_channels": 4, "img_size": (96, 96, 96)},
        (1, 1, 96, 96, 96),
        {"img_size": (32, 32, 32), "hidden_size": 48, "mlp_dim": 96, "num_heads": 4, "feature_size": 4},
        (1, 1, 32, 32, 32),
    ),
    _monai(
        "SwinUNETR",
        {"in_channels": 1, "out_channels": 4, "feature_size": 24},
        (1, 1, 96, 96, 96),
        {"feature_size": 12, "window_size": 3, "depths": (1, 1, 1, 1)},
        (1, 1, 64, 32, 32),
    ),
    _monai("DenseNet121", VOLUME, (1, 1, 96, 96, 96), {"init_features": 16, "growth_rate": 4}, (1, 1, 32, 32, 32)),
    _monai("VNet", {}, (1, 1, 64, 64, 64), {}, (1, 1, 32, 32, 32)),
    _monai(
        "AttentionUnet",
        {**VOLUME, "channels": (16, 32, 64), "strides": (2, 2)},
        (1, 1, 64, 64, 64),
        {"channels": (8, 16, 32)},
        (1, 1, 24, 24, 24),
    ),
    _yolo("yolov8n.yaml", 3_157_200),
    _yolo("yolo11n.yaml", 2_624_080),
    _yolo("yolo11n-seg.yaml"),
    _yolo("yolo12n.yaml"),
    _hf("BertModel", {}, TOKENS, SMALL_BERT, FEW, 109_482_240),
    _hf("RobertaModel", {}, TOKENS, SMALL_BERT, FEW),
    _hf("DistilBertModel", {}, TOKENS, {"n_layers": 2, "dim": 64, "hidden_dim": 96, "n_heads": 4}, FEW, 66_362_880),
    _hf(
        "ViTForImageClassification",
        {"num_labels": 1000},
        (1, 3, 224, 224),
        {**SMALL_BERT, "image_size": 64},
        (1, 3, 64, 64),
        86_567_656,
    ),
    _hf(
        "ConvNextForImageClassification",
        {"num_labels": 1000},
        (1, 3, 224, 224),
        {"hidden_sizes": (16, 32, 48, 64), "depths": (2, 2, 2, 2)},
        (1, 3, 96, 96),
        28_589_128,
    ),
    _hf(
        "SwinForImageClassification",
        {"num_labels": 1000},
        (1, 3, 224, 224),
        {"depths": (2, 2), "num_heads": (2, 4), "embed_dim": 16, "image_size": 112},
        (1, 3, 112, 112),
        28_288_354,
    ),
    _hf("SegformerForSemanticSegmentation", {"num_labels": 150}, (1, 3, 512, 512), {}, (1, 3, 96, 96)),
    _hf(
        "Dinov2Model",
        {},
        (1, 3, 224, 224),
        {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4},
        (1, 3, 70, 98),
    ),
    _hf(
        "DetrForObjectDetection",
        {},
        (1, 3, 800, 800),
        {"encoder_layers": 2, "decoder_layers": 2, "num_queries": 10},
        (1, 3, 64, 96),
    ),
    _hf(
        "Mask2FormerForUniversalSegmentation",
        {},
        (1, 3, 384, 384),
        {
            **dict.fromkeys(("feature_size", "mask_feature_size", "hidden_dim"), 64),
            **dict.fromkeys(("encoder_feedforward_dim", "dim_feedforward"), 64),
            "encoder_layers": 2,
            "decoder_layers": 3,
            "num_queries": 10,
            "num_attention_heads": 4,
        },
        (1, 3, 64, 64),
    ),
    _hf(
        "GPT2LMHeadModel",
        {},
        TOKENS,
        {"n_layer": 2, "n_embd": 64, "n_head": 4, "vocab_size": 500, "bos_token_id": 0, "eos_token_id": 0},
        FEW,
        124_439_808,
    ),
    _hf(
        "LlamaForCausalLM",
        {
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "num_hidden_layers": 22,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
        },
        TOKENS,
        SMALL_LLM,
        FEW,
        1_100_048_384,
    ),
    _hf(
        "MistralForCausalLM",
        {"num_hidden_layers": 4, "sliding_window": 32},
        TOKENS,
        {**SMALL_LLM, "sliding_window": 5},
        FEW,
    ),
    _hf(
        "MambaForCausalLM",
        {},
        {"input_ids": (1, 32)},
        {"num_hidden_layers": 2, "hidden_size": 32, "vocab_size": 500},
        FEW,
    ),
    _hf(
        "T5ForConditionalGeneration",
        {},
        {"input_ids": (1, 128), "decoder_input_ids": (1, 32)},
        {"d_model": 64, "d_kv": 16, "d_ff": 96, "num_layers": 2, "num_heads": 4, "vocab_size": 500},
        {"input_ids": (1, 24), "decoder_input_ids": (1, 16)},
        60_506_624,
    ),
    _hf(
        "WhisperForConditionalGeneration",
        {},
        {"input_features": (1, 80, 3000), "decoder_input_ids": (1, 16)},
        {
            **SMALL_WHISPER,
            **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 96),
            **dict.fromkeys(("encoder_layers", "decoder_layers"), 2),
            **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
        },
        {"input_features": (1, 20, 100), "decoder_input_ids": (1, 16)},
        37_760_640,
    ),
    _hf("Wav2Vec2Model", {}, (1, 16000), SMALL_BERT, (1, 4000), 94_371_712),
    _hf(
        "CLIPModel",
        {},
        {"input_ids": (1, 77), "pixel_values": (1, 3, 224, 224)},
        {"text_config": SMALL_BERT, "vision_config": {**SMALL_BERT, "image_size": 64}},
        {"input_ids": (1, 24), "pixel_values": (1, 3, 64, 64)},
        151_277_313,
    ),
    Model(
        "CLIP ViT-B-32",
        "open_clip_torch",
        "open_clip:CLIP",
        {
            "embed_dim": 512,
            "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32},
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
        },
        {"image": (1, 3, 224, 224), "text": (1, 77)},
        {
            "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16, "head_width": 16},
            "text_cfg": {"context_length": 24, "vocab_size": 500, "width": 64, "heads": 4, "layers": 2},
        },
        {"image": (1, 3, 64, 64), "text": (1, 24)},
        151_277_313,
    ),
    Model(
        "UNet of Stable Diffusion 1",
        "diffusers",
        "diffusion",
        {"sample_size": 64, "cross_attention_dim": 768},
        {"sample": (1, 4, 64, 64), "timestep": (1,), "encoder_hidden_states": (1, 77, 768)},
        {"block_out_channels": (32, 32, 64, 64), "attention_head_dim": 4, "cross_attention_dim": 32},
        {"sample": (1, 4, 16, 16), "timestep": (1,), "encoder_hidden_states": (1, 7, 32)},
        859_520_964,
    ),
    Model(
        "WaveNet",
        "rfcalc",
        "examples/wavenet.py:WaveNet",
        {"cycles": 3},
        (1, 1, 16000),
        {"cycles": 2, "depth": 3, "channels": 8},
        (1, 1, 40),
    ),
    replace(
        _hf(
            "LlamaForCausalLM",
            {
                "hidden_size": 8192,
                "intermediate_size": 28672,
                "num_hidden_layers": 80,
                "num_attention_heads": 64,
                "num_key_value_heads": 8,
            },
            {"input_ids": (1, 2048)},
            SMALL_LLM,
            FEW,
            68_976_648_192,
        ),
        name="LlamaForCausalLM 70B",
    ),
    replace(
        _hf(
            "MixtralForCausalLM",
            {},
            {"input_ids": (1, 2048)},
            {**SMALL_LLM, "num_local_experts": 4},
            FEW,
            46_702_792_704,
        ),
        name="MixtralForCausalLM 8x7B",
    ),
)
