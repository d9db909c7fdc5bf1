// A memory: its notes as a tree, one of them rendered, search as you type, the graph, and the history.

import { encodePath, get, memoryHref, memoryUrl } from "./api.js";
import { codeBlock } from "./code.js";
import { bytes, count, debounced, el, icon, notice, plural, problem, replace } from "./dom.js";
import { graphView } from "./graph.js";
import { historyView } from "./history.js";
import { VirtualList } from "./list.js";
import { build, scrollTo } from "./markdown.js";

const VIEWS = [
  ["notes", "Notes"],
  ["graph", "Graph"],
  ["history", "History"],
];

// Stays while the route stays within one memory, so that the tree keeps its place.
export class MemoryView {
  constructor(name) {
    this.name = name;
    this.open = new Set([""]);
    this.shown = { path: "", key: "" };
    this.pending = null;
    this.searching = null;
    this.tabs = el("nav.tabs", { "aria-label": "Views of this memory" });
    this.search = el("input", {
      type: "search",
      placeholder: "Search notes",
      "aria-label": "Search notes",
      "aria-keyshortcuts": "/",
      autocomplete: "off",
      spellcheck: false,
      oninput: () => this.searchSoon(),
      onkeydown: (event) => this.searchKey(event),
    });
    this.searchSoon = debounced(120, () => this.runSearch());
    this.tree = new VirtualList({
      label: "Notes",
      role: "tree",
      rowHeight: 28,
      draw: (index, row) => this.drawRow(index, row),
      open: (index) => this.openRow(index),
      key: (event, index) => this.treeKey(event, index),
    });
    this.hits = el("div.hits", { hidden: true, "aria-live": "polite" });
    this.summary = el("p.quiet.summary", {});
    this.content = el("div.content", { tabIndex: -1 });
    this.element = el(
      "div.memory",
      {},
      el(
        "aside.side",
        { "aria-label": "Notes of this memory" },
        el("div.search", {}, icon("search"), this.search, el("kbd", { "aria-hidden": "true" }, "/")),
        this.tree.element,
        this.hits,
        this.summary,
      ),
      el("section.pane", { "aria-label": "Memory" }, this.tabs, this.content),
    );
    this.loadTree();
  }

  // `view` is one of VIEWS, `rest` what follows it in the address, `query` the parameters.
  show(view, rest, query) {
    replace(
      this.tabs,
      VIEWS.map(([key, label]) =>
        el("a", { href: memoryHref(this.name, key), "aria-current": key === view ? "page" : undefined }, label),
      ),
    );
    this.view = view;
    this.stop?.();
    this.stop = null;
    const key = `${view}/${rest}`;
    if (view === "graph") this.stop = graphView(this.content, this.name, query.get("cluster") ?? "");
    else if (view === "history") this.stop = historyView(this.content, this.name, query.get("path") ?? "", () => this.changed());
    else if (this.shown.key === key && this.article?.isConnected) this.scroll(query);
    else this.loadNote(rest, query);
    this.shown = { path: view === "notes" ? rest : "", key };
  }

  leave() {
    this.stop?.();
    this.pending?.abort();
    this.searching?.abort();
  }

  // Something may have changed notes: a restore, or a chat.
  changed() {
    this.shown.key = "";
    this.loadTree();
  }

  async loadTree() {
    try {
      const found = await get(memoryUrl(this.name, "tree"));
      this.notes = found.notes;
      this.summary.textContent = `${plural(found.notes.length, "file")}, ${bytes(found.bytes)}`;
      this.root = nested(found.notes);
      this.flatten();
      if (this.view === "notes" && !this.shown.path) this.loadNote("", new URLSearchParams());
    } catch (error) {
      replace(this.summary, error.message);
    }
  }

  flatten() {
    this.rows = [];
    const walk = (folder, level) => {
      folder.entries.forEach((entry, place) => {
        this.rows.push({ ...entry, level, place: place + 1, size: folder.entries.length });
        if (entry.entries && this.open.has(entry.path)) walk(entry, level + 1);
      });
    };
    if (this.root) walk(this.root, 1);
    this.tree.update(this.rows.length);
    this.markShown();
  }

  markShown() {
    const index = this.rows?.findIndex((row) => !row.entries && row.path === this.shown.path) ?? -1;
    if (index >= 0) this.tree.activate(index);
  }

  drawRow(index, row) {
    const entry = this.rows[index];
    const open = entry.entries && this.open.has(entry.path);
    row.setAttribute("aria-level", entry.level);
    row.setAttribute("aria-posinset", entry.place);
    row.setAttribute("aria-setsize", entry.size);
    if (entry.entries) row.setAttribute("aria-expanded", String(open));
    row.style.setProperty("--level", entry.level - 1);
    row.classList.toggle("current", !entry.entries && entry.path === this.shown.path);
    const name = entry.entries ? entry.name : entry.name.replace(/\.md$/, "");
    row.title = entry.path;
    row.append(icon(entry.entries ? (open ? "open" : "folder") : "note"), el("span.name", {}, name));
    if (entry.entries) row.append(el("span.count", {}, count(entry.files)));
  }

