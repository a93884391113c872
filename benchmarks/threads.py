"""Many threads analyse one model while another one trains: all say the same, and neither model is touched.

    python benchmarks/threads.py [--threads N] [--analyses N] [--save]

The model is torchvision's ResNet-18 on the CPU, with weights. Beside the threads that analyse it, one trains a
ResNet-18 of its own, with dropout and images from numpy's random numbers; afterwards the same steps are trained alone.
It fails where a total or a graph is another, where a byte of the analysed model, its mode or an attribute has changed,
or where the losses and weights of the training are not, to the last bit, those of training alone. ``--save`` writes
``benchmarks/results/threads.json`` and ``threads.md``.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click
import numpy as np
import torch
from measuring import machine, save, table  # beside this file
from torch import nn

import rfcalc
from rfcalc.graph_json import to_json
from rfcalc.tracing import replay


def network() -> nn.Module:
    """torchvision's ResNet-18 with dropout before its classifier, and the weights of a seed."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    model = resnet18()
    model.fc = nn.Sequential(nn.Dropout(0.2), model.fc)
    return model


def state_of(model: nn.Module) -> list[Any]:
    """Every byte and every attribute of a model."""
    tensors = [
        (name, id(one), one.requires_grad, one.detach().numpy().tobytes())
        for name, one in model.state_dict(keep_vars=True).items()
    ]
    return [tensors, [(dict(vars(part)), dict(part._parameters), dict(part._buffers)) for part in model.modules()]]


class Training:
    """Steps of training from a seed, until it is told to stop or for so many steps."""

    def __init__(self) -> None:
        self.model, self.losses = network().train(), list[float]()
        self.stop = threading.Event()

    def run(self, steps: int | None = None) -> None:
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        optimiser = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        while not self.stop.is_set() and len(self.losses) != steps:
            x = torch.from_numpy(np.random.rand(2, 3, 32, 32).astype(np.float32)) * random.random()
            loss = nn.functional.cross_entropy(self.model(x), torch.randint(1000, (2,)))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            self.losses.append(loss.item())

    def result(self) -> list[Any]:
        return [self.losses, *[tensor.numpy().tobytes() for tensor in self.model.state_dict().values()]]


def stress(threads: int, analyses: int) -> dict[str, Any]:
    """One run: what was compared, and how long it took."""
    model = network().train()
    expected = rfcalc.analyze(model, (3, 224, 224))
    graph, totals, before = to_json(expected.layer_graph), expected.totals, state_of(model)
    replay.forget()
    training, shares = Training(), [analyses // threads + (at < analyses % threads) for at in range(threads)]

    def analyse(count: int) -> int:
        wrong = 0
        for _ in range(count):
            found = rfcalc.analyze(model, (3, 224, 224))
            wrong += found.totals != totals or to_json(found.layer_graph) != graph
        return wrong

    trainer = threading.Thread(target=training.run)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    started = time.perf_counter()
    try:
        trainer.start()
        with ThreadPoolExecutor(threads) as pool:
            wrong = sum(pool.map(analyse, shares))
    finally:
        training.stop.set()
        trainer.join()
        sys.setswitchinterval(interval)
    seconds = time.perf_counter() - started
    alone = Training()
    alone.run(len(training.losses))
    return {
        "threads": threads,
        "analyses": analyses,
        "wrong": wrong,
        "model_as_before": state_of(model) == before,
        "training_steps": len(training.losses),
        "training_as_alone": training.result() == alone.result(),
        "seconds": round(seconds, 1),
    }


def text_of(found: dict[str, Any]) -> str:
    said = {True: "yes", False: "no"}
    rows = [
        ("analyses of one model", f"{found['analyses']:,} in {found['threads']} threads"),
        ("with another total or another graph", found["wrong"]),
        ("the model byte-identical afterwards, mode and attributes too", said[found["model_as_before"]]),
        ("steps of training beside them", found["training_steps"]),
        ("losses and weights bit for bit those of training alone", said[found["training_as_alone"]]),
        ("seconds", found["seconds"]),
    ]
    return table(rows, ["", "found"])


@click.command(help=__doc__)
@click.option("--threads", default=8, show_default=True)
@click.option("--analyses", default=1000, show_default=True)
@click.option("--save", "saves", is_flag=True)
def main(threads: int, analyses: int, saves: bool) -> None:
    found = stress(threads, analyses)
    click.echo(text_of(found))
    if saves:
        about = "Threads that analyse one model while another one trains"
        save("threads", about, {"machine": machine(), **found}, [text_of(found)])
    if found["wrong"] or not (found["model_as_before"] and found["training_as_alone"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
