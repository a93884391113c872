"""Rows of `errata.py`: images."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from errata_measures import Activations, Macs, Measure, Over, Params, Ratio, Row, Scaled, Tool  # beside this file
from errata_slim import SlimRows

TORCHVISION = "torchvision==0.29.1"
TIMM = "timm==1.0.31"
CLIP = "open_clip_torch==3.3.0"
SMP = "segmentation_models_pytorch==0.6.0"
IMAGE = (1, 3, 224, 224)


def tv(name: str, what: str, says: str, measure: Measure, model: str, **more: Any) -> Row:
    """A number of torchvision's own documents: the ``meta`` of its weights."""
    part = more.pop("part", "")
    page = f"https://docs.pytorch.org/vision/0.29/models/generated/torchvision.models.{part}{name}.html"
    key = f"{name.replace('_', '-')}-{what}"
    field = {"params": "num_params", "macs": "GFLOPS"}[what]
    area, subject, source = more.pop("area", "image"), f"torchvision {name}", f"torchvision, {field}"
    return Row(key, area, subject, says, source, page, TORCHVISION, model, measure, **more)


def _tv(name: str, what: str, says: str, side: int = 224, **more: Any) -> Row:
    inputs = (1, 3, side, side)
    measure = Params(inputs) if what == "params" else Macs(inputs)
    return tv(name, what, says, measure, more.pop("model", f"torchvision.models.{name}()"), **more)


GOOGLENET = "torchvision.models.googlenet(init_weights=False)"
INCEPTION = "torchvision.models.inception_v3(init_weights=False)"
AUX = ("aux*.*", "AuxLogits.*")
DETECTOR = "torchvision.models.detection.{}(weights=None, weights_backbone=None)"
FROZEN = ("backbone.body.*bn*", "backbone.body.*downsample.1.*")


TORCHVISION_ROWS = (
    _tv("alexnet", "params", "61,100,840"),
    _tv("alexnet", "macs", "0.714 G"),
    _tv("vgg16", "params", "138,357,544"),
    _tv("vgg16", "macs", "15.47 G"),
    _tv("resnet18", "macs", "1.814 G"),
    _tv("resnet50", "params", "25,557,032"),
    _tv("resnet50", "macs", "4.089 G"),
    _tv("densenet121", "macs", "2.834 G"),
    _tv(
        *("googlenet", "params", "6,624,904"),
        model=GOOGLENET,
        others={"without the auxiliary classifiers, which are built": Params(IMAGE, AUX)},
    ),
    _tv(
        *("inception_v3", "params", "27,161,264", 299),
        model=INCEPTION,
        note="with its auxiliary classifier, unlike GoogLeNet",
    ),
    _tv("mobilenet_v3_large", "macs", "0.217 G"),
    _tv("shufflenet_v2_x1_0", "params", "2,278,604"),
    _tv("efficientnet_b7", "params", "66,347,960", 600),
    _tv("efficientnet_b7", "macs", "37.746 G", 600),
    _tv("convnext_tiny", "macs", "4.456 G"),
    _tv("swin_t", "macs", "4.491 G"),
    _tv("vit_b_16", "macs", "17.564 G"),
    _tv("maxvit_t", "macs", "5.558 G"),
    tv(
        *("fasterrcnn_resnet50_fpn", "params", "41,755,286"),
        Params((1, 3, 320, 320)),
        DETECTOR.format("fasterrcnn_resnet50_fpn"),
        part="detection.",
        others={"the norms of the backbone frozen, as buffers": Params((1, 3, 320, 320), FROZEN)},
    ),
)


CSV = "results/benchmark-infer-amp-nchw-pt240-cu124-rtx4090.csv"
CSV_URL = f"https://github.com/huggingface/pytorch-image-models/blob/5c33776/{CSV}"


def timm(name: str, what: str, says: str, side: int = 224, others: Mapping[str, Measure] | None = None) -> Row:
    """A number of timm's table of results: param_count, infer_gmacs or infer_macts."""
    inputs = (1, 3, side, side)
    measure: Measure = {"params": Params(inputs), "gmacs": Macs(inputs), "macts": Activations(inputs, True)}[what]
    if what == "gmacs":
        others = {"fvcore, which counts norms and pooling besides": Tool("timm", inputs)}
    key = f"timm-{name.replace('_', '-')}-{what}" + (f"-{side}" if side != 224 else "")
    column = {"params": "param_count", "gmacs": "infer_gmacs", "macts": "infer_macts"}[what]
    package = f"{TIMM} fvcore==0.1.5.post20221221" if what == "gmacs" else TIMM
    model = f"timm.create_model({name!r})"
    return Row(key, "image", f"timm {name}", says, f"timm, {column}", CSV_URL, package, model, measure, others)


