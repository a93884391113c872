"""The tracer: names, sharing, what it leaves behind, models of every sort, and what it says when a model fails."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module as global_hooks
from torch.nn.utils import parametrizations

import rfcalc
from rfcalc import Analysis
from rfcalc.api import layer_graph
from rfcalc.errors import TraceError
from tests.poison import check


class Net(nn.Module):
    """A function of the module and its inputs, with modules, parameters and buffers by name."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: Any) -> Any:
        return self.function(self, *inputs)


def conv(given: int = 2, wanted: int = 2, kernel: int = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(given, wanted, kernel, **{"padding": kernel // 2, **options})


def names(a: Analysis) -> list[str]:
    return [layer.name for layer in a.layers]


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_module_called_twice_gives_two_layers():
    a = rfcalc.analyze(Net(lambda m, x: m.conv(m.conv(x)), conv=conv()), (2, 8, 8))

    assert names(a) == ["input", "conv", "conv#2"]
    assert [layer.receptive_field.size for layer in a.layers] == [(1, 1), (3, 3), (5, 5)]
    assert [layer.params for layer in a.layers] == [0, 38, 0]  # counted once, at the first call
    assert a["conv"].macs == a["conv#2"].macs == 2 * 2 * 9 * 64
    assert (a.totals.params, a.totals.macs) == (38, 2 * 2 * 2 * 9 * 64)
    assert a["conv#2"].inputs == ("conv",)


def test_a_block_called_twice_numbers_its_modules():
    block = nn.Sequential(OrderedDict(conv=conv(), act=nn.ReLU()))
    a = rfcalc.analyze(Net(lambda m, x: m.block(m.block(x)), block=block), (2, 8, 8))

    assert [op.name for op in a.ops] == ["input", "block.conv", "block.act", "block.conv#2", "block.act#2"]


def test_functional_ops_are_named_after_the_module_they_run_in():
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv()

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.conv(x) + x) + F.max_pool2d(x, 3, 1, 1)

    a = rfcalc.analyze(nn.Sequential(OrderedDict(layer1=nn.Sequential(Block()))), (2, 8, 8))

    assert names(a) == [
        "input", "layer1.0.conv", "layer1.0/add", "layer1.0/max_pool2d", "layer1.0/add#2",
    ]  # fmt: skip
    assert a.ops[3].name == "layer1.0/relu"
    assert a["layer1.0.conv"].module == "Conv2d"


def test_a_module_made_in_forward_is_traced():
    a = rfcalc.analyze(Net(lambda m, x: nn.MaxPool2d(2)(x)), (2, 8, 8))

    assert names(a) == ["input", "MaxPool2d"]


def test_execution_order_is_kept_in_every_record():
    a = rfcalc.analyze("resnet18", (3, 64, 64))

    assert [op.node for op in a.ops] == sorted(op.node for op in a.ops)
    assert [layer.index for layer in a.layers] == list(range(1, len(a.layers) + 1))


# --- sharing ----------------------------------------------------------------------------------------------------------


def test_shared_weights_are_counted_once_and_belong_to_their_first_owner():
    first, second = conv(bias=False), conv(bias=False)
    second.weight = first.weight
    a = rfcalc.analyze(nn.Sequential(OrderedDict(a=first, b=second)), (2, 8, 8))

    assert a.totals.params == 36
    assert [a["a"].params, a["b"].params] == [36, 0]
    rows = {row.name: row.shared_with for row in a.layer_graph.params}
    assert rows == {"a.weight": "", "b.weight": "a.weight"}
    assert a.totals.macs == 2 * 36 * 64


def test_tied_embedding_and_unused_parameters():
    model = Net(lambda m, i: m.out(m.embed(i)), embed=nn.Embedding(10, 4), out=nn.Linear(4, 10), spare=nn.Linear(3, 2))
    model.out.weight = model.embed.weight
    model.spare.bias.requires_grad_(False)
    a = rfcalc.analyze(model, torch.randint(0, 10, (1, 5)))

    assert a.totals.params == 40 + 10 + 6 + 2
    assert a.totals.trainable_params == a.totals.params - 2
    assert a.totals.unused_params == {"spare.weight": 6, "spare.bias": 2}
    assert (a["embed"].params, a["out"].params) == (40, 10)


def test_buffers_are_apart():
    model = Net(lambda m, x: x * m.scale, scale=nn.Parameter(torch.ones(1)))
    model.register_buffer("mean", torch.zeros(3))
    model.register_buffer("same", model.mean)

    totals = rfcalc.analyze(model, (3, 4)).totals

    assert (totals.params, totals.buffers) == (1, 3)


# --- what is left behind ----------------------------------------------------------------------------------------------


def state(model: nn.Module) -> dict[str, Any]:
    """Everything of a model and of torch that a trace could change."""
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {
        "tensors": [(name, id(tensor), tensor.requires_grad, tensor.detach().clone()) for name, tensor in tensors],
        "gradients": [parameter.grad for parameter in model.parameters()],
        "training": [(name, module.training) for name, module in model.named_modules()],
        "attributes": [
            {key: value.clone() if isinstance(value, Tensor) else id(value) for key, value in vars(module).items()}
            for module in model.modules()
        ],
        "hooks": [len(value) for module in model.modules() for key, value in vars(module).items() if "_hooks" in key],
        "global hooks": [len(value) for key, value in vars(global_hooks).items() if key.endswith("_hooks")],
        "random": torch.get_rng_state(),
        "grad mode": torch.is_grad_enabled(),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "modes": (torch._C._len_torch_dispatch_stack(), torch._C._len_torch_function_stack()),
        "module call": nn.Module.__call__,
        "device": torch.get_default_device(),
    }  # fmt: skip


def same(left: Any, right: Any) -> bool:
    if isinstance(left, Tensor):
        return left.dtype == right.dtype and left.shape == right.shape and torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right)


class Untidy(nn.Module):
    """Writes into buffers, attributes and the random state, and may raise at the end."""

    def __init__(self, fails: bool) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = conv(), nn.BatchNorm2d(2), nn.Dropout(0.5)
        self.weighted = parametrizations.spectral_norm(conv())
        self.register_buffer("count", torch.zeros(1))
        self.fails, self.cache, self.seen, self.plain = fails, None, 0, torch.ones(3)
        self.norm.eval()
        self.conv.weight.requires_grad_(False)
        self.conv.register_forward_hook(lambda module, args, out: out * 2)

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.count.copy_(x.mean())
        self.cache = torch.arange(x.shape[-1])
        self.seen, self.fresh = self.seen + 1, x
        self.conv.extra = "left by forward"
        self.plain += x.mean()
        self.plain[:2] = 7
        y = self.weighted(self.drop(self.norm(self.conv(x)))) + torch.rand(1) + self.plain.sum()
        if self.fails:
            raise KeyError("on purpose")
        return y


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("data", [False, True])
def test_the_model_is_untouched(training, fails, data):
    torch.manual_seed(5)
    model = Untidy(fails)
    if data:  # the fallback to real CPU tensors
        model.conv.register_forward_hook(lambda module, args, out: out * out.sum().item())
    x = torch.rand(1, 2, 8, 8)
    before = state(model)

    if fails:
        with pytest.raises(TraceError, match="on purpose"):
            rfcalc.analyze(model, x, training=training)
    else:
        assert bool(rfcalc.analyze(model, x, training=training).notices) is data

    after = state(model)
    for key in before:
        assert same(before[key], after[key]), key
    assert not hasattr(model, "fresh")
    assert not hasattr(model.conv, "extra")


@pytest.mark.parametrize("enabled", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_the_fast_path_of_attention_is_as_before(enabled, fails):
    torch.backends.mha.set_fastpath_enabled(enabled)
    try:
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
        if fails:
            with pytest.raises(TraceError):
                layer_graph(layer, torch.rand(1, 5, 7))
        else:
            layer_graph(layer, torch.rand(1, 5, 8))
        assert torch.backends.mha.get_fastpath_enabled() is enabled
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_inputs_are_not_written():
    x = torch.rand(1, 2, 8, 8)
    before = x.clone()

    layer_graph(Net(lambda m, x: x.mul_(3).sub_(1)), x)
    layer_graph(Net(lambda m, x: x.mul_(x.sum().item())), x)

    assert torch.equal(x, before)


def test_a_user_s_modes_and_gradients_stay():
    with torch.enable_grad(), torch.device("cpu"):
        model = conv()
        layer_graph(model, (2, 8, 8))
        assert torch.is_grad_enabled()
        model(torch.rand(1, 2, 8, 8)).sum().backward()
    assert model.weight.grad is not None


# --- control flow and data --------------------------------------------------------------------------------------------


def test_control_flow_on_constants_is_followed():
    def forward(m: Net, x: Tensor) -> Tensor:
        steps = torch.arange(4).sum()
        for _ in range(int(steps.item()) - 4):  # 0 + 1 + 2 + 3 - 4
            x = m.conv(x)
        if torch.tensor([1.0, 2.0]).max() > m.limit and bool((torch.eye(2) == torch.eye(2)).all()):
            x = m.conv(x)
        return x

    a = rfcalc.analyze(Net(forward, conv=conv(), limit=1.5), (2, 16, 16))

    assert names(a) == ["input", "conv", "conv#2", "conv#3"]
    assert a.notices == ()


def test_control_flow_on_a_buffer():
    model = Net(lambda m, x: m.conv(x) if m.flag.item() else x * 1, conv=conv())
    model.register_buffer("flag", torch.tensor(True))

    assert names(rfcalc.analyze(model, (2, 8, 8))) == ["input", "conv"]
    model.flag.fill_(False)
    assert names(rfcalc.analyze(model, (2, 8, 8))) == ["input"]


def test_numbers_of_the_data_need_real_tensors():
    model = Net(lambda m, x: m.conv(x) if x.sum().item() > 0 else x, conv=conv())

    a = rfcalc.analyze(model, torch.ones(1, 2, 8, 8))
    assert a.layers[1].name == "conv"
    (notice,) = a.notices
    assert notice.startswith("traced on real CPU tensors, for aten._local_scalar_dense needs data")
    assert "\n" not in notice
    assert names(rfcalc.analyze(model, -torch.ones(1, 2, 8, 8))) == ["input"]  # the example tensor decides


def test_shapes_that_depend_on_data_are_upper_bounds():
    a = rfcalc.analyze(Net(lambda m, x: x[x > 0.5]), torch.rand(1, 2, 8, 8))

    assert a.notices
    assert a.ops[-1].receptive_field.status == "upper_bound"
    assert a.ops[-1].receptive_field.size == (8, 8)


# --- models of every sort ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrap", "params", "macs"),
    [
        (parametrizations.weight_norm, 2 + 12 + 2, 72),
        (parametrizations.spectral_norm, 12 + 2, 72 + 12 + 2),  # u, W v and the norm that divides the weight
    ],
)
def test_parametrized_weights(wrap, params, macs):
    a = check(wrap(nn.Conv1d(2, 2, 3)), torch.rand(1, 2, 8))

    assert (a.totals.params, a.totals.macs, a.totals.unused_params) == (params, macs, {})
    assert a.ops[-1].receptive_field.status == "exact"


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(("wrap", "params", "macs"), [("weight_norm", 16, 72), ("spectral_norm", 14, 86)])
def test_weights_parametrized_the_old_way(wrap, params, macs):
    a = check(getattr(nn.utils, wrap)(nn.Conv1d(2, 2, 3)), torch.rand(1, 2, 8))

    assert (a.totals.params, a.totals.macs, a.totals.unused_params) == (params, macs, {})


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_multi_head_attention(weights, causal):
    mask = nn.Transformer.generate_square_subsequent_mask(5) if causal else None
    model = Net(
        lambda m, x: m.attention(x, x, x, need_weights=weights, attn_mask=mask)[0],
        attention=nn.MultiheadAttention(8, 2, batch_first=True),
    )

    if not causal:  # NaN passes through a mask that is added
        check(model, torch.rand(2, 5, 8))
    a = rfcalc.analyze(model, torch.rand(2, 5, 8))

    assert a.totals.params == 4 * 8 * 8 + 4 * 8
    assert a.totals.macs == 2 * (4 * 5 * 8 * 8 + 2 * 5 * 5 * 8)
    assert a.layers[-1].name == "attention.out_proj"
    name = a.ops[-1].name
    assert [a.receptive_field(name, at=(u,)).region for u in range(5)] == [((0, u if causal else 4),) for u in range(5)]
    assert a.receptive_field(name).masked is causal


def test_transformer_encoder_layer():
    a = check(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), torch.rand(1, 5, 8))

    assert (a.totals.params, a.totals.macs) == (600, 4 * 5 * 64 + 2 * 5 * 5 * 8 + 2 * 5 * 8 * 16)
    assert a.totals.status == "complete"
    assert [layer.name for layer in a.layers if layer.kind == "linear"][-2:] == ["linear1", "linear2"]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent_layer_behind_a_convolution(bidirectional):
    width = 6 if bidirectional else 3
    model = Net(
        lambda m, x: m.out(m.lstm(m.conv(x).transpose(1, 2))[0]),
        conv=nn.Conv1d(2, 4, 3, padding=1),
        lstm=nn.LSTM(4, 3, batch_first=True, bidirectional=bidirectional),
        out=nn.Linear(width, 1),
    )

    a = check(model, torch.rand(1, 2, 8))

    assert a["lstm"].macs == 8 * (4 * 3 * 4 + 4 * 3 * 3) * (2 if bidirectional else 1)
    first, last = (np.broadcast_to(ends, (1, 8, 1)).ravel().tolist() for ends in a.regions("out")[2])
    assert last == ([7] * 8 if bidirectional else [1, 2, 3, 4, 5, 6, 7, 7])
    assert first == [0] * 8


