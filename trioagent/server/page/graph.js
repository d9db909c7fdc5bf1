// The graph of a memory's notes: drawn on a canvas, moved by d3-force, and as a list for those who do not see it.

import { forceCollide, forceLink, forceManyBody, forceSimulation, forceX, forceY } from "d3-force";
import { get, memoryHref, memoryUrl } from "./api.js";
import { count, el, notice, plural, problem, replace } from "./dom.js";

const MOST_LISTED = 30;
const FRAME = 12; // milliseconds of layout in one frame

// Fills `place`; returns what ends it.
export function graphView(place, memory, cluster) {
  const controller = new AbortController();
  let drawing = null;
  replace(place, el("p.quiet.loading", {}, "Reading the links of all notes…"));
  load();
  return () => {
    controller.abort();
    drawing?.stop();
  };

  async function load() {
    try {
      const query = cluster ? `?cluster=${encodeURIComponent(cluster)}` : "";
      const graph = await get(memoryUrl(memory, `graph${query}`), controller.signal);
      if (!graph.nodes.length) {
        replace(place, notice("No notes yet", "The graph shows notes and the links between them."));
        return;
      }
      const open = (node) => {
        location.hash = graph.clustered
          ? `${memoryHref(memory, "graph")}?cluster=${encodeURIComponent(node.path)}`
          : memoryHref(memory, "notes", node.path);
      };
      drawing = new Drawing(graph, open);
      replace(
        place,
        el(
          "div.graph",
          {},
          el("div.graph-bar", {}, summary(graph), cluster && el("a.button.small", { href: memoryHref(memory, "graph") }, "All clusters"), drawing.tools),
          el("div.graph-body", {}, drawing.element, list(graph, memory, drawing)),
        ),
      );
      drawing.start();
    } catch (error) {
      if (error.name !== "AbortError") replace(place, problem(error, load));
    }
  }
}

function summary(graph) {
  const links = graph.edges.reduce((sum, [, , weight]) => sum + weight, 0);
  const what = graph.clustered
    ? `${plural(graph.total, "note")} in ${plural(graph.nodes.length, "cluster")}`
    : `${plural(graph.nodes.length, "note")}, ${plural(links, "link")}`;
  return el("p", {}, graph.cluster ? `Cluster ${stem(graph.cluster)}: ${what}` : what, graph.left_out > 0 && el("span.quiet", {}, ` ${count(graph.left_out)} are not shown`));
}

function list(graph, memory, drawing) {
  const largest = graph.nodes
    .map((node, index) => ({ ...node, index }))
    .sort((a, b) => b.notes - a.notes || b.links - a.links)
    .slice(0, MOST_LISTED);
  return el(
    "aside.graph-list",
    { "aria-label": graph.clustered ? "Largest clusters" : "Most linked notes" },
    el("h2", {}, graph.clustered ? "Largest clusters" : "Most linked"),
    el(
      "ol.plain",
      {},
      largest.map((node) =>
        el(
          "li",
          {},
          el(
            "a.note-link",
            {
              href: graph.clustered
                ? `${memoryHref(memory, "graph")}?cluster=${encodeURIComponent(node.path)}`
                : memoryHref(memory, "notes", node.path),
              onmouseenter: () => drawing.focus(node.index),
              onfocus: () => drawing.focus(node.index),
            },
            stem(node.path),
          ),
          el("span.count", { title: graph.clustered ? "notes" : "links" }, count(graph.clustered ? node.notes : node.links)),
        ),
      ),
    ),
  );
}

const stem = (path) => path.split("/").pop().replace(/\.md$/, "");

