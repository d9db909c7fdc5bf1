"""Training conversations for several personas at once: what they told must have reached the notes, or it is refused."""

import asyncio

from trioagent.compat.async_agent.async_sft_adapter import async_generate_conversations_batch
from trioagent.sft import ScriptedPersona

HOMES = {"Ana Costa": "Porto", "Ben Silva": "Faro", "Mia Rocha": "Braga"}


def persona(name: str, city: str) -> dict[str, object]:
    return {
        "name_surname": name,
        "age": 40,
        "gender": "female",
        "birthplace": {"city": city, "country": "Portugal"},
        "occupation": "teacher",
        "detailed_backstory": "Has lived in many towns.",
        "relationships": [{"name_surname": "Rui Costa", "relationship": "brother"}],
    }


async def main() -> None:
    results = await async_generate_conversations_batch(
        personas=[persona(name, city) for name, city in HOMES.items()],
        facts_per_persona=[[f"I live in {city}.", "I work at Northwind Traders."] for city in HOMES.values()],
        persona_model_factory=ScriptedPersona,  # a model of yours with `achat` plays the user as well
        num_turns=4,
        max_concurrent=10,
    )
    for name, accepted in zip(HOMES, results, strict=True):
        print(f"{name}: {'accepted' if accepted else 'not accepted'}")
    print(f"Success rate: {sum(results) / len(results):.2%}")


if __name__ == "__main__":
    asyncio.run(main())
