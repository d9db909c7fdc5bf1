// The page: who is signed in, which view is shown, keys that hold everywhere.

import { forgetToken, get, keepToken, memoryHref, runHref, takeToken } from "./api.js";
import { ChatView } from "./chat.js";
import { el, icon, notice, problem, replace } from "./dom.js";
import { MemoryView } from "./memory.js";
import { RunView } from "./run.js";

const KEYS = [
  ["/", "Search notes or jobs"],
  ["g m", "Go to the memory"],
  ["g c", "Go to the chat"],
  ["g r", "Go to the runs"],
  ["↑ ↓", "Move in a list, a tree or the graph"],
  ["← →", "Close and open a folder"],
  ["Enter", "Open what is chosen"],
  ["Esc", "Close, or end a search"],
  ["?", "This list"],
];

const main = document.getElementById("main");
const header = document.getElementById("header");
let view = null;
let served = { memories: [], runs: [] };
let last = { memory: "", run: "" };

async function start() {
  applyTheme(localStorage.getItem("trioagent.theme"));
  const token = takeToken();
  addEventListener("hashchange", () => {
    if (location.hash.startsWith("#token=")) location.reload();
    else route();
  });
  addEventListener("signed-out", () => signIn("That token is not the server's."));
  addEventListener("keydown", keys);
  if (token) await enter();
  else signIn("");
}

async function enter() {
  try {
    const [{ memories }, { runs }] = await Promise.all([get("/api/memories"), get("/api/runs")]);
    served = { memories, runs };
    route();
  } catch (error) {
    if (error.status !== 401) {
      drawHeader("");
      replace(main, problem(error, enter));
    }
  }
}

function signIn(words) {
  forgetToken();
  view?.leave();
  view = null;
  drawHeader("");
  const input = el("input", { type: "password", id: "token", autocomplete: "off", required: true });
  const form = el(
    "form.notice.sign-in",
    {
      onsubmit: (event) => {
        event.preventDefault();
        keepToken(input.value.trim());
        enter();
      },
    },
    el("h1", {}, "Sign in"),
    el("p", {}, words || "Open the link that the server printed when it started, or give its token here."),
    el("label", { for: "token" }, "Token"),
    input,
    el("div.actions", {}, el("button.primary", { type: "submit" }, "Sign in")),
  );
  replace(main, form);
  input.focus();
}