class Drawing {
  constructor(graph, open) {
    this.graph = graph;
    this.open = open;
    this.view = { x: 0, y: 0, scale: 1 };
    this.focused = -1;
    this.running = true;
    this.nodes = graph.nodes.map((node) => ({
      ...node,
      name: stem(node.path),
      radius: graph.clustered ? 4 + Math.sqrt(node.notes) * 1.2 : 3 + Math.sqrt(node.links) * 1.1,
    }));
    this.links = graph.edges.map(([source, target, weight]) => ({ source, target, weight }));
    this.near = this.nodes.map(() => new Set());
    for (const { source, target } of this.links) {
      this.near[source].add(target);
      this.near[target].add(source);
    }
    this.simulation = forceSimulation(this.nodes)
      .force("link", forceLink(this.links).distance(60).strength((link) => 0.7 / Math.max(1, Math.min(this.near[link.source.index].size, this.near[link.target.index].size))))
      .force("charge", forceManyBody().strength(-160).distanceMax(500))
      .force("collide", forceCollide((node) => node.radius + 3))
      .force("x", forceX().strength(0.05))
      .force("y", forceY().strength(0.07))
      .stop();
    this.canvas = el("canvas", {
      tabIndex: 0,
      role: "img",
      "aria-label": `Graph of ${this.nodes.length} ${graph.clustered ? "clusters" : "notes"}. Arrow keys go from one to those it is linked with, Enter opens it, plus and minus zoom. The list beside it names the most linked.`,
    });
    this.status = el("p.unseen", { "aria-live": "polite" });
    this.element = el("div.graph-canvas", {}, this.canvas, this.status);
    this.tools = el(
      "div.tools",
      {},
      el("button.small", { onclick: () => this.zoom(1 / 1.3), "aria-label": "Zoom out" }, "−"),
      el("button.small", { onclick: () => this.zoom(1.3), "aria-label": "Zoom in" }, "+"),
      el("button.small", { onclick: () => this.fit() }, "Fit"),
    );
  }

