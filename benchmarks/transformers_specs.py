"""Every model type of transformers with a small configuration; `transformers_inputs` gives the inputs.

A configuration is the type's own default with fewer layers and experts, narrower feed-forward parts and no more words
than its special tokens need: heads, windows, strides and routers stay as published. A default that is no model
(settings without a value, or such as do not fit each other) gets what the type's published models have, or a number
that fits. Where a model is not built or not run with so few layers, more of them are left, and all at last. `entries`
lists base models and one model with a head of each type; `Entry.builds` makes one, `Entry.inputs` proposes keyword
arguments of its forward pass. A type for which no natural input is known raises `NoInputError`, and is listed as left
out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn
from transformers_inputs import proposals  # beside this file

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

#: The mappings that are searched for a model with a head, in this order.
HEADS = (
    *("CAUSAL_LM", "SEQ_TO_SEQ_CAUSAL_LM", "MASKED_LM", "IMAGE_TEXT_TO_TEXT", "SPEECH_SEQ_2_SEQ", "CTC"),
    *("OBJECT_DETECTION", "IMAGE_CLASSIFICATION", "SEMANTIC_SEGMENTATION", "UNIVERSAL_SEGMENTATION"),
    *("DEPTH_ESTIMATION", "AUDIO_CLASSIFICATION", "SEQUENCE_CLASSIFICATION", "VIDEO_CLASSIFICATION"),
    *("IMAGE_TO_IMAGE", "ZERO_SHOT_OBJECT_DETECTION", "MULTIPLE_CHOICE", "TIME_SERIES_PREDICTION"),
)

#: Names of numbers of layers in configurations, and how many are left.
_LAYERS = (
    *("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers"),
    *("num_encoder_layers", "num_decoder_layers", "encoder_num_layers", "decoder_num_layers"),
    *("num_decode_layers", "depth"),
)
_KEPT = (2, 8, 1000)  #: the fewest, more, all
#: Names of widths inside a feed-forward part, and of numbers of experts.
_INNER = ("intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size", "ffn_dim", "d_ff", "n_inner")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts")


@dataclass(frozen=True)
class Entry:
    """One class of transformers for one model type; ``role`` is base or head."""

    kind: str
    role: str
    architecture: str

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.architecture}"

    def config(self, kept: int = _KEPT[0], filled: bool = False) -> Any:
        """The default configuration with few layers; ``filled``: with numbers where it has none."""
        import transformers

        made = transformers.models.auto.configuration_auto.CONFIG_MAPPING[self.kind](**SETTINGS.get(self.kind, {}))
        asked = getattr(transformers, self.architecture).config_class
        if filled and asked is not None and not isinstance(made, asked):
            inside = [value for value in vars(made).values() if isinstance(value, asked)]
            made = inside[0] if inside else made
        made = small(made, kept)
        return fill(made) if filled else made

    def build(self, kept: int = _KEPT[0], filled: bool = False) -> nn.Module:
        """The model, without weights of anybody's."""
        import transformers

        made: nn.Module = getattr(transformers, self.architecture)(self.config(kept, filled)).eval()
        return made

    def builds(self) -> Iterator[Callable[[], nn.Module]]:
        """Ways to make it, the smallest first."""
        yield self.build
        for kept in _KEPT:
            yield partial(self.build, kept, True)

    def inputs(self, model: nn.Module) -> Iterator[dict[str, Any]]:
        """Keyword arguments for its forward pass, most natural first."""
        yield from proposals(model, model.config)


def entries() -> Iterator[Entry]:
    """Base model and one head of every model type that transformers maps to classes."""
    from transformers.models.auto import modeling_auto

    base = modeling_auto.MODEL_MAPPING_NAMES
    heads = [getattr(modeling_auto, f"MODEL_FOR_{name}_MAPPING_NAMES", {}) for name in HEADS]
    kinds = dict.fromkeys([*base, *(kind for mapping in heads for kind in mapping)])
    for kind in kinds:
        if kind in base:
            yield from (Entry(kind, "base", name) for name in _names(base[kind])[:1])
        found = next((mapping[kind] for mapping in heads if kind in mapping), None)
        if found is not None and found != base.get(kind):
            yield from (Entry(kind, "head", name) for name in _names(found)[:1])


