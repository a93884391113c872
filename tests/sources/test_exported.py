"""Programs of torch.export: the same layers, parameters, multiply-adds and fields as the model they were made from."""

from __future__ import annotations

import copy
import functools
import os
import weakref
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F
from torch.utils import _pytree as pytree

import rfcalc
from rfcalc.analyses.analysis import Analysis
from rfcalc.api import layer_graph
from rfcalc.errors import LoadError, TraceError, UsageError

pytestmark = pytest.mark.filterwarnings("default")  # torch.export warns of what it will do in later versions


class Guided(nn.Module):
    """Two inputs, two outputs, a branch that is upsampled."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.leave = nn.Conv2d(11, 1, 1)

    def forward(self, image: Tensor, guide: Tensor) -> tuple[Tensor, Tensor]:
        guide = F.interpolate(guide, scale_factor=2, mode="bilinear")
        return self.leave(torch.cat([self.up(self.down(image)), guide], 1)), image.mean()


class Nested(nn.Module):
    """Inputs inside a dict and a list, one by keyword, some that are no tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3, padding=1)
        self.right = nn.Conv2d(1, 4, 1)
        self.norm = nn.GroupNorm(2, 4)

    def forward(self, batch: dict[str, Any], scale: float = 2.0, *, mask: Tensor | None = None) -> dict[str, Tensor]:
        out = self.norm(self.left(batch["image"]) * scale) + self.right(batch["pair"][0])
        return {"out": out if mask is None else out * mask}


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 16, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0])


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.register_buffer("position", torch.arange(6.0).reshape(1, 6, 1))
        self.norm = nn.LayerNorm(16)
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.scale = torch.tensor([0.5])

    def forward(self, ids: Tensor) -> Tensor:
        x = self.norm(self.embed(ids) + self.position)
        with torch.no_grad():
            x = x * self.scale
        return F.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x), is_causal=True)


class Shared(nn.Module):
    """One module called twice, one weight with two names, one that nothing uses, a buffer that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.act = nn.ReLU()
        self.twin = nn.Conv2d(3, 3, 3, padding=2, dilation=2, bias=False)
        self.twin.weight = self.conv.weight
        self.unused = nn.Linear(3, 3)
        self.register_buffer("shift", torch.ones(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv(self.act(self.conv(x)))) + self.shift
        x = self.twin(x)
        x[:, :1].zero_()
        return x


def image(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


IDS = torch.tensor([[0, 3, 1, 49, 5, 6]])
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[Any, ...], dict[str, Any]]] = {
    "resnet18": (torchvision.models.resnet18, (image(1, 3, 32, 32),), {}),
    "two inputs": (Guided, (image(1, 3, 16, 16), image(1, 3, 8, 8)), {}),
    "nested": (Nested, ({"image": image(1, 3, 8, 8), "pair": [image(1, 1, 8, 8)]},), {"mask": image(1, 1, 8, 8)}),
    "lstm": (Recurrent, (image(1, 5, 8),), {}),
    "attention": (Attention, (IDS,), {}),
    "shared": (Shared, (image(2, 3, 8, 8),), {}),
}


def exported(
    path: Path, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None, **options: Any
) -> str:
    """The name of a file with the exported model, which is put into inference."""
    torch.export.save(torch.export.export(model.eval(), args, kwargs, **options), path)
    return str(path)


Kept = Callable[..., tuple[nn.Module, str]]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """A model in inference and the file of its program, made once for all tests that only read them."""

    @functools.cache
    def made(name: str, strict: bool = False) -> tuple[nn.Module, str]:
        build, args, kwargs = RUN[name]
        model = build()
        path = tmp_path_factory.mktemp("exported") / "model.pt2"
        return model, exported(path, model, copy.deepcopy(args), kwargs, strict=strict)

    return made


def plain(analysis: Analysis) -> dict[str, Any]:
    """All that is found, op by op, without the model's name."""
    return {key: value for key, value in analysis.to_dict(analysis.ops).items() if key != "model"}


