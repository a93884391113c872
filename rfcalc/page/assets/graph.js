// The network as a graph: modules fold and unfold, d3 pans and zooms, a search opens what it finds.

const KINDS = ["input", "conv", "pool", "linear", "attention", "merge", "upsample", "unknown"];
const LIKE = {
  conv_transpose: "upsample",
  matmul: "attention",
  recurrent: "linear",
  embedding: "linear",
  fft: "attention",
};

/** Which of the few colours a kind of layer has. */
function kindColour(kind) {
  const found = LIKE[kind] ?? kind;
  return KINDS.includes(found) ? found : "other";
}

class Graph {
  constructor(view) {
    this.view = view;
    this.open = openUpTo(view.model.tree, OPEN_AT_FIRST);
    this.plane = svg("g");
    this.canvas = svg(
      "svg",
      {
        class: "graph",
        role: "group",
        "aria-label": `Graph of ${view.model.name}. Arrow keys move between nodes, Enter opens or closes a module or chooses a layer.`,
      },
      svg(
        "defs",
        {},
        svg(
          "marker",
          {
            id: `arrow${view.number}`,
            viewBox: "0 0 8 8",
            refX: "7",
            refY: "4",
            markerWidth: "7",
            markerHeight: "7",
            orient: "auto",
          },
          svg("path", { d: "M0,0L8,4L0,8z", class: "arrow" }),
        ),
      ),
      this.plane,
    );
    this.search = el("input", {
      type: "search",
      placeholder: "Search layers and modules",
      "aria-label": view.label("Search the graph"),
      oninput: () => this.find(),
      onkeydown: (event) => event.key === "Enter" && this.next(),
    });
    this.found = el("output", { class: "muted" });
    const button = (text, label, action) =>
      el("button", { type: "button", class: "quiet", "aria-label": label, onclick: action }, text);
    this.element = el(
      "section",
      { class: "graph-panel panel", "aria-label": view.label("Graph") },
      el("h2", {}, "Graph"),
      el(
        "div",
        { class: "row tools" },
        this.search,
        this.found,
        button("+", "Zoom in", () => this.zoomBy(1.4)),
        button("−", "Zoom out", () => this.zoomBy(1 / 1.4)),
        button("Fit", "Fit the graph", () => this.fit()),
        button("Unfold all", "Unfold all modules", () => this.setOpen(openUpTo(view.model.tree, MOST_OPEN))),
        button("Fold all", "Fold all modules", () => this.setOpen(openUpTo(view.model.tree, 0))),
      ),
      this.canvas,
      view.model.versus
        ? el(
            "ul",
            { class: "legend" },
            el("li", {}, el("span", { class: "key changed" }), "changed"),
            el("li", {}, el("span", { class: "key renamed" }), "renamed"),
            el("li", {}, el("span", { class: "key alone" }), `not in ${view.model.other.name}`),
          )
        : null,
      el(
        "p",
        { class: "muted hint" },
        "Drag to move (two fingers on a phone), Ctrl and the wheel to zoom. A module opens and closes by a click.",
      ),
    );
    this.makeZoom();
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.matches = [];
  }

  /** The class of a box that says what became of its layers in the other model, "" where nothing did. */
  howOf(node) {
    const { model } = this.view;
    if (!model.versus) return "";
    const found = new Set(node.layers.map((at) => model.versusOf(model.layers[at]).how));
    found.delete("same");
    return found.size ? ` how-${found.size === 1 ? [...found][0] : "changed"}` : "";
  }

  /** The same in words, for a screen reader. */
  howText(layer) {
    const how = this.view.model.versusOf(layer)?.how ?? "same";
    return how === "same" ? "" : `, ${how}`;
  }

  makeZoom() {
    const wanted = (event) =>
      event.type === "wheel"
        ? event.ctrlKey || event.metaKey
        : event.touches
          ? event.touches.length > 1
          : !event.button;
    this.zoom = d3
      .zoom()
      .scaleExtent([0.05, 3])
      .filter(wanted)
      .on("zoom", (event) => this.plane.setAttribute("transform", event.transform));
    d3.select(this.canvas).call(this.zoom).on("dblclick.zoom", null);
  }

  zoomBy(factor) {
    this.zoom.scaleBy(d3.select(this.canvas), factor);
  }

  /** The whole graph in sight. */
  fit() {
    this.show(
      Math.min(1.1, this.canvas.clientWidth / this.size.width, this.canvas.clientHeight / this.size.height),
      this.size.width / 2,
      this.size.height / 2,
    );
  }

  /** The whole graph where it can be read then, else its beginning. */
  begin() {
    const { clientWidth, clientHeight } = this.canvas;
    const whole = Math.min(clientWidth / this.size.width, clientHeight / this.size.height);
    if (whole > 0.55) return this.fit();
    const scale = Math.min(1, Math.max(0.7, clientWidth / this.size.width));
    const first = this.size.nodes[0];
    this.show(
      scale,
      Math.abs(first.x - this.size.width / 2) * scale < clientWidth / 2 ? this.size.width / 2 : first.x,
      clientHeight / 2 / scale,
    );
  }

