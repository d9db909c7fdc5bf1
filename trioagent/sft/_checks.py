"""The deterministic checks: from a conversation to a verdict each. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import attrs

from .._config import Flow
from .._numbers import with_ascii_digits
from .._polarity import is_asked, is_guess, is_over, sentences
from .._wire import short
from ._persona import Fact, Persona
from ._static_memory import static_memory
from ._tokens import is_number, tokens
from ._transcript import Exchange, Transcript, Verdict
from ._words import Words, adds_to, contradicts, in_order, without_dates, words_in, words_of

Check = Callable[[Transcript], str]  # returns the problem, or ""

_BARE_ANSWER = 6  # words of a sentence that says hardly more than a number


def check(transcript: Transcript) -> list[Verdict]:
    """The verdicts of all the checks for the conversation's flow."""
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
    """No message ended with a block that failed: failures were corrected."""
    for number, exchange in enumerate(transcript.exchanges, 1):
        if exchange.errors and exchange.errors[-1]:
            return f"the last block for message {number} failed: {short(exchange.errors[-1])}"
    return ""


def links_resolve(transcript: Transcript) -> str:
    """No new link of the notes is broken."""
    return f"broken links: {'; '.join(transcript.broken_links)}" if transcript.broken_links else ""


def notes_changed(transcript: Transcript) -> str:
    """Something was written down."""
    return "" if transcript.before != transcript.after else "the notes are as they were"


def facts_told(transcript: Transcript) -> str:
    """The persona brought up every fact that the agent could not know."""
    said = [exchange.said for exchange in transcript.exchanges]
    new_facts = [fact for fact in transcript.facts if _is_new_fact(transcript, fact)]
    return _not_in(transcript, said, new_facts, "the persona did not say")


def facts_noted(transcript: Transcript) -> str:
    """The notes state every fact."""
    return _not_in(transcript, _notes(transcript), transcript.facts, "not in the notes")


def facts_kept(transcript: Transcript) -> str:
    """The notes still state every fact that did not change."""
    kept = [fact for fact in transcript.facts if not _is_new_fact(transcript, fact)]
    return _not_in(transcript, _notes(transcript), kept, "no longer in the notes")


def change_noted(transcript: Transcript) -> str:
    """The new words of a changed fact are in new lines."""
    old_lines = {line for text in transcript.before.values() for line in text.splitlines()}
    new_lines = [line for text in transcript.after.values() for line in text.splitlines() if line not in old_lines]
    new = [*(transcript.after.keys() - transcript.before.keys()), *new_lines]
    changed = [fact for fact in transcript.facts if _is_new_fact(transcript, fact)]
    for fact in changed:
        dateless = [without_dates(text, fact.fact_description) for text in new]
        if problem := _not_in(transcript, dateless, [fact], "not newly noted", lambda fact: _difference(fact)[0]):
            return problem
    reordered = [fact for fact in changed if _same_words(fact)]
    lacking = [fact for fact in reordered if not any(in_order(words_of(fact.fact_description), line) for line in new)]
    return f"not newly noted: {'; '.join(short(fact.fact_description) for fact in lacking)}" if lacking else ""


def old_gone(transcript: Transcript) -> str:
    """No line still states the old fact. A line that marks it as past is allowed, and so is a note's title.

    If the new fact only adds to the old one, a line may state both.
    """
    problems = []
    for fact in transcript.facts:
        if not _is_new_fact(transcript, fact):
            continue
        unconcerned = _lines_without(transcript, fact)
        for path, text in sorted(transcript.after.items()):
            heading = ""
            for line in text.splitlines():
                if line.startswith("#"):
                    heading = line
                if line not in unconcerned and not line.startswith("# ") and _is_stale(fact, line, heading):
                    problems.append(f"{path} still says {short(line.strip())}")
    return "; ".join(problems)


def _is_stale(fact: Fact, line: str, heading: str) -> bool:
    """Whether a line states a fact as it was before it changed."""
    line = with_ascii_digits(line)
    if _same_words(fact):
        old = words_of(fact.previous)
        return in_order(old, line) and not is_over(line, _spoken(old, line))
    new, stale = _difference(fact)
    dateless = without_dates(line, fact.previous)
    said = words_in([dateless])
    if stale.missing(said):
        return False
    if adds_to(fact.fact_description, fact.previous) and not new.missing(said):
        return False
    if not stale.plain and not stale.runs and all(map(is_number, stale.strong)):
        # A number alone is not enough: it must be about the same thing, with no other number beside it.
        about = attrs.evolve(words_of(fact.fact_description), strong=frozenset(), runs=frozenset())
        shared = words_of(fact.previous).plain & about.plain
        if shared and attrs.evolve(about, plain=shared).missing(words_in([dateless, heading])):
            return False
        if new and not new.missing(said):
            return False
    return not is_over(line, _spoken(stale, line))


