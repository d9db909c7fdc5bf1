"""A worker: sends requests and runs blocks for the driver, and has no state of its own that must not be lost."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pickle
import shutil
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import trio
from trio_util import AsyncValue

from .. import _span_names as span_names
from .._config import ModelConfig
from .._errors import ModelError
from .._exceptions import open_helper_nursery
from .._messages import ChatMessage
from .._reply_parser import ReplyParser
from .._tracing import Tracing
from ..models import (
    AnswerEnd,
    AnswerPart,
    AnswerSource,
    Model,
    ReasoningDelta,
    RequestSender,
    Retrying,
    TextDelta,
    open_sender,
)
from ..sandbox import Outcome, Sandbox, open_sandbox
from ._copies import Copies
from ._protocol import (
    AnswerRead,
    BlockRan,
    CopyBroken,
    Handshake,
    Inbox,
    ModelParts,
    Outbox,
    Result,
    RunBlock,
    SendRequest,
    Task,
    TaskCancelled,
    TaskFailed,
    ToolAnswer,
    ToolCall,
    WorkerSetup,
    describe,
    name_of_content,
)

_END_SECONDS = 0.1  # between an answer's last tag and the end of the stream, as for an agent
_NOTE_MODE = 0o644  # the usual mode of a new note; if it has another one, it is only sent again
_SMALL_BYTES, _SMALL_FILES = 256 * 1024, 16  # of a change; a larger one is applied in a thread
_PREFIX = "trioagent-worker-"
E = TypeVar("E", bound=Exception)


@asynccontextmanager
async def open_worker(setup: WorkerSetup, place: Path, tracing: Tracing | None) -> AsyncIterator[Worker]:
    """Start a worker's sandbox, and run its tasks until the block ends; all of them are cancelled then.

    Args:
        place: an empty folder of its own.
        tracing: records the tasks that belong to a span of the driver's.

    Raises:
        SandboxUnavailableError: no tier works here, or not the required one.
    """
    async with (
        open_sandbox(setup.tier, limits=setup.limits) as sandbox,
        AsyncExitStack() as senders,
        open_helper_nursery() as nursery,
    ):
        worker = Worker(setup, sandbox, senders, nursery, Copies(place), tracing)
        nursery.start_soon(worker.end_in_silence)
        yield worker


@contextmanager
def worker_folder(folder: str | None = None) -> Iterator[Path]:
    """An empty folder for one worker. Folders left by killed workers are removed first."""
    above = Path(folder or tempfile.gettempdir())
    for left in above.glob(f"{_PREFIX}*"):
        with suppress(OSError), _locked(left):
            shutil.rmtree(left)
    new = Path(tempfile.mkdtemp(prefix=f"new-{_PREFIX}", dir=above))
    with _locked(new):
        # It gets the name that other workers look for, and remove, only now that it is locked.
        place = new.rename(above / new.name.removeprefix("new-"))
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """OSError, if another process has it locked."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


