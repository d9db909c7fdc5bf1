"""Answers a question with the best line over all notes, up to two links away.

Every word of the question must be explained by the key of the line, the keys of the links on the way to its note, or
the names of the notes on that way. The line that explains most of the question, with the fewest other words,
is the answer.
"""

from __future__ import annotations

from typing import Any

from ._notes import LINK, Line, Notes
from ._words import stems

HOP_COST, SPARE_EDGE, SPARE_KEY, BEAM, WEAK, SURE = 0.3, 0.12, 0.3, 40, 0.52, 0.95


class Way:
    """A note reached from the start of the question, and how much of the question the way to it explains."""

    def __init__(self, path: str, notes: tuple[Any, ...], cover: list[Any], cost: float, said: tuple[Any, ...]) -> None:
        self.path, self.notes, self.cover, self.cost, self.said = path, notes, cover, cost, said


class Finder:
    """Looks up one question. Its words are
    [weight, {stem: similarity}, fit for a way, fit for a key, how much it must be explained]."""

    def __init__(self, notes: Notes, ask: dict[str, Any]) -> None:
        self.notes, self.ask, self.words = notes, ask, ask["words"]
        self.edges: dict[str, dict[Any, Line]] = {}
        self.likes: dict[str, list[float]] = {}
        self.deep = notes.whole
        self.loaded: set[str] = set()
        self.full = sum(word[0] * word[4] for word in self.words) or 1.0

    def like(self, found: str) -> list[float]:
        """The similarity of a stem to each word of the question."""
        if found not in self.likes:
            likes = [word[1].get(found, 0.0) for word in self.words]
            for i, root in enumerate(self.ask["roots"]):
                if not likes[i] and len(root) > 5 and len(found) > 5 and found[:6] == root[:6]:
                    likes[i] = 0.7
            self.likes[found] = likes
        return self.likes[found]

    def covered(self, found: list[str], part: int = 0) -> list[float]:
        """How well each word of the question is explained by these stems; part 2: as a way, 3: as a key."""
        best = [max(row) for row in zip(*map(self.like, found), strict=True)] if found else [0.0] * len(self.words)
        return [c * word[part] for c, word in zip(best, self.words, strict=True)] if part else best

    def spare(self, found: list[str]) -> float:
        """How many of these stems match no word of the question."""
        return sum((1 - max(self.like(s), default=0.0) for s in set(found) if s != "entiti"), 0.0)

    def total(self, cover: list[float]) -> float:
        return sum(float(word[0]) * c for word, c in zip(self.words, cover, strict=True))

    def load(self, path: str) -> None:
        """Read one note's links, in both directions."""
        if path in self.loaded:
            return
        self.loaded.add(path)
        for line in self.notes.read(path)[1]:
            for link in line.links[:50] or [line.value.strip("* ")] * bool(line.key):
                other = self.notes.resolve(link)
                if other and other != path:
                    about = line.stems or stems(LINK.sub("", line.value))[:12] + stems(line.section)
                    key = (other, tuple(about))
                    self.edges.setdefault(path, {})[key] = line
                    self.edges.setdefault(other, {}).setdefault((path, tuple(about)), line)

    def neighbours(self, path: str) -> list[Any]:
        if not self.notes.whole:
            self.load(path)
            for other in self.notes.linking(path) if self.deep else ():
                self.load(other)
        return list(self.edges.get(path, {}).items())

    def named(self) -> list[tuple[str, list[float]]]:
        """Notes named in the question, by any word of their title that is not common."""
        given, found = self.ask["names"], []
        if not given:
            return []
        for path in self.notes.candidates(given, self.deep):
            name = stems(self.notes.title(path))
            hit = [s for s in name if s in given]
            if hit and (len(set(hit)) * 2 >= len(set(name)) or set(hit) & set(self.ask["proper"])):
                found.append((len(hit), path, self.covered(hit)))
        best = max((n for n, _, _ in found), default=0)
        return [(path, cover) for n, path, cover in found if n == best][:BEAM]

    def kinds(self, path: str) -> list[str]:
        """The stems of a note's title and of its type."""
        title, lines = self.notes.read(path)
        kind = [s for line in lines if line.stems and line.stems[-1] == "type" for s in stems(line.value)]
        return stems(title) + kind

    def ways(self) -> list[Way]:
        starts = self.named()
        zero = [0.0] * len(self.words)
        if self.notes.whole:
            for path in self.notes.paths:
                self.load(path)
        level = [Way(path, (path,), cover, 0.0, ()) for path, cover in starts]
        if self.ask["me"] or not starts:
            level.append(Way(self.notes.user, (self.notes.user,), zero, 0.0, ()))
        if not self.ask["me"] and not starts:
            level += [
                Way(path, (path,), self.covered(self.kinds(path), 2), HOP_COST, ())
                for path in self.notes.candidates(self.ask["all"])
                if path != self.notes.user
            ]
        found = list(level)
        for _ in range(2):
            grown = [self.step(way, *edge) for way in level for edge in self.neighbours(way.path)]
            level = [way for way in grown if way]
            level.sort(key=lambda way: (way.cost - self.total(way.cover), way.notes))
            level = level[:BEAM]
            found += level
        return found

    def step(self, way: Way, edge: tuple[Any, ...], line: Line) -> Way | None:
        """The way extended by one link, if the question mentions that link or its target."""
        other, about = edge
        if other in way.notes or other == self.notes.user:
            return None
        by_key, by_kind = self.covered(list(about), 2), self.covered(self.kinds(other))
        gain = [max(a, b) for a, b in zip(by_key, by_kind, strict=True)]
        if self.total(by_key) + self.total(by_kind) * 0.5 < 0.25:
            return None
        cost = way.cost + HOP_COST + SPARE_EDGE * min(3, self.spare(list(about)))
        if not any(by_key):
            cost += HOP_COST
        cover = [max(a, b) for a, b in zip(way.cover, gain, strict=True)]
        return Way(other, (*way.notes, other), cover, cost, (*way.said, line))

    def fits(self, line: Line) -> float:
        """A small bonus for a value of the requested kind: a number, a name, a place."""
        digits = any(c.isdigit() for c in line.value)
        return 0.0 if not self.ask["wants"] else 0.15 if digits == (self.ask["wants"] == "number") else -0.15

    def score(self, way: Way, line: Line) -> tuple[float, float] | None:
        """What a line explains in addition to the way to it (with the share of the question), or None if nothing."""
        in_value = list(stems(line.value)[:60])
        key = line.stems or (stems(line.section) if line.links else [])
        by_key = self.covered(key, 3)
        by_value = [c * 0.7 for c in self.covered(in_value)]
        share = 1.0 if self.ask["checks"] or not key else 0.7
        asked = [max(a, b * share) for a, b in zip(by_key, by_value, strict=True)]
        alone = self.total(asked)
        cover = [max(a, b) for a, b in zip(way.cover, asked, strict=True)]
        back = any(self.notes.resolve(link) in way.notes for link in line.links)
        if alone < 0.3 or self.total(cover) - self.total(way.cover) < 0.25 or (key and not any(by_key)) or back:
            return None
        fit = self.fits(line)
        extra = SPARE_KEY * min(3, self.spare(key)) if key else 0.2
        if key == ["type"] and line.value in ("Entity", "Person"):
            extra += 0.6  # it only says what kind of thing the note is about
        if line.links and not self.ask["who"]:
            extra += 0.15
        sure = sum(w[0] * w[4] * c for w, c in zip(self.words, cover, strict=True)) / self.full
        return round(self.total(cover) - way.cost - extra + fit, 6), sure

    def find(self) -> dict[str, Any]:
        """The best line. A large memory is searched only if the candidate notes do not explain the whole question."""
        if not self.deep:
            found = self.look()
            if found["found"] and found["found"][0]["sure"] >= SURE:
                return found
            self.deep = True
        return self.look()

    def look(self) -> dict[str, Any]:
        """The best line and equally good ones, as plain data for the reply."""
        ranked = []
        for order, way in enumerate(self.ways()):
            for line in self.notes.read(way.path)[1]:
                scored = self.score(way, line)
                if scored:
                    ranked.append((scored[0], -order, -line.number, way, line, scored[1]))
        ranked.sort(key=lambda row: row[:3], reverse=True)
        if not ranked or ranked[0][5] < WEAK:
            near = [self.answer(row) for row in ranked[:1]]
            return {"found": [], "near": near, "about": self.about() if self.ask["about"] else None}
        first = ranked[0]
        equal = {row[3].path: row for row in reversed(ranked) if row[0] == first[0] and row[4].key == first[4].key}
        equal[first[3].path] = first
        best = [self.answer(row) for row in sorted(equal.values(), key=lambda row: row[:3], reverse=True)]
        return {"found": best[:3], "near": [], "about": None}

    def answer(self, row: tuple[Any, ...]) -> dict[str, Any]:
        score, _, _, way, line, sure = row
        inside = set(stems(line.value))
        said = [w[0] for w in self.words if any(s in inside for s, like in w[1].items() if like > 0.8)]
        return {
            **line.quote(),
            "value": self.notes.shown(line),
            "key": line.key,
            "subject": self.notes.title(way.path),
            "score": score,
            "sure": round(sure, 3),
            "in_value": bool(said),
        }

    def about(self) -> dict[str, Any] | None:
        """The first lines of the note that the whole question is about."""
        full = sum(word[0] for word in self.words)
        ways = self.ways() if full else [Way(self.notes.user, (self.notes.user,), [], 0.0, ())]
        best = max(ways, key=lambda way: self.total(way.cover) - way.cost, default=None)
        if best is None or (full and self.total(best.cover) < 0.5 * full):
            return None
        title, lines = self.notes.read(best.path)
        known = [
            dict(line.quote(), key=line.key, value=self.notes.shown(line)) for line in lines if line.key != "Full Name"
        ]
        return {"note": best.path, "title": title, "lines": known[:10], "more": max(0, len(known) - 10)}
