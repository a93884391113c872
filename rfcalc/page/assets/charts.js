// Where parameters and multiply-adds go: along the depth (uPlot), and by module (d3's treemap).

const METRICS = {
  macs: { title: "multiply-adds", of: (layer) => layer.macs },
  params: { title: "parameters", of: (layer) => layer.params },
  flops: { title: "operations", of: (layer) => layer.flops },
  made_bytes: { title: "bytes made", of: (layer) => layer.made_bytes },
  saved_bytes: { title: "bytes kept for the way back", of: (layer) => layer.saved_bytes },
  moved_bytes: { title: "bytes moved", of: (layer) => layer.moved_bytes },
};

/** The metrics that all layers of these models have: bytes are there only where memory was measured. */
function metricsOf(models) {
  const known = ([key]) => models.every((model) => model.layers.every((layer) => key in layer));
  return Object.fromEntries(Object.entries(METRICS).filter(known));
}

/** The longest side of a layer's field in an input. */
function fieldSide(model, layer, input) {
  return Math.max(0, ...(model.field(layer, input)?.size ?? []));
}

/** Options that all charts share, in the colours of the moment. */
function chartOptions(width, height, series, xTitle) {
  const axis = {
    stroke: cssColour("--muted"),
    grid: { stroke: cssColour("--line"), width: 1 },
    ticks: { stroke: cssColour("--line"), width: 1 },
    font: "12px system-ui, sans-serif",
    labelFont: "12px system-ui, sans-serif",
  };
  return {
    width,
    height,
    series: [{}, ...series],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { show: series.length > 1 } },
    scales: {
      x: { time: false, range: (chart, least, most) => [least - 0.6, most + 0.6] },
      y: { range: (chart, least, most) => [0, Math.max(1, most * 1.06)] },
    },
    axes: [
      { ...axis, label: xTitle, labelSize: 20, size: 34, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] },
      { ...axis, size: 64, values: (chart, ticks) => ticks.map(shortText) },
    ],
  };
}

const LEAST_SIDE = 2; // pixels of a cell of the treemap; a smaller one can be neither seen nor met

class Charts {
  constructor(view) {
    this.view = view;
    this.metric = "macs";
    this.depth = el("div", { class: "chart", role: "img" });
    this.caption = el("p", { class: "caption", "aria-live": "off" });
    this.crumbs = el("nav", { class: "crumbs", "aria-label": view.label("Module of the treemap") });
    this.cells = el("div", { class: "treemap", role: "list" });
    this.root = null;
    this.choice = el(
      "select",
      { "aria-label": view.label("What the charts show"), onchange: () => this.choose(this.choice.value) },
      Object.entries({ ...metricsOf([view.model]), field: { title: "field" } }).map(([key, { title }]) =>
        el("option", { value: key }, title),
      ),
    );
    this.element = el(
      "section",
      { class: "charts panel", "aria-label": view.label("Charts") },
      el("h2", {}, "Where it goes"),
      el("div", { class: "row tools" }, el("label", {}, "Show ", this.choice)),
      el("h3", {}, "Layer by layer"),
      this.depth,
      this.caption,
      (this.modules = el("div", {}, el("h3", {}, "Module by module"), this.crumbs, this.cells)),
    );
    this.depth.addEventListener("click", () => this.hovered !== null && view.set({ layer: this.hovered }));
    this.depth.addEventListener("pointerleave", () => view.preview(null));
    new ResizeObserver(inNextFrame(() => this.resize())).observe(this.depth);
    this.hovered = null;
  }

  choose(metric) {
    this.metric = metric;
    this.update();
  }

  value(layer) {
    return this.metric === "field"
      ? fieldSide(this.view.model, layer, this.view.input)
      : METRICS[this.metric].of(layer);
  }

  /** Draws everything anew: for another metric, input or theme. */
  update() {
    this.drawDepth();
    this.modules.hidden = this.metric === "field";
    if (!this.modules.hidden) this.drawModules();
    this.mark();
  }

  drawDepth() {
    this.chart?.destroy();
    const { layers } = this.view.model;
    const values = layers.map((layer) => {
      const value = this.value(layer);
      return value === null ? null : Number(value);
    });
    const bars = this.metric !== "field";
    const colour = cssColour("--accent");
    const series = {
      stroke: colour,
      width: bars ? 0 : 2,
      fill: bars ? colour : cssColour("--accent-soft"),
      paths: bars ? uPlot.paths.bars({ size: [0.8, 36] }) : uPlot.paths.stepped({ align: 1 }),
      points: { show: false },
    };
    const options = chartOptions(this.depth.clientWidth || 300, 190, [series], "layer");
    options.hooks = {
      setCursor: [(chart) => this.hover(chart.cursor.idx ?? null)],
      draw: [(chart) => this.drawMark(chart)],
    };
    this.chart = new uPlot(options, [layers.map((layer) => layer.index), values], this.depth);
    this.depth.setAttribute(
      "aria-label",
      `${this.choice.selectedOptions[0].textContent} of each layer; the table below has all numbers`,
    );
  }

