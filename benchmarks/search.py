"""How often `search` finds the right line and the right note, beside BM25 and SQLite's FTS5.

    python -m benchmarks search --data PATH [--half first|second] [--noise N]

PATH holds ``locomo/`` (``locomo*.json``) and ``memories/`` (``<person>/<memory>/``), or is one of them. A LoCoMo
conversation becomes a note for each session, with a line for each turn; the right lines of a question are its evidence.
Of the memories, the right lines are those of the note that a question is about which hold its answer.

hit@k: a right line (a right note) is among the first k lines. MRR: the mean of 1 / the place of the first right line
among ten. With ``--noise 10`` ten times as many lines of other conversations and persons are in the same memory.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from trioagent.tools import search as product
from trioagent.tools._text import fold, words_of

LIMIT = 10
Hits = list[tuple[str, int]]
Searcher = Callable[[str], Hits]


@attrs.frozen
class Question:
    """One query and the lines, as path and number from 1, that answer it."""

    text: str
    right: frozenset[tuple[str, int]]


@attrs.frozen
class Corpus:
    """One memory and its questions."""

    notes: dict[str, str]
    questions: list[Question]


def locomo(root: Path) -> Iterator[Corpus]:
    """A memory for each conversation."""
    for path in sorted(root.glob("locomo*.json")):
        for row in json.loads(path.read_text(encoding="utf-8")):
            notes, where = _sessions(row["conversation"])
            questions = []
            for asked in row["qa"]:
                evidence = re.findall(r"D\d+:\d+", " ".join(map(str, asked.get("evidence") or [])))
                if right := frozenset(where[one] for one in evidence if one in where):
                    questions.append(Question(str(asked["question"]), right))
            yield Corpus(notes, questions)


def _sessions(conversation: dict[str, Any]) -> tuple[dict[str, str], dict[str, tuple[str, int]]]:
    notes: dict[str, str] = {}
    where: dict[str, tuple[str, int]] = {}
    for name, turns in conversation.items():
        if not re.fullmatch(r"session_\d+", name) or not turns:
            continue
        path = f"sessions/{int(name[8:]):02}.md"
        lines = [f"# {conversation.get(f'{name}_date_time', '')}", ""]
        for turn in turns:
            text = " ".join(str(turn.get("text", "")).split())
            lines.append(f"- {turn.get('speaker', '')}: {text}")
            where[str(turn.get("dia_id"))] = (path, len(lines))
        notes[path] = "\n".join(lines) + "\n"
    return notes, where


def memories(root: Path) -> Iterator[Corpus]:
    """A memory for each folder."""
    for path in sorted(root.glob("**/base_memory.json")):
        base = json.loads(path.read_text(encoding="utf-8"))
        notes = {"user.md": base["user_md"]}
        notes |= {one["entity_file_path"]: one["entity_file_content"] for one in base["entities"]}
        questions = []
        for hops, rows in json.loads((path.parent / "retrieval_questions.json").read_text(encoding="utf-8")).items():
            for row in (row for row in rows if isinstance(row, dict)):
                for text in row["q"] if isinstance(row["q"], list) else [row["q"]]:
                    if right := _right_lines(notes, hops, row):
                        questions.append(Question(str(text), right))
        yield Corpus(notes, questions)


def _right_lines(notes: dict[str, str], hops: str, row: dict[str, Any]) -> frozenset[tuple[str, int]]:
    """Lines with the answer in the note that the question is about."""
    answer = " ".join(words_of(fold(str(row["a"]))))
    subject = str(row.get("path", "")).rpartition("->")[2].strip().casefold()
    mine = ["user.md"] if hops.startswith("0") else [path for path in notes if _is_about(path, notes[path], subject)]
    return frozenset(
        (path, number)
        for path in mine or notes
        for number, line in enumerate(notes[path].splitlines(), 1)
        if f" {answer} " in f" {' '.join(words_of(fold(line)))} "
    )


def _is_about(path: str, text: str, subject: str) -> bool:
    name = path.rpartition("/")[2].removesuffix(".md").replace("_", " ").casefold()
    return bool(subject) and (name == subject or text.casefold().startswith(f"# {subject}"))


def ours(notes: dict[str, str]) -> Searcher:
    """The product's, without an index: with one its answers are the same, as a test says."""
    data = {path: text.encode() for path, text in notes.items()}

    def search(query: str) -> Hits:
        asked = product.Query(query)
        if not asked.stems:
            return []
        found = product.scanned(data.items(), asked, product.considered(LIMIT))
        lines = product.best_lines(found, [(path, data[path]) for path in found.paths], asked, LIMIT)
        return [(line.split(":", 2)[0], int(line.split(":", 2)[1])) for line in lines]

    return search


