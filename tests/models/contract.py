"""What every model must do; run against the scripted model and the HTTP model.

A ``MakeModel`` gives an open model that answers each request with the next text, cut in small deltas; an exception in
its place is what that request fails with in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import pytest
import trio
from trio.testing import assert_checkpoints

from trioagent._errors import ModelStatusError
from trioagent._messages import ChatMessage
from trioagent.models import AnswerEnd, Model, TextDelta

MakeModel = Callable[[Sequence[str | ModelStatusError]], AbstractAsyncContextManager[Model]]

ASK = [ChatMessage("system", "be brief"), ChatMessage("user", "hello"), ChatMessage("tool", "<result>")]
TEXT = "<think>short — or not</think>\n<reply>Grüße 𝄞!</reply>"


async def ask(model: Model) -> tuple[str, AnswerEnd]:
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
    async def test_text_comes_in_pieces_and_then_the_end(self, make_model: MakeModel) -> None:
        async with make_model([TEXT]) as model:
            text, end = await ask(model)
        assert text == TEXT
        assert end.finish_reason == "stop"
        assert end.usage.requests == 1
        assert end.usage.total_tokens > 0
        assert model.name

    async def test_an_empty_answer_is_an_answer(self, make_model: MakeModel) -> None:
        async with make_model(["", TEXT]) as model:
            assert (await ask(model))[0] == ""
            assert (await ask(model))[0] == TEXT

    async def test_a_failure_is_a_model_error_and_the_model_stays_usable(self, make_model: MakeModel) -> None:
        async with make_model([ModelStatusError(404, "no such model"), TEXT]) as model:
            with pytest.raises(ModelStatusError) as caught:
                await ask(model)
            assert (caught.value.status, caught.value.detail) == (404, "no such model")
            assert (await ask(model))[0] == TEXT

    async def test_leaving_early_leaves_the_model_usable(self, make_model: MakeModel) -> None:
        async with make_model([TEXT] * 3) as model:
            async with model.answer(ASK) as parts:
                async for _ in parts:
                    break
            async with model.answer(ASK):
                pass
            assert (await ask(model))[0] == TEXT

    async def test_an_error_of_the_consumer_comes_out_as_it_is(self, make_model: MakeModel) -> None:
        async with make_model([TEXT]) as model:
            with pytest.raises(ZeroDivisionError):
                async with model.answer(ASK) as parts:
                    async for _ in parts:
                        raise ZeroDivisionError

    async def test_it_checkpoints(self, make_model: MakeModel) -> None:
        async with make_model([TEXT]) as model:
            with assert_checkpoints():
                await ask(model)

    async def test_many_at_once(self, make_model: MakeModel) -> None:
        texts = []

        async def one(model: Model) -> None:
            texts.append((await ask(model))[0])

        async with make_model([TEXT] * 50) as model, trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(one, model)
        assert texts == [TEXT] * 50

    async def test_a_cancelled_answer_leaves_the_model_usable(self, make_model: MakeModel) -> None:
        async with make_model([TEXT, TEXT]) as model:
            with trio.CancelScope() as scope:
                async with model.answer(ASK) as parts:
                    async for _ in parts:
                        scope.cancel()
            assert scope.cancelled_caught
            assert (await ask(model))[0] == TEXT
