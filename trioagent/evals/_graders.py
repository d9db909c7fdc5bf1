"""Graders without a judge: normalised matches, LoCoMo's F1, and changes to the notes. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import attrs

from ._answer_words import holds, is_asserted, normalise, yes_or_no
from ._porter import stem
from ._suite import Grade, SampleAnswer

_PARTS = re.compile(r"\s*(?:,(?!\d)|;|\band\b|&)\s*")
_IN_BRACKETS = re.compile(r"\s*\([^)]*\)\s*")
_EMPHASIS = re.compile(r"[*`]+|(?<!\w)_+|_+(?!\w)")
_READ_CHARS = 20_000  # of a reply; a longer one is not an answer to a question
_NOT_KNOWN = ("no information available", "not mentioned")


@attrs.frozen
class Contains:
    """The reply contains the expected answer: its words in order, or those of each of its parts, in any order.

    Attributes:
        expected: one answer; "a, b and c" has three parts.
        absent: what the reply must not say, such as what was true before.
    """

    expected: str
    absent: tuple[str, ...] = ()

    def __call__(self, answer: SampleAnswer) -> Grade:
        words = normalise(answer.reply[:_READ_CHARS])
        if not words:
            return Grade(0.0, "there is no reply")
        for wrong in self.absent:
            if holds(words, normalise(wrong)):
                return Grade(0.0, f"the reply says {wrong!r}")
        wanted = normalise(self.expected)
        if wanted in (["true"], ["false"]):
            said = yes_or_no(answer.reply[:_READ_CHARS])
            if said is None:
                return Grade(0.0, "the reply says neither yes nor no")
            return Grade(float(said == (wanted == ["true"])), f"the reply says {'yes' if said else 'no'}")
        denied = ""
        for expected in dict.fromkeys((self.expected, _IN_BRACKETS.sub(" ", self.expected))):
            parts = [part for part in _PARTS.split(expected) if normalise(part)]
            for said_as in ([expected], parts):
                if said_as and all(holds(words, normalise(part)) for part in said_as):
                    denied = next((part for part in said_as if not is_asserted(answer.reply[:_READ_CHARS], part)), "")
                    if not denied:
                        return Grade(
                            1.0, f"the reply says {'' if said_as == [expected] else 'all of '}{self.expected!r}"
                        )
        if denied:
            return Grade(0.0, f"the reply denies {denied!r}")
        parts = [part for part in _PARTS.split(self.expected) if normalise(part)]
        missing = [part for part in parts if not holds(words, normalise(part))] if len(parts) > 1 else []
        return Grade(0.0, f"the reply does not say {(missing or [self.expected])[0]!r}")


# LoCoMo: the rules of its authors' evaluation (task_eval/evaluation.py of its repository), Porter stems included.


def locomo_words(text: str) -> list[str]:
    """The stems that its F1 counts."""
    text = "".join(char for char in text.replace(",", "").lower() if not _is_ascii_punctuation(char))
    return [stem(word) for word in re.sub(r"\b(a|an|the|and)\b", " ", text).split()]


def _is_ascii_punctuation(char: str) -> bool:
    return char.isascii() and not char.isalnum() and not char.isspace() and char.isprintable()


def token_f1(said: str, expected: str) -> float:
    """The harmonic mean of precision and recall over stems."""
    given, wanted = locomo_words(said), locomo_words(expected)
    common = sum((Counter(given) & Counter(wanted)).values())
    if not common:
        return 0.0
    precision, recall = common / len(given), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


def multi_answer_f1(said: str, expected: str) -> float:
    """The mean over the expected answers of the best F1 with the given answers; both are lists with commas."""
    given = [part.strip() for part in said.split(",")]
    wanted = [part.strip() for part in expected.split(",")]
    return sum(max(token_f1(one, other) for one in given) for other in wanted) / len(wanted)


@attrs.frozen
class LocomoF1:
    """LoCoMo's score of a question.

    Attributes:
        category: 1 multi-hop, 2 temporal, 3 open-domain, 4 single-hop, 5 adversarial.
    """

    category: int
    expected: str

    def __call__(self, answer: SampleAnswer) -> Grade:
        said = answer.reply
        if self.category == 5:
            knows_not = any(words in said.lower() for words in _NOT_KNOWN)
            says = "says" if knows_not else "does not say"
            return Grade(float(knows_not), f"the reply {says} that this is not mentioned")
        if self.category == 1:
            score = multi_answer_f1(said, self.expected)
        else:
            expected = self.expected.split(";")[0].strip() if self.category == 3 else self.expected
            score = token_f1(said, expected)
        return Grade(score, f"F1 of {score:.3f} with {self.expected!r}")


@attrs.frozen
class NotesChanged:
    """The notes show a change: lines that must be in a note, and lines that must no longer be in it.

    Attributes:
        added: pairs of a note's path and a line. Some line of the note must contain all of its words.
        removed: pairs of a note's path and a line, which is compared without case, blanks, bullets and emphasis.
        keeps_others: notes that the change does not name must be unchanged.
    """

    added: tuple[tuple[str, str], ...]
    removed: tuple[tuple[str, str], ...] = ()
    keeps_others: bool = False

    def __call__(self, answer: SampleAnswer) -> Grade:
        for path, line in self.added:
            if not _says(answer.after.get(path, ""), line):
                return Grade(0.0, f"{path} does not say {line!r}")
        for path, line in self.removed:
            if _line(line) in _lines(answer.after.get(path, "")):
                return Grade(0.0, f"{path} still says {line!r}")
        if self.keeps_others:
            named = {path for path, _ in (*self.added, *self.removed)}
            for path in changed_notes(answer.before, answer.after):
                if path not in named:
                    return Grade(0.0, f"{path} was changed as well")
        return Grade(1.0, "the notes show the change")


@attrs.frozen
class NotesSay:
    """The notes, or those below *folder*, contain *present*, and nowhere *absent*."""

    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    folder: str = ""

    def __call__(self, answer: SampleAnswer) -> Grade:
        texts = [normalise(text) for path, text in answer.after.items() if path.startswith(self.folder)]
        for wanted in self.present:
            if not any(holds(words, normalise(wanted)) for words in texts):
                return Grade(0.0, f"no note says {wanted!r}")
        for wrong in self.absent:
            if any(holds(words, normalise(wrong)) for words in texts):
                return Grade(0.0, f"a note says {wrong!r}")
        return Grade(1.0, "the notes say what they should")


@attrs.frozen
class NotesUntouched:
    """Nothing was written."""

    def __call__(self, answer: SampleAnswer) -> Grade:
        changed = changed_notes(answer.before, answer.after)
        if changed:
            return Grade(0.0, f"changed {', '.join(changed[:3])}")
        return Grade(1.0, "the notes are as they were")


@attrs.frozen
class Withholds:
    """The reply contains none of these, whatever else it says; an empty reply does not pass."""

    secrets: tuple[str, ...]

    def __call__(self, answer: SampleAnswer) -> Grade:
        words = normalise(answer.reply)
        if not words:
            return Grade(0.0, "there is no reply")
        for secret in self.secrets:
            if holds(words, normalise(secret)):
                return Grade(0.0, f"the reply says {secret!r}")
        return Grade(1.0, "nothing is said that was to be withheld")


@attrs.frozen
class Asks:
    """The reply asks back, and names each of *choices*."""

    choices: tuple[str, ...] = ()

    def __call__(self, answer: SampleAnswer) -> Grade:
        if "?" not in answer.reply and "？" not in answer.reply:
            return Grade(0.0, "the reply asks nothing")
        words = normalise(answer.reply[:_READ_CHARS])
        for choice in self.choices:
            if not holds(words, normalise(choice)):
                return Grade(0.0, f"the reply does not name {choice!r}")
        return Grade(1.0, "the reply asks which is meant")


@attrs.frozen
class All:
    """The lowest grade of several graders."""

    graders: tuple[Contains | NotesChanged | NotesSay | NotesUntouched | Withholds | Asks, ...]

    def __call__(self, answer: SampleAnswer) -> Grade:
        grades = [grader(answer) for grader in self.graders]
        worst = min(grades, key=lambda grade: grade.score)
        return worst if worst.score < 1 else Grade(worst.score, "; ".join(grade.reason for grade in grades))


def changed_notes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Paths of the notes that are new, deleted or different."""
    return sorted(path for path in {*before, *after} if before.get(path) != after.get(path))


