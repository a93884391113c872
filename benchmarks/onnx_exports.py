"""Networks exported to ONNX by both of torch's exporters, and what rfcalc says of the files and of the networks.

    python benchmarks/onnx_exports.py [--only PATTERN] [--again]

For each network and exporter

- multiply-adds of the file are held against those of the network in PyTorch,
- receptive fields are held against each other, convolution by convolution in the order in which they run (size, stride
  and start), where the exporter keeps the convolutions,
- parameters are held against the initializers of the file, each once: those of floating point that are no single
  numbers, running statistics or masks, counted from the file alone. Where nodes of the graph hold such numbers, as the
  older exporter writes what the code itself makes (tables of positions), they may be counted, and the table says so.

It writes ``benchmarks/results/onnx_exports.json`` and ``.md``, a row after each network; rows that are there are left
out unless ``--again``. Needs onnx, onnxscript, torchvision, timm and transformers. Exits with 1 if anything differs.
"""

from __future__ import annotations

import fnmatch
import json
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

import click
import onnx
import torch
from tabulate import tabulate
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import rfcalc  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
EXPORTERS = {"torch.export": True, "TorchScript": False}
_STATISTICS = (3, 4)

Made = tuple[nn.Module, tuple[torch.Tensor, ...]]


def _vision(name: str, size: int = 224, **options: Any) -> Callable[[], Made]:
    def make() -> Made:
        models = import_module("torchvision.models")
        return models.get_model(name, weights=None, **options), (torch.zeros(1, 3, size, size),)

    return make


def _timm(name: str, size: int = 224) -> Callable[[], Made]:
    def make() -> Made:
        made = import_module("timm").create_model(name, pretrained=False, exportable=True)
        return made, (torch.zeros(1, 3, size, size),)

    return make


class _Only(nn.Module):
    """A language model that gives its last hidden states alone, and has no pooler, which exporters would leave out."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return self.inner(given, return_dict=False)[0]


def _text(kind: str, length: int = 16, **config: Any) -> Callable[[], Made]:
    def make() -> Made:
        library = import_module("transformers")
        settings = getattr(library, f"{kind}Config")(attn_implementation="eager", **config)
        model = getattr(library, f"{kind}Model")(settings)
        if getattr(model, "pooler", None) is not None:
            model.pooler = None
        return _Only(model), (torch.zeros(1, length, dtype=torch.int64),)

    return make


_SMALL = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}
MODELS: dict[str, Callable[[], Made]] = {
    **{
        f"torchvision:{name}": _vision(name)
        for name in (
            *("alexnet", "vgg11", "resnet18", "resnet50", "squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small"),
            *("shufflenet_v2_x0_5", "efficientnet_b0", "densenet121", "mnasnet0_5", "regnet_y_400mf", "convnext_tiny"),
            *("vit_b_32", "swin_t"),
        )
    },
    "torchvision:googlenet": _vision("googlenet", aux_logits=False, init_weights=False),
    "torchvision:inception_v3": _vision("inception_v3", 299, aux_logits=False, init_weights=False),
    **{
        f"timm:{name}": _timm(name)
        for name in (
            *("resnet18d", "convnext_atto", "vit_tiny_patch16_224", "mixer_s32_224", "poolformer_s12", "levit_128s"),
            *("edgenext_xx_small", "ghostnet_100", "repvgg_a0", "efficientnet_lite0"),
        )
    },
    "transformers:BertModel": _text("Bert", **_SMALL),
    "transformers:RobertaModel": _text("Roberta", **_SMALL),
    "transformers:ElectraModel": _text("Electra", **_SMALL),
    "transformers:DistilBertModel": _text("DistilBert", n_layers=2, dim=64, n_heads=4, hidden_dim=128),
    "transformers:MPNetModel": _text("MPNet", **_SMALL),
}


def _convolutions(a: Any) -> list[Any]:
    """Size, stride and start of each convolution's field, in order."""
    found = []
    for layer in a.layers:
        if layer.kind == "conv":
            field = layer.receptive_field
            found.append([str(field.size), str(field.stride), str(field.start)])
    return found


def _weights(path: Path) -> tuple[int, int]:
    """The elements of the weights in a file, each initializer once, and of what nodes of its graph hold as numbers."""
    graph = onnx.load(path, load_external_data=False).graph
    users: dict[str, list[tuple[str, int]]] = {}
    for node in reversed(graph.node):
        for at, name in enumerate(node.input):
            handed = users.get(node.output[0], []) if node.op_type == "Identity" else [(node.op_type, at)]
            users.setdefault(name, []).extend(handed)
    held = [
        (1, *_named(node)) for node in graph.node if node.op_type == "Constant" and node.attribute[0].name == "value"
    ]
    totals = [0, 0]
    for kind, name, tensor in [*((0, tensor.name, tensor) for tensor in graph.initializer), *held]:
        used = users.get(name, [])
        floating = tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
        statistic = bool(used) and all(op == "BatchNormalization" and at in _STATISTICS for op, at in used)
        setting = bool(used) and all(op in ("Resize", "Clip", "Pad") and at for op, at in used)
        count = prod(tensor.dims)
        weighs = any(op in ("Conv", "Gemm") for op, _ in used)
        if floating and not statistic and not setting and (count > 1 or weighs) and not _masks(tensor, used):
            totals[kind] += count
    return totals[0], totals[1]


