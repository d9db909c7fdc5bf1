"""The OpenAI-compatible endpoint, by the official client and by clients that misbehave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import trio

from trioagent._parsed_reply import Delta
from trioagent.server import ServerLimits
from trioagent.server._reply_text import ReplyText
from trioagent.testing import Fault, ModelRequest, Say

from .serving import Served, code, make_memories, reply, serving

pytestmark = pytest.mark.real

APPEND = code("create_file('log.md', (read_file('log.md') if check_if_file_exists('log.md') else '') + 'x')")
USER = {"role": "user", "content": "I live in Oslo."}


def async_client(served: Served) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{served.server.url}/v1", api_key=served.server.token, timeout=30)


def sync_client(served: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.server.url}/v1", api_key=served.server.token, timeout=30)


def request(*messages: dict[str, Any], model: str = "memory/ada", **options: Any) -> dict[str, Any]:
    return {"model": model, "messages": list(messages) or [USER], **options}


async def test_the_async_client_gets_a_reply_and_the_notes_are_written(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    answers = [code("create_file('user.md', 'Oslo')"), reply("Noted.")]
    async with serving(tmp_path, answers) as served, async_client(served) as client:
        models = [model.id async for model in client.models.list()]
        one = await client.models.retrieve("memory/ada:read")
        completion = await client.chat.completions.create(**request())
    assert models == ["memory/ada", "memory/ada:read"]
    assert one.id == "memory/ada:read"
    assert completion.choices[0].message.content == "Noted."
    assert (completion.choices[0].finish_reason, completion.model) == ("stop", "memory/ada")
    assert completion.usage is not None
    assert completion.usage.total_tokens == 30
    assert (tmp_path / "ada" / "user.md").read_text() == "Oslo"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the client leaves its generators
async def test_the_async_client_streams_replies_only(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    answers = [code("x = 1"), Say(reply("one two three"), chunk=3)]
    options: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
    async with serving(tmp_path, answers) as served, async_client(served) as client:
        stream = await client.chat.completions.create(**request(**options))
        async with stream:
            chunks = [chunk async for chunk in stream]
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == "one two three"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert len({chunk.id for chunk in chunks}) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the client leaves its generators
async def test_thoughts_are_sent_if_they_are_asked_for(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    options: dict[str, Any] = {"extra_body": {"include_reasoning": True}}
    async with serving(tmp_path, [reply("Yes."), reply("No.")]) as served, async_client(served) as client:
        whole = await client.chat.completions.create(**request(**options))
        stream = await client.chat.completions.create(
            **request({"role": "user", "content": "Again?"}, stream=True, **options)
        )
        async with stream:
            deltas = [chunk.choices[0].delta async for chunk in stream]
    assert getattr(whole.choices[0].message, "reasoning_content", "") == "I know."
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == "I know."
    assert "".join(delta.content or "" for delta in deltas) == "No."


async def test_the_sync_client_in_a_thread(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})

    def use(served: Served) -> tuple[str | None, str]:
        with sync_client(served) as client:
            whole = client.chat.completions.create(**request())
            with client.chat.completions.create(**request({"role": "user", "content": "And?"}, stream=True)) as stream:
                streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        return whole.choices[0].message.content, streamed

    async with serving(tmp_path, [reply("One."), reply("Two.")]) as served:
        found = await trio.to_thread.run_sync(use, served)
    assert found == ("One.", "Two.")


async def test_the_conversation_is_the_clients_and_its_system_message_is_added(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Answer in rhyme."},
        {"role": "user", "content": [{"type": "text", "text": "My name"}, {"type": "text", "text": "is Ada."}]},
        {"role": "assistant", "content": "Hello Ada."},
        {"role": "user", "content": "Who am I?"},
    ]
    async with serving(tmp_path, [reply("Ada.")]) as served, async_client(served) as client:
        await client.chat.completions.create(**request(*messages))
        assert served.model is not None
        sent = served.model.requests[0].body["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "user"]
    assert "<python>" in sent[0]["content"]
    before, _, after = sent[0]["content"].partition("Answer in rhyme.")
    assert before.endswith("\n\n")
    assert after.startswith("\n\nToday is ")
    assert sent[1]["content"] == "My name\nis Ada."
    assert "<reply>Hello Ada.</reply>" in sent[2]["content"]


async def test_the_model_for_reading_cannot_write(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {"user.md": "Oslo"}})
    answers = [code("city = read_file('user.md')\ncreate_file('title.md', 'A chat')"), reply("Oslo.")]
    async with serving(tmp_path, answers) as served, async_client(served) as client:
        completion = await client.chat.completions.create(**request(model="memory/ada:read"))
    assert completion.choices[0].message.content == "Oslo."
    assert sorted(path.name for path in (tmp_path / "ada").iterdir()) == ["user.md"]


REFUSED: list[tuple[dict[str, Any], int, str | None]] = [
    ({"n": 2}, 400, "n"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "tools"),
    ({"response_format": {"type": "json_object"}}, 400, "response_format"),
    ({"stop": ["x"]}, 400, "stop"),
    ({"logprobs": True}, 400, "logprobs"),
    ({"model": "gpt-4"}, 404, "model"),
    ({"model": "memory/nobody"}, 404, "model"),
    ({"model": "memory/../../etc"}, 404, "model"),
    ({"messages": []}, 400, "messages"),
    ({"messages": [{"role": "user", "content": " "}]}, 400, None),
    ({"messages": [USER, {"role": "assistant", "content": "x"}]}, 400, "messages"),
    ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, 400, "messages[0]"),
    ({"messages": [{"role": "king", "content": "x"}]}, 400, "messages[0].role"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
        400,
        "messages[0].content[0]",
    ),
]


async def test_what_is_not_served_is_refused_in_openais_shape(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    async with serving(tmp_path, []) as served, async_client(served) as client:
        for change, status, param in REFUSED:
            with pytest.raises(openai.APIStatusError) as refused:
                await client.chat.completions.create(**{**request(), **change})
            body = refused.value.body
            assert isinstance(body, dict), change
            assert (refused.value.status_code, body["param"]) == (status, param), change
            assert body["type"] == "invalid_request_error"
        async with async_client(served).copy(api_key="wrong") as stranger:
            with pytest.raises(openai.AuthenticationError):
                await stranger.chat.completions.create(**request())
        assert served.model is not None
        assert not served.model.requests


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the client leaves its generators
async def test_a_retry_does_not_write_twice(tmp_path: Path) -> None:
    """The same messages are the same request: whether the first was answered or not, and however it is asked."""
    make_memories(tmp_path, {"ada": {}})
    async with serving(tmp_path, [APPEND, reply("Written."), APPEND, reply("Again.")]) as served:
        async with async_client(served) as client:
            first = await client.chat.completions.create(**request())
            second = await client.chat.completions.create(**request())
            stream = await client.chat.completions.create(**request(stream=True))
            async with stream:
                third = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
            assert (tmp_path / "ada" / "log.md").read_text() == "x"
            other = await client.chat.completions.create(**request(), extra_headers={"Idempotency-Key": "other"})
    assert first.choices[0].message.content == second.choices[0].message.content == third == "Written."
    assert first.id == second.id != other.id
    assert (tmp_path / "ada" / "log.md").read_text() == "xx"


async def post_raw(served: Served, body: dict[str, Any]) -> trio.SocketStream:
    """Send a request, and wait for nothing."""
    host, port = served.address
    data = json.dumps(body).encode()
    head = [
        "POST /v1/chat/completions HTTP/1.1",
        f"Host: {host}:{port}",
        f"Authorization: Bearer {served.server.token}",
        f"Content-Length: {len(data)}",
        "",
        "",
    ]
    stream = await trio.open_tcp_stream(host, port)
    await stream.send_all("\r\n".join(head).encode() + data)
    return stream


async def test_a_request_that_was_broken_off_goes_on_after_its_last_block(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    asked_twice = trio.Event()
    answers: Iterator[str] = iter([APPEND, reply("Written.")])

    async def answer(request: ModelRequest) -> str:
        if len(request.messages) > 2 and not asked_twice.is_set():
            asked_twice.set()
            await trio.sleep_forever()
        return next(answers)

    async with serving(tmp_path, answer) as served:
        stream = await post_raw(served, request())
        await asked_twice.wait()
        assert (tmp_path / "ada" / "log.md").read_text() == "x"
        await stream.aclose()
        async with async_client(served) as client:
            completion = await client.chat.completions.create(**request())
    assert completion.choices[0].message.content == "Written."
    assert (tmp_path / "ada" / "log.md").read_text() == "x"


@pytest.mark.parametrize("stream_it", [False, True])
async def test_a_client_that_leaves_ends_its_chat_at_once(tmp_path: Path, stream_it: bool) -> None:
    make_memories(tmp_path, {"ada": {}})
    async with serving(tmp_path, [Fault.hang()]) as served:
        assert served.model is not None
        stream = await post_raw(served, request(stream=stream_it))
        with trio.fail_after(10):
            await served.model.wait_connections(1)
            await stream.aclose()
            await served.model.wait_connections(0)


async def test_two_at_once_with_the_same_messages_are_one(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    found = []
    async with serving(tmp_path, [APPEND, Say(reply("Written."), delay=0.2)]) as served, async_client(served) as client:

        async def ask() -> None:
            completion = await client.chat.completions.create(**request())
            found.append(completion.choices[0].message.content)

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(ask)
    assert found == ["Written."] * 4
    assert (tmp_path / "ada" / "log.md").read_text() == "x"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the client leaves its generators
async def test_a_model_that_fails_is_an_error_that_the_client_knows(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    half = Fault.half_body("<think>t</think><python></python><reply>half of", then="reset")
    answers = [Fault.status(400), Fault.status(400), half, Fault.status(400)]
    async with serving(tmp_path, answers) as served:
        async with async_client(served).copy(max_retries=0) as client:
            with pytest.raises(openai.InternalServerError) as failed:
                await client.chat.completions.create(**request())
            with pytest.raises(openai.InternalServerError):
                await client.chat.completions.create(**request(stream=True))
            stream = await client.chat.completions.create(**request(stream=True))
            with pytest.raises(openai.APIError):
                async with stream:
                    async for _ in stream:
                        pass
    assert failed.value.status_code == 502


def given(deltas: list[tuple[str, str]], reply_text: str) -> tuple[str, str | None]:
    text = ReplyText()
    sent = ""
    for kind, piece in deltas:
        if kind == "end":
            text.begin_anew()
        else:
            sent += text.add(Delta(kind, piece))  # type: ignore[arg-type]
    return sent, text.rest(reply_text)


@pytest.mark.parametrize(
    ("deltas", "reply_text", "sent", "rest"),
    [
        ([("reply", "\n Hello"), ("reply", " \n"), ("reply", "you \n"), ("end", "")], "Hello \nyou", "Hello \nyou", ""),
        ([("code", "x = 1"), ("reply", "Done."), ("end", "")], "Done.", "", "Done."),
        ([("code", "\n"), ("reply", "Hi"), ("end", "")], "Hi", "Hi", ""),
        ([("reply", "Hel"), ("end", ""), ("reply", "Hello"), ("end", "")], "Hello", "Hel", "lo"),
        ([("reply", "Good"), ("end", ""), ("reply", "Bad"), ("end", "")], "Bad", "Good", None),
        ([("end", "")], "Hello", "", "Hello"),
        ([("reply", "  "), ("end", "")], "", "", ""),
    ],
)
def test_what_is_given_of_a_reply(deltas: list[tuple[str, str]], reply_text: str, sent: str, rest: str | None) -> None:
    assert given(deltas, reply_text) == (sent, rest)


async def test_a_stream_is_kept_alive_during_blocks(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    answers = [code("import time\ntime.sleep(0.4)"), reply("Here.")]
    async with serving(tmp_path, answers, limits=ServerLimits(keep_alive_seconds=0.05)) as served:
        stream = await post_raw(served, request(stream=True))
        received = b""
        async with stream:
            with trio.fail_after(20):
                while b"[DONE]" not in received:
                    received += bytes(await stream.receive_some())
        async with async_client(served) as client:
            again = await client.chat.completions.create(**request())
    assert received.count(b": keep-alive") >= 2
    assert again.choices[0].message.content == "Here."