TIMM_ROWS = (
    timm("resnet18", "gmacs", "1.82 G"),
    timm("resnet34", "gmacs", "3.67 G"),
    timm("resnet50", "gmacs", "2.10 G", 160),
    timm("regnetx_002", "macts", "2.16 M"),
    timm("regnetx_004", "macts", "3.14 M"),
    timm("regnetx_016", "macts", "7.93 M"),
    timm("regnety_002", "macts", "2.17 M"),
    timm("regnety_016", "macts", "8.04 M"),
    timm("efficientnet_b0", "params", "5.29 M"),
    timm("efficientnet_b0", "gmacs", "0.40 G"),
    timm("efficientnet_b0", "macts", "6.75 M"),
    timm("mobilenetv1_100", "gmacs", "0.58 G"),
    timm("mobilenetv2_100", "gmacs", "0.31 G"),
    timm("convnext_atto", "macts", "3.81 M"),
    timm("levit_128", "gmacs", "0.41 G"),
    timm("deit_tiny_patch16_224", "gmacs", "1.26 G"),
    timm("vit_small_patch16_224", "gmacs", "4.61 G"),
    timm("resnetblur18", "gmacs", "2.34 G"),
    timm("mixer_s32_224", "gmacs", "1.00 G"),
)


CLIP_URL = "https://github.com/mlfoundations/open_clip/blob/3b37473/docs/model_profile.csv"


def clip(name: str, what: str, says: str, side: int = 224) -> Row:
    """A number of open_clip's table of models: mparams or gflops, of image and text together."""
    inputs = {"image": (1, 3, side, side), "text": (1, 77)}
    measure: Measure = Params(inputs) if what == "mparams" else Macs(inputs)
    others: dict[str, Measure] = {"2 operations for each multiply-add": Macs(inputs, 2)} if what == "gflops" else {}
    model = f"open_clip.create_model({name!r})"
    key = f"clip-{name.lower()}-{what}"
    return Row(key, "image", f"open_clip {name}", says, f"open_clip, {what}", CLIP_URL, CLIP, model, measure, others)


CLIP_ROWS = (
    clip("ViT-B-32", "mparams", "151.28 M"),
    clip("ViT-B-32", "gflops", "14.78 G"),
    clip("ViT-B-16", "gflops", "41.09 G"),
    clip("RN50", "mparams", "102.01 M"),
    clip("RN50", "gflops", "18.18 G"),
    clip("ViT-L-14", "gflops", "175.33 G"),
)


SMP_URL = "https://smp.readthedocs.io/en/latest/encoders.html"


def smp(name: str, says: str) -> Row:
    """Parameters of an encoder of segmentation_models_pytorch, from its documents' table."""
    model = f"segmentation_models_pytorch.encoders.get_encoder({name!r}, weights=None)"
    measure = Params((1, 3, 64, 64))
    others = {"cut, not rounded": Scaled(measure, 1, 10**6)}
    return Row(f"smp-{name}", "image", f"smp encoder {name}", says, "smp, Params", SMP_URL, SMP, model, measure, others)


SMP_ROWS = (
    smp("resnet18", "11 M"),
    smp("resnet34", "21 M"),
    smp("resnet50", "23 M"),
    smp("resnet101", "42 M"),
    smp("resnet152", "58 M"),
    smp("resnext50_32x4d", "22 M"),
)


# --- others -----------------------------------------------------------------------------------------------------------

PYCLS_URL = "https://github.com/facebookresearch/pycls/blob/5719de6/MODEL_ZOO.md"


def regnet(name: str, says: str) -> Row:
    """Activations, outputs of convolutions, in pycls' model zoo."""
    model = f"timm.create_model({name!r})"
    return Row(f"{name}-acts", "image", name, says, "pycls, acts", PYCLS_URL, TIMM, model, Activations(IMAGE))


REGNET_ROWS = (
    regnet("regnetx_004", "3.1 M"),
    regnet("regnetx_032", "11.4 M"),
    regnet("regnetx_080", "14.1 M"),
    regnet("regnetx_320", "36.3 M"),
    regnet("regnety_004", "3.9 M"),
    regnet("regnety_032", "11.3 M"),
    regnet("regnety_080", "18.0 M"),
)

CONVNEXT_URL = "https://github.com/facebookresearch/ConvNeXt/blob/048efce/README.md"


def convnext(name: str, what: str, says: str, side: int = 224, key: str = "", **more: Any) -> Row:
    """A number of ConvNeXt's README, for torchvision's model of it."""
    inputs = (1, 3, side, side)
    measure: Measure = Params(inputs) if what == "params" else Macs(inputs)
    others = {"cut, not rounded": Scaled(measure, 1, 10**6)} if what == "params" else None
    key = key or f"readme-{name.replace('_', '-')}-{what}" + (f"-{side}" if side != 224 else "")
    model = f"torchvision.models.{name}()"
    return Row(key, "image", name, says, "ConvNeXt, README", CONVNEXT_URL, TORCHVISION, model, measure, others, **more)


