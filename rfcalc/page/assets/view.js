// One model on the page: its state, what belongs to it, and what all parts show when it changes.

class View {
  constructor(page, number, model, state = {}) {
    this.page = page;
    this.number = number;
    this.model = model;
    this.state = { layer: 0, input: 0, unit: null, pixel: null, ...state };
    this.hover = { layer: null, unit: null };
    this.fractions = [];
    this.changes = new Map();
    this.stage = new Stage(this);
    this.graph = new Graph(this);
    this.charts = new Charts(this);
    this.table = new LayerTable(this);
    this.refreshSoon = inNextFrame(() => this.showMoment());
    this.element = el(
      "article",
      { class: "model", "aria-label": this.label("Model", model.name) },
      this.makeHeader(),
      this.makeJumps(),
      el(
        "div",
        { class: "parts" },
        this.stage.element,
        el("div", { class: "rest" }, this.graph.element, this.charts.element, this.table.element),
      ),
    );
    this.bar = el("a", {
      class: "peek",
      href: "#",
      onclick: (event) => {
        event.preventDefault();
        this.stage.element.scrollIntoView({ behavior: "smooth" });
      },
    });
    this.element.append(this.bar);
  }

  /** The name of a part for a screen reader: on a page of two columns with the column's number and model. */
  label(text, alone = text) {
    return this.page.models.length < 2 ? alone : `${text}, column ${this.number + 1}: ${this.model.name}`;
  }

  /** For a narrow screen, on which the parts lie below each other: where they are. */
  makeJumps() {
    const parts = [
      ["What it sees", this.stage],
      ["Graph", this.graph],
      ["Costs", this.charts],
      ["Layers", this.table],
    ];
    const other = () => this.page.views[1 - this.number].element.scrollIntoView({ behavior: "smooth" });
    return el(
      "nav",
      { class: "jumps", "aria-label": this.label("Parts of the page") },
      parts.map(([name, part]) =>
        el("button", { type: "button", onclick: () => part.element.scrollIntoView({ behavior: "smooth" }) }, name),
      ),
      this.page.models.length > 1 ? el("button", { type: "button", onclick: other }, "Other model") : null,
    );
  }

  makeHeader() {
    const { model, page } = this;
    const against = model.versus ? [[`against ${model.other.name}`, model.changesText()]] : [];
    const facts = [...model.facts, ...against].map(([label, text]) =>
      el(
        "div",
        { class: "fact" },
        el("dt", {}, label),
        el("dd", { class: label === "status" && !model.totals.complete ? "warn" : null }, text),
      ),
    );
    const choice =
      page.models.length < 2
        ? null
        : el(
            "label",
            { class: "chooser" },
            "Model ",
            el(
              "select",
              { class: "model-choice", "aria-label": this.label("Model"), onchange: (event) => page.choose(this.number, Number(event.target.value)) },
              page.models.map((other) =>
                el("option", { value: String(other.number), selected: other === model }, other.key),
              ),
            ),
          );
    return el(
      "header",
      { class: "panel" },
      choice,
      el("h2", { class: "model-title" }, model.title),
      el("dl", { class: "totals" }, facts),
      model.notes.length
        ? el(
            "details",
            { open: model.notes.length < 4 },
            el("summary", {}, plural(model.notes.length, "note")),
            el(
              "ul",
              { class: "notes" },
              model.notes.map((note) => el("li", {}, note)),
            ),
          )
        : null,
    );
  }

  // --- what is shown --------------------------------------------------------------------------------------------------

  get input() {
    return this.model.inputs[this.state.input];
  }

  /** The extents of the input's axes. */
  get extents() {
    return this.input.places.map((axis) => this.input.shape[axis]);
  }

  /** The layer under the pointer or the focus, else the chosen one. */
  shownLayer() {
    return this.model.layers[this.hover.layer ?? this.state.layer];
  }

  unitAxes() {
    return this.model.unitAxes(this.shownLayer(), this.input);
  }

  shownUnit() {
    if (this.hover.unit) return this.hover.unit;
    if (this.hover.layer === null && this.state.unit) return this.state.unit;
    return this.alike(this.shownLayer());
  }

  /** The unit of a layer that lies where the chosen one lay in its own layer. */
  alike(layer) {
    const unit = this.model.middle(layer, this.input);
    const places = this.model.unitAxes(layer, this.input).filter((item) => item.place);
    if (places.length !== this.fractions.length) return unit;
    places.forEach(({ axis, extent }, number) => {
      unit[axis] = clamped(Math.floor(this.fractions[number] * extent), extent);
    });
    return unit;
  }

  region() {
    const arrays = this.model.fieldArrays(this.shownLayer(), this.input);
    return arrays && regionOf(arrays, this.shownUnit());
  }

  pixelOrMiddle() {
    return [...(this.state.pixel ?? this.extents.map((extent) => Math.floor(extent / 2)))];
  }

  /** For each layer what the chosen pixel can change in it; null without a pixel. */
  changedLayers() {
    if (!this.state.pixel) return null;
    const key = JSON.stringify([this.state.input, this.state.pixel]);
    if (!this.changes.has(key)) {
      this.changes.clear();
      this.changes.set(
        key,
        this.model.layers.map((layer) => this.model.changed(layer, this.input, this.state.pixel)),
      );
    }
    return this.changes.get(key);
  }