  resize() {
    if (this.chart && this.depth.clientWidth && this.chart.width !== this.depth.clientWidth) {
      this.chart.setSize({ width: this.depth.clientWidth, height: 190 });
      if (!this.modules.hidden) this.drawModules();
    }
  }

  hover(at) {
    if (at === this.hovered) return;
    this.hovered = at;
    this.view.preview(at);
  }

  /** A line at the layer shown. */
  drawMark(chart) {
    const layer = this.view.shownLayer();
    const x = chart.valToPos(layer.index, "x", true);
    chart.ctx.save();
    chart.ctx.strokeStyle = cssColour("--region");
    chart.ctx.lineWidth = 2 * devicePixelRatio;
    chart.ctx.beginPath();
    chart.ctx.moveTo(x, chart.bbox.top);
    chart.ctx.lineTo(x, chart.bbox.top + chart.bbox.height);
    chart.ctx.stroke();
    chart.ctx.restore();
  }

  mark() {
    const { model } = this.view;
    const layer = this.view.shownLayer();
    this.chart?.redraw(false);
    const text =
      this.metric === "field"
        ? `field ${model.fieldText(layer, this.view.input)}`
        : `${countText(this.value(layer))} ${METRICS[this.metric].title} (${shareText(this.value(layer), model.totals[this.metric])})`;
    this.caption.textContent = `${layer.index}: ${layer.name}: ${text}`;
    for (const cell of this.cells.querySelectorAll("[data-at]"))
      cell.classList.toggle("shown", Number(cell.dataset.at) === layer.at);
  }

  // --- the treemap ----------------------------------------------------------------------------------------------------

  sum(node) {
    return node.layers.reduce((sum, at) => sum + BigInt(METRICS[this.metric].of(this.view.model.layers[at]) ?? 0), 0n);
  }

  /** Where the treemap begins: inside of modules that hold everything. */
  start() {
    let node = this.view.model.tree;
    for (;;) {
      const parts = node.children.filter((child) => this.sum(child) > 0n);
      if (parts.length !== 1 || !isModule(parts[0])) return node;
      [node] = parts;
    }
  }

  /** The parts of the module looked into, and their parts inside of them. */
  drawModules() {
    this.root ??= this.start();
    const path = [];
    for (let node = this.root; node; node = node.parent) path.unshift(node);
    this.crumbs.replaceChildren(
      ...path.map((node) =>
        el(
          "button",
          {
            type: "button",
            class: "quiet",
            "aria-current": node === this.root ? "true" : null,
            onclick: () => this.enter(node),
          },
          node.name || this.view.model.name,
        ),
      ),
    );
    const size = [this.cells.clientWidth || 300, this.cells.clientHeight || 240];
    const tree = d3
      .hierarchy(this.parts(this.root, 0))
      .sum((item) => (item.children.length ? 0 : item.value))
      .sort((one, other) => other.value - one.value);
    const head = (place) => (place.depth === 1 ? 17 : 0);
    d3.treemap().size(size).paddingInner(2).paddingTop(head).round(true)(tree);
    this.cells.replaceChildren(
      ...(tree.value
        ? tree
            .descendants()
            .slice(1)
            .filter(({ x0, y0, x1, y1 }) => Math.min(x1 - x0, y1 - y0) >= LEAST_SIDE)
            .map((place) => this.cell(place))
        : [el("p", { class: "muted" }, "none")]),
    );
  }

  /** A node with what is in it, two modules deep, without what costs nothing. */
  parts(node, depth) {
    const children = isModule(node) && depth < 2 ? node.children.filter((child) => this.sum(child)) : [];
    return { node, value: Number(this.sum(node)), children: children.map((child) => this.parts(child, depth + 1)) };
  }

