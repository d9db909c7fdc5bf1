"""The driver's side of a cluster: starts and keeps workers, gives tasks to them, and retries tasks of lost workers.

A worker that does not answer is *fenced*: its number in the run (its epoch) becomes invalid, so that nothing it says
later is used, and its tasks are given to others. Only then is it killed. So a worker may return from a network
partition at any time, with any result: it cannot write anything.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol

import attrs
import trio
from trio_util import RepeatedEvent

from .._config import ModelConfig
from .._errors import DISK_FULL, MemoryPathError, MemoryStorageError, SandboxError
from .._exceptions import leaves
from .._messages import ChatMessage
from .._remote import ClusterUse, NodeStatus, WorkerState
from .._reply_parser import ThoughtStyle
from .._server_behaviour import Change
from .._tracing import current_headers
from ..sandbox import HostTool, Outcome
from ..tools import AccessRules
from ._errors import ClusterError, WorkerLostError, WorkerRefusedError
from ._protocol import (
    AnswerRead,
    BlockRan,
    CopyBroken,
    CopyChange,
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
    name_of_message,
)
from ._snapshots import Snapshot, SnapshotCache, TooLargeNoteError

_HOLD = 0.25  # seconds that an exchange waits for a result
_HEARTBEAT = 1.0  # seconds between exchanges with an idle worker
# Seconds to wait for further tasks and results, to batch them into one exchange, which costs the driver a millisecond:
# the base, for each running task, and at most.
_LINGER, _LINGER_FOR_TASK, _LONGEST_LINGER = 0.002, 0.0002, 0.02
_SILENT = 1.0  # seconds after which a late exchange marks the worker as silent
_STOP_SECONDS = 0.5  # for a worker to end its tasks before it is killed
_KILL_SECONDS = 5.0  # for a transport to kill a worker
_MOST_LOST = 20  # workers that one task may lose: if several are killed every second, an innocent task loses many
_MOST_BROKEN = 3  # consecutive copies that a worker failed to make, after which it is given up
_MOST_STARTS = 3  # consecutive failed starts for one slot, after which it is given up
_PAUSE = 0.3  # before a failed start is retried; times the number of failures
_FULL_SECONDS = 30.0  # for which a worker whose disk was full gets no blocks
_MOST_MESSAGES, _MOST_CONTENTS = 64 * 2**20, 2**30  # bytes that a worker keeps
_MOST_COPIES = 512
_MOST_SENT = 4 * 2**20  # bytes of contents in one exchange (or one note): it has to be over long before the patience is
_MOST_HOMES = 100_000
_SMALL_FILES = 64  # of a memory; a larger one is scanned in a thread
_LOST_TASK = f"{_MOST_LOST} workers were lost while they ran this; it can be resumed"

_log = logging.getLogger("trioagent")


class WorkerHandle(Protocol):
    """A worker as a transport presents it to the driver."""

    @property
    def handshake(self) -> Handshake: ...

    async def exchange(self, inbox: Inbox) -> Outbox:
        """Raises WorkerLostError if the worker is known to be gone; otherwise it may wait forever."""

    def nudge(self) -> None:
        """End the exchange that waits for results. Never raises, never blocks."""

    async def stop(self) -> None:
        """Cancel its tasks and end it; returns when nothing of them is left. Raises like `exchange`."""

    async def kill(self) -> None:
        """Kill it, if it still exists."""


class WorkerSource(Protocol):
    """A transport: starts workers."""

    async def start(self, setup: WorkerSetup) -> WorkerHandle:
        """Start one worker and wait until it is ready.

        Raises:
            WorkerLostError: it was lost before it was ready.
            WorkerRefusedError: it cannot be used.
        """


@attrs.define(eq=False)
class _Pending:
    """A task given to a worker."""

    needs: Sequence[str] = ()  # contents that the worker must keep meanwhile
    sent: bool = False
    over: trio.Event = attrs.field(factory=trio.Event)
    result: Result | None = None  # None at the end: the worker was lost; a `ToolCall`: the task continues


class _Held:
    """The names of what a worker has, with their sizes, least recently used first."""

    def __init__(self, most_bytes: float) -> None:
        self._most, self._bytes = most_bytes, 0
        self._sizes: OrderedDict[str, int] = OrderedDict()

    def __contains__(self, name: str) -> bool:
        return name in self._sizes

    def use(self, name: str, size: int | None = None) -> None:
        """Mark as just used; with *size* it is new."""
        if size is not None and name not in self._sizes:
            self._sizes[name] = size
            self._bytes += size
        elif name in self._sizes:
            self._sizes.move_to_end(name)

    def excess(self, needed: Counter[str]) -> tuple[str, ...]:
        """Names to evict, least recently used first; none that is *needed*."""
        gone: list[str] = []
        for name in self._sizes if self._bytes > self._most else ():
            if self._bytes <= self._most:
                break
            if not needed[name]:
                self._bytes -= self._sizes[name]
                gone.append(name)
        for name in gone:
            del self._sizes[name]
        return tuple(gone)


class _Link:
    """One worker: its tasks, what it has, and the news for its next inbox."""

    def __init__(self, handle: WorkerHandle, epoch: int, patience: float, nursery: trio.Nursery) -> None:
        self.handle, self.epoch = handle, epoch
        self.answers = self.blocks = 0
        self.fenced = False
        self.full_until = -math.inf
        self.full: CopyBroken | None = None
        self.contents = _Held(_MOST_CONTENTS)
        self.copies: OrderedDict[str, Snapshot] = OrderedDict()
        self.refused_results = 0
        self.broken_copies, self.problem = 0, ""  # consecutive ones, for another reason than a full disk
        self._patience, self._nursery = patience, nursery
        self._pending: dict[int, _Pending] = {}
        self._needed: Counter[str] = Counter()
        self._busy: Counter[str] = Counter()  # running blocks, by memory
        self._messages = _Held(_MOST_MESSAGES)
        self._models: set[str] = set()
        self._new_models: dict[str, ModelConfig | bytes] = {}
        self._new_messages: dict[str, ChatMessage] = {}
        self._new_contents: dict[str, bytes] = {}
        self._tasks: list[Task] = []
        self._cancelled: list[int] = []
        self._tool_answers: list[tuple[int, ToolAnswer]] = []
        self._news = trio.Event()
        self._since: float | None = None  # the start of the exchange in progress
        self._nudging = False

    @property
    def running(self) -> int:
        return len(self._pending)

    @property
    def linger(self) -> float:
        return min(_LONGEST_LINGER, _LINGER + _LINGER_FOR_TASK * len(self._pending))

    @property
    def state(self) -> WorkerState:
        late = self._since is not None and trio.current_time() - self._since > _HOLD + _SILENT
        return "silent" if late else "working"

    def ask(self, task: SendRequest, model: ModelConfig | bytes, messages: Mapping[str, ChatMessage]) -> _Pending:
        if task.model not in self._models:
            self._models.add(task.model)
            self._new_models[task.model] = model
        for name, message in messages.items():
            if name not in self._messages:
                self._new_messages[name] = message
            self._messages.use(name, len(message.content))
        return self._give(task, _Pending())

    def run_block(self, task: RunBlock, snapshot: Snapshot, contents: Mapping[str, bytes]) -> _Pending:
        needs = [name for name, _ in task.change.files.values()]
        for name in needs:
            data = contents.get(name)
            self.contents.use(name, None if data is None else len(data))
        self._new_contents |= contents
        if task.memory:
            self.copies[task.memory] = snapshot
            self.copies.move_to_end(task.memory)
        self._busy[task.memory] += 1
        self._needed.update(needs)
        return self._give(task, _Pending(needs))

    def over(self, task: Task, pending: _Pending) -> None:
        """The worker has answered, or is lost."""
        if isinstance(task, RunBlock):
            self._needed.subtract(pending.needs)
            self._busy[task.memory] -= 1
            if not self._busy[task.memory]:
                del self._busy[task.memory]

    def answer_tool(self, task: int, pending: _Pending, answer: ToolAnswer) -> None:
        """Give a tool's answer to the block of *task*; no effect if the worker is lost."""
        if not self.fenced:
            pending.over, pending.result = trio.Event(), None
            self._tool_answers.append((task, answer))
            self._say_soon()
        else:
            pending.result = None

    def cancel(self, task: int) -> None:
        self._cancelled.append(task)
        self._say_soon()

    def fence(self) -> None:
        """From now on the worker's results are ignored; its tasks are lost."""
        self.fenced = True
        pending, self._pending = self._pending, {}
        for each in pending.values():
            each.over.set()

    async def serve(self) -> None:
        """Exchange with the worker until cancelled.

        Raises:
            WorkerLostError: it does not answer any more.
        """
        for number in itertools.count(1):
            if not (self._pending or self._has_news()):
                with trio.move_on_after(_HEARTBEAT):
                    await self._news.wait()
            await trio.sleep(self.linger)
            inbox = self._inbox(number)
            self._since = trio.current_time()
            try:
                with trio.fail_after(self._patience):
                    outbox = await self.handle.exchange(inbox)
            except trio.TooSlowError:
                raise WorkerLostError(f"it has not answered for {self._patience:g} s") from None
            finally:
                self._since = None
            if (outbox.epoch, outbox.number) != (self.epoch, number):
                self.refused_results += len(outbox.results)
                raise WorkerLostError(f"its answer was that of exchange {outbox.number} of worker {outbox.epoch}")
            self.deliver(outbox)
            if self.broken_copies >= _MOST_BROKEN:
                raise WorkerLostError(f"it can make no copies of memories: {self.problem}")

    def deliver(self, outbox: Outbox) -> None:
        """Take results, each at most once, of tasks that this worker has."""
        for task, result in outbox.results:
            pending = self._pending.pop(task, None)
            if pending is None:
                self.refused_results += 1
                continue
            if isinstance(result, ToolCall):
                self._pending[task] = pending
            pending.result = result
            pending.over.set()
            self.answers += isinstance(result, AnswerRead | ModelParts)
            if isinstance(result, BlockRan):
                self.blocks += 1
                self.broken_copies = 0
            elif isinstance(result, CopyBroken) and result.errno not in DISK_FULL:
                self.broken_copies += 1
                self.problem = result.problem

    def _give(self, task: Task, pending: _Pending) -> _Pending:
        self._pending[task.task] = pending
        self._tasks.append(task)
        self._say_soon()
        return pending

    def _has_news(self) -> bool:
        return bool(self._tasks or self._cancelled or self._tool_answers or self._new_contents)

    def _say_soon(self) -> None:
        """End the exchange that waits for results, if one does, in a moment: more news may follow."""
        self._news.set()
        if self._since is not None and not self._nudging:
            self._nudging = True
            self._nursery.start_soon(self._nudge)

    async def _nudge(self) -> None:
        await trio.sleep(self.linger)
        self._nudging = False
        if self._since is not None and self._has_news():
            self.handle.nudge()

    def _inbox(self, number: int) -> Inbox:
        forget: list[str] = []
        for memory in self.copies if len(self.copies) > _MOST_COPIES else ():
            if len(self.copies) - len(forget) <= _MOST_COPIES:
                break
            if memory not in self._busy:
                forget.append(memory)
        for memory in forget:
            del self.copies[memory]
        contents = self._contents_for_one_exchange()
        tasks, later = self._tasks_with_contents()
        waiting = {task.task for task in later}
        for task in tasks:
            if task.task in self._pending:
                self._pending[task.task].sent = True
        inbox = Inbox(
            epoch=self.epoch,
            number=number,
            models=self._new_models,
            messages=self._new_messages,
            contents=contents,
            tasks=tuple(tasks),
            cancelled=tuple(task for task in self._cancelled if task not in waiting),
            tool_answers=tuple(self._tool_answers),
            forget_messages=self._messages.excess(
                Counter(name for task in self._tasks if isinstance(task, SendRequest) for name in task.messages)
            ),
            forget_contents=self.contents.excess(self._needed),
            forget_copies=tuple(forget),
            hold=0.0 if self._new_contents or not self._pending else _HOLD,
            linger=self.linger,
        )
        self._new_models, self._new_messages, self._tasks, self._tool_answers = {}, {}, later, []
        self._cancelled = [task for task in self._cancelled if task in waiting]
        self._news = trio.Event()
        return inbox

    def _contents_for_one_exchange(self) -> dict[str, bytes]:
        contents: dict[str, bytes] = {}
        size = 0
        for name, data in self._new_contents.items():
            if contents and size + len(data) > _MOST_SENT:
                break
            contents[name] = data
            size += len(data)
        for name in contents:
            del self._new_contents[name]
        return contents

    def _tasks_with_contents(self) -> tuple[list[Task], list[Task]]:
        """The tasks that may begin, and those that wait until all they need has been sent, in order."""
        now: list[Task] = []
        later: list[Task] = []
        memories: set[str] = set()
        for task in self._tasks:
            if isinstance(task, RunBlock) and (
                task.memory in memories or any(name in self._new_contents for name, _ in task.change.files.values())
            ):
                memories.add(task.memory)
                later.append(task)
            else:
                now.append(task)
        return now, later


