// All layers as a table that sorts by any column and filters by text, kind, and what the pixel can change.

const MOST_ROWS = 300; // shown at once; a browser needs seconds for many thousands
const DIFFER = ["kind", "shape", "field", "stride", "start", "params", "macs"]; // columns in which layers are compared

/** The columns of a table of a model's layers; `inputOf` gives the input that fields are of. */
function columnsOf(model, inputOf) {
  const field = (layer) => model.field(layer, inputOf());
  const area = (layer) => (field(layer)?.size ?? []).reduce((size, one) => size * one, 1);
  return [
    { key: "index", title: "#", number: true, value: (layer) => layer.at, text: (layer) => String(layer.index) },
    { key: "name", title: "layer", value: (layer) => layer.name, text: (layer) => layer.name },
    { key: "kind", title: "kind", value: (layer) => layer.kind, text: (layer) => layer.kind },
    {
      key: "shape",
      title: "output",
      value: (layer) => layer.shape.reduce((size, one) => size * one, 1),
      text: (layer) => layer.shape.join("x"),
    },
    { key: "field", title: "field", number: true, value: area, text: (layer) => model.fieldText(layer, inputOf()) },
    {
      key: "stride",
      title: "stride",
      number: true,
      value: (layer) => rational(field(layer)?.stride?.find((one) => one !== null) ?? 0),
      text: (layer) => field(layer)?.stride_text ?? "-",
    },
    {
      key: "start",
      title: "start",
      number: true,
      value: (layer) => field(layer)?.start?.find((one) => one !== null) ?? 0,
      text: (layer) => field(layer)?.start_text ?? "-",
    },
    {
      key: "params",
      title: "parameters",
      number: true,
      value: (layer) => Number(layer.params),
      text: (layer) => countText(layer.params),
    },
    {
      key: "macs",
      title: "multiply-adds",
      number: true,
      value: (layer) => Number(layer.macs ?? -1),
      text: (layer) => countText(layer.macs),
    },
    {
      key: "share",
      title: "share",
      number: true,
      value: (layer) => Number(layer.macs ?? -1),
      text: (layer) => shareText(layer.macs, model.totals.macs),
    },
  ];
}

/** What a column means, of those that the page explains. */
function meaningOf(key) {
  return document.getElementById(`word-${key}`)?.nextElementSibling.textContent ?? null;
}

/** Opens the meanings of the columns and goes there. */
function showWords() {
  const words = document.getElementById("words");
  words.open = true;
  words.querySelector("summary").focus();
  words.scrollIntoView();
}

class LayerTable {
  constructor(view) {
    this.view = view;
    this.order = { column: "index", down: false };
    this.differing = new Map();
    this.columns = this.makeColumns();
    this.filter = el("input", {
      type: "search",
      placeholder: "Filter by name, kind or module",
      "aria-label": view.label("Filter layers"),
      oninput: () => this.fill(),
    });
    const kinds = [...new Set(view.model.layers.map((layer) => layer.kind))].sort();
    this.kind = el(
      "select",
      { "aria-label": view.label("Kind of layer"), onchange: () => this.fill() },
      el("option", { value: "" }, "all kinds"),
      kinds.map((kind) => el("option", { value: kind }, kind)),
    );
    this.onlyChanged = el("input", { type: "checkbox", onchange: () => this.fill() });
    this.changedChoice = el("label", { class: "check" }, this.onlyChanged, "only what the pixel can change");
    this.onlyDiffering = el("input", { type: "checkbox", onchange: () => this.fill() });
    this.differingChoice = view.model.versus
      ? el("label", { class: "check" }, this.onlyDiffering, "only what differs")
      : null;
    this.number = el("output", { class: "muted" });
    this.more = el("button", { type: "button", class: "more", onclick: () => this.showAll() });
    this.most = MOST_ROWS;
    this.head = el("tr");
    this.body = el("tbody");
    this.table = el(
      "table",
      { class: view.model.versus ? "against" : null },
      el("caption", { class: "hidden" }, `Layers of ${view.model.name}`),
      el("thead", {}, this.head),
      this.body,
    );
    this.scroll = el(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": view.label("Table of layers") },
      this.table,
      this.more,
    );
    this.element = el(
      "section",
      { class: "table-panel panel", "aria-label": view.label("Layers") },
      el("h2", {}, "Layers"),
      el(
        "div",
        { class: "row tools" },
        this.filter,
        this.kind,
        this.changedChoice,
        this.differingChoice,
        this.number,
        el("button", { type: "button", class: "link", onclick: showWords }, "What the columns mean"),
      ),
      this.scroll,
    );
    this.listen();
    this.rows = new Map();
    this.marked = new Set();
  }

