"""The text of a reply, from what the block found or changed. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ._plan import BlockPlan

NOTICE = "(I am offline-rules: fixed rules, not a language model. For a real one set TRIOAGENT_MODEL or give --model.)"
OUT_OF_SCOPE = "I am rules, not a language model; set TRIOAGENT_MODEL or --model to use one for this."
IDENTITY = (
    "I am offline-rules: rules, not a language model. I note down facts you tell me in plain sentences, "
    "correct and forget them, "
    "and answer questions from your notes, with the line. Set TRIOAGENT_MODEL or --model to use a language model."
)
GREETING = "Hello! Tell me something to remember, or ask me about your notes."
THANKS = "You are welcome."
UNCLEAR = 'I found no fact that I know how to note in that. Say "remember that …" to keep a sentence as it is.'
_BARE = {"has": "have", "is": "are", "does": "do", "goes": "go"}
_VERBS = frozenset(
    "likes loves enjoys dislikes hates prefers plays collects owns drives teaches makes wears speaks studies employs "
    "uses mentors has".split()
)
_TRUE, _FALSE = ("true", "yes"), ("false", "no")


def _is_users(row: Mapping[str, Any]) -> bool:
    """Whether a line is from the user's note."""
    return str(row.get("note", "")).rpartition("/")[2] == "user.md"


def _plain(text: object, limit: int = 400) -> str:
    """Text from a note for a reply: one line, bounded, without tags of the reply protocol."""
    line = re.sub(r"\s+", " ", str(text))
    line = re.sub(r"<(?=/?\s*(?:think|python|reply|result)\b)", "‹", line, flags=re.IGNORECASE)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _where(row: Mapping[str, Any]) -> str:
    return f'({_plain(row.get("note", "?"))}, line {row.get("line", "?")}: "{_plain(row.get("text", ""), 200)}")'


def _rows(data: object) -> list[Mapping[str, Any]]:
    return [row for row in data if isinstance(row, Mapping)] if isinstance(data, list | tuple) else []


def _predicate(key: str, mine: bool) -> str:
    """A key that is a verb, as a predicate: "Lives In" becomes "You live in" or "lives in"; else ""."""
    match = re.match(r"([a-z]+s)((?: [a-z-]+)*? (?:in|at|with|for|from|to|by|on|using|as|up in))?$", key)
    if not match or (not match[2] and key not in _VERBS):
        return ""
    verb = match[1]
    if mine:
        verb = _BARE.get(verb) or (
            verb[:-3] + "y" if verb.endswith("ies") else verb[:-2] if verb.endswith(("ches", "shes")) else verb[:-1]
        )
    return verb + (match[2] or "")


def _texts(data: object) -> list[str]:
    return [text for text in data if isinstance(text, str)] if isinstance(data, list | tuple) else []


def _statement(row: Mapping[str, Any], checks: bool) -> str:
    """One found line as a sentence."""
    value, key = _plain(row.get("value", "")), _plain(row.get("key", ""), 80).replace("_", " ")
    key = " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in key.split())
    mine, subject = _is_users(row), _plain(row.get("subject", "?"), 80)
    if checks and value.casefold() in _TRUE + _FALSE:
        return f"{'Yes' if value.casefold() in _TRUE else 'No'}. {_where(row)}"
    if not key:
        said = value
    elif verb := _predicate(key, mine):
        said = f"{'You' if mine else subject} {verb} {value}"
    elif key.split()[0].endswith("ed") or any(word.endswith("s") and word[-2:-1] != "s" for word in key.split()):
        said = f"{'Your' if mine else subject + ','} {key}: {value}"
    else:
        said = f"{'Your' if mine else subject + chr(39) + 's'} {key} is {value}"
    return f"{said[:1].upper()}{said[1:].rstrip('.')}. {_where(row)}"


