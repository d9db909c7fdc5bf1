"""LoCoMo: long conversations in dated sessions, and questions about them by category.

Data: a ``locomo*.json`` file, or a folder with one: conversations with ``conversation`` (``session_N``,
``session_N_date_time``) and ``qa`` (``question``, ``answer``, ``category``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from ..._errors import InvalidInputError
from .._graders import LocomoF1
from .._suite import Sample, SetUp, need_data
from ._json import as_object, read_json, text_at

_CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}
_SESSION = "This is a conversation between {who} on {date}. Keep what is worth knowing later, with its date.\n\n{text}"
_ASKED = (
    "{question}\nAnswer in a few words, with the date where it asks for one. If it was not mentioned, answer: not "
    "mentioned."
)


@attrs.frozen
class Locomo:
    """The suite."""

    name: str = "locomo"
    summary: str = "conversations of many sessions, told in order, and questions about them"
    source: str = "the locomo repository (data/locomo10.json, CC BY-NC 4.0)"

    def load(self, data: Path | None) -> Iterator[Sample]:
        """See `Suite.load`."""
        root = need_data(self, data)
        paths = [root] if root.is_file() else sorted(root.glob("locomo*.json"))
        if not paths:
            need_data(self, root, "locomo*.json")
        for path in paths:
            rows = read_json(path)
            if not isinstance(rows, list):
                raise InvalidInputError(str(path), f"must be a list of conversations, not {rows!r:.60}")
            for number, row in enumerate(rows):
                yield from _samples(as_object(row, f"{path}[{number}]"), f"{path}[{number}]", number)


def _samples(row: Mapping[str, Any], where: str, number: int) -> Iterator[Sample]:
    name = str(row.get("sample_id") or number)
    set_up = SetUp(
        id=name, messages=tuple(_sessions(as_object(row.get("conversation"), f"{where}: conversation"), where))
    )
    for place, asked in enumerate(row.get("qa") or []):
        at = f"{where}: qa[{place}]"
        question = as_object(asked, at)
        category = question.get("category")
        if category not in _CATEGORIES:
            raise InvalidInputError(f"{at}: category", f"must be a number from 1 to 5, not {category!r}")
        expected = "not mentioned" if category == 5 else text_at(question, "answer", at)
        yield Sample(
            id=f"{name}/{place}",
            category=_CATEGORIES[category],
            set_up=set_up,
            messages=(_ASKED.format(question=text_at(question, "question", at)),),
            expected=expected,
            grader=LocomoF1(category, expected),
        )


def _sessions(conversation: Mapping[str, Any], where: str) -> Iterator[str]:
    who = " and ".join(str(conversation[name]) for name in ("speaker_a", "speaker_b") if conversation.get(name))
    numbers = [name.removeprefix("session_") for name in conversation if name.startswith("session_")]
    for number in sorted(int(name) for name in numbers if name.isdigit()):
        turns = [as_object(turn, where) for turn in conversation[f"session_{number}"] or []]
        if turns:
            date = str(conversation.get(f"session_{number}_date_time") or "an unknown day")
            yield _SESSION.format(who=who, date=date, text="\n".join(_line(turn) for turn in turns))


def _line(turn: Mapping[str, Any]) -> str:
    picture = f" (shares a picture: {turn['blip_caption']})" if turn.get("blip_caption") else ""
    return f"{turn.get('speaker', '')}: {turn.get('text', '')}{picture}"


SUITE = Locomo()
