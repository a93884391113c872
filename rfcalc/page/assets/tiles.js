// The tiles of an input: a switch for them, and what the one that writes the chosen pixel reads, needs and writes.

class Tiles {
  constructor(view, repaint) {
    this.view = view;
    this.box = el("input", { type: "checkbox", checked: true, onchange: repaint });
    this.text = el("p", { class: "tile-text" });
    const key = (name, text) => el("li", {}, el("span", { class: `key tile-${name}` }), text);
    this.element = el(
      "div",
      { class: "tiles", hidden: true },
      el("label", { class: "check" }, this.box, "Tiles"),
      this.text,
      el(
        "ul",
        { class: "legend" },
        key("writes", "what a tile writes"),
        key("needs", "what it needs for that: its halo"),
        key("reads", "what it reads, up to the grid"),
      ),
    );
  }

  /** The tile of the moment and all cuts, by axis of the input; null where none are shown. */
  shown() {
    const { model, input } = this.view;
    const tile = this.box.checked ? model.tileAt(input, this.view.pixelOrMiddle()) : null;
    return tile && tile.map((spans, axis) => ({ ...spans, cuts: model.cutsOf(input.axes[axis]) }));
  }

  update() {
    const { model, input } = this.view;
    this.element.hidden = model.tiles?.input !== input.name;
    const tile = this.shown();
    const spans = (part) => tile.map((one, axis) => `${input.axes[axis]} ${one[part][0]}..${one[part][1]}`).join(", ");
    this.text.textContent = tile
      ? `The tile at the pixel writes ${spans("writes")}, needs ${spans("needs")} for that, and reads ${spans("reads")}.`
      : "";
  }
}

/** The cuts and one tile over a picture; `tile` has the spans of its rows and of its columns. */
function paintTile(pen, tile, extents, scales) {
  const [rows, columns] = tile;
  pen.lineWidth = 1;
  for (const [colour, dashes] of [
    ["rgba(255, 255, 255, 0.8)", []],
    ["rgba(20, 28, 40, 0.9)", [3, 3]],
  ]) {
    pen.strokeStyle = colour;
    pen.setLineDash(dashes);
    pen.beginPath();
    for (const at of rows.cuts) {
      pen.moveTo(scales[1].to(0), scales[0].to(at));
      pen.lineTo(scales[1].to(extents[1]), scales[0].to(at));
    }
    for (const at of columns.cuts) {
      pen.moveTo(scales[1].to(at), scales[0].to(0));
      pen.lineTo(scales[1].to(at), scales[0].to(extents[0]));
    }
    pen.stroke();
  }
  for (const [part, dashes] of TILE_PARTS)
    outline(pen, rectangle([rows[part], columns[part]], extents, scales), cssColour(`--tile-${part}`), dashes);
}

/** The same over a bar of one axis. */
function paintTileBar(pen, tile, scale, height) {
  const box = ([first, last], inset) => [
    scale.to(first),
    inset,
    scale.to(last + 1) - scale.to(first),
    height - 2 * inset,
  ];
  pen.fillStyle = cssColour("--muted");
  for (const at of tile.cuts) pen.fillRect(scale.to(at) - 0.5, 0, 1, height);
  TILE_PARTS.forEach(([part, dashes], number) =>
    outline(pen, box(tile[part], 9 + 6 * number), cssColour(`--tile-${part}`), dashes),
  );
}

/** What is drawn of a tile, from the outside in, and the dashes of each. */
const TILE_PARTS = [
  ["reads", [2, 3]],
  ["needs", [8, 4]],
  ["writes", []],
];