def describe_answer(plan: BlockPlan, found: Mapping[str, Any]) -> str:
    """The answer to the plan's question."""
    ask = plan.ask or {}
    rows = _rows(found.get("found"))
    if rows:
        checks = bool(ask.get("yes_no"))
        if checks and rows[0].get("in_value"):
            return f"Yes. {_statement(rows[0], checks)}"
        if ask.get("person") and rows[0].get("in_value") and not _is_users(rows[0]):
            return " ".join(f"{_plain(row.get('subject', '?'), 80)}. {_where(row)}" for row in rows)
        return " ".join(_statement(row, checks) for row in rows)
    about = found.get("about")
    if isinstance(about, Mapping) and _rows(about.get("lines")):
        facts = "; ".join(
            f"{_plain(r['key'], 60) + ': ' if r.get('key') else ''}{_plain(r.get('value', ''), 160)}"
            for r in _rows(about["lines"])
        )
        more = f" and {about['more']} more lines" if about.get("more") else ""
        return f"{_plain(about.get('title', ''), 80)} ({_plain(about.get('note', '?'))}): {facts}{more}."
    question = _plain(plan.question, 160)
    reply = f"I do not know: I looked through {found.get('notes', 0)} notes and found no line that answers “{question}”"
    near = _rows(found.get("near"))
    return f"{reply}; the nearest was {_where(near[0])}." if near else f"{reply}."


def _fact(row: Mapping[str, Any]) -> str:
    text = re.sub(r"^[-*+]\s+|\*\*|__", "", str(row.get("text", "")))
    return _plain(re.sub(r"\[\[(?:[^\]]*/)?([^\]/]+?)(?:\.md)?\]\]", r"[[\1]]", text), 200)


def _listed(rows: Sequence[Mapping[str, Any]]) -> str:
    """Facts by note: "Name: Ada; Lives In: London (user.md)"."""
    notes: dict[str, list[str]] = {}
    for row in rows:
        notes.setdefault(_plain(row.get("note", "?")), []).append(_fact(row))
    return ", and ".join(f"{'; '.join(facts)} ({note})" for note, facts in notes.items())


def describe_changes(done: Mapping[str, Any]) -> str:
    """The facts that were noted, changed and removed, and those that were not."""
    said = []
    if rows := _rows(done.get("saved")):
        said.append(f"Noted: {_listed(rows)}.")
    if rows := _rows(done.get("changed")):
        said.append(
            "Changed: "
            + "; ".join(
                f"{_fact(r)}, was {_fact({'text': r.get('old', '')}) or 'empty'} ({_plain(r.get('note', '?'))})"
                for r in rows
            )
            + "."
        )
    if rows := _rows(done.get("removed")):
        said.append(f"Removed: {_listed(rows)}.")
    if rows := _rows(done.get("known")):
        said.append(f"I had that already: {_listed(rows)}.")
    for missed in _texts(done.get("missed")):
        said.append(f"I found nothing in the notes about “{_plain(missed, 100)}”, so nothing was changed for it.")
    for failed in _texts(done.get("failed")):
        said.append(f"This could not be saved: {_plain(failed)}")
    return " ".join(said) or "Nothing needed to change."


def describe_talk(plan: BlockPlan) -> str:
    """The reply to sentences that need no notes."""
    said = []
    for kind, words in (("greeting", GREETING), ("thanks", THANKS), ("identity", IDENTITY), ("task", OUT_OF_SCOPE)):
        if kind in plan.talk:
            said.append(words)
    if plan.unclear and not plan.ops:
        said.append(UNCLEAR)
    if plan.cut:
        said.append("The message was too long for me; I read only its beginning.")
    return " ".join(said)


def describe_failure(error: str) -> str:
    """The reply when the block failed."""
    saved = "" if "Nothing was saved" in error else " Nothing was saved."
    if re.search(r"(?:ModuleNotFound|Import)Error\b.*\boffline_rules\b", error):
        return (
            "My blocks need the library offline_rules, and this sandbox does not offer it: use the kernel tier, or a "
            f"language model (TRIOAGENT_MODEL or --model). It said: {_plain(error)}{saved}"
        )
    return f"That did not work: {_plain(error.strip().splitlines()[-1] if error.strip() else error)}{saved}"
