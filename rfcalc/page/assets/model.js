// One model of the page's data: its layers, inputs, and the tree of modules around its layers.

class Model {
  constructor(data, number) {
    Object.assign(this, data);
    this.number = number;
    if (!this.inputs.length) this.inputs = [{ name: "input", shape: [], axes: [], places: [] }];
    this.arrays = new Arrays(data.pool);
    this.byName = new Map(this.layers.map((layer, at) => [layer.name, at]));
    this.layers.forEach((layer, at) => {
      layer.at = at;
    });
    this.tree = moduleTree(this.layers);
  }

  /** The layer whose field papers quote for a model, which the page opens on; else the first behind the input. */
  get headline() {
    return this.byName.get(this.summary?.at) ?? Math.min(1, this.layers.length - 1);
  }

  /** On a page of two models: how a layer is matched in the other one, and by which of its layers; else null. */
  versusOf(layer) {
    const found = this.versus?.layers[layer.at];
    return found ? { how: found.how, layer: found.at === null ? null : this.other.layers[found.at] } : null;
  }

  /** How many layers of either model have another counterpart than the same: `2 changed, 1 added`. */
  changesText() {
    const count = (model, how) => model.versus.layers.filter((one) => one.how === how).length;
    const counts = [
      ["changed", count(this, "changed")],
      ["renamed", count(this, "renamed")],
      ["only here", count(this, "added") + count(this, "removed")],
      [`only in ${this.other.name}`, count(this.other, "added") + count(this.other, "removed")],
    ];
    const said = counts.filter(([, number]) => number).map(([what, number]) => `${countText(number)} ${what}`);
    return said.join(", ") || "every layer is the same";
  }

  /** The field of a layer in an input as the table shows it; a layer sees nothing of an input that it does not follow. */
  field(layer, input) {
    return layer.fields[input.name] ?? null;
  }

  fieldText(layer, input) {
    return this.field(layer, input)?.text ?? "-";
  }

  /** The arrays of a layer in an input, null where it sees nothing of it. */
  fieldArrays(layer, input) {
    return fieldArrays(this.arrays, this.field(layer, input));
  }

  /** The axes of a layer's output along which its regions differ: `{axis, extent, label, place}`; `place` for positions. */
  unitAxes(layer, input) {
    const field = this.field(layer, input);
    const arrays = this.fieldArrays(layer, input);
    if (!arrays) return [];
    return layer.shape.flatMap((extent, axis) => {
      const moving = input.axes.filter((name, number) => arrays[number].shape[axis] > 1);
      if (!moving.length) return [];
      const place = field.positions.includes(axis);
      const alone = moving.length === 1 && place && field.positions.length === input.axes.length;
      return [{ axis, extent, label: alone ? moving[0] : `axis ${axis}`, place }];
    });
  }

  /** The unit in the middle of a layer: of all channels, where regions differ by channel. */
  middle(layer, input) {
    const places = new Map(
      this.unitAxes(layer, input)
        .filter((item) => item.place)
        .map((item) => [item.axis, item]),
    );
    return layer.shape.map((extent, axis) => (places.has(axis) ? Math.floor(extent / 2) : null));
  }

  /**
   * The window of a unit, not cut at the borders: `[first, last]` by axis of the input. Null where there is none, where
   * its size varies, and where no axis of the output is known to move it, as all units see the same.
   */
  windowOf(layer, input, unit) {
    const field = this.field(layer, input);
    if (!field?.stride || !field.regions) return input.axes.map(() => null);
    const axes = this.unitAxes(layer, input).filter((item) => item.place);
    return input.axes.map((name, number) => {
      const own = axes.find((item) => item.label === name);
      const start = field.start?.[number] ?? null;
      if (!own || start === null || field.stride[number] === null || field.period[number] > 1) return null;
      const first = start + (unit[own.axis] ?? 0) * rational(field.stride[number]);
      return [first, first + field.size[number] - 1];
    });
  }

  /** What a pixel of an input can change in a layer; see `changedBy`. */
  changed(layer, input, pixel) {
    const arrays = this.fieldArrays(layer, input);
    return arrays && arrays.length ? changedBy(arrays, pixel, layer.shape.length) : null;
  }

  /**
   * The tile that writes the output's part at a pixel of the input: first and last of what it `reads`, `needs` and
   * `writes`, by axis. Null where no tiles were asked for, and in an input that is not cut.
   */
  tileAt(input, pixel) {
    if (this.tiles?.input !== input.name) return null;
    return input.axes.map((name, axis) => {
      const { halo, pieces } = this.tiles.axes[name];
      const { read, write } = pieces.find((piece) => pixel[axis] < piece.write[1]);
      const extent = input.shape[input.places[axis]];
      return {
        reads: [read[0], read[1] - 1],
        needs: [Math.max(0, write[0] - halo[0]), Math.min(extent, write[1] + halo[1]) - 1],
        writes: [write[0], write[1] - 1],
      };
    });
  }

  /** Where an axis is cut between what tiles write. */
  cutsOf(name) {
    return this.tiles.axes[name].pieces.slice(1).map((piece) => piece.write[0]);
  }
}

/** The value of an integer or of a text such as "1/2". */
function rational(value) {
  const [above, below = 1] = String(value).split("/").map(Number);
  return above / below;
}

/** The last part of a layer's name, inside of the modules around it. */
function leafName(layer) {
  const around = layer.group.join(".");
  const inside =
    around &&
    layer.name.length > around.length + 1 &&
    layer.name.slice(0, around.length).replaceAll("/", ".") === around.replaceAll("/", ".");
  return inside ? layer.name.slice(around.length + 1) : layer.name;
}

/** The modules as a tree: `{name, path, children, layers}`, children in order of first use, layers or modules. */
function moduleTree(layers) {
  const root = { name: "", path: "", children: [], layers: [], parent: null };
  const known = new Map([["", root]]);
  for (const layer of layers) {
    let module = root;
    root.layers.push(layer.at);
    layer.group.forEach((name, depth) => {
      const path = JSON.stringify(layer.group.slice(0, depth + 1));
      if (!known.has(path)) {
        const made = { name, path, children: [], layers: [], parent: module };
        known.set(path, made);
        module.children.push(made);
      }
      module = known.get(path);
      module.layers.push(layer.at);
    });
    module.children.push({ name: leafName(layer), layer, layers: [layer.at], parent: module });
  }
  return inRuns(withoutWrappers(root));
}

/** The tree with the parts of a module that has more of them than can be laid out in runs, each a module of its own. */
function inRuns(module) {
  module.children.forEach((child) => child.children && inRuns(child));
  const parts = module.children;
  if (parts.length <= MOST_OPEN) return module;
  const length = Math.ceil(Math.sqrt(parts.length));
  module.children = [];
  for (let first = 0; first < parts.length; first += length) {
    const children = parts.slice(first, first + length);
    const layers = children.flatMap((child) => child.layers);
    const name = `layers ${Math.min(...layers) + 1} to ${Math.max(...layers) + 1}`;
    const run = { name, path: JSON.stringify([module.path, name]), children, layers, parent: module };
    for (const child of children) child.parent = run;
    module.children.push(run);
  }
  return module;
}

/** The tree without modules that hold only one other thing: that has their names before its own. */
function withoutWrappers(module) {
  module.children = module.children.map((child) => (child.children ? withoutWrappers(child) : child));
  const [only] = module.children;
  if (module.parent && module.children.length === 1)
    return Object.assign(only, { name: `${module.name}.${only.name}`, parent: module.parent });
  return module;
}
