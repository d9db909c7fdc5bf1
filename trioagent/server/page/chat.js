// A chat over one memory: live over a WebSocket, with thoughts, code, results and what each block changed.

import { memoryHref, token } from "./api.js";
import { codeBlock, diffView, parseUnified } from "./code.js";
import { el, icon, plural, replace } from "./dom.js";

const AGAIN = [500, 1000, 2000, 4000, 8000]; // milliseconds until it connects again
const ENDS = { cancelled: "Cancelled", failed: "Failed" };
const STOPS = { max_tool_turns: "It used up its turns without a reply.", cut: "Its last answer was cut." };

export class ChatView {
  constructor(name) {
    this.name = name;
    this.session = null;
    this.known = null; // number of the last event
    this.turn = null;
    this.failures = 0;
    this.log = el("div.log", { role: "log", "aria-label": "Conversation", tabIndex: 0 });
    this.state = el("p.state", { role: "status" });
    this.input = el("textarea", {
      rows: 1,
      placeholder: "Say something",
      "aria-label": "Message",
      oninput: () => this.grow(),
      onkeydown: (event) => {
        if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
        event.preventDefault();
        this.say();
      },
    });
    this.submit = el("button.primary.icon-button", { onclick: () => (this.turn ? this.send({ type: "cancel" }) : this.say()) });
    this.takeBack = el("button.quiet-button", { onclick: () => this.send({ type: "undo" }), disabled: true, "aria-label": "Take the last message back", title: "Take the last message back" }, icon("undo"));
    this.reviewing = el("input", { type: "checkbox", id: "review", onchange: () => this.restart() });
    this.element = el(
      "div.chat",
      {},
      this.log,
      el(
        "div.composer",
        {},
        this.state,
        el("div.box", {}, this.input, this.takeBack, this.submit),
        el("div.below", {}, el("label", { for: "review" }, this.reviewing, "Review changes before they are saved"), el("span.quiet", {}, "Enter sends, Shift+Enter is a new line")),
      ),
    );
    this.empty();
    this.buttons();
    this.connect();
  }

  show() {
    this.input.focus();
  }

  leave() {
    this.left = true;
    clearTimeout(this.timer);
    this.socket?.close();
  }

  escape() {
    if (this.turn) this.send({ type: "cancel" });
  }

  focusSearch() {
    this.input.focus();
  }

  empty() {
    replace(
      this.log,
      el("div.notice", {}, el("h2", {}, `Talk to the agent of ${this.name}`), el("p", {}, "It answers from its notes, and writes down what you tell it. The conversation lasts as long as this page is open; the notes stay.")),
    );
  }

  // Whether blocks wait for a review is said when a session begins.
  restart() {
    this.send({ type: "close" });
    this.session = this.known = this.turn = null;
    this.socket?.close();
    this.empty();
    this.buttons();
    this.connect();
  }

