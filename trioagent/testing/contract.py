"""The contract of every `trioagent.Model`, as tests to inherit from; run by pytest and pytest-trio.

A test class derives from `ModelContract` and has a fixture ``open_scripted``: an `OpenScripted`, which opens the model
so that it answers each request with the next text, in small pieces; an exception in place of a text is the final error
of that request::

    class TestMine(ModelContract):
        @pytest.fixture
        def open_scripted(self) -> OpenScripted:
            return open_mine
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from .._errors import ModelStatusError
from .._events import AgentEvent, Replied
from .._messages import ChatMessage
from .._parsed_reply import Delta
from ..agent import Agent
from ..models import AnswerEnd, Model, TextDelta
from ..runtime import open_runtime

OpenScripted = Callable[[Sequence[str | ModelStatusError]], AbstractAsyncContextManager[Model]]

ASK = [ChatMessage("system", "be brief"), ChatMessage("user", "hello"), ChatMessage("tool", "<result>")]
REPLY = "Grüße 𝄞!"
TEXT = f"<think>short — or not</think>\n<reply>{REPLY}</reply>"


async def _ask(model: Model) -> tuple[str, AnswerEnd]:
    texts: list[str] = []
    ends: list[AnswerEnd] = []
    async with model.answer(ASK) as parts:
        async for part in parts:
            assert not ends, "nothing comes after the end"
            if isinstance(part, TextDelta):
                assert part.text
                texts.append(part.text)
            elif isinstance(part, AnswerEnd):
                ends.append(part)
    assert len(ends) == 1
    return "".join(texts), ends[0]


class ModelContract:
    """Derive a test class from it; see the module."""

    async def test_text_comes_in_pieces_and_then_the_end(self, open_scripted: OpenScripted) -> None:
        async with open_scripted([TEXT]) as model:
            text, end = await _ask(model)
        assert text == TEXT
        assert end.finish_reason == "stop"
        assert end.usage.requests == 1
        assert end.usage.total_tokens > 0
        assert model.name

    async def test_an_empty_answer_is_an_answer(self, open_scripted: OpenScripted) -> None:
        async with open_scripted(["", TEXT]) as model:
            assert (await _ask(model))[0] == ""
            assert (await _ask(model))[0] == TEXT

    async def test_a_failure_is_a_model_error_and_the_model_stays_usable(self, open_scripted: OpenScripted) -> None:
        async with open_scripted([ModelStatusError(404, "no such model"), TEXT]) as model:
            with pytest.raises(ModelStatusError) as caught:
                await _ask(model)
            assert (caught.value.status, caught.value.detail) == (404, "no such model")
            assert (await _ask(model))[0] == TEXT

    async def test_leaving_early_leaves_the_model_usable(self, open_scripted: OpenScripted) -> None:
        async with open_scripted([TEXT] * 3) as model:
            async with model.answer(ASK) as parts:
                async for _ in parts:
                    break
            async with model.answer(ASK):
                pass
            assert (await _ask(model))[0] == TEXT

    async def test_an_error_of_the_consumer_comes_out_as_it_is(self, open_scripted: OpenScripted) -> None:
        async with open_scripted([TEXT]) as model:
            with pytest.raises(ZeroDivisionError):
                async with model.answer(ASK) as parts:
                    async for _ in parts:
                        raise ZeroDivisionError

    async def test_it_checkpoints(self, open_scripted: OpenScripted) -> None:
        async with open_scripted([TEXT]) as model:
            with assert_checkpoints():
                await _ask(model)

    async def test_many_at_once(self, open_scripted: OpenScripted) -> None:
        texts = []

        async def one(model: Model) -> None:
            texts.append((await _ask(model))[0])

        async with open_scripted([TEXT] * 50) as model, trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(one, model)
        assert texts == [TEXT] * 50

    async def test_a_cancelled_answer_leaves_the_model_usable(self, open_scripted: OpenScripted) -> None:
        async with open_scripted([TEXT, TEXT]) as model:
            with trio.CancelScope() as scope:
                async with model.answer(ASK) as parts:
                    async for _ in parts:
                        scope.cancel()
            assert scope.cancelled_caught
            assert (await _ask(model))[0] == TEXT

    async def test_a_reader_of_a_stream_loses_nothing(self, open_scripted: OpenScripted, tmp_path: Path) -> None:
        """Nothing that the model holds while it answers is around the reader, who may be slow, leave, or chat again."""
        async with open_scripted([TEXT] * 4) as model, open_runtime(model) as runtime:
            agent = Agent(runtime, memory_path=tmp_path)
            seen: list[AgentEvent] = []
            async with agent.stream_chat("slowly") as events:
                async for event in events:
                    await wait_all_tasks_blocked(0.005)
                    seen.append(event)
                    if isinstance(event, Replied):
                        assert (await agent.chat("at once")).reply == REPLY
            assert isinstance(seen[-1], Replied)
            assert seen[-1].response.reply == REPLY
            assert "".join(event.text for event in seen if isinstance(event, Delta) and event.kind == "reply") == REPLY
            with pytest.raises(ZeroDivisionError):
                async with agent.stream_chat("briefly") as events:
                    await anext(events)
                    raise ZeroDivisionError
            assert (await agent.chat("again")).reply == REPLY
        said = [message.content for message in agent.messages if message.role == "user"]
        assert [text for text in said if text != "briefly"] == ["slowly", "at once", "again"]
