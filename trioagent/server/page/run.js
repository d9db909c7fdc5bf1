// A run: where it stands, its numbers over time, its jobs as a list of any length, one job's transcript, and why jobs failed.

import { encodePath, get, request, runHref, runUrl } from "./api.js";
import { changeView, resultView } from "./chat.js";
import { codeBlock } from "./code.js";
import { Evaluation } from "./evaluation.js";
import { append, count, debounced, duration, el, icon, notice, plural, problem, replace, short } from "./dom.js";
import { VirtualList } from "./list.js";
import { Plots } from "./plots.js";

const PAGE = 200;
const EVERY = 1000; // milliseconds between two looks at a run that goes on
const STATES = [
  ["", "All"],
  ["done", "Done"],
  ["failed", "Failed"],
  ["running", "Open"],
  ["no_reply", "No reply"],
];
const WRONG = ["wrong", "Wrong"]; // of an evaluation
const WORDS = { done: "done", failed: "failed", running: "open" };
const ENDINGS = {
  "": "finished all jobs",
  asked: "was interrupted",
  budget: "used up its budget",
  outage: "stopped: a model's server was unavailable",
  quota: "stopped: money or an allowance was used up",
  refused: "stopped: the model's server refused everything",
  disk: "stopped: the disk was full",
  limit: "ran as many jobs as it was allowed to",
  cancelled: "was cancelled, or ended with an error",
};
const PLOTS = [
  { title: "Jobs ended", series: [{ key: "done", label: "done", colour: "--good" }, { key: "failed", label: "failed", colour: "--bad" }] },
  { title: "Jobs per minute", series: [{ key: "rate", label: "", colour: "--accent" }] },
  { title: "In flight", series: [{ key: "in_flight", label: "requests", colour: "--accent" }, { key: "held", label: "held", colour: "--warn" }] },
  { title: "Tokens", series: [{ key: "tokens", label: "", colour: "--accent" }] },
  { title: "Cost", series: [{ key: "cost", label: "", colour: "--accent" }], shown: (value) => (value >= 100 ? short(value) : value.toPrecision(2)) },
];

export class RunView {
  constructor(name) {
    this.name = name;
    this.filter = { state: "", cause: "", contains: "" };
    this.pages = new Map();
    this.total = 0;
    this.head = el("header.run-head", {});
    this.control = null; // what the run said when it was last asked to do something
    this.said = el("p.warning", { role: "alert" });
    this.plots = new Plots(PLOTS);
    this.evaluation = new Evaluation(name);
    this.graded = false;
    this.find = el("input", {
      type: "search",
      placeholder: "Find a job by its id",
      "aria-label": "Find a job by its id",
      "aria-keyshortcuts": "/",
      autocomplete: "off",
      spellcheck: false,
      oninput: debounced(150, () => this.setFilter({ contains: this.find.value.trim() })),
    });
    this.filters = el("div.segments", { role: "group", "aria-label": "State" });
    this.chosen = el("span", {});
    this.list = new VirtualList({
      label: "Jobs",
      role: "listbox",
      rowHeight: 36,
      draw: (index, row) => this.drawRow(index, row),
      open: (index) => this.openRow(index),
      seen: (first, last) => this.fetchPages(first, last),
    });
    this.listed = el("p.quiet.summary", { role: "status" });
    this.causes = el("section.causes", { "aria-label": "Failures by cause" });
    this.detail = el("section.job", { "aria-label": "Job", tabIndex: -1 });
    this.element = el(
      "div.run.coming", // until it is known what is above the jobs
      {},
      this.head,
      this.plots.element,
      this.evaluation.element,
      el(
        "div.run-body",
        {},
        el(
          "section.jobs",
          { "aria-label": "Jobs" },
          el("div.bar", {}, this.filters, el("div.search", {}, icon("search"), this.find, el("kbd", { "aria-hidden": "true" }, "/")), this.chosen),
          this.list.element,
          this.listed,
        ),
        el("div.run-side", {}, this.causes, this.detail),
      ),
    );
    this.drawFilters();
    this.refresh();
    this.reload();
  }

