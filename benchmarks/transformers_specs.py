"""Every model type of transformers with a small configuration and inputs as its tokenizer or processor gives them.

A configuration is the type's own default with fewer layers and experts, narrower feed-forward parts and no more words
than its special tokens need: heads, windows, strides and routers stay as published. `entries` lists base models and one
model with a head of each type; `Entry.build` makes one, `Entry.inputs` proposes keyword arguments of its forward pass,
most natural first: token ids with an attention mask, pixels, spectra or samples, by what its signature asks for. A type
for which no natural input is known raises `NoInputError`, and is listed as left out.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from examining import NoInputError  # beside this file
from torch import nn

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

#: The mappings that are searched for a model with a head, in this order.
HEADS = (
    *("CAUSAL_LM", "SEQ_TO_SEQ_CAUSAL_LM", "MASKED_LM", "IMAGE_TEXT_TO_TEXT", "SPEECH_SEQ_2_SEQ", "CTC"),
    *("OBJECT_DETECTION", "IMAGE_CLASSIFICATION", "SEMANTIC_SEGMENTATION", "UNIVERSAL_SEGMENTATION"),
    *("DEPTH_ESTIMATION", "AUDIO_CLASSIFICATION", "SEQUENCE_CLASSIFICATION", "VIDEO_CLASSIFICATION"),
    *("IMAGE_TO_IMAGE", "ZERO_SHOT_OBJECT_DETECTION", "MULTIPLE_CHOICE", "TIME_SERIES_PREDICTION"),
)

TOKENS = 16  #: of a text; long enough for a padding mask, short enough for every model
BATCH = 1

#: Names of numbers of layers in configurations, and how many are left.
_LAYERS = (
    *("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers"),
    *("num_encoder_layers", "num_decoder_layers", "encoder_num_layers", "decoder_num_layers"),
    *("num_decode_layers", "depth"),
)
_KEPT = 2
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

    def config(self) -> Any:
        """The default configuration with few layers."""
        import transformers

        return small(transformers.models.auto.configuration_auto.CONFIG_MAPPING[self.kind]())

    def build(self) -> nn.Module:
        """The model, without weights of anybody's."""
        import transformers

        made: nn.Module = getattr(transformers, self.architecture)(self.config()).eval()
        return made

    def inputs(self, model: nn.Module) -> Iterator[dict[str, torch.Tensor]]:
        """Keyword arguments for its forward pass: its main input, then with what comes beside it."""
        first = natural_inputs(model, model.config)
        yield first
        beside = [name for name in _BESIDE if name in inspect.signature(model.forward).parameters and name not in first]
        for name in beside:
            yield first | {name: _made(name, model, model.config)}
        yield first | {"use_cache": False}  # of few layers none may have a cache that tells its length


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


def small(config: Any, seen: frozenset[int] = frozenset()) -> Any:
    """The configuration with at most two layers of a kind, in the configurations inside it too."""
    from transformers import PretrainedConfig

    values = vars(config)
    types = values.get("layer_types") or values.get("layers_block_type")
    for name in _LAYERS:
        if isinstance(values.get(name), int):
            _put(config, name, min(values[name], _layers_for(types)))
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
            small(value, seen | {id(value)})
        elif name.endswith(("layer_types", "layers_block_type", "mlp_layer_types")) and isinstance(value, list):
            _put(config, name, value[: _layers_for(types)])
    return config


def _layers_for(types: Any) -> int:
    """As many of the first layers as show every kind, two at the least and eight at most."""
    if not isinstance(types, list):
        return _KEPT
    kinds = set(types)
    for count in range(1, len(types) + 1):
        if set(types[:count]) == kinds:
            return min(max(count, _KEPT), 8)
    return _KEPT


def _experts_for(values: Mapping[str, Any]) -> int:
    """Twice as many experts as a token is sent to, and four in each group of experts."""
    names = ("num_experts_per_tok", "top_k", "moe_topk", "moe_k", "num_selected_experts")
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


# --- inputs -----------------------------------------------------------------------------------------------------------


def natural_inputs(model: nn.Module, config: Any) -> dict[str, Any]:
    """What a tokenizer or processor gives for one example, by the names that the forward pass asks for."""
    parameters = inspect.signature(model.forward).parameters
    made: dict[str, Any] = {}
    main = next((name for name in _MAIN if name in parameters), None)
    if main is None:
        raise NoInputError(f"asks for {', '.join(list(parameters)[:4])}")
    made[main] = _made(main, model, config)
    if main == "input_ids" and "attention_mask" in parameters:
        made["attention_mask"] = torch.ones(BATCH, TOKENS, dtype=torch.long)
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in parameters:
        made["decoder_input_ids"] = torch.ones(BATCH, TOKENS, dtype=torch.long)
    for name, parameter in parameters.items():
        needed = parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        if needed and name not in made and name != "kwargs":
            made[name] = _made(name, model, config)
    return made


