"""Personas and facts for tests."""

from __future__ import annotations

from typing import Any

from trioagent.sft import Fact, Persona, read_persona

LIVES = Fact(
    fact_description="I live in Porto.", previous="I live in Lisbon.", question="Where do I live?", answer="Porto"
)
SISTER = Fact(fact_description="My sister Ada lives in Rome.", question="Where does my sister live?", answer="Rome")
CELLO = Fact(fact_description="I play the cello.", question="What do I play?", answer="cello")


def persona_body(name: str = "Mara Holt", **more: Any) -> dict[str, Any]:
    return {
        "name_surname": name,
        "age": 34,
        "gender": "female",
        "birthplace": {"city": "Ghent", "country": "Belgium"},
        "occupation": "baker",
        "detailed_backstory": "Left a bank to open a bakery.",
        "relationships": [{"name_surname": "Ada Holt", "relationship": "sister"}],
        **more,
    }


def persona(name: str = "Mara Holt", **more: Any) -> Persona:
    return read_persona(persona_body(name, **more))
