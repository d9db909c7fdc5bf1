// Builds what a note looks like out of the server's tree of elements: a text, or [tag, attributes, ...children].

import { memoryHref } from "./api.js";
import { codeBlock } from "./code.js";
import { el } from "./dom.js";

const PLAIN = new Set(
  "p h1 h2 h3 h4 h5 h6 ul ol li blockquote code em strong s hr br table thead tbody tr th td".split(" "),
);
const ALIGNED = new Set(["left", "center", "right"]);

// `memory` is the name of the memory that links lead into.
export function build(tree, memory) {
  return tree.map((node) => buildNode(node, memory));
}

function buildNode(node, memory) {
  if (typeof node === "string") return document.createTextNode(node);
  const [tag, attributes, ...children] = node;
  const inside = () => children.map((child) => buildNode(child, memory));
  switch (tag) {
    case "note":
      return noteLink(attributes, inside(), memory);
    case "missing":
      return el("span.missing", { title: attributes.problem }, inside());
    case "outside":
      return el("span.outside", {}, inside(), " ", el("span.address", {}, attributes.address));
    case "image":
      return el("span.outside", {}, inside(), " ", el("span.address", {}, attributes.address));
    case "pre":
      return marked(codeBlock(children.join(""), attributes.language), attributes);
    case "table":
      return el("div.scroll", { tabIndex: 0, role: "region", "aria-label": "Table" }, el("table", {}, inside()));
  }
  if (!PLAIN.has(tag)) return el("span", {}, inside());
  const element = el(heading(tag), { start: attributes.start }, inside());
  if (ALIGNED.has(attributes.align)) element.style.textAlign = attributes.align;
  return marked(element, attributes);
}

// The page's own heading is the first; a note's headings come below it, and look as they are meant.
function heading(tag) {
  const level = /^h([1-6])$/.exec(tag);
  return level ? `h${Math.min(6, Number(level[1]) + 1)}.level-${level[1]}` : tag;
}

function marked(element, attributes) {
  if (attributes.line) element.dataset.line = attributes.line;
  return element;
}

function noteLink(attributes, children, memory) {
  const part = attributes.block ? `^${attributes.block}` : attributes.heading ?? "";
  const href = memoryHref(memory, "notes", attributes.path) + (part && `?part=${encodeURIComponent(part)}`);
  const title = attributes.problem || attributes.path;
  return el("a.note-link", { href, title, class: attributes.problem ? "doubtful" : "" }, children);
}

// Shows the heading or line that a link or a search means.
export function scrollTo(article, { part, line }) {
  let found = null;
  if (part && !part.startsWith("^")) {
    const wanted = part.split("#").pop().trim().toLowerCase();
    found = [...article.querySelectorAll("h2,h3,h4,h5,h6")].find((h) => h.textContent.trim().toLowerCase() === wanted);
  }
  if (part?.startsWith("^")) {
    found = [...article.querySelectorAll("[data-line]")].findLast((each) => each.textContent.includes(part));
  }
  if (line) {
    for (const each of article.querySelectorAll("[data-line]")) {
      if (Number(each.dataset.line) <= line) found = each;
    }
  }
  if (!found) return;
  found.scrollIntoView({ block: "center" });
  found.classList.add("found");
  setTimeout(() => found.classList.remove("found"), 2000);
}
