// Code and diffs: text nodes in spans, coloured by what they are.

import { el } from "./dom.js";

const PYTHON = new RegExp(
  [
    String.raw`(?<comment>#[^\n]*)`,
    String.raw`(?<string>[rbfuRBFU]{0,2}(?:"""(?:[^\\]|\\[\s\S])*?(?:"""|$)|'''(?:[^\\]|\\[\s\S])*?(?:'''|$)|"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?))`,
    String.raw`(?<number>\b(?:0[xXoObB][\da-fA-F_]+|\d[\d_]*(?:\.\d*)?(?:[eE][+-]?\d+)?)\b)`,
    String.raw`(?<word>[^\W\d]\w*)`,
  ].join("|"),
  "gu",
);
const KEYWORDS = new Set(
  ("False None True and as assert async await break class continue def del elif else except finally for from global if import " +
    "in is lambda nonlocal not or pass raise return try while with yield match case").split(" "),
);
const LONGEST = 50_000; // beyond that, colours are not worth their time

// `wrapped` lines are broken instead of scrolled.
export function codeBlock(text, language = "") {
  const python = /^(py|python3?)$/i.test(language) && text.length <= LONGEST;
  const label = language ? `Code, ${language}` : "Code";
  return el("pre.code", { tabIndex: 0, role: "region", "aria-label": label }, el("code", {}, python ? highlight(text) : text));
}

function highlight(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(PYTHON)) {
    const { comment, string, number, word } = match.groups;
    const kind = comment ? "comment" : string ? "string" : number ? "number" : KEYWORDS.has(word) ? "keyword" : "";
    const called = !kind && text[match.index + match[0].length] === "(";
    if (!kind && !called) continue;
    if (match.index > end) parts.push(text.slice(end, match.index));
    parts.push(el(`span.${kind || "call"}`, {}, match[0]));
    end = match.index + match[0].length;
  }
  parts.push(text.slice(end));
  return parts;
}

const SIGNS = { "+": "added", "-": "removed", " ": "same" };
const WORDS = { "+": "added: ", "-": "removed: ", " ": "" };

// Hunks as `trioagent.server._diff` makes them.
export function diffView(hunks) {
  if (!hunks.length) return el("p.quiet", {}, "Nothing in the text changed.");
  return el(
    "div.diff",
    { tabIndex: 0, role: "region", "aria-label": "Changes" },
    hunks.map((hunk, number) => [number > 0 && el("div.gap", { "aria-hidden": "true" }, "⋯"), hunkLines(hunk)]),
  );
}

function hunkLines(hunk) {
  let { before, after } = hunk;
  return hunk.lines.map(([sign, text]) => {
    const shown = sign === "+" ? after : before;
    if (sign !== "+") before += 1;
    if (sign !== "-") after += 1;
    return el(
      `div.line.${SIGNS[sign] ?? "same"}`,
      {},
      el("span.number", { "aria-hidden": "true" }, shown),
      el("span.sign", { "aria-hidden": "true" }, sign),
      WORDS[sign] && el("span.unseen", {}, WORDS[sign]),
      el("span.text", {}, text || " "),
    );
  });
}

// A unified diff of any number of notes: `[{ path, hunks }]`. Lines that are none of it are left out.
export function parseUnified(text) {
  const files = [];
  let hunk = null;
  let left = { before: 0, after: 0 };
  for (const line of text.split("\n")) {
    const inside = hunk && (left.before > 0 || left.after > 0);
    if (inside && (line[0] === " " || line[0] === "-" || line[0] === "+" || line === "")) {
      const sign = line[0] ?? " ";
      hunk.lines.push([sign, line.slice(1)]);
      if (sign !== "+") left.before -= 1;
      if (sign !== "-") left.after -= 1;
      continue;
    }
    const header = /^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@/.exec(line);
    if (header) {
      hunk = { before: Number(header[1]), after: Number(header[3]), lines: [] };
      left = { before: Number(header[2] ?? 1), after: Number(header[4] ?? 1) };
      files.at(-1)?.hunks.push(hunk);
    } else if (line.startsWith("--- ")) {
      files.push({ path: named(line), hunks: [] });
      hunk = null;
    } else if (line.startsWith("+++ ") && files.length) {
      files.at(-1).path = named(line) || files.at(-1).path;
    }
  }
  return files;
}

// `+++ b/user.md` is user.md; git puts names with odd characters in quotes.
function named(line) {
  const name = line.slice(4).replace(/\t.*$/, "");
  const plain = name.startsWith('"') ? unquoted(name) : name;
  return plain === "/dev/null" ? "" : plain.replace(/^[ab]\//, "");
}

function unquoted(name) {
  const bytes = [];
  const escapes = { n: 10, t: 9, r: 13, '"': 34, "\\": 92, a: 7, b: 8, f: 12, v: 11 };
  for (const [whole, octal, letter] of name.slice(1, -1).matchAll(/\\([0-7]{3})|\\(.)|[^\\]/gsu)) {
    if (octal) bytes.push(parseInt(octal, 8));
    else if (letter) bytes.push(escapes[letter] ?? letter.charCodeAt(0));
    else bytes.push(...new TextEncoder().encode(whole));
  }
  return new TextDecoder().decode(new Uint8Array(bytes));
}