def test_token_inputs_are_given_as_tensors():
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 3))
    a = rfcalc.analyze(model, torch.randint(0, 10, (1, 6)))

    assert a.inputs[0].dtype == "int64"
    assert dict(a.inputs[0].axes) == {"T": 1}
    assert a.layers[-1].receptive_field.size == (1,)


def test_bags_of_embeddings():
    model = Net(lambda m, i: m.bag(i), bag=nn.EmbeddingBag(10, 4))
    a = rfcalc.analyze(model, torch.randint(0, 10, (3, 6)))

    assert (a.totals.params, a.totals.macs, a["bag"].output_shape) == (40, 0, (3, 4))
    assert a["bag"].receptive_field.size == (6,)
    flat = Net(lambda m, i, o: m.bag(i, o), bag=nn.EmbeddingBag(10, 4))
    graph = layer_graph(flat, (torch.zeros(6).long(), torch.tensor([0, 3])))
    assert dict(graph.inputs[0].axes) == {"L": 0}


@pytest.mark.parametrize("change", ["meta", torch.float16, torch.bfloat16, torch.float64])
def test_models_on_meta_and_of_other_precisions(change):
    model = nn.Sequential(OrderedDict(conv=conv(), norm=nn.BatchNorm2d(2), up=nn.Upsample(scale_factor=2)))
    expected = rfcalc.analyze(copy.deepcopy(model), (2, 8, 8)).to_dict()

    found = rfcalc.analyze(model.to(change), (2, 8, 8)).to_dict()

    dtype = found["inputs"][0].pop("dtype")
    assert dtype == ("float32" if change == "meta" else str(change).removeprefix("torch."))
    assert expected["inputs"][0].pop("dtype") == "float32"
    assert expected["totals"].pop("param_bytes") == 4 * 42
    assert found["totals"].pop("param_bytes") == 42 * next(model.parameters()).element_size()
    assert found == expected