  /** A scale, and the point in the middle. */
  show(scale, x, y) {
    const { clientWidth, clientHeight } = this.canvas;
    this.zoom.transform(
      d3.select(this.canvas),
      d3.zoomIdentity.translate(clientWidth / 2 - x * scale, clientHeight / 2 - y * scale).scale(scale),
    );
  }

  /** Moves a node into sight, if it is out of it. */
  reveal(node) {
    const place = this.size.nodes.find((item) => item.node === node);
    const now = d3.zoomTransform(this.canvas);
    if (!place) return;
    const [x, y] = now.apply([place.x, place.y]);
    const inside = x > 40 && y > 30 && x < this.canvas.clientWidth - 40 && y < this.canvas.clientHeight - 30;
    if (!inside) this.show(Math.max(now.k, 0.7), place.x, place.y);
  }

  // --- folding and search ---------------------------------------------------------------------------------------------

  setOpen(modules) {
    this.open = modules;
    this.draw();
    this.begin();
    const closed = this.folded.nodes.filter(isModule).length;
    this.found.textContent =
      modules.size > 1 && closed ? `${plural(closed, "module")} left closed: too much for one sight` : "";
  }

  toggle(module) {
    if (this.open.has(module)) this.open.delete(module);
    else this.open.add(module);
    this.draw();
    const place = module.children.find((child) => this.groups.has(child)) ?? module;
    this.reveal(place);
    this.focusOn(place);
  }

  /** Opens the modules around a layer and moves it into sight. */
  uncover(at) {
    const leaf = leafOf(this.view.model.tree, at);
    if (this.openAround(leaf)) this.draw();
    this.reveal(leaf);
  }

  /** Opens the modules around a node, and closes others where too much would show; whether any was closed. */
  openAround(node) {
    const closed = around(node).filter((module) => !this.open.has(module));
    closed.forEach((module) => this.open.add(module));
    if (closed.length && shownBy(this.open) > MOST_FOUND)
      this.open = new Set([...openUpTo(this.view.model.tree, OPEN_AT_FIRST), ...around(node)]);
    return closed.length > 0;
  }

  find() {
    const text = this.search.value.trim().toLowerCase();
    this.matches = text
      ? this.view.model.layers.filter((layer) => layerText(layer).includes(text)).map((layer) => layer.at)
      : [];
    this.current = -1;
    this.found.textContent = text ? plural(this.matches.length, "layer") : "";
    this.mark();
  }

  /** Shows the next layer that the search found. */
  next() {
    if (!this.matches.length) return;
    this.current = (this.current + 1) % this.matches.length;
    this.found.textContent = `${this.current + 1} of ${plural(this.matches.length, "layer")}`;
    this.view.set({ layer: this.matches[this.current] });
  }

  // --- drawing --------------------------------------------------------------------------------------------------------

  /** The second line of a box. */
  subtitle(node) {
    if (isModule(node)) return plural(node.layers.length, "layer");
    return this.view.model.fieldText(node.layer, this.view.input);
  }

  draw() {
    this.folded = folded(this.view.model, this.open);
    this.size = laidOut(this.folded, (node) => this.subtitle(node));
    this.groups = new Map();
    this.most = Math.max(1, ...this.folded.nodes.map((node) => this.cost(node)));
    this.plane.replaceChildren(
      ...this.size.edges.map((edge) =>
        svg("path", { class: "edge", d: edgePath(edge), "marker-end": `url(#arrow${this.view.number})` }),
      ),
      ...this.size.frames.map((place) => this.frame(place)),
      ...this.size.nodes.map((place) => this.box(place)),
    );
    this.mark();
  }

  cost(node) {
    return node.layers.reduce((sum, at) => sum + Number(this.view.model.layers[at].macs ?? 0), 0);
  }

  frame({ node, x, y, width, height }) {
    const group = svg(
      "g",
      {
        class: "frame",
        transform: `translate(${x - width / 2},${y - height / 2 - FRAME_HEAD})`,
        role: "button",
        tabindex: "-1",
        "aria-expanded": "true",
        "aria-label": `Module ${node.name}, open`,
        onclick: () => this.toggle(node),
      },
      svg("rect", { width, height: height + FRAME_HEAD, rx: 8 }),
      svg("text", { x: 8, y: 14 }, `− ${boxName(node)}`),
    );
    this.groups.set(node, group);
    return group;
  }

