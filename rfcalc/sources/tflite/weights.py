"""What the inputs of TFLite's ops are: weights, settings, or data."""

from __future__ import annotations

from rfcalc.sources.onnx.weights import Tables

_LATER = frozenset(range(1, 12))
_ALL = frozenset(range(12))
#: The weights of recurrent ops, by the place of the input; what is left is data and states.
_LSTM = ("input_to_input", "input_to_forget", "input_to_cell", "input_to_output")
_STATE = ("recurrent_to_input", "recurrent_to_forget", "recurrent_to_cell", "recurrent_to_output")

TABLES = Tables(
    settings={
        **dict.fromkeys(
            (
                *(
                    "RESHAPE",
                    "PAD",
                    "PADV2",
                    "MIRROR_PAD",
                    "TILE",
                    "SLICE",
                    "STRIDED_SLICE",
                    "TRANSPOSE",
                    "EXPAND_DIMS",
                ),
                *("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "BROADCAST_TO", "TOPK_V2", "SPLIT_V"),
                *("ONE_HOT", "RFFT2D", "BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND", "CUMSUM"),
                *("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL"),
            ),
            _LATER,
        ),
        **dict.fromkeys(("RANGE", "FILL"), _ALL),
        **dict.fromkeys(("TRANSPOSE_CONV", "CONV_3D_TRANSPOSE", "SPLIT"), frozenset({0})),
        **dict.fromkeys(("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5"), frozenset({2, 3, 4, 5})),
    },
    statistics={},
    whole_weights={},
    weighing={
        **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "CONV_3D", "PRELU"), frozenset({1, 2})),
        **dict.fromkeys(("TRANSPOSE_CONV", "CONV_3D_TRANSPOSE"), frozenset({1, 3})),
        "BATCH_MATMUL": frozenset({0, 1}),
        "Convolution2DTransposeBias": frozenset({1, 2}),
    },
    aliases=frozenset({"DEQUANTIZE", "DENSIFY", "RESHAPE", "TRANSPOSE", "CAST", "SQUEEZE", "EXPAND_DIMS", "QUANTIZE"}),
    adding=frozenset({"ADD", "SELECT", "SELECT_V2", "STRIDED_SLICE", "SLICE", "MINIMUM", "BROADCAST_TO", "GATHER"}),
    keys={
        **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "CONV_3D"), ("", "weight", "bias")),
        "Convolution2DTransposeBias": ("", "weight", "bias"),
        **dict.fromkeys(("TRANSPOSE_CONV", "CONV_3D_TRANSPOSE"), ("", "weight", "", "bias")),
        "PRELU": ("", "weight"),
        "BATCH_MATMUL": ("weight", "weight"),
        "ADD": ("bias", "bias"),
        "GATHER": ("weight",),
        "EMBEDDING_LOOKUP": ("", "weight"),
        "UNIDIRECTIONAL_SEQUENCE_LSTM": ("", *_LSTM, *_STATE),
        "LSTM": ("", *_LSTM, *_STATE),
        **dict.fromkeys(("RNN", "UNIDIRECTIONAL_SEQUENCE_RNN"), ("", "weight_ih", "weight_hh", "bias")),
        "SVDF": ("", "weight_feature", "weight_time", "bias"),
    },
    scaled=lambda tensor: tensor.scale is not None,
    kept=lambda tensor: tensor.state,
)
