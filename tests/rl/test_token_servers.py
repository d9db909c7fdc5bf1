"""Trajectories from servers that answer as vLLM and SGLang do, and from one that gives text alone."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from trioagent import ChatMessage, InvalidInputError, open_runtime
from trioagent.evals import Contains
from trioagent.rl import (
    AnswerReward,
    LengthReward,
    MemoryEnv,
    PrefixNotProvenError,
    SglangServer,
    TextTokenizer,
    TokenIdsMissingError,
    TokenServerError,
    Trajectory,
    VllmServer,
    join_samples,
    open_sglang_server,
    open_vllm_server,
)
from trioagent.testing import ScriptedModel

from .test_memory_env import DONE, NOTE, is_result, script
from .token_server import END, TokenServer, decode, encode, template

pytestmark = pytest.mark.real

Server = VllmServer | SglangServer
OPEN: dict[str, Callable[..., Any]] = {
    "vllm": lambda address, **options: open_vllm_server(f"{address}/v1", name="m", **options),
    "vllm with a template": lambda address, **options: open_vllm_server(
        address, name="m", template=template, **options
    ),
    "sglang": lambda address, **options: open_sglang_server(address, template=template, **options),
}
TOKENIZER = TextTokenizer(encode=encode, template=template)


@asynccontextmanager
async def environment(kind: str, **options: Any) -> AsyncIterator[tuple[MemoryEnv, Server, TokenServer]]:
    server = TokenServer(script)
    async with trio.open_nursery() as nursery, open_runtime("offline-rules") as runtime:
        await nursery.start(server.serve)
        env = MemoryEnv(runtime, notes={"user.md": "# Me\n"}, messages=["One.", "Two."], max_tool_turns=2)
        async with OPEN[kind](server.address, **{"max_tokens": 400, **options}) as model:
            yield env, model, server
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("kind", OPEN)
async def test_the_ids_are_what_the_model_saw_and_wrote(kind: str) -> None:
    async with environment(kind, seed=7, api_key="sk-1", temperature=0.5) as (env, model, server):
        episode = await env.rollout(model)
        assert "sk-1" not in repr(model)
    assert len(server.prompts) == 4
    for number in range(3):
        before = server.prompts[number] + server.generated[number]
        assert server.prompts[number + 1][: len(before)] == before
    assert list(episode.ids) == server.prompts[-1] + server.generated[-1]
    written = [token for ids in server.generated for token in ids]
    assert [token for token, mine in zip(episode.ids, episode.loss_mask, strict=True) if mine] == written
    # Unlike llama.cpp's, these give a logprob for the tokens of a stop string, too.
    assert [value for value in episode.logprobs if value is not None] == [-one / 10 for one in written]
    assert episode.ids[-1] == END
    assert "<|im_end|><|im_end|>" not in decode(episode.ids)
    assert episode.segments[1].text.endswith("</python>")
    assert episode.notes_after == {"user.md": "# Me\nBerlinBerlin"}
    assert set(server.keys) == {"Bearer sk-1"}
    assert Trajectory.from_json(episode.to_json()) == episode


async def test_what_vllm_is_asked() -> None:
    async with environment("vllm", seed=7) as (env, model, server):
        await env.rollout(model)
    asked = [body for path, body in server.requests if path == "/v1/completions"]
    first = {name: value for name, value in asked[0].items() if name != "prompt"}
    assert first == {
        "model": "m",
        "max_tokens": 400,
        "temperature": 1.0,
        "stop": ["</python>", "</reply>"],
        "include_stop_str_in_output": True,
        "return_token_ids": True,
        "logprobs": 1,
        "seed": 7,
    }
    assert {path for path, _ in server.requests} == {"/tokenize", "/detokenize", "/v1/completions"}
    assert all(
        body["add_special_tokens"] is False
        for path, body in server.requests
        if "prompt" in body and path == "/tokenize"
    )


async def test_what_sglang_is_asked() -> None:
    async with environment("sglang", seed=7) as (env, model, server):
        await env.rollout(model)
    asked = [body for path, body in server.requests if path == "/generate"]
    assert asked[0]["return_logprob"] is True
    assert asked[0]["sampling_params"] == {
        "max_new_tokens": 400,
        "temperature": 1.0,
        "stop": ["</python>", "</reply>"],
        "no_stop_trim": True,
        "sampling_seed": 7,
    }


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
async def test_an_answer_that_is_cut(kind: str) -> None:
    async with environment(kind, max_tokens=10) as (env, model, _):
        episode = await env.rollout(model)
    assert episode.stop_reasons[0] == "cut"
    assert episode.segments[1].finish_reason == "length"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("vllm", r"has no 'token_ids' in its answer \(option 'return_token_ids'\); it must return the ids"),
        ("sglang", r"has no 'output_token_logprobs' in its answer \(option 'return_logprob'\); it must return the ids"),
    ],
)
async def test_a_server_without_ids_is_told_the_option(kind: str, words: str) -> None:
    async with environment(kind) as (env, model, server):
        server.without_ids = True
        with pytest.RaisesGroup(pytest.RaisesExc(TokenIdsMissingError, match=words)):
            await env.rollout(model)


@pytest.mark.parametrize(("kind", "option"), [("vllm", "include_stop_str_in_output"), ("sglang", "no_stop_trim")])
async def test_a_server_that_leaves_stop_strings_out_is_told_the_option(kind: str, option: str) -> None:
    async with environment(kind) as (env, model, server):
        server.without_stop = True
        with pytest.RaisesGroup(pytest.RaisesExc(TokenServerError, match=f"left the stop string .*{option}")):
            await env.rollout(model)


def changed(path: str, value: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(body: dict[str, Any]) -> dict[str, Any]:
        place: Any = body
        *parents, last = path.split(".")
        for name in parents:
            place = place[int(name) if name.isdigit() else name]
        place[last] = value
        return body

    return change


@pytest.mark.parametrize(
    ("kind", "path", "value", "words"),
    [
        ("vllm", "choices", [], r"gave 'choices' as \[\], not as a list of one"),
        ("vllm", "choices.0.token_ids", ["a"], "gave 'token_ids' as .*, not as a list of ids"),
        ("vllm", "choices.0.token_ids", [True], "gave 'token_ids' as .*, not as a list of ids"),
        ("vllm", "choices.0.prompt_token_ids", [1], "has read other ids"),
        ("vllm", "choices.0.logprobs", {"token_logprobs": [0.1]}, "not one for each of"),
        ("vllm", "choices.0.text", None, "gave 'text' as None"),
        ("sglang", "meta_info", 3, "gave 'meta_info' as 3, not as an object"),
        ("sglang", "output_ids", [1], "gave other ids in 'output_ids'"),
        ("sglang", "meta_info.output_token_logprobs", [[0.1]], "gave 'output_token_logprobs' as"),
        ("sglang", "meta_info.finish_reason", None, "gave 'finish_reason' as None"),
    ],
)
async def test_answers_that_make_no_sense(kind: str, path: str, value: Any, words: str) -> None:
    async with environment(kind) as (env, model, server):
        server.change = changed(path, value)
        with pytest.RaisesGroup(pytest.RaisesExc(TokenServerError, match=words)):
            await env.rollout(model)


async def test_logprobs_need_not_be_known() -> None:
    async with environment("vllm") as (env, model, server):
        server.change = changed("choices.0.logprobs", None)
        episode = await env.rollout(model)
    assert set(episode.logprobs) == {None}


def text_model(*, chatter: str = "") -> ScriptedModel:
    """Sends text; after the closing tag it continues with *chatter*."""

    def answer(messages: Sequence[ChatMessage]) -> str:
        last = messages[-1]
        text = DONE.removesuffix("<|im_end|>") if last.role == "tool" else NOTE
        return text + chatter

    return ScriptedModel(answer)


async def episode_of(model: ScriptedModel) -> Trajectory:
    rewards: Any = {
        "answer": (AnswerReward(Contains("Berlin")), 1.0),
        "length": (LengthReward(free=10, most=9999), 1.0),
    }
    async with open_runtime("offline-rules") as runtime:
        env = MemoryEnv(runtime, notes={}, messages=["One.", "Two."], rewards=rewards, max_tool_turns=2)
        return await env.rollout(model, TOKENIZER)


async def test_a_server_of_text_gives_one_sample_an_answer() -> None:
    episode = await episode_of(text_model())
    assert (episode.segments, episode.ids, len(episode.samples)) == ((), (), 4)
    first, second, *_ = episode.samples
    assert decode(first.prompt_ids).endswith("<|im_start|>user\nOne.<|im_end|>\n<|im_start|>assistant\n")
    assert (decode(first.ids), first.text) == (NOTE, NOTE)
    assert decode(second.prompt_ids).endswith("</result><|im_end|>\n<|im_start|>assistant\n")
    assert episode.tokens_written == sum(len(sample.ids) for sample in episode.samples)
    assert episode.rewards["answer"] == 1 and 0 < episode.rewards["length"] < 1
    assert Trajectory.from_json(episode.to_json()) == episode
    joined = join_samples(episode)
    last = episode.samples[-1]
    assert joined.ids == last.prompt_ids + last.ids
    assert [segment.by for segment in joined.segments] == ["environment", "model"] * 4
    assert sum(joined.loss_mask) == episode.tokens_written
    assert not joined.samples
    with pytest.raises(InvalidInputError, match="has no samples"):
        join_samples(joined)


async def test_samples_that_are_no_prefix_are_not_joined() -> None:
    """What a model writes behind the closing tag is not part of the history, so the next prompt differs."""
    episode = await episode_of(text_model(chatter="\nAnd so on."))
    with pytest.raises(PrefixNotProvenError, match=r"answer 1 .*return_token_ids \(vLLM\)") as caught:
        join_samples(episode)
    first, second, *_ = episode.samples
    place = len(first.prompt_ids) + len(encode(NOTE))
    assert (caught.value.turn, caught.value.token) == (1, place)
    assert second.prompt_ids[:place] == (first.prompt_ids + first.ids)[:place]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


async def test_which_models_need_a_tokenizer() -> None:
    async with environment("sglang") as (env, model, _):
        with pytest.raises(InvalidInputError, match="tokenizer: is given, and 'default' gives ids itself"):
            await env.rollout(model, TOKENIZER)
        with pytest.raises(InvalidInputError, match="tokenizer: is needed for 'scripted', which gives text alone"):
            await env.rollout(text_model())
        with pytest.raises(InvalidInputError, match="count: must be 1 or more, not 0"):
            await env.group(model, 0)


def test_the_script() -> None:
    assert is_result(template([{"role": "user", "content": "<result>"}]))
