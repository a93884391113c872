"""Formulas of training for small language models of transformers, by arithmetic on their configurations."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

import rfcalc
from rfcalc.conventions import FORMULAS, count, explain
from rfcalc.report.explanation import explanation_report
from rfcalc.report.formats import render

LENGTH, BATCH = 24, 2
TOKENS = LENGTH * BATCH
WORDS, WIDTH, INNER, LAYERS, HEADS, WINDOW = 96, 32, 48, 2, 4, 7
SMALL = {
    "vocab_size": WORDS,
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
}
GROUPED = {**SMALL, "num_key_value_heads": 2}
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 12, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 6}
ROUTED = {"moe_intermediate_size": 24, "n_routed_experts": 8, "num_experts_per_tok": 2, "first_k_dense_replace": 1}
GROUPS = {"n_shared_experts": 1, "n_group": 2, "topk_group": 1, "num_key_value_heads": HEADS}
DEEPSEEK = {**SMALL, **LATENT, **ROUTED, **GROUPS}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": (
        "GPT2",
        {"vocab_size": WORDS, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 40, "n_inner": INNER},
    ),
    "llama": ("Llama", GROUPED),
    "mistral": ("Mistral", {**GROUPED, "sliding_window": WINDOW}),
    "gemma2": ("Gemma2", {**GROUPED, "sliding_window": WINDOW, "head_dim": 12}),
    "mixtral": ("Mixtral", {**GROUPED, "num_local_experts": 6}),
    "deepseek": ("DeepseekV3", DEEPSEEK),
    "qwen2": ("Qwen2", GROUPED),
    "qwen2_moe": (
        "Qwen2Moe",
        {**GROUPED, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 40, "num_experts": 6}
        | {"num_experts_per_tok": 3},
    ),
}


class Sums:
    """The parts of which the formulas are made, from a configuration: matrices by what they are for, and attention."""

    def __init__(self, kind: str, model: nn.Module) -> None:
        self.kind = kind
        params = {name: param.numel() for name, param in model.named_parameters()}
        self.all = sum(params.values())
        size = 12 if kind == "gemma2" else WIDTH // HEADS
        self.query, self.value, inner = size, size, INNER
        self.routed = self.router = self.shared = self.gate = 0
        layer = WIDTH * HEADS * size * 2 + WIDTH * 2 * size * 2  # q and o; k and v of two heads
        feed = 3 * WIDTH * inner
        if kind == "gpt2":
            layer, feed = 4 * WIDTH * WIDTH, 2 * WIDTH * INNER
        self.dense = LAYERS * (layer + feed)
        moe = {"mixtral": (6, 2, INNER, LAYERS), "qwen2_moe": (6, 3, 24, LAYERS), "deepseek": (8, 2, 24, LAYERS - 1)}
        self.unmet = 0
        if kind in moe:
            experts, top, width, layers = moe[kind]
            self.dense = LAYERS * layer
            self.routed = layers * top * 3 * WIDTH * width
            self.unmet = layers * (experts - top) * 3 * WIDTH * width
            self.router = layers * WIDTH * experts
        if kind == "qwen2_moe":
            self.shared, self.gate = LAYERS * 3 * WIDTH * 40, LAYERS * WIDTH
        self.latents = 0
        if kind == "deepseek":
            self.query, self.value = 12, 6
            layer = WIDTH * 16 + 16 * HEADS * 12 + WIDTH * (12 + 4) + 12 * HEADS * (8 + 6) + HEADS * 6 * WIDTH
            self.dense = LAYERS * layer + 3 * WIDTH * INNER
            self.shared = (LAYERS - 1) * 3 * WIDTH * 24
            self.latents = LAYERS * (16 + 12)
        self.head = WORDS * WIDTH
        self.tied = kind in ("gpt2", "gemma2")
        self.places = 40 * WIDTH if kind == "gpt2" else 0
        self.windows = {"mistral": [WINDOW] * LAYERS, "gemma2": [WINDOW, LENGTH] * (LAYERS // 2)}.get(
            kind, [LENGTH] * LAYERS
        )
        self.matrices = self.dense + self.routed + self.router + self.shared + self.gate
        self.words = 0 if self.tied else WORDS * WIDTH  #: tables that only look up

    def attention(self, size: int, windows: list[int], factor: int) -> int:
        """Operations of all layers for sizes of a query and a value together."""
        return sum(factor * TOKENS * HEADS * size * window for window in windows)


@cache
def made(kind: str) -> tuple[Any, Sums]:
    transformers = pytest.importorskip("transformers")
    name, settings = KINDS[kind]
    config = getattr(transformers, f"{name}Config", None)
    if config is None:
        pytest.skip(f"this transformers has no {name}")
    ids = {"input_ids": torch.empty(BATCH, LENGTH, dtype=torch.long, device="meta")}
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(
            config(**settings, use_cache=False), attn_implementation="eager"
        ).eval()
    return rfcalc.analyze(model, ids).layer_graph, Sums(kind, model)


def expected(sums: Sums, formula: str) -> int:
    """A formula by its own words."""
    six, full = 6 * TOKENS, [LENGTH] * LAYERS
    latent = sums.query != sums.value
    both, wide = sums.query + sums.value, 2 * sums.query
    mixed = sums.windows if len(set(sums.windows)) > 1 else full
    shared = sums.shared if latent else 0
    match formula:
        case "6N":
            return six * (sums.matrices + sums.unmet)
        case "palm":
            return six * sums.all + sums.attention(wide, full, 6)
        case "nanogpt":
            return six * (sums.all - sums.places) + 12 * LAYERS * WIDTH * LENGTH * TOKENS
        case "llm.c":
            return six * sums.all + 6 * LAYERS * WIDTH * LENGTH * TOKENS
        case "megatron-lm":
            counted = sums.dense + sums.routed + sums.shared + sums.head + sums.latents
            return six * counted + sums.attention(both, full, 3)
        case "maxtext":
            counted = sums.dense + sums.routed + sums.router + shared + sums.head
            bands = [2 * LENGTH * side - side**2 if side < LENGTH else LENGTH**2 for side in mixed]
            return six * counted + sum(3 * BATCH * HEADS * both * band for band in bands)
        case "verl":
            counted = sums.dense + sums.routed + sums.router + shared + 2 * sums.head
            return six * counted + sums.attention(both, mixed, 3)
        case "torchtitan":
            active = sums.all - sums.unmet - sums.words - sums.places
            return six * active + sums.attention(both, sums.windows, 6)
        case "flash-attention":
            return sums.attention(wide, full, 7) // 2
    raise ValueError(formula)


@pytest.mark.parametrize("kind", KINDS)
def test_formulas_to_the_unit(kind: str) -> None:
    graph, sums = made(kind)

    found = {name: count(graph, name) for name in FORMULAS}

    assert {name: tally.refused for name, tally in found.items() if tally.refused} == {}
    assert {name: tally.total for name, tally in found.items()} == {name: expected(sums, name) for name in FORMULAS}
    for name, tally in found.items():
        assert tally.base + sum(term.amount for term in tally.terms) == tally.total, name
    step = six_of(sums)
    assert {tally.base for name, tally in found.items() if name != "flash-attention"} == {step}


def test_what_masks_leave_stands_above() -> None:
    graph, sums = made("gemma2")
    found = explain(graph, ["6N"])

    closed = sum(
        2 * BATCH * HEADS * sums.query * (LENGTH**2 - sum(min(step + 1, side) for step in range(LENGTH)))
        for side in sums.windows
    )
    assert found.unmasked == found.macs - closed
    assert found.to_dict()["unmasked_macs"] == found.unmasked
    assert f"{found.unmasked:,}" in render(explanation_report(found))


def six_of(sums: Sums) -> int:
    """rfcalc's own step of training: 6 operations for each matrix that a token meets, dense attention."""
    both = sums.query + sums.value
    return 6 * TOKENS * (sums.matrices + sums.head) + sums.attention(both, [LENGTH] * LAYERS, 6)


