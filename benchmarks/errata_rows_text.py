"""Rows of `errata.py`: text."""

from __future__ import annotations

from typing import Any

from errata_measures import Measure, Params, Row, Scaled  # beside this file
from errata_words import SpanRead

TRANSFORMERS = "transformers==5.24.0"
LIST_URL = "https://github.com/huggingface/transformers/blob/02ef825/docs/source/pretrained_models.rst"
IDS = {"input_ids": (1, 8)}
BOTH = {"input_ids": (1, 8), "decoder_input_ids": (1, 8)}
MILLION = 10**6


def listed(name: str, says: str, kind: str, settings: str = "", **more: Any) -> Row:
    """Parameters in the list of pretrained models that transformers had in its documents."""
    inputs = more.pop("inputs", IDS)
    measure: Measure = Params(inputs)
    others = {"cut, not rounded": Scaled(measure, 1, more.pop("cut", MILLION))}
    model = f"transformers.{kind}(transformers.{kind}.config_class({settings}))"
    key, source = f"{name.lower()}-params", "transformers, list of pretrained models"
    return Row(key, "text", name, says, source, LIST_URL, TRANSFORMERS, model, measure, others, **more)


LARGE = "hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096"
ROBERTA = "max_position_embeddings=514, type_vocab_size=1"
T5 = "feed_forward_proj='relu', vocab_size=32128"
TIED = {"the output's matrix counted apart from the tied embedding": Params(BOTH, twice=("lm_head.weight",))}
NOTE_GPT2 = "OpenAI has since said so; 774M and 1558M of the larger ones are right"

LISTED = (
    listed("bert-base-uncased", "110 M", "BertModel", step=10 * MILLION),
    listed("bert-large-uncased", "340 M", "BertModel", LARGE, step=10 * MILLION),
    listed("bert-base-multilingual-cased", "110 M", "BertModel", "vocab_size=119547", step=10 * MILLION),
    listed("bert-base-multilingual-uncased", "110 M", "BertModel", "vocab_size=105879", step=10 * MILLION),
    listed("gpt2", "117 M", "GPT2LMHeadModel", note=NOTE_GPT2),
    listed("gpt2-medium", "345 M", "GPT2LMHeadModel", "n_embd=1024, n_layer=24, n_head=16"),
    listed("gpt2-large", "774 M", "GPT2LMHeadModel", "n_embd=1280, n_layer=36, n_head=20"),
    listed("gpt2-xl", "1558 M", "GPT2LMHeadModel", "n_embd=1600, n_layer=48, n_head=25"),
    listed("distilgpt2", "82 M", "GPT2LMHeadModel", "n_layer=6"),
    listed("roberta-base", "125 M", "RobertaModel", f"vocab_size=50265, {ROBERTA}"),
    listed("roberta-large", "355 M", "RobertaModel", f"vocab_size=50265, {ROBERTA}, {LARGE}"),
    listed("distilroberta-base", "82 M", "RobertaModel", f"vocab_size=50265, {ROBERTA}, num_hidden_layers=6"),
    listed("xlm-roberta-base", "125 M", "XLMRobertaModel", f"vocab_size=250002, {ROBERTA}"),
    listed("xlm-roberta-large", "355 M", "XLMRobertaModel", f"vocab_size=250002, {ROBERTA}, {LARGE}"),
    listed("distilbert-base-uncased", "66 M", "DistilBertModel"),
    listed("distilbert-base-cased", "65 M", "DistilBertModel", "vocab_size=28996"),
    listed("distilbert-base-multilingual-cased", "134 M", "DistilBertModel", "vocab_size=119547"),
    listed(
        *("xlnet-base-cased", "110 M", "XLNetModel", "d_model=768, n_layer=12, n_head=12, d_inner=3072"),
        step=10 * MILLION,
    ),
    listed("xlnet-large-cased", "340 M", "XLNetModel", step=10 * MILLION),
    listed(
        *("albert-base-v1", "11 M", "AlbertModel"),
        "hidden_size=768, num_attention_heads=12, intermediate_size=3072, num_hidden_layers=12",
    ),
    listed(
        *("albert-large-v1", "17 M", "AlbertModel"),
        "hidden_size=1024, num_attention_heads=16, intermediate_size=4096, num_hidden_layers=24",
    ),
    listed(
        *("albert-xlarge-v1", "58 M", "AlbertModel"),
        "hidden_size=2048, num_attention_heads=16, intermediate_size=8192, num_hidden_layers=24",
    ),
    listed("albert-xxlarge-v1", "223 M", "AlbertModel"),
    listed("t5-small", "60 M", "T5ForConditionalGeneration", T5, inputs=BOTH, step=10 * MILLION),
    listed(
        *("t5-base", "220 M", "T5ForConditionalGeneration"),
        f"d_model=768, d_ff=3072, num_layers=12, num_heads=12, {T5}",
        inputs=BOTH,
        step=10 * MILLION,
    ),
    listed(
        *("t5-large", "770 M", "T5ForConditionalGeneration"),
        f"d_model=1024, d_ff=4096, num_layers=24, num_heads=16, {T5}",
        inputs=BOTH,
        step=10 * MILLION,
        slip=TIED,
        note="counted so, the smaller ones would have 77 and 248 million, not the 60 and 220 of the same list",
    ),
    listed(
        *("t5-3b", "2.8 B", "T5ForConditionalGeneration"),
        f"d_model=1024, d_ff=16384, d_kv=128, num_layers=24, num_heads=32, {T5}",
        inputs=BOTH,
        cut=100 * MILLION,
    ),
    listed("ctrl", "1.6 B", "CTRLLMHeadModel"),
)


# --- GroundingDINO ----------------------------------------------------------------------------------------------------

DINO_URL = "https://arxiv.org/abs/2303.05499"
DINO = (
    "transformers.GroundingDinoModel(transformers.GroundingDinoConfig(d_model=32, encoder_layers=1, decoder_layers=1,"
    " encoder_attention_heads=4, decoder_attention_heads=4, num_queries=10, encoder_ffn_dim=32, decoder_ffn_dim=32,"
    " text_config=dict(model_type='bert', hidden_size=32, num_hidden_layers=2, num_attention_heads=4,"
    " intermediate_size=32, vocab_size=2000)))"
)


def words(name: str, subject: str, says: str, ids: tuple[int, ...], word: int, **more: Any) -> Row:
    """Which words the text of one prompt lets a word read; 101 begins, 1012 is the full stop, 102 ends."""
    return Row(name, "text", subject, says, "section 3.4", DINO_URL, TRANSFORMERS, DINO, SpanRead(ids, word), **more)


WORDS = (
    words("dino-phrase", "GroundingDINO, 'a red cat . a dog .'", "4", (101, 7, 8, 9, 1012, 7, 10, 1012, 102), 2),
    words("dino-other-phrase", "GroundingDINO, 'a red cat . a dog .'", "3", (101, 7, 8, 9, 1012, 7, 10, 1012, 102), 5),
    words(
        *("dino-no-stop", "GroundingDINO, 'a red cat . a dog', no stop at the end", "2"),
        *((101, 7, 8, 9, 1012, 7, 10, 102), 5),
        note="without a full stop at its end, each word of the last phrase reads only itself",
    ),
)

ROWS = (*LISTED, *WORDS)