  connect() {
    clearTimeout(this.timer);
    const query = new URLSearchParams();
    if (this.session) {
      query.set("session", this.session);
      if (this.known !== null) query.set("after", this.known);
    } else if (this.reviewing.checked) query.set("review", "ask");
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws/memories/${encodeURIComponent(this.name)}/chat?${query}`);
    this.socket = socket;
    socket.addEventListener("open", () => socket.send(JSON.stringify({ type: "token", token: token() })));
    socket.addEventListener("message", (event) => {
      if (socket === this.socket) this.receive(JSON.parse(event.data));
    });
    socket.addEventListener("close", (event) => {
      if (socket === this.socket && !this.left) this.lost(event);
    });
  }

  lost(event) {
    if (event.code === 1008 || event.reason === "unknown_session") this.session = this.known = null;
    if (this.refused) {
      this.say_state(this.refused.message, this.refused.advice, () => this.retry());
      return;
    }
    const wait = AGAIN[Math.min(this.failures, AGAIN.length - 1)];
    this.failures += 1;
    this.say_state("The connection was lost", `trying again in ${wait / 1000} s`, () => this.connect());
    this.timer = setTimeout(() => this.connect(), wait);
  }

  retry() {
    this.refused = null;
    this.connect();
  }

  say_state(words, more, again) {
    replace(this.state, words && icon("warning"), words && el("strong", {}, words), more && el("span", {}, `: ${more}`), again && el("button.small", { onclick: again }, "Now"));
  }

  send(command) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(command));
  }

  say() {
    const text = this.input.value.trim();
    if (!text || this.turn || this.socket?.readyState !== WebSocket.OPEN || !this.session) return;
    this.send({ type: "say", text });
    this.input.value = "";
    this.grow();
  }

  grow() {
    this.input.style.height = "auto";
    this.input.style.height = `${Math.min(this.input.scrollHeight, 220)}px`;
    this.buttons();
  }

  buttons() {
    const busy = Boolean(this.turn);
    replace(this.submit, icon(busy ? "stop" : "send"));
    this.submit.setAttribute("aria-label", busy ? "Cancel" : "Send");
    this.submit.title = busy ? "Cancel (Esc)" : "Send (Enter)";
    this.submit.disabled = !busy && !this.input.value.trim();
    this.takeBack.disabled = busy || !this.log.querySelector(".turn");
  }

  receive(message) {
    const follow = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 80;
    if (message.n !== undefined) this.known = message.n;
    this.handle(message);
    this.buttons();
    if (follow) this.log.scrollTop = this.log.scrollHeight;
  }

  handle(message) {
    switch (message.type) {
      case "session":
        this.session = message.session;
        this.failures = 0;
        this.refused = null;
        this.say_state("");
        break;
      case "snapshot":
        this.restore(message);
        break;
      case "said":
        this.begin(message.chat, message.text);
        break;
      case "event":
        if (!this.turn) this.begin(message.chat, "");
        this.turn.event(message.event);
        break;
      case "changes":
        this.turn?.changes(message.changes);
        break;
      case "review":
        this.turn?.review(message, (decision) => this.send({ type: "review", review: message.review, ...decision }));
        break;
      case "reviewed":
        this.turn?.reviewed(message.decision);
        break;
      case "undone":
        this.undone(message.paths);
        break;
      case "ended":
        this.turn?.end(message);
        this.turn = null;
        break;
      case "error":
        if (message.error.type === "unknown_session") this.session = this.known = null;
        else if (!this.session) this.refused = message.error; // it closes the connection next
        this.say_state(message.error.message, message.error.advice);
        break;
      case "closed":
        this.session = this.known = null;
        break;
    }
  }

  begin(chat, text) {
    this.log.querySelector(".notice")?.remove();
    this.turn = new Turn(this.name, chat, text);
    this.log.append(this.turn.element);
    this.log.scrollTop = this.log.scrollHeight;
  }

  undone(paths) {
    const turns = this.log.querySelectorAll(".turn:not(.undone)");
    const last = turns[turns.length - 1];
    if (!last) return;
    last.classList.add("undone");
    last.append(el("p.outcome", {}, icon("undo"), paths.length ? `Taken back, and ${plural(paths.length, "note")} with it: ${paths.join(", ")}` : "Taken back"));
  }

  // All that is known, in place of what was missed.
  restore(message) {
    this.empty();
    this.turn = null;
    let turn = null;
    for (const { role, content } of message.messages) {
      if (role === "system") continue;
      if (role === "user") {
        this.begin(0, content);
        turn = this.turn;
      } else turn?.past(role, content);
    }
    this.turn = null;
    if (!message.chat) return;
    this.begin(message.chat.chat, message.chat.text);
    message.chat.events.forEach((event) => this.turn.event(event));
    for (const [kind, text] of Object.entries(message.chat.so_far)) this.turn.event({ type: "delta", kind, text });
    if (message.review) this.handle({ type: "review", ...message.review });
  }
}

// One message and the answer to it.
class Turn {
  constructor(memory, chat, text) {
    this.memory = memory;
    this.chat = chat;
    this.answer = el("div.answer", {});
    this.element = el("section.turn", { "aria-label": "Message and answer" }, text && el("div.said", {}, text), this.answer);
    this.working = el("p.working", {}, el("span.unseen", {}, "Working"), el("span", {}), el("span", {}), el("span", {}));
    this.answer.append(this.working);
    this.parts = {};
  }

  put(node) {
    this.answer.insertBefore(node, this.working.isConnected ? this.working : null);
    return node;
  }

  event(event) {
    switch (event.type) {
      case "delta":
        this.delta(event.kind, event.text);
        break;
      case "retrying":
        this.clear();
        this.note(`The model's server failed; trying again in ${Math.round(event.delay ?? 0)} s`);
        break;
      case "answered":
        this.answered(event.answer);
        break;
      case "code_result":
        this.result(event.result);
        break;
      case "replied":
        this.replied(event.response);
        break;
    }
  }

  delta(kind, text) {
    const part = (this.parts[kind] ??= this.part(kind));
    part.text.append(document.createTextNode(text));
  }

  part(kind) {
    if (kind === "think") {
      const text = el("p.thought", {});
      const element = this.put(el("details.thoughts", {}, el("summary", {}, "Thoughts"), text));
      return { element, text };
    }
    if (kind === "code") {
      const element = this.put(codeBlock(""));
      return { element, text: element.firstChild };
    }
    const element = this.put(el("div.reply", {}));
    return { element, text: element };
  }

  // What the answer is in the end, in place of its pieces.
  answered(answer) {
    this.clear();
    if (answer.thoughts) this.put(el("details.thoughts", {}, el("summary", {}, "Thoughts"), el("p.thought", {}, answer.thoughts)));
    if (answer.code) this.put(el("div.block", {}, el("p.label", {}, "Code"), codeBlock(answer.code, "python")));
    if (answer.reply) this.put(el("div.reply", {}, answer.reply));
    if (!answer.code && !answer.reply && !answer.thoughts && answer.text) this.put(el("div.reply.odd", {}, answer.text));
  }

  clear() {
    Object.values(this.parts).forEach((part) => part.element.remove());
    this.parts = {};
  }

  result(result) {
    this.put(resultView(result));
  }

  changes(changes) {
    for (const change of changes) this.put(changeView(this.memory, change));
  }

  review(review, decide) {
    const reason = el("input", { type: "text", placeholder: "Why not (the agent reads it)", "aria-label": "Reason for the agent" });
    const files = parseUnified(review.diff);
    this.asked = this.put(
      el(
        "section.review",
        { "aria-label": "Review" },
        el("h3", {}, `Save ${review.paths.length === 1 ? "this change" : "these changes"}?`),
        files.map((file) => el("div.change", {}, el("p.label", {}, file.path), diffView(file.hunks))),
        !files.length && el("p", {}, review.paths.join(", ")),
        el(
          "div.actions",
          {},
          el("button.primary", { onclick: () => decide({ decision: "accept" }) }, icon("check"), "Save"),
          el("button", { onclick: () => decide({ decision: "reject", reason: reason.value }) }, icon("close"), "Reject"),
          reason,
        ),
      ),
    );
    this.asked.querySelector("button").focus();
  }

  reviewed(decision) {
    const words = { accept: "Accepted", reject: "Rejected", edit: "Edited" };
    this.asked?.querySelector(".actions")?.replaceWith(el("p.outcome", {}, words[decision] ?? decision));
  }

  replied(response) {
    if (!response.reply) this.note([STOPS[response.stop_reason] ?? "It ended without a reply.", response.partial].filter(Boolean).join(" "));
    const tokens = response.usage.prompt_tokens + response.usage.completion_tokens;
    this.put(el("p.facts-line", {}, [plural(response.turns, "turn"), plural(tokens, "token"), response.usage.cost > 0 && `cost ${response.usage.cost.toPrecision(3)}`].filter(Boolean).join(" · ")));
  }

  past(role, text) {
    if (role === "tool") this.put(el("pre.output", { tabIndex: 0 }, text.replace(/^<result>\n?|\n?<\/result>$/g, "")));
    else {
      const part = (tag) => new RegExp(`<${tag}>([\\s\\S]*?)(?:</${tag}>|$)`).exec(text)?.[1].trim() ?? "";
      this.answered({ thoughts: part("think"), code: part("python"), reply: part("reply"), text });
    }
    this.working.remove();
  }

  note(words) {
    this.put(el("p.outcome", {}, words));
  }

  end({ outcome, error }) {
    this.clear();
    this.working.remove();
    if (outcome === "replied") return;
    this.answer.append(
      el("p.outcome", { class: outcome }, icon(outcome === "failed" ? "warning" : "stop"), ENDS[outcome] ?? outcome, error && `: ${error.message}`, error?.advice && el("span.quiet", {}, ` ${error.advice}`)),
    );
  }
}

