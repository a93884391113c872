"""The counters themselves, run on a real module: each function gives what the tool prints, in its own unit."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

Inputs = Sequence[torch.Tensor]


@dataclass(frozen=True)
class Tool:
    """One counter: the convention's name, the distribution that has it, the module to import, and how it is run.

    ``versions`` are the beginnings of the versions that the convention describes.
    """

    name: str
    package: str
    module: str
    run: Callable[[nn.Module, Inputs], int]
    versions: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether the installed version is one that the convention describes."""
        return self.version is not None and self.version.startswith(self.versions)

    @property
    def version(self) -> str | None:
        """The installed version, None where it is not installed, or another distribution took the module's place."""
        try:
            distribution = importlib.metadata.distribution(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None
        spec = importlib.util.find_spec(self.module)
        here = spec is not None and spec.origin is not None
        mine = here and (self.package == "torch" or str(distribution.locate_file(self.module)) in str(spec.origin))
        return distribution.version.replace("-", ".post") if mine else None


def fvcore(model: nn.Module, inputs: Inputs) -> int:
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(model, tuple(inputs))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    return int(analysis.total())


def torchprofile(model: nn.Module, inputs: Inputs) -> int:
    """Without the products of sizes in the model's Python code, which torch.jit's trace shows as ops of one element."""
    from torchprofile import profile_macs

    by_node = profile_macs(model, tuple(inputs), reduction=None)
    sizes = [node for node in by_node if node.operator == "aten::mul" and node.outputs[0].dtype in ("long", "int")]
    return sum(by_node.values()) - sum(by_node[node] for node in sizes)


def torchinfo(model: nn.Module, inputs: Inputs) -> int:
    from torchinfo import summary

    return int(summary(model, input_data=list(inputs), verbose=0).total_mult_adds)


def _ptflops(backend: str) -> Callable[[nn.Module, Inputs], int]:
    def run(model: nn.Module, inputs: Inputs) -> int:
        from ptflops import get_model_complexity_info

        shape = tuple(inputs[0].shape[1:])
        # From a shape alone ptflops makes an input of numbers that nobody set, which not every kernel stands; a layer
        # by itself is counted by what it is given without a name.
        alone = not any(model.children()) and len(inputs) == 1 and inputs[0].is_floating_point()
        given = {} if alone else {"input_constructor": lambda _: _by_name(model, inputs)}
        quiet = {"as_strings": False, "print_per_layer_stat": False, "ost": io.StringIO()}
        macs, _ = get_model_complexity_info(model, shape, backend=backend, **quiet, **given)
        if macs is None:
            raise RuntimeError("ptflops gave no number")
        return int(macs)

    return run


def _by_name(model: nn.Module, inputs: Inputs) -> dict[str, torch.Tensor]:
    import inspect

    return dict(zip(inspect.signature(model.forward).parameters, inputs, strict=False))


def thop(model: nn.Module, inputs: Inputs) -> int:
    from thop import profile

    return int(profile(model, tuple(inputs), verbose=False)[0])


def calflops(model: nn.Module, inputs: Inputs) -> int:
    from calflops import calculate_flops

    quiet = {"print_results": False, "print_detailed": False, "output_as_string": False}
    return int(calculate_flops(model, args=list(inputs), **quiet)[1])


def deepspeed(model: nn.Module, inputs: Inputs) -> int:
    from deepspeed.profiling.flops_profiler import get_model_profile

    quiet = {"print_profile": False, "detailed": False, "as_string": False, "warm_up": 0}
    return int(get_model_profile(model, args=list(inputs), **quiet)[1])


def flopcounter(model: nn.Module, inputs: Inputs) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*inputs)
    return int(counter.get_total_flops())


TOOLS = {
    tool.name: tool
    for tool in (
        Tool("fvcore", "fvcore", "fvcore", fvcore, ("0.1.5.post20221221",)),
        Tool("torchinfo", "torchinfo", "torchinfo", torchinfo, ("1.8.0",)),
        Tool("ptflops", "ptflops", "ptflops", _ptflops("pytorch"), ("0.7.5",)),
        Tool("ptflops-aten", "ptflops", "ptflops", _ptflops("aten"), ("0.7.5",)),
        Tool("thop", "thop", "thop", thop, ("0.1.1.post2209072238",)),
        Tool("ultralytics-thop", "ultralytics-thop", "thop", thop, ("2.2.3",)),
        Tool("calflops", "calflops", "calflops", calflops, ("0.3.2",)),
        Tool("deepspeed", "deepspeed", "deepspeed", deepspeed, ("0.19.8",)),
        Tool("torchprofile", "torchprofile", "torchprofile", torchprofile, ("0.1.0",)),
        Tool("flopcounter", "torch", "torch", flopcounter, ("2.15.",)),
        Tool("flopcounter-2.14", "torch", "torch", flopcounter, ("2.14.",)),
        Tool("flopcounter-2.13", "torch", "torch", flopcounter, ("2.11.", "2.12.", "2.13.")),
    )
}


#: What the tools exchange functions of, while they run.
_EXCHANGED = (torch, torch.Tensor, torch.nn.functional)


@contextlib.contextmanager
def unchanged() -> Iterator[None]:
    """With torch's own functions back in their places afterwards: a tool that raises leaves its own there."""
    before = [(home, dict(vars(home))) for home in _EXCHANGED]
    try:
        yield
    finally:
        for home, names in before:
            for name in vars(home).keys() - names.keys() if isinstance(home, type) else ():
                delattr(home, name)  # inherited before, as Tensor.matmul is; a module's new names are its imports
            for name, value in names.items():
                if vars(home).get(name) is not value:
                    setattr(home, name, value)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what tools print, log and warn of."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
