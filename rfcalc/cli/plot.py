"""`rfcalc plot MODEL -o out.svg`: pictures of fields, costs and architectures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from rfcalc.cli.complete import complete_layer, complete_model
from rfcalc.cli.endings import DRAWN as PICTURES
from rfcalc.cli.endings import format_of
from rfcalc.cli.options import MODEL_HELP, Request, debug_option, layer_option, target_option, trace_options
from rfcalc.cli.output import Target, complain
from rfcalc.cli.parse import layer_keys, parse_extents, parse_position
from rfcalc.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rfcalc.plotting import Picture

KINDS = ("field", "growth", "cost", "compare", "graph", "stream", "tile")
DRAWN, WRITTEN = ("svg", "png", "pdf"), ("dot", "mermaid")
_SUFFIXES = {**PICTURES, ".dot": "dot", ".gv": "dot", ".mmd": "mermaid"}
_SEVERAL = ("growth", "compare")  #: kinds that show several models

HELP = f"""A picture of MODEL as SVG, PNG or PDF.

\b
  rfcalc plot vgg16 --layer conv5_3 --at 7,7 --image cat.jpg -o field.svg
  rfcalc plot vgg16 --layer 3 --through 2 -o lecture.svg
  rfcalc plot vgg16 resnet50 --kind growth -o growth.svg
  rfcalc plot resnet50 --kind graph --depth 2 -o resnet50.dot

\b
--kind field    what one unit sees of the input, borders, holes and phases included
       growth   fields against depth, of several models
       cost     parameters and multiply-adds along the layers
       compare  multiply-adds, parameters and field of several models, as bubbles
       graph    the layers as boxes with their fields; as DOT and Mermaid text, too
       stream   which positions along time each unit of an output or a layer reads
       tile     a tile of the input, its halo and what it writes (rfcalc tile)

