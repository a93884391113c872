// The picture and the units: what the unit shown sees of the input, and what the chosen pixel can change in the layer.

class Stage {
  constructor(view) {
    this.view = view;
    this.pictures = new Map();
    this.loaded = null;
    this.heading = el("h3", { class: "layer-title" });
    this.picture = el("canvas", { class: "picture", role: "img", tabindex: "0" });
    this.bars = el("div", { class: "bars" });
    this.map = el("canvas", { class: "units", role: "img", tabindex: "0" });
    this.mapTitle = el("figcaption");
    this.pictureTitle = el("figcaption");
    this.sees = el("p", { class: "sees" });
    this.changes = el("p", { class: "changes" });
    this.unitControls = el("div", { class: "controls units-at" });
    this.pixelControls = el("div", { class: "controls pixel-at" });
    this.facts = el("dl", { class: "facts" });
    this.tiles = new Tiles(view, () => this.update());
    this.file = el("input", {
      type: "file",
      accept: "image/*",
      class: "hidden",
      tabindex: "-1",
      "aria-hidden": "true",
      onchange: () => this.load(this.file.files[0]),
    });
    this.inputChoice = this.makeInputChoice();
    this.element = el(
      "section",
      { class: "stage panel", "aria-label": view.label("What a unit sees") },
      el("h2", {}, "What it sees"),
      this.inputChoice,
      this.heading,
      this.sees,
      el(
        "div",
        { class: "pictures" },
        this.pictureFigure(),
        el("figure", { class: "map-figure" }, this.mapTitle, this.map),
      ),
      this.legend(),
      this.tiles.element,
      this.unitControls,
      this.pixelControls,
      this.changes,
      el(
        "details",
        { open: !matchMedia("(max-width: 640px)").matches },
        el("summary", {}, "All about this layer"),
        this.facts,
      ),
    );
    this.listen();
    new ResizeObserver(inNextFrame(() => this.paint())).observe(this.element);
  }

  pictureFigure() {
    const choose = el(
      "button",
      { type: "button", class: "quiet", onclick: () => this.file.click() },
      "Choose a picture",
    );
    this.pictureNote = el("span", { class: "muted" }, "or drop one here");
    return el(
      "figure",
      { class: "picture-figure" },
      this.pictureTitle,
      this.picture,
      this.bars,
      el("div", { class: "row" }, choose, this.pictureNote, this.file),
    );
  }

  legend() {
    const key = (name, text) => el("li", {}, el("span", { class: `key ${name}` }), text);
    return el(
      "ul",
      { class: "legend" },
      key("region", "what the unit sees"),
      key("window", "its window, padding included"),
      key("pixel", "the chosen pixel, and what it can change"),
    );
  }

  makeInputChoice() {
    const { model } = this.view;
    if (model.inputs.length < 2) return null;
    const select = el(
      "select",
      {
        class: "input-choice",
        onchange: () => this.view.set({ input: Number(select.value), unit: null, pixel: null }),
      },
      model.inputs.map((input, number) =>
        el("option", { value: String(number) }, `${input.name} ${input.shape.join("x")}`),
      ),
    );
    return el("label", { class: "chooser" }, "Fields in input ", select);
  }

  listen() {
    const { view } = this;
    this.picture.addEventListener("click", (event) => this.takePixel(this.picture, this.planeAxes(), event));
    this.picture.addEventListener("keydown", (event) => this.movePixel(event));
    this.map.addEventListener(
      "pointermove",
      (event) => event.pointerType !== "touch" && view.previewUnit(this.unitAt(event)),
    );
    this.map.addEventListener("pointerleave", () => view.previewUnit(null));
    this.map.addEventListener("click", (event) => view.set({ unit: this.unitAt(event) }));
    this.map.addEventListener("keydown", (event) => this.moveUnit(event));
    const figure = this.picture.parentElement;
    figure.addEventListener("dragover", (event) => {
      event.preventDefault();
      figure.classList.add("dropping");
    });
    figure.addEventListener("dragleave", () => figure.classList.remove("dropping"));
    figure.addEventListener("drop", (event) => {
      event.preventDefault();
      figure.classList.remove("dropping");
      this.load(event.dataTransfer.files[0]);
    });
  }

  // --- the picture ----------------------------------------------------------------------------------------------------

