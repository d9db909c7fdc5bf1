"""A runtime whose workers send requests and run blocks; everything else stays with the driver.

The driver runs the agents of such a runtime as any others: a request is sent when its rate limiter allows it, a block
is given to a worker when the answer that contains it is journaled, and its result is sent to the model when the driver
has committed its changes, after checking the hashes of what it read. So runs on a cluster behave as local ones.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import attrs
import trio

from .._config import ModelConfig
from .._errors import InvalidInputError, ModelError
from .._exceptions import leaves, open_helper_nursery
from .._messages import ChatMessage, Usage
from .._remote import ClusterUse
from .._reply_parser import ThoughtStyle
from .._server_behaviour import NO_FINISH_REASON, Change
from .._tracing import current_headers
from ..models import AnswerEnd, AnswerPart, Model, OfflineRules, ReasoningDelta, TextDelta
from ..runtime import Runtime
from ..sandbox import HostTool, Outcome, Sandbox
from ..tools import DEFAULT_RULES, AccessRules
from ._errors import ClusterError
from ._protocol import AnswerRead, ModelParts, WorkerSetup
from ._workers import Workers, WorkerSource

T = TypeVar("T", bound=HostTool)
_IDEMPOTENT = "trioagent_idempotent"


@asynccontextmanager
async def open_remote(
    runtime: Runtime, source: WorkerSource, *, workers: int, lesser_tiers: bool, silence: float
) -> AsyncIterator[Runtime]:
    """*runtime* with its model and its sandbox on workers that *source* starts; they are ended when the block ends.

    Args:
        workers: the number of workers.
        lesser_tiers: use the best tier of each worker, even if the runtime's own does not work there.
        silence: timeout in seconds after which the driver considers a silent worker lost, and a worker its driver.

    Raises:
        ClusterError: no worker is left, or none could be started.
    """
    setup = WorkerSetup(
        epoch=0,
        tier=None if lesser_tiers else runtime.sandbox.tier,
        limits=runtime.sandbox.limits,
        network=runtime.network,
        silence=silence,
    )
    kept = Workers(source, workers, setup, silence)
    try:
        async with open_helper_nursery() as nursery:
            await nursery.start(kept.run)
            sandbox = Sandbox(RemoteExecutor(kept), runtime.sandbox.limits)
            remote = RemoteModels(kept, runtime.thought_styles)
            moved = attrs.evolve(runtime, sandbox=sandbox, remote=remote)
            async with moved.open_model(None) as model:
                yield attrs.evolve(moved, model=model)
    except BaseExceptionGroup as group:  # each task that keeps a worker has said the same
        raise one_cluster_error(group) from None


def one_cluster_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first of the errors in a group of nothing but `ClusterError`; else the group."""
    errors = list(leaves(group))
    return errors[0] if all(isinstance(error, ClusterError) for error in errors) else group


def idempotent(tool: T) -> T:
    """Declare that a host tool may be called twice for one call of a block, which blocks on a cluster require.

    A block whose worker is lost is run again on another one, and calls its tools again. Tools run in the driver's
    process, in the scope of the agent's chat, as without a cluster.

    Args:
        tool: an async function; it is returned unchanged.
    """
    setattr(tool, _IDEMPOTENT, True)
    return tool


class RemoteExecutor:
    """Blocks on workers; see `trioagent.sandbox.Executor`."""

    zygotes = 0  # on this machine

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    @property
    def tier(self) -> str:
        return self._workers.tier

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    def use_background(self, nursery: trio.Nursery) -> None:
        pass

    async def execute(
        self,
        code: str,
        *,
        root_fd: int | None,
        hide: bool,
        host_tools: Mapping[str, HostTool],
        rules: AccessRules = DEFAULT_RULES,
    ) -> Outcome:
        if once := [name for name, tool in host_tools.items() if not getattr(tool, _IDEMPOTENT, False)]:
            raise InvalidInputError(
                "host_tools",
                f"a block on a cluster cannot call {', '.join(once)}: a block whose worker is lost runs again, and so "
                "do its calls; declare what may be called twice with trioagent.cluster.idempotent",
            )
        path = "" if root_fd is None else os.readlink(f"/proc/self/fd/{root_fd}")
        return await self._workers.run_block(code, root_fd, path, rules, host_tools)