def test_what_a_formula_leaves_out_is_said() -> None:
    graph, sums = made("mistral")
    tally = count(graph, "megatron-lm")

    assert [(term.label, term.amount) for term in tally.terms] == [
        ("half of the square of pairs: left out, whatever the mask", -sums.attention(16, [LENGTH] * LAYERS, 3))
    ]
    window = count(graph, "torchtitan")
    assert {term.label for term in window.terms} == {
        "norms, biases and the like: 6 a parameter and token",
        "pairs beyond the window: left out",
    }


class Frozen(nn.Module):
    """A head on a table and a layer that are frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.layer, self.head = nn.Embedding(20, 8), nn.Linear(8, 8, bias=False), nn.Linear(8, 20)
        self.table.requires_grad_(False)
        self.layer.requires_grad_(False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(self.table(ids)).relu())


def test_gradients_that_nothing_needs_are_a_term() -> None:
    tally = count(rfcalc.trace(Frozen(), torch.zeros(1, 5, dtype=torch.long)), "torchtitan")

    assert tally.base == 2 * 5 * (64 + 2 * 160)
    assert tally.total == 6 * 5 * (64 + 160 + 20)
    terms = {term.label.partition(",")[0].partition(":")[0]: term.amount for term in tally.terms}
    assert terms == {"gradients that nothing needs": 2 * 5 * (2 * 64 + 160), "norms": 6 * 5 * 20}


def test_formulas_are_for_models_of_token_ids() -> None:
    assert "token" in count(rfcalc.trace("lenet5"), "6N").refused
    assert not {tally.tool for tally in explain(rfcalc.trace("lenet5")).tallies} & set(FORMULAS)
    graph = rfcalc.trace(Frozen(), torch.zeros(1, 5, dtype=torch.long))
    found = {tally.tool: tally.refused for tally in explain(graph).tallies}
    assert set(FORMULAS) <= set(found)
    assert "no softmax attention" in found["flash-attention"]