def _named(node: Any) -> tuple[str, Any]:
    return node.output[0], node.attribute[0].t


def _masks(tensor: Any, used: list[tuple[str, int]]) -> bool:
    if not used or any(op not in ("Add", "Where") for op, _ in used) or not tensor.HasField("raw_data"):
        return False
    return len(tensor.dims) > 1 and bool((onnx.numpy_helper.to_array(tensor) <= -88).any())


def row(name: str, make: Callable[[], Made]) -> list[dict[str, Any]]:
    """One network: a record for each exporter."""
    torch.manual_seed(0)
    model, inputs = make()
    model.eval()
    before = rfcalc.analyze(model, inputs)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for exporter, newer in EXPORTERS.items():
            path = Path(folder) / "model.onnx"
            record: dict[str, Any] = {"model": name, "exporter": exporter}
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    more: dict[str, Any] = {"external_data": False, "verbose": False} if newer else {}
                    torch.onnx.export(model, inputs, path, dynamo=newer, **more)
            except Exception as error:
                found.append({**record, "error": f"not exported: {' '.join(str(error).split())[:200]}"})
                continue
            start = time.perf_counter()
            try:
                after = rfcalc.analyze(str(path))
            except Exception as error:
                found.append({**record, "error": f"not read: {' '.join(str(error).split())[:300]}"})
                continue
            record["seconds"] = round(time.perf_counter() - start, 2)
            one, other = _convolutions(before), _convolutions(after)
            weights, in_nodes = _weights(path)
            record |= {
                "macs": [before.totals.macs, after.totals.macs],
                "params": [weights, after.totals.params],
                "in_nodes": in_nodes,
                "convolutions": [len(one), len(other)],
                "fields": one == other,
                "status": after.totals.status,
            }
            found.append(record)
    return found


def _verdict(record: dict[str, Any]) -> str:
    if "error" in record:
        return str(record["error"])
    (weights, params), in_nodes = record["params"], record["in_nodes"]
    wrong = ["macs"] if len(set(record["macs"])) > 1 else []
    wrong += [] if params in (weights, weights + in_nodes) else ["params"]
    wrong += [] if record["fields"] else ["fields"]
    wrong += [] if record["status"] == "complete" else [record["status"]]
    more = f"; {in_nodes:,} parameters are in nodes" if params != weights else ""
    return f"differs: {', '.join(wrong)}" if wrong else f"equal{more}"


def _is_equal(record: dict[str, Any]) -> bool:
    return _verdict(record).startswith("equal")


def write(records: list[dict[str, Any]]) -> None:
    """The results as data and as a table."""
    (RESULTS / "onnx_exports.json").write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    rows = [
        (
            record["model"],
            record["exporter"],
            *(f"{record[key][1]:,}" if key in record else "" for key in ("macs", "params", "convolutions")),
            record.get("seconds", ""),
            _verdict(record),
        )
        for record in records
    ]
    heads = ("network", "exporter", "multiply-adds", "parameters", "convolutions", "seconds", "with PyTorch")
    releases = ", ".join(f"{name} {version(name)}" for name in ("torch", "onnx", "onnxscript"))
    equal = sum(_is_equal(record) for record in records)
    text = f"# ONNX files of torch's exporters\n\n{equal} of {len(records)} files say what PyTorch does."
    text += f" {releases}.\n\n"
    text += tabulate(rows, heads, tablefmt="github", disable_numparse=True) + "\n"
    (RESULTS / "onnx_exports.md").write_text(text, encoding="utf-8")


@click.command()
@click.option("--only", default="*", help="A pattern over the names of networks.")
@click.option("--again", is_flag=True, help="Measure what is there already.")
def main(only: str, again: bool) -> None:
    """Export, read, compare."""
    logging.disable(logging.WARNING)
    path = RESULTS / "onnx_exports.json"
    records = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    for name, make in MODELS.items():
        if not fnmatch.fnmatch(name, only) or (not again and any(record["model"] == name for record in records)):
            continue
        found = row(name, make)
        records = [record for record in records if record["model"] != name] + found
        write(records)
        for record in found:
            print(record["model"], record["exporter"], _verdict(record), flush=True)
    sys.exit(not all(map(_is_equal, records)))


if __name__ == "__main__":
    main()
