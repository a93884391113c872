"""Rows of `errata.py`: video, and volumes."""

from __future__ import annotations

from typing import Any

from errata_measures import Field, Macs, Measure, Normed, Of, Params, Row  # beside this file
from errata_rows_image import tv

PYTORCHVIDEO = "pytorchvideo==0.1.5 iopath==0.1.10 fvcore==0.1.5.post20221221"
ZOO_URL = "https://github.com/facebookresearch/pytorchvideo/blob/f3142bb/docs/source/model_zoo.md"


BY_FVCORE = "fvcore of that day, which counted 5 operations for each element of a batch norm besides"


def pv(name: str, what: str, says: str, inputs: Any, subject: str, **more: Any) -> Row:
    """A number of PyTorchVideo's model zoo: parameters, or operations of one view."""
    measure: Measure = Params(inputs) if what == "params" else Macs(inputs)
    others: dict[str, Measure] = {BY_FVCORE: Normed(inputs)} if what == "flops" else {}
    model = more.pop("model", f"pytorchvideo.models.hub.{name}(pretrained=False)")
    key = more.pop("key", name.replace("_", "-"))
    column = {"params": "Params (M)", "flops": "Flops (G)"}[what]
    key, source = f"pv-{key}-{what}", f"PyTorchVideo, {column}"
    return Row(key, "video", subject, says, source, ZOO_URL, PYTORCHVIDEO, model, measure, others)


def clip(frames: int, side: int = 224) -> tuple[int, ...]:
    return (1, 3, frames, side, side)


ZOO = (
    pv("c2d_r50", "params", "24.33 M", clip(8), "C2D R50 8x8"),
    pv("c2d_r50", "flops", "25.89 G", clip(8, 256), "C2D R50 8x8"),
    pv("i3d_r50", "params", "28.04 M", clip(8), "I3D R50 8x8"),
    pv("i3d_r50", "flops", "37.53 G", clip(8, 256), "I3D R50 8x8"),
    pv("slow_r50", "params", "32.45 M", clip(8), "Slow R50 8x8"),
    pv("slow_r50", "flops", "54.52 G", clip(8, 256), "Slow R50 8x8"),
    pv("csn_r101", "params", "22.21 M", clip(32), "CSN R101 32x2"),
    pv("csn_r101", "flops", "75.62 G", clip(32, 256), "CSN R101 32x2"),
    pv("r2plus1d_r50", "params", "28.11 M", clip(16), "R(2+1)D R50 16x4"),
    pv("r2plus1d_r50", "flops", "76.45 G", clip(16, 256), "R(2+1)D R50 16x4"),
    pv("x3d_xs", "params", "3.79 M", clip(4, 160), "X3D-XS 4x12"),
    pv("x3d_xs", "flops", "0.91 G", clip(4, 182), "X3D-XS 4x12"),
    pv("x3d_l", "params", "6.15 M", clip(16, 312), "X3D-L 16x5"),
    pv("mvit_base_16x4", "params", "36.61 M", clip(16), "MViT-B 16x4"),
)


def _tv(name: str, what: str, says: str, inputs: tuple[int, ...], **more: Any) -> Row:
    measure: Measure = Params(inputs) if what == "params" else Macs(inputs)
    model = f"torchvision.models.video.{name}()"
    return tv(name, what, says, measure, model, part="video.", area="video", **more)


TORCHVISION_ROWS = (
    _tv("r3d_18", "params", "33,371,472", clip(16, 112)),
    _tv("r3d_18", "macs", "40.697 G", clip(16, 112)),
    _tv("mc3_18", "macs", "43.343 G", clip(16, 112)),
    _tv("r2plus1d_18", "macs", "40.519 G", clip(16, 112)),
    _tv("s3d", "macs", "17.979 G", clip(16, 224)),
    _tv("mvit_v1_b", "macs", "70.599 G", clip(16)),
    _tv("swin3d_t", "macs", "43.882 G", clip(16)),
)

# --- I3D --------------------------------------------------------------------------------------------------------------

I3D = "cd-fvd==0.1.1"
I3D_URL = "https://arxiv.org/abs/1705.07750"


def i3d(end: str, axis: str, says: str, **more: Any) -> Row:
    """A field of figure 3 along time or space, on an input that is long along this axis alone."""
    at = {"time": 0, "space": 1}[axis]
    measure = Field((1, 3, 224, 16, 16) if axis == "time" else (1, 3, 8, 704, 16), at + 2, "", at + 2, thin=True)
    model = f"errata_nets.i3d({NETWORK}, {end!r}, {at})"
    if more.pop("four", False):
        left = "with four of the five modules Mixed_4b to 4f"
        more["slip"] = {left: Of(f"errata_nets.i3d({NETWORK}, {end!r}, {at}, leave='Mixed_4c')", measure)}
    key = f"i3d-{end.lower().replace('_', '-')}-{axis}"
    return Row(key, "video", f"I3D, {end}, {axis}", says, "figure 3", I3D_URL, I3D, model, measure, **more)


NETWORK = "cdfvd.third_party.i3d.pytorch_i3d.InceptionI3d(400, in_channels=3)"
I3D_ROWS = (
    i3d("Conv3d_2c_3x3", "time", "11"),
    i3d("MaxPool3d_3a_3x3", "space", "27"),
    i3d("MaxPool3d_4a_3x3", "time", "23"),
    i3d("MaxPool3d_4a_3x3", "space", "75"),
    i3d("MaxPool3d_5a_2x2", "time", "59", four=True),
    i3d("MaxPool3d_5a_2x2", "space", "219", four=True),
    i3d("avg_pool", "time", "99", four=True),
    i3d("avg_pool", "space", "539", four=True),
)

ROWS = (*TORCHVISION_ROWS, *ZOO, *I3D_ROWS)