  box({ node, x, y, width, height }) {
    const module = isModule(node);
    const layer = this.view.model.layers[node.layers.at(-1)];
    const share = Math.sqrt(this.cost(node) / this.most);
    const label = module
      ? `Module ${node.name}, ${plural(node.layers.length, "layer")}, closed`
      : `Layer ${layer.index}, ${layer.name}, ${layer.kind}, field ${this.subtitle(node)}${this.howText(layer)}`;
    const group = svg(
      "g",
      {
        class: `box ${module ? "module" : `layer kind-${kindColour(layer.kind)}`}${this.howOf(node)}`,
        transform: `translate(${x - width / 2},${y - height / 2})`,
        role: "button",
        tabindex: "-1",
        "aria-label": label,
        "aria-expanded": module ? "false" : null,
        "data-at": String(layer.at),
        onclick: () => this.activate(node),
        onpointerenter: (event) => event.pointerType !== "touch" && this.view.preview(layer.at),
        onpointerleave: () => this.view.preview(null),
        onfocus: () => this.view.preview(layer.at),
        onblur: () => this.view.preview(null),
      },
      svg(
        "title",
        {},
        module
          ? `${node.layers.length} layers, ${countText(this.moduleSum(node))} multiply-adds`
          : `${layer.name}: ${layer.kind}, ${layer.shape.join("x")}`,
      ),
      module ? svg("rect", { class: "behind", x: 4, y: -4, width, height, rx: 7 }) : null,
      svg("rect", { class: "body", width, height, rx: 7 }),
      svg("rect", { class: "stripe", width: 5, height: height - 12, x: 4, y: 6, rx: 2.5 }),
      svg("text", { class: "name", x: 16, y: 19 }, module ? `+ ${boxName(node)}` : boxName(node)),
      svg("text", { class: "sub", x: 16, y: 34 }, this.subtitle(node)),
      svg("rect", {
        class: "cost",
        x: 16,
        y: height - 7,
        width: Math.max(0, (width - 26) * share),
        height: 3,
        rx: 1.5,
      }),
    );
    this.groups.set(node, group);
    return group;
  }

  moduleSum(node) {
    return node.layers.reduce((sum, at) => sum + BigInt(this.view.model.layers[at].macs ?? 0), 0n);
  }

  activate(node) {
    if (isModule(node)) return this.toggle(node);
    this.view.set({ layer: node.layer.at });
  }

  /** The layer shown, search results, and what the pixel can change. */
  mark() {
    if (!this.groups) return;
    const { view } = this;
    const shown = view.shownLayer().at;
    const found = new Set(this.matches);
    const changed = view.changedLayers();
    for (const [node, group] of this.groups) {
      const closed = !isModule(node) || !this.open.has(node);
      group.classList.toggle("chosen", closed && node.layers.includes(view.state.layer));
      group.classList.toggle("shown", closed && node.layers.includes(shown));
      group.classList.toggle("found", closed && node.layers.some((at) => found.has(at)));
      group.classList.toggle("changed", closed && changed !== null && node.layers.some((at) => changed[at]));
      group.classList.toggle("unchanged", closed && changed !== null && !node.layers.some((at) => changed[at]));
    }
    this.keepTabStop();
  }

  // --- keyboard -------------------------------------------------------------------------------------------------------

  /** One node is reached by Tab, the others from it by arrow keys. */
  keepTabStop() {
    const groups = this.reachable();
    const now =
      groups.find(([, group]) => group.getAttribute("tabindex") === "0" || group.classList.contains("chosen")) ??
      groups[0];
    groups.forEach(([, group]) => group.setAttribute("tabindex", group === now[1] ? "0" : "-1"));
  }

  reachable() {
    const first = (node) => node.layers[0] - (isModule(node) && this.open.has(node) ? 0.5 : 0);
    return [...this.groups].sort(
      ([one], [other]) => first(one) - first(other) || around(one).length - around(other).length,
    );
  }

  focusOn(node) {
    const group = this.groups.get(node);
    if (!group) return;
    this.groups.forEach((other) => other.setAttribute("tabindex", other === group ? "0" : "-1"));
    group.focus({ preventScroll: true });
  }

  key(event) {
    const groups = this.reachable();
    const at = groups.findIndex(([, group]) => group === document.activeElement);
    if (at < 0) return;
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const target = step ? at + step : { Home: 0, End: groups.length - 1 }[event.key];
    if (event.key === "Enter" || event.key === " ") this.activate(groups[at][0]);
    else if (groups[target]) {
      this.focusOn(groups[target][0]);
      this.reveal(groups[target][0]);
    } else return;
    event.preventDefault();
  }
}

/** The leaf of the tree that holds a layer. */
function leafOf(node, at) {
  const child = node.children.find((item) => item.layers.includes(at));
  return isModule(child) ? leafOf(child, at) : child;
}

/** What a search looks through. */
function layerText(layer) {
  return [layer.index, layer.name, layer.kind, layer.module, ...layer.group].join(" ").toLowerCase();
}