  show(_, job) {
    if (job) this.showJob(job);
    else this.closeJob();
  }

  leave() {
    this.left = true;
    clearTimeout(this.timer);
    this.plots.leave();
    this.looking?.abort();
  }

  escape() {
    if (this.job) location.hash = runHref(this.name);
  }

  focusSearch() {
    this.find.focus();
    this.find.select();
  }

  async refresh() {
    try {
      const [run, series] = await Promise.all([get(runUrl(this.name)), get(runUrl(this.name, "series"))]);
      if (this.left) return;
      await this.ask(run);
      if (this.left) return;
      this.drawHead(run);
      this.plots.update(withRate(series));
      const ended = (run.counts.done ?? 0) + (run.counts.failed ?? 0);
      if (this.ended !== undefined && ended !== this.ended) this.reload(true);
      this.ended = ended;
      if (!this.run || this.run.counts.failed !== run.counts.failed) this.loadCauses();
      if (run.graded && (this.graded === false || ended !== this.graded)) await this.showGrades(ended);
      this.run = run;
      this.plots.element.hidden = series.seconds.length < 2;
      this.element.classList.remove("coming");
      if (run.running) this.again();
    } catch (error) {
      if (this.left) return;
      this.element.classList.remove("coming");
      replace(this.head, problem(error, () => this.refresh()));
    }
  }

  async showGrades(ended) {
    const first = this.graded === false;
    this.graded = ended;
    await this.evaluation.refresh();
    this.element.classList.add("graded");
    if (!first) return;
    this.drawFilters();
    this.reload(true); // rows have scores now
  }

  // What `trioagent ctl` can do as well.
  async command(body) {
    try {
      this.control = (await request("POST", runUrl(this.name, "control"), { body })).body;
      replace(this.said);
      this.drawHead(this.run);
    } catch (error) {
      replace(this.said, icon("warning"), error.message);
    }
  }

  // A run that takes no commands is shown without buttons.
  async ask(run) {
    const before = this.control?.running.includes(this.job);
    try {
      const body = { do: "status" };
      this.control = run.takes_commands ? (await request("POST", runUrl(this.name, "control"), { body })).body : null;
    } catch {
      this.control = null; // it has just ended
    }
    if (this.job && before !== this.control?.running.includes(this.job)) this.showJob(this.job);
  }

  controls() {
    if (!this.control) return null;
    const { paused, progress } = this.control;
    if (progress.stopping) return el("p.quiet", {}, "It is stopping.");
    const button = (label, command) => el("button.small", { onclick: () => this.command({ do: command }) }, label);
    return el("div.actions", {}, paused ? button("Go on", "resume") : button("Pause", "pause"), button("Stop", "stop"));
  }

  jobControls(job) {
    if (!this.control) return null;
    const button = (label, command) => el("button.small", { onclick: () => this.command({ do: command, job: job.id }) }, label);
    if (job.state === "running" && this.control.running.includes(job.id)) return button("Cancel it", "cancel");
    return job.state === "failed" ? button("Run it again", "put_back") : null;
  }

