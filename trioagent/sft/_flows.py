"""The initial notes and the persona's task of each flow. Pure.

=============  ==========================================================  ==========================================
flow           the initial notes                                           the persona
=============  ==========================================================  ==========================================
``introduce``  none                                                        states all facts
``update``     every fact, with ``previous`` in place of each change       states the facts that change
``retrieve``   every fact                                                  asks for every fact
=============  ==========================================================  ==========================================
"""

from __future__ import annotations

from collections.abc import Sequence

from .._config import Flow
from .._errors import InvalidInputError
from ._checks import check
from ._persona import Birthplace, Fact, Persona
from ._static_memory import USER, static_memory
from ._transcript import Exchange, Transcript
from ._words import words_of

_ANYBODY = Persona(
    name_surname="(somebody)",
    age=0,
    gender="-",
    birthplace=Birthplace(city="-", country="-"),
    occupation="-",
    detailed_backstory="-",
    relationships=(),
)

_OPENING = (
    "You are talking to an assistant that keeps notes about you. Send at most {turns} messages, one at a time. "
    "Each time you are given the assistant's reply, answer with the words of your next message and nothing else; "
    "answer with nothing when you have nothing more to say."
)


def check_facts(flow: Flow, facts: Sequence[Fact], where: str, persona: Persona | None = None) -> None:
    """Check that *facts* can be used in *flow*, and that a conversation about each of them can be accepted at all.

    Args:
        where: the name of the facts in errors.
        persona: whose facts they are.

    Raises:
        InvalidInputError: they cannot; the fact is named.
    """
    if flow == "update" and not any(fact.previous for fact in facts):
        raise InvalidInputError(where, "has no fact that changes; the flow 'update' needs one with `previous`")
    for index, fact in enumerate(facts):
        for name in ("fact_description", "previous", "answer"):
            text = getattr(fact, name)
            if text and not words_of(text):
                raise InvalidInputError(f"{where}[{index}].{name}", f"has no word to recognise it by: {text!r:.100}")
        if flow == "update" and fact.previous.strip() == fact.fact_description.strip():
            raise InvalidInputError(f"{where}[{index}].previous", f"is the same as the fact: {fact.previous!r}")
        if flow == "update" and not fact.previous:
            continue
        if problem := _never_accepted(flow, fact, persona or _ANYBODY):
            raise InvalidInputError(f"{where}[{index}]", f"no conversation about it could be accepted: {problem}")


def _never_accepted(flow: Flow, fact: Fact, persona: Persona) -> str:
    """What the checks reject in the best possible conversation about *fact*; "" if they accept it."""
    answer = fact.answer or fact.fact_description
    said, reply = (fact.question or "?", answer) if flow == "retrieve" else (fact.fact_description, "Noted.")
    before = notes_before(flow, persona, [fact])
    plain = {USER: f"- {fact.fact_description}\n"}
    problem = ""
    for after in (before if flow == "retrieve" else static_memory(persona, [fact.fact_description]), plain):
        best = Transcript(
            flow=flow,
            persona=persona,
            facts=(fact,),
            messages=(),
            exchanges=(Exchange(said=said, reply=reply),),
            before=before,
            after=after,
        )
        wrong = [verdict for verdict in check(best) if not verdict.passed]
        if not wrong:
            return ""
        problem = problem or f"{wrong[0].check}: {wrong[0].reason}"
    return problem


def notes_before(flow: Flow, persona: Persona, facts: Sequence[Fact]) -> dict[str, str]:
    """The initial notes of every attempt, as texts by path."""
    if flow == "introduce":
        return {}
    held = [fact.previous if flow == "update" and fact.previous else fact.fact_description for fact in facts]
    return static_memory(persona, held)


def instruction(flow: Flow, facts: Sequence[Fact], num_turns: int) -> str:
    """The instruction for a persona model that gets no facts otherwise: what to talk about, and how."""
    match flow:
        case "introduce":
            task = "Tell it these facts about yourself, in your own words, spread over your messages:"
            items = [fact.fact_description for fact in facts]
        case "update":
            task = "Its notes are out of date. Tell it what has changed, in your own words:"
            items = [f"before: {fact.previous} now: {fact.fact_description}" for fact in facts if fact.previous]
        case "retrieve":
            task = (
                "Ask it about each of these facts about yourself, one in each message. Never tell the answer yourself:"
            )
            items = [fact.question or fact.fact_description for fact in facts]
    return "\n".join([_OPENING.format(turns=num_turns), task, *(f"- {item}" for item in items)])
