"""What a tokenizer or processor gives a model of transformers, found from what its forward pass asks for.

`proposals` gives keyword arguments, most natural first: the main input of the forward pass with what it requires, in
the sizes that the configuration tells; then in other customary layouts and sizes, for a configuration does not tell
all of them; then with what may come beside it. Names that are known to no function here are made as the documentation
of the forward pass says: of its shape, with the sizes of the configuration. A forward pass that takes something else
raises `NoInputError`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import torch
from examining import NoInputError  # beside this file
from torch import Tensor, nn

TOKENS = 16  #: of a text; long enough for a padding mask, short enough for every model
BATCH = 1
GRID = (12, 12)  #: patches of an image that comes as a row of them: down and across; 2, 3, 4 or 6 merge
FRAMES = 128  #: of a spectrum

#: What a model is mainly given, the first of these names that its forward pass knows.
MAIN = (
    *("input_ids", "pixel_values", "pixel_values_videos", "input_features", "input_values", "past_values"),
    *("audio_mel", "grid_thw", "inputs", "flattened_patches", "states", "query_embeds", "noise_embeds"),
    *("action_embeds", "state", "hidden_states", "inputs_embeds", "latents"),
)
#: What may come beside the main input.
BESIDE = ("bbox", "pixel_values", "input_features", "input_values", "pixel_values_videos", "encoder_hidden_states")


@dataclass(frozen=True)
class Scene:
    """Sizes and layouts of what is not text."""

    side: tuple[int, int]
    channels: int
    images: str  #: one, frames (several in a row), pair, rows (of patches), squares, merged
    bins: int
    frames: int
    spectrum: str  #: the order of its axes: TF, FT, CTF
    wave: str  #: the axes of samples: T, CT, TF
    length: int


class Asked:
    """A forward pass, and the configuration that says what it takes."""

    def __init__(self, model: nn.Module, config: Any) -> None:
        self.model, self.config = model, config
        self.parameters = inspect.signature(model.forward).parameters

    @cached_property
    def main(self) -> str:
        """The name of the main input."""
        for name in MAIN:
            if name in self.parameters:
                return name
        raise NoInputError(f"asks for {', '.join(list(self.parameters)[:4])}")

    @cached_property
    def needed(self) -> list[str]:
        """The parameters that have no default."""
        plain = inspect.Parameter.POSITIONAL_OR_KEYWORD
        return [name for name, one in self.parameters.items() if one.default is one.empty and one.kind is plain]

    def natural(self, scene: Scene) -> dict[str, Any]:
        """The main input, what belongs to it, and what is required."""
        names = [self.main]
        if self.main == "input_ids":
            names.append("attention_mask")
        if getattr(self.config, "is_encoder_decoder", False):
            names.append("decoder_input_ids")
        names += [name for name in _WITH.get(self.main, ()) if name not in names]
        names = [name for name in names if name in self.parameters]
        return {name: self.made(name, scene) for name in dict.fromkeys([*names, *self.needed]) if name != "kwargs"}

    def made(self, name: str, scene: Scene) -> Any:
        """What is given under this name."""
        maker = _MAKERS.get(name)
        if maker is not None:
            return maker(self, scene)
        if name.endswith("input_ids") or name == "labels":
            return torch.ones(BATCH, TOKENS, dtype=torch.long)
        shape = self.documented(name, scene)
        if shape is not None:
            whole = re.search(r"mask|_ids|timesteps|padding|freq|shapes|sizes|labels", name)
            return torch.ones(shape, dtype=torch.long) if whole else torch.rand(shape)
        if name.endswith(("attention_mask", "_padding")):
            return torch.ones(BATCH, TOKENS, dtype=torch.long)
        raise NoInputError(f"asks for {name}")

    def find(self, *names: str, default: Any = None) -> Any:
        """The first of these settings that the configuration, or one inside it, has."""
        for place in nested(self.config):
            for name in names:
                value = place.get(name) if isinstance(place, Mapping) else getattr(place, name, None)
                if value is not None:
                    return value
        return default

    @cached_property
    def document(self) -> str:
        return inspect.getdoc(type(self.model).forward) or ""

    def documented(self, name: str, scene: Scene) -> tuple[int, ...] | None:
        """The shape that the documentation states, where each of its extents is known."""
        found = self.stated(name)
        if not found:
            return None
        extents = [self._extent(word, scene) for word in found]
        return None if None in extents else tuple(extents)  # type: ignore[arg-type]

    def stated(self, name: str) -> list[str]:
        """The words of the shape that the documentation states."""
        match = re.search(rf"\b{name}\b\W*\(`[^`]*`,?\s*of shape\s*`[(\[]([^`]*)[)\]]`", self.document)
        return [word.strip() for word in match[1].split(",") if word.strip()] if match else []

    def _extent(self, word: str, scene: Scene) -> int | None:
        if "*" in word:
            parts = [self._extent(part.strip(), scene) for part in re.split(r"\*+", word)]
            return None if None in parts else prod(parts)  # type: ignore[arg-type]
        word = word.removeprefix("config.")
        if word.isdigit():
            return int(word)
        if word.startswith(("batch", "num_images", "num_audios", "num_videos", "number_of_images")):
            return BATCH
        own = self.find(word)
        if isinstance(own, int):
            return own
        if word in ("height", "width"):
            return scene.side[word == "width"]
        if "feature" in word and ("len" in word or "seq" in word):
            return scene.frames
        if "channels" in word:
            return scene.channels
        if "len" in word or "seq" in word or "frames" in word or "tokens" in word or "num_" in word:
            return TOKENS
        return int(self.find("hidden_size", "d_model")) if word in ("dim", "hidden_dim", "embed_dim") else None


def nested(config: Any) -> Iterator[Any]:
    """A configuration and all inside it."""
    yield config
    values = config if isinstance(config, Mapping) else vars(config)
    for name, value in values.items():
        if hasattr(value, "model_type") or (name.endswith("_config") and isinstance(value, Mapping)):
            yield from nested(value)


def proposals(model: nn.Module, config: Any) -> Iterator[dict[str, Any]]:
    """Keyword arguments for a forward pass, most natural first, none twice."""
    asked, seen = Asked(model, config), set()
    for given in _all_proposals(asked):
        key = tuple((name, *value.shape) if isinstance(value, Tensor) else name for name, value in given.items())
        if key not in seen:
            seen.add(key)
            yield given


def _all_proposals(asked: Asked) -> Iterator[dict[str, Any]]:
    given = GIVEN.get(getattr(asked.config, "model_type", ""))
    if given is not None:
        yield {name: value for name, value in given(asked).items() if name in asked.parameters}
    scenes = [*_scenes(asked)]
    for scene in scenes:
        yield asked.natural(scene)
    for name in BESIDE:
        if name in asked.parameters and name != asked.main:
            together = [one for one in (name, *_WITH.get(name, ())) if one in asked.parameters]
            for scene in scenes:
                yield asked.natural(scene) | {one: asked.made(one, scene) for one in together}
    first = asked.natural(scenes[0])
    if "use_cache" in asked.parameters:
        yield first | {"use_cache": False}  # of few layers none may have a cache that tells its length
    more = [name for name in asked.parameters if name not in (*first, "labels", "kwargs") and asked.stated(name)]
    shapes = {name: asked.documented(name, scenes[0]) for name in more if not name.endswith("embeds")}
    yield first | {name: asked.made(name, scenes[0]) for name, shape in shapes.items() if shape is not None}


def _scenes(asked: Asked) -> Iterator[Scene]:
    """The sizes that the configuration tells, then others that are customary."""
    find, stated = asked.find, asked.stated
    size = find("image_size", "input_size", "crop_size", default=224)
    if isinstance(size, Mapping):
        size = (size.get("height", 224), size.get("width", 224))
    side = tuple(int(one) for one in (size if isinstance(size, list | tuple) else (size, size)))[-2:]
    bins = find(*_BINS, default=80)
    positions = find("max_source_positions")
    whisper = positions is not None and find("num_mel_bins") is not None and hasattr(asked.config, "encoder_layers")
    words = stated("input_features") or stated("audio_mel")
    bins_first = len(words) == 3 and re.search("feature_size|mel|bins|feature_dim", words[1]) is not None
    frames = find("num_frames", "frames_per_clip")
    rows = {"grid_thw", "image_grid_thw", "spatial_shapes", "pixel_position_ids"} & {*asked.parameters}
    first = Scene(
        side=side,
        channels=int(find("num_channels", "in_channels", "in_chans", default=3)),
        images="rows" if rows & {*asked.needed} or "spatial_shapes" in rows else "frames" if frames else "one",
        bins=int(bins) * int(find("num_stacked_frames", default=1)),
        frames=2 * int(positions) if whisper else FRAMES,
        spectrum="FT" if whisper or bins_first else "TF",
        wave="CT" if find("audio_channels", "upsampling_ratios", "downsampling_ratios") is not None else "T",
        length=4800,
    )
    yield first
    if first.images == "rows":
        yield from (replace(first, images=images) for images in ("squares", "merged", "one"))
    yield from (replace(first, wave=wave) for wave in ("T", "CT", "TF"))
    yield from (replace(first, length=length, wave=wave) for length in (16000, 19200, 24000) for wave in ("T", "CT"))
    for frames in dict.fromkeys([first.frames, FRAMES, 3000, 1024]):
        for some in dict.fromkeys([first.bins, 80, 128, 160, 64, 320, 40]):
            for order in ("TF", "FT", "CTF"):
                yield replace(first, bins=some, frames=frames, spectrum=order)
    yield from (replace(first, images=images) for images in ("frames", "pair", "one"))
    for extent in (224, 336, 384, 256, 448, 512, 640, 1024, 1536):
        yield replace(first, side=(extent, extent))


#: How configurations call the bins of a spectrum.
_BINS = (
    *(
        "num_mel_bins",
        "mel_bins",
        "n_mels",
        "feature_projection_input_dim",
        "input_feat_per_channel",
        "input_feat_size",
    ),
    *("feature_size", "input_dim"),
)
#: What belongs to a main input, though its parameter has a default.
_WITH = {
    "input_features": ("input_features_mask",),
    "pixel_values": ("pixel_attention_mask", "spatial_shapes", "pixel_position_ids", "target_sizes"),
    "past_values": ("past_time_features", "past_observed_mask", "future_values", "future_time_features"),
    "states": ("actions", "rewards", "returns_to_go", "timesteps", "attention_mask"),
    "query_embeds": ("encoder_hidden_states",),
    "flattened_patches": ("attention_mask", "decoder_input_ids"),
}


# --- what is given under each name ------------------------------------------------------------------------------------


def _patch(asked: Asked) -> int:
    """The side of a patch."""
    side = asked.find("patch_size", default=14)
    return int(side[-1] if isinstance(side, list | tuple) else side)


def _depth(asked: Asked) -> int:
    frames = asked.find("temporal_patch_size", "patch_temporal", default=1)
    return int(frames[0] if isinstance(frames, list | tuple) else frames)


def _pixels(asked: Asked, scene: Scene) -> Tensor:
    side, count, merge = _patch(asked), prod(GRID), int(asked.find("spatial_merge_size", default=1))
    shapes = {
        "one": (BATCH, scene.channels, *scene.side),
        "frames": (BATCH, int(asked.find("num_frames", "frames_per_clip", default=8)), scene.channels, *scene.side),
        "pair": (BATCH, 2, scene.channels, *scene.side),
        "rows": (count, scene.channels * _depth(asked) * side * side),
        "squares": (count, scene.channels, side, side),
        "merged": (count // merge**2, side * merge, side * merge, scene.channels),
    }
    if scene.images == "rows" and {"spatial_shapes", "pixel_position_ids"} & {*asked.parameters}:
        return torch.rand(BATCH, *shapes["rows"])
    return torch.rand(shapes[scene.images])


def _video(asked: Asked, scene: Scene) -> Tensor:
    frames = int(asked.find("num_frames", "frames_per_clip", default=8))
    return torch.rand(BATCH, frames, scene.channels, *scene.side)


def _image(asked: Asked, scene: Scene) -> Tensor:
    return torch.rand(BATCH, scene.channels, *scene.side)


def _spectrum(asked: Asked, scene: Scene) -> Tensor:
    orders = {"TF": (scene.frames, scene.bins), "FT": (scene.bins, scene.frames), "CTF": (1, scene.frames, scene.bins)}
    return torch.rand(BATCH, *orders[scene.spectrum])


def _samples(asked: Asked, scene: Scene) -> Tensor:
    config = asked.config
    if hasattr(config, "num_mel_bins") and hasattr(config, "max_length"):
        return torch.rand(BATCH, int(config.max_length), int(config.num_mel_bins))
    if scene.wave == "TF":
        return torch.rand(BATCH, TOKENS, int(asked.find("hidden_size", default=64)))
    channels = (int(getattr(config, "audio_channels", 1)),) if scene.wave == "CT" else ()
    return torch.rand(BATCH, *channels, scene.length)


def _series(asked: Asked) -> tuple[int, ...]:
    """The shape of what is known of a series: with lags before it, and several channels where there are."""
    length = asked.find("context_length", "prediction_length", default=32)
    lags = asked.find("lags_sequence", default=[0])
    channels = int(asked.find("num_input_channels", "input_size", default=1))
    flat = "num_input_channels" not in vars(asked.config) and channels == 1
    return (BATCH, int(length) + max(lags), *(() if flat else (channels,)))


def _future(asked: Asked) -> tuple[int, ...]:
    known = _series(asked)
    return (BATCH, int(asked.find("prediction_length", "horizon_length", default=24)), *known[2:])


def _times(asked: Asked, length: int) -> Tensor:
    return torch.rand(BATCH, length, int(asked.find("num_time_features", default=0)))


def _hidden(asked: Asked, scene: Scene) -> Tensor:
    if any("grid_thw" in key for key in asked.parameters):
        return _pixels(asked, scene)
    shape = asked.documented("hidden_states", scene)
    width = int(asked.find("hidden_size", "d_model", "dim", default=64))
    if scene.wave == "CT":
        return torch.rand(BATCH, int(asked.find("channels", "audio_channels", default=1)), scene.length)
    return torch.rand((BATCH, width, TOKENS) if scene.spectrum == "FT" else shape or (BATCH, TOKENS, width))


def _places(asked: Asked, scene: Scene) -> Tensor:
    down, across = torch.meshgrid(torch.arange(GRID[0]), torch.arange(GRID[1]), indexing="ij")
    return torch.stack([across, down], -1).reshape(BATCH, -1, 2)


Maker = Callable[[Asked, Scene], Any]
_MAKERS: dict[str, Maker] = {
    "attention_mask": lambda asked, scene: torch.ones(BATCH, TOKENS, dtype=torch.long),
    "pixel_values": _pixels,
    "pixel_values_videos": _video,
    "prompt_pixel_values": _image,
    "prompt_masks": _image,
    "input_features": _spectrum,
    "audio_mel": _spectrum,
    "input_features_mask": lambda asked, scene: torch.ones(BATCH, scene.frames, dtype=torch.long),
    "feature_attention_mask": lambda asked, scene: torch.ones(BATCH, scene.frames, dtype=torch.long),
    "audio_mel_mask": lambda asked, scene: torch.zeros(BATCH, scene.frames, dtype=torch.bool),  # no padding
    "input_values": _samples,
    "bbox": lambda asked, scene: torch.zeros(BATCH, TOKENS, 4, dtype=torch.long),
    "past_values": lambda asked, scene: torch.ones(_series(asked)),
    "past_observed_mask": lambda asked, scene: torch.ones(_series(asked)),
    "past_values_padding": lambda asked, scene: torch.zeros(_series(asked)[:2], dtype=torch.long),
    "past_time_features": lambda asked, scene: _times(asked, _series(asked)[1]),
    "future_values": lambda asked, scene: torch.ones(_future(asked)),
    "future_time_features": lambda asked, scene: _times(asked, _future(asked)[1]),
    "freq": lambda asked, scene: torch.zeros(BATCH, 1, dtype=torch.long),
    "grid_thw": lambda asked, scene: torch.tensor([[1, *GRID]]),
    "image_grid_thw": lambda asked, scene: torch.tensor([[1, *GRID]]),
    "spatial_shapes": lambda asked, scene: torch.tensor([[*GRID]]),
    "target_sizes": lambda asked, scene: torch.tensor([[side // _patch(asked) for side in scene.side]]),
    "merge_sizes": lambda asked, scene: torch.tensor([int(asked.find("spatial_merge_size", default=2))]),
    "pixel_attention_mask": lambda asked, scene: torch.ones(BATCH, prod(GRID), dtype=torch.long),
    "pixel_position_ids": _places,
    "hidden_states": _hidden,
    "flattened_patches": lambda asked, scene: torch.rand(
        BATCH, prod(GRID), int(asked.find("patch_embed_hidden_size", default=768)) + 2
    ),
    "query_embeds": lambda asked, scene: torch.rand(BATCH, TOKENS, int(asked.find("hidden_size"))),
    "encoder_hidden_states": lambda asked, scene: torch.rand(
        BATCH, TOKENS, int(asked.find("encoder_hidden_size", "cross_attention_hidden_size", "hidden_size"))
    ),
    "inputs_embeds": lambda asked, scene: torch.rand(
        BATCH, TOKENS, int(asked.find("hidden_size", "d_model", "dim", default=64))
    ),
    "inputs": lambda asked, scene: torch.rand(BATCH, 32, int(asked.find("d_model", default=64))),
    "timesteps": lambda asked, scene: torch.arange(TOKENS)[None],
    "state": lambda asked, scene: torch.rand(BATCH, int(asked.find("max_state_dim", default=32))),
    "action_embeds": lambda asked, scene: torch.rand(
        BATCH, int(asked.find("chunk_size", default=TOKENS)), int(asked.config.dit_config.hidden_size)
    ),
    "classes_input_ids": lambda asked, scene: torch.ones(3, TOKENS, dtype=torch.long),
    "classes_attention_mask": lambda asked, scene: torch.ones(3, TOKENS, dtype=torch.long),
    "classes_structure": lambda asked, scene: torch.tensor([3]),
    "task_inputs": lambda asked, scene: torch.ones(BATCH, int(asked.find("task_seq_len")), dtype=torch.long),
}

# --- models whose inputs belong together in a way of their own -------------------------------------------------------


def _ids(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.long)


def _kosmos2(asked: Asked) -> dict[str, Any]:
    queries = int(asked.find("latent_query_num"))
    mask = torch.zeros(BATCH, TOKENS + queries, dtype=torch.long)
    mask[:, 2 : 2 + queries] = 1
    side = int(asked.find("image_size"))
    whole = _ids(BATCH, TOKENS + queries)
    return {
        "pixel_values": torch.rand(BATCH, 3, side, side),
        "input_ids": whole,
        "image_embeds_position_mask": mask,
        "attention_mask": whole.clone(),
    }


def _idefics(asked: Asked) -> dict[str, Any]:
    side = int(asked.find("image_size"))
    return {
        "input_ids": _ids(BATCH, TOKENS),
        "attention_mask": _ids(BATCH, TOKENS),
        "pixel_values": torch.rand(BATCH, 1, 3, side, side),
        "image_attention_mask": _ids(BATCH, TOKENS, 1),
    }


def _clvp(asked: Asked) -> dict[str, Any]:
    return {"input_ids": _ids(BATCH, TOKENS), "input_features": torch.rand(BATCH, 80, FRAMES)}


def _dia(asked: Asked) -> dict[str, Any]:
    codes = int(asked.find("num_channels"))
    return {"input_ids": _ids(BATCH, TOKENS), "decoder_input_ids": _ids(BATCH, TOKENS, codes)}


def _coded(asked: Asked) -> dict[str, Any]:
    """Tokens with those of a codec beside each."""
    books = int(asked.find("num_codebooks", default=32))
    return {"input_ids": _ids(BATCH, TOKENS, books + 1), "attention_mask": _ids(BATCH, TOKENS)}


def _melody(asked: Asked) -> dict[str, Any]:
    """A row of tokens for each book of a codec."""
    return {"input_ids": _ids(BATCH * int(asked.find("num_codebooks")), TOKENS)}


def _context(asked: Asked) -> dict[str, Any]:
    """Noise for a block of tokens, and what the layers of a larger model said of those before."""
    width, layers = int(asked.find("hidden_size")), len(asked.find("target_layer_ids"))
    shapes = {"noise_embeds": width, "context_hidden_states": layers * width}
    return {name: torch.rand(BATCH, TOKENS, last) for name, last in shapes.items()}


def _udop(asked: Asked) -> dict[str, Any]:
    boxes = torch.zeros(BATCH, TOKENS, 4)
    side = int(asked.find("image_size"))
    text = {name: _ids(BATCH, TOKENS) for name in ("input_ids", "attention_mask", "decoder_input_ids")}
    return text | {"bbox": boxes, "pixel_values": torch.rand(BATCH, 3, side, side)}


def _xmod(asked: Asked) -> dict[str, Any]:
    text = {"input_ids": _ids(BATCH, TOKENS), "attention_mask": _ids(BATCH, TOKENS)}
    return text | {"lang_ids": torch.zeros(BATCH, dtype=torch.long)}


def _speecht5(asked: Asked) -> dict[str, Any]:
    width = int(asked.find("hidden_size"))
    return {name: torch.rand(BATCH, TOKENS, width) for name in ("input_values", "decoder_input_values")}


def _blip(asked: Asked) -> dict[str, Any]:
    """An image, or four frames, and a place for each of its queries among the tokens."""
    frames = (4,) if "video" in asked.config.model_type else ()
    queries, side = int(asked.find("num_query_tokens")) * prod(frames), int(asked.find("image_size"))
    ids = _ids(BATCH, queries + TOKENS)
    ids[:, :queries] = int(asked.find("image_token_index", "video_token_index"))
    text = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "qformer_input_ids": _ids(BATCH, TOKENS)}
    decoder = {"decoder_input_ids": _ids(BATCH, TOKENS)} if getattr(asked.config, "is_encoder_decoder", False) else {}
    return text | decoder | {"pixel_values": torch.rand(BATCH, *frames, 3, side, side)}


def _pe_audio_video(asked: Asked) -> dict[str, Any]:
    return {"input_values": torch.rand(BATCH, 1, 16000), "pixel_values_videos": torch.rand(BATCH, 4, 3, 336, 336)}


GIVEN: dict[str, Callable[[Asked], dict[str, Any]]] = {
    **dict.fromkeys(("blip-2", "instructblip", "instructblipvideo"), _blip),
    "kosmos-2": _kosmos2,
    "idefics": _idefics,
    "clvp": _clvp,
    **dict.fromkeys(("musicgen_decoder", "musicgen_melody_decoder"), _melody),
    "muse_glimmer_assistant": _context,
    "udop": _udop,
    "dia": _dia,
    "kyutai_speech_to_text": _coded,
    "xmod": _xmod,
    "speecht5": _speecht5,
    "pe_audio_video_encoder": _pe_audio_video,
}