class Worker:
    """Created by `open_worker`.

    Attributes:
        ended: the driver has ended it, or has been silent for too long.
    """

    def __init__(
        self,
        setup: WorkerSetup,
        sandbox: Sandbox,
        senders: AsyncExitStack,
        nursery: trio.Nursery,
        copies: Copies,
        tracing: Tracing | None,
    ) -> None:
        self.ended: trio.Event = trio.Event()
        self._setup, self._sandbox, self._copies = setup, sandbox, copies
        self._senders, self._nursery, self._tracing = senders, nursery, tracing
        self._given: dict[str, ModelConfig | bytes] = {}  # models, by key
        self._opened: dict[str, RequestSender | Model] = {}
        self._opening = trio.Lock()
        self._messages: dict[str, ChatMessage] = {}
        self._scopes: dict[int, trio.CancelScope] = {}  # of the running tasks
        self._tool_calls: dict[int, AsyncValue[ToolAnswer | None]] = {}
        self._idle = trio.Event()  # set when no task is running
        self._last_blocks: dict[str, trio.Event] = {}  # by memory: set when the latest block has ended
        self._disk_error: OSError | None = None  # the latest error on keeping a content
        self._results: list[tuple[int, Result]] = []
        self._news = trio.Event()
        self._exchanges = 0
        self._in_exchange = False
        self._last_heard = trio.current_time()

    @property
    def handshake(self) -> Handshake:
        return Handshake(
            node=socket.gethostname(),
            pid=os.getpid(),
            tier=self._sandbox.tier,
        )

    def nudge(self) -> None:
        """The driver has news: end the exchange that waits for results."""
        self._news.set()

    async def exchange(self, inbox: Inbox) -> Outbox:
        """Take an inbox, and return the results of tasks, waiting a little for some.

        Raises:
            ValueError: the inbox is meant for another worker, or one was lost on the way.
        """
        if inbox.epoch != self._setup.epoch or inbox.number != self._exchanges + 1:
            raise ValueError(f"exchange {inbox.epoch}.{inbox.number} came to worker {self._setup.epoch}")
        self._exchanges += 1
        self._in_exchange = True
        try:
            await self._keep_contents(inbox.contents)
            self._take(inbox)
            with trio.move_on_after(inbox.hold):
                await self._news.wait()
            if self._results:
                await trio.sleep(inbox.linger)
            self._news = trio.Event()
            results, self._results = self._results, []
            return Outbox(epoch=inbox.epoch, number=inbox.number, results=tuple(results))
        finally:
            self._in_exchange = False
            self._last_heard = trio.current_time()

    async def end_in_silence(self) -> None:
        """End the worker when the driver has been silent for too long: it is dead, or considers this worker lost."""
        while True:
            await trio.sleep(self._setup.silence / 4)
            if not self._in_exchange and trio.current_time() >= self._last_heard + self._setup.silence:
                return await self.stop()

    async def stop(self) -> None:
        """Cancel every task, and return when nothing of them is left."""
        for scope in self._scopes.values():
            scope.cancel()
        if self._scopes:
            self._idle = trio.Event()
            await self._idle.wait()
        self.ended.set()

    async def _keep_contents(self, contents: Mapping[str, bytes]) -> None:
        """Contents that the disk refuses will be missing when a copy needs them."""
        keep = partial(self._copies.keep_all, contents)
        try:
            if len(contents) <= _SMALL_FILES and sum(map(len, contents.values())) <= _SMALL_BYTES:
                keep()
            else:
                await trio.to_thread.run_sync(keep)
        except OSError as error:
            self._disk_error = error

    def _take(self, inbox: Inbox) -> None:
        self._messages |= inbox.messages
        self._given |= inbox.models
        for name in inbox.forget_messages:
            self._messages.pop(name, None)
        self._copies.forget_contents(inbox.forget_contents)
        for memory in inbox.forget_copies:
            self._copies.forget(memory)
            self._last_blocks.pop(memory, None)
        for task in inbox.tasks:
            self._begin(task)
        for number, answer in inbox.tool_answers:
            if number in self._tool_calls:
                self._tool_calls[number].value = answer
        for number in inbox.cancelled:
            if number in self._scopes:
                self._scopes[number].cancel()

    def _begin(self, task: Task) -> None:
        """Start a task; blocks of one memory run one after another, in order."""
        scope = self._scopes[task.task] = trio.CancelScope()
        if isinstance(task, SendRequest):
            # Messages that it names may be dropped with the next inbox.
            messages = [self._messages[name] for name in task.messages]
            self._nursery.start_soon(self._run, task, scope, partial(self._ask, task, messages))
            return
        before, this = self._last_blocks.get(task.memory), trio.Event()
        self._last_blocks[task.memory] = this
        self._nursery.start_soon(self._run, task, scope, partial(self._run_block, task, before, this))

    async def _run(self, task: Task, scope: trio.CancelScope, work: Callable[[], Awaitable[Result]]) -> None:
        result: Result = TaskCancelled()
        try:
            with scope:
                result = await work()
        except Exception as error:  # noqa: BLE001 - the task's failure is data for the driver
            result = TaskFailed(_portable(error))
        del self._scopes[task.task]
        self._results.append((task.task, result))
        self._news.set()
        if not self._scopes:
            self._idle.set()

    @contextmanager
    def _span(self, name: str, headers: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
        """A span for what is done here for the driver's span that *headers* name; gives the headers that name it.

        There is none if the driver traces nothing, or this process has no tracer provider.
        """
        if self._tracing is None or not headers:
            yield headers
            return
        attributes = {span_names.WORKER: f"{socket.gethostname()}:{os.getpid()}"}
        with self._tracing.under(headers), self._tracing.span(name, attributes) as span:
            yield span.headers()

    async def _ask(self, task: SendRequest, messages: Sequence[ChatMessage]) -> Result:
        model = await self._model(task.model)
        with self._span(span_names.WORKER_REQUEST, task.headers) as headers:
            if hasattr(model, "answer"):
                async with model.answer(messages) as parts:
                    return ModelParts(await _parts_of(parts, ReplyParser(task.style)))
            try:
                source = await model.send(messages, task.changes, headers)
            except ModelError as error:
                return AnswerRead(error=_picklable(error))
            try:
                return await _read(source, ReplyParser(task.style))
            finally:
                await source.aclose()

    async def _model(self, key: str) -> RequestSender | Model:
        async with self._opening:
            if key not in self._opened:
                given = self._given[key]
                if isinstance(given, ModelConfig):
                    sender = open_sender(given, network=self._setup.network)
                    self._opened[key] = await self._senders.enter_async_context(sender)
                else:
                    self._opened[key] = pickle.loads(given)
            return self._opened[key]

    async def _run_block(self, task: RunBlock, before: trio.Event | None, this: trio.Event) -> Result:
        try:
            with trio.CancelScope(shield=True):  # bounded: local files, and the exit of a block that is being killed
                if before is not None:
                    await before.wait()
                if not task.memory:
                    root = None
                else:
                    try:
                        root = await self._changed_copy(task)
                    except OSError as failure:
                        error = failure
                        if isinstance(failure, FileNotFoundError) and self._disk_error is not None:
                            error, self._disk_error = self._disk_error, None
                        return CopyBroken(error.errno or errno.EIO, f"{socket.gethostname()}: {error}")
            try:
                tools = {name: partial(self._call_tool, task.task, name) for name in task.tools}
                with self._span(span_names.WORKER_BLOCK, task.headers):
                    outcome = await self._sandbox.execute(task.code, root_fd=root, rules=task.rules, host_tools=tools)
                return BlockRan(outcome, await self._keep(outcome, root))
            finally:
                if root is not None:
                    os.close(root)
        finally:
            this.set()

    async def _call_tool(self, task: int, name: str, *args: Any, **kwargs: Any) -> Any:
        """Have the driver run a host tool for the block of *task*, which waits and so makes one call at a time."""
        answered: AsyncValue[ToolAnswer | None] = AsyncValue(None)
        self._tool_calls[task] = answered
        try:
            self._results.append((task, ToolCall(name, args, kwargs)))
            self._news.set()
            answer = await answered.wait_value(lambda value: value is not None)
        finally:
            del self._tool_calls[task]
        assert answer is not None
        if answer.kind:  # the block is told the error's class by name, so it must be the same
            raise type(answer.kind, (Exception,), {})(answer.error)
        return json.loads(answer.value)

    async def _changed_copy(self, task: RunBlock) -> int:
        change = task.change
        count = len(change.folders) + len(change.files) + len(change.links) + len(change.removed)
        if count <= _SMALL_FILES:
            return self._copies.change(task.memory, change)
        return await trio.to_thread.run_sync(self._copies.change, task.memory, change)

    async def _keep(self, outcome: Outcome, root: int | None) -> tuple[str, ...]:
        """Keep the contents that the block wrote, which the memory will have after the commit; returns their names."""
        writes = outcome.changes.writes
        if not writes or root is None:
            return ()
        keep = partial(self._keep_all, writes, root)
        try:
            if len(writes) <= _SMALL_FILES and sum(map(len, writes.values())) <= _SMALL_BYTES:
                return keep()
            return await trio.to_thread.run_sync(keep)
        except OSError:  # the driver will send them
            return ()

    def _keep_all(self, writes: Mapping[str, bytes], root: int) -> tuple[str, ...]:
        names = []
        for path, data in writes.items():
            try:
                mode = stat.S_IMODE(os.stat(path, dir_fd=root, follow_symlinks=False).st_mode)
            except OSError:
                mode = _NOTE_MODE
            name = name_of_content(blake2b(data, digest_size=16).hexdigest(), mode)
            self._copies.keep(name, data)
            names.append(name)
        return tuple(names)


async def _read(source: AnswerSource, parser: ReplyParser) -> AnswerRead:
    """Read an answer up to the point where it is complete."""
    text, reasoning, ended = "", "", False

    async def rest() -> bool:
        """Whether the stream ended; text until then is ignored."""
        try:
            while await source.next() is not None:
                pass
        except ModelError:  # the connection broke after a complete answer, which is valid
            return False
        return True

    error = None
    try:
        while (parts := await source.next()) is not None:
            for part in parts:
                if isinstance(part, ReasoningDelta):
                    reasoning += part.text
                else:
                    text += part.text
                    parser.feed(part.text)
            if parser.finished:
                with trio.move_on_after(_END_SECONDS):
                    ended = await rest()
                break
        else:
            ended = True
    except ModelError as failure:
        error = _picklable(failure)
    return AnswerRead(text, reasoning, source.chars, source.usage, source.finish_reason, ended, error)


async def _parts_of(parts: AsyncIterator[AnswerPart], parser: ReplyParser) -> tuple[AnswerPart, ...]:
    """The parts of an answer of a model without a server, up to the point where it is complete."""
    said: list[AnswerPart] = []
    async for part in parts:
        said.append(part)
        if isinstance(part, Retrying):
            parser = ReplyParser()
        elif isinstance(part, TextDelta):
            parser.feed(part.text)
            if parser.finished and not part.last:
                with trio.move_on_after(_END_SECONDS):
                    async for end in parts:
                        if isinstance(end, AnswerEnd):
                            said.append(end)
                            break
                break
    return tuple(said)


def _picklable(error: E) -> E:
    """*error* without references to the frames that it came from."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _portable(error: Exception) -> Exception:
    """*error*, or its text if it cannot be pickled, as with errors of a user's model."""
    try:
        pickle.loads(pickle.dumps(_picklable(error)))
    except Exception:  # noqa: BLE001 - whatever its class does
        return RuntimeError(describe(error))
    return error