def bm25(notes: dict[str, str]) -> Searcher:
    """Okapi BM25 over lines (k1 1.2, b 0.75), words stemmed as the product's are."""
    lines = [(path, number, _stems(line)) for path, number, line in _lines(notes)]
    having: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for place, (_, _, words) in enumerate(lines):
        for word, count in Counter(words).items():
            having[word].append((place, count))
    mean = sum(len(words) for _, _, words in lines) / max(1, len(lines))

    def search(query: str) -> Hits:
        scores: Counter[int] = Counter()
        for word in set(_stems(query)):
            found = having.get(word, [])
            idf = math.log(1 + (len(lines) - len(found) + 0.5) / (len(found) + 0.5))
            for place, count in found:
                norm = 1.2 * (0.25 + 0.75 * len(lines[place][2]) / mean)
                scores[place] += idf * count * 2.2 / (count + norm)  # type: ignore[assignment]
        return [lines[place][:2] for place, _ in scores.most_common(LIMIT)]

    return search


def fts5(notes: dict[str, str]) -> Searcher:
    """SQLite's full-text search over lines, with Porter's stemmer."""
    database = sqlite3.connect(":memory:")
    database.execute("CREATE VIRTUAL TABLE lines USING fts5(path UNINDEXED, number UNINDEXED, text, tokenize='porter')")
    database.executemany("INSERT INTO lines VALUES (?, ?, ?)", _lines(notes))

    def search(query: str) -> Hits:
        words = [f'"{word}"' for word in words_of(fold(query)) if word not in product._STOP]
        select = "SELECT path, number FROM lines WHERE lines MATCH ? ORDER BY rank LIMIT ?"
        return database.execute(select, (" OR ".join(words), LIMIT)).fetchall() if words else []

    return search


def _lines(notes: dict[str, str]) -> Iterator[tuple[str, int, str]]:
    for path, text in notes.items():
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield path, number, line


def _stems(text: str) -> list[str]:
    return [product.stem(word) for word in words_of(fold(text)) if word not in product._STOP]


SYSTEMS: dict[str, Callable[[dict[str, str]], Searcher]] = {"search": ours, "BM25": bm25, "FTS5": fts5}


@attrs.define
class Score:
    """What one system found."""

    at: dict[int, int] = attrs.field(factory=lambda: dict.fromkeys((1, 5, 10), 0))
    notes_at_1: int = 0
    reciprocal: float = 0.0
    questions: int = 0
    seconds: float = 0.0

    def add(self, hits: Hits, right: frozenset[tuple[str, int]], seconds: float) -> None:
        self.questions += 1
        self.seconds += seconds
        place = next((place for place, hit in enumerate(hits, 1) if tuple(hit) in right), 0)
        for most in self.at:
            self.at[most] += 0 < place <= most
        self.reciprocal += 1 / place if place else 0.0
        self.notes_at_1 += bool(hits) and hits[0][0] in {path for path, _ in right}

    def __str__(self) -> str:
        count = max(1, self.questions)
        rates = "  ".join(f"{self.at[most] / count:6.3f}" for most in self.at)
        rest = f"{self.reciprocal / count:6.3f}  {self.notes_at_1 / count:6.3f}  {self.seconds / count * 1e3:7.2f}"
        return f"{rates}  {rest}"


def measure(corpora: Sequence[Corpus], noise: int) -> dict[str, Score]:
    """Every system on every question."""
    scores = {name: Score() for name in SYSTEMS}
    for number, corpus in enumerate(corpora):
        notes = dict(corpus.notes)
        for extra in range(noise):
            other = corpora[(number + 1 + extra) % len(corpora)] if len(corpora) > 1 else corpus
            if other is not corpus:
                notes |= {f"other/{extra}/{path}": text for path, text in other.notes.items()}
        for name, make in SYSTEMS.items():
            search = make(notes)
            for question in corpus.questions:
                began = time.perf_counter()
                hits = search(question.text)
                scores[name].add(hits, question.right, time.perf_counter() - began)
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description="The quality of search.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--half", choices=["all", "first", "second"], default="all")
    parser.add_argument("--noise", type=int, default=0)
    given = parser.parse_args()
    found = {"LoCoMo": list(locomo(given.data / "locomo")) or list(locomo(given.data))}
    found["memories"] = list(memories(given.data / "memories")) or list(memories(given.data))
    if not any(found.values()):
        parser.error(f"{given.data} holds neither locomo*.json (the locomo repository) nor memories (base_memory.json)")
    print(f"{'':22}{'hit@1':>8}{'hit@5':>8}{'hit@10':>8}{'MRR':>8}{'note@1':>8}{'ms':>9}")
    for name, corpora in found.items():
        chosen = {"all": corpora, "first": corpora[::2], "second": corpora[1::2]}[given.half]
        if not chosen:
            continue
        for system, score in measure(chosen, given.noise).items():
            print(f"{name + ' ' + system:20}{score.questions:5,}{score}")


if __name__ == "__main__":
    main()
