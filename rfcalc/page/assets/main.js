// The page: its models, one or two side by side, the theme, and the state in the address.

class Page {
  constructor(data) {
    this.models = data.models.map((model, number) => new Model(model, number));
    const names = this.models.map((model) => model.name);
    for (const [at, model] of this.models.entries())
      model.key = names.indexOf(model.name) === at ? model.name : `${model.name}#${at + 1}`;
    for (const model of this.models) model.other = model.versus ? this.models[model.versus.model] : null;
    this.views = [];
    this.place = document.getElementById("models");
    this.makeTheme();
    if (this.models.length > 1) this.makeComparison();
    this.restore();
    window.addEventListener("hashchange", () => location.hash !== this.saved && this.restore());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.repaint());
  }

  makeComparison() {
    this.comparison = new Comparison(this.models);
    const section = document.getElementById("comparison");
    section.append(this.comparison.element);
    section.hidden = false;
    this.comparison.draw();
  }

  makeTheme() {
    const choice = document.getElementById("theme");
    const apply = (theme) => {
      document.documentElement.dataset.theme = theme;
      choice.value = theme;
      this.repaint();
    };
    choice.addEventListener("change", () => {
      apply(choice.value);
      stored((storage) => storage.setItem("rfcalc-theme", choice.value));
    });
    const kept = stored((storage) => storage.getItem("rfcalc-theme"));
    apply(["light", "dark"].includes(kept) ? kept : "auto");
  }

  repaint() {
    this.comparison?.draw();
    this.views.forEach((view) => view.repaint());
  }

  // --- state in the address -------------------------------------------------------------------------------------------

  /** Shows what the address says; what it does not say, or says wrongly, is as at first. */
  restore() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const columns = Math.min(2, this.models.length);
    this.views = Array.from({ length: columns }, (none, number) => {
      const model = this.models.find((one) => one.key === asked.get(key("model", number))) ?? this.models[number];
      return new View(this, number, model, stateOf(asked, number, model));
    });
    this.place.replaceChildren(...this.views.map((view) => view.element));
    this.place.classList.toggle("pair", columns > 1);
    this.views.forEach((view) => view.start());
  }

  /** Another model in one of the columns. */
  choose(number, model) {
    const view = new View(this, number, this.models[model]);
    this.views[number].element.replaceWith(view.element);
    this.views[number] = view;
    view.start();
    this.save();
    view.element.querySelector(".model-choice").focus();
  }

  save() {
    this.saved = this.address(-1, null);
    history.replaceState(null, "", this.saved);
  }

  /** The address of the page's state, with another state of one view. */
  address(number, state) {
    const entries = new URLSearchParams();
    for (const view of this.views) describe(entries, view, view.number === number ? state : view.state);
    return `#${entries}`;
  }
}

/** The name of an entry of the address: those of the second column end in 2. */
function key(name, number) {
  return number ? `${name}${number + 1}` : name;
}

function describe(entries, view, state) {
  const set = (name, value) => entries.set(key(name, view.number), value);
  if (view.page.models.length > 1) set("model", view.model.key);
  set("layer", view.model.layers[state.layer].name);
  if (view.model.inputs.length > 1) set("input", view.model.inputs[state.input].name);
  if (state.unit?.some((at) => at !== null)) set("unit", state.unit.map((at) => at ?? "").join(","));
  if (state.pixel) set("pixel", state.pixel.join(","));
}

/** The state of one column that an address asks for, as far as the model has such a layer, unit and pixel. */
function stateOf(asked, number, model) {
  const get = (name) => asked.get(key(name, number));
  const layer = model.byName.get(get("layer")) ?? model.headline;
  const input = Math.max(
    0,
    model.inputs.findIndex((one) => one.name === get("input")),
  );
  const shape = model.layers[layer].shape;
  const source = model.inputs[input];
  return {
    layer,
    input,
    unit: indices(get("unit"), shape),
    pixel: source
      ? indices(
          get("pixel"),
          source.places.map((axis) => source.shape[axis]),
          false,
        )
      : null,
  };
}

/** `3,,5` as indices within a shape, null for an empty one; null for all where that is not what stands there. */
function indices(text, shape, gaps = true) {
  const parts = text === null ? [] : text.split(",");
  const good =
    parts.length === shape.length &&
    shape.length > 0 &&
    parts.every((part, axis) => (part === "" ? gaps : /^\d+$/.test(part) && Number(part) < shape[axis]));
  return good ? parts.map((part) => (part === "" ? null : Number(part))) : null;
}

/** What a browser keeps for this page, where it keeps anything. */
function stored(use) {
  try {
    return use(localStorage);
  } catch {
    return null;
  }
}

new Page(JSON.parse(document.getElementById("data").textContent));
