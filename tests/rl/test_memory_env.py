"""Trajectories hold the very tokens: over real HTTP, with real sandboxes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from trioagent import InvalidInputError, open_runtime
from trioagent.evals import Contains, NotesSay
from trioagent.rl import (
    AnswerReward,
    FormatReward,
    LengthReward,
    LlamaServer,
    MemoryEnv,
    NotesReward,
    RecordedTokens,
    Reward,
    TokenIdsMissingError,
    TokenServerError,
    Trajectory,
    open_llama_server,
)

from .token_server import END, TokenServer, decode, encode

pytestmark = pytest.mark.real

NOTE = "<think>ä</think>\n<python>\nwith open('user.md', 'a') as file:\n    file.write('Berlin')\n</python>"
DONE = "<think>ok</think>\n<python></python>\n<reply>You live in Berlin.</reply><|im_end|>"
REWARDS: dict[str, tuple[Reward, float]] = {
    "answer": (AnswerReward(Contains("Berlin")), 1.0),
    "notes": (NotesReward(NotesSay(("Berlin",))), 0.5),
    "format": (FormatReward(), 0.25),
    "length": (LengthReward(free=50, most=450), 0.0),
}


def script(prompt: str) -> str:
    """A block, then a reply that ends the turn itself."""
    return DONE if is_result(prompt) else NOTE


def is_result(prompt: str) -> bool:
    """Whether the last message is a block's result."""
    return prompt.rpartition("<|im_start|>user\n")[2].startswith("<result>")


@asynccontextmanager
async def environment(
    answer: Callable[[str], str | None] = script, messages: tuple[str, ...] = ("I moved to Berlin.",)
) -> AsyncIterator[tuple[MemoryEnv, LlamaServer, TokenServer]]:
    server = TokenServer(answer)
    async with trio.open_nursery() as nursery, open_runtime("offline-rules") as runtime:
        await nursery.start(server.serve)
        env = MemoryEnv(runtime, notes={"user.md": "# Me\n"}, messages=messages, rewards=REWARDS, max_tool_turns=2)
        async with open_llama_server(server.address, max_tokens=400) as model:
            yield env, model, server
        nursery.cancel_scope.cancel()


def folders() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).glob("trioagent-rl-*")}


async def test_the_ids_are_what_the_model_saw_and_wrote() -> None:
    before = folders()
    async with environment() as (env, model, server):
        episode = await env.rollout(model)
    # Each prompt begins with the prompt and the answer before it, token for token.
    first, second = server.prompts
    assert second[: len(first) + len(server.generated[0])] == first + server.generated[0]
    assert list(episode.ids) == second + server.generated[1]
    assert [token for token, mine in zip(episode.ids, episode.loss_mask, strict=True) if mine] == (
        server.generated[0] + server.generated[1]
    )
    assert episode.ids[-1] == END
    text = decode(episode.ids)
    assert text.count("<|im_end|>") == 5  # after system, user, the first answer and its result; and the reply's own
    assert "</python><|im_end|>\n<|im_start|>user\n<result>" in text
    assert [segment.by for segment in episode.segments] == ["environment", "model"] * 2
    known = [value for value in episode.logprobs if value is not None]
    written = server.generated[0][: -len("</python>")] + server.generated[1]
    assert known == [-one / 10 for one in written]
    assert episode.replies == ("You live in Berlin.",)
    assert (episode.notes_before, episode.notes_after) == ({"user.md": "# Me\n"}, {"user.md": "# Me\nBerlin"})
    assert episode.rewards["answer"] == episode.rewards["notes"] == episode.rewards["format"] == 1
    assert 0 < episode.rewards["length"] < 1
    assert episode.reward == 1.75
    assert folders() == before


async def test_a_turn_that_the_model_ended_is_not_ended_twice() -> None:
    async with environment(messages=("One.", "Two.")) as (env, model, server):
        episode = await env.rollout(model)
    assert len(server.prompts) == 4
    assert list(episode.ids) == server.prompts[-1] + server.generated[-1]
    assert "<|im_end|><|im_end|>" not in decode(episode.ids)
    assert f"{DONE}\n<|im_start|>user\nTwo.<|im_end|>" in decode(episode.ids)


async def test_a_group_starts_from_the_same_notes() -> None:
    before = folders()
    async with environment() as (env, model, _):
        episodes = await env.group(model, 4)
    assert [episode.notes_after["user.md"] for episode in episodes] == ["# Me\nBerlin"] * 4
    assert folders() == before


async def test_a_record_is_replayed_without_a_model(tmp_path: Path) -> None:
    async with environment() as (env, model, server):
        episode = await env.rollout(model)
        record = Trajectory.from_json(json.loads(json.dumps(episode.to_json())))
        assert record == episode
        asked = len(server.prompts)
        again = await env.rollout(RecordedTokens(record))
        assert (again.ids, again.loss_mask, again.logprobs) == (episode.ids, episode.loss_mask, episode.logprobs)
        assert (again.messages, again.notes_after, again.reward) == (
            episode.messages,
            episode.notes_after,
            episode.reward,
        )
        assert len(server.prompts) == asked
    with pytest.raises(InvalidInputError, match=r"trajectory.*segments"):
        Trajectory.from_json({**episode.to_json(), "segments": 3})


async def test_a_replay_that_differs_is_noticed() -> None:
    async with environment(messages=("One.", "Two.")) as (env, model, _):
        longer = await env.rollout(model)
    async with environment() as (env, model, _):
        shorter = await env.rollout(model)
    async with environment(messages=("One.", "Two.")) as (env, _, _):
        assert (await env.rollout(RecordedTokens(longer))).ids == longer.ids
        with pytest.RaisesGroup(pytest.RaisesExc(TokenServerError, match="ends here")):
            await env.rollout(RecordedTokens(shorter))


async def test_cancelling_leaves_nothing() -> None:
    before = folders()
    async with environment(lambda prompt: None if is_result(prompt) else NOTE) as (
        env,
        model,
        server,
    ):
        with trio.move_on_after(30) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(env.group, model, 3)
                while len(server.prompts) < 6:
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
        assert not scope.cancelled_caught
        with trio.fail_after(30):
            while server.open:
                await trio.sleep(0.01)
    assert folders() == before


async def test_a_cut_answer_has_no_reward_for_its_notes() -> None:
    async with environment(lambda prompt: "<think>" + "long " * 200) as (env, model, server):
        episode = await env.rollout(model)
    assert episode.stop_reasons == ("cut",)
    assert len(server.generated[0]) == 400
    assert (episode.rewards["answer"], episode.rewards["notes"], episode.rewards["length"]) == (0, 0, 0)


async def test_a_server_without_ids_is_refused() -> None:
    async with environment() as (env, model, server):
        server.without_ids = True
        with pytest.RaisesGroup(pytest.RaisesExc(TokenIdsMissingError, match="must return the ids")):
            await env.rollout(model)


async def test_errors_of_a_server_are_typed() -> None:
    async with environment() as (env, model, server):
        server.status = 503
        with pytest.RaisesGroup(pytest.RaisesExc(TokenServerError, match="answered /apply-template with status 503")):
            await env.rollout(model)
    async with open_runtime("offline-rules") as runtime, open_llama_server("http://127.0.0.1:9") as gone:
        env = MemoryEnv(runtime, notes={}, messages=["hi"])
        with pytest.RaisesGroup(pytest.RaisesExc(TokenServerError, match="does not answer")):
            await env.rollout(gone)
        with pytest.raises(InvalidInputError, match="must be a list of one message or more"):
            MemoryEnv(runtime, notes={}, messages="hi")


def test_the_tokenizer_of_these_tests() -> None:
    text = "<|im_start|>user\nä<|im_end|>\n"
    assert decode(encode(text)) == text
