"""Activations that are published, held against those that rfcalc counts, and why a number is another one.

A published number of timm's is explained by one of `WAYS`: the model as it is, the model with branches merged into one
(`timm.utils.model.reparameterize_model`, the ``--reparam`` of timm's benchmark), each of them also without what the
tool that counted (fvcore) does not know: attention and recurrent layers that run in one kernel, and convolutions whose
padding is a word. A few names stood for another model when a file was made: `OTHERS` builds it. What none of these
gives is listed.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tabulate import tabulate

from rfcalc.analyses.memory import activations as counted
from rfcalc.api import layer_graph
from rfcalc.graph import LayerGraph

#: What fvcore 0.1 has no rule for.
KERNELS = ("attention", "recurrent")

#: Why a number is what it is, in the order in which they are tried.
WAYS = {
    "as it is": "the model as it is",
    "kernels": "the model as it is, less attention and recurrent layers in one kernel, which fvcore does not count",
    "merged": "branches merged (`--reparam`)",
    "merged, kernels": "branches merged, less attention in one kernel",
    "padding": 'less convolutions with `padding="same"`, which fvcore does not count',
    "products": "attention as products (`TIMM_FUSED_ATTN=0`), where that is another number",
    "frequencies": "with products of positions and frequencies alone, which follow from no input",
    "other": "what the name stood for then (below)",
}


def _named(name: str, **settings: Any) -> Callable[[], Any]:
    def make() -> Any:
        import timm

        return timm.create_model(name, **settings)

    return make


def _resnext101_32x48d() -> Any:
    from timm.models.resnet import Bottleneck, ResNet

    return ResNet(Bottleneck, (3, 4, 23, 3), cardinality=32, base_width=48)


def _regnety_2560() -> Any:
    from timm.models.regnet import RegNet, RegNetCfg

    return RegNet(RegNetCfg(w0=640, wa=124.47, wm=2.04, group_size=848, depth=27, se_ratio=0.25))


_ALIAS = "timm 1.0 has the name as another one of resnext101_32x8d"
_HEAD = "its head had 21,843 classes by default"

#: Models of which a name stood for something else when a file was made: why, and what it was.
OTHERS: Mapping[str, tuple[str, Callable[[], Any]]] = {
    "ecaresnext50t_32x4d": ("it had 2 blocks in each stage", _named("ecaresnext50t_32x4d", layers=(2, 2, 2, 2))),
    "ig_resnext101_32x16d": (_ALIAS, _named("resnext101_32x16d")),
    "ig_resnext101_32x32d": (_ALIAS, _named("resnext101_32x32d")),
    "ig_resnext101_32x48d": (_ALIAS, _resnext101_32x48d),
    "regnety_2560": ("it had other widths, which timm keeps in a comment", _regnety_2560),
    "vit_large_patch32_224": (_HEAD, _named("vit_large_patch32_224", num_classes=21843)),
    "vit_base_r50_s16_224": (_HEAD, _named("vit_base_r50_s16_224", num_classes=21843)),
    "vit_huge_patch14_224": (_HEAD, _named("vit_huge_patch14_224", num_classes=21843)),
    "maxvit_xlarge_tf_224": ("its head had 1,000 classes by default", _named("maxvit_xlarge_tf_224", num_classes=1000)),
}

Published = dict[tuple[str, int], dict[str, list[str]]]


def published(folder: Path) -> Published:
    """What each model has at each size: every number that is printed, with the files that print it."""
    found: Published = {}
    for file in sorted(folder.glob("benchmark-infer-*.csv")):
        for line in csv.DictReader(file.read_text().splitlines()):
            if line.get("infer_macts"):
                printed = found.setdefault((line["model"], int(line["infer_img_size"])), {})
                printed.setdefault(f"{float(line['infer_macts']):.2f}", []).append(file.name)
    return found


def by_kind(graph: LayerGraph) -> dict[str, int]:
    """Elements of the outputs of convolutions and matrix products, by the kind of op."""
    kinds = sorted({one.kind for one in graph})
    found = {kind: counted(graph, [one for one in graph if one.kind == kind])[0] for kind in kinds}
    return {kind: elements for kind, elements in found.items() if elements}


def traced(name: str, size: int) -> LayerGraph:
    """The model at a size; where it is made for another one, made for this one."""
    try:
        return layer_graph(f"timm:{name}", (3, size, size))
    except Exception as error:
        try:
            return layer_graph(f"timm:{name}(img_size={size})", (3, size, size))
        except Exception:
            raise error from None


def merged(name: str, size: int) -> LayerGraph | None:
    """The model with its branches merged; None where there are none."""
    import timm
    from timm.utils.model import reparameterize_model

    model = timm.create_model(name).eval()
    if not any(hasattr(one, way) for one in model.modules() for way in ("fuse", "reparameterize", "switch_to_deploy")):
        return None
    return layer_graph(reparameterize_model(model), (3, size, size))


def padded_by_a_word(name: str, graph: LayerGraph) -> int:
    """Elements of the outputs of convolutions that are given ``padding="same"``."""
    import timm
    from torch import nn

    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    modules = timm.create_model(name).named_modules()
    scopes = {scope for scope, one in modules if isinstance(one, kinds) and isinstance(one.padding, str)}
    return counted(graph, [one for one in graph if one.scope in scopes])[0]


def of_frequencies(name: str, size: int) -> int:
    """Elements of the products by which a rotary embedding with frequencies of its own is made anew in each pass."""
    import timm

    model = timm.create_model(name)
    if "RotaryEmbeddingMixed" not in {type(one).__name__ for one in model.modules()}:
        return 0
    patch = model.patch_embed.patch_size[0]
    return int(model.rope.freqs.numel() * (size // patch) ** 2)


def as_products(name: str, size: int) -> LayerGraph:
    """The model whose attention runs in no kernel of its own."""
    import timm
    from timm.layers import set_fused_attn

    set_fused_attn(False)
    try:
        return layer_graph(timm.create_model(name), (3, size, size))
    finally:
        set_fused_attn(True)


def row(name: str, size: int, printed: Mapping[str, list[str]]) -> dict[str, Any]:
    """One model at one size: what is printed, in how many files, and what is counted."""
    made: dict[str, Any] = {"printed": {number: len(files) for number, files in printed.items()}}
    graph = traced(name, size)
    made["kinds"] = by_kind(graph)
    if None not in ways(made).values():
        return made
    if (other := merged(name, size)) is not None:
        made["merged"] = by_kind(other)
    elif name in OTHERS:
        made["other"] = by_kind(layer_graph(OTHERS[name][1](), (3, size, size)))
    elif elements := padded_by_a_word(name, graph):
        made["padded"] = elements
    elif elements := of_frequencies(name, size):
        made["frequencies"] = elements
    else:
        made["products"] = by_kind(as_products(name, size))
    return made


def ways(line: Mapping[str, Any]) -> dict[str, str | None]:
    """Which way gives each number that is printed; None for a number that none of them gives."""
    given: dict[str, str] = {}
    for word, kinds in (("as it is", line.get("kinds")), ("merged", line.get("merged"))):
        if kinds:
            less = sum(elements for kind, elements in kinds.items() if kind not in KERNELS)
            given.setdefault(_printed(sum(kinds.values())), word)
            given.setdefault(_printed(less), "kernels" if word == "as it is" else "merged, kernels")
    if "padded" in line:
        given.setdefault(_printed(sum(line["kinds"].values()) - line["padded"]), "padding")
    if "frequencies" in line:
        given.setdefault(_printed(sum(line["kinds"].values()) + line["frequencies"]), "frequencies")
    if "products" in line:
        given.setdefault(_printed(sum(line["products"].values())), "products")
    if "other" in line:
        given.setdefault(_printed(sum(line["other"].values())), "other")
    return {number: given.get(number) for number in line["printed"]}


def _printed(elements: int) -> str:
    return f"{round(elements / 1e6, 2):.2f}"


def text(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What came of it, as Markdown."""
    known = {name: line for name, line in rows.items() if "kinds" in line}
    models: dict[str | None, int] = dict.fromkeys([*WAYS, None], 0)
    numbers, files = dict(models), dict(models)
    apart: list[tuple[str, ...]] = []
    others: list[str] = []
    for name, line in known.items():
        found = ways(line)
        for way in set(found.values()):
            models[way] += 1
        for number, way in found.items():
            numbers[way] += 1
            files[way] += line["printed"][number]
        if "other" in found.values():
            others.append(f"- {name}: {OTHERS[name.split()[0]][0]}")
        apart += [_apart(name, number, line) for number, way in found.items() if way is None]
    yield f"{len(known)} models and sizes of timm's files, {sum(numbers.values())} different numbers of theirs in"
    yield f"{sum(files.values())} rows, to their two decimals:"
    yield ""
    said = {**WAYS, None: "none of these (below)" if numbers[None] else "none of these"}
    body = [(said[way], models[way], numbers[way], files[way]) for way in said if numbers[way] or way is None]
    yield tabulate(body, headers=("equal to", "models and sizes", "numbers", "rows"), tablefmt="github", intfmt=",")
    yield ""
    yield from [*others, *([""] if others else [])]
    if apart:
        yield tabulate(apart, headers=("model", "printed", "in files", "rfcalc", "merged"), tablefmt="github",
                       disable_numparse=True)  # fmt: skip
        yield ""
    failed: dict[str, list[str]] = {}
    for name, line in rows.items():
        if "error" in line:
            failed.setdefault(line["error"], []).append(name)
    if failed:
        yield "Not traced:"
        yield ""
        yield from (f"- {', '.join(names)}: {error}" for error, names in failed.items())
        yield ""


def _apart(name: str, number: str, line: Mapping[str, Any]) -> tuple[str, ...]:
    sums = [_printed(sum(kinds.values())) if (kinds := line.get(key)) else "" for key in ("kinds", "merged")]
    return (name, number, str(line["printed"][number]), *sums)


def of_retired(error: str) -> str:
    """The reason in one line, the same for all models that have it."""
    return "timm 1.0.31 has no model of this name" if error.startswith("timm has no model") else error[:160]


def _unsettled(line: Mapping[str, Any]) -> bool:
    return "kinds" in line and None in ways(line).values() and not set(line) - {"printed", "kinds"}


def todo(folder: Path, rows: Mapping[str, Any], again: bool) -> Iterable[tuple[str, str, int, dict[str, list[str]]]]:
    """What is not there yet: key, model, size, and what is printed."""
    for (name, size), printed in published(folder).items():
        key = f"{name} {size}"
        if again or key not in rows or _unsettled(rows[key]):
            yield key, name, size, printed
