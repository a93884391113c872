"""Multiply-adds of the backward pass of many models, against torch's counter around a backward pass of autograd's.

    python benchmarks/backward.py [--only NAME] [--save]

torch runs the model and its backward pass on tensors without storage: the same ops are dispatched, and counted by the
same formulas, as on numbers. Attention runs as its parts, so that torch counts it. FlopCounterMode ignores groups in
the weight gradient of a convolution; what it counts too much there is told apart. It fails where a number is another.
``--save`` writes ``benchmarks/results/backward.json`` and ``backward.md``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import click
import torch
from measuring import machine, save, table  # beside this file
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import rfcalc
from rfcalc.checking.backward import Excess
from rfcalc.tracing.arguments import tensors_in

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

Made = tuple[nn.Module, dict[str, Any]]


def of_torchvision(name: str, side: int = 224, frames: int = 0) -> Made:
    """A classifier or segmentation network of torchvision's, without auxiliary heads."""
    import torchvision

    extra: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        extra = {"aux_logits": False, "init_weights": False}
    elif name.startswith(("fcn", "deeplab")):
        extra = {"weights_backbone": None}
    with torch.device("cpu" if name.startswith("regnet") else "meta"):  # that one copies what it has drawn
        model = torchvision.models.get_model(name, weights=None, **extra).to("meta")
    return model, {"x": torch.empty((1, 3, *([frames] if frames else []), side, side), device="meta")}


def of_transformers(kind: str, config: str, **sizes: Any) -> Made:
    """A small language model of transformers, and ids of 32 tokens."""
    import transformers

    with torch.device("meta"):
        settings = getattr(transformers, config)(vocab_size=96, **sizes)
        model = getattr(transformers, kind)(settings)
        return model, {"input_ids": torch.empty(2, 32, dtype=torch.long)}


class Parts(nn.Module):
    """Linear layers of which one is frozen, one runs without gradients, and two run twice by checkpointing."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.lost, self.one, self.two, self.head = (nn.Linear(8, 8) for _ in range(5))
        self.frozen.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        from torch.utils.checkpoint import checkpoint

        with torch.no_grad():
            x = self.lost(x)
        x = self.frozen(self.one(x))
        x = checkpoint(lambda y: self.two(self.one(y)).relu(), x, use_reentrant=False)
        found: torch.Tensor = self.head(x)
        return found


def of_own(make: Callable[[], nn.Module], *shape: int) -> Made:
    """A model of a few lines."""
    with torch.device("meta"):
        return make(), {"x": torch.empty(shape)}


_SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
_GROUPED = {**_SMALL, "num_key_value_heads": 2}

MODELS: dict[str, Callable[[], Made]] = {
    **{
        f"torchvision:{name}": lambda name=name: of_torchvision(name)  # type: ignore[misc]
        for name in (
            *("alexnet", "vgg16", "googlenet", "squeezenet1_1", "resnet18", "resnet50", "resnext50_32x4d"),
            *("wide_resnet50_2", "densenet121", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x1_0"),
            *("mnasnet1_0", "regnet_y_400mf", "efficientnet_b0", "convnext_tiny", "vit_b_16", "swin_t"),
            *("swin_v2_t", "maxvit_t", "fcn_resnet50", "deeplabv3_resnet50"),
        )
    },
    "torchvision:inception_v3": lambda: of_torchvision("inception_v3", 299),
    "torchvision:r3d_18": lambda: of_torchvision("r3d_18", 112, 8),
    "GPT-2, small": lambda: of_transformers("GPT2LMHeadModel", "GPT2Config", n_embd=32, n_layer=2, n_head=4),
    "Llama, small": lambda: of_transformers("LlamaForCausalLM", "LlamaConfig", **_GROUPED),
    "Mistral, small": lambda: of_transformers("MistralForCausalLM", "MistralConfig", sliding_window=8, **_GROUPED),
    "Gemma 2, small": lambda: of_transformers("Gemma2ForCausalLM", "Gemma2Config", head_dim=8, **_GROUPED),
    "Qwen 2, small": lambda: of_transformers("Qwen2ForCausalLM", "Qwen2Config", **_GROUPED),
    "BERT, small": lambda: of_transformers("BertForMaskedLM", "BertConfig", **_SMALL),
    "GRU of two layers": lambda: of_own(lambda: nn.GRU(8, 16, 2, batch_first=True, bidirectional=True), 2, 12, 8),
    "a frozen, a lost and checkpointed parts": lambda: of_own(Parts, 4, 8),
}


def measured(model: nn.Module, inputs: dict[str, Any]) -> tuple[int, int]:
    """What FlopCounterMode counts for the backward pass, and how much of it is its fault."""
    from torch.utils.checkpoint import set_checkpoint_early_stop

    counter, excess = FlopCounterMode(display=False), Excess()
    with sdpa_kernel(SDPBackend.MATH), set_checkpoint_early_stop(False):
        given = inputs.values() if "x" in inputs else ()
        result = model(*given, **({} if given else inputs))
        outputs = [tensor for tensor in tensors_in(result) if tensor.requires_grad]
        loss = torch.stack([output.float().sum() for output in outputs]).sum()
        with counter, excess:
            loss.backward()
    return int(counter.get_total_flops()) // 2, excess.flops // 2


def row_of(name: str) -> dict[str, Any]:
    """Both numbers of one model."""
    model, inputs = MODELS[name]()
    model.eval()
    given: Any = inputs.get("x", inputs)
    totals = rfcalc.analyze(model, given).totals
    seen, fault = measured(model, inputs)
    found = {} if totals.backward is None else totals.backward.to_dict()
    equal = totals.backward_macs == seen - fault
    return {"model": name, "forward": totals.macs, **found, "torch": seen, "fault": fault, "equal": equal}


def text_of(rows: list[dict[str, Any]]) -> list[str]:
    """The page below its title."""
    titles = ["model", "forward", "backward", "of inputs", "of weights", "once more", "torch", "its fault", "equal"]
    keys = ("forward", "macs", "inputs", "weights", "recomputed", "torch", "fault")
    lines = [[row["model"], *(f"{row[key]:,}" for key in keys), "yes" if row["equal"] else "NO"] for row in rows]
    equal = sum(row["equal"] for row in rows)
    return [
        f"{len(rows)} models; {equal} are equal to `FlopCounterMode` around a backward pass of torch's, to the unit,"
        " but for what it counts too much for weight gradients of grouped convolutions (its fault): it takes them for"
        " full ones.",
        table(lines, titles),
    ]


@click.command()
@click.option("--only", multiple=True, help="Only models whose name holds this.")
@click.option("--save", "keep", is_flag=True)
def main(only: tuple[str, ...], keep: bool) -> None:
    rows = []
    for name in MODELS:
        if only and not any(part in name for part in only):
            continue
        row = row_of(name)
        rows.append(row)
        print(f"{name}: {row}", file=sys.stderr, flush=True)
    if keep:
        about = "Multiply-adds of the backward pass"
        save("backward", about, {"machine": machine("transformers"), "rows": rows}, text_of(rows))
    print("\n\n".join(text_of(rows)))
    sys.exit(not all(row["equal"] for row in rows))


if __name__ == "__main__":
    main()
