"""How often `offline-rules` is right: questions by hops and stated changes, each through a whole agent and its sandbox.

    python benchmarks/offline_rules.py DATA_DIR [--people PREFIX,PREFIX] [--wrong]

DATA_DIR holds ``<person>/<memory>/`` folders with ``base_memory.json`` (``user_md``, ``entities``),
``retrieval_questions.json`` (by hops, ``q`` and ``a``) and ``update_queries.json`` (by hops, ``query`` and ``diff``).

An answer is right if the expected one, without case, punctuation and articles, is contained in the value of the line
that the reply names (or of one of the up to three lines, if they explain the question equally well). A change is right
if every line about a fact that the expected diff adds is in the notes afterwards; headings and types do not count.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import trio

from trioagent import Agent, Runtime, open_runtime
from trioagent.models.offline_rules import read_result


def normalise(text: str) -> str:
    """Lower case, without punctuation and articles; yes and no as true and false."""
    words = re.sub(r"[^\w ]", " ", text.casefold()).split()
    same = {"yes": "true", "no": "false"}
    return " ".join(same.get(word, word) for word in words if word not in ("a", "an", "the"))


def write_notes(root: Path, memory: dict[str, Any]) -> None:
    """One memory as files."""
    notes = {"user.md": memory["user_md"]}
    notes |= {note["entity_file_path"]: note["entity_file_content"] for note in memory["entities"]}
    for name, text in notes.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")


def values_named(agent: Agent, reply: str) -> str:
    """The values of the lines that a reply names, from the block's result; "" if the reply names none."""
    results = [message.content for message in agent.messages if message.role == "tool"]
    values, _ = read_result(results[-1]) if results else ({}, "")
    found = values.get("answer", {}).get("found", [])
    return " / ".join(row["value"] for row in found if f"{row['note']}, line {row['line']}" in reply)


async def ask(runtime: Runtime, root: Path, question: str, expected: str, *, wrong: bool) -> str:
    """One question in a conversation of its own: "right", "wrong" or "does not know"."""
    agent = Agent(runtime, memory_path=root)
    response = await agent.chat(question)
    value = values_named(agent, response.reply)
    good = f" {normalise(expected)} " in f" {normalise(value)} "
    if wrong and not good:
        print(f"  {question}\n    expected {expected!r}\n    got {value!r}")
    return "right" if good else "wrong" if value else "does not know"


def fact_lines(diff: str) -> list[tuple[str, str]]:
    """The lines about facts that a diff adds, each with its note; lines that only moved are left out."""
    note, added, removed = "", [], set()
    for line in diff.splitlines():
        if line.startswith("==="):
            note = line.strip("='")
        elif line.startswith("-") and not line.startswith("---"):
            removed.add((note, line[1:].strip().casefold()))
        elif line.startswith("+") and not line.startswith("+++") and line[1:].strip():
            added.append((note, line[1:].strip().casefold()))
    kind = re.compile(r"#|- \*\*(?:entity )?type\*\*")
    return [pair for pair in added if pair not in removed and not kind.match(pair[1])]


async def change(runtime: Runtime, memory: dict[str, Any], message: str, diff: str) -> str:
    """One stated change on fresh notes: "right" or "wrong"."""
    with tempfile.TemporaryDirectory() as folder:
        write_notes(Path(folder), memory)
        await Agent(runtime, memory_path=folder).chat(message)
        return "right" if holds(Path(folder), fact_lines(diff)) else "wrong"


def holds(root: Path, wanted: list[tuple[str, str]]) -> bool:
    """Whether these lines are in their notes."""
    for note, line in wanted:
        path = root / note
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        if line not in [text.strip().casefold() for text in lines]:
            return False
    return bool(wanted)


def report(title: str, scores: dict[str, Counter[str]], seconds: float) -> None:
    print(title)
    for name, counts in sorted(scores.items()):
        total = sum(counts.values())
        rest = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()) if what != "right")
        print(
            f"  {name:18} {counts['right']:4} of {total:4} right = {counts['right'] / total:6.1%}   ({rest or 'all'})"
        )
    count = sum(sum(counts.values()) for counts in scores.values())
    print(f"  {count} conversations in {seconds:.1f} s: {seconds / max(1, count) * 1000:.1f} ms each")


def load(data: Path, people: tuple[str, ...]) -> list[tuple[Any, Any, Any]]:
    """Each memory with its questions and its changes."""
    names = ("base_memory.json", "retrieval_questions.json", "update_queries.json")
    folders = [path.parent for path in sorted(data.glob("*/*/base_memory.json")) if path.parts[-3].startswith(people)]
    return [tuple(json.loads((folder / name).read_text("utf-8")) for name in names) for folder in folders]


async def main(memories: list[tuple[Any, Any, Any]], *, wrong: bool) -> None:
    questions: dict[str, Counter[str]] = {}
    changes: dict[str, Counter[str]] = {}
    spent = [0.0, 0.0]
    async with open_runtime(model="offline-rules") as runtime:
        for memory, asked, told in memories:
            with tempfile.TemporaryDirectory() as folder:
                write_notes(Path(folder), memory)
                start = time.perf_counter()
                for hops, row in ((hops, row) for hops, rows in asked.items() for row in rows if isinstance(row, dict)):
                    for text in row["q"] if isinstance(row["q"], list) else [row["q"]]:
                        outcome = await ask(runtime, Path(folder), text, str(row["a"]), wrong=wrong)
                        questions.setdefault(hops, Counter())[outcome] += 1
                spent[0] += time.perf_counter() - start
            start = time.perf_counter()
            for hops, rows in told.items():
                for number, row in enumerate(rows):
                    name = f"{hops} {'implied' if number % 2 else 'stated'}"  # each change is stated, then only implied
                    outcome = await change(runtime, memory, row["query"], row["diff"])
                    changes.setdefault(name, Counter())[outcome] += 1
            spent[1] += time.perf_counter() - start
        print(f"sandbox tier: {runtime.sandbox.tier}")
    report("questions", questions, spent[0])
    report("changes", changes, spent[1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Score offline-rules on memories with questions and changes.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--people", default="", help="only persons whose folder starts with one of these")
    parser.add_argument("--wrong", action="store_true", help="print the questions that were not answered right")
    given = parser.parse_args()
    memories = load(given.data, tuple(given.people.split(",")))
    if not memories:
        parser.error(f"no <person>/<memory>/base_memory.json in {given.data}")
    trio.run(lambda: main(memories, wrong=given.wrong))