#: What a model is mainly given, the first of these names that its forward pass knows.
_MAIN = (
    *("input_ids", "pixel_values", "pixel_values_videos", "input_features", "input_values", "past_values"),
    *("grid_thw", "inputs", "hidden_states", "inputs_embeds", "latents"),
)


#: What may come beside the main input.
_BESIDE = ("bbox", "pixel_values", "input_features", "input_values")


def _made(name: str, model: nn.Module, config: Any) -> torch.Tensor:
    if name in ("input_ids", "decoder_input_ids", "labels"):
        return torch.ones(BATCH, TOKENS, dtype=torch.long)
    if name == "attention_mask":
        return torch.ones(BATCH, TOKENS, dtype=torch.long)
    if name in ("pixel_values", "pixel_values_videos"):
        return _pixels(name, config)
    if name == "input_features":
        return _features(config)
    if name == "input_values":
        return _samples(config)
    if name == "bbox":
        return torch.zeros(BATCH, TOKENS, 4, dtype=torch.long)
    if name in ("past_values", "past_observed_mask"):
        return torch.ones(BATCH, *_series(config))
    if name in ("grid_thw", "image_grid_thw"):
        return torch.tensor([[1, *_GRID]])
    if name == "hidden_states" and any("grid_thw" in key for key in inspect.signature(model.forward).parameters):
        return torch.rand(prod(_GRID), _patch(config))
    if name in ("hidden_states", "inputs_embeds", "latents"):
        return torch.rand(BATCH, TOKENS, int(_find(config, "hidden_size", "d_model", "dim", default=64)))
    if name == "input_features_mask":
        return torch.ones(BATCH, 128, dtype=torch.long)
    if name == "inputs":
        return torch.rand(BATCH, 32, int(_find(config, "d_model", default=64)))
    if name.endswith(("attention_mask", "_padding")):
        return torch.ones(BATCH, TOKENS, dtype=torch.long)
    if name == "prompt_pixel_values":
        return _pixels(name, config)
    raise NoInputError(f"asks for {name}")


#: Patches of an image that comes as a row of them: down and across.
_GRID = (8, 8)


def _patch(config: Any) -> int:
    """Numbers in one patch of such an image."""
    side = _find(config, "patch_size", default=14)
    frames = _find(config, "temporal_patch_size", default=1)
    return int(_find(config, "in_channels", "in_chans", "num_channels", default=3) * frames * side * side)


def _find(config: Any, *names: str, default: Any = None) -> Any:
    """The first of these settings that the configuration, or one inside it, has."""
    inside = [getattr(config, part, None) for part in ("vision_config", "audio_config", "backbone_config", "encoder")]
    for place in (config, *inside):
        for name in names:
            value = place.get(name) if isinstance(place, Mapping) else getattr(place, name, None)
            if value is not None:
                return value
    return default


def _pixels(name: str, config: Any) -> torch.Tensor:
    size = _find(config, "image_size", "input_size", "crop_size", default=224)
    if isinstance(size, Mapping):
        size = (size.get("height", 224), size.get("width", 224))
    sides = tuple(size) if isinstance(size, list | tuple) else (size, size)
    channels = _find(config, "num_channels", "in_channels", "in_chans", default=3)
    frames = _find(config, "num_frames", "frames_per_clip")
    shape = (channels, *(int(side) for side in sides[-2:]))
    if frames is not None or name == "pixel_values_videos":
        return torch.rand(BATCH, int(frames or 8), *shape)
    return torch.rand(BATCH, *shape)


def _features(config: Any) -> torch.Tensor:
    bins = _find(config, "num_mel_bins", "input_feat_per_channel", "feature_size", "input_dim", default=80)
    positions = _find(config, "max_source_positions")
    if positions is not None and _find(config, "num_mel_bins") is not None and hasattr(config, "encoder_layers"):
        return torch.rand(BATCH, int(bins), 2 * int(positions))  # Whisper and its kin: bins first, all of its length
    return torch.rand(BATCH, 128, int(bins))


def _samples(config: Any) -> torch.Tensor:
    if hasattr(config, "num_mel_bins") and hasattr(config, "max_length"):
        return torch.rand(BATCH, int(config.max_length), int(config.num_mel_bins))
    if hasattr(config, "audio_channels"):
        return torch.rand(BATCH, int(config.audio_channels), 4800)
    if hasattr(config, "upsampling_ratios") or hasattr(config, "downsampling_ratios"):
        return torch.rand(BATCH, 1, 4800)
    return torch.rand(BATCH, 4000)


def _series(config: Any) -> tuple[int, int]:
    length = _find(config, "context_length", "prediction_length", default=32)
    lags = _find(config, "lags_sequence", default=[0])
    channels = _find(config, "num_input_channels", "input_size", default=1)
    return int(length) + max(lags), int(channels)
