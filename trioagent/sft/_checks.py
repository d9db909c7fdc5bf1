"""The deterministic checks: from a conversation to a verdict each. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from .._config import Flow
from .._wire import short
from ._persona import Fact, Persona
from ._static_memory import static_memory
from ._transcript import Exchange, Transcript, Verdict
from ._words import Words, adds_to, words_in, words_of

Check = Callable[[Transcript], str]  # gives what is wrong, or ""

# A line that says how it was before is a record of the change, not the old fact.
_PAST = re.compile(
    r"\b(?:was|were|had|used to|until|before|previous(?:ly)?|former(?:ly)?|earlier|once|old|past|history|"
    r"no longer|not|stopped|quit|left|changed|moved from|instead of|replaced|ex)\b|~~",
    re.IGNORECASE,
)


def check(transcript: Transcript) -> list[Verdict]:
    """The verdicts of all the checks that the conversation's flow asks for."""
    verdicts = []
    for wrong in _CHECKS[transcript.flow]:
        reason = wrong(transcript)
        verdicts.append(Verdict(wrong.__name__, not reason, reason))
    return verdicts


def replied(transcript: Transcript) -> str:
    """Every message of the persona got a reply, by answers that were complete."""
    if not transcript.exchanges:
        return "the persona said nothing"
    for number, exchange in enumerate(transcript.exchanges, 1):
        if exchange.stop_reason != "reply" or not exchange.reply.strip():
            return f"message {number} got no reply ({exchange.stop_reason})"
        if exchange.cut:
            return f"an answer to message {number} was cut by a token limit or a content filter"
    return ""


def blocks_worked(transcript: Transcript) -> str:
    """No message was left with a block that failed: what went wrong was put right."""
    for number, exchange in enumerate(transcript.exchanges, 1):
        if exchange.errors and exchange.errors[-1]:
            return f"the last block for message {number} failed: {short(exchange.errors[-1])}"
    return ""


def links_resolve(transcript: Transcript) -> str:
    """No link of the notes leads nowhere that did not before."""
    return f"broken links: {'; '.join(transcript.broken_links)}" if transcript.broken_links else ""


def notes_changed(transcript: Transcript) -> str:
    """Something was written down."""
    return "" if transcript.before != transcript.after else "the notes are as they were"


def facts_told(transcript: Transcript) -> str:
    """The persona brought up every fact that the agent could not know."""
    said = words_in(exchange.said for exchange in transcript.exchanges)
    news = [fact for fact in transcript.facts if _is_news(transcript, fact)]
    return _not_in(transcript, said, news, "the persona did not say")


def facts_noted(transcript: Transcript) -> str:
    """The notes state every fact."""
    return _not_in(transcript, _notes(transcript), transcript.facts, "not in the notes")


def facts_kept(transcript: Transcript) -> str:
    """The notes still state every fact that did not change."""
    kept = [fact for fact in transcript.facts if not _is_news(transcript, fact)]
    return _not_in(transcript, _notes(transcript), kept, "no longer in the notes")


def change_noted(transcript: Transcript) -> str:
    """What is new in a fact that changed stands in lines that are new."""
    old_lines = {line for text in transcript.before.values() for line in text.splitlines()}
    new_lines = (line for text in transcript.after.values() for line in text.splitlines() if line not in old_lines)
    new = words_in([*(transcript.after.keys() - transcript.before.keys()), *new_lines])
    changed = [fact for fact in transcript.facts if _is_news(transcript, fact)]
    return _not_in(
        transcript, new, changed, "not newly noted", lambda fact: _apart(fact.fact_description, fact.previous)
    )


def old_gone(transcript: Transcript) -> str:
    """No line still states what held before. One that says that it is over does no harm, nor does a note's title.

    Where the new fact only adds to the old one, a line may state both.
    """
    problems = []
    for fact in transcript.facts:
        if not _is_news(transcript, fact):
            continue
        stale = _apart(fact.previous, fact.fact_description)
        added = _apart(fact.fact_description, fact.previous) if adds_to(fact.fact_description, fact.previous) else None
        unconcerned = _lines_without(transcript, fact)
        for path, text in sorted(transcript.after.items()):
            for line in text.splitlines():
                if (
                    line not in unconcerned
                    and not line.startswith("# ")
                    and not stale.missing(words_in([line]))
                    and not _PAST.search(line)
                    and not (added and not added.missing(words_in([line])))
                ):
                    problems.append(f"{path} still says {short(line.strip())}")
    return "; ".join(problems)


def answered(transcript: Transcript) -> str:
    """For every fact there is a reply that says it, to a message that did not say it already."""
    problems = []
    for fact in transcript.facts:
        answer = _said_of(transcript.persona, words_of(fact.answer or fact.fact_description))
        reasons = [_unanswered(exchange, answer) for exchange in transcript.exchanges]
        if all(reasons):
            problems.append(
                f"{short(fact.answer or fact.fact_description)}: {min(reasons, key=len, default='not asked')}"
            )
    return f"not answered: {'; '.join(problems)}" if problems else ""


def _unanswered(exchange: Exchange, answer: Words) -> str:
    wanted = answer - words_in([exchange.said])
    if not wanted:
        return "the question tells it"
    missing = wanted.missing(words_in([exchange.reply]))
    return f"no reply says {', '.join(missing)}" if missing else ""


def _said_of(persona: Persona, words: Words) -> Words:
    """*words* without the persona's own name, which "I" and "you" stand for; all of them if nothing else is left."""
    return words - words_in([persona.name_surname]) or words


def _is_news(transcript: Transcript, fact: Fact) -> bool:
    """Whether the agent has to learn *fact* in this conversation."""
    return transcript.flow == "introduce" or (transcript.flow == "update" and bool(fact.previous))


def _apart(text: str, other: str) -> Words:
    """The words that tell *text* from *other*; all of them if none does."""
    words = words_of(other)
    return words_of(text) - (words.strong | words.plain) or words_of(text)


def _lines_without(transcript: Transcript, fact: Fact) -> set[str]:
    """The lines that the notes would have begun with if there were no such *fact*."""
    held = [other.previous or other.fact_description for other in transcript.facts if other is not fact]
    return {line for text in static_memory(transcript.persona, held).values() for line in text.splitlines()}


def _notes(transcript: Transcript) -> frozenset[str]:
    return words_in([*transcript.after.keys(), *transcript.after.values()])


def _not_in(
    transcript: Transcript,
    found: frozenset[str],
    facts: Iterable[Fact],
    problem: str,
    words: Callable[[Fact], Words] = lambda fact: words_of(fact.fact_description),
) -> str:
    """Which *facts* are not stated by the words *found*."""
    lacking = [(fact, _said_of(transcript.persona, words(fact)).missing(found)) for fact in facts]
    described = [f"{short(fact.fact_description)} (no {', '.join(missing)})" for fact, missing in lacking if missing]
    return f"{problem}: {'; '.join(described)}" if described else ""


_CHECKS: dict[Flow, tuple[Check, ...]] = {
    "introduce": (replied, blocks_worked, facts_told, notes_changed, facts_noted, links_resolve),
    "update": (replied, blocks_worked, facts_told, notes_changed, change_noted, old_gone, facts_kept, links_resolve),
    "retrieve": (replied, blocks_worked, answered, facts_kept, links_resolve),
}