def _spoken(words: Words, line: str) -> list[str]:
    """The words of a line in which *words* are recognised, as written there."""
    found = [line[token.start : token.end] for token in tokens(line)]
    spoken = [word for word in found if words.without(words_in([word])) != words]
    return spoken or [run for run in words.runs if run in line] or found[:1]


def answered(transcript: Transcript) -> str:
    """For every fact some reply states it, without guessing, to a message that did not state it already."""
    problems = []
    for fact in transcript.facts:
        text = fact.answer or fact.fact_description
        answer = _without_name(transcript.persona, words_of(text))
        reasons = [_unanswered(exchange, answer, fact) for exchange in transcript.exchanges]
        if all(reasons):
            problems.append(f"{short(text)}: {min(reasons, key=len, default='not asked')}")
    return f"not answered: {'; '.join(problems)}" if problems else ""


def _unanswered(exchange: Exchange, answer: Words, fact: Fact) -> str:
    wanted = answer.without(words_in([exchange.said]))
    if not wanted:
        return "the question tells it"
    if missing := wanted.missing(words_in([exchange.reply])):
        return f"no reply says {', '.join(missing)}"
    stating = [one for one in sentences(exchange.reply) if wanted.without(words_in([one])) != wanted]
    if stating and all(is_guess(one, f"{fact.fact_description} {fact.answer}") for one in stating):
        return f"the reply only guesses: {short(stating[0].strip())}"
    if stating and all(contradicts(fact.answer or fact.fact_description, answer, [one]) for one in stating):
        return f"the reply says the opposite: {short(stating[0].strip())}"
    if stating and all(is_asked(one, exchange.reply) for one in stating):
        return f"the reply only asks: {short(stating[0].strip())}"
    if not wanted.plain and not wanted.runs and all(map(is_number, wanted.strong)):
        about = words_of(f"{fact.fact_description} {fact.question} {exchange.said}")
        topic = (about.strong | about.plain) - wanted.strong
        if not any(_is_about(one, topic, about) for one in stating):
            return f"the number in the reply is of something else: {short(stating[0].strip())}"
    return ""


def _is_about(sentence: str, topic: frozenset[str], about: Words) -> bool:
    """Whether a sentence with the right number is about the right thing: it names it, or hardly anything else."""
    named = attrs.evolve(about, strong=topic, plain=frozenset(), runs=frozenset())
    said = words_in([sentence])
    return len(sentence.split()) <= _BARE_ANSWER or named.without(said) != named


def _without_name(persona: Persona, words: Words) -> Words:
    """*words* without the persona's own name, for which people say "I" and "you"; all if nothing else is left."""
    return words.without(words_in([persona.name_surname])) or words


def _is_new_fact(transcript: Transcript, fact: Fact) -> bool:
    """Whether the agent has to learn *fact* in this conversation."""
    return transcript.flow == "introduce" or (transcript.flow == "update" and bool(fact.previous))


def _difference(fact: Fact) -> tuple[Words, Words]:
    """The words that are new in a changed fact, and those no longer in it; all of them if there is none."""
    new, old = words_of(fact.fact_description), words_of(fact.previous)
    return (
        new.without(words_in([fact.previous])) or new,
        old.without(words_in([fact.fact_description])) or old,
    )


def _same_words(fact: Fact) -> bool:
    """Whether only the order of the words distinguishes a fact from the old one."""
    new, old = words_of(fact.fact_description), words_of(fact.previous)
    return (new.strong, new.plain, new.runs) == (old.strong, old.plain, old.runs)


def _lines_without(transcript: Transcript, fact: Fact) -> set[str]:
    """The lines of the initial notes if there were no such *fact*."""
    held = [other.previous or other.fact_description for other in transcript.facts if other is not fact]
    return {line for text in static_memory(transcript.persona, held).values() for line in text.splitlines()}


def _notes(transcript: Transcript) -> list[str]:
    return [*transcript.after.keys(), *transcript.after.values()]


def _not_in(
    transcript: Transcript,
    texts: Sequence[str],
    facts: Iterable[Fact],
    problem: str,
    words: Callable[[Fact], Words] = lambda fact: words_of(fact.fact_description),
) -> str:
    """Which *facts* are not stated by *texts*."""
    found = words_in(texts)
    lacking = []
    for fact in facts:
        wanted = _without_name(transcript.persona, words(fact))
        if missing := wanted.missing(found):
            lacking.append(f"{short(fact.fact_description)} (no {', '.join(missing)})")
        elif reversed_by := contradicts(fact.fact_description, wanted, texts):
            lacking.append(f"{short(fact.fact_description)} ({reversed_by})")
    return f"{problem}: {'; '.join(lacking)}" if lacking else ""


_CHECKS: dict[Flow, tuple[Check, ...]] = {
    "introduce": (replied, blocks_worked, facts_told, notes_changed, facts_noted, links_resolve),
    "update": (replied, blocks_worked, facts_told, notes_changed, change_noted, old_gone, facts_kept, links_resolve),
    "retrieve": (replied, blocks_worked, answered, facts_kept, links_resolve),
}