// `#/memory/NAME/VIEW/PATH?QUERY`, `#/chat/NAME`, `#/run/NAME/VIEW/JOB`
function route() {
  const [address, parameters = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [kind, ...rest] = address.split("/").map(decoded);
  const query = new URLSearchParams(parameters);
  if (kind === "memory" && rest[0]) showMemory(rest, query);
  else if (kind === "chat" && rest[0]) showChat(rest[0]);
  else if (kind === "run" && rest[0]) showRun(rest, query);
  else if (served.memories.length === 1 && !served.runs.length) location.replace(memoryHref(served.memories[0]));
  else if (served.runs.length === 1 && !served.memories.length) location.replace(runHref(served.runs[0]));
  else showStart();
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function change(kind, name, make) {
  if (view?.kind === kind && view.name === name) return view;
  view?.leave();
  view = make();
  view.kind = kind;
  view.name = name;
  replace(main, view.element);
  return view;
}

function showMemory([name, kind = "notes", ...path], query) {
  last.memory = name;
  drawHeader("memory");
  document.title = `${name} · trioagent`;
  change("memory", name, () => new MemoryView(name)).show(kind, path.join("/"), query);
}

function showChat(name) {
  last.memory = name;
  drawHeader("chat");
  document.title = `Chat · ${name}`;
  change("chat", name, () => new ChatView(name)).show();
}

function showRun([name, kind = "jobs", ...job], query) {
  last.run = name;
  drawHeader("run");
  document.title = `${name} · trioagent`;
  change("run", name, () => new RunView(name)).show(kind, job.join("/"), query);
}

function showStart() {
  view?.leave();
  view = null;
  drawHeader("");
  document.title = "trioagent";
  const { memories, runs } = served;
  if (!memories.length && !runs.length) {
    replace(main, notice("Nothing is served here", "Start the server on a folder of memories, or on a run directory."));
    return;
  }
  const section = (title, names, href) =>
    names.length > 0 &&
    el("section", {}, el("h2", {}, title), el("ul.cards", {}, names.map((name) => el("li", {}, el("a.card", { href: href(name) }, name)))));
  replace(main, el("div.start", {}, el("h1.unseen", {}, "trioagent"), section("Memories", memories, (name) => memoryHref(name)), section("Runs", runs, (name) => runHref(name))));
}

function drawHeader(current) {
  const memory = last.memory || served.memories[0];
  const run = last.run || served.runs[0];
  const tab = (kind, label, href) => href && el("a", { href, "aria-current": kind === current ? "page" : undefined }, label);
  const picker = current === "run" ? pick(served.runs, run, runHref) : current && pick(served.memories, memory, current === "chat" ? chatHref : memoryHref);
  replace(
    header,
    el("a.brand", { href: "#/", "aria-label": "trioagent, start" }, "trioagent"),
    el(
      "nav.main-nav",
      { "aria-label": "Main" },
      tab("memory", "Memory", memory && memoryHref(memory)),
      tab("chat", "Chat", memory && chatHref(memory)),
      tab("run", "Runs", run && runHref(run)),
    ),
    picker,
    el("span.grow", {}),
    el("button.quiet-button", { onclick: showKeys, "aria-label": "Keyboard shortcuts", title: "Keyboard shortcuts (?)" }, icon("keyboard")),
    el("button.quiet-button", { onclick: toggleTheme, "aria-label": "Dark or light", title: "Dark or light" }, icon(isDark() ? "sun" : "moon")),
  );
}

const chatHref = (name) => `#/chat/${encodeURIComponent(name)}`;

function pick(names, current, href) {
  if (names.length < 2) return el("span.picked", {}, current);
  return el(
    "select",
    { "aria-label": "Choose", onchange: (event) => (location.hash = href(event.target.value)) },
    names.map((name) => el("option", { value: name, selected: name === current }, name)),
  );
}

const isDark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

function applyTheme(theme) {
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
}

function toggleTheme() {
  const theme = isDark() ? "light" : "dark";
  localStorage.setItem("trioagent.theme", theme);
  applyTheme(theme);
  dispatchEvent(new Event("theme"));
  header.lastChild.replaceChildren(icon(isDark() ? "sun" : "moon"));
}

function showKeys() {
  const dialog = el(
    "dialog.keys",
    { "aria-label": "Keyboard shortcuts", onclose: () => dialog.remove() },
    el("h2", {}, "Keyboard"),
    el("dl", {}, KEYS.map(([key, words]) => [el("dt", {}, key.split(" ").map((part) => el("kbd", {}, part))), el("dd", {}, words)])),
    el("form", { method: "dialog" }, el("button", {}, "Close")),
  );
  document.body.append(dialog);
  dialog.showModal();
}

let waiting = "";

function keys(event) {
  const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (event.altKey || event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
  if (!typing && view?.hitKey?.(event)) return;
  if (typing) return;
  const before = waiting;
  waiting = event.key === "g" ? "g" : "";
  if (before === "g") {
    const memory = last.memory || served.memories[0];
    const run = last.run || served.runs[0];
    if (event.key === "m" && memory) location.hash = memoryHref(memory);
    if (event.key === "c" && memory) location.hash = chatHref(memory);
    if (event.key === "r" && run) location.hash = runHref(run);
  } else if (event.key === "/" && view?.focusSearch) {
    event.preventDefault();
    view.focusSearch();
  } else if (event.key === "?") showKeys();
  else if (event.key === "Escape") view?.escape?.();
}

start();
