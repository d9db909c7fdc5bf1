// An evaluation: accuracy by category with its 95 % interval, and the difference to another one on the same samples.

import { get, runUrl } from "./api.js";
import { count, el, icon, plural, replace, svg } from "./dom.js";

const percent = (value) => `${(100 * value).toFixed(1)} %`;
const points = (value) => `${value < 0 ? "−" : "+"}${Math.abs(100 * value).toFixed(1)}`;
const probability = (value) => (value < 0.001 ? "< 0.001" : value.toPrecision(2));

export class Evaluation {
  constructor(name) {
    this.name = name;
    this.other = "";
    this.scores = el("div.scores", {});
    this.difference = el("div.scores", {});
    this.choice = el("select", { id: "compared", onchange: () => this.compare(this.choice.value) });
    this.chooser = el("p.compared", { hidden: true }, el("label", { for: "compared" }, "Compare with"), this.choice);
    this.title = el("h2", {}, "Accuracy");
    this.element = el("section.evaluation", { "aria-label": "Evaluation", hidden: true }, el("div.evaluation-head", {}, this.title, this.chooser), this.scores, this.difference);
  }

  async refresh() {
    try {
      const found = await get(runUrl(this.name, "evaluation"));
      this.draw(found);
      if (!this.offered) await this.offer(found.suite);
    } catch (error) {
      this.element.hidden = false;
      replace(this.scores, el("p.warning", { role: "alert" }, icon("warning"), error.message));
    }
  }

  draw({ suite, model, baseline, categories, total }) {
    replace(this.title, "Accuracy ", el("span.quiet", {}, [suite, baseline !== "agent" && baseline, model || "no model"].filter(Boolean).join(" · ")));
    const rows = [...categories, total].map((each) => ({
      name: each.category || "no category",
      low: each.low,
      high: each.high,
      value: each.score,
      shown: percent(each.score),
      more: `${percent(each.low)} to ${percent(each.high)}`,
      samples: each.samples,
      last: each.failed ? `${count(each.failed)} failed` : "",
    }));
    replace(this.scores, total.samples ? chart("Accuracy by category", ["Category", "Score", "95 % interval", "Samples", ""], rows, [0, 1], percent) : el("p.quiet", {}, "No sample has been graded yet."));
    this.element.hidden = false;
  }

  // Other evaluations of the same suite, among the runs that are served.
  async offer(suite) {
    const { graded } = await get("/api/runs");
    const others = [];
    for (const run of graded.filter((name) => name !== this.name).slice(0, 50)) {
      if ((await get(runUrl(run, "evaluation"))).suite === suite) others.push(run);
    }
    this.offered = true;
    replace(this.choice, el("option", { value: "" }, "nothing"), others.map((run) => el("option", { value: run }, run)));
    this.chooser.hidden = !others.length;
  }

  async compare(other) {
    this.other = other;
    if (!other) {
      replace(this.difference);
      return;
    }
    // As much room as it will take, at once: what is below moves when the user has chosen, and not later.
    replace(this.difference, el("h3", {}, this.heading(other)), el("div", { style: { height: `${this.scores.clientHeight + 20}px` } }));
    try {
      const found = await get(runUrl(this.name, `evaluation/comparison?${new URLSearchParams({ other })}`));
      if (this.other === other) this.drawDifference(other, found);
    } catch (error) {
      replace(this.difference, el("p.warning", { role: "alert" }, icon("warning"), error.message));
    }
  }

  heading(other) {
    return `${other} minus ${this.name}, in points`;
  }

  drawDifference(other, { total, categories }) {
    const rows = [...Object.entries(categories).sort(), ["all", total]].map(([name, each]) => ({
      name,
      low: each.low,
      high: each.high,
      value: each.difference,
      shown: points(each.difference),
      more: `${points(each.low)} to ${points(each.high)}`,
      samples: each.samples,
      last: `${each.only_first} : ${each.only_second}, p ${probability(each.p_mcnemar)}`,
    }));
    const most = Math.max(0.05, ...rows.map((row) => Math.max(Math.abs(row.low), Math.abs(row.high))));
    replace(
      this.difference,
      el("h3", {}, this.heading(other)),
      chart(`Difference of ${other} and ${this.name} by category`, ["Category", "Difference", "95 % interval", "Samples", "Only one is right, McNemar"], rows, [-most, most], points),
      el("p.quiet", {}, `On ${plural(total.samples, "sample")} that both have: ${percent(total.first)} and ${percent(total.second)}. Paired bootstrap, p ${probability(total.p_bootstrap)}.`),
    );
  }
}

// A table whose second column draws each value as a point on its interval.
function chart(label, [name, value, interval, samples, last], rows, [low, high], shown) {
  const ticks = low < 0 ? [low, 0, high] : [0, 0.25, 0.5, 0.75, 1];
  const at = (number) => (100 * (number - low)) / (high - low);
  const line = (x, more = "") => svg(`line.tick${more}`, { x1: x, x2: x, y1: 0, y2: 28 });
  return el(
    "table.chart",
    {},
    el("caption.unseen", {}, label),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, name), el("th.drawn", { "aria-hidden": "true" }, el("div.axis", {}, ticks.map((tick) => el("span", { style: { left: `${at(tick)}%` } }, shown(tick).replace(/\.0/, ""))))), el("th.number", { scope: "col" }, value), el("th.number", { scope: "col" }, interval), el("th.number", { scope: "col" }, samples), el("th.number", { scope: "col" }, last))),
    el(
      "tbody",
      {},
      rows.map((row) =>
        el(
          `tr${row.name === "all" ? ".all" : ""}`,
          {},
          el("th", { scope: "row" }, row.name),
          el(
            "td.drawn",
            { "aria-hidden": "true" },
            el(
              "div.track",
              {},
              svg(
                "svg.interval",
                { viewBox: "0 0 100 28", preserveAspectRatio: "none" },
                ticks.map((tick) => line(at(tick), tick === 0 && low < 0 ? ".zero" : "")),
                svg("line.whisker", { x1: at(row.low), x2: at(row.high), y1: 14, y2: 14 }),
                svg("line.end", { x1: at(row.low), x2: at(row.low), y1: 9, y2: 19 }),
                svg("line.end", { x1: at(row.high), x2: at(row.high), y1: 9, y2: 19 }),
              ),
              el("span.point", { style: { left: `${at(row.value)}%` } }),
            ),
          ),
          el("td.number", {}, row.shown),
          el("td.number.quiet", {}, row.more),
          el("td.number", {}, count(row.samples)),
          el("td.number.quiet", {}, row.last),
        ),
      ),
    ),
  );
}
