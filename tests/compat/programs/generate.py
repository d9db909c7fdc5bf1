"""Training conversations with personas, at once; the persona's own words come from a model too."""

import asyncio
import json

from agent.async_agent import get_model_response
from agent.async_agent.async_sft_adapter import async_generate_conversations_batch


class Persona:
    def __init__(self, persona, facts):
        self.facts = list(facts)

    async def achat(self, message=None):
        text = self.facts.pop(0)["fact_description"] if self.facts else "Thank you, that is all."
        return await get_model_response(message=f"SAY {text}", model="some/persona", use_vllm=True)


PERSONA = {
    "name_surname": "Ana Costa",
    "age": 40,
    "gender": "female",
    "birthplace": {"city": "Porto", "country": "Portugal"},
    "occupation": "teacher",
    "detailed_backstory": "Has lived in many towns.",
    "relationships": [],
}

results = asyncio.run(
    async_generate_conversations_batch(
        personas=[PERSONA, {**PERSONA, "name_surname": "Rita Costa"}],
        facts_per_persona=[[{"fact_description": "I live in Porto."}], [{"fact_description": "I live in Lisbon."}]],
        persona_model_factory=Persona,
        num_turns=2,
        max_concurrent=2,
        model="some/mem-agent",
        use_vllm=True,
    )
)
print(json.dumps(results))
