"""The contract, for each model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio

from trioagent._config import ModelConfig
from trioagent._errors import ModelStatusError
from trioagent.models import Model, open_model
from trioagent.testing import Fault, Say, ScriptedModel, serve_model

from .contract import MakeModel, ModelContract


@asynccontextmanager
async def scripted(script: Sequence[str | ModelStatusError]) -> AsyncIterator[Model]:
    yield ScriptedModel(script, chunk=5)


def over_http(*, stream: bool, split: int = 0) -> MakeModel:
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


class TestScripted(ModelContract):
    @pytest.fixture
    def make_model(self) -> MakeModel:
        return scripted


@pytest.mark.real
class TestStreamedHttp(ModelContract):
    @pytest.fixture
    def make_model(self) -> MakeModel:
        return over_http(stream=True)


@pytest.mark.real
class TestStreamedHttpInShreds(ModelContract):
    @pytest.fixture
    def make_model(self) -> MakeModel:
        return over_http(stream=True, split=3)


@pytest.mark.real
class TestJsonHttp(ModelContract):
    @pytest.fixture
    def make_model(self) -> MakeModel:
        return over_http(stream=False)