  openRow(index) {
    const entry = this.rows[index];
    if (!entry.entries) {
      location.hash = memoryHref(this.name, "notes", entry.path);
      return;
    }
    if (this.open.has(entry.path)) this.open.delete(entry.path);
    else this.open.add(entry.path);
    this.flatten();
    this.tree.activate(index);
  }

  treeKey(event, index) {
    const entry = this.rows?.[index];
    if (!entry) return false;
    const open = this.open.has(entry.path);
    if (event.key === "ArrowRight" && entry.entries && !open) this.openRow(index);
    else if (event.key === "ArrowRight" && entry.entries) this.tree.activate(index + 1);
    else if (event.key === "ArrowLeft" && entry.entries && open) this.openRow(index);
    else if (event.key === "ArrowLeft") {
      let above = index;
      while (above > 0 && this.rows[above].level >= entry.level) above -= 1;
      this.tree.activate(above);
    } else return false;
    return true;
  }

  async loadNote(path, query) {
    this.pending?.abort();
    const { signal } = (this.pending = new AbortController());
    if (!path) {
      path = firstNote(this.notes);
      if (!path) {
        if (this.notes) replace(this.content, emptyMemory(this.name));
        return;
      }
    }
    this.content.setAttribute("aria-busy", "true");
    try {
      const note = await get(memoryUrl(this.name, `notes/${encodePath(path)}`), signal);
      this.shown.path = note.path;
      this.revealInTree(note.path);
      this.showNote(note);
      this.scroll(query);
    } catch (error) {
      if (error.name === "AbortError") return;
      replace(this.content, problem(error, error.status === 404 ? null : () => this.loadNote(path, query)));
    } finally {
      if (!signal.aborted) this.content.removeAttribute("aria-busy");
    }
  }

  revealInTree(path) {
    const parts = path.split("/").slice(0, -1);
    parts.forEach((_, depth) => this.open.add(parts.slice(0, depth + 1).join("/")));
    this.flatten();
  }

  showNote(note) {
    this.article = el("article.note", { "aria-label": note.path }, build(note.body, this.name));
    if (!note.body.length && !note.front_matter.length) this.article.append(el("p.quiet", {}, "This note is empty."));
    const source = el("div.source", { hidden: true }, codeBlock(note.text, ""));
    const toggle = el("button.small", { "aria-pressed": "false" }, "Source");
    toggle.addEventListener("click", () => {
      source.hidden = !source.hidden;
      this.article.hidden = !source.hidden;
      toggle.setAttribute("aria-pressed", String(!source.hidden));
    });
    const parts = note.path.split("/");
    replace(
      this.content,
      el(
        "div.note-page",
        {},
        el(
          "div.note-main",
          {},
          el(
            "header.note-header",
            {},
            el("p.crumbs", {}, parts.slice(0, -1).map((part) => [el("span", {}, part), el("span.slash", {}, "/")])),
            el("h1", {}, parts.at(-1).replace(/\.md$/, "")),
            el(
              "div.actions",
              {},
              toggle,
              el("a.button.small", { href: `${memoryHref(this.name, "history")}?path=${encodeURIComponent(note.path)}` }, "History"),
            ),
          ),
          properties(note),
          this.article,
          source,
          note.cut && el("p.quiet", {}, `Only the beginning is shown; the note has ${bytes(note.bytes)}.`),
        ),
        this.aside(note),
      ),
    );
    this.content.scrollTop = 0;
    document.title = `${parts.at(-1).replace(/\.md$/, "")} · ${this.name}`;
  }

  aside(note) {
    const outgoing = [...new Map(note.links.map((link) => [link.path ?? link.shown, link])).values()];
    const link = (path) => el("a.note-link", { href: memoryHref(this.name, "notes", path) }, path.replace(/\.md$/, ""));
    return el(
      "aside.note-aside",
      { "aria-label": "About this note" },
      linkList("Linked from", note.backlinks.map(link), "No note links here."),
      linkList(
        "Links to",
        outgoing.map((each) => (each.path ? link(each.path) : el("span.missing", { title: each.problem }, each.shown))),
        "It links to no note.",
      ),
      el("dl.facts", {}, el("dt", {}, "Size"), el("dd", {}, bytes(note.bytes)), el("dt", {}, "Version"), el("dd.mono", {}, note.version.slice(0, 12))),
    );
  }

  scroll(query) {
    if (this.article) scrollTo(this.article, { part: query.get("part"), line: Number(query.get("line")) || 0 });
  }

  focusSearch() {
    this.search.focus();
    this.search.select();
  }