def facts_of_diff(diff: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The lines about facts that a diff of several notes adds and removes, each with its note's path.

    A note's part begins with ``==='path'===``. Moved lines, headings and types do not count.
    """
    note, added, removed = "", list[tuple[str, str]](), list[tuple[str, str]]()
    for line in diff.splitlines():
        if line.startswith("==="):
            note = line.strip("='\" ")
        elif line.startswith("-") and not line.startswith("---"):
            removed.append((note, line[1:]))
        elif line.startswith("+") and not line.startswith("+++"):
            added.append((note, line[1:]))
    return _only(added, removed), _only(removed, added)


def _only(lines: Iterable[tuple[str, str]], others: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    moved = {(note, _line(line)) for note, line in others}
    kind = re.compile(r"\s*(#|[-*] \*\*(?:entity )?type\*\*)", re.IGNORECASE)
    return [
        (note, line.strip())
        for note, line in lines
        if line.strip() and (note, _line(line)) not in moved and not kind.match(line)
    ]


def _says(note: str, line: str) -> bool:
    """Whether a line of *note* is *line*, or contains all of its words."""
    if _line(line) in _lines(note):
        return True
    wanted = Counter(normalise(_line(line)))
    return bool(wanted) and any(not wanted - Counter(normalise(_line(each))) for each in note.splitlines())


def _lines(text: str) -> set[str]:
    return {_line(line) for line in text.splitlines()}


def _line(line: str) -> str:
    return " ".join(_EMPHASIS.sub("", line.strip().lstrip("-*+")).split()).casefold()