def _names(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def small(config: Any, kept: int, seen: frozenset[int] = frozenset()) -> Any:
    """The configuration with no more layers of a kind than are ``kept``, in the configurations inside it too."""
    from transformers import PretrainedConfig

    values = vars(config)
    types = values.get("layer_types") or values.get("layers_block_type")
    for name in _LAYERS:
        if isinstance(values.get(name), int):
            _put(config, name, min(values[name], _layers_for(types, kept)))
    for name in _INNER:
        if isinstance(values.get(name), int):
            _put(config, name, min(values[name], 256))
    for name in _EXPERTS:
        if isinstance(values.get(name), int):
            _put(config, name, min(values[name], _experts_for(values)))
    if isinstance(values.get("vocab_size"), int):
        _put(config, "vocab_size", min(values["vocab_size"], _words_for(values)))
    for name, value in list(vars(config).items()):
        if isinstance(value, PretrainedConfig) and id(value) not in seen:
            small(value, kept, seen | {id(value)})
        elif name.endswith(("layer_types", "layers_block_type", "mlp_layer_types")) and isinstance(value, list):
            _put(config, name, value[: _layers_for(types, kept)])
    return config


def _layers_for(types: Any, kept: int) -> int:
    """As many of the first layers as show every kind, no fewer than are ``kept`` and eight at most."""
    if not isinstance(types, list):
        return kept
    kinds = set(types)
    for count in range(1, len(types) + 1):
        if set(types[:count]) == kinds:
            return max(min(count, 8), kept)
    return kept


def _experts_for(values: Mapping[str, Any]) -> int:
    """Twice as many experts as a token is sent to, and four in each group of experts."""
    names = ("num_experts_per_tok", "num_experts_per_token", "top_k", "moe_topk", "moe_k", "num_selected_experts")
    chosen = [values.get(name) for name in names]
    most = max([1, *(number for number in chosen if isinstance(number, int))])
    return max(2 * most, 4 * (values.get("n_group") or 1), 4)


def _words_for(values: Mapping[str, Any]) -> int:
    """A vocabulary that has the special tokens."""
    special = [value for name, value in values.items() if name.endswith(("_id", "_index", "_ids"))]
    flat = [number for value in special for number in (value if isinstance(value, list | tuple) else [value])]
    return max([1024, *(number + 2 for number in flat if isinstance(number, int))])


def _put(config: Any, name: str, value: Any) -> None:
    try:
        setattr(config, name, value)
    except (AttributeError, NotImplementedError, TypeError):  # a number that follows from others
        return


# --- defaults that are no models --------------------------------------------------------------------------------------

#: Settings that some types have no value for: any number serves.
_ANY: dict[str, Any] = {
    "vocab_size": 1024,
    "pad_token_id": 1,
    "mask_token_id": 32,
    "num_experts": 8,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "top_k_experts": 2,
    "n_group": 1,
    "topk_group": 1,
    "sliding_window": 64,
    "attn_layer_indices": [1],
}


def fill(config: Any) -> Any:
    """The configuration with numbers where it has none, and numbers of heads that divide its width."""
    from transformers import PretrainedConfig

    for name, value in _ANY.items():
        if name in vars(config) and getattr(config, name) is None:
            _put(config, name, value)
    width, heads = (getattr(config, name, None) for name in ("hidden_size", "num_attention_heads"))
    if isinstance(width, int) and isinstance(heads, int) and heads:
        if vars(config).get("head_dim", 0) is None:
            _put(config, "head_dim", width // heads)
        elif not vars(config).get("head_dim") and width % heads:
            _put(config, "num_attention_heads", next(count for count in range(heads, 0, -1) if width % count == 0))
        if vars(config).get("num_key_value_heads", 0) is None:
            _put(config, "num_key_value_heads", config.num_attention_heads)
    for value in list(vars(config).values()):
        if isinstance(value, PretrainedConfig):
            fill(value)
    return config


_GLM = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5, "mrope_section": [8, 12, 12]}
_GLM_MOE = {"head_dim": 128, "rope_parameters": _GLM}
_COMPASS = {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 50000.0}}}
_OCR2 = {"num_experts_per_tok": 6, "n_group": 1, "topk_group": 1, "mlp_layer_types": ["dense", *["sparse"] * 11]}
_HYBRID = {"layer_types": ["mamba", "attention"] * 16}
_HUNYUAN = {
    "head_dim": 128,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [16, 16, 16, 16]},
}
_EMU3_WORDS = {"<image>": 9, "<|extra_200|>": 8} | {
    f"<|visual token {number:06d}|>": 10 + number for number in range(64)
}
_PERCEPTION = {
    "model_type": "timm_wrapper",
    "architecture": "vit_base_patch16_224",
    "do_pooling": False,
    "model_args": {"embed_dim": 768},
}
_SAPIENS = {
    "upsample_out_channels": [64, 64],
    "upsample_kernel_sizes": [4, 4],
    "conv_out_channels": [64],
    "conv_kernel_sizes": [1],
}
_QWEN4 = {
    "indexer_n_heads": 4,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 256,
    "indexer_budget": 64,
    "indexer_compress_ratio": 4,
}

