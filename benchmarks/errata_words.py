"""Which words of a prompt a word reads in GroundingDINO's text branch, for `errata.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from errata_measures import Built, Measure, plain_kernels  # beside this file
from torch import Tensor, nn

import rfcalc


class Words(nn.Module):
    """GroundingDINO's words: the masks that its code makes of the ids, and its text backbone."""

    def __init__(self, dino: Any) -> None:
        super().__init__()
        self.backbone = dino.text_backbone

    def forward(self, input_ids: Tensor) -> Tensor:
        from transformers.models.grounding_dino import modeling_grounding_dino as code

        special = torch.tensor(code.SPECIAL_TOKENS, device=input_ids.device)
        mask, places = code.generate_masks_with_special_tokens_and_transfer_map(input_ids, special)
        kinds = torch.zeros_like(input_ids)
        given: Tensor = self.backbone(input_ids, mask[:, None], kinds, places).last_hidden_state
        return given


@dataclass(frozen=True)
class SpanRead(Measure):
    """How many tokens the word at a place reads, for these ids."""

    ids: tuple[int, ...]
    word: int

    def ours(self, model: Built) -> int:
        words = Words(model.on("cpu")).eval()
        analysis = rfcalc.analyze(words, {"input_ids": torch.tensor([self.ids])})
        table = "backbone.embeddings.word_embeddings"  # beyond it, places and masks are made of ids as well
        region = analysis.receptive_field(analysis.layers[-1].name, of=table, at=(self.word,)).region
        assert region is not None
        assert region[0] is not None
        return region[0][1] - region[0][0] + 1

    def theirs(self, model: Built) -> int:
        """Another vector in place of each token's in turn, and whether the word's result changes in any bit."""
        words = Words(model.on("cpu")).eval().double()
        ids = torch.tensor([self.ids])
        table = words.backbone.embeddings.word_embeddings
        with plain_kernels():
            usual = words(ids)[0, self.word]
            changed = 0
            for place in range(len(self.ids)):

                def moved(_: Any, __: Any, out: Tensor, place: int = place) -> Tensor:
                    out = out.clone()
                    out[0, place] += torch.linspace(0.5, 1.5, out.shape[-1], dtype=out.dtype)
                    return out

                hook = table.register_forward_hook(moved)
                changed += not torch.equal(words(ids)[0, self.word], usual)
                hook.remove()
        return changed

    @property
    def what(self) -> str:
        return f"tokens that word {self.word} reads"

    @property
    def ways(self) -> str:
        return "another vector for each token in turn, and whether the word's result changes"
