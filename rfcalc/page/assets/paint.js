// Drawing on canvases: an input with what a unit sees of it, and a layer's units with those that a pixel can change.

const LEAST_MARGIN = 0.03;
const MOST_MARGIN = 0.5;

/** A neutral picture of that size: shapes whose places are easy to tell apart, no photograph of anybody. */
function testPicture(width, height) {
  const canvas = el("canvas", { width, height });
  const pen = canvas.getContext("2d");
  const sky = pen.createLinearGradient(0, 0, width, height);
  sky.addColorStop(0, "#dbe7ee");
  sky.addColorStop(1, "#9fb7a8");
  pen.fillStyle = sky;
  pen.fillRect(0, 0, width, height);
  const disc = (x, y, radius, colour) => {
    pen.fillStyle = colour;
    pen.beginPath();
    pen.ellipse(x * width, y * height, radius * width, radius * height, 0, 0, 2 * Math.PI);
    pen.fill();
  };
  const shape = (colour, ...points) => {
    pen.fillStyle = colour;
    pen.beginPath();
    points.forEach(([x, y]) => pen.lineTo(x * width, y * height));
    pen.fill();
  };
  disc(0.76, 0.22, 0.11, "#f3d9a0");
  shape("#7f9aa8", [0, 0.72], [0.26, 0.3], [0.52, 0.72]);
  shape("#95adb8", [0.3, 0.72], [0.6, 0.42], [0.95, 0.72]);
  shape("#c3cfa2", [0, 0.7], [1, 0.62], [1, 1], [0, 1]);
  shape("#b5654a", [0.56, 0.62], [0.68, 0.5], [0.8, 0.62]);
  shape("#e9dfcc", [0.58, 0.62], [0.78, 0.62], [0.78, 0.8], [0.58, 0.8]);
  shape("#5b4a42", [0.65, 0.68], [0.71, 0.68], [0.71, 0.8], [0.65, 0.8]);
  disc(0.2, 0.66, 0.1, "#5f8060");
  shape("#6d5646", [0.185, 0.74], [0.215, 0.74], [0.215, 0.88], [0.185, 0.88]);
  for (let at = 0; at < 6; at += 1)
    shape(
      at % 2 ? "#f4f1e8" : "#50606a",
      [0.34 + at * 0.03, 0.86],
      [0.37 + at * 0.03, 0.86],
      [0.37 + at * 0.03, 0.92],
      [0.34 + at * 0.03, 0.92],
    );
  return canvas;
}