  again() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => (document.hidden ? this.again() : this.refresh()), EVERY);
  }

  drawHead(run) {
    const { counts, last } = run;
    const progress = run.running ? last?.progress : null;
    const [done, failed, open] = [counts.done ?? 0, counts.failed ?? 0, counts.running ?? 0];
    const total = last?.progress?.total ?? null;
    const figure = (label, value, more) => el("div.figure", {}, el("dt", {}, label), el("dd", {}, value, more && el("span.quiet", {}, ` ${more}`)));
    const rate = progress && progress.seconds > 0 ? ((progress.done + progress.failed) / progress.seconds) * 60 : null;
    replace(
      this.head,
      el("div.title", {}, el("h1", {}, this.name), el("p.state-line", { class: run.running ? "live" : "" }, el("span.dot", { "aria-hidden": "true" }), stateWords(run), this.control?.paused && " · paused"), el("span.grow", {}), this.controls()),
      this.said,
      el(
        "dl.figures",
        {},
        figure("Done", count(done), total !== null && `of ${count(total)}`),
        figure("Failed", count(failed)),
        figure(run.running ? "Running" : "To go on with", count(open)),
        rate !== null && figure("Per minute", short(rate)),
        progress && figure("In flight", count(progress.endpoints.reduce((sum, each) => sum + each.in_flight, 0))),
        figure("Tokens", short(run.tokens)),
        figure("Cost", run.cost ? run.cost.toPrecision(3) : "–"),
        progress?.eta_seconds != null && figure("Time left", duration(progress.eta_seconds)),
      ),
      bar({ done, failed, open, total }),
      progress?.outages.length > 0 &&
        progress.outages.map((outage) => el("p.warning", { role: "status" }, icon("warning"), `Held: ${outageWords(outage)}`)),
      progress?.last_error && el("p.quiet", {}, `Last error, ${duration(progress.last_error_seconds)} ago: ${progress.last_error}`),
      progress?.nodes?.length > 0 && el("p.quiet", {}, `Workers: ${nodeWords(progress.nodes)}`),
      progress && Object.keys(progress.states).length > 0 && el("p.quiet", {}, Object.entries(progress.states).map(([state, number]) => `${count(number)} ${state}`).join(" · ")),
    );
  }

  drawFilters() {
    replace(
      this.filters,
      (this.graded === false ? STATES : [...STATES, WRONG]).map(([state, label]) =>
        el("button", { "aria-pressed": String(this.filter.state === state), onclick: () => this.setFilter({ state, cause: "" }) }, label),
      ),
    );
    replace(
      this.chosen,
      this.filter.cause && el("button.chip", { onclick: () => this.setFilter({ cause: "" }), "aria-label": `Remove the filter ${this.filter.cause}` }, this.filter.cause, icon("close")),
    );
  }

  setFilter(change) {
    this.filter = { ...this.filter, ...change };
    this.drawFilters();
    this.list.element.scrollTop = 0;
    this.list.active = -1;
    this.reload();
    this.markCause();
  }

  // Reads the rows again; with `quietly` those that are shown stay until the new ones are there.
  async reload(quietly = false) {
    this.looking?.abort();
    this.looking = new AbortController();
    const pages = new Map();
    const first = quietly ? Math.floor(this.list.element.scrollTop / 36 / PAGE) * PAGE : 0;
    try {
      const page = await this.fetchPage(first, this.looking.signal);
      pages.set(first, page.rows);
      this.pages = pages;
      this.total = page.total;
      this.list.update(page.total);
      this.listed.textContent = page.total ? plural(page.total, "job") : "No job fits the filters.";
      this.markShown();
    } catch (error) {
      if (error.name !== "AbortError") replace(this.listed, error.message);
    }
  }

  fetchPage(offset, signal) {
    const query = new URLSearchParams({ offset, limit: PAGE });
    for (const [key, value] of Object.entries(this.filter)) if (value) query.set(key, value);
    return get(runUrl(this.name, `jobs?${query}`), signal);
  }

  async fetchPages(first, last) {
    for (let offset = Math.floor(first / PAGE) * PAGE; offset < Math.min(last, this.total); offset += PAGE) {
      if (this.pages.has(offset)) continue;
      const pages = this.pages;
      pages.set(offset, null); // on its way
      try {
        const { rows } = await this.fetchPage(offset, this.looking?.signal);
        pages.set(offset, rows);
        if (pages === this.pages) rows.forEach((_, index) => this.list.redraw(offset + index));
      } catch {
        pages.delete(offset);
      }
    }
  }

  row(index) {
    return this.pages.get(Math.floor(index / PAGE) * PAGE)?.[index % PAGE];
  }

  drawRow(index, element) {
    const job = this.row(index);
    if (!job) {
      element.append(el("span.placeholder", { "aria-label": "Loading" }));
      return;
    }
    element.classList.toggle("current", job.id === this.job);
    const silent = job.no_reply && job.state === "done";
    const wrong = job.score !== null && job.score < 0.5;
    append(element, [
      el("span.dot", { class: wrong || silent ? "no-reply" : job.state, "aria-hidden": "true" }),
      el("span.id", { title: job.id }, job.id),
      el("span.what", { title: job.reason || job.message }, job.reason || (job.state === "failed" ? job.cause || "failed" : silent ? "no reply" : WORDS[job.state])),
      this.graded !== false && el("span.number", {}, job.score === null ? "" : job.score.toFixed(2)),
      el("span.number", {}, job.attempts > 1 ? plural(job.attempts, "attempt") : ""),
      el("span.number", {}, job.tokens ? `${short(job.tokens)} tok` : ""),
    ]);
  }

  openRow(index) {
    const job = this.row(index);
    if (job) location.hash = runHref(this.name, `jobs/${encodePath(job.id)}`);
  }

  markShown() {
    for (const [index, element] of this.list.rows) element.classList.toggle("current", this.row(index)?.id === this.job);
  }

  async loadCauses() {
    try {
      const { causes } = await get(runUrl(this.name, "failures"));
      if (this.left) return;
      const all = causes.reduce((sum, cause) => sum + cause.count, 0);
      replace(
        this.causes,
        el("h2", {}, "Failures by cause"),
        !causes.length && el("p.quiet", {}, "No job has failed."),
        el(
          "ul.plain",
          {},
          causes.map((cause) =>
            el(
              "li",
              {},
              el(
                "button.cause",
                { onclick: () => this.setFilter({ state: "failed", cause: cause.cause }), "aria-pressed": "false" },
                el("span.name", {}, cause.cause || "unknown"),
                el("span.count", {}, count(cause.count)),
                el("span.share", { "aria-hidden": "true", style: { width: `${Math.max(1, (100 * cause.count) / all)}%` } }),
                el("span.message", {}, cause.message),
              ),
            ),
          ),
        ),
      );
      this.markCause();
    } catch (error) {
      replace(this.causes, problem(error, () => this.loadCauses()));
    }
  }

  markCause() {
    for (const button of this.causes.querySelectorAll(".cause")) {
      button.setAttribute("aria-pressed", String(button.querySelector(".name").textContent === this.filter.cause));
    }
  }

  closeJob() {
    this.job = null;
    this.detail.hidden = true;
    this.causes.hidden = false;
    this.markShown();
  }

  async showJob(id) {
    this.job = id;
    this.markShown();
    try {
      const job = await get(runUrl(this.name, `jobs/${encodePath(id)}`));
      if (this.job !== id) return;
      replace(this.detail, jobHead(job, this.name, this.jobControls(job)), transcript(job));
    } catch (error) {
      replace(this.detail, problem(error, () => this.showJob(id)));
    }
    this.detail.hidden = false;
    this.causes.hidden = true;
    this.detail.scrollTop = 0;
  }
}

