// What each unit of a layer sees of an input, and what a pixel can change: from the arrays that rfcalc packed.
// Nothing here knows of the page. A unit is a list with an index for each axis of the layer's output, or null for all.

/** The arrays of a pool, unpacked when they are asked for. */
class Arrays {
  constructor(pool) {
    this.pool = pool;
    this.known = new Map();
  }

  /** `{shape, values}` of one entry, values in row-major order. */
  get(number) {
    if (!this.known.has(number)) this.known.set(number, this.unpack(this.pool[number]));
    return this.known.get(number);
  }

  unpack([shape, runs, parts]) {
    const order = expanded(runs);
    if (!parts) return { shape, values: order };
    const rows = parts.map((part) => this.get(part).values);
    const values = new Int32Array(shape.reduce((size, extent) => size * extent, 1));
    const length = values.length / order.length;
    order.forEach((row, at) => values.set(rows[row], at * length));
    return { shape, values };
  }
}

/** The sequence that `[first, count, step, ...]` stands for. */
function expanded(runs) {
  let length = runs.length ? 1 : 0;
  for (let at = 1; at < runs.length; at += 2) length += runs[at];
  const values = new Int32Array(length);
  if (length) values[0] = runs[0];
  for (let at = 1, place = 1; at < runs.length; at += 2) {
    for (let left = runs[at]; left > 0; left -= 1, place += 1) values[place] = values[place - 1] + runs[at + 1];
  }
  return values;
}

/** The arrays of one field: for each axis of the input, `{shape, lo, hi}`; null where the layer sees nothing of it. */
function fieldArrays(arrays, field) {
  if (!field || !field.regions) return null;
  return field.regions.map(([lo, hi]) => ({
    shape: arrays.get(lo).shape,
    lo: arrays.get(lo).values,
    hi: arrays.get(hi).values,
  }));
}

/** How far apart in the values two neighbours along each axis are; 0 where the array does not change along it. */
function stridesOf(shape) {
  const found = new Array(shape.length).fill(0);
  for (let axis = shape.length - 1, step = 1; axis >= 0; axis -= 1) {
    if (shape[axis] > 1) found[axis] = step;
    step *= shape[axis];
  }
  return found;
}

/** Calls `visit(offset)` for every value that belongs to the unit. */
function eachOffset(shape, unit, visit) {
  const strides = stridesOf(shape);
  const free = [];
  let base = 0;
  shape.forEach((extent, axis) => {
    if (extent < 2) return;
    if (unit[axis] === null) free.push([extent, strides[axis]]);
    else base += unit[axis] * strides[axis];
  });
  const walk = (depth, offset) => {
    if (depth === free.length) return visit(offset);
    for (let at = 0; at < free[depth][0]; at += 1) walk(depth + 1, offset + at * free[depth][1]);
  };
  walk(0, base);
}

/** What a unit sees: `[first, last]` for each axis of the input, null where that is nothing. */
function regionOf(field, unit) {
  return field.map(({ shape, lo, hi }) => {
    let found = null;
    eachOffset(shape, unit, (at) => {
      if (lo[at] > hi[at]) return;
      found = found ? [Math.min(found[0], lo[at]), Math.max(found[1], hi[at])] : [lo[at], hi[at]];
    });
    return found;
  });
}

/** Whether the region of a unit, or of any of several, holds a pixel. */
function holds(field, unit, pixel) {
  return regionOf(field, unit).every((span, axis) => span && span[0] <= pixel[axis] && pixel[axis] <= span[1]);
}

/**
 * The units whose regions hold a pixel: `hull`, first and last index along each axis of the output along which regions
 * differ (null along others), `count` of them and `of` how many, over those axes. Null where there are none.
 */
function changedBy(field, pixel, rank) {
  const masks = field.map(({ shape, lo, hi }, axis) => ({
    shape,
    seen: lo.map((first, at) => (first <= pixel[axis] && pixel[axis] <= hi[at] ? 1 : 0)),
  }));
  const found = { hull: new Array(rank).fill(null), count: 1, of: 1 };
  for (const part of independent(masks)) {
    const seen = marked(part, rank);
    if (!seen.count) return null;
    seen.hull.forEach((span, axis) => {
      found.hull[axis] ??= span;
    });
    found.count *= seen.count;
    found.of *= seen.of;
  }
  return found;
}

/** The masks in groups that share no axis. */
function independent(masks) {
  const groups = [];
  for (const mask of masks) {
    const axes = new Set(mask.shape.flatMap((extent, axis) => (extent > 1 ? [axis] : [])));
    const joined = groups.filter((group) => [...axes].some((axis) => group.axes.has(axis)));
    const merged = { masks: [mask], axes };
    for (const group of joined) {
      merged.masks.push(...group.masks);
      group.axes.forEach((axis) => merged.axes.add(axis));
      groups.splice(groups.indexOf(group), 1);
    }
    groups.push(merged);
  }
  return groups;
}

/** Where all masks of a group are set. */
function marked({ masks, axes }, rank) {
  const shape = new Array(rank).fill(1);
  for (const mask of masks)
    mask.shape.forEach((extent, axis) => {
      shape[axis] = Math.max(shape[axis], extent);
    });
  const strides = masks.map((mask) => stridesOf(mask.shape));
  const order = [...axes].sort((one, other) => one - other);
  const hull = new Array(rank).fill(null);
  const at = new Array(rank).fill(0);
  let count = 0;
  const widen = (axis, first, last) => {
    hull[axis] = hull[axis] ? [Math.min(hull[axis][0], first), Math.max(hull[axis][1], last)] : [first, last];
  };
  const lastAxis = order.at(-1);
  const row = (offsets) => {
    let first = -1;
    let last = -1;
    for (let place = 0; place < shape[lastAxis]; place += 1) {
      let hit = true;
      for (let number = 0; hit && number < masks.length; number += 1)
        hit = masks[number].seen[offsets[number] + place * strides[number][lastAxis]] === 1;
      if (!hit) continue;
      count += 1;
      if (first < 0) first = place;
      last = place;
    }
    if (first < 0) return;
    widen(lastAxis, first, last);
    for (const axis of order.slice(0, -1)) widen(axis, at[axis], at[axis]);
  };
  const walk = (depth, offsets) => {
    if (depth >= order.length - 1) return row(offsets);
    const axis = order[depth];
    for (at[axis] = 0; at[axis] < shape[axis]; at[axis] += 1)
      walk(
        depth + 1,
        offsets.map((offset, number) => offset + at[axis] * strides[number][axis]),
      );
  };
  if (order.length)
    walk(
      0,
      masks.map(() => 0),
    );
  else count = masks.every((mask) => mask.seen[0]) ? 1 : 0;
  return { hull, count, of: order.reduce((size, axis) => size * shape[axis], 1) };
}
