"""How long rfcalc takes for models of today: language, state space, codecs, vision and diffusion, beside a bare pass.

    python benchmarks/speed_today.py [--rounds N] [--only PATTERN]... [--save]

Each is a base class of transformers with the configuration of `transformers_specs`, beside this file, or one of
diffusers with its defaults, and Mamba2 with its 64 layers on 2,048 tokens. `rfcalc.analyze` with all layers and totals
runs in turns with ``model(**inputs)`` under ``no_grad`` on the meta device; a pass under 10 ms counts as 10 ms. A first
analysis is one without what rfcalc keeps of the calls that it has traced. Ratios are of medians of CPU time. A model
that is not installed, built or run there is listed as such. ``--save`` writes ``benchmarks/results/speed_today.json``
and ``.md``, with ``--only`` beside the rows that are there. A target that is missed is said, and is no error.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatch
from typing import Any

import click
import torch
from measuring import RESULTS, machine, ms, save, table  # beside this file
from torch import nn
from transformers_specs import entries

from rfcalc.analyses.analysis import Analysis
from rfcalc.api import layer_graph
from rfcalc.tracing import replay

FILE = RESULTS / "speed_today.json"
FLOOR = 0.01  #: seconds
MEDIAN, ANY = 0.5, 1.5  #: the most that an analysis may take of a bare pass

#: Types of transformers, as their configurations call them.
KINDS = (
    *("llama", "qwen3", "qwen3_5_text", "gemma3_text", "mistral", "gpt_oss", "mixtral", "deepseek_v3", "phi3", "olmo2"),
    *("mamba2", "mamba", "kimi_linear", "qwen3_next", "falcon_h1", "rwkv", "recurrent_gemma", "jamba", "zamba2"),
    *("vibevoice_acoustic_tokenizer", "xcodec", "dac", "encodec", "whisper", "wav2vec2", "hubert", "clap"),
    *("vit", "dinov2", "swin", "siglip", "clip", "sam", "convnextv2", "segformer", "bert", "t5", "bart", "modernbert"),
)

Made = tuple[nn.Module, Mapping[str, Any]]


def mamba2() -> Made:
    import transformers

    with torch.device("meta"):
        return transformers.Mamba2Model(transformers.Mamba2Config()).eval(), {
            "input_ids": torch.zeros(1, 2048, dtype=torch.long)
        }


def diffusion() -> Made:
    import diffusers

    with torch.device("meta"):
        model = diffusers.UNet2DModel(sample_size=64, in_channels=3, out_channels=3).eval()
        return model, {"sample": torch.empty(1, 3, 64, 64), "timestep": 1}


def autoencoder() -> Made:
    import diffusers

    with torch.device("meta"):
        return diffusers.AutoencoderKL().eval(), {"sample": torch.empty(1, 3, 64, 64)}


def of_transformers(entry: Any) -> Made:
    """A model and inputs that it takes, on the meta device; the values of inputs stay."""
    model = next(iter(entry.builds()))().to("meta")
    why: Exception = LookupError("no input is known")
    for proposal in entry.inputs(model):
        unmasked = {name: value for name, value in proposal.items() if name != "attention_mask"}
        for given in (proposal, unmasked):  # some look whether a mask leaves anything out
            try:
                bare(model, given)()
            except Exception as error:  # the next may be what it takes
                why = error
            else:
                return model, given
    raise why


def models(only: tuple[str, ...]) -> Iterator[tuple[str, Callable[[], Made]]]:
    """By name, how each is made."""
    own = {"mamba2 (64 layers, 2,048 tokens)": mamba2, "diffusers UNet2D": diffusion, "diffusers VAE": autoencoder}
    by_kind = {entry.kind: entry for entry in entries() if entry.role == "base" and entry.kind in KINDS}
    for name in (*KINDS, *own):
        if only and not any(fnmatch(name, pattern) for pattern in only):
            continue
        if name in own:
            yield name, own[name]
        elif name in by_kind:
            yield name, lambda entry=by_kind[name]: of_transformers(entry)


def on_meta(value: Any) -> Any:
    """A tensor without storage in the place of one."""
    return value.to("meta") if isinstance(value, torch.Tensor) else value


def bare(model: nn.Module, inputs: Mapping[str, Any]) -> Callable[[], Any]:
    """A pass that computes nothing."""
    given = {name: on_meta(value) for name, value in inputs.items()}

    def run() -> Any:
        with torch.no_grad():
            return model(**given)

    return run


def analysed(model: nn.Module, inputs: Mapping[str, Any]) -> Callable[[], Any]:
    def run() -> Any:
        found = Analysis(layer_graph(model, dict(inputs)))
        return found.layers, found.totals

    return run


def clocked(run: Callable[[], Any]) -> float:
    begun = time.process_time()
    run()
    return time.process_time() - begun


def measured(made: Made, rounds: int) -> dict[str, float]:
    """Medians of the bare pass, the first and the next analysis, which run in turns."""
    passing, analysis = bare(*made), analysed(*made)
    passing()
    analysis()
    times: dict[str, list[float]] = {"bare": [], "first": [], "next": []}
    for _ in range(rounds):
        times["bare"].append(clocked(passing))
        replay.forget()
        times["first"].append(clocked(analysis))
        times["next"].append(clocked(analysis))
    return {name: statistics.median(found) for name, found in times.items()}


def text(found: Mapping[str, Mapping[str, float]], left: Mapping[str, str]) -> str:
    rows = []
    ratios: dict[str, list[float]] = {"first": [], "next": []}
    for name, spent in found.items():
        floor = max(spent["bare"], FLOOR)
        for kind, own in ratios.items():
            own.append(spent[kind] / floor)
        said = [f"{own[-1]:.2f}" for own in ratios.values()]
        rows.append((name, *[ms(spent[kind]) for kind in ("bare", "first", "next")], *said))
    if not rows:
        return "nothing was measured"
    for title, judge, most in (("median", statistics.median, MEDIAN), ("worst", max, ANY)):
        values = [judge(own) for own in ratios.values()]
        held = "met" if values[1] <= most else "missed"
        rows.append((title, None, None, None, f"{values[0]:.2f}", f"{values[1]:.2f} ({most}, {held})"))
    titles = ("model", "bare CPU ms", "first CPU ms", "next CPU ms", "first", "next")
    return "\n\n".join([table(rows, titles), *[f"- {name}: {why}" for name, why in left.items()]])


@click.command()
@click.option("--rounds", default=3, show_default=True, help="How often each is timed.")
@click.option("--only", multiple=True, metavar="PATTERN", help="Only models with such a name.")
@click.option("--save", "keep", is_flag=True, help="Write the results.")
def main(rounds: int, only: tuple[str, ...], keep: bool) -> None:
    """Measure, print the table, write it if asked."""
    found: dict[str, dict[str, float]] = {}
    left: dict[str, str] = {}
    if keep and only and FILE.exists():
        known = json.loads(FILE.read_text(encoding="utf-8"))
        found, left = known["models"], known["left"]
    for name, make in models(only):
        found.pop(name, None)
        left.pop(name, None)
        try:
            found[name] = measured(make(), rounds)
        except Exception as error:  # one of many models of others
            said = str(error).splitlines() or [type(error).__name__]
            left[name] = f"not measured: {said[0][:120]}"
        spent = found.get(name)
        told = left[name] if spent is None else ", ".join(f"{key} {ms(value)}" for key, value in spent.items())
        click.echo(f"{name}: {told}", err=True)
        if keep:
            write(found, left)
    click.echo(text(found, left))


def write(found: Mapping[str, Mapping[str, float]], left: Mapping[str, str]) -> None:
    """The tables in ``results``, with what there is so far."""
    data = {"machine": machine("transformers", "diffusers"), "models": found, "left": left}
    save("speed_today", "How long models of today take", data, [text(found, left)])


if __name__ == "__main__":
    main()