  /** The columns, with what the pixel changes and, of two models, what became of a layer in the other one. */
  makeColumns() {
    const { view } = this;
    const { model } = view;
    const own = columnsOf(model, () => view.input);
    const changed = {
      key: "changed",
      title: "pixel changes",
      number: true,
      value: (layer) => this.changes?.[layer.at]?.count ?? 0,
      text: (layer) => hullText(this.changes?.[layer.at]),
    };
    if (!model.versus) return [...own, changed];
    const versus = {
      key: "versus",
      title: `against ${model.other.name}`,
      value: (layer) => this.versusText(layer),
      text: (layer) => this.versusText(layer),
    };
    const { other } = model;
    this.theirs = new Map(columnsOf(other, () => other.inputs[Math.min(view.state.input, other.inputs.length - 1)])
      .filter(({ key }) => DIFFER.includes(key))
      .map((column) => [column.key, column]));
    return [...own.slice(0, 2), versus, ...own.slice(2), changed];
  }

  /** On a page of two models: the columns in which a layer and its counterpart differ, `{key, title, was}`. */
  differences(layer) {
    if (this.differing.has(layer)) return this.differing.get(layer);
    const found = this.view.model.versusOf(layer);
    const differing = this.columns.flatMap(({ key, title, text }) => {
      const was = found?.layer ? this.theirs.get(key)?.text(found.layer) : undefined;
      return was === undefined || was === text(layer) ? [] : [{ key, title, was }];
    });
    this.differing.set(layer, differing);
    return differing;
  }

  /** What became of a layer in the other model, in words: `renamed: conv1`, `only field`, "" where nothing did. */
  versusText(layer) {
    const { how, layer: found } = this.view.model.versusOf(layer);
    if (how !== "same") return found && found.name !== layer.name ? `${how}: ${found.name}` : how;
    const titles = this.differences(layer).map(({ title }) => title);
    return titles.length ? `only ${titles.join(", ")}` : "";
  }

  /** The same with what the other model has in place of each number that differs. */
  againstText(layer) {
    const there = this.differences(layer).map(({ title, was }) => `${title} ${was}`);
    const text = this.versusText(layer) || "the same";
    return there.length ? `${text}; there ${there.join(", ")}` : text;
  }

