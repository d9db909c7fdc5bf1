// What became of a memory's notes: revisions as a timeline, what each changed, and bringing a note back.

import { encodePath, get, memoryHref, memoryUrl, request } from "./api.js";
import { diffView, parseUnified } from "./code.js";
import { el, icon, notice, plural, problem, replace } from "./dom.js";

const PAGE = 50;
const KINDS = { agent: "Agent", external: "Edited outside", baseline: "First state", restore: "Restored", undo: "Taken back" };

// Fills `place` with the history of a memory, or of one note; returns what ends it.
export function historyView(place, memory, path, changed) {
  const controller = new AbortController();
  const { signal } = controller;
  const list = el("ol.timeline", {});
  const more = el("button", { hidden: true, onclick: () => load(list.lastElementChild?.dataset.id) }, "Older");
  const detail = el("section.detail", { "aria-label": "What the revision changed", "aria-live": "polite" });
  replace(place, el("p.quiet.loading", {}, "Reading the history…"));
  load("");
  return () => controller.abort();

  async function load(before) {
    const query = new URLSearchParams({ limit: PAGE });
    if (path) query.set("path", path);
    if (before) query.set("before", before);
    try {
      const { revisions } = await get(memoryUrl(memory, `history?${query}`), signal);
      if (!before && !revisions.length) {
        const words = path ? "No revision has changed this note." : "Revisions appear with the first change that an agent makes while a history is kept.";
        replace(place, notice("No history yet", words));
        return;
      }
      if (!before) {
        replace(list);
        replace(
          place,
          path &&
            el("p.filter", {}, "History of ", el("a.note-link", { href: memoryHref(memory, "notes", path) }, path), " · ", el("a", { href: memoryHref(memory, "history") }, "all notes")),
          el("div.history", {}, el("div.timeline-side", {}, list, more), detail),
        );
      }
      list.append(...days(revisions, list.lastElementChild?.dataset.day));
      more.hidden = revisions.length < PAGE;
      if (!before) show(revisions[0]);
    } catch (error) {
      if (error.name !== "AbortError") replace(place, problem(error, () => load(before)));
    }
  }

  function days(revisions, day) {
    return revisions.map((revision) => {
      const when = new Date(revision.time * 1000);
      const today = when.toLocaleDateString(undefined, { dateStyle: "medium" });
      const item = el(
        "li",
        {},
        today !== day && el("h2.day", {}, today),
        el(
          "button.revision",
          { onclick: () => show(revision), class: revision.kind },
          el("span.time", {}, when.toLocaleTimeString(undefined, { timeStyle: "short" })),
          el("span.what", {}, revision.said || KINDS[revision.kind]),
          el("span.quiet", {}, [revision.author, plural(revision.notes, "note")].filter(Boolean).join(" · ")),
        ),
      );
      item.dataset.id = revision.id;
      item.dataset.day = today;
      day = today;
      return item;
    });
  }

  async function show(revision) {
    for (const item of list.children) {
      item.querySelector("button").setAttribute("aria-current", item.dataset.id === revision.id ? "true" : "false");
    }
    const query = new URLSearchParams({ at: revision.id });
    if (path) query.set("path", path);
    detail.setAttribute("aria-busy", "true");
    try {
      const diff = revision.kind === "baseline" ? { text: "" } : await get(memoryUrl(memory, `diff?${query}`), signal);
      replace(detail, heading(revision), parseUnified(diff.text).map((file) => fileChange(revision, file)), unlisted(revision, diff));
    } catch (error) {
      if (error.name !== "AbortError") replace(detail, problem(error, () => show(revision)));
    }
    detail.removeAttribute("aria-busy");
  }

  function heading(revision) {
    const facts = [
      KINDS[revision.kind],
      revision.author,
      revision.job && `job ${revision.job}`,
      revision.turn > 0 && `message ${revision.turn}`,
    ].filter(Boolean);
    return el(
      "header",
      {},
      el("h2", {}, revision.said || KINDS[revision.kind]),
      el("p.quiet", {}, `${new Date(revision.time * 1000).toLocaleString()} · ${facts.join(" · ")} · `, el("span.mono", {}, revision.id.slice(0, 7))),
    );
  }

  function fileChange(revision, file) {
    return el(
      "section.change",
      {},
      el(
        "h3",
        {},
        el("a.note-link", { href: memoryHref(memory, "notes", file.path) }, file.path),
        el("button.small", { onclick: () => restore(revision, file.path) }, icon("history"), "Restore"),
      ),
      diffView(file.hunks),
    );
  }

  function unlisted(revision, diff) {
    const notes = [];
    if (revision.kind === "baseline") notes.push(`${plural(revision.notes, "note")} as they were before the first change.`);
    if (revision.left_out.length) notes.push(`Too large to be kept: ${revision.left_out.join(", ")}.`);
    if (revision.pruned) notes.push(`${plural(revision.pruned, "older revision")} were dropped for want of room.`);
    if (diff.truncated) notes.push("The changes are too long to be shown whole.");
    return notes.map((text) => el("p.quiet", {}, text));
  }

  async function restore(revision, note) {
    const when = new Date(revision.time * 1000).toLocaleString();
    const sure = await confirm(`Bring ${note} back to what it was after ${when}?`, "What it says now stays in the history.");
    if (!sure) return;
    try {
      // Only what this page has seen is replaced; a note that is gone is made again.
      const now = await request("GET", memoryUrl(memory, `notes/${encodePath(note)}`)).catch((error) => {
        if (error.status === 404) return null;
        throw error;
      });
      const headers = now?.body.path === note ? { "If-Match": now.version } : { "If-None-Match": "*" };
      await request("POST", memoryUrl(memory, "restore"), { body: { path: note, at: revision.id }, headers });
      changed();
      load("");
    } catch (error) {
      replace(detail, problem(error, () => show(revision)));
    }
  }
}

function confirm(question, words) {
  return new Promise((resolve) => {
    const dialog = el(
      "dialog.confirm",
      { "aria-label": question, onclose: () => (resolve(dialog.returnValue === "yes"), dialog.remove()) },
      el("h2", {}, question),
      el("p.quiet", {}, words),
      el("form.actions", { method: "dialog" }, el("button", { value: "no" }, "Leave it"), el("button.primary", { value: "yes" }, "Restore")),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}
