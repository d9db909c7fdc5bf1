"""The contract, for each model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio

from trioagent._config import ModelConfig
from trioagent._errors import ModelStatusError
from trioagent._exceptions import open_helper_nursery
from trioagent._messages import ChatMessage
from trioagent.models import AnswerPart, Model, open_model
from trioagent.testing import Fault, Say, ScriptedModel, serve_model
from trioagent.testing.contract import ModelContract, OpenScripted


@asynccontextmanager
async def scripted(script: Sequence[str | ModelStatusError]) -> AsyncIterator[Model]:
    yield ScriptedModel(script, chunk=5)


def over_http(*, stream: bool, split: int = 0) -> OpenScripted:
    @asynccontextmanager
    async def opened(script: Sequence[str | ModelStatusError]) -> AsyncIterator[Model]:
        answers = [
            Say(item, chunk=5, piece=split) if isinstance(item, str) else Fault.status(item.status, item.detail)
            for item in script
        ]
        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve_model, answers)
            async with open_model(ModelConfig(base_url=server.base_url, model="any", stream=stream)) as model:
                yield model
            await server.wait_connections(0)
            nursery.cancel_scope.cancel()

    def make(script: Sequence[str | ModelStatusError]) -> AbstractAsyncContextManager[Model]:
        return opened(script)

    return make


@pytest.mark.real
class TestScripted(ModelContract):
    @pytest.fixture
    def open_scripted(self) -> OpenScripted:
        return scripted


@pytest.mark.real
class TestStreamedHttp(ModelContract):
    @pytest.fixture
    def open_scripted(self) -> OpenScripted:
        return over_http(stream=True)


@pytest.mark.real
class TestStreamedHttpInShreds(ModelContract):
    @pytest.fixture
    def open_scripted(self) -> OpenScripted:
        return over_http(stream=True, split=3)


@pytest.mark.real
class TestJsonHttp(ModelContract):
    @pytest.fixture
    def open_scripted(self) -> OpenScripted:
        return over_http(stream=False)


class Held:
    """A model whose ``answer`` holds something of its own around the parts."""

    def __init__(self, model: Model, around: Callable[[], AbstractAsyncContextManager[object]]) -> None:
        self._model, self._around = model, around

    @property
    def name(self) -> str:
        return self._model.name

    @asynccontextmanager
    async def answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[AsyncIterator[AnswerPart]]:
        async with self._around(), self._model.answer(messages) as parts:
            yield parts


@asynccontextmanager
async def scope() -> AsyncIterator[None]:
    with trio.fail_after(60):
        yield


@asynccontextmanager
async def nursery() -> AsyncIterator[None]:
    """A task beside the answer, and errors bare, as the contract has it."""
    async with open_helper_nursery() as helpers:
        helpers.start_soon(trio.sleep_forever)
        yield


def holding(around: Callable[[], AbstractAsyncContextManager[object]]) -> OpenScripted:
    @asynccontextmanager
    async def opened(script: Sequence[str | ModelStatusError]) -> AsyncIterator[Model]:
        yield Held(ScriptedModel(script, chunk=5), around)

    return opened


@pytest.mark.real
class TestHoldsAScope(ModelContract):
    @pytest.fixture
    def open_scripted(self) -> OpenScripted:
        return holding(scope)


@pytest.mark.real
class TestHoldsANursery(ModelContract):
    @pytest.fixture
    def open_scripted(self) -> OpenScripted:
        return holding(nursery)