/** The canvas at the resolution of the screen, cleared, with a pen in CSS pixels. */
function penOf(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth || 300;
  const height = canvas.clientHeight || 150;
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

/** How pixels of an axis lie on a canvas with that margin (a part of the extent) on both sides. */
function axisScale(extent, length, margin) {
  const step = length / (extent * (1 + 2 * margin));
  return {
    step,
    to: (at) => (at + margin * extent) * step,
    from: (place) => Math.floor(place / step - margin * extent),
  };
}

/** The margin that lets the windows of all units of a layer be seen, as far as that makes sense. */
function marginFor(windows, extents) {
  const needed = windows.flatMap((span, axis) =>
    span ? [-span[0] / extents[axis], (span[1] + 1) / extents[axis] - 1] : [],
  );
  return Math.min(MOST_MARGIN, Math.max(LEAST_MARGIN, ...needed.map((part) => part * 1.04)));
}

/** Spans as a rectangle on the canvas; an axis without one is taken whole. */
function rectangle(spans, extents, scales) {
  const [top, left] = spans
    .map((span, axis) => span ?? [0, extents[axis] - 1])
    .map((span, axis) => [scales[axis].to(span[0]), scales[axis].to(span[1] + 1)]);
  return [left[0], top[0], left[1] - left[0], top[1] - top[0]];
}

/**
 * The picture with a region and a window on it. `what` has `picture`, `extents`, `scales` (vertical, horizontal),
 * `region` (spans, null in it for nothing), `window` (spans, null for none), `pixel` and `tile` (null for none).
 */
function paintPicture(canvas, what) {
  const { pen, width, height } = penOf(canvas);
  const frame = rectangle([null, null], what.extents, what.scales);
  pen.fillStyle = cssColour("--padding");
  pen.fillRect(0, 0, width, height);
  pen.imageSmoothingEnabled = what.scales[0].step < 4;
  pen.drawImage(what.picture, ...frame);
  if (what.scales[0].step >= 7 && what.scales[1].step >= 7) paintGrid(pen, what.extents, what.scales);
  const seen = what.region.every((span) => span !== null);
  pen.save();
  pen.beginPath();
  pen.rect(...frame);
  if (seen) pen.rect(...rectangle(what.region, what.extents, what.scales));
  pen.fillStyle = "rgba(10, 16, 24, 0.5)";
  pen.fill("evenodd");
  pen.restore();
  if (what.window.some((span) => span !== null))
    outline(pen, rectangle(what.window, what.extents, what.scales), cssColour("--window"), [6, 4]);
  if (seen) outline(pen, rectangle(what.region, what.extents, what.scales), cssColour("--region"), []);
  if (what.tile) paintTile(pen, what.tile, what.extents, what.scales);
  if (what.pixel) markPixel(pen, what.pixel, what.scales);
}

function paintGrid(pen, extents, scales) {
  pen.strokeStyle = "rgba(0, 0, 0, 0.18)";
  pen.lineWidth = 0.5;
  pen.beginPath();
  for (let row = 0; row <= extents[0]; row += 1) {
    pen.moveTo(scales[1].to(0), scales[0].to(row));
    pen.lineTo(scales[1].to(extents[1]), scales[0].to(row));
  }
  for (let column = 0; column <= extents[1]; column += 1) {
    pen.moveTo(scales[1].to(column), scales[0].to(0));
    pen.lineTo(scales[1].to(column), scales[0].to(extents[0]));
  }
  pen.stroke();
}

/** The least rectangle of whole pixels of the screen around another, so that neighbours leave no gap. */
function wholePixels([left, top, width, height]) {
  const [x, y] = [Math.floor(left), Math.floor(top)];
  return [x, y, Math.ceil(left + width) - x, Math.ceil(top + height) - y];
}

/** A rectangle's border that shows on any picture; one too small to be seen is drawn larger. */
function outline(pen, [left, top, width, height], colour, dashes) {
  const wide = Math.max(width, 5);
  const tall = Math.max(height, 5);
  const box = [left - (wide - width) / 2, top - (tall - height) / 2, wide, tall];
  pen.lineWidth = 4;
  pen.strokeStyle = "rgba(255, 255, 255, 0.75)";
  pen.setLineDash([]);
  if (!dashes.length) pen.strokeRect(...box);
  pen.lineWidth = 2;
  pen.strokeStyle = colour;
  pen.setLineDash(dashes);
  pen.strokeRect(...box);
  pen.setLineDash([]);
}

function markPixel(pen, pixel, scales) {
  const [y, x] = pixel.map((at, axis) => scales[axis].to(at + 0.5));
  for (const [width, colour] of [
    [5, "#fff"],
    [2.5, cssColour("--pixel")],
  ]) {
    pen.lineWidth = width;
    pen.strokeStyle = colour;
    pen.beginPath();
    pen.arc(x, y, 7, 0, 2 * Math.PI);
    pen.moveTo(x - 12, y);
    pen.lineTo(x - 4, y);
    pen.moveTo(x + 4, y);
    pen.lineTo(x + 12, y);
    pen.stroke();
  }
}

/** One axis of an input as a bar: a test signal, and the region, the window and the pixel on it. */
function paintBar(canvas, what) {
  const { pen, width, height } = penOf(canvas);
  const { scale, extent, region, window: free, pixel } = what;
  pen.fillStyle = cssColour("--padding");
  pen.fillRect(0, 0, width, height);
  pen.fillStyle = cssColour("--panel");
  pen.fillRect(scale.to(0), 0, scale.to(extent) - scale.to(0), height);
  pen.strokeStyle = cssColour("--muted");
  pen.beginPath();
  for (let x = scale.to(0); x <= scale.to(extent); x += 1) {
    const t = (x - scale.to(0)) / Math.max(1, scale.to(extent) - scale.to(0));
    const wave = Math.sin(40 * t) * Math.sin(9 * t + 1) * 0.6 + Math.sin(130 * t) * 0.25 * (1 - t);
    pen.lineTo(x, height * (0.5 - 0.4 * wave));
  }
  pen.stroke();
  const box = (span, inset) => [
    scale.to(span[0]),
    inset,
    scale.to(span[1] + 1) - scale.to(span[0]),
    height - 2 * inset,
  ];
  if (region) {
    pen.fillStyle = cssColour("--region");
    pen.globalAlpha = 0.25;
    pen.fillRect(...box(region, 2));
    pen.globalAlpha = 1;
  }
  if (free) outline(pen, box(free, 6), cssColour("--window"), [6, 4]);
  if (region) outline(pen, box(region, 3), cssColour("--region"), []);
  if (what.tile) paintTileBar(pen, what.tile, scale, height);
  if (pixel !== null) {
    pen.fillStyle = cssColour("--pixel");
    pen.fillRect(scale.to(pixel + 0.5) - 1.5, 0, 3, height);
  }
  pen.font = "600 12px system-ui, sans-serif";
  pen.fillStyle = cssColour("--text");
  pen.fillText(what.name, 5, 14);
}

/**
 * The units of a layer: `extents` and `scales` of its two axes (rows, columns), the `unit` shown, and `changes(row,
 * column)` for the units within `hull` (two spans) that the chosen pixel can change; `full` says that it is all of them.
 */
function paintMap(canvas, what) {
  const { pen, width, height } = penOf(canvas);
  const [rows, columns] = what.scales;
  pen.fillStyle = cssColour("--units");
  pen.fillRect(0, 0, width, height);
  pen.fillStyle = cssColour("--pixel");
  if (what.full) pen.fillRect(...rectangle(what.hull, what.extents, what.scales));
  else if (what.hull) {
    for (let row = what.hull[0][0]; row <= what.hull[0][1]; row += 1) {
      for (let column = what.hull[1][0]; column <= what.hull[1][1]; column += 1) {
        if (what.changes(row, column))
          pen.fillRect(
            ...wholePixels(
              rectangle(
                [
                  [row, row],
                  [column, column],
                ],
                what.extents,
                what.scales,
              ),
            ),
          );
      }
    }
  }
  if (rows.step >= 5 && columns.step >= 5) paintGrid(pen, what.extents, what.scales);
  const [row, column] = what.unit;
  const box = rectangle(
    [row === null ? null : [row, row], column === null ? null : [column, column]],
    what.extents,
    what.scales,
  );
  outline(pen, box, cssColour("--region"), []);
}