class RemoteModels:
    """Models whose requests are sent by workers; see `trioagent._remote.RemoteWork`."""

    def __init__(self, workers: Workers, thought_styles: Mapping[str, ThoughtStyle]) -> None:
        self._workers, self._thought_styles = workers, thought_styles
        self._count = 0

    def sender(self, config: ModelConfig) -> RemoteSender:
        return RemoteSender(self._workers, self._key(), config, self._thought_styles)

    def model(self, model: Model | OfflineRules) -> RemoteModel:
        if isinstance(model, OfflineRules):
            from ..models.offline_rules import OfflineRulesModel  # imported on use, as in a runtime

            model = OfflineRulesModel()
        try:
            pickled = pickle.dumps(model)
        except Exception as error:
            problem = f"{model!r:.100} cannot be sent to workers ({error}); give a name, or a ModelConfig"
            raise InvalidInputError("model", problem) from error
        return RemoteModel(self._workers, self._key(), model.name, pickled, self._thought_styles)

    def use(self) -> ClusterUse:
        return self._workers.use()

    def _key(self) -> str:
        self._count += 1
        return str(self._count)


class RemoteSender:
    """Sends requests from workers; rates, retries and the endpoint's health stay with the driver."""

    def __init__(
        self, workers: Workers, key: str, config: ModelConfig, thought_styles: Mapping[str, ThoughtStyle]
    ) -> None:
        self._workers, self._key, self._config, self._thought_styles = workers, key, config, thought_styles

    async def send(
        self, messages: Sequence[ChatMessage], changes: frozenset[Change], headers: Mapping[str, str]
    ) -> RemoteAnswer:
        style = self._thought_styles.get(self._config.model, "unknown")
        answer = await self._workers.ask(self._key, self._config, messages, changes, style, headers)
        assert isinstance(answer, AnswerRead)
        return RemoteAnswer(answer)


class RemoteAnswer:
    """An answer that a worker has read; see `trioagent.models.AnswerSource`."""

    def __init__(self, answer: AnswerRead) -> None:
        self._answer, self._given = answer, False
        self.chars: int = answer.chars
        self.finish_reason: str = answer.finish_reason
        self.usage: Usage | None = answer.usage

    async def next(self) -> Sequence[TextDelta | ReasoningDelta] | None:
        await trio.lowlevel.checkpoint_if_cancelled()
        answer = self._answer
        if not self._given and (answer.text or answer.reasoning):
            self._given = True
            parts: list[TextDelta | ReasoningDelta] = [ReasoningDelta(answer.reasoning)] if answer.reasoning else []
            return [*parts, TextDelta(answer.text, last=answer.error is None)] if answer.text else parts
        if answer.error is not None:
            raise _own(answer.error)
        return None

    def end(self, messages: Sequence[ChatMessage], *, gives_finish_reason: bool) -> AnswerEnd:
        usage = self.usage or Usage.estimate(messages, self.chars)
        if not self._answer.ended:  # it was cut off where it was complete
            return AnswerEnd(usage, self.finish_reason)
        return AnswerEnd(usage, self.finish_reason or (NO_FINISH_REASON if gives_finish_reason else "stop"))

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()


def _own(error: ModelError) -> ModelError:
    """*error*, to be raised once."""
    return type(error)(*error.args)


class RemoteModel:
    """A model that runs on a worker, with its own counts and retries there."""

    def __init__(
        self, workers: Workers, key: str, name: str, pickled: bytes, thought_styles: Mapping[str, ThoughtStyle]
    ) -> None:
        self.name: str = name
        self._workers, self._key, self._pickled, self._thought_styles = workers, key, pickled, thought_styles

    @asynccontextmanager
    async def answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[AsyncIterator[AnswerPart]]:
        style = self._thought_styles.get(self.name, "unknown")
        said = await self._workers.ask(self._key, self._pickled, messages, frozenset(), style, current_headers())
        assert isinstance(said, ModelParts)
        yield _PartsOfAnswer(said.parts)


class _PartsOfAnswer(AsyncIterator[AnswerPart]):
    def __init__(self, parts: Sequence[AnswerPart]) -> None:
        self._parts = iter(parts)

    async def __anext__(self) -> AnswerPart:
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            return next(self._parts)
        except StopIteration:
            raise StopAsyncIteration from None