{MODEL_HELP}"""


@click.command("plot", help=HELP, short_help="Pictures of fields, costs and architectures.")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, shell_complete=complete_model)
@click.option("--kind", type=click.Choice(KINDS), default="field", show_default=True, help="What to draw.")
@click.option(
    "--layer",
    "layers",
    metavar="L",
    multiple=True,
    shell_complete=complete_layer,
    help="Draw the field of layer L: number, name or glob; several: 3,7-9,conv4_*.",
)
@layer_option("--of", "Draw fields in the output of layer L instead of the input.")
@click.option("--at", metavar="Y,X", help="The unit at this position of the deepest layer; else the one in the middle.")
@layer_option("--through", "Draw earlier layers L beside the input, and what is used of each.")
@click.option("--image", metavar="FILE", type=click.Path(), help="Draw over this picture, resized to the input.")
@click.option("--depth", type=click.IntRange(1), metavar="N", help="Fold layers whose names have more than N parts.")
@click.option("--axis", metavar="T", help="The axis of the input that is time, for --kind stream.")
@click.option("--source", metavar="NAME", help="Which of several inputs is the stream, for --kind stream.")
@click.option("--align", type=click.Choice(["start", "end"]), help="From which end units have their places, likewise.")
@click.option("--tile", metavar="T", help="Length of a tile for --kind tile, 256 or 256x512; default: the shortest.")
@click.option("--format", "format_name", type=click.Choice((*DRAWN, *WRITTEN)), help="Else by the ending of -o.")
@trace_options
@target_option
@debug_option
def command(
    models: Sequence[str],
    kind: str,
    layers: Sequence[str],
    of: str | int | None,
    at: str | None,
    through: str | int | None,
    image: str | None,
    depth: int | None,
    axis: str | None,
    source: str | None,
    align: str | None,
    tile: str | None,
    format_name: str | None,
    request: Callable[[str], Request],
    target: Target,
) -> None:
    """Check what was asked, analyze, draw, write."""
    named = None if kind == "stream" else layers or None
    only_field = {"--layer": named, "--of": of, "--through": through}
    if kind != "tile":
        only_field |= {"--at": at, "--image": image}
    refuse_others(kind, {name: value for name, value in only_field.items() if value is not None}, "field")
    refuse_others(kind, {} if depth is None else {"--depth": depth}, "graph")
    only_stream = {"--axis": axis, "--source": source, "--align": align}
    refuse_others(kind, {name: value for name, value in only_stream.items() if value is not None}, "stream")
    refuse_others(kind, {} if tile is None else {"--tile": tile}, "tile")
    chosen = chosen_format(kind, format_name, target)
    if len(models) > 1 and kind not in _SEVERAL:
        raise UsageError(f"--kind {kind} draws one model, got {len(models)}; --kind growth and compare draw several")
    position = parse_position(at)
    from rfcalc import plotting

    if chosen in DRAWN:
        plotting.need_matplotlib()
    picture = None if image is None else plotting.open_picture(image)
    if kind == "tile":
        put(
            target,
            plotting.render(tile_figure(request(models[0]), parse_extents(tile, "--tile"), position, picture), chosen),
        )
        return
    chosen_layers = layer_keys(layers)
    analyses = [request(model).analyze(of) for model in models]
    for notice in [notice for analysis in analyses for notice in analysis.notices]:
        complain(f"note: {notice}")
    if kind == "graph" and depth is None and (depth := plotting.usual_depth(analyses[0])) is not None:
        complain(f"note: folded to modules whose names have {depth} parts; --depth N folds to another depth")
    if chosen in WRITTEN:
        boxes = plotting.diagram(analyses[0], depth)
        put(target, (plotting.dot if chosen == "dot" else plotting.mermaid)(boxes).encode())
        return
    if kind == "field" and through is None:
        scene = plotting.field_scene(analyses[0], chosen_layers, position)
        if picture is not None:
            tell_of_resizing(picture, plotting.picture_extents(scene))
        figure = plotting.draw_scene(scene, picture)
    else:
        chosen_parts = {
            "at": position,
            "through": through,
            "image": picture,
            "depth": depth,
            "axis": axis,
            "source": source,
            "align": align or "start",
        }
        figure = plotting.draw(analyses, kind, layers=chosen_layers, **chosen_parts)  # type: ignore[arg-type]
    put(target, plotting.render(figure, chosen))


def tile_figure(
    request: Request, lengths: tuple[int, ...] | None, at: Sequence[int] | None, picture: Picture | None
) -> Figure:
    """A tile of the input, of these lengths, by default the shortest. Raises UsageError where there is none."""
    from rfcalc import plotting

    plan = request.tiles(lengths)
    for notice in plan.notices:
        complain(f"note: {notice}")
    scene = plotting.tile_scene(plan, at)
    if picture is not None:
        tell_of_resizing(picture, plotting.picture_extents(scene.scene))
    return plotting.draw_tile(scene, picture)


def refuse_others(kind: str, given: dict[str, object], own: str) -> None:
    """Raises UsageError for options that another kind has."""
    if given and kind != own:
        raise UsageError(f"{', '.join(given)}: only --kind {own} has that, not {kind}; leave it out")


def chosen_format(kind: str, name: str | None, target: Target) -> str:
    """The format asked for, or that of the file's ending. Raises UsageError for none, and for text of a picture."""
    found = format_of(name, target.path, _SUFFIXES, draws=True, default="")
    if not found and target.to_file is None:
        raise UsageError("a picture needs a file: name one, -o out.svg, or ask for --format svg on standard output")
    if not found:
        endings = ", ".join(_SUFFIXES)
        raise UsageError(f"-o {target.path}: its ending names no format; end it in one of {endings}, or give --format")
    if found in WRITTEN and kind != "graph":
        raise UsageError(f"{found} is text of --kind graph; {kind} is drawn as {', '.join(DRAWN)}")
    if found in ("png", "pdf") and target.to_file is None:
        raise UsageError(
            f"a {found.upper()} cannot go to standard output: name a file with -o, or ask for --format svg"
        )
    return found


def tell_of_resizing(picture: Picture, extents: tuple[int, int]) -> None:
    """Note a picture of another size than the input."""
    if picture.size != extents:
        own, new = (f"{rows}x{cols}" for rows, cols in (picture.size, extents))
        complain(f"note: {picture.path} was resized from {own} to {new}, rows and columns")


def put(target: Target, data: bytes) -> None:
    """Write the file, or print text."""
    if target.to_file is None:
        target.write(data.decode())
    else:
        target.save(data)
