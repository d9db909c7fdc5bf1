"""The initial notes of a conversation: what an agent would have written down about a persona. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

import attrs

from ._persona import Persona
from ._words import states

USER = "user.md"
_SENTENCE_CHARS = 1_000  # longer facts are kept as they are
_BASICS, _RELATIONS, _NOTES = "## Basic Information", "## Relationships", "## Notes"


@attrs.define
class _NoteDraft:
    title: str
    basics: dict[str, str] = attrs.field(factory=dict)
    relations: dict[str, str] = attrs.field(factory=dict)
    notes: list[str] = attrs.field(factory=list)

    def text(self) -> str:
        parts = [f"# {self.title}"]
        for heading, lines in ((_BASICS, self.basics), (_RELATIONS, self.relations)):
            if lines:
                parts.append("\n".join([heading, *(f"- **{key}**: {value}" for key, value in lines.items())]))
        if self.notes:
            parts.append("\n".join([_NOTES, *(f"- {' '.join(text.split())}" for text in self.notes)]))
        return "\n\n".join(parts) + "\n"


def static_memory(persona: Persona, facts: Iterable[str]) -> dict[str, str]:
    """Notes about *persona* that state all of *facts*: texts by path.

    The profile, and every fact that plain English patterns can parse, are written as ``- **Key**: value``, and people
    as notes of their own, linked both ways; all other facts are written verbatim under "Notes". If a fact and the
    profile differ, the fact is used.
    """
    builder = _Builder(persona)
    for fact in facts:
        builder.add(fact)
    return {path: note.text() for path, note in builder.notes.items()}


class _Builder:
    def __init__(self, persona: Persona) -> None:
        self._names = {persona.name_surname.casefold(), persona.name_surname.split()[0].casefold()}
        self._user = _NoteDraft(persona.name_surname)
        self.notes = {USER: self._user}
        born = persona.birthplace
        self._user.basics = {
            "Name": persona.name_surname,
            "Age": str(persona.age),
            "Gender": persona.gender,
            "Birthplace": f"{born.city}, {born.country}",
            "Occupation": persona.occupation,
        }
        self._of_profile = set(self._user.basics)
        for someone in persona.relationships:
            self._link(
                self._user, _title(someone.relationship), someone.name_surname, f"{_title(someone.relationship)} Of"
            )

    def add(self, fact: str) -> None:
        notes, of_profile = deepcopy(self.notes), set(self._of_profile)
        if not (self._read(fact) and self._states(fact)):
            self.notes, self._user, self._of_profile = notes, notes[USER], of_profile
            self._user.notes.append(fact)

    def _states(self, fact: str) -> bool:
        texts = [*self.notes, *(note.text() for note in self.notes.values())]
        return states(fact, texts)

    def _read(self, fact: str) -> bool:
        """Write a fact under its key; False if no pattern parses it, or the key has another value already."""
        from ..models.offline_rules import parse_facts  # imported on use: 50 ms of regular expressions

        if len(fact) > _SENTENCE_CHARS:
            return False
        ops, _ = parse_facts(fact.strip().rstrip(". "))
        return bool(ops) and all(self._apply(op) for op in ops)

    def _apply(self, op: Mapping[str, Any]) -> bool:
        note = self._about(op["who"])
        if note is None:
            return False
        if op["op"] == "link":
            return self._link(note, op["key"], op["name"], op["back"])
        if op["op"] != "put":
            return False
        key, value = op["key"], op["value"]
        held = note.basics.get(key)
        if note is self._user and key in self._of_profile:  # a fact takes precedence over the profile
            self._of_profile.discard(key)
            held = None
        if held is not None and op["how"] == "add" and value not in held:
            value = f"{held}, {value}"
        elif held is not None and held.casefold() != value.casefold():
            return False
        note.basics[key] = value
        return True

    def _about(self, who: object) -> _NoteDraft | None:
        if not isinstance(who, str):
            return None  # somebody without a name
        if who == "me" or who.casefold() in self._names:
            return self._user
        found = [note for path, note in self.notes.items() if path != USER and _is_called(note.title, who)]
        return found[0] if len(found) == 1 else self._someone(who)

    def _someone(self, name: str) -> _NoteDraft:
        return self.notes.setdefault(_path(name), _NoteDraft(name))

    def _link(self, note: _NoteDraft, key: str, name: str, back: str) -> bool:
        other = self._about(name)
        if other is None or other is note or key in note.relations:
            return other is not None and other is not note and _link_to(other.title) in note.relations[key]
        note.relations[key] = _link_to(other.title)
        other.relations.setdefault(back, "[[user]]" if note is self._user else _link_to(note.title))
        return True


def _is_called(title: str, name: str) -> bool:
    return title.casefold() == name.casefold() or title.split()[0].casefold() == name.casefold()


def _title(key: str) -> str:
    return " ".join(word[:1].upper() + word[1:] for word in key.split())


def _path(name: str) -> str:
    words = re.findall(r"[^\W_]+", name.casefold())
    return f"entities/{'_'.join(words)[:100] or 'someone'}.md"


def _link_to(title: str) -> str:
    return f"[[{_path(title).removesuffix('.md')}]]"