def traced(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Analysis:
    from rfcalc.tracing.forward import trace_module

    return Analysis(trace_module(model.eval(), args, kwargs))


#: A strict export takes seconds longer for a large model, and drops what forward does not use.
STRICT = ("two inputs", "nested", "lstm", "attention")


@pytest.mark.parametrize(("name", "strict"), [*((name, False) for name in MODELS), *((name, True) for name in STRICT)])
def test_equal_to_the_model_itself(name: str, strict: bool, kept: Kept) -> None:
    """Names, classes, numbers, fields and all else of every op."""
    _, args, kwargs = MODELS[name]
    model, spec = kept(name, strict)

    assert plain(rfcalc.analyze(spec)) == plain(traced(model, args, kwargs))


@pytest.mark.parametrize("name", [name for name in MODELS if name != "resnet18"])
def test_decomposed_programs_cost_and_see_the_same(name: str, tmp_path: Path) -> None:
    build, args, kwargs = MODELS[name]
    model = build().eval()
    program = torch.export.export(model, args, kwargs).run_decompositions()
    torch.export.save(program, tmp_path / "model.pt2")

    found, expected = rfcalc.analyze(str(tmp_path / "model.pt2")), traced(model, args, kwargs)

    assert (found.totals.params, found.totals.macs) == (expected.totals.params, expected.totals.macs)
    assert found.totals.status == "complete"
    last = [analysis.ops[-1].receptive_fields for analysis in (found, expected)]
    assert {k: field.size for k, field in last[0].items()} == {k: field.size for k, field in last[1].items()}


def test_numbers_of_resnet18(tmp_path: Path) -> None:
    """As torchvision and papers have them."""
    model = torchvision.models.resnet18()
    found = rfcalc.analyze(exported(tmp_path / "resnet18.pt2", model, (image(1, 3, 224, 224),)))

    assert (found.totals.params, found.totals.macs) == (11_689_512, 1_814_073_344)
    assert found["layer1.0.conv1"].receptive_field.size == (19, 19)
    assert found["layer4.1.conv2"].receptive_field.size == (435, 435)
    assert found["layer1.0.conv1"].module == "Conv2d"


def test_names_of_inputs(kept: Kept) -> None:
    for name, expected in {
        "resnet18": ["input"],
        "two inputs": ["image", "guide"],
        "nested": ["batch.image", "batch.pair.0", "mask"],
    }.items():
        assert [item.name for item in layer_graph(kept(name)[1]).inputs] == expected


def test_open_sizes(tmp_path: Path) -> None:
    """A batch of any size, and a height that is even, from 8 to 40."""
    model = nn.Conv2d(3, 4, 3)
    half = Dim("half", min=4, max=20)
    sizes = ({0: Dim("batch"), 2: 2 * half},)
    spec = exported(tmp_path / "model.pt2", model, (image(2, 3, 8, 8),), dynamic_shapes=sizes)

    def shape(*asked: int) -> tuple[int, ...]:
        return layer_graph(spec, asked or None).inputs[0].shape

    assert shape() == (2, 3, 8, 8)
    assert shape(3, 40, 8) == (1, 3, 40, 8)
    assert shape(7, 3, 10, 8) == (7, 3, 10, 8)
    assert rfcalc.analyze(spec, (3, 10, 8)).totals.macs == 8 * 6 * 4 * 27
    for wrong in ((3, 9, 8), (3, 42, 8), (3, 6, 8), (3, 8, 9), (4, 8, 8)):
        with pytest.raises(
            TraceError, match=r"was exported for input Ax3x2Bx8 with A from 1 on, B from 4 to 20 \(float32\)"
        ):
            layer_graph(spec, wrong)


def test_fixed_sizes(kept: Kept) -> None:
    _, args, _ = MODELS["two inputs"]
    _, spec = kept("two inputs")

    with pytest.raises(TraceError, match=r"for guide 1x3x8x8 \(float32\) and cannot take 1x3x9x9 \(float32\)"):
        layer_graph(spec, {"guide": (3, 9, 9)})
    with pytest.raises(TraceError, match=r"cannot take 1x3x16x16 \(int64\)"):
        layer_graph(spec, (torch.zeros(1, 3, 16, 16, dtype=torch.int64), args[1]))
    with pytest.raises(UsageError, match=r"takes 2 tensors \(image, guide\), it was given 1"):
        layer_graph(spec, args[0])
    with pytest.raises(UsageError, match="has no input 'picture'; it takes image, guide"):
        layer_graph(spec, {"picture": (3, 16, 16)})
    with pytest.raises(UsageError, match="leave --training out"):
        layer_graph(spec, training=True)


def test_tensors_as_the_original_takes_them(kept: Kept) -> None:
    _, args, kwargs = MODELS["nested"]
    _, spec = kept("nested")
    expected = plain(rfcalc.analyze(spec))

    assert plain(rfcalc.analyze(spec, {"batch": args[0], "mask": kwargs["mask"]})) == expected
    assert plain(rfcalc.analyze(spec, (args[0]["image"], args[0]["pair"][0], kwargs["mask"]))) == expected


def test_a_branch_that_the_data_chooses(tmp_path: Path) -> None:
    class Choice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide, self.narrow = nn.Linear(4, 8), nn.Linear(4, 8, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cond(x.sum() > 0, lambda x: self.wide(x), lambda x: self.narrow(x) + 1, (x,))

    model = Choice()
    yes = exported(tmp_path / "yes.pt2", model, (torch.ones(1, 4),))
    no = exported(tmp_path / "no.pt2", model, (-torch.ones(1, 4),))

    assert rfcalc.analyze(yes).totals.unused_params == {"narrow.weight": 32}
    assert rfcalc.analyze(no).totals.unused_params == {"wide.weight": 32, "wide.bias": 8}


def test_an_op_that_runs_parts_of_the_program_and_is_not_known(tmp_path: Path) -> None:
    from torch._higher_order_ops.map import map as mapped

    class Mapped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return mapped(lambda row: row * 2, x)

    spec = exported(tmp_path / "model.pt2", Mapped(), (image(3, 4),))

    with pytest.raises(LoadError, match=r"cannot be run: it uses the higher-order op map"):
        layer_graph(spec)


class Norms(nn.Module):
    """Functions whose arguments come in another order than in the op that stands for them."""

    def __init__(self) -> None:
        super().__init__()
        self.batch, self.instance, self.group = nn.BatchNorm1d(4), nn.InstanceNorm1d(4, affine=True), nn.GroupNorm(2, 4)
        self.gru, self.cell, self.mix = nn.GRU(6, 5), nn.LSTMCell(5, 3), nn.Bilinear(3, 3, 2)
        generator = torch.Generator().manual_seed(1)
        for tensor in (*self.parameters(), self.batch.running_mean, self.batch.running_var):
            assert tensor is not None
            tensor.data.uniform_(0.5, 2, generator=generator)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        batch, instance, group = self.batch(x), self.instance(x), self.group(x)
        x = batch + instance + group
        x = F.max_pool1d(F.pad(x, (1, 2), mode="reflect"), 3, 2, 1) + F.avg_pool1d(x, 2, 2, 1).mean()
        x = torch.einsum("ncl,ncm->nlm", x, x) + F.adaptive_avg_pool1d(x, 6).mean()
        h, _ = self.cell(self.gru(x[..., :6])[0][:, 0])
        return self.mix(h.to(torch.float64).to(torch.float32), h), x, batch, instance, group


RUN = {**MODELS, "norms": (Norms, (image(2, 4, 9),), {})}


@pytest.mark.parametrize("name", RUN)
def test_runs_as_the_original(name: str, kept: Kept) -> None:
    """With the weights of the file, to the bit but for the order of sums."""
    from rfcalc import sources

    _, args, kwargs = RUN[name]
    model, spec = kept(name)
    program = sources.load(spec).model.eval()

    with torch.no_grad():
        expected = model(*copy.deepcopy(args), **kwargs)
        found = program(*copy.deepcopy(args), **kwargs)
    torch.testing.assert_close(list(found), pytree.tree_leaves(expected))


def test_a_real_pass_agrees(kept: Kept) -> None:
    assert rfcalc.verify(kept("shared")[1], device="cpu", timing=False).agree


def test_checks_of_the_export_do_not_hold_for_tensors_without_storage(kept: Kept) -> None:
    """torch writes down, as ops, what it took for granted: that the input is on the CPU, for one."""
    _, spec = kept("norms")
    with zipfile.ZipFile(spec) as archive:
        written = archive.read(next(name for name in archive.namelist() if "/models/" in name))

    assert b"_assert_tensor_metadata" in written
    assert rfcalc.analyze(spec).totals.status == "complete"


def test_devices_of_the_export_are_not_those_here() -> None:
    from rfcalc.sources.exported import ops as exported_ops

    made = exported_ops.run(torch.ops.aten.zeros.default, ([2],), {"device": torch.device("cpu")}, torch.device("meta"))

    assert made.is_meta


def test_calls_of_modules(tmp_path: Path) -> None:
    """As the original calls them, also where part of one runs as a branch of the program."""

    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                x = self.linear(x) + 1
            return x * 2

    model = nn.Sequential(Half(), nn.ReLU(), Half())
    found = layer_graph(exported(tmp_path / "model.pt2", model, (image(1, 4),))).calls

    names = [(call.module, call.inputs, call.outputs) for call in found]
    one = ((1, 4),)
    inside = [(name, one, one) for name in ("0", "0.linear", "1", "2", "2.linear")]
    assert names == [("", one, one), *inside]


def test_outputs_that_are_new_values_of_buffers_are_no_outputs(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3)).train()
    program = torch.export.export(model, (image(2, 2, 9),)).run_decompositions()
    torch.export.save(program, tmp_path / "model.pt2")

    graph = layer_graph(str(tmp_path / "model.pt2"))

    assert len(program.graph_signature.output_specs) == 4
    assert [graph[ref.node].name for ref in graph.outputs] == ["1"]


def test_values_go_when_nothing_needs_them_any_more(tmp_path: Path) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    from rfcalc import sources

    class Alive(TorchDispatchMode):
        """Counts results that are still there."""

        def __init__(self) -> None:
            super().__init__()
            self.made: list[weakref.ref[Tensor]] = []
            self.most = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            self.made.append(weakref.ref(result))
            self.most = max(self.most, sum(ref() is not None for ref in self.made))
            return result

    model = nn.Sequential(*(nn.Tanh() for _ in range(9)))
    program = sources.load(exported(tmp_path / "model.pt2", model, (image(1, 4),))).model.eval()
    x = image(1, 4)
    with Alive() as alive:
        program(x)

    assert len(alive.made) == 9
    assert alive.most <= 3


def test_files_of_other_suffixes_and_the_file_itself(tmp_path: Path, kept: Kept) -> None:
    """A program is one whatever its file is called; nothing of the file changes, and nothing of torch's settings."""
    _, spec = kept("two inputs")
    other = tmp_path / "model.pt"
    other.write_bytes(Path(spec).read_bytes())
    before, environment = Path(spec).read_bytes(), dict(os.environ)

    assert rfcalc.analyze(str(other)).totals.macs == rfcalc.analyze(spec).totals.macs
    assert Path(spec).read_bytes() == before
    assert dict(os.environ) == environment
