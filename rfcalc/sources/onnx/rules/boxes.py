"""Boxes: pooling of regions, and suppression of those that overlap. Which are left is data."""

from __future__ import annotations

import torch

from rfcalc.sources.onnx.rules import Op, one, rule

T = torch.Tensor


@rule("RoiAlign")
def roi_align(op: Op, x: T, boxes: T, batch: T) -> T:
    """The mean of samples in each cell of each box, or the largest of them."""
    from torchvision.ops import roi_align as align

    size = op.get("output_height", 1), op.get("output_width", 1)
    scale, ratio = op.get("spatial_scale", 1.0), op.get("sampling_ratio", 0)
    usual = "half_pixel" if op.version >= 16 else "output_half_pixel"
    centred = op.get("coordinate_transformation_mode", usual) == "half_pixel"
    if op.get("mode", "avg") != "avg":
        raise ValueError("RoiAlign takes the largest sample, which torch has no function for")
    rows = torch.cat([batch.to(boxes.dtype).reshape(-1, 1), boxes], 1)
    found: T = align(x, rows, size, scale, ratio or -1, centred)
    return found


@rule("MaxRoiPool")
def max_roi_pool(op: Op, x: T, rois: T) -> T:
    """The largest element in each cell of each box."""
    from torchvision.ops import roi_pool

    found: T = roi_pool(x, rois, tuple(op.get("pooled_shape")), op.get("spatial_scale", 1.0))
    return found


@rule("NonMaxSuppression")
def non_max_suppression(
    op: Op, boxes: T, scores: T, most: T | None = None, overlap: T | None = None, least: T | None = None
) -> T:
    """(sample, class, box) of the best boxes that overlap no better one by more than a share."""
    from torchvision.ops import nms

    count = int(one(most)) if most is not None else 0
    limit = float(one(overlap)) if overlap is not None else 0.0
    floor = float(one(least)) if least is not None else -torch.inf
    if op.get("center_point_box", 0):
        half = boxes[..., 2:] / 2
        corners = torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], -1)
    else:  # any two corners that face each other
        first, second = boxes[..., :2], boxes[..., 2:]
        corners = torch.cat([torch.minimum(first, second), torch.maximum(first, second)], -1)
    rows = []
    for sample in range(scores.shape[0]):
        for kind in range(scores.shape[1]):
            value = scores[sample, kind]
            above = torch.nonzero(value > floor).flatten()
            kept = above[nms(corners[sample][above], value[above], limit)][:count]
            places = torch.full((kept.shape[0], 2), 0, dtype=torch.int64, device=kept.device)
            places = places + torch.tensor([sample, kind], device=kept.device)
            rows.append(torch.cat([places, kept[:, None]], 1))
    return torch.cat(rows)