  async runSearch() {
    const words = this.search.value.trim();
    this.hits.hidden = !words;
    this.tree.element.hidden = Boolean(words);
    this.searching?.abort();
    if (!words) return;
    const { signal } = (this.searching = new AbortController());
    const named = byName(this.notes ?? [], words);
    try {
      const { hits } = /[\p{L}\p{N}]/u.test(words)
        ? await get(memoryUrl(this.name, `search?limit=40&q=${encodeURIComponent(words)}`), signal)
        : { hits: [] };
      this.showHits(named, hits, words);
    } catch (error) {
      if (error.name !== "AbortError") replace(this.hits, el("p.quiet", {}, error.message));
    }
  }

  showHits(named, hits, words) {
    const href = (path, line) => memoryHref(this.name, "notes", path) + (line ? `?line=${line}` : "");
    replace(
      this.hits,
      named.length > 0 && el("h2", {}, "Notes"),
      named.map((path) => el("a.hit", { href: href(path) }, el("span.path", {}, marked(path.replace(/\.md$/, ""), words)))),
      hits.length > 0 && el("h2", {}, "Lines"),
      hits.map((hit) =>
        el(
          "a.hit",
          { href: href(hit.path, hit.line) },
          el("span.path", {}, hit.path.replace(/\.md$/, ""), el("span.quiet", {}, ` ${hit.line}`)),
          el("span.line", {}, marked(hit.text, words)),
        ),
      ),
      !named.length && !hits.length && el("p.quiet", {}, `Nothing fits “${words}”.`),
    );
  }

  searchKey(event) {
    const links = [...this.hits.querySelectorAll("a")];
    if (event.key === "Escape") {
      this.search.value = "";
      this.runSearch();
    } else if (event.key === "ArrowDown" && links.length && !this.hits.hidden) {
      event.preventDefault();
      links[0].focus();
    } else if (event.key === "Enter" && links.length) {
      location.hash = links[0].getAttribute("href");
    }
  }

  hitKey(event) {
    const links = [...this.hits.querySelectorAll("a")];
    const here = links.indexOf(document.activeElement);
    if (here < 0 || !["ArrowDown", "ArrowUp"].includes(event.key)) return false;
    event.preventDefault();
    const next = event.key === "ArrowDown" ? links[here + 1] : links[here - 1] ?? this.search;
    next?.focus();
    return true;
  }
}

function nested(notes) {
  const root = { path: "", entries: [], files: 0, folders: new Map() };
  for (const { path } of notes) {
    let folder = root;
    const parts = path.split("/");
    parts.slice(0, -1).forEach((name, depth) => {
      folder.files += 1;
      if (!folder.folders.has(name)) {
        const inner = { name, path: parts.slice(0, depth + 1).join("/"), entries: [], files: 0, folders: new Map() };
        folder.folders.set(name, inner);
        folder.entries.push(inner);
      }
      folder = folder.folders.get(name);
    });
    folder.files += 1;
    folder.entries.push({ name: parts.at(-1), path });
  }
  const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
  const sort = (folder) => {
    folder.entries.sort((a, b) => Boolean(b.entries) - Boolean(a.entries) || collator.compare(a.name, b.name));
    folder.folders.forEach(sort);
  };
  sort(root);
  return root;
}

function firstNote(notes) {
  if (!notes?.length) return "";
  return (notes.find(({ path }) => path === "user.md") ?? notes.find(({ path }) => path.endsWith(".md")) ?? notes[0]).path;
}

function byName(notes, words) {
  const wanted = words.toLowerCase().split(/\s+/);
  const fits = notes.filter(({ path }) => wanted.every((word) => path.toLowerCase().includes(word)));
  const stem = (path) => path.split("/").pop().toLowerCase();
  fits.sort((a, b) => Number(stem(b.path).startsWith(wanted[0])) - Number(stem(a.path).startsWith(wanted[0])) || a.path.length - b.path.length);
  return fits.slice(0, 6).map(({ path }) => path);
}

function marked(text, words) {
  const parts = words.split(/\s+/).filter(Boolean).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  if (!parts.length) return text;
  return text.split(new RegExp(`(${parts.join("|")})`, "i")).map((part, place) => (place % 2 ? el("mark", {}, part) : part));
}

function properties(note) {
  if (note.front_matter_problem) return el("p.warning", {}, icon("warning"), note.front_matter_problem);
  if (!note.front_matter.length) return null;
  return el(
    "dl.properties",
    {},
    note.front_matter.map(({ name, value }) => el("div", {}, el("dt", {}, name), el("dd", {}, value || "–"))),
  );
}

function linkList(title, items, nothing) {
  return el(
    "section",
    {},
    el("h2", {}, title, items.length > 0 && el("span.count", {}, count(items.length))),
    items.length ? el("ul.plain", {}, items.map((item) => el("li", {}, item))) : el("p.quiet", {}, nothing),
  );
}

function emptyMemory(name) {
  return notice(
    "Nothing is written here yet",
    "Notes appear as soon as an agent keeps something.",
    el("a.button", { href: `#/chat/${encodeURIComponent(name)}` }, "Open a chat"),
  );
}