CONVNEXT_ROWS = (
    convnext("convnext_tiny", "params", "28 M", note="29 M in the table below it of the same file"),
    convnext("convnext_small", "params", "50 M"),
    convnext("convnext_large", "macs", "34.4 G"),
    convnext("convnext_base", "macs", "45.0 G", 384),
    convnext(
        *("convnext_base", "macs", "47.0 G", 384),
        key="readme-convnext-base-macs-384-22k",
        note="the same model at the same size as the 45.0 G of another table of the same file",
    ),
)

YOLO = "ultralytics==8.4.190 opencv-python-headless==5.0.0.93"
YOLO_URL = "https://github.com/ultralytics/ultralytics/blob/0059318/docs/en/models/yolov8.md"


def yolo(size: str, what: str, says: str) -> Row:
    inputs = (1, 3, 640, 640)
    measure: Measure = Params(inputs) if what == "params" else Macs(inputs)
    others = {"2 operations for each multiply-add": Macs(inputs, 2)} if what == "flops" else None
    model = f"ultralytics.nn.tasks.DetectionModel('yolov8{size}.yaml', verbose=False)"
    column = {"params": "params (M)", "flops": "FLOPs (B)"}[what]
    key, subject, source = f"yolov8{size}-{what}", f"YOLOv8{size}", f"ultralytics, {column}"
    return Row(key, "image", subject, says, source, YOLO_URL, YOLO, model, measure, others)


YOLO_ROWS = (
    yolo("n", "params", "3.2 M"),
    yolo("n", "flops", "8.7 G"),
    yolo("s", "params", "11.2 M"),
    yolo("s", "flops", "28.6 G"),
    yolo("m", "params", "25.9 M"),
    yolo("m", "flops", "78.9 G"),
)

TRANSFORMERS = "transformers==5.24.0"
DETR = "transformers.DetrForObjectDetection(transformers.DetrConfig())"
DETR_ROWS = (
    Row(
        *("detr-size", "image", "DETR R50, checkpoint in MiB", "159", "DETR, README"),
        *("https://github.com/facebookresearch/detr/blob/29901c5/README.md", f"{TRANSFORMERS} {TIMM}", DETR),
        Scaled(Params((1, 3, 256, 256), buffers=("*",)), Fraction(4, 2**20)),
        step=1,
        note="with the frozen norms' four buffers; built with 2 classes, the 91 of COCO add 0.09",
    ),
    Row(
        *("segformer-b0-params", "image", "SegFormer-B0", "3.8 M", "table 1", "https://arxiv.org/abs/2105.15203"),
        *(TRANSFORMERS, "transformers.SegformerForSemanticSegmentation(transformers.SegformerConfig(num_labels=150))"),
        Params((1, 3, 512, 512)),
    ),
    Row(
        *("segformer-b0-flops", "image", "SegFormer-B0", "8.4 G", "table 1", "https://arxiv.org/abs/2105.15203"),
        *(TRANSFORMERS, "transformers.SegformerForSemanticSegmentation(transformers.SegformerConfig(num_labels=150))"),
        Macs((1, 3, 512, 512)),
        note="one for each multiply-add, called FLOPs",
    ),
    Row(
        *("efficientnet-b7-paper", "image", "EfficientNet-B7", "37 G", "table 2", "https://arxiv.org/abs/1905.11946"),
        *(TORCHVISION, "torchvision.models.efficientnet_b7()", Macs((1, 3, 600, 600))),
        {"cut, not rounded": Scaled(Macs((1, 3, 600, 600)), 1, 10**9)},
    ),
    Row(
        *(
            "efficientnet-b7-paper-params",
            "image",
            "EfficientNet-B7",
            "66 M",
            "table 2",
            "https://arxiv.org/abs/1905.11946",
        ),
        *(TORCHVISION, "torchvision.models.efficientnet_b7()", Params((1, 3, 600, 600))),
    ),
    Row(
        *("timm-resnetblur18-params", "image", "timm resnetblur18", "11.69 M", "timm, param_count", CSV_URL, TIMM),
        *("timm.create_model('resnetblur18')", Params(IMAGE)),
        note="antialiased ResNet-18: as many as without, as its authors say",
    ),
)


