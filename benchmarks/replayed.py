"""Graphs with replayed calls and without, compared over one model of each of timm's families.

    python benchmarks/replayed.py [--seed N] [--seconds S]

rfcalc replays a call that it has traced where an equal one comes (`rfcalc/tracing/replay.py`). Both graphs of every
model must be the same to the last character of their JSON; a model for which they are not is named, and the exit status
is then 1. The seed chooses the model of each family.
"""

from __future__ import annotations

import random
import time

import click
import measuring  # noqa: F401  # lies beside this file, and lets the tests be imported
import timm
import torch

from tests.tracing.test_replay import both


def one_of_each_family(seed: int) -> list[str]:
    """Names of models, which begin with that of their family."""
    names = timm.list_models()
    random.Random(seed).shuffle(names)
    return list({name.partition("_")[0].rstrip("0123456789"): name for name in names}.values())


@click.command()
@click.option("--seed", default=0, help="Another one chooses other models.")
@click.option("--seconds", default=600.0, help="After so long no further model is begun.")
def main(seed: int, seconds: float) -> None:
    """Compare, and name the models that differ."""
    names, begun = one_of_each_family(seed), time.monotonic()
    equal, differing = 0, []
    for name in names:
        if time.monotonic() - begun > seconds:
            break
        with torch.device("meta"):
            model = timm.create_model(name)
            x = torch.empty(1, *model.default_cfg["input_size"])
        replayed, traced = both(model, x)
        equal += replayed == traced
        differing += [name] if replayed != traced else []
    click.echo(f"{equal} of {equal + len(differing)} models have the same graph; {len(names)} families")
    if differing:
        raise click.ClickException(f"with replayed calls these differ: {', '.join(differing)}")


if __name__ == "__main__":
    main()