  start() {
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.element);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.repaint = () => this.draw();
    this.scheme.addEventListener("change", this.repaint);
    addEventListener("theme", this.repaint);
    this.listen();
    // Settled before it is first seen, as far as a moment allows: a graph that flies apart shows nothing.
    const end = performance.now() + 250;
    while (this.simulation.alpha() > 0.05 && performance.now() < end) this.simulation.tick();
    this.resize();
    this.fit();
    this.frame = requestAnimationFrame(() => this.settle());
  }

  stop() {
    this.running = false;
    cancelAnimationFrame(this.frame);
    this.observer?.disconnect();
    this.scheme?.removeEventListener("change", this.repaint);
    removeEventListener("theme", this.repaint);
  }

  settle() {
    if (!this.running) return;
    const end = performance.now() + FRAME;
    while (this.simulation.alpha() > this.simulation.alphaMin() && performance.now() < end) this.simulation.tick();
    if (!this.moved) this.fit();
    this.draw();
    if (this.simulation.alpha() > this.simulation.alphaMin()) this.frame = requestAnimationFrame(() => this.settle());
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.element;
    const ratio = devicePixelRatio || 1;
    this.size = { width, height };
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.ratio = ratio;
    if (!this.moved) this.fit();
    this.draw();
  }

  fit() {
    if (!this.size?.width) return;
    this.moved = false;
    const xs = this.nodes.map((node) => node.x);
    const ys = this.nodes.map((node) => node.y);
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const scale = Math.min(2.2, 0.86 * Math.min(this.size.width / (right - left + 60), this.size.height / (bottom - top + 60)));
    this.view = { scale, x: this.size.width / 2 - (scale * (left + right)) / 2, y: this.size.height / 2 - (scale * (top + bottom)) / 2 };
    this.draw();
  }

  zoom(factor, x = this.size.width / 2, y = this.size.height / 2) {
    const scale = Math.min(8, Math.max(0.03, this.view.scale * factor));
    const real = scale / this.view.scale;
    this.view = { scale, x: x - (x - this.view.x) * real, y: y - (y - this.view.y) * real };
    this.moved = true;
    this.draw();
  }

  focus(index) {
    this.focused = index;
    this.draw();
    const node = this.nodes[index];
    if (node) this.status.textContent = `${node.name}, ${plural(this.near[index].size, "link")}`;
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = (event.clientX - box.left - this.view.x) / this.view.scale;
    const y = (event.clientY - box.top - this.view.y) / this.view.scale;
    const node = this.simulation.find(x, y, 14 / Math.min(1, this.view.scale));
    return node ? node.index : -1;
  }

  listen() {
    let drag = null;
    this.canvas.addEventListener("pointerdown", (event) => {
      drag = { x: event.clientX, y: event.clientY, view: { ...this.view }, far: false };
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!drag) {
        const index = this.at(event);
        this.canvas.style.cursor = index >= 0 ? "pointer" : "grab";
        if (index !== this.focused) this.focus(index);
        return;
      }
      const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
      drag.far ||= Math.hypot(dx, dy) > 4;
      if (!drag.far) return;
      this.moved = true;
      this.view = { ...drag.view, x: drag.view.x + dx, y: drag.view.y + dy };
      this.draw();
    });
    this.canvas.addEventListener("pointerup", (event) => {
      const clicked = drag && !drag.far ? this.at(event) : -1;
      drag = null;
      if (clicked >= 0) this.open(this.nodes[clicked]);
    });
    this.canvas.addEventListener("pointercancel", () => (drag = null));
    this.canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const box = this.canvas.getBoundingClientRect();
        this.zoom(Math.exp(-event.deltaY * 0.0015), event.clientX - box.left, event.clientY - box.top);
      },
      { passive: false },
    );
    this.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const directions = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    if (event.key in directions) this.step(...directions[event.key]);
    else if (event.key === "Enter" && this.focused >= 0) this.open(this.nodes[this.focused]);
    else if (event.key === "+" || event.key === "=") this.zoom(1.3);
    else if (event.key === "-") this.zoom(1 / 1.3);
    else if (event.key === "0") this.fit();
    else return;
    event.preventDefault();
  }

  // To the note in that direction: one that is linked if there is one, else any.
  step(dx, dy) {
    const from = this.nodes[this.focused];
    if (!from) {
      this.focus(this.nodes.reduce((best, node, index) => (node.links > this.nodes[best].links ? index : best), 0));
      return;
    }
    const among = (indexes) => {
      let best = -1;
      let least = Infinity;
      for (const index of indexes) {
        const [x, y] = [this.nodes[index].x - from.x, this.nodes[index].y - from.y];
        const ahead = x * dx + y * dy;
        const cost = Math.hypot(x, y) + 2 * Math.abs(x * dy - y * dx);
        if (index !== this.focused && ahead > 0 && cost < least) [best, least] = [index, cost];
      }
      return best;
    };
    const found = among(this.near[this.focused]);
    const index = found >= 0 ? found : among(this.nodes.keys());
    if (index >= 0) this.focus(index);
  }

  draw() {
    if (!this.size) return;
    const context = this.canvas.getContext("2d");
    const style = getComputedStyle(this.element);
    const colour = (name) => style.getPropertyValue(name).trim();
    const [line, dot, strong, text, halo] = ["--graph-line", "--graph-dot", "--accent", "--text", "--surface"].map(colour);
    const { scale, x, y } = this.view;
    const near = this.focused >= 0 ? this.near[this.focused] : null;
    const lit = (index) => !near || index === this.focused || near.has(index);
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.size.width, this.size.height);
    context.setTransform(this.ratio * scale, 0, 0, this.ratio * scale, this.ratio * x, this.ratio * y);
    const strokes = (links, stroke, alpha) => {
      context.globalAlpha = alpha;
      context.strokeStyle = stroke;
      context.lineWidth = 1 / scale;
      context.beginPath();
      for (const { source, target } of links) {
        context.moveTo(source.x, source.y);
        context.lineTo(target.x, target.y);
      }
      context.stroke();
    };
    const touches = ({ source, target }) => source.index === this.focused || target.index === this.focused;
    strokes(near ? this.links.filter((link) => !touches(link)) : this.links, line, near ? 0.35 : 1);
    if (near) strokes(this.links.filter(touches), strong, 0.9);
    for (const node of this.nodes) {
      context.globalAlpha = lit(node.index) ? 1 : 0.25;
      context.fillStyle = node.index === this.focused ? strong : dot;
      context.beginPath();
      context.arc(node.x, node.y, node.radius, 0, 2 * Math.PI);
      context.fill();
    }
    this.labels(context, style, near, text, halo);
    context.globalAlpha = 1;
  }

  // The most linked first; a name that would lie over another is left out.
  labels(context, style, near, text, halo) {
    const { scale, x, y } = this.view;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.font = `12px ${style.fontFamily}`;
    context.textAlign = "center";
    context.lineWidth = 3;
    context.strokeStyle = halo;
    context.lineJoin = "round";
    const taken = [];
    const wanted = near ? [this.focused, ...near] : this.order();
    for (const index of wanted.slice(0, 160)) {
      const node = this.nodes[index];
      const [px, py] = [node.x * scale + x, node.y * scale + y + node.radius * scale + 13];
      if (px < -60 || py < 0 || px > this.size.width + 60 || py > this.size.height + 20) continue;
      const name = node.name.length > 28 ? `${node.name.slice(0, 27)}…` : node.name;
      const half = context.measureText(name).width / 2 + 4;
      const box = [px - half, py - 11, px + half, py + 4];
      if (index !== this.focused && taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1])) continue;
      taken.push(box);
      context.globalAlpha = 1;
      context.fillStyle = text;
      context.strokeText(name, px, py);
      context.fillText(name, px, py);
    }
  }

  order() {
    this.sorted ??= this.nodes.map((_, index) => index).sort((a, b) => this.nodes[b].radius - this.nodes[a].radius);
    return this.sorted;
  }
}
