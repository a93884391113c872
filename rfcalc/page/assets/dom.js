// Elements, numbers as text, and colours of the style sheet for canvases. All text goes in as text, never as markup.

const SVG_SPACE = "http://www.w3.org/2000/svg";

/** An element with attributes (`on...` functions are listeners, null and false are left out) and children. */
function el(tag, attributes = {}, ...children) {
  return dressed(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
function svg(tag, attributes = {}, ...children) {
  return dressed(document.createElementNS(SVG_SPACE, tag), attributes, children);
}

function dressed(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

const COUNTS = new Intl.NumberFormat("en");

/** An exact count with separators; null is an op without a rule. */
function countText(value) {
  return value === null ? "?" : COUNTS.format(BigInt(value));
}

/** A count in three digits for the little room of a chart: `15.5 G`. */
function shortText(value) {
  const number = Number(value);
  for (const [unit, scale] of [
    ["P", 1e15],
    ["T", 1e12],
    ["G", 1e9],
    ["M", 1e6],
    ["k", 1e3],
  ]) {
    if (number >= scale) return `${(number / scale).toPrecision(3)} ${unit}`;
  }
  return String(number);
}

/** A part of a whole in percent, `-` where it is not known. */
function shareText(part, whole) {
  if (part === null || !Number(whole)) return "-";
  return `${((100 * Number(part)) / Number(whole)).toFixed(1)} %`;
}

/** `3 layers`, `1 layer`. */
function plural(number, noun) {
  return `${countText(number)} ${noun}${Number(number) === 1 ? "" : "s"}`;
}

/** A colour of the style sheet as the canvas needs it, in the theme of the moment. */
function cssColour(name) {
  const probe = document.getElementById("live");
  probe.style.color = `var(${name})`;
  const found = getComputedStyle(probe).color;
  probe.style.color = "";
  return found;
}

/** Says a sentence to a screen reader. */
function announce(text) {
  document.getElementById("live").textContent = text;
}

/** The action, done once before the next frame, however often it was asked for. */
function inNextFrame(action) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      action();
    });
  };
}