  listen() {
    const at = (event) => {
      const row = event.target.closest("tr[data-at]");
      return row ? Number(row.dataset.at) : null;
    };
    this.body.addEventListener("pointerover", (event) => event.pointerType !== "touch" && this.view.preview(at(event)));
    this.body.addEventListener("pointerleave", () => this.view.preview(null));
    this.body.addEventListener("focusin", (event) => this.view.preview(at(event)));
    this.body.addEventListener("focusout", () => this.view.preview(null));
    this.body.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || at(event) === null) return;
      event.preventDefault();
      this.view.set({ layer: at(event) });
    });
    this.body.addEventListener("keydown", (event) => this.key(event));
  }

  /** The row of a layer, made when it is first to be seen. */
  rowOf(layer) {
    if (!this.rows.has(layer.at)) this.rows.set(layer.at, this.makeRow(layer));
    const row = this.rows.get(layer.at);
    if (!row.written) this.write(row);
    return row;
  }

  makeRow(layer) {
    const cells = this.columns.map(({ key, number }) =>
      el(key === "name" ? "th" : "td", {
        class: `c-${key}${number ? " number" : ""}`,
        scope: key === "name" ? "row" : null,
      }),
    );
    const link = el(
      "a",
      { tabindex: "-1", title: layer.name.length > 20 ? layer.name : null },
      el("bdi", { dir: "ltr" }, layer.name),
    );
    cells[1].append(el("span", { class: `dot kind-${kindColour(layer.kind)}` }), link);
    const how = this.view.model.versusOf(layer)?.how;
    const element = el("tr", { "data-at": String(layer.at), class: how ? `how-${how}` : null }, cells);
    return { layer, cells, link, element, written: false };
  }

  /** The head, with the direction of the order, and all texts; for another input or pixel. */
  update() {
    this.changes = this.view.changedLayers();
    this.changedChoice.hidden = this.changes === null;
    this.table.classList.toggle("with-pixel", this.changes !== null);
    this.differing = new Map();
    for (const row of this.rows.values()) row.written = false;
    this.fill();
  }

  /** The texts of a row, when it is to be seen. */
  write(row) {
    const { layer, cells, link } = row;
    this.columns.forEach((column, number) => {
      if (column.key !== "name") cells[number].textContent = column.text(layer);
    });
    link.href = this.view.linkTo(layer);
    row.written = true;
    if (!this.theirs) return;
    const differing = new Map(this.differences(layer).map((one) => [one.key, one.was]));
    this.columns.forEach(({ key }, number) => {
      cells[number].classList.toggle("differs", differing.has(key));
      if (differing.has(key)) cells[number].title = `${this.view.model.other.name}: ${differing.get(key)}`;
      else if (this.theirs.has(key)) cells[number].removeAttribute("title");
    });
  }

  fillHead() {
    const focused = this.head.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.head.replaceChildren(
      ...this.columns.map(({ key, title, number }) => {
        const sorted = this.order.column === key;
        const arrow = sorted ? (this.order.down ? " ▼" : " ▲") : "";
        return el(
          "th",
          {
            scope: "col",
            class: `c-${key}${number ? " number" : ""}`,
            "aria-sort": sorted ? (this.order.down ? "descending" : "ascending") : null,
          },
          el(
            "button",
            {
              type: "button",
              class: "sort",
              "data-key": key,
              title: meaningOf(key),
              onclick: () => this.sortBy(key),
            },
            title,
            el("span", { "aria-hidden": "true" }, arrow),
          ),
        );
      }),
    );
    if (focused) this.head.querySelector(`[data-key=${focused}]`).focus();
  }

  sortBy(key) {
    const again = this.order.column === key;
    const large = !["index", "name", "kind", "versus"].includes(key);
    this.order = { column: key, down: again ? !this.order.down : large };
    this.fill();
    announce(`Sorted by ${key}, ${this.order.down ? "descending" : "ascending"}`);
  }

  wanted(layer) {
    const text = this.filter.value.trim().toLowerCase();
    const kind = this.kind.value;
    const unchanged = this.onlyChanged.checked && this.changes && !this.changes[layer.at];
    const hidden = unchanged || (this.onlyDiffering.checked && !this.versusText(layer));
    return !hidden && (!kind || layer.kind === kind) && (!text || layerText(layer).includes(text));
  }

  /** The rows that the filters let through, in order. */
  fill() {
    this.fillHead();
    const { value } = this.columns.find((column) => column.key === this.order.column);
    const sign = this.order.down ? -1 : 1;
    const compare = (one, other) =>
      sign * (typeof one === "string" ? one.localeCompare(other, "en", { numeric: true }) : one - other);
    const { layers } = this.view.model;
    const found = layers
      .filter((layer) => this.wanted(layer))
      .sort((one, other) => compare(value(one), value(other)) || one.at - other.at);
    const seen = found.slice(0, this.most);
    this.body.replaceChildren(...seen.map((layer) => this.rowOf(layer).element));
    this.more.hidden = seen.length === found.length;
    this.more.textContent = `Show all ${countText(found.length)} rows, not the first ${countText(seen.length)}`;
    this.number.textContent =
      found.length === layers.length
        ? plural(found.length, "layer")
        : `${countText(found.length)} of ${plural(layers.length, "layer")}`;
    this.mark();
  }

  showAll() {
    this.most = Infinity;
    this.fill();
    this.body.children[MOST_ROWS].querySelector("a").focus();
  }

  /** Brings the chosen layer into the table's own sight, where its row is shown. */
  reveal() {
    const element = this.rows.get(this.view.state.layer)?.element;
    if (!element?.isConnected) return;
    const middle = element.offsetTop - (this.scroll.clientHeight - element.offsetHeight) / 2;
    if (this.scroll.scrollHeight > this.scroll.clientHeight) this.scroll.scrollTop = Math.max(0, middle);
  }

  mark() {
    const { layer: chosen } = this.view.state;
    const shown = this.view.shownLayer().at;
    const first = this.body.firstElementChild;
    const stop = this.rows.get(chosen)?.element.isConnected ? chosen : first && Number(first.dataset.at);
    for (const at of this.marked) this.markRow(at, null, null, null);
    this.marked = new Set([chosen, shown, stop]);
    for (const at of this.marked) this.markRow(at, chosen, shown, stop);
  }

  markRow(at, chosen, shown, stop) {
    const { element, link } = this.rows.get(at) ?? {};
    if (!element) return;
    element.classList.toggle("chosen", at === chosen);
    element.classList.toggle("shown", at === shown);
    if (at === chosen) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
    link.tabIndex = at === stop ? 0 : -1;
  }

  key(event) {
    const row = event.target.closest("tr[data-at]");
    const visible = [...this.body.children];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const target = step ? visible[visible.indexOf(row) + step] : { Home: visible[0], End: visible.at(-1) }[event.key];
    if (!target) return;
    event.preventDefault();
    target.querySelector("a").focus();
  }
}

/** The positions that a pixel can change: first and last along each axis along which units differ. */
function hullText(found) {
  if (found === undefined || found === null) return "-";
  return (
    found.hull
      .filter((span) => span)
      .map(([first, last]) => `${first}..${last}`)
      .join(" x ") || "all"
  );
}