def test_large_models_need_no_memory():
    with torch.device("meta"):
        model = nn.Linear(1 << 20, 1 << 20)

    assert rfcalc.analyze(model, (1, 1 << 20)).totals.macs == 1 << 40


# --- failures ---------------------------------------------------------------------------------------------------------


def failure(kind: type[Exception], model: nn.Module, inputs: Any) -> str:
    """The one line with which a model is refused."""
    with pytest.raises(kind) as caught:
        rfcalc.analyze(model, inputs)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 3
    return str(caught.value)


def test_a_lazy_module_is_analysed_and_stays_lazy():
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU())

    assert rfcalc.analyze(model, (2, 8, 8)).totals.params == 4 * 18 + 4
    assert type(model[0]) is nn.LazyConv2d
    model(torch.rand(1, 2, 8, 8))
    assert rfcalc.analyze(model, (2, 8, 8)).totals.params == 4 * 18 + 4


@pytest.mark.parametrize("result", [None, 5, "text", (), torch.zeros(3)])
def test_a_model_that_returns_nothing_of_its_input(result):
    text = failure(TraceError, Net(lambda m, x: result), (2, 8))

    assert "its forward pass returned no tensor that was computed from its inputs" in text


def test_wrong_channels_name_the_layer_what_it_got_and_what_it_needs():
    model = nn.Sequential(OrderedDict(stem=conv(3, 4), body=nn.Sequential(conv(4, 4), conv(8, 4))))

    text = failure(TraceError, model, (3, 8, 8))

    assert "Sequential cannot run on input 1x3x8x8: layer body.1 (Conv2d) got 1x4x8x8, needs 8 channels" in text