class Workers:
    """The workers of one run. `run` starts them; tasks wait until there is one.

    Args:
        source: starts them.
        count: the number of workers.
        setup: their parameters; the epoch is replaced.
        patience: timeout in seconds for an exchange.
    """

    def __init__(self, source: WorkerSource, count: int, setup: WorkerSetup, patience: float) -> None:
        self._source, self._count, self._setup, self._patience = source, count, setup, patience
        self._epochs, self._tasks = itertools.count(1), itertools.count(1)
        self._links: list[_Link] = []
        self._places = count  # slots with a worker that is running or starting
        self._changed = RepeatedEvent()
        self._homes: OrderedDict[str, _Link] = OrderedDict()
        self._snapshots = SnapshotCache()
        self._ended: list[NodeStatus] = []  # lost or refused
        self._problem = ""  # of the last one
        self._worked = False  # has any worker
        self._lost = self._asked_again = self._run_again = self._refused = 0

    @property
    def tier(self) -> str:
        """The tier of the blocks: the weakest of all workers', "" without workers."""
        return max((link.handle.handshake.tier for link in self._links), default="")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the workers running; reports as started when one of them is ready. Cancelling ends them all.

        Raises:
            ClusterError: no worker is left, and none can be started.
        """
        async with trio.open_nursery() as nursery:
            for _ in range(self._count):
                nursery.start_soon(self._keep_one, nursery)
            await self._any_link()
            task_status.started()

    def use(self) -> ClusterUse:
        now = [
            NodeStatus(
                node=f"{link.handle.handshake.node}:{link.handle.handshake.pid}",
                epoch=link.epoch,
                state=link.state,
                tier=link.handle.handshake.tier,
                running=link.running,
                answers=link.answers,
                blocks=link.blocks,
            )
            for link in self._links
        ]
        return ClusterUse(
            nodes=(*now, *self._ended),
            lost=self._lost,
            asked_again=self._asked_again,
            run_again=self._run_again,
            refused=self._refused + sum(link.refused_results for link in self._links),
        )

    async def ask(
        self,
        key: str,
        model: ModelConfig | bytes,
        messages: Sequence[ChatMessage],
        changes: frozenset[Change],
        style: ThoughtStyle,
        headers: Mapping[str, str],
    ) -> AnswerRead | ModelParts:
        """Send one request from a worker; from another one if that is lost before the answer has arrived.

        Args:
            key: the key of the model.
            headers: of this request alone.

        Raises:
            ClusterError: no worker is left.
            SandboxError: too many workers were lost.
        """
        named = {name_of_message(message): message for message in messages}
        names = tuple(map(name_of_message, messages))
        home = f"chat {names[min(1, len(names) - 1)]}"
        for _ in range(_MOST_LOST):
            link = await self._pick(home)
            task = SendRequest(next(self._tasks), key, names, changes, style, headers)
            pending = link.ask(task, model, named)
            match await self._result(link, task, pending):
                case AnswerRead() | ModelParts() as answer:
                    return answer
                case TaskFailed(error):
                    raise error
            self._asked_again += pending.sent
        raise SandboxError(_LOST_TASK)

    async def run_block(
        self, code: str, root_fd: int | None, path: str, rules: AccessRules, host_tools: Mapping[str, HostTool]
    ) -> Outcome:
        """Run a block on a worker, over the memory as it is now; on another one if that is lost before it has ended.

        Args:
            host_tools: run here, in the calling task; they run again if the block does.
            root_fd: the memory's folder, leased by the caller; None for an empty one.
            path: the path of that folder, for errors.

        Raises:
            ClusterError: no worker is left.
            SandboxError: too many workers were lost, or the sandbox there failed.
            MemoryPathError, MemoryStorageError: the memory cannot be read, or no worker has room for a copy.
        """
        problem = _LOST_TASK
        for _ in range(_MOST_LOST):
            link = await self._pick(f"memory {path}", copy_of=path)
            snapshot, change, memory = Snapshot(), CopyChange(), ""
            contents: Mapping[str, bytes] = {}
            if root_fd is not None:
                memory, snapshot, contents = await self._snapshot(link, root_fd, path)
                change = snapshot.since(link.copies.get(memory))
                if link.fenced:
                    continue  # the block was not given to it
            task = RunBlock(next(self._tasks), memory, change, code, rules, tuple(host_tools), current_headers())
            pending = link.run_block(task, snapshot, contents)
            match await self._result(link, task, pending, host_tools):
                case BlockRan(outcome, kept):
                    for name, data in zip(kept, outcome.changes.writes.values(), strict=False):
                        link.contents.use(name, len(data))
                    return outcome
                case CopyBroken() as broken:
                    link.copies.pop(memory, None)
                    if broken.errno in DISK_FULL:
                        link.full, link.full_until = broken, trio.current_time() + _FULL_SECONDS
                    else:
                        link.contents = _Held(_MOST_CONTENTS)  # so that all contents are sent again
                    problem = f"a worker cannot make a copy of the notes in {path!r}: {broken.problem}"
                    _log.warning("%s", problem)
                    continue
                case TaskFailed(error):
                    raise error
            self._run_again += pending.sent
        raise SandboxError(problem)

    async def _snapshot(self, link: _Link, root_fd: int, path: str) -> tuple[str, Snapshot, Mapping[str, bytes]]:
        """The key of a memory, its snapshot, and the contents that the worker lacks."""
        try:
            key = _place_of(root_fd)
            memory = f"{key[0]:x}-{key[1]:x}"
            before = link.copies.get(memory)

            def has(note: str, name: str) -> bool:
                return name in link.contents or (before is not None and before.files.get(note, ("",))[0] == name)

            take = partial(self._snapshots.take, key, root_fd, has)
            known = self._snapshots.size_of(key)
            if known is not None and known <= _SMALL_FILES:
                snapshot, contents = take()
            else:
                snapshot, contents = await trio.to_thread.run_sync(take)
        except TooLargeNoteError as error:
            raise MemoryPathError(path, f"{error.filename!r} {error.strerror}") from error
        except PermissionError as error:
            raise MemoryPathError(path, f"{error.filename!r} cannot be read: {error.strerror}") from error
        except OSError as error:
            raise MemoryStorageError(path, error.errno or 0, error.strerror or str(error)) from error
        return memory, snapshot, contents

    async def _result(
        self, link: _Link, task: Task, pending: _Pending, host_tools: Mapping[str, HostTool] | None = None
    ) -> Result | None:
        """The result of a task; None if the worker is lost. Cancelling ends the task, unless the worker is silent."""
        try:
            await pending.over.wait()
            while isinstance(call := pending.result, ToolCall):
                assert host_tools is not None
                link.answer_tool(task.task, pending, await _call_tool(host_tools[call.name], call))
                await pending.over.wait()
        except BaseException:  # including a tool's own Cancelled
            link.cancel(task.task)
            with trio.move_on_after(_STOP_SECONDS, shield=True):
                while isinstance(pending.result, ToolCall) and not link.fenced:
                    pending.over, pending.result = trio.Event(), None
                    await pending.over.wait()
                await pending.over.wait()
            raise
        finally:
            link.over(task, pending)
        assert not isinstance(pending.result, TaskCancelled)
        return pending.result

    async def _pick(self, home: str, *, copy_of: str | None = None) -> _Link:
        """The worker of the previous task of this conversation or memory, unless it is much busier than others.

        Args:
            copy_of: the memory for which it must have room.
        """
        await self._any_link()
        links = self._links
        if copy_of is not None:
            links = [link for link in links if link.full_until <= trio.current_time()]
            if not links:
                full = next(link.full for link in self._links if link.full is not None)
                raise MemoryStorageError(copy_of, full.errno, f"no worker has room for a copy of it: {full.problem}")
        best = min(links, key=lambda link: link.running)
        last = self._homes.get(home)
        if last is None or last not in links or last.running > 2 * best.running + 8:
            last = self._homes[home] = best
        self._homes.move_to_end(home)
        if len(self._homes) > _MOST_HOMES:
            self._homes.popitem(last=False)
        return last

    async def _any_link(self) -> None:
        """Wait until there is a worker.

        Raises:
            ClusterError: there will be none.
        """
        while not self._links:
            if not self._places:
                raise self._none_left()
            await self._changed.wait()

    async def _keep_one(self, nursery: trio.Nursery) -> None:
        """Keep one worker running; restarts it when it is lost."""
        failures = 0
        while failures < _MOST_STARTS:
            setup = attrs.evolve(self._setup, epoch=next(self._epochs))
            try:
                handle = await self._source.start(setup)
            except WorkerRefusedError as error:
                self._note(error.node, setup.epoch, "refused", error.problem)
                break
            except WorkerLostError as error:
                failures += 1
                self._note("", setup.epoch, "lost", error.problem)
                await trio.sleep(_PAUSE * failures)
                continue
            link = _Link(handle, setup.epoch, self._patience, nursery)
            began = await self._serve(link)
            failures = 0 if began else failures + 1
        self._places -= 1
        self._changed.set()
        if not (self._links or self._places):
            raise self._none_left()

    async def _serve(self, link: _Link) -> bool:
        """Work with a worker until it is lost; returns whether it has done anything."""
        self._links.append(link)
        self._changed.set()
        try:
            await link.serve()
        except WorkerLostError as error:
            self._lost += 1
            self._note(_name(link.handle), link.epoch, "lost", error.problem)
        finally:
            self._links.remove(link)
            link.fence()
            with trio.CancelScope(shield=True):  # bounded by the two timeouts
                with trio.move_on_after(_STOP_SECONDS) as stopping:
                    try:
                        await link.handle.stop()
                    except WorkerLostError:
                        stopping.cancel()
                with trio.move_on_after(_KILL_SECONDS):
                    await link.handle.kill()
            self._refused += link.refused_results
        worked = bool(link.answers or link.blocks)
        self._worked = self._worked or worked
        return worked

    def _none_left(self) -> ClusterError:
        return ClusterError(f"no worker is left: {self._problem}", lost=self._worked)

    def _note(self, node: str, epoch: int, state: WorkerState, problem: str) -> None:
        self._problem = f"{node}: {problem}" if node else problem
        _log.warning("worker %d%s is %s: %s", epoch, f" on {node}" if node else "", state, problem)
        status = NodeStatus(
            node=node, epoch=epoch, state=state, tier="", running=0, answers=0, blocks=0, problem=problem
        )
        self._ended = [*self._ended, status][-100:]


async def _call_tool(tool: HostTool, call: ToolCall) -> ToolAnswer:
    try:
        value = await tool(*call.args, **call.kwargs)
    except Exception as error:  # noqa: BLE001 - the tool's failure is the block's to handle; Cancelled passes
        words = str(error)
        if isinstance(error, BaseExceptionGroup):  # whose own message does not name the errors in it
            words += ": " + "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in leaves(error))
        return ToolAnswer(kind=type(error).__name__, error=words)
    try:
        return ToolAnswer(json.dumps(value))
    except (TypeError, ValueError, RecursionError) as error:
        return ToolAnswer(kind="TypeError", error=f"{call.name}() returned what is not JSON: {error}")


def _name(handle: WorkerHandle) -> str:
    return f"{handle.handshake.node}:{handle.handshake.pid}"


def _place_of(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino
