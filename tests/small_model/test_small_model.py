"""Every path meets a real tokenizer, template and server. What the model says is nonsense, and is not checked.

Its answers need every repair that there is: it echoes the prompt's example, forgets tags and never stops.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import attrs
import httpx
import pytest
import trio

from trioagent import (
    Agent,
    Answered,
    BatchConfig,
    ChatMessage,
    CodeResult,
    Delta,
    Job,
    ModelConfig,
    Replied,
    complete,
    open_runtime,
    run_batch,
)
from trioagent.batch import CONVERSATIONS, read_rows
from trioagent.models import open_model
from trioagent.rl import MemoryEnv, open_llama_server

pytestmark = pytest.mark.real

SECONDS = 900  # only against hanging: how long an answer takes is up to the machine and to who else is on it
CODE = r"""
root ::= "<think>" word "</think>\n<python>\nwith open('" word ".md', 'w') as file:\n    " write "\n</python>"
write ::= "file.write('" word "')"
word ::= [a-z]{1,8}
"""
REPLY = r"""
root ::= "<think>" word "</think>\n<python></python>\n<reply>" word "</reply>"
word ::= [a-z]{1,8}
"""
LONG = r"""
root ::= "<think>" [a-z ]{20,40} "</think>\n<python></python>\n<reply>" [a-z ]{10,20} "</reply>"
"""
ENDLESS = r"""
root ::= "<think>" [a-z ]+
"""
# Read by a small model on one processor: the built-in prompt takes it 20 s. `test_chat` uses that.
PROMPT = "You keep notes. Answer with <think></think>, then <python></python> to run code, or <reply></reply>."
MESSAGES = ["My sister Ada lives in Lisbon.", "Where does Ada live?", "I moved to Berlin.", "Remember: milk."]


def forced(small: ModelConfig, grammar: str) -> ModelConfig:
    return attrs.evolve(small, extra_body={"grammar": grammar})


async def in_flight(address: str) -> int:
    """Answers that the server is generating. It says so between two steps of its model, so no time limit is right."""
    async with httpx.AsyncClient(timeout=None, trust_env=False) as client:
        slots = (await client.get(f"{address}/slots")).json()
    return sum(slot["is_processing"] for slot in slots)


async def test_chat(small: ModelConfig, tmp_path: Path) -> None:
    with trio.fail_after(SECONDS):
        async with open_runtime(small) as runtime:
            agents = [Agent(runtime, memory_path=tmp_path / name, max_tool_turns=1) for name in ("notes", "other")]
            responses = [await agent.chat(MESSAGES[0]) for agent in agents]
    # They may differ: what the server has cached of a prompt changes the order of its sums.
    for response in responses:
        assert response.stop_reason in ("reply", "cut", "max_tool_turns")
        assert bool(response.reply) == (response.stop_reason == "reply")
        assert 1 <= response.turns <= 2
        assert response.usage.requests == response.turns
        assert response.usage.prompt_tokens > 500  # the protocol and the tools


async def test_a_stream_is_the_answer_in_pieces(small: ModelConfig, tmp_path: Path) -> None:
    pieces, answers, last = [], list[Answered](), None
    with trio.fail_after(SECONDS):
        async with open_runtime(attrs.evolve(forced(small, LONG), max_tokens=200)) as runtime:
            agent = Agent(runtime, memory_path=tmp_path, max_tool_turns=0, system_prompt=PROMPT)
            async with agent.stream_chat(MESSAGES[1]) as events:
                async for event in events:
                    match event:
                        case Delta():
                            pieces.append(event.text)
                        case Answered():
                            answers.append(event)
                    last = event
    assert isinstance(last, Replied)
    assert len(answers) == 1
    assert len(pieces) > 3
    assert answers[0].usage.completion_tokens > 3
    assert "".join(pieces) == answers[0].answer.thoughts + answers[0].answer.reply


async def test_an_answer_that_the_token_limit_cuts_is_known_as_cut(small: ModelConfig, tmp_path: Path) -> None:
    cut = attrs.evolve(forced(small, CODE), max_tokens=12)
    with trio.fail_after(SECONDS):
        async with open_runtime(cut) as runtime:
            response = await Agent(
                runtime, memory_path=tmp_path / "notes", max_tool_turns=1, system_prompt=PROMPT
            ).chat(MESSAGES[2])
    assert response.stop_reason == "cut"
    assert set(response.finish_reasons) == {"length"}
    assert response.reply == ""
    assert response.partial
    assert response.blocks_saved == 0  # half a block did not run
    assert not list((tmp_path / "notes").glob("*.md"))


async def test_a_chat_that_is_cancelled_in_mid_stream_stops_the_server(
    small: ModelConfig, address: str, tmp_path: Path
) -> None:
    endless = attrs.evolve(forced(small, ENDLESS), max_tokens=4000)
    with trio.fail_after(SECONDS):
        async with open_runtime(endless) as runtime:
            agent = Agent(runtime, memory_path=tmp_path, system_prompt=PROMPT)
            async with agent.stream_chat("Tell me a story.") as events:
                async for event in events:
                    if isinstance(event, Delta):
                        break
            assert agent.messages[1:] == []
            while await in_flight(address):
                await trio.sleep(0.1)


async def test_a_grammar_forces_the_tags(small: ModelConfig, tmp_path: Path) -> None:
    with trio.fail_after(SECONDS):
        async with open_runtime(forced(small, CODE)) as runtime:
            results = list[CodeResult]()
            agent = Agent(runtime, memory_path=tmp_path / "notes", max_tool_turns=1, system_prompt=PROMPT)
            async with agent.stream_chat(MESSAGES[0]) as events:
                async for event in events:
                    if isinstance(event, CodeResult):
                        results.append(event)
        async with open_runtime(forced(small, REPLY)) as runtime:
            replied = await Agent(runtime, memory_path=tmp_path / "notes", system_prompt=PROMPT).chat(MESSAGES[1])
    assert [(one.result.error, one.result.saved) for one in results] == [("", True)]
    assert len(list((tmp_path / "notes").glob("*.md"))) == 1
    assert replied.stop_reason == "reply"
    assert replied.reply.isalpha()
    assert replied.repairs == {}


async def test_an_answer_in_json(small: ModelConfig) -> None:
    @attrs.frozen
    class City:
        name: str

    grammar = 'root ::= "{\\"name\\": \\"" [a-z]{1,8} "\\"}"'
    with trio.fail_after(SECONDS):
        async with open_model(forced(small, grammar)) as model:
            answer = await complete(model, [ChatMessage("user", "Name a city.")], schema=City)
    assert answer.attempts == 1
    assert answer.value.name.isalpha()


async def test_a_batch_of_twenty(small: ModelConfig, tmp_path: Path) -> None:
    jobs = [Job(id=f"job-{n}", memory=str(tmp_path / f"m{n}"), messages=[MESSAGES[n % 4]]) for n in range(20)]
    config = BatchConfig(max_concurrent=4, max_tool_turns=1, outage_patience=0, system_prompt=PROMPT)
    with trio.fail_after(SECONDS):
        async with open_runtime(small) as runtime:
            report = await run_batch(jobs, runtime=runtime, run_dir=tmp_path / "run", config=config)
            again = await run_batch(jobs, runtime=runtime, run_dir=tmp_path / "run", config=config)
    assert (report.done, report.failed, report.stopped) == (20, 0, "")
    assert (again.done, again.skipped) == (0, 20)
    rows = list(read_rows(tmp_path / "run" / CONVERSATIONS))
    assert sorted(row["id"] for row in rows) == sorted(job.id for job in jobs)
    print("\nwhat stopped them:", dict(Counter(reason for row in rows for reason in row["stop_reasons"])))
    print("finish reasons:", dict(Counter(reason for row in rows for reason in row["finish_reasons"])))


async def test_the_tally_of_repairs(small: ModelConfig, tmp_path: Path) -> None:
    tally: Counter[str] = Counter()
    stopped: Counter[str] = Counter()
    hot = attrs.evolve(small, temperature=1.0, max_tokens=96)
    with trio.fail_after(SECONDS):
        async with open_runtime(hot) as runtime:

            async def say(number: int) -> None:
                agent = Agent(runtime, memory_path=tmp_path / str(number), max_tool_turns=1, system_prompt=PROMPT)
                response = await agent.chat(f"{MESSAGES[number % 4]} ({number})")
                tally.update(response.repairs)
                stopped[response.stop_reason] += 1

            async with trio.open_nursery() as nursery:
                for number in range(8):
                    nursery.start_soon(say, number)
    print("\nrepairs:", json.dumps(dict(tally.most_common())), "stopped:", dict(stopped))
    assert stopped.total() == 8


async def test_trajectories_of_a_real_tokenizer_are_exact(address: str, tmp_path: Path) -> None:
    """The ids of a whole episode are those of its last prompt and answer, and read back as what was said."""
    with trio.fail_after(SECONDS):
        async with (
            open_runtime("offline-rules") as runtime,
            open_llama_server(address, max_tokens=64, temperature=0, seed=1, grammar=CODE) as model,
        ):
            env = MemoryEnv(runtime, notes={}, messages=[MESSAGES[0]], max_tool_turns=1, system_prompt=PROMPT)
            episode = await env.rollout(model)
            rendered = await model.render(episode.messages[:-1])
            again = await model.tokenize(rendered, at_start=True)
    assert [segment.by for segment in episode.segments] == ["environment", "model"] * 2
    assert sum(episode.loss_mask) == sum(len(segment.ids) for segment in episode.segments if segment.by == "model")
    known = [
        value for value, mine in zip(episode.logprobs, episode.loss_mask, strict=True) if mine and value is not None
    ]
    assert known
    assert all(value <= 0 for value in known)
    assert len(episode.notes_after) >= 1
    # Tokenised anew, it begins as it did, and is cut into other tokens where a grammar forced the model's.
    prompt = episode.segments[0].ids
    assert again[: len(prompt) - 5] == prompt[:-5]
    assert again != episode.ids[: len(again)]