  /** Takes a file as the picture; a file that the browser cannot read leaves the old one. */
  async load(file) {
    if (!file) return;
    try {
      this.loaded = await createImageBitmap(file);
      this.pictureNote.textContent = `${file.name}, ${this.loaded.width}x${this.loaded.height}, fitted to the input`;
    } catch {
      this.pictureNote.textContent = `${file.name} is no picture that this browser can read`;
    }
    this.pictures.clear();
    this.paint();
  }

  /** The picture at the size of the input, cut to its shape. */
  pictureFor([height, width]) {
    const key = `${height}x${width}`;
    if (!this.pictures.has(key))
      this.pictures.set(key, this.loaded ? fitted(this.loaded, width, height) : testPicture(width, height));
    return this.pictures.get(key);
  }

  /** The numbers of the input's axes that the picture shows, the last two; an input of one axis has bars only. */
  planeAxes() {
    const count = this.view.input.axes.length;
    return count < 2 ? [] : [count - 2, count - 1];
  }

  takePixel(canvas, axes, event) {
    const box = canvas.getBoundingClientRect();
    const place = [event.clientY - box.top, event.clientX - box.left].slice(2 - axes.length);
    const pixel = this.view.pixelOrMiddle();
    axes.forEach((axis, number) => {
      pixel[axis] = clamped(this.scales[axis].from(place[number]), this.view.extents[axis]);
    });
    this.view.set({ pixel });
  }

  movePixel(event) {
    const step = arrowStep(event);
    if (!step || !this.planeAxes().length) return;
    event.preventDefault();
    const pixel = this.view.pixelOrMiddle();
    this.planeAxes().forEach((axis, number) => {
      pixel[axis] = clamped(pixel[axis] + step[number], this.view.extents[axis]);
    });
    this.view.set({ pixel });
  }

  // --- the units ------------------------------------------------------------------------------------------------------

  /** The two axes of the output that the map shows; one of a layer with fewer has the extent 1 and no number. */
  mapAxes() {
    const places = this.view
      .unitAxes()
      .filter((item) => item.place)
      .slice(-2);
    while (places.length < 2) places.unshift({ axis: null, extent: 1 });
    return places;
  }

  unitAt(event) {
    const box = this.map.getBoundingClientRect();
    const unit = [...this.view.shownUnit()];
    [event.clientY - box.top, event.clientX - box.left].forEach((place, number) => {
      const { axis, extent } = this.mapAxes()[number];
      if (axis !== null) unit[axis] = clamped(this.mapScales[number].from(place), extent);
    });
    return unit;
  }

  moveUnit(event) {
    const step = arrowStep(event);
    if (!step) return;
    event.preventDefault();
    const unit = [...this.view.shownUnit()];
    this.mapAxes().forEach(({ axis, extent }, number) => {
      if (axis !== null) unit[axis] = clamped((unit[axis] ?? 0) + step[number], extent);
    });
    this.view.set({ unit });
  }

  // --- showing --------------------------------------------------------------------------------------------------------

  /** Everything for the layer and unit of the moment. */
  update() {
    const { view } = this;
    const layer = view.shownLayer();
    if (this.inputChoice) this.inputChoice.querySelector("select").value = String(view.state.input);
    this.heading.replaceChildren(
      el("span", { class: `dot kind-${kindColour(layer.kind)}` }),
      `${layer.index}: ${layer.name}`,
      el("span", { class: "muted" }, ` ${[layer.kind, layer.module].filter(Boolean).join(", ")}`),
    );
    const against = view.model.versus ? [[`against ${view.model.other.name}`, view.table.againstText(layer)]] : [];
    const facts = [...layer.facts, ...against];
    this.facts.replaceChildren(...facts.flatMap(([label, text]) => [el("dt", {}, label), el("dd", {}, text)]));
    this.sees.textContent = view.seesText();
    this.showChanges();
    this.showControls();
    this.tiles.update();
    this.paint();
  }

  showChanges() {
    const { view } = this;
    this.changes.hidden = !view.state.pixel;
    if (view.state.pixel) this.changes.textContent = view.changesText();
  }

