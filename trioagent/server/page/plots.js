// Plots over time: one small uPlot each, in the page's own colours.

import uPlot from "uplot";
import { count, duration, el, short } from "./dom.js";

const HEIGHT = 120;

// Keeps its plots while the numbers change. `specifications`: [{ title, series: [{ key, label, colour }], shown }]
export class Plots {
  constructor(specifications) {
    this.specifications = specifications;
    this.plots = [];
    this.element = el(
      "div.plots",
      {},
      specifications.map((specification) => {
        const place = el("div.plot-place", {});
        const value = el("span.value", {});
        this.plots.push({ specification, place, value, plot: null });
        return el("figure.plot", {}, el("figcaption", {}, specification.title, value), place);
      }),
    );
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.element);
    this.repaint = () => this.rebuild();
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.scheme.addEventListener("change", this.repaint);
    addEventListener("theme", this.repaint);
  }

  leave() {
    this.observer.disconnect();
    this.scheme.removeEventListener("change", this.repaint);
    removeEventListener("theme", this.repaint);
    this.plots.forEach(({ plot }) => plot?.destroy());
  }

  // `columns`: lists of numbers by key, all as long as `columns.seconds`.
  update(columns) {
    this.columns = columns;
    for (const each of this.plots) {
      const data = [columns.seconds, ...each.specification.series.map(({ key }) => columns[key])];
      const last = each.specification.series.map(({ key, label }) => {
        const value = columns[key].findLast((number) => number !== null);
        const shown = value === undefined ? "–" : (each.specification.shown ?? short)(value);
        return each.specification.series.length > 1 ? `${shown} ${label}` : shown;
      });
      each.value.textContent = last.join(", ");
      if (each.plot) each.plot.setData(data);
      else this.build(each, data);
    }
  }

  rebuild() {
    for (const each of this.plots) {
      each.plot?.destroy();
      each.plot = null;
    }
    if (this.columns) this.update(this.columns);
  }

  resize() {
    for (const { plot, place } of this.plots) {
      if (plot && place.clientWidth) plot.setSize({ width: place.clientWidth, height: HEIGHT });
    }
  }

  build(each, data) {
    const width = each.place.clientWidth;
    if (!width) return;
    const style = getComputedStyle(this.element);
    const colour = (name) => style.getPropertyValue(name).trim();
    const font = `11px ${style.fontFamily}`;
    const axis = { stroke: colour("--muted"), font, ticks: { show: false }, grid: { stroke: colour("--line"), width: 1 } };
    const options = {
      width,
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      padding: [8, 6, 0, 0],
      scales: { x: { time: false }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
      axes: [
        { ...axis, size: 22, gap: 4, grid: { show: false }, space: 70, values: (_, splits) => splits.map(duration) },
        { ...axis, size: 44, gap: 4, space: 34, values: (_, splits) => splits.map((value) => (each.specification.shown ?? short)(value)) },
      ],
      series: [
        {},
        ...each.specification.series.map(({ label, colour: name }) => ({
          label,
          stroke: colour(name),
          fill: each.specification.series.length === 1 ? `color-mix(in srgb, ${colour(name)} 14%, transparent)` : undefined,
          width: 1.5,
          points: { show: false },
          spanGaps: true,
        })),
      ],
    };
    each.plot = new uPlot(options, data, each.place);
    each.place.firstElementChild.setAttribute("role", "img");
    each.place.firstElementChild.setAttribute("aria-label", `${each.specification.title} over ${count(data[0].length)} moments`);
  }
}