  cell({ data: { node }, children, x0, y0, x1, y1 }) {
    const layer = this.view.model.layers[node.layers.at(-1)];
    const module = isModule(node);
    const share = shareText(this.sum(node), this.view.model.totals[this.metric]);
    const text = `${node.name}: ${countText(this.sum(node))} ${METRICS[this.metric].title}, ${share}`;
    const cell = el(
      "button",
      {
        type: "button",
        class: `cell ${children ? "around" : ""} ${module ? "module" : `kind-${kindColour(layer.kind)}`}`,
        title: text,
        "aria-label": module ? `${text}; look into it` : text,
        "data-at": module ? null : String(layer.at),
        onclick: () => (module ? this.enter(node) : this.view.set({ layer: layer.at })),
        onpointerenter: () => this.view.preview(layer.at),
        onpointerleave: () => this.view.preview(null),
        onfocus: () => this.view.preview(layer.at),
        onblur: () => this.view.preview(null),
      },
      el("span", {}, node.name),
      el("span", { class: "share" }, share),
    );
    Object.assign(cell.style, { left: `${x0}px`, top: `${y0}px`, width: `${x1 - x0}px`, height: `${y1 - y0}px` });
    cell.classList.toggle("tiny", x1 - x0 < 40 || y1 - y0 < (children ? 14 : 26));
    return el("div", { role: "listitem" }, cell);
  }

  enter(module) {
    this.root = module;
    this.drawModules();
    this.mark();
    this.cells.querySelector("button")?.focus({ preventScroll: true });
  }
}

/** Several models in one table and one chart. */
class Comparison {
  constructor(models) {
    this.models = models;
    this.chart = el("div", {
      class: "chart",
      role: "img",
      "aria-label": "Sums from the input on, layer by layer; the table above has the totals",
    });
    this.choice = el(
      "select",
      { onchange: () => this.draw() },
      Object.entries({ ...metricsOf(models), field: { title: "field" } }).map(([key, { title }]) =>
        el("option", { value: key }, key === "field" ? title : `${title} so far`),
      ),
    );
    const columns = ["model", "input", "layers", "depth", "field", "at", "parameters", "multiply-adds", "operations"];
    this.element = el(
      "div",
      { class: "panel" },
      el("h2", {}, "Side by side"),
      el(
        "div",
        { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of models" },
        el(
          "table",
          { class: "models" },
          el("caption", { class: "hidden" }, "Models side by side"),
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              columns.map((title, at) => el("th", { scope: "col", class: at > 1 && at !== 5 ? "number" : "" }, title)),
            ),
          ),
          el(
            "tbody",
            {},
            models.map((model) => this.row(model)),
          ),
        ),
      ),
      el("div", { class: "row tools" }, el("label", {}, "Show ", this.choice)),
      this.chart,
      el(
        "ul",
        { class: "legend" },
        models.map((model, at) => el("li", {}, el("span", { class: `key line-${at % 6}` }), model.name)),
      ),
    );
    new ResizeObserver(
      inNextFrame(() => this.drawn && this.chart.clientWidth !== this.drawn.width && this.draw()),
    ).observe(this.chart);
  }

  row(model) {
    const { summary, totals } = model;
    const least = totals.complete ? "" : "at least ";
    const cells = [
      model.inputs.map((input) => input.shape.join("x")).join(", "),
      summary.layers,
      summary.depth,
      summary.field,
      summary.at || "-",
      countText(totals.params),
      least + countText(totals.macs),
      least + countText(totals.flops),
    ];
    return el(
      "tr",
      {},
      el("th", { scope: "row" }, el("span", { class: `key line-${model.number % 6}` }), model.name),
      cells.map((text, at) => el("td", { class: at > 0 && at !== 4 ? "number" : "" }, String(text))),
    );
  }

  /** What a model has after each layer: sums so far, or the layer's own field in the first input. */
  line(model) {
    if (this.choice.value === "field") return model.layers.map((layer) => fieldSide(model, layer, model.inputs[0]));
    let sum = 0n;
    return model.layers.map((layer) => Number((sum += BigInt(METRICS[this.choice.value].of(layer) ?? 0))));
  }

  draw() {
    this.drawn?.destroy();
    const length = Math.max(...this.models.map((model) => model.layers.length));
    const lines = this.models.map((model) => this.line(model));
    const data = [
      Array.from({ length }, (none, at) => at + 1),
      ...lines.map((line) => Array.from({ length }, (none, at) => line[at] ?? null)),
    ];
    const series = this.models.map((model, at) => ({
      stroke: cssColour(`--line-${at % 6}`),
      width: 2,
      points: { show: false },
      paths: uPlot.paths.stepped({ align: 1 }),
    }));
    this.drawn = new uPlot(chartOptions(this.chart.clientWidth || 300, 200, series, "layer"), data, this.chart);
  }
}
