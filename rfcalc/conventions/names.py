"""Full names of torch's module classes and functions, and facts of them that several tools' rules use."""

from __future__ import annotations

from math import prod

from rfcalc.conventions.facts import CallSite, OpSite
from rfcalc.conventions.rules import Rule, products

_NN = "torch.nn.modules"


def _of(home: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{_NN}.{home}.{name}" for name in names)


def _each(home: str, *names: str) -> tuple[str, ...]:
    """The classes for 1, 2 and 3 axes."""
    return _of(home, *(f"{name}{axes}d" for name in names for axes in (1, 2, 3)))


CONV = _each("conv", "Conv")
CONV_TRANSPOSE = _each("conv", "ConvTranspose")
BATCH_NORM = _each("batchnorm", "BatchNorm")
SYNC_BATCH_NORM = _of("batchnorm", "SyncBatchNorm")
NORM_BASE = _of("batchnorm", "_NormBase")
INSTANCE_NORM = _each("instancenorm", "InstanceNorm")
LAYER_NORM, GROUP_NORM, RMS_NORM = (_of("normalization", name) for name in ("LayerNorm", "GroupNorm", "RMSNorm"))
LINEAR, BILINEAR = _of("linear", "Linear"), _of("linear", "Bilinear")
AVG_POOL, MAX_POOL = _each("pooling", "AvgPool"), _each("pooling", "MaxPool")
ADAPTIVE_AVG_POOL, ADAPTIVE_MAX_POOL = _each("pooling", "AdaptiveAvgPool"), _each("pooling", "AdaptiveMaxPool")
UPSAMPLE = _of("upsampling", "Upsample")
UPSAMPLES = _of("upsampling", "Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d")
MULTIHEAD = _of("activation", "MultiheadAttention")
ENCODER_LAYER = _of("transformer", "TransformerEncoderLayer")
DECODER_LAYER = _of("transformer", "TransformerDecoderLayer")
SOFTMAX = _of("activation", "Softmax")
RNN, GRU, LSTM = (_of("rnn", name, f"{name}Cell") for name in ("RNN", "GRU", "LSTM"))
DEFORM_CONV = ("torchvision.ops.deform_conv.DeformConv2d",)


def activation(*names: str) -> tuple[str, ...]:
    """Classes of torch.nn's activations."""
    return _of("activation", *names)


def functional(*names: str) -> tuple[str, ...]:
    """Functions of torch.nn.functional, under the names by which the graph knows them.

    Some are torch's own: ``torch.nn.functional.conv2d is torch.conv2d``.
    """
    return tuple(f"torch.{name}" if name in _TORCHS else f"torch.nn.functional.{name}" for name in names)


_TORCHS = frozenset(
    {"conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "prelu", "avg_pool1d"}
    | {"adaptive_avg_pool1d", "bilinear"}
)

CONV_FUNCTIONS = functional("conv1d", "conv2d", "conv3d")
CONV_TRANSPOSE_FUNCTIONS = functional("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
POOL_FUNCTIONS = functional(
    *(f"{kind}_pool{axes}d" for kind in ("avg", "max", "adaptive_avg", "adaptive_max") for axes in (1, 2, 3))
)

#: Single steps of recurrent layers, which torch's tracer shows as the ops that they are made of.
CELLS = ("torch.rnn_tanh_cell", "torch.rnn_relu_cell", "torch.gru_cell", "torch.lstm_cell")

#: Products of matrices and of batches of them, as the tracer records them.
PRODUCTS = ("aten.mm", "aten.addmm", "aten.bmm", "torch.matmul")

BROADCAST = "matmul whose left operand is broadcast: its batch counted as the left operand's"
VECTOR = "product with a vector: counted once for each element of the vector"


def left_times_columns(site: OpSite) -> int | None:
    """Elements of the left operand x last axis of the right one: the usual count of a matmul, if not broadcast.

    Where the left operand is repeated for each batch element of the right one, that batch is not counted. None for an
    op that is no product (views and copies).
    """
    if not site.macs:
        return None
    turned = site.facts.turned_result(site.node) if site.node.op == "aten.mm" else None
    if turned is not None:
        return site.macs // site.out_shape[0] * turned[-1]
    left = site.left_shape if site.node.op == "aten.bmm" else None
    return site.macs if left is None else prod(left) * site.out_shape[-1]


def _vector(site: OpSite) -> int | None:
    """The last axis of a vector is its only one, and its length counts once more."""
    return site.macs * site.in_shape[-1] if site.node.op in ("aten.mv", "aten.dot") else None


def matmuls(tool: str, *functions: str) -> tuple[Rule, Rule]:
    """The rules of a tool that multiplies the elements of the left operand by the last axis of the right one."""
    return (
        products(
            *functions,
            count=_vector,
            label=VECTOR,
            fault=f"{tool} takes the length of a vector for a number of columns",
        ),
        products(
            *functions,
            count=left_times_columns,
            label=BROADCAST,
            fault=f"{tool} takes the batch of a matmul from its left operand alone",
        ),
    )


class Recurrent:
    """The shapes of a recurrent layer or cell, from the parameters that it holds.

    ``gates`` is 1 for an RNN, 3 for a GRU and 4 for an LSTM. ``inputs`` has the number of inputs of each layer.
    """

    def __init__(self, call: CallSite, gates: int) -> None:
        sizes = {param.name.rpartition(".")[2]: param.shape for param in call.params}
        cell = "weight_ih" in sizes
        ends = [""] if cell else [f"_l{layer}" for layer in range(len(sizes)) if f"weight_ih_l{layer}" in sizes]
        self.is_cell = cell
        self.hidden = sizes[f"weight_ih{ends[0]}"][0] // gates
        self.inputs = [sizes[f"weight_ih{end}"][1] for end in ends]
        self.directions = 2 if "weight_ih_l0_reverse" in sizes else 1
        self.projection = sizes["weight_hr_l0"][0] if "weight_hr_l0" in sizes else 0
        self.bias = f"bias_ih{ends[0]}" in sizes
        self.gates = gates
        self.matrices = [prod(sizes[f"weight_ih{end}"]) + prod(sizes[f"weight_hh{end}"]) for end in ends]
        #: how often the cell is evaluated: once for each batch element and step
        self.evaluations = prod(call.in_shape[:-1]) if cell else prod(call.in_shape) // call.in_shape[-1]

    @property
    def units(self) -> int:
        """Hidden units x layers x directions x evaluations."""
        return self.hidden * len(self.inputs) * self.directions * self.evaluations