def reduction(name: str, layer: str, says: str, side: int, **more: Any) -> Row:
    """A reduction that timm states of a model's features (``feature_info``), at the model's usual size."""
    url = "https://github.com/huggingface/pytorch-image-models/tree/main/timm/models"
    measure = Ratio((1, 3, side, side), layer, **{key: more.pop(key) for key in ("out", "tokens") if key in more})
    model = f"timm.create_model({name!r})"
    key = more.pop("key", f"timm-{name.replace('_', '-')}-reduction")
    return Row(key, "image", f"timm {name}", says, "timm, feature_info", url, TIMM, model, measure, **more)


VALID = "convolutions without padding leave less than the stride says"
REDUCTION_ROWS = (
    reduction("levit_128", "stages.2", "64", 224, out=-2, tokens=True, note="14 rows, 7, then 4: halves rounded up"),
    reduction("inception_v4", "features.21", "32", 299, note=VALID),
    reduction("inception_v3", "Mixed_7c", "32", 299, note=VALID),
    reduction("nasnetalarge", "act", "32", 331, note=VALID),
    reduction("inception_v3", "Mixed_6e", "16", 299, key="timm-inception-v3-6e-reduction", note=VALID),
    reduction("inception_v3", "Mixed_5d", "8", 299, key="timm-inception-v3-5d-reduction", note=VALID),
    reduction("inception_resnet_v2", "conv2d_7b", "32", 299, note=VALID),
    reduction("pnasnet5large", "act", "32", 331, note="331 rows, halved and rounded up five times, are 11"),
    reduction("xception41", "blocks.12", "32", 299, note="299 rows, halved and rounded up five times, are 10"),
    reduction("legacy_xception", "act4", "32", 299, note="299 rows, 10 in the end"),
    reduction("levit_256", "stages.2", "64", 224, out=-2, tokens=True, note="as levit_128"),
    reduction("levit_384_s8", "stages.2", "32", 224, out=-2, tokens=True),
    reduction(
        *("crossvit_9_240", "blocks.2.blocks.1", "17", 240),
        out=-2,
        tokens=True,
        note="patches of 16 of an image made 224 first: 14 rows",
    ),
    reduction("resnet50", "layer4", "32", 224),
)

ANTIALIASED = "antialiased-cnns==0.3"
ALIASED_URL = "https://github.com/adobe/antialiased-cnns/blob/b27a34a/README.md#L110"
PLAIN = "torchvision.models.resnet18()"
ANTIALIASED_ROWS = (
    Row(
        *("antialiased-resnet18-params", "image", "antialiased ResNet-18 over ResNet-18", "0 %"),
        *("antialiased-cnns, README: adds no parameters", ALIASED_URL, f"{ANTIALIASED} {TORCHVISION}"),
        *("antialiased_cnns.resnet18(pretrained=False)", Over(Params(IMAGE), PLAIN)),
        exact=True,
    ),
    Row(
        *("antialiased-resnet18-macs", "image", "antialiased ResNet-18 over ResNet-18", "29.1 %"),
        *("counted here; its README names no cost", ALIASED_URL, f"{ANTIALIASED} {TORCHVISION}"),
        *("antialiased_cnns.resnet18(pretrained=False)", Over(Macs(IMAGE), PLAIN)),
        note="blurring filters are buffers, so that parameters do not show them, and convolutions all the same",
    ),
)

SLIM_URL = "https://github.com/google-research/receptive_field/blob/f12ae8e/receptive_field/RECEPTIVE_FIELD_TABLE.md"


def slim(name: str, rows: int) -> Row:
    """All rows of the table of TF-Slim's networks for one of them."""
    model = f"errata_nets.Slim({name!r})"
    key, subject, source = f"slim-{name}", f"TF-Slim {name}", "table of receptive fields"
    return Row(key, "image", subject, str(rows), source, SLIM_URL, "torch==2.14.1", model, SlimRows(name))


SLIM_ROWS = (
    *(slim("alexnet_v2", 21), slim("vgg_a", 39), slim("vgg_16", 39), slim("inception_v2", 45)),
    *(slim("inception_v2-no-separable-conv", 45), slim("inception_v3", 54), slim("inception_v4", 66)),
    *(slim("inception_resnet_v2", 36), slim("inception_resnet_v2-same", 36), slim("mobilenet_v1", 42)),
    *(slim("mobilenet_v1_075", 42), *[slim(f"resnet_{v}_{n}", 12) for v in ("v1", "v2") for n in (50, 101, 152, 200)]),
)

ROWS = (
    *(*TORCHVISION_ROWS, *DETR_ROWS, *REGNET_ROWS, *REDUCTION_ROWS, *YOLO_ROWS, *SLIM_ROWS, *TIMM_ROWS, *CONVNEXT_ROWS),
    *(*CLIP_ROWS, *SMP_ROWS, *ANTIALIASED_ROWS),
)