  /** Sliders for the unit, one for each axis along which units differ, and numbers for the pixel. */
  showControls() {
    const { view } = this;
    const signature = JSON.stringify([view.shownLayer().at, view.state.input]);
    if (signature !== this.signature) {
      this.signature = signature;
      this.sliders = view.unitAxes().map((item) => this.slider(item));
      this.unitControls.replaceChildren(...this.sliders.map((slider) => slider.label));
      this.numbers = view.input.axes.map((name, axis) => this.number(name, axis));
      this.clear = el("button", { type: "button", class: "quiet", onclick: () => view.set({ pixel: null }) }, "Clear");
      this.pixelControls.replaceChildren(
        el("span", {}, "Pixel"),
        ...this.numbers.map((item) => item.label),
        this.clear,
      );
      this.pixelControls.hidden = !view.input.axes.length;
    }
    const unit = view.shownUnit();
    this.sliders.forEach((slider) => slider.show(unit[slider.axis]));
    this.numbers.forEach((item, axis) => item.show(view.state.pixel ? view.state.pixel[axis] : ""));
    this.clear.hidden = !view.state.pixel;
  }

  slider({ axis, extent, label, place }) {
    const { view } = this;
    const range = el("input", {
      type: "range",
      min: place ? "0" : "-1",
      max: String(extent - 1),
      "data-axis": String(axis),
    });
    const text = el("output", {});
    range.addEventListener("input", () => {
      const unit = [...view.shownUnit()];
      unit[axis] = range.value < 0 ? null : Number(range.value);
      view.set({ unit }, true);
    });
    const show = (at) => {
      range.value = at === null ? "-1" : String(at);
      text.textContent = at === null ? `all ${extent}` : `${at} of 0..${extent - 1}`;
      range.setAttribute("aria-valuetext", text.textContent);
    };
    return {
      axis,
      show,
      label: el("label", { class: "slider" }, el("span", {}, place ? `Unit ${label}` : `Unit, ${label}`), range, text),
    };
  }

  number(name, axis) {
    const { view } = this;
    const input = el("input", {
      type: "number",
      min: "0",
      max: String(view.extents[axis] - 1),
      "data-axis": String(axis),
      onchange: () => {
        const pixel = view.pixelOrMiddle();
        pixel[axis] = clamped(Math.round(Number(input.value)), view.extents[axis]);
        view.set({ pixel });
      },
    });
    return {
      show: (at) => {
        if (document.activeElement !== input || at === "") input.value = at;
      },
      label: el("label", {}, name, input),
    };
  }

  paint() {
    if (!this.view.shownLayer() || !this.element.isConnected) return;
    this.paintInput();
    this.paintUnits();
  }

  paintInput() {
    const { view } = this;
    const layer = view.shownLayer();
    const { axes } = view.input;
    const unit = view.shownUnit();
    const region = view.region() ?? axes.map(() => null);
    const free = view.model.windowOf(layer, view.input, unit);
    const plane = this.planeAxes();
    const tile = this.tiles.shown();
    const marginOf = (numbers) =>
      marginFor(...[this.extremes(layer), view.extents].map((values) => numbers.map((axis) => values[axis])));
    this.picture.hidden = !plane.length;
    const size = axes.map((name, axis) => `${name} ${view.extents[axis]}`).join(", ");
    this.pictureTitle.textContent = `${view.inputText()}: ${size || "no axes along which fields are measured"}`;
    this.scales = axes.map(() => null);
    if (plane.length) {
      const margin = marginOf(plane);
      const [height, width] = plane.map((axis) => view.extents[axis]);
      this.picture.style.aspectRatio = String(Math.min(2.5, Math.max(0.6, width / height)));
      plane.forEach((axis, number) => {
        this.scales[axis] = axisScale(
          view.extents[axis],
          number ? this.picture.clientWidth : this.picture.clientHeight,
          margin,
        );
      });
      const pick = (values) => plane.map((axis) => values[axis]);
      paintPicture(this.picture, {
        picture: this.pictureFor([height, width]),
        extents: [height, width],
        scales: pick(this.scales),
        region: pick(region),
        window: pick(free),
        pixel: view.state.pixel && pick(view.state.pixel),
        tile: tile && pick(tile),
      });
    }
    this.picture.setAttribute("aria-label", `${view.seesText()} Arrow keys move the chosen pixel.`);
    this.paintBars(
      axes.map((name, axis) => axis).filter((axis) => !plane.includes(axis)),
      region,
      free,
      marginOf,
      tile,
    );
  }