export function resultView(result) {
  const names = Object.entries(result.locals);
  const failed = Boolean(result.error);
  return el(
    "details.result",
    { open: failed, class: failed ? "failed" : "" },
    el(
      "summary",
      {},
      icon(failed ? "warning" : "check"),
      failed ? "Failed; nothing was saved" : result.saved ? "Ran, and changed notes" : "Ran",
      names.length > 0 && el("span.quiet", {}, ` ${names.map(([name]) => name).slice(0, 4).join(", ")}${names.length > 4 ? ", …" : ""}`),
    ),
    failed && el("pre.output.error", { tabIndex: 0 }, result.error),
    result.printed && el("pre.output", { tabIndex: 0 }, result.printed),
    names.length > 0 && el("dl.locals", {}, names.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    !names.length && !failed && !result.printed && el("p.quiet", {}, "It left no variables and printed nothing."),
  );
}

const ACTIONS = { made: "New note", changed: "Changed", deleted: "Deleted" };

export function changeView(memory, change) {
  const name = memory ? el("a.note-link", { href: memoryHref(memory, "notes", change.path) }, change.path) : el("span", {}, change.path);
  return el(
    "div.change",
    {},
    el("p.label", {}, ACTIONS[change.action], " ", name),
    change.hunks ? diffView(change.hunks) : el("p.quiet", {}, "What changed in its text is not shown: it is too much, or not known any more."),
  );
}
