// All layers as a table that sorts by any column and filters by text, kind, and what the pixel can change.

class LayerTable {
  constructor(view) {
    this.view = view;
    this.order = { column: "index", down: false };
    this.columns = this.makeColumns();
    this.filter = el("input", {
      type: "search",
      placeholder: "Filter by name, kind or module",
      "aria-label": "Filter layers",
      oninput: () => this.fill(),
    });
    const kinds = [...new Set(view.model.layers.map((layer) => layer.kind))].sort();
    this.kind = el(
      "select",
      { "aria-label": "Kind of layer", onchange: () => this.fill() },
      el("option", { value: "" }, "all kinds"),
      kinds.map((kind) => el("option", { value: kind }, kind)),
    );
    this.onlyChanged = el("input", { type: "checkbox", onchange: () => this.fill() });
    this.changedChoice = el("label", { class: "check" }, this.onlyChanged, "only what the pixel can change");
    this.number = el("output", { class: "muted" });
    this.head = el("tr");
    this.body = el("tbody");
    this.table = el(
      "table",
      {},
      el("caption", { class: "hidden" }, `Layers of ${view.model.name}`),
      el("thead", {}, this.head),
      this.body,
    );
    this.element = el(
      "section",
      { class: "table-panel panel", "aria-label": "Layers" },
      el("h2", {}, "Layers"),
      el("div", { class: "row tools" }, this.filter, this.kind, this.changedChoice, this.number),
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of layers" }, this.table),
    );
    this.listen();
    this.rows = view.model.layers.map((layer) => this.row(layer));
  }

  makeColumns() {
    const { view } = this;
    const { model } = view;
    const field = (layer) => model.field(layer, view.input);
    const against = model.versus
      ? [
          {
            key: "versus",
            title: `against ${model.versus.model}`,
            value: (layer) => model.changeText(layer),
            text: (layer) => model.changeText(layer),
          },
        ]
      : [];
    const area = (layer) => (field(layer)?.size ?? []).reduce((size, one) => size * one, 1);
    return [
      { key: "index", title: "#", number: true, value: (layer) => layer.at, text: (layer) => String(layer.index) },
      { key: "name", title: "layer", value: (layer) => layer.name, text: (layer) => layer.name },
      ...against,
      { key: "kind", title: "kind", value: (layer) => layer.kind, text: (layer) => layer.kind },
      {
        key: "shape",
        title: "output",
        value: (layer) => layer.shape.reduce((size, one) => size * one, 1),
        text: (layer) => layer.shape.join("x"),
      },
      { key: "field", title: "field", number: true, value: area, text: (layer) => model.fieldText(layer, view.input) },
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
      {
        key: "changed",
        title: "pixel changes",
        number: true,
        value: (layer) => this.changes?.[layer.at]?.count ?? 0,
        text: (layer) => hullText(this.changes?.[layer.at]),
      },
    ];
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

  row(layer) {
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
    return { layer, cells, link, element };
  }

  /** The head, with the direction of the order, and all texts; for another input or pixel. */
  update() {
    this.changes = this.view.changedLayers();
    this.changedChoice.hidden = this.changes === null;
    this.table.classList.toggle("with-pixel", this.changes !== null);
    for (const { layer, cells, link } of this.rows) {
      this.columns.forEach((column, number) => {
        if (column.key !== "name") cells[number].textContent = column.text(layer);
      });
      link.href = this.view.linkTo(layer);
    }
    this.fill();
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
            { type: "button", class: "sort", "data-key": key, onclick: () => this.sortBy(key) },
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
    const hidden = this.onlyChanged.checked && this.changes && !this.changes[layer.at];
    return !hidden && (!kind || layer.kind === kind) && (!text || layerText(layer).includes(text));
  }

  /** The rows that the filters let through, in order. */
  fill() {
    this.fillHead();
    const { value } = this.columns.find((column) => column.key === this.order.column);
    const sign = this.order.down ? -1 : 1;
    const compare = (one, other) =>
      sign * (typeof one === "string" ? one.localeCompare(other, "en", { numeric: true }) : one - other);
    const rows = this.rows
      .filter(({ layer }) => this.wanted(layer))
      .sort((one, other) => compare(value(one.layer), value(other.layer)) || one.layer.at - other.layer.at);
    this.body.replaceChildren(...rows.map((row) => row.element));
    this.number.textContent =
      rows.length === this.rows.length
        ? plural(rows.length, "layer")
        : `${rows.length} of ${plural(this.rows.length, "layer")}`;
    this.mark();
  }

  mark() {
    const { layer: chosen } = this.view.state;
    const shown = this.view.shownLayer().at;
    const visible = [...this.body.children];
    const stop = visible.find((row) => Number(row.dataset.at) === chosen) ?? visible[0];
    for (const { layer, element, link } of this.rows) {
      element.classList.toggle("chosen", layer.at === chosen);
      element.classList.toggle("shown", layer.at === shown);
      if (layer.at === chosen) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
      link.tabIndex = element === stop ? 0 : -1;
    }
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
