"""Writes facts, links in both directions and sentences, line by line in the notes' own style."""

from __future__ import annotations

from typing import Any

from ._notes import Line, Notes
from ._words import fold, stems


class Editor:
    """Changes notes, and records the changes for the reply."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.done: dict[str, Any] = {"saved": [], "changed": [], "removed": [], "known": [], "missed": [], "failed": []}

    # notes

    def save(self, path: str, text: str) -> None:
        """Write a note by replacing only the passage that differs, so that the rest keeps its bytes."""
        notes, old = self.notes, self.notes.text(path)
        if old:
            worked = notes.tools["update_file"](path, old, text)
        else:
            worked = notes.tools["create_file"](path, text)
        if worked is not True:
            self.done["failed"].append(f"{path}: {str(worked)[:300]}")
            return
        notes.add(path, text)

    def note_of(self, who: object, make: str = "Person") -> str:
        """The path of the note about someone or something; if there is none, a new note of kind *make*, if given."""
        if who == "me":
            if not self.notes.text(self.notes.user).strip():
                self.save(self.notes.user, "# User\n\n## Basic Information\n\n## Relationships\n")
            return self.notes.user
        if isinstance(who, dict):
            wanted = stems(who["rel"])
            for line in self.notes.read(self.note_of("me"))[1]:
                if line.stems == wanted and line.links:
                    return self.notes.resolve(line.links[0]) or self.new_note(line.links[0].rsplit("/", 1)[-1], make)
            self.link(
                {
                    "who": "me",
                    "key": who["rel"],
                    "name": who["rel"],
                    "how": "set",
                    "type": make,
                    "back": who["rel"] + " Of",
                    "alias": [sorted(wanted)],
                },
                quiet=True,
            )
            return self.notes.resolve(slug(who["rel"]))
        return self.named(str(who)) or (self.new_note(str(who), make) if make else "")

    def named(self, name: str) -> str:
        """The note for a name: by its file name, or the only one whose title has all of its words."""
        path = self.notes.resolve(slug(name))
        if path:
            return path
        words = set(stems(name))
        near = [p for p in self.notes.candidates(sorted(words)) if words and words <= set(stems(self.notes.title(p)))]
        return near[0] if len(near) == 1 else ""

    def new_note(self, name: str, kind: str) -> str:
        path = f"{self.notes.entities}/{slug(name)}.md"
        if path not in self.notes.known:
            self.save(path, f"# {name}\n\n## Basic Information\n- **Type**: {kind}\n\n## Relationships\n")
        return path

    def rewrite(self, line: Line, new: str | None) -> None:
        """Replace one line of a note, or remove it."""
        rows = self.notes.text(line.note).split("\n")
        rows[line.number - 1 : line.number] = [] if new is None else [new]
        self.save(line.note, "\n".join(rows))

    def add_line(self, path: str, section: str, row: str) -> int:
        """Append a line to a section, creating it if it is missing; returns the line's number."""
        rows = self.notes.text(path).rstrip("\n").split("\n")
        heads = [i for i, text in enumerate(rows) if text.startswith("#")]
        at = next((i for i in heads if fold(rows[i].lstrip("# ")) == fold(section)), -1)
        if at < 0:
            rows += ["", f"## {section}"]
            at = len(rows) - 1
        end = next((i for i in heads if i > at), len(rows))
        while end - 1 > at and not rows[end - 1].strip():
            end -= 1
        rows.insert(end, row)
        self.save(path, "\n".join(rows) + "\n")
        return end + 1

    def tell(self, what: str, path: str, text: str, old: str = "") -> None:
        self.done[what].append({"note": path, "text": text.strip()[:120], "old": old.strip()[:120]})

    # operations

    def put(self, op: dict[str, Any]) -> None:
        """Write `key: value`: replaces the note's value under the same key, or adds to a list."""
        path = self.note_of(op["who"])
        value = op["value"]
        for line in self.notes.read(path)[1]:
            if not line.key or sorted(line.stems) not in op["alias"] or line.key == "Full Name":
                continue
            if fold(line.value) == fold(value) or (op["how"] == "add" and fold(value) in fold(line.value)):
                return self.tell("known", path, line.text)
            full = f"{line.value}, {value}" if op["how"] == "add" and line.value else value
            return self.change(line, full)
        row = f"- **{op['key']}**: {value}"
        self.add_line(path, op.get("section") or "Basic Information", row)
        self.tell("saved", path, row)
        if op["key"] == "Name" and path == self.notes.user and self.notes.text(path).startswith("# User\n"):
            self.save(path, f"# {value}" + self.notes.text(path)[6:])
        return None

    def change(self, line: Line, value: str) -> None:
        """Give a line a new value, in the line's own style."""
        head = line.text.rstrip("\r")
        cut = head.rfind(line.value) if line.value else len(head)
        row = (head[:cut] + ("" if line.value else " ") + value).rstrip()
        self.rewrite(line, row + head[cut + len(line.value) :])
        self.tell("changed", line.note, row, line.value)

    def link(self, op: dict[str, Any], quiet: bool = False) -> None:
        """Write a link to the note of a name, and one back."""
        path = self.note_of(op["who"])
        old = [line for line in self.notes.read(path)[1] if line.key and sorted(line.stems) in op["alias"]]
        target = self.named(op["name"])
        if not target and old and [fold(link.rsplit("/", 1)[-1]) for link in old[0].links] == [slug(op["key"])]:
            target = self.rename(old[0], op["name"])
            if target:
                return self.tell("changed", path, f"- **{op['key']}**: {op['name']}", old[0].value)
        target = target or self.new_note(op["name"], op["type"])
        if target == path:
            return None
        row = f"- **{op['key']}**: [[{self.style(target)}]]"
        if any(self.notes.resolve(link) == target for line in old for link in line.links):
            return self.tell("known", path, row)
        if old and op["how"] == "set":
            self.unlink_back(old[0])
            self.change(old[0], f"[[{self.style(target)}]]")
        else:
            self.add_line(path, "Relationships", row)
            if not quiet:
                self.tell("saved", path, row)
        back = f"- **{op['back']}**: [[{self.style(path)}]]"
        if not any(self.notes.resolve(link) == path for line in self.notes.read(target)[1] for link in line.links):
            self.add_line(target, "Relationships", back)
        return None

    def rename(self, line: Line, name: str) -> str:
        """Rename the note of someone known only by relation, now that the name is known."""
        placeholder, path = self.notes.resolve(line.links[0]), f"{self.notes.entities}/{slug(name)}.md"
        if not placeholder or path in self.notes.known:
            return ""
        rows = self.notes.text(placeholder).split("\n")
        self.save(path, "\n".join([f"# {name}", *rows[1:]]))
        self.remove_note(placeholder)
        self.rewrite(line, line.text.replace(line.links[0], path[:-3]))
        return path

    def unlink_back(self, line: Line) -> None:
        """Remove the links back for the links of this line."""
        for link in line.links:
            other = self.notes.resolve(link)
            for back in self.notes.read(other)[1] if other else []:
                if back.key and [self.notes.resolve(x) for x in back.links] == [line.note]:
                    mirrored = back.stems == line.stems or back.key == f"{line.key} Of" or line.key == "Works At"
                    if mirrored:
                        self.rewrite(back, None)
                        break

    def style(self, path: str) -> str:
        """The text of a link to a note, in the style of the links in user.md."""
        bare = [link for line in self.notes.read(self.notes.user)[1] for link in line.links]
        if path == self.notes.user:
            return path[:-3]
        plain = bool(bare) and all(link.endswith(".md") and "/" not in link for link in bare)
        return path.rsplit("/", 1)[-1] if plain else path[:-3]

    def note(self, op: dict[str, Any]) -> None:
        """Keep a sentence unchanged."""
        path, row = self.note_of("me"), f"- {op['text']}"
        if row in self.notes.text(path).split("\n"):
            return self.tell("known", path, row)
        self.add_line(path, "Notes", row)
        self.tell("saved", path, row)
        return None

    def remove_note(self, path: str) -> None:
        if self.notes.tools["delete_file"](path) is True:
            self.notes.remove(path)
        else:
            self.done["failed"].append(f"{path} could not be deleted")


def slug(name: str) -> str:
    """A note's file name for a title: lower case, blanks as underscores."""
    kept = "".join(c if c.isalnum() or c in ".'’-_" else "_" for c in name.lower().strip())
    return "_".join(part for part in kept.strip("._-").split("_") if part)[:80] or "note"