function withRate(series) {
  const ended = series.seconds.map((_, index) => series.done[index] + series.failed[index]);
  const rate = series.seconds.map((seconds, index) => {
    let before = index;
    while (before > 0 && seconds - series.seconds[before] < 20) before -= 1; // over some seconds: jobs end in bursts
    const passed = seconds - series.seconds[before];
    return passed > 0 ? Math.max(0, ((ended[index] - ended[before]) / passed) * 60) : null;
  });
  return { ...series, rate };
}

function stateWords(run) {
  if (run.running) return run.last ? `runs on ${run.last.model}` : "runs";
  if (run.report?.shards) return "merged shards"; // and no run of its own
  if (!run.last) return "was killed before it had begun";
  const when = new Date(run.last.written * 1000).toLocaleString();
  if (!run.last.ended) return `was killed, ${when}`;
  return `${ENDINGS[run.report?.stopped ?? "cancelled"] ?? run.report.stopped}, ${when}`;
}

function outageWords(outage) {
  return `${outage.name}, for ${duration(outage.seconds)}: ${outage.problem}`;
}

function nodeWords(nodes) {
  const working = nodes.filter((node) => ["working", "silent"].includes(node.state));
  const gone = nodes.filter((node) => ["lost", "refused"].includes(node.state));
  const each = working.slice(0, 8).map((node) => `${node.node} ${count(node.running)} under way${node.state === "silent" ? ", silent" : ""}`);
  if (working.length > 8) each.push(`${count(working.length - 8)} more`);
  if (gone.length) each.push(`${count(gone.length)} lost or refused, the last: ${gone.at(-1).problem}`);
  return each.join(" · ");
}