@pytest.mark.parametrize(
    ("layer", "shape", "says"),
    [
        (nn.Linear(8, 2), (4, 6), "layer last (Linear) got 1x4x6, needs 8 features"),
        (nn.BatchNorm2d(3), (2, 4, 4), "layer last (BatchNorm2d) got 1x2x4x4, needs 3 channels"),
        (conv(2, 2, 7, padding=0), (2, 4, 4), "layer last (Conv2d) got 1x2x4x4"),
        (nn.MaxPool2d(5), (2, 4, 4), "layer last (MaxPool2d) got 1x2x4x4"),
        (nn.LayerNorm(5), (2, 4), "layer last (LayerNorm) got 1x2x4"),
        (nn.LSTM(5, 3), (2, 4), "layer last (LSTM) got 1x2x4, needs 5 features"),
    ],
)
def test_other_shape_errors(layer, shape, says):
    text = failure(TraceError, Net(lambda m, x: m.last(x), last=layer), torch.rand(1, *shape))

    assert says in text


class Asked(nn.Module):
    """One whose class computes what it is asked for, as diffusers' do, with a warning."""

    def __getattr__(self, name):
        if name == "in_channels":
            raise RuntimeError("asked")
        return super().__getattr__(name)

    def forward(self, x, time):
        return x + time


