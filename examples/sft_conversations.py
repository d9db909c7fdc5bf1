"""Training conversations on the embedded model: personas tell, change and ask for facts; what went right is kept."""

import tempfile
from functools import partial
from pathlib import Path

import trio

import trioagent
from trioagent.batch import read_rows
from trioagent.sft import (
    FLOWS,
    Birthplace,
    Fact,
    Persona,
    Relationship,
    ScriptedPersona,
    SftConfig,
    generate_conversations,
)

PERSONAS = [
    Persona(
        name_surname="Mara Holt",
        age=34,
        gender="female",
        birthplace=Birthplace(city="Ghent", country="Belgium"),
        occupation="baker",
        detailed_backstory="Left a bank to open a bakery by the river, and plays in a quartet on Sundays.",
        relationships=(Relationship(name_surname="Ada Holt", relationship="sister"),),
    ),
    {  # a mapping, an attrs, dataclass or pydantic object with the same fields will do
        "name_surname": "Jon Reyes",
        "age": 51,
        "gender": "male",
        "birthplace": {"city": "Cusco", "country": "Peru"},
        "occupation": "nurse",
        "detailed_backstory": "Works nights in a children's ward and restores old radios.",
        "relationships": [{"name_surname": "Pia Wren", "relationship": "colleague"}],
    },
]
FACTS = [
    [
        Fact(
            fact_description="I live in Porto.",
            previous="I live in Lisbon.",
            question="Where do I live?",
            answer="Porto",
        ),
        Fact(fact_description="I play the cello.", question="What do I play?", answer="cello"),
        Fact(fact_description="My sister Ada lives in Rome.", question="Where does my sister live?", answer="Rome"),
    ],
    [
        Fact(
            fact_description="My favourite colour is blue.",
            previous="My favourite colour is green.",
            question="What is my favourite colour?",
            answer="blue",
        ),
        Fact(fact_description="I am allergic to walnuts.", question="What am I allergic to?", answer="walnuts"),
    ],
]


async def main() -> None:
    async with trioagent.open_runtime(model="offline-rules") as runtime:
        with tempfile.TemporaryDirectory() as folder:
            for flow in FLOWS:
                report = await generate_conversations(
                    PERSONAS,
                    FACTS,
                    partial(ScriptedPersona, flow=flow),
                    runtime=runtime,
                    run_dir=Path(folder, flow),
                    config=SftConfig(flow=flow, num_turns=4, max_concurrent=10),
                )
                results = report.results
                print(f"{flow:10} success rate {sum(results) / len(results):.2%}")
            row = next(read_rows(Path(folder, "update", "conversations.jsonl")))
    for message in row["messages"][1:]:
        print(f"--- {message['role']}\n{message['content']}")
    print(f"--- what became of the notes\n{row['memory_diff']['user.md']}")


trio.run(main)