function bar({ done, failed, open, total }) {
  const whole = Math.max(total ?? 0, done + failed + open) || 1;
  const part = (number, name) => el(`span.${name}`, { style: { width: `${(100 * number) / whole}%` } });
  const words = `${count(done)} done, ${count(failed)} failed, ${count(open)} open${total === null ? "" : ` of ${count(total)}`}`;
  return el("div.progress", { role: "img", "aria-label": words }, part(done, "done"), part(failed, "failed"), part(open, "open"));
}

function jobHead(job, run, controls) {
  const usage = job.usage;
  const facts = [
    job.no_reply ? "no reply" : WORDS[job.state],
    plural(job.attempts, "attempt"),
    usage && plural(usage.prompt_tokens + usage.completion_tokens, "token"),
    usage?.cost > 0 && `cost ${usage.cost.toPrecision(3)}`,
  ].filter(Boolean);
  return el(
    "header.job-head",
    {},
    el("div", {}, el("h2", {}, job.id), el("a.quiet-button", { href: runHref(run), "aria-label": "Close the job" }, icon("close"))),
    el("p.quiet", {}, facts.join(" · ")),
    controls && el("div.actions", {}, controls),
    job.error && errorView(job.error),
    job.grade && gradeView(job.grade),
    waits(job.outcome.seconds_by_state),
    Object.keys(job.metadata).length > 0 && facets("Metadata", job.metadata),
    Object.keys(job.outcome).length > 0 && facets("More of the outcome", job.outcome),
  );
}

function gradeView(grade) {
  const right = grade.score >= 0.5;
  const line = (label, text) => text && [el("dt", {}, label), el("dd", {}, text)];
  return el(
    "div.grade-box",
    { role: "group", "aria-label": "Grade", class: right ? "right" : "wrong" },
    el("strong", {}, `Score ${grade.score.toFixed(2)}`),
    el("p", {}, grade.reason),
    el("dl", {}, line("Category", grade.category), line("Expected", grade.expected), line("Reply", grade.reply || "none"), line("Graded by", grade.graded_by)),
    grade.changes.length > 0 && el("details", { open: true }, el("summary", {}, `What it did to the notes: ${plural(grade.changes.length, "note")}`), grade.changes.map((change) => changeView(null, change))),
    Object.keys(grade.notes).length > 0 &&
      el("details", {}, el("summary", {}, `${plural(Object.keys(grade.notes).length, "note")} before`), Object.entries(grade.notes).map(([path, text]) => el("div", {}, el("p.label", {}, path), el("pre.output", { tabIndex: 0, role: "region", "aria-label": path }, text)))),
  );
}

function errorView(error) {
  return el(
    "div.error-box",
    { role: "group", "aria-label": "Why it failed" },
    el("strong", {}, error.type),
    el("p", {}, error.message),
    error.fields && facets("Fields", error.fields),
    error.traceback && el("details", {}, el("summary", {}, "Traceback"), el("pre.output", { tabIndex: 0 }, error.traceback)),
  );
}

function waits(seconds) {
  if (!seconds) return null;
  const parts = Object.entries(seconds).filter(([, value]) => value > 0);
  return el("p.quiet", {}, parts.map(([state, value]) => `${state} ${duration(value)}`).join(" · "));
}

