// Elements are made here and nowhere else: of tags that the page itself names, filled with text nodes. What comes from
// the server is a text or an attribute's value in this file's hands, never markup.

// `el("button.primary", { onclick: f, "aria-label": "x" }, "text", child, null)`
export function el(name, properties, ...children) {
  const [tag, ...classes] = name.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on") && typeof value === "function") node.addEventListener(key.slice(2), value);
    else if (key === "class") node.className += ` ${value}`;
    else if (key === "text") node.textContent = value;
    else if (key === "style") Object.assign(node.style, value);
    else if (key in node && typeof value !== "string") node[key] = value;
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  append(node, children);
  return node;
}

export function append(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

export function replace(node, ...children) {
  node.replaceChildren();
  return append(node, children);
}

const SVG = "http://www.w3.org/2000/svg";

// Drawn on a grid of 16, with a stroke of the text's colour.
const ICONS = {
  note: "M4 2.5h5.5L12.5 5.5v8h-8.5z M9.5 2.5v3h3",
  folder: "M2 4.5h4.2l1.3 1.5H14v7H2z",
  open: "M2 12.5v-8h4.2l1.3 1.5H13v2 M2 12.5l2-4.5h11l-2 4.5z",
  file: "M4 2.5h8v11h-8z",
  search: "M7 12a5 5 0 1 0 0-10 5 5 0 0 0 0 10z M10.8 10.8L14 14",
  sun: "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6z M8 1.5v1.6 M8 12.9v1.6 M1.5 8h1.6 M12.9 8h1.6 M3.4 3.4l1.1 1.1 M11.5 11.5l1.1 1.1 M3.4 12.6l1.1-1.1 M11.5 4.5l1.1-1.1",
  moon: "M13.5 9.5A5.8 5.8 0 0 1 6.5 2.5a5.8 5.8 0 1 0 7 7z",
  chevron: "M6 4l4 4-4 4",
  close: "M4 4l8 8 M12 4l-8 8",
  keyboard: "M1.5 4.5h13v7h-13z M4 7h.01 M6.5 7h.01 M9 7h.01 M11.5 7h.01 M5 9.3h6",
  send: "M2.5 8L13.5 2.5 11 13.5 7.5 9z",
  stop: "M4.5 4.5h7v7h-7z",
  undo: "M3 7.5h6.5a3.2 3.2 0 0 1 0 6.4H6 M5.5 5L3 7.5 5.5 10",
  check: "M3 8.5l3.2 3.2L13 5",
  warning: "M8 2.5l6 11H2z M8 6.8v3 M8 11.6v.1",
  history: "M2.5 8a5.5 5.5 0 1 0 1.8-4.1 M2.5 2.8v2.6h2.6 M8 5v3.2l2.2 1.3",
};

export function icon(name) {
  return svg("svg.icon", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
}

// The same as `el`, for drawings: attributes alone.
export function svg(name, attributes, ...children) {
  const [tag, ...classes] = name.split(".");
  const node = document.createElementNS(SVG, tag);
  if (classes.length) node.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  return append(node, children);
}

// What a view shows when there is nothing, or when something went wrong.
export function notice(title, text, ...actions) {
  return el("div.notice", {}, el("h2", {}, title), text && el("p", {}, text), actions.length && el("div.actions", {}, actions));
}

export function problem(error, again) {
  const retry = again && el("button", { onclick: again }, "Try again");
  return el(
    "div.notice.problem",
    { role: "alert" },
    el("h2", {}, error.message),
    error.advice && el("p", {}, `${error.advice[0].toUpperCase()}${error.advice.slice(1)}.`),
    retry && el("div.actions", {}, retry),
  );
}

const numbers = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (number) => numbers.format(number);
export const short = (number) => compact.format(number);
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

export function bytes(number) {
  if (number < 1000) return `${number} B`;
  return number < 1e6 ? `${(number / 1e3).toFixed(1)} kB` : `${(number / 1e6).toFixed(1)} MB`;
}

export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 59.5) return `${seconds < 9.95 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

// Calls `work` once things have been quiet for `milliseconds`.
export function debounced(milliseconds, work) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...values), milliseconds);
  };
}