  paintBars(axes, region, free, marginOf, tile) {
    const { view } = this;
    if (this.bars.childElementCount !== axes.length) {
      this.bars.replaceChildren(
        ...axes.map((axis) => {
          const canvas = el("canvas", {
            class: "bar",
            role: "img",
            onclick: (event) => this.takePixel(canvas, [Number(canvas.dataset.axis)], event),
          });
          return canvas;
        }),
      );
    }
    axes.forEach((axis, number) => {
      const canvas = this.bars.children[number];
      canvas.dataset.axis = String(axis);
      canvas.setAttribute("aria-label", `Axis ${view.input.axes[axis]}`);
      this.scales[axis] = axisScale(view.extents[axis], canvas.clientWidth, marginOf([axis]));
      paintBar(canvas, {
        name: view.input.axes[axis],
        scale: this.scales[axis],
        extent: view.extents[axis],
        region: region[axis],
        window: free[axis],
        pixel: view.state.pixel ? view.state.pixel[axis] : null,
        tile: tile && tile[axis],
      });
    });
  }

  /** The windows of the first and the last unit together, by axis. */
  extremes(layer) {
    const { view } = this;
    const corner = (last) => layer.shape.map((extent) => (last ? extent - 1 : 0));
    const [first, final] = [false, true].map((last) => view.model.windowOf(layer, view.input, corner(last)));
    return first.map((span, axis) => span && [span[0], final[axis][1]]);
  }

  paintUnits() {
    const { view } = this;
    const layer = view.shownLayer();
    const axes = this.mapAxes();
    const differs = axes.some((item) => item.axis !== null);
    this.map.hidden = !differs;
    this.mapTitle.textContent = differs
      ? `Units: ${axes
          .filter((item) => item.axis !== null)
          .map((item) => `${item.label} ${item.extent}`)
          .join(", ")}`
      : `${view.region() ? "All units see the same" : "No unit sees anything of this input"}: ${layer.shape.join("x")}`;
    if (!differs) return;
    const extents = axes.map((item) => item.extent);
    this.map.style.aspectRatio = String(
      axes[0].axis === null ? 9 : Math.min(2.5, Math.max(0.6, extents[1] / extents[0])),
    );
    this.mapScales = extents.map((extent, number) =>
      axisScale(extent, number ? this.map.clientWidth : this.map.clientHeight, 0),
    );
    const unit = view.shownUnit();
    const found = view.state.pixel && view.model.changed(layer, view.input, view.state.pixel);
    paintMap(this.map, {
      extents,
      scales: this.mapScales,
      unit: axes.map((item) => (item.axis === null ? null : unit[item.axis])),
      hull:
        found && axes.map((item) => (item.axis === null ? [0, 0] : (found.hull[item.axis] ?? [0, item.extent - 1]))),
      full: found && found.hull.reduce((size, span) => size * (span ? span[1] - span[0] + 1 : 1), 1) === found.count,
      changes: found && this.changesAt(axes, unit),
    });
    this.map.setAttribute("aria-label", `Units of ${layer.name}. ${view.unitText()} Arrow keys move it.`);
  }

  /** Whether the pixel can change the unit in a row and column of the map. */
  changesAt(axes, unit) {
    const { view } = this;
    const field = view.model.fieldArrays(view.shownLayer(), view.input);
    const asked = [...unit];
    return (row, column) => {
      [row, column].forEach((at, number) => {
        if (axes[number].axis !== null) asked[axes[number].axis] = at;
      });
      return holds(field, asked, view.state.pixel);
    };
  }
}

/** A picture cut to the shape of the input and scaled to its size. */
function fitted(picture, width, height) {
  const canvas = el("canvas", { width, height });
  const scale = Math.max(width / picture.width, height / picture.height);
  const [wide, tall] = [picture.width * scale, picture.height * scale];
  canvas.getContext("2d").drawImage(picture, (width - wide) / 2, (height - tall) / 2, wide, tall);
  return canvas;
}

/** Rows and columns that an arrow key moves by, ten with Shift; null for another key. */
function arrowStep(event) {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  return step ? step.map((one) => one * (event.shiftKey ? 10 : 1)) : null;
}

function clamped(at, extent) {
  return Math.min(extent - 1, Math.max(0, Number.isFinite(at) ? at : 0));
}
