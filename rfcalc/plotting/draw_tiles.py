"""A tile of an image, drawn with matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rfcalc.plotting.canvas import INK
from rfcalc.plotting.draw_fields import draw_scene
from rfcalc.plotting.scenes import Panel
from rfcalc.plotting.tiles import TileScene

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_tile(found: TileScene, picture: Any = None) -> Figure:
    """The tile over the image, and the cuts between what all tiles write as thin lines."""
    figure = draw_scene(found.scene, picture)
    for axes, panel in zip(figure.axes, found.scene.panels, strict=False):
        if isinstance(panel, Panel):
            tall, wide = panel.extents
            rows, cols = (found.cuts[name] for name in panel.axes)
            lines = [((-0.5, wide - 0.5), (at - 0.5,) * 2) for at in rows]
            lines += [((at - 0.5,) * 2, (-0.5, tall - 0.5)) for at in cols]
            for across, down in lines:  # light below, to be seen over dark pictures
                axes.plot(across, down, color="white", linewidth=1.6, zorder=1.7)
                axes.plot(across, down, color=INK, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1.8)
    return figure
