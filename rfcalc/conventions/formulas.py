"""The formulas by which language models are said to cost so many operations in training, against the graph's own step.

Each is a set of claims over the same graph: which matrices it counts, which parameters besides, and which pairs of
attention. The terms between rfcalc's number and the formula's add up to the unit.

Sources, in the versions that the rows name:

- 6N: J. Kaplan et al., *Scaling Laws for Neural Language Models*, arXiv 2001.08361, section 2.1 and table 1;
- palm: A. Chowdhery et al., *PaLM*, arXiv 2204.02311, appendix B;
- megatron-lm: ``num_floating_point_operations`` of megatron/training/training.py, that of models without hybrid layers;
- nanogpt: ``GPT.estimate_mfu`` and ``GPT.get_num_params`` of model.py;
- maxtext: ``calculate_tflops_training_per_device`` of src/maxtext/utils/maxtext_utils.py, with what it calls for Gemma
  2 and 3, DeepSeek and mixtures of experts;
- verl: ``_estimate_qwen2_flops``, ``_estimate_qwen2_moe_flops``, ``_estimate_gemma3_flops``,
  ``_estimate_gpt_oss_flops`` and ``_estimate_deepseek_v3_flops`` of verl/utils/flops_counter.py;
- torchtitan: ``active_parameter_flops_per_unit`` and ``quadratic_attention_flops_per_token`` of
  torchtitan/models/utils.py;
- llm.c: ``gpt2_estimate_mfu`` of train_gpt2.cu;
- flash-attention: ``flops`` of benchmarks/benchmark_flash_attention.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from rfcalc.conventions.records import Tally
from rfcalc.conventions.rules import Ledger
from rfcalc.conventions.steps import GATES, ROUTERS, SHARED, Core, Step
from rfcalc.errors import UsageError
from rfcalc.graph import LayerGraph, Node

TRAINING = "operations of a training step"
ATTENTION = "operations of attention in a training step"

#: Forward, and backward for both factors, two operations a multiply-add.
_SIX = 6
_ALL = frozenset({"projections", "experts", "head", ROUTERS, SHARED, GATES})


@dataclass(frozen=True)
class Formula:
    """What a formula claims of a step of training.

    ``counts`` are the purposes of matrices that it counts, 6 operations a weight and token. ``params`` says that it
    does so by the number of all parameters: norms, biases, and all experts unless ``active``; ``tables`` which
    embeddings are among them. ``pairs`` are those of attention, none, all or half of the square; ``window`` where it
    takes the window for its side, and with ``corner`` also what a causal window has not at its start, half a square of
    its side, in place of half of all. ``sizes`` is what it takes for queries and values of all heads: their own, those
    of queries, or the model's width. ``backward`` is the backward pass of attention as a multiple of the forward pass.
    """

    name: str
    version: str
    call: str
    formula: str
    counts: frozenset[str] = _ALL
    params: bool = False
    active: bool = True
    tables: Literal["none", "words", "all", "as the head"] = "none"
    pairs: Literal["none", "all", "half"] = "none"
    window: Literal["never", "each", "mixed"] = "never"
    corner: bool = False
    sizes: Literal["own", "queries", "model"] = "own"
    backward: Fraction = Fraction(2)
    latent_norms: bool = False
    shared_by_latents: bool = False  #: shared experts only where queries and values differ in size, as DeepSeek's do
    unit: str = TRAINING


_FORMULAS = (
    Formula(
        "6N",
        "arXiv 2001.08361, section 2.1 and table 1",
        "C = 6 N D",
        "6N a token, N the matrices of the layers: no embeddings, no head, no biases",
        counts=_ALL - {"head"},
        active=False,
    ),
    Formula(
        "palm",
        "arXiv 2204.02311, appendix B",
        "6N + 12LHQT",
        "6N + 12LHQT a token, N all parameters",
        params=True,
        active=False,
        tables="all",
        pairs="all",
        sizes="queries",
    ),
    Formula(
        "megatron-lm",
        "Megatron-LM d98e8a6, megatron/training/training.py",
        "num_floating_point_operations(args, batch_size)",
        "6 for each weight of a matrix and token, half of the pairs",
        counts=_ALL - {ROUTERS, GATES},
        pairs="half",
        latent_norms=True,
    ),
    Formula(
        "nanogpt",
        "nanoGPT 3adf61e, model.py",
        "model.estimate_mfu(fwdbwd_per_iter, dt)",
        "6N + 12LHQT a token, N all parameters but those of positions, HQ the model's width",
        params=True,
        active=False,
        tables="words",
        pairs="all",
        sizes="model",
    ),
    Formula(
        "maxtext",
        "maxtext 27459f4, src/maxtext/utils/maxtext_utils.py",
        "calculate_tflops_training_per_device(config)",
        "6 for each weight of a matrix and token, half of T² pairs, TW - W²/2 in a window where layers differ",
        counts=_ALL - {GATES},
        pairs="half",
        window="mixed",
        corner=True,
        shared_by_latents=True,
    ),
    Formula(
        "verl",
        "verl 1dda039, verl/utils/flops_counter.py",
        "FlopsCounter(config).estimate_flops(batch_seqlens, delta_time)",
        "6N a token, N the matrices and the table of words as a head, and 3LH(Q + V)T, T a window where layers differ",
        counts=_ALL - {GATES},
        tables="as the head",
        pairs="half",
        window="mixed",
        shared_by_latents=True,
    ),
    Formula(
        "torchtitan",
        "torchtitan 01c01c8, torchtitan/models/utils.py",
        "active_parameter_flops_per_unit, quadratic_attention_flops_per_token",
        "6N a token, N the parameters that it meets, and 6LH(Q + V)T, T the window where there is one",
        params=True,
        pairs="all",
        window="each",
    ),
    Formula(
        "llm.c",
        "llm.c f1e2ace, train_gpt2.cu",
        "gpt2_estimate_mfu(model, num_tokens, dt)",
        "6N + 6LCT a token, N all parameters, C the model's width",
        params=True,
        active=False,
        tables="all",
        pairs="half",
        sizes="model",
    ),
    Formula(
        "flash-attention",
        "FlashAttention 0251105, benchmarks/benchmark_flash_attention.py",
        "benchmark_flash_attention.flops(batch, seqlen, headdim, nheads, causal, mode='fwd_bwd')",
        "4 x batch x length² x heads x size, half of it where causal, and 2.5 times as many backward",
        counts=frozenset(),
        pairs="half",
        sizes="queries",
        backward=Fraction(5, 2),
        unit=ATTENTION,
    ),
)

FORMULAS = {formula.name: formula for formula in _FORMULAS}


def tally(formula: Formula, graph: LayerGraph) -> Tally:
    """A formula's number for a graph, and the terms that lead to it from rfcalc's."""
    try:
        step = Step(graph)
    except UsageError:
        return _tally(formula, 0, Ledger(), f"it is about tokens, and no one input of {graph.model} holds token ids")
    if step.unknown:
        return _tally(formula, 0, Ledger(), f"no rule says what going back through {', '.join(step.unknown)} takes")
    if formula.unit == ATTENTION and not step.cores:
        return _tally(formula, 0, Ledger(), "there is no softmax attention")
    return _Claims(formula, step).tally()


def _tally(formula: Formula, base: int, ledger: Ledger, refused: str = "") -> Tally:
    terms = ledger.terms()
    return Tally(
        formula.name,
        formula.version,
        formula.call,
        formula.unit,
        f"FLOPs: {formula.formula}",
        1,
        base,
        base + sum(term.amount for term in terms),
        terms,
        refused,
    )


class _Claims:
    """The terms between a step of training and a formula for it."""

    def __init__(self, formula: Formula, step: Step) -> None:
        self.formula, self.step = formula, step
        self.ledger = Ledger()

    def tally(self) -> Tally:
        """What is claimed, term by term."""
        whole = self.formula.unit == TRAINING
        base = 0
        for core in self.step.cores:
            base += sum(self.step.operations(record) for record in core.records)
            self._attention(core)
        if whole:
            base += sum(self.step.operations(record) for record, _, _ in self.step.weighted)
            base += sum(self.step.operations(record) for record in self.step.loose)
            self._matrices()
            self._besides()
            for record in self.step.loose:
                label = "products of activations that are no softmax attention: left out"
                self._note(label, record.name, -self.step.operations(record))
        return _tally(self.formula, base, self.ledger)

    def _note(self, label: str, layer: str, amount: int | Fraction) -> None:
        assert Fraction(amount).denominator == 1
        self.ledger.note(label, "", layer, int(amount))

    def _full(self, record: Node) -> int:
        """The operations of an op if both of its factors need a gradient, once; what differs is noted."""
        full = _SIX * (record.macs or 0)
        back = self.step.back(record)
        self._note("what checkpointing runs once more: left out", record.name, -2 * back.again)
        missing = full - self.step.operations(record) + 2 * back.again
        self._note("gradients that nothing needs, of frozen weights and of inputs", record.name, missing)
        return full

    # --- matrices -----------------------------------------------------------------------------------------------------

    def _matrices(self) -> None:
        latent = any(core.query_size != core.value_size for core in self.step.cores)
        counts = self.formula.counts
        if self.formula.shared_by_latents and not latent:
            counts = counts - {SHARED}
        counted: dict[str, int] = {}
        for record, weight, purpose in self.step.weighted:
            if purpose in counts:
                counted[weight.name] = counted.get(weight.name, 0) + self._full(record)
            else:
                self._note(_LEFT_OUT.format(purpose), record.name, -self.step.operations(record))
        for name, full in counted.items():
            self._reuse(name, full)
        if self.formula.params or not self.formula.active:
            self._unreached(counts)

    def _reuse(self, name: str, full: int) -> None:
        """A matrix counts once for each token, whatever it is used for."""
        numel = self.step.sorting.weights[name].numel
        share = self.step.sorting.share.get(name)
        claimed = _SIX * self.step.tokens * numel * (share if share is not None and self.formula.active else 1)
        self._note(_UNMET if share is not None else "weights by the token, not by use", name, claimed - full)

    def _unreached(self, counts: frozenset[str]) -> None:
        """Experts that no token came to are parameters, too."""
        if "experts" not in counts or self.formula.active:
            return
        for name in self.step.sorting.share:
            if name not in self.step.used and len(self.step.sorting.weights[name].shape) > 1:
                amount = _SIX * self.step.tokens * self.step.sorting.weights[name].numel
                self._note(_UNMET, name, amount)

    # --- other parameters ---------------------------------------------------------------------------------------------

    def _besides(self) -> None:
        each = _SIX * self.step.tokens
        sorting = self.step.sorting
        if self.formula.params:
            for param in self.step.rest:
                if len(param.shape) > 1 and param.name in sorting.share and not self.formula.active:
                    continue  # noted with the experts
                amount = each * (sorting.active(param.name) if self.formula.active else param.numel)
                self._note("norms, biases and the like: 6 a parameter and token", param.name, amount)
        if self.formula.latent_norms and any(core.query_size != core.value_size for core in self.step.cores):
            for param in self.step.latent_norms:
                self._note("norms of latents: 6 a parameter and token", param.name, each * param.numel)
        if self.formula.tables in ("words", "all"):
            for param, of_positions in self.step.tables:
                if self.formula.tables == "all" or not of_positions:
                    self._note("tables of embeddings, which multiply nothing", param.name, each * param.numel)
        if self.formula.tables == "as the head":
            for name in dict.fromkeys(weight.name for _, weight, purpose in self.step.weighted if purpose == "head"):
                label = "the table of words, as large as the head, which multiplies nothing"
                self._note(label, name, each * sorting.weights[name].numel)

    # --- attention ----------------------------------------------------------------------------------------------------

    def _attention(self, core: Core) -> None:
        if self.formula.pairs == "none":
            for record in core.records:
                self._note("scores and weighted values: left out", core.name, -self.step.operations(record))
            return
        full = sum(self._full(record) for record in core.records)
        sizes = Fraction(core.query_size + core.value_size)
        if self.formula.sizes != "own":
            sizes = Fraction(2 * core.query_size)
        if self.formula.sizes == "model":
            sizes = Fraction(2 * self.step.width, max(1, core.heads))
        each = 2 * (1 + self.formula.backward)  # operations a pair and size, with those of the backward pass
        now = Fraction(full)
        short = core.windowed and (
            self.formula.window == "each" or (self.formula.window == "mixed" and self.step.mixed)
        )
        side = Fraction(core.longest if short else core.keys, core.keys)
        corner = short and self.formula.corner
        kept = self._kept(core, side if corner else Fraction(1))
        for label, amount in (
            (_SIZES[self.formula.sizes], _SIX * core.pairs * sizes),
            ("the backward kernel's scores once more", each * core.pairs * sizes),
            (_WINDOW, each * core.pairs * side * sizes),
            (_CORNER if corner else _HALF, each * core.pairs * side * kept * sizes),
        ):
            self._note(label, core.name, amount - now)
            now = Fraction(amount)

    def _kept(self, core: Core, corner: Fraction) -> Fraction:
        """What is left of a layer's pairs without half a square, whose side is that part of the side that they have."""
        masked = self.formula.unit != ATTENTION or self._causal(core)
        return 1 - corner / 2 if self.formula.pairs == "half" and masked else Fraction(1)

    def _causal(self, core: Core) -> bool:
        """Whether a mask closes any pair."""
        return any(record.id in self.step.masked for record in core.records)


_UNMET = "weights of experts that a token does not meet"
_LEFT_OUT = "{}: left out"
_SIZES = {
    "own": "",
    "queries": "values taken to be as wide as queries",
    "model": "heads taken to be as wide as the model together",
}
_WINDOW = "pairs beyond the window: left out"
_CORNER = "half a square of the window's side: left out"
_HALF = "half of the square of pairs: left out, whatever the mask"

__all__ = ["FORMULAS", "Formula", "tally"]
