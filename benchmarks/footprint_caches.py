"""Caches of small language models: those that transformers makes in a real run, beside what rfcalc says of them.

The real ones are read by the names of their parts, keys, values and states, and each is told by its elements and by the
address of its memory: none of rfcalc's code is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from tabulate import tabulate
from torch import nn

import rfcalc

LENGTH = 12

_BASE: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
_GROUPED = {**_BASE, "num_key_value_heads": 2}
_LATENT: dict[str, Any] = {
    **_BASE,
    "num_key_value_heads": 4,
    "kv_lora_rank": 8,
    "q_lora_rank": 12,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}

#: By what is kept: the model's class, the class of its configuration, and the configuration.
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "keys and values of all heads: OPT": (
        "OPTForCausalLM", "OPTConfig",
        {"vocab_size": 64, "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
         "word_embed_proj_dim": 32, "max_position_embeddings": 64},
    ),
    "grouped queries: Llama": ("LlamaForCausalLM", "LlamaConfig", _GROUPED),
    "one head of keys: Falcon": (
        "FalconForCausalLM", "FalconConfig",
        {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "multi_query": True},
    ),
    "a window that slides: Mistral": ("MistralForCausalLM", "MistralConfig", {**_GROUPED, "sliding_window": 8}),
    "a window in every second layer: Gemma 2": (
        "Gemma2ForCausalLM", "Gemma2Config", {**_GROUPED, "head_dim": 8, "sliding_window": 8},
    ),
    "a window in most layers: Gemma 3": (
        "Gemma3ForCausalLM", "Gemma3TextConfig",
        {**_GROUPED, "num_hidden_layers": 6, "head_dim": 8, "sliding_window": 8},
    ),
    "latent attention: DeepSeek V2": ("DeepseekV2ForCausalLM", "DeepseekV2Config", _LATENT),
    "latent attention: DeepSeek V3": ("DeepseekV3ForCausalLM", "DeepseekV3Config", _LATENT),
    "a state-space state: Mamba": (
        "MambaForCausalLM", "MambaConfig",
        {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    ),
    "a state-space state: Mamba 2": (
        "Mamba2ForCausalLM", "Mamba2Config",
        {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "num_heads": 8, "head_dim": 8,
         "n_groups": 2, "chunk_size": 4},
    ),
    "a state-space state: Falcon Mamba": (
        "FalconMambaForCausalLM", "FalconMambaConfig",
        {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    ),
    "states and keys: Bamba": (
        "BambaForCausalLM", "BambaConfig",
        {**_GROUPED, "attn_layer_indices": [1], "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8,
         "mamba_n_groups": 2, "mamba_chunk_size": 4},
    ),
    "states and keys: Jamba": (
        "JambaForCausalLM", "JambaConfig",
        {**_GROUPED, "mamba_d_state": 8, "mamba_dt_rank": 4, "num_experts": 2, "attn_layer_period": 2,
         "attn_layer_offset": 1, "use_mamba_kernels": False},
    ),
    "states and keys: Qwen3-Next": (
        "Qwen3NextForCausalLM", "Qwen3NextConfig",
        {**_GROUPED, "num_hidden_layers": 4, "head_dim": 8, "linear_num_value_heads": 4, "linear_num_key_heads": 2,
         "linear_key_head_dim": 8, "linear_value_head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2,
         "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
    ),
    "short convolutions and keys: LFM2": (
        "Lfm2ForCausalLM", "Lfm2Config", {**_GROUPED, "layer_types": ["conv", "full_attention"], "block_ff_dim": 32},
    ),
    "an encoder's keys, too: T5": (
        "T5ForConditionalGeneration", "T5Config",
        {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
    ),
}  # fmt: skip


def made(name: str) -> nn.Module:
    """The model of a row, small and with random weights."""
    import transformers

    kind, config, sizes = MODELS[name]
    torch.manual_seed(0)
    model: nn.Module = getattr(transformers, kind)(getattr(transformers, config)(**sizes))
    return model.eval()


def call(name: str, length: int = LENGTH) -> dict[str, torch.Tensor]:
    """The arguments of a pass over two sequences."""
    ids = torch.arange(2 * length).view(2, length) % 60
    if "ForConditionalGeneration" in MODELS[name][0]:
        return {"input_ids": ids.clone(), "decoder_input_ids": ids.clone()}
    return {"input_ids": ids}


def real(model: nn.Module, arguments: Mapping[str, Any]) -> tuple[list[int], int]:
    """Of the cache of a real pass the bytes of its elements by layer, and of the memory that it holds in all."""
    with torch.no_grad():
        result = model(**arguments, use_cache=True)
    cache = result.cache if hasattr(result, "cache") else result.past_key_values
    layers = [list(_parts(layer)) for layer in _layers(cache)]
    stores = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for parts in layers for one in parts}
    return [sum(one.nbytes for one in parts) for parts in layers], sum(stores.values())


def _layers(cache: Any) -> Iterator[list[Any]]:
    """The layers of a cache; those of a decoder beside those of its encoder."""
    if hasattr(cache, "self_attention_cache"):
        parts = cache.self_attention_cache.layers, cache.cross_attention_cache.layers
        yield from (list(pair) for pair in zip(*parts, strict=True))
    else:
        yield from ([layer] for layer in cache.layers)


def _parts(layer: list[Any]) -> Iterator[torch.Tensor]:
    for one in layer:
        for name in ("keys", "values", "conv_states", "recurrent_states"):
            held = getattr(one, name, None)
            parts = held.values() if isinstance(held, dict) else [held]
            yield from (part for part in parts if part is not None and part.numel())


def row(name: str) -> dict[str, Any]:
    """One model: what is told of its cache and of decoding, and whether real runs have the same."""
    model = made(name)
    decoded = len(call(name)) == 1  # an encoder's result would be given in place of its input
    found = rfcalc.memory(model, call(name), decode=decoded, verify=True)
    now, held = real(model, call(name))
    longer, _ = real(model, call(name, LENGTH + 1))
    told = [one.nbytes for one in found.kv_cache]
    each = [one.per_token for one in found.kv_cache]
    assert found.witness is not None
    return {
        "bytes": told,
        "bytes_per_token": each,
        "held_bytes": sum(one.held for one in found.kv_cache),
        "decode_peak_bytes": None if found.decode is None else found.decode.peak_bytes,
        "decode_moved_bytes": None if found.decode is None else found.decode.moved_bytes,
        "real": now,
        "real_held": held,
        "notices": list(found.notices),
        "differences": [one.to_dict() for one in found.witness.checks if not one.agree],
        "agree": (
            found.agree
            and told == now
            and each == [after - before for after, before in zip(longer, now, strict=True)]
            and sum(one.held for one in found.kv_cache) == held
        ),
    }


def text(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What came of it, as Markdown."""
    equal = sum(line["agree"] for line in rows.values())
    yield f"{equal} of {len(rows)} are equal to real caches, to the byte, and so is what is alive after every op."
    yield ""
    body = [
        (
            *(name, ", ".join(map(str, line["bytes"])), ", ".join(map(str, line["bytes_per_token"]))),
            *(line["held_bytes"], line["decode_peak_bytes"], line["decode_moved_bytes"]),
            *("equal" if line["agree"] else "DIFFERS", "real tensors" if line["notices"] else ""),
        )
        for name, line in rows.items()
    ]
    head = ("kept", "by layer", "by token", "held", "peak of decoding", "moved by it", "", "run on")
    yield tabulate(body, headers=head, tablefmt="github", intfmt=",")
    yield ""