  // --- in words -------------------------------------------------------------------------------------------------------

  /** The input by its name, where there are several or the name says more than that it is the input. */
  inputText() {
    return this.model.inputs.length > 1 || this.input.name !== "input" ? `Input ${this.input.name}` : "The input";
  }

  unitText() {
    const unit = this.shownUnit();
    const axes = this.unitAxes();
    const together = this.model.field(this.shownLayer(), this.input)?.together ?? [];
    if (!axes.length) return "Every unit";
    return `Unit ${[...axes.map(({ axis, label }) => `${label} ${unit[axis] ?? "all"}`), ...together.map((axis) => `axis ${axis} all`)].join(", ")}`;
  }

  seesText() {
    const layer = this.shownLayer();
    const field = this.model.field(layer, this.input);
    const region = this.region();
    const what = this.inputText().replace(/^./, (letter) => letter.toLowerCase());
    if (!this.input.axes.length) return `${layer.name}: ${what} has no axes along which fields are measured.`;
    if (!region || region.some((span) => !span)) return `${this.unitText()} of ${layer.name} sees nothing of ${what}.`;
    const spans = region
      .map((span, axis) => `${this.input.axes[axis]} ${span[0]}..${span[1]} (${span[1] - span[0] + 1})`)
      .join(", ");
    const whole = region.every((span, axis) => span[0] === 0 && span[1] === this.extents[axis] - 1);
    return `${this.unitText()} of ${layer.name} sees ${field.exact ? "" : "at most "}${spans}${whole ? ": the whole" : ""} of ${what}.`;
  }

  changesText() {
    const layer = this.shownLayer();
    const all = this.changedLayers();
    const { pixel } = this.state;
    const found = all[layer.at];
    const count = all.filter((one) => one !== null).length;
    const where = this.input.axes.map((name, axis) => `${name} ${pixel[axis]}`).join(", ");
    const start = `Pixel ${where} is seen in ${count} of ${plural(all.length, "layer")}.`;
    if (!found) return `${start} In ${layer.name} it changes nothing.`;
    const labels = new Map(this.unitAxes().map((item) => [item.axis, item.label]));
    const spans = found.hull
      .flatMap((span, axis) => (span ? [`${labels.get(axis)} ${span[0]}..${span[1]}`] : []))
      .join(", ");
    const field = this.model.field(layer, this.input);
    const bound = field.exact && field.every ? "" : ", or fewer, for a unit need not read all that its region holds";
    return `${start} In ${layer.name} it can change ${spans ? `${spans}: ${countText(found.count)} of ${plural(found.of, "unit")}${bound}` : "every unit"}.`;
  }

  // --- changes --------------------------------------------------------------------------------------------------------

  /** Another state; `still` while a slider moves, when the address can wait. */
  set(change, still = false) {
    const before = { ...this.state };
    const inputChanged = change.input !== undefined && change.input !== before.input;
    this.hover = { layer: null, unit: null };
    Object.assign(this.state, change);
    if (inputChanged) this.fractions = [];
    if (change.layer !== undefined && change.unit === undefined) this.state.unit = null;
    this.state.unit ??= this.alike(this.shownLayer());
    this.remember();
    if (!still) this.page.save();
    if (change.layer !== undefined) {
      this.graph.uncover(this.state.layer);
      announce(this.seesText());
    }
    if (inputChanged) {
      this.graph.draw();
      this.charts.update();
    }
    if (inputChanged || change.pixel !== undefined) this.table.update();
    this.showMoment();
  }

  /** Where the chosen unit lies, as parts of the extents, for other layers. */
  remember() {
    const places = this.unitAxes().filter((item) => item.place);
    if (places.length) this.fractions = places.map(({ axis, extent }) => ((this.state.unit[axis] ?? 0) + 0.5) / extent);
  }

  /** Shows another layer for as long as the pointer or the focus is on it; null for the chosen one. */
  preview(at) {
    if (this.hover.layer === at) return;
    this.hover = { layer: at, unit: null };
    this.refreshSoon();
  }

  previewUnit(unit) {
    this.hover.unit = unit;
    this.refreshSoon();
  }

  /** What hangs on the layer and unit of the moment. */
  showMoment() {
    this.stage.update();
    this.graph.mark();
    this.charts.mark();
    this.table.mark();
    const layer = this.shownLayer();
    this.bar.replaceChildren(
      el("strong", {}, `${layer.index}: ${layer.name}`),
      ` field ${this.model.fieldText(layer, this.input)}`,
      el("span", { class: "up" }, "See it ↑"),
    );
  }

  /** Everything, once the view is on the page; and after a change of the theme. */
  start() {
    this.state.unit ??= this.alike(this.shownLayer());
    this.remember();
    this.graph.openAround(leafOf(this.model.tree, this.state.layer));
    this.graph.draw();
    this.graph.begin();
    this.graph.uncover(this.state.layer);
    this.charts.update();
    this.table.update();
    this.table.reveal();
    this.showMoment();
  }

  repaint() {
    this.charts.update();
    this.stage.paint();
  }

  /** The address of a layer in the state of the moment. */
  linkTo(layer) {
    return this.page.address(this.number, { ...this.state, layer: layer.at, unit: null });
  }
}