function facets(title, values) {
  return el("details", {}, el("summary", {}, title), el("pre.output", { tabIndex: 0 }, JSON.stringify(values, null, 2)));
}

function transcript(job) {
  let attempt = null;
  const parts = [];
  for (const entry of job.entries) {
    if (entry.attempt && entry.attempt !== attempt) {
      attempt = entry.attempt;
      if (job.attempts > 1) parts.push(el("h3.attempt", {}, `Attempt ${attempt}`));
    }
    parts.push(entryView(entry));
  }
  if (!parts.length) parts.push(notice("Nothing is kept of this job", job.state === "running" ? "Its first answer is on its way." : "Its conversation was dropped."));
  if (job.left_out) parts.push(el("p.quiet", {}, `${plural(job.left_out, "more entry", "more entries")}`));
  if (job.last_response) parts.push(el("div.answer", {}, el("p.label", {}, "The last thing the model said"), el("div.reply.odd", {}, job.last_response)));
  return el("div.transcript", {}, parts);
}

function entryView(entry) {
  switch (entry.kind) {
    case "said":
      if (entry.role === "user") return el("div.said", {}, entry.text);
      if (entry.role === "system") return el("details.thoughts", {}, el("summary", {}, "System prompt"), el("p.thought", {}, entry.text));
      return el(
        "div.answer",
        {},
        el("pre.output", { tabIndex: 0, role: "region", "aria-label": "Result" }, entry.text.replace(/^<result>\n?|\n?<\/result>$/g, "")),
        changeViews(entry),
      );
    case "answer":
      return el(
        "div.answer",
        {},
        entry.thoughts && el("details.thoughts", {}, el("summary", {}, "Thoughts"), el("p.thought", {}, entry.thoughts)),
        entry.code && el("div.block", {}, el("p.label", {}, "Code"), codeBlock(entry.code, "python")),
        entry.reply && el("div.reply", {}, entry.reply),
        entry.partial && el("div.reply.odd", {}, entry.partial, el("p.quiet", {}, "The answer was cut here.")),
        entry.text && el("div.reply.odd", {}, entry.text),
        el("p.facts-line", {}, answerFacts(entry)),
      );
    case "result":
      return el("div.answer", {}, resultView(entry), changeViews(entry));
    case "wait":
      return waitView(entry);
    case "end":
      return endView(entry);
    default:
      return facets("Journaled", entry.body);
  }
}

function changeViews(entry) {
  const more = entry.more_changes > 0 && el("p.quiet", {}, `${plural(entry.more_changes, "changed note")} ${entry.more_changes === 1 ? "is" : "are"} not named.`);
  return [entry.changes.map((change) => changeView(null, change)), more];
}

function endView(entry) {
  const more = entry.left_out > 0 && ` ${plural(entry.left_out, "more entry", "more entries")} of it ${entry.left_out === 1 ? "is" : "are"} not kept.`;
  return el("p.wait", {}, icon("undo"), el("span", {}, el("strong", {}, entry.reason ? "It did not end well" : "It was begun again"), entry.reason && `: ${entry.reason}`, more));
}

const WAITED = {
  retrying: "before it was tried again",
  held: "for the server, or for room on the disk",
  rate: "for the rate limit",
};

function waitView(entry) {
  const when = new Date(entry.began * 1000);
  return el(
    "p.wait",
    { title: when.toLocaleString() },
    icon("history"),
    el("span", {}, el("strong", {}, `Waited ${duration(entry.seconds)}`), ` ${WAITED[entry.state] ?? entry.state}`, entry.cause && `: ${entry.cause}`),
  );
}

function answerFacts(entry) {
  const repairs = Object.entries(entry.repairs).map(([name, number]) => `${name.replaceAll("_", " ")}${number > 1 ? ` ×${number}` : ""}`);
  return [entry.tokens && plural(entry.tokens, "token"), entry.finish_reason && `finish reason ${entry.finish_reason}`, repairs.length > 0 && `repaired: ${repairs.join(", ")}`]
    .filter(Boolean)
    .join(" · ");
}
