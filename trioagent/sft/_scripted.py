"""A persona that follows a script made from its facts; for tests, examples, and models that need plain sentences."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from .._config import Flow
from .._errors import InvalidInputError
from ._flows import check_facts
from ._persona import Fact, Persona, read_facts, read_persona
from ._words import adds_to

_SMALL_INSIDE = re.compile(r"(?:My|We|Our|The|An?|There|Some|Every|It|This)\b")
_PLAIN_VERB = re.compile(r"I (?!(?:am|was|have|had|do|did|can|will|would|could|should|must|may|might)\b)(?=[a-z])")
_HELPER = re.compile(r"(?:I (?:am|have)|I'm|My [\w' -]{2,60}? (?:is|are))\b")


class ScriptedPersona:
    """States, corrects or asks in plain sentences, the same ones each time; without a model, and free.

    - introduce: says its name, then "Remember that …" for each fact, spread evenly over *num_turns* messages; if there
      are fewer facts than messages, the persona's fields fill the rest.
    - update: for each fact that changes, that the old one is no longer true, and the new one.
    - retrieve: each fact's `question`.

    After that it ends the conversation.

    Args:
        persona, facts: of any kind that `generate_conversations` accepts.

    Raises:
        InvalidInputError: a field cannot be used, a fact has no `question` (retrieve), or none has `previous` (update).
    """

    name = "scripted"

    def __init__(self, persona: object, facts: object, *, flow: Flow = "introduce", num_turns: int = 4) -> None:
        self._lines = iter(script(read_persona(persona), read_facts(facts), flow, num_turns))

    async def achat(self, message: str | None = None) -> str:
        """The next line of the script, whatever the reply was; "" at its end."""
        return next(self._lines, "")  # noqa: ASYNC910 - asyncio awaits it too, so it cannot be a checkpoint of Trio


def script(persona: Persona, facts: Sequence[Fact], flow: Flow, num_turns: int) -> list[str]:
    """The messages of a scripted persona, at most *num_turns*."""
    check_facts(flow, facts, "facts", persona)
    match flow:
        case "introduce":
            statements = [_tell(fact.fact_description) for fact in facts]
            lines = [
                f"Hello! My name is {persona.name_surname}.",
                *_profile(persona, num_turns - 1 - len(statements)),
                *statements,
            ]
        case "update":
            lines = [_correct(fact) for fact in facts if fact.previous]
        case "retrieve":
            for index, fact in enumerate(facts):
                if not fact.question:
                    raise InvalidInputError(
                        f"facts[{index}].question", "is missing, and a scripted persona asks no other"
                    )
            lines = [fact.question for fact in facts]
    return _spread(lines, num_turns)


def _spread(lines: Sequence[str], turns: int) -> list[str]:
    """*lines* in at most *turns* messages of about equal numbers of lines."""
    turns = min(turns, len(lines))
    cuts = [len(lines) * turn // turns for turn in range(turns + 1)]
    return [" ".join(lines[start:end]) for start, end in pairwise(cuts)]


def _profile(persona: Persona, count: int) -> list[str]:
    born = persona.birthplace
    lines = [f"I am {persona.age} years old.", f"I was born in {born.city}, {born.country}."]
    lines += [f"My {someone.relationship} is {someone.name_surname}." for someone in persona.relationships]
    return lines[: max(0, count)]


def _tell(fact: str) -> str:
    """The fact, with a request to keep it: some sentences would pass for small talk."""
    sentence = _sentence(fact)
    if _SMALL_INSIDE.match(sentence):
        sentence = sentence[0].lower() + sentence[1:]
    return f"Remember that {sentence}"


def _sentence(fact: str) -> str:
    fact = fact.strip()
    return fact if fact[-1] in ".!?" else f"{fact}."


def _correct(fact: Fact) -> str:
    """That the old fact is no longer true, if that can be said easily, and the new one."""
    new, old = _sentence(fact.fact_description), fact.previous.strip().rstrip(".")
    if adds_to(fact.fact_description, fact.previous):
        return new
    if _PLAIN_VERB.match(old):
        return f"{_PLAIN_VERB.sub('I no longer ', old, count=1)}. {new}"
    if match := _HELPER.match(old):
        return f"{match[0]} no longer{old[match.end() :]}. {new}"
    return new
