"""The same architectures in Flax, in Equinox and in PyTorch: parameters, multiply-adds and fields are the same.

    python benchmarks/jax_zoo.py        # needs rfcalc[jax,torchvision], flax and equinox

writes benchmarks/results/jax_zoo.md. Images are (height, width, channels) in Flax, (channels, height, width) in Equinox
and PyTorch; Equinox's models take one sample. A field is compared for every convolution, transposed one and pooling.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import jax_nets_torch
import torch
from tabulate import tabulate

import rfcalc
from rfcalc.conventions import count

RESULTS = Path(__file__).parent / "results" / "jax_zoo.md"
_WINDOWS = ("conv", "conv_transpose", "pool")


@dataclass(frozen=True)
class Case:
    """An architecture: its name among those of a library, the library's input, and the same in PyTorch."""

    name: str
    library: str
    inputs: Any
    same: Any
    same_inputs: Any


_TOKENS = {"src": (1, 10, 64), "tgt": (1, 7, 64)}
_ONE = {"src": (10, 64), "tgt": (7, 64)}


def cases() -> list[Case]:
    """All of them, those of PyTorch not made yet."""
    nets = jax_nets_torch
    image, plain, first = (1, 64, 64, 3), (3, 64, 64), (1, 3, 64, 64)
    steps = torch.zeros(1, 9, 12)  # a tensor says that its first axis is the batch
    return [
        Case("ResNet-18", "flax", image, nets.resnet, first),
        Case("ViT", "flax", image, nets.vit, first),
        Case("Transformer", "flax", _TOKENS, nets.transformer, _TOKENS),
        Case("U-Net", "flax", image, nets.unet, first),
        Case("LSTM by scan", "flax", steps, nets.Recurrent, steps),
        Case("ResNet-18", "equinox", plain, lambda: nets.resnet(8), first),
        Case("ViT", "equinox", plain, nets.vit, first),
        Case("Transformer", "equinox", _ONE, nets.transformer, _TOKENS),
        Case("U-Net", "equinox", plain, lambda: nets.unet(8), first),
        Case("LSTM by scan", "equinox", steps[0], nets.Recurrent, steps),
    ]


def facts(model: Any, inputs: Any) -> dict[str, Any]:
    """What is compared: parameters, multiply-adds, and the fields of windows in order."""
    analysis = rfcalc.analyze(model, inputs)
    fields = [
        (layer.kind, *(str(getattr(layer.receptive_field, part)) for part in ("size", "stride", "start")))
        for layer in analysis.layers
        if layer.kind in _WINDOWS and layer.receptive_field.stride is not None
    ]
    totals = analysis.totals
    return {"params": totals.params, "macs": totals.macs, "fields": fields, "status": totals.status}


def both(case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is known of the library's model, and of PyTorch's."""
    made = import_module(f"jax_nets_{case.library}").NETS[case.name]()
    return facts(made, case.inputs), facts(case.same().eval(), case.same_inputs)


def by_xla(case: Case) -> tuple[int, int]:
    """What `rfcalc explain --tool xla` says of the library's model, and what XLA itself says."""
    import jax
    import jax.numpy as jnp

    model = import_module(f"jax_nets_{case.library}").NETS[case.name]()
    given = (
        list(case.inputs.values()) if isinstance(case.inputs, dict) else [getattr(case.inputs, "shape", case.inputs)]
    )
    inputs = [jnp.zeros(tuple(shape)) for shape in given]
    if case.library == "flax":
        from flax import nnx

        model.eval()
        form, held = nnx.split(model)
        lowered = jax.jit(lambda held, *x: nnx.merge(form, held)(*x)).lower(held, *inputs)
    else:
        import equinox

        model = equinox.nn.inference_mode(model)
        held, form = equinox.partition(model, lambda leaf: hasattr(leaf, "shape"))
        lowered = jax.jit(lambda held, *x: equinox.combine(held, form)(*x)).lower(held, *inputs)
    return count(rfcalc.trace(model, case.inputs), "xla").printed, int(lowered.cost_analysis()["flops"])


def main() -> None:
    rows = []
    for case in cases():
        mine, theirs = both(case)
        apart = [key for key in mine if mine[key] != theirs[key]]
        said = "equal" if not apart else f"differs: {', '.join(apart)}"
        ours, xla = by_xla(case)
        counts = [f"{mine['macs']:,}", f"{mine['params']:,}", len(mine["fields"])]
        rows.append([case.name, case.library, *counts, said, f"{xla:,}", f"{ours - xla:+,}"])
        print(*rows[-1], flush=True)
    head = ["architecture", "library", "multiply-adds", "parameters", "fields", "with PyTorch"]
    head += ["XLA's operations", "of explain"]
    equal = sum(row[5] == "equal" for row in rows)
    text = "# Architectures of JAX's libraries\n\nWritten by `benchmarks/jax_zoo.py`. "
    text += f"{equal} of {len(rows)} say what PyTorch's do. XLA's operations are those\n"
    text += (
        "of its `cost_analysis`, and beside them how far `rfcalc explain --tool xla` is from them: XLA counts what\n"
    )
    text += "follows from weights alone, as the sum of a variance and its epsilon, which is nothing to rfcalc.\n\n"
    RESULTS.write_text(text + tabulate(rows, head, "github", disable_numparse=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