#: What published models of a type have where its default is no model; shorter clips where torch takes minutes for one.
SETTINGS: dict[str, dict[str, Any]] = {
    "autoformer": {"prediction_length": 24},
    "blip-2": {"image_token_index": 999},
    "blt": {"encoder_hash_byte_group_vocab": 1000},
    "chameleon": {"vocabulary_map": {"<image>": 9} | {f"IMGIMGBS{chr(65 + i)}Z": 10 + i for i in range(16)}},
    "cohere_compass": {"text_config": _COMPASS},
    "cohere_compass_text": _COMPASS,
    "dbrx": {"attn_config": {"rope_theta": 500000.0, "clip_qkv": 8, "kv_n_heads": 8}},
    "deepseek_ocr2": {"text_config": _OCR2},
    "diffusion_gemma": {"text_config": {"num_experts": 8, "top_k_experts": 2, "moe_intermediate_size": 128}},
    "emu3": {"vocabulary_map": _EMU3_WORDS},
    "glm46v": {"text_config": {"rope_parameters": _GLM}},
    "glm4v": {"text_config": {"rope_parameters": _GLM}},
    "glm4v_text": {"rope_parameters": _GLM},
    "glm4v_moe": {"text_config": _GLM_MOE},
    "glm4v_moe_text": _GLM_MOE,
    "glm_image": {"text_config": {"rope_parameters": _GLM}},
    "glm_image_text": {"rope_parameters": _GLM},
    "glmga": {"text_config": {"rope_parameters": _GLM}},
    "granite4_vision": {
        "deepstack_layer_map": [[-2, 1]],
        "downsample_rate": "1/2",
        "image_grid_pinpoints": [[336, 336]],
    },
    "granitemoehybrid": _HYBRID,
    "informer": {"prediction_length": 24},
    "instructblip": {"image_token_index": 999},
    "instructblipvideo": {"video_token_index": 999},
    "hunyuan_vl": {"text_config": _HUNYUAN},
    "hunyuan_vl_text": _HUNYUAN,
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 16},
    "lw_detr": {"projector_scale_factors": [1.0]},
    "moonshine_streaming": {"num_key_value_heads": 8},
    "perception_lm": {"vision_config": _PERCEPTION},
    "pp_ocrv5_server_det": {"scale_factor_list": [1, 2, 4, 8], "kernel_list": [3, 2, 2]},
    "pp_ocrv6_medium_det": {"scale_factor_list": [1, 2, 4, 8], "kernel_list": [3, 2, 2]},
    "qwen4_exp": {"text_config": _QWEN4},
    "qwen4_exp_text": _QWEN4,
    "reformer": {"is_decoder": True},
    "sapiens2": {"head_config": _SAPIENS},
    "t5gemma2_encoder": {"text_config": {"dropout_rate": 0.0}},
    "time_series_transformer": {"prediction_length": 24},
    "timm_backbone": {"backbone": "resnet18"},
    "vjepa2": {"frames_per_clip": 8, "crop_size": 64},
    "wav2vec2-bert": {"vocab_size": 32},
    "wav2vec2-conformer": {"vocab_size": 32},
    "xlstm": {"num_hidden_layers": 2, "num_blocks": 2},
}