def test_a_module_that_failed_is_not_asked_for_more_than_it_holds():
    text = failure(TraceError, Asked(), (3, 8, 8))

    assert "layer Asked got 1x3x8x8: TypeError: Asked.forward() missing 1 required" in text


def test_errors_of_the_model_s_own_code_are_named():
    text = failure(TraceError, nn.Sequential(OrderedDict(inner=Net(lambda m, x: {}["key"]))), (2, 8))

    assert "layer inner (Net)" in text
    assert "KeyError: 'key'" in text


def test_a_failure_that_the_model_catches_is_none():
    def forward(m: Net, x: Tensor) -> Tensor:
        try:
            m.wrong(x)
        except RuntimeError:
            x = x.flip(-1) + m.right(x)
        return m.last(x.reshape(1, -1))

    model = Net(forward, wrong=nn.Sequential(conv(5, 2)), right=conv(), last=nn.Linear(128, 1))

    assert names(rfcalc.analyze(model, (2, 8, 8))) == ["input", "right", "add", "last"]
    assert "layer last (Linear) got 1x32, needs 128 features" in failure(TraceError, model, (2, 4, 4))


def test_what_the_data_decides_is_the_same_each_time() -> None:
    """A pass on random numbers draws the same ones, whatever the process drew before, and leaves its state alone."""

    def found() -> int:
        a = rfcalc.analyze(Net(lambda m, x: x[x > 0.5] * 2), (64,))
        assert a.notices[1].startswith("the data decides how much aten.index give: ")
        return a.layers[-1].output_shape[0]

    torch.manual_seed(1)
    first, before = found(), torch.random.get_rng_state()
    torch.manual_seed(2)

    assert 0 < first < 64
    assert found() == first
    torch.manual_seed(1)
    assert torch.equal(torch.random.get_rng_state(), before)
