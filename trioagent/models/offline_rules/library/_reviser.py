"""Revises notes: replaces or removes what no longer holds, and forgets notes."""

from __future__ import annotations

import re
from typing import Any

from ._editor import Editor, slug
from ._notes import LINK, Line
from ._words import WORD, fold, stem, stems

ITEMS = re.compile(r",\s*(?:and\s+)?|\s+and\s+")


class Reviser(Editor):
    """An editor that also finds the lines that a correction or a request to forget refers to."""

    def swap(self, op: dict[str, Any]) -> None:
        """Replace an old value in the notes by the new one; if it is not found, the new one is written as a fact."""
        line = self.old_line(op)
        if line is None:
            for inner in op["else"]:
                getattr(self, inner["op"])(inner)
            if not op["else"]:
                self.done["missed"].append(op["old"])
            return
        new = op["new"]
        if line.links:
            self.swap_link(line, op)
            return
        items, said = ITEMS.split(line.value), set(stems(op["old"]))
        mine = [item for item in items if set(stems(item)) == said]
        fresh = set(stems(new["text"]))
        if mine and len(items) > 1 and new["text"] and not any(set(stems(i)) <= fresh for i in items if i not in mine):
            self.change(line, line.value.replace(mine[0], new["text"], 1))
            return
        words = list(WORD.findall(new["text"]))
        value = new["text"]
        while len(words) > 1 and stem(fold(words[-1])) in line.stems and value.endswith(words[-1]):
            value = value[: -len(words.pop())].rstrip(" ,-")
        if line.value.strip().isdigit() or (line.value in ("True", "False") and new["number"]):
            value = new["number"] or value
        if line.value in ("True", "False") and not new["number"] and any(s in line.stems for s in stems(new["text"])):
            value = "True" if line.value == "False" else "False"
        if "," in line.value and " and " not in line.value:
            value = ", ".join(ITEMS.split(value))
        if line.value[:1].isupper() and value[:1].islower():
            value = value[:1].upper() + value[1:]
        if value:
            self.change(line, value)
        else:
            self.done["missed"].append(op["old"])

    def old_line(self, op: dict[str, Any]) -> Line | None:
        """The line with the old value: found by its value, helped by its key."""
        said, hint = set(stems(op["old"])), set(op["hint"])
        numbers = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6"}
        said |= {numbers[s] for s in said if s in numbers}
        named = []
        for path in self.notes.candidates(op["hint"]):
            name = set(stems(self.notes.title(path)))
            if path != self.notes.user and (name <= hint or len(hint & name) >= 2):
                named.append(path)
        best, found = 0.0, None
        for path in [self.notes.user, *named[:20]]:
            for line in self.notes.read(path)[1]:
                if not line.key or line.key in ("Type", "Entity Type", "Full Name"):
                    continue
                value = set(stems(self.notes.shown(line)))
                mine = len(value & said) / len(value) if value else 0.0
                if said and any(set(stems(item)) == said for item in ITEMS.split(line.value)):
                    mine = max(mine, 0.8)
                keyed = len(hint & set(line.stems)) / len(line.stems) if line.stems else 0.0
                if (
                    line.links
                    and path != self.notes.user
                    and self.notes.user in [self.notes.resolve(x) for x in line.links]
                ):
                    continue
                if (
                    line.links
                    and path != self.notes.user
                    and set(stems(self.notes.title(path))) <= said
                    and value & hint - said
                ):
                    mine = 0.9  # the note to replace contains the link
                if line.value in ("True", "False") and keyed == 1.0 and len(hint & set(line.stems)) >= 1:
                    mine = 0.6
                score = mine + keyed * 0.3 + len(value & said) * 0.05 - 0.3 * ((path == self.notes.user) != op["mine"])
                if score > best and (mine >= 0.5 or (keyed == 1.0 and len(line.stems) > 1)):
                    best, found = score, line
        return found

    def swap_link(self, line: Line, op: dict[str, Any]) -> None:
        """Point a link, and the link back, at the note of a new name."""
        old = self.notes.resolve(line.links[0])
        moved = (
            line.note != self.notes.user
            and old
            and len(set(stems(self.notes.shown(line))) & set(stems(op["old"]))) == 0
        )
        holder = line.note
        if moved:  # the note that contains the link is the one to replace
            old, holder = line.note, self.notes.resolve(line.links[0])
        near = lambda name: -len(set(stems(op["new"]["said"].split(name)[0])[-3:]) & set(line.stems))  # noqa: E731
        names = sorted((n for n in op["new"]["names"] if self.named(n) not in (self.notes.user, old, holder)), key=near)
        if not names:
            self.done["missed"].append(op["old"])
            return
        kind = next((x.value for x in self.notes.read(old)[1] if x.key == "Type"), "Entity") if old else "Entity"
        target = self.named(names[0]) or self.new_note(names[0], kind)
        back = (
            next((x for x in self.notes.read(old)[1] if x.key and holder in map(self.notes.resolve, x.links)), None)
            if old
            else None
        )
        row = back.text if back else f"- **{line.key}**: [[{self.style(holder)}]]"
        if not any(holder in map(self.notes.resolve, x.links) for x in self.notes.read(target)[1]):
            self.add_line(target, "Relationships", row)
        if back:
            self.rewrite(back, None)
        if moved:
            self.tell("changed", target, row, self.notes.title(old))
        else:
            self.change(line, f"[[{self.style(target)}]]")

    def drop(self, op: dict[str, Any]) -> None:
        """Remove what no longer holds: the line, or one item of its list."""
        if not self.drop_words(op["words"], [self.notes.user, *self.named_by(op["words"])], 0.5):
            self.done["missed"].append(op["text"])

    def named_by(self, words: list[str]) -> list[str]:
        """The notes that these words name."""
        return [
            p
            for p in self.notes.candidates(words)
            if p != self.notes.user and set(stems(self.notes.title(p))) <= set(words)
        ][:20]

    def drop_words(self, words: list[str], paths: list[str], least: float) -> bool:
        """Remove the line whose value (or one item of it) has these words, or whose key is exactly these words."""
        said, best, found = set(words), 0.0, None
        for path in paths:
            for line in self.notes.read(path)[1]:
                items = [set(stems(part)) for part in [self.notes.shown(line), *ITEMS.split(line.value)]]
                whole = max((len(item & said) / len(item) for item in items if item), default=0.0)
                keyed = len(said & set(line.stems)) / len(line.stems) if line.stems else 0.0
                score = whole + keyed * 0.6
                if score > best and line.key != "Full Name" and (whole > least or (said and said == set(line.stems))):
                    best, found = score, line
        if found is None or found.key == "Type":
            return False
        self.drop_item(found, said)
        return True

    def drop_key(self, likely: list[list[str]]) -> bool:
        """Remove the line of user.md whose key matches all of these words or their synonyms."""
        means = {s for row in likely for s in row}
        found = [
            line
            for line in self.notes.read(self.notes.user)[1]
            if line.stems and likely and set(line.stems) <= means and all(set(line.stems) & set(row) for row in likely)
        ]
        for line in sorted(found, key=lambda line: -len(set(line.stems) & {row[0] for row in likely}))[:1]:
            self.drop_item(line, set(line.stems))
        return bool(found)

    def drop_item(self, line: Line, said: set[str]) -> None:
        items = [part for part in ITEMS.split(line.value) if part.strip()]
        left = [part for part in items if not (set(stems(part)) and set(stems(part)) <= said)]
        if line.links or not left or len(left) == len(items):
            self.unlink_back(line)
            self.rewrite(line, None)
            self.tell("removed", line.note, line.text)
        else:
            value = ", ".join(left).strip()
            at = line.text.rfind(line.value)
            self.rewrite(line, line.text[:at] + value + line.text[at + len(line.value) :])
            self.tell("removed", line.note, ", ".join(part for part in items if part not in left))

    def forget(self, op: dict[str, Any]) -> None:
        """Forget a note and the links to it, or the lines that match the words."""
        if op["all"]:
            for path in [p for p in self.notes.paths if op["all"] == "notes" or p == self.notes.user]:
                self.remove_note(path)
                self.tell("removed", path, "the whole note")
            return None
        path = self.notes.resolve(slug(op["text"])) or self.named(op["text"]) if op["name"] else ""
        if not path and op["rel"]:
            wanted = stems(op["rel"])
            links = [x for line in self.notes.read(self.notes.user)[1] if line.stems == wanted for x in line.links]
            path = self.notes.resolve(links[0]) if links else ""
        if path and path != self.notes.user:
            linking = self.notes.paths if self.notes.whole else self.notes.linking(path)
            for other in [p for p in linking if p != path]:
                for line in reversed(
                    [x for x in self.notes.read(other)[1] if path in map(self.notes.resolve, x.links)]
                ):
                    bare = LINK.sub("", line.value).strip(" ,")
                    self.rewrite(line, line.text.replace("[[", "").replace("]]", "") if bare else None)
            self.remove_note(path)
            return self.tell("removed", path, "the whole note, and the links to it")
        named = self.named_by(op["words"])
        found = False
        while len(self.done["removed"]) < 50 and self.drop_words(
            op["words"], [*named, self.notes.user], 0.99 if len(op["words"]) == 1 else 0.74
        ):
            found = True
        if not found:
            found = self.drop_key(op["likely"])
        if not found:
            self.done["missed"].append(op["text"])
        return None
