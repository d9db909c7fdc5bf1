"""The ``kernel`` and ``kernel-lite`` tiers: each block in a confined child of a zygote.

Both need Linux with Landlock and seccomp, the first also user namespaces.
"""

from __future__ import annotations

import errno
import itertools
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import attrs
import trio
from trio_util import move_on_when

from .._config import SandboxLimits
from .._descriptors import Hold
from .._errors import MemoryRejectedError
from .._steps import STEP_BYTES, STEP_NAMES
from ..memory import ChangeSet
from ..tools import DEFAULT_RULES, AccessRules
from ._block_session import Attempts, BlockLostError, BlockSession, ChildDied, RunSlot
from ._collect_changes import TooManyNamesError, ViewRemovedError, read_changes, read_layer, read_layered, read_pieces
from ._guest.views import VIEW, is_intact
from ._hidden_names import HiddenNames, folds_any
from ._indexes import PIECE, IndexBounds, Indexes, SharedIndex
from ._mixed_ownership import MixedOwnership
from ._note_grants import Grants
from ._pressure import MemoryPressure
from ._sandbox import (
    LOST_ZYGOTE_COST,
    CodeNotSentError,
    HostTool,
    NotAnsweredError,
    NotMountedError,
    Outcome,
    not_set_up,
)
from ._zygote import (
    AS_USUAL,
    Child,
    ProcessSettings,
    Zygote,
    Zygotes,
    lacks_module,
    needs_full_library,
    set_up_problem,
)

# A smaller layer is read in this thread: a worker thread costs more (about 0.1 ms) than reading it.
_SMALL_BYTES, _SMALL_FILES = STEP_BYTES, 64


@attrs.define
class _Run:
    """The state of one block's run."""

    code: str
    root_fd: int | None
    lower_fd: int | None
    hide: Sequence[str]
    rules: AccessRules
    host_tools: Mapping[str, HostTool]
    slot: RunSlot
    seconds: float  # what is left of its wall clock limit
    layered: bool = False  # its view cannot be an overlay
    must_grant: bool = False  # *hide* does not name everything that is hidden
    pieces: list[bytes] | None = None  # for an internal block: the files that it wrote
    attempts: Attempts = attrs.field(factory=Attempts)
    descriptors: Hold = attrs.field(init=False)  # set when it has its slot


class KernelTier:
    """Children of zygotes, of which at most ``limits.parallel`` run blocks at once."""

    def __init__(
        self,
        limits: SandboxLimits,
        tier: str,
        zygotes: Zygotes,
        index_bounds: IndexBounds = IndexBounds(),
        processes: ProcessSettings = AS_USUAL,
    ) -> None:
        self.limits, self.tier = limits, tier
        self._zygotes, self._processes = zygotes, processes
        self._running = trio.CapacityLimiter(limits.parallel)
        self._pressure = MemoryPressure(limits.memory_bytes + limits.view_bytes)
        self._mixed_ownership = MixedOwnership(
            all_ids=bool(self.handshake["all_ids"]), only_reading=tier == "kernel-lite"
        )
        self._hidden = HiddenNames()
        self._not_mounted: set[tuple[int, int]] = set()  # memories over which no overlay can be mounted
        self.indexes = Indexes(self.build_index, limits.file_bytes, index_bounds)

    @classmethod
    async def start(
        cls,
        limits: SandboxLimits,
        tier: str = "kernel",
        *,
        index_bounds: IndexBounds = IndexBounds(),
        processes: ProcessSettings = AS_USUAL,
    ) -> KernelTier:
        """Start the zygote.

        Raises:
            TierStartError: with the step that failed.
        """
        return cls(limits, tier, await Zygotes.start(limits, tier, processes), index_bounds, processes)

    @property
    def handshake(self) -> Mapping[str, object]:
        """What the zygote reported about itself on its start."""
        return self._zygotes.common.handshake

    @property
    def pid(self) -> int:
        """The zygote's outer process."""
        return self._zygotes.common.pid

    @property
    def zygotes(self) -> int:
        return self._zygotes.alive

    def use_background(self, nursery: trio.Nursery) -> None:
        self.indexes.background = self._hidden.background = nursery

    async def aclose(self) -> None:
        try:
            await self.indexes.aclose()
        finally:
            self._hidden.close()
            await self._zygotes.aclose()

    async def execute(
        self,
        code: str,
        *,
        root_fd: int | None,
        hide: bool,
        host_tools: Mapping[str, HostTool],
        rules: AccessRules = DEFAULT_RULES,
    ) -> Outcome:
        if root_fd is None:
            return await self._execute(code, root_fd, root_fd, hide=(), host_tools=host_tools, rules=rules)
        hidden = await self._hidden.find(root_fd, rules)
        must_grant = hidden is None and await self._can_grant(root_fd, rules)
        run = partial(self._execute, code, root_fd, hide=hidden or (), host_tools=host_tools, rules=rules)
        if (hidden is None and not must_grant) or await self._mixed_ownership.needs_copy(root_fd):
            async with self._mixed_ownership.copied(root_fd, rules) as lower_fd:
                outcome = await run(lower_fd, must_grant=False)
        else:
            outcome = await run(root_fd, must_grant=must_grant)
            self.indexes.learn(root_fd, outcome.scanned, rules)
        if any(f"[Errno {number}]" in outcome.error for number in (errno.EACCES, errno.EPERM, errno.EOVERFLOW)):
            self._mixed_ownership.forget(root_fd)
        return outcome

    async def _execute(
        self,
        code: str,
        root_fd: int | None,
        lower_fd: int | None,
        *,
        hide: Sequence[str],
        must_grant: bool = False,
        host_tools: Mapping[str, HostTool],
        rules: AccessRules,
    ) -> Outcome:
        run = _Run(
            code,
            root_fd,
            lower_fd,
            hide,
            rules,
            host_tools,
            RunSlot(self._running, self._pressure),
            self.limits.wall_seconds,
            layered=self._is_layered(root_fd, hide),
            must_grant=must_grant,
        )
        run.descriptors = await run.slot.begin()
        try:
            full = needs_full_library(code, self._zygotes.present)
            outcome = await self._run(run, full=full)
            # A failed block has left nothing behind, unless it called a host tool: it can be run again.
            if not full and lacks_module(outcome.error) and not run.attempts.called and run.seconds > 0:
                outcome = await self._run(run, full=True)
            return outcome
        finally:
            run.slot.end()

    def _is_layered(self, root_fd: int | None, hide: Sequence[str]) -> bool:
        """Whether a view of this memory cannot be an overlay: none can be mounted, or it would show what is hidden."""
        if self.tier != "kernel" or root_fd is None:
            return False
        return (bool(self._not_mounted) and place_of(root_fd) in self._not_mounted) or folds_any(root_fd, hide)

    async def _run(self, run: _Run, *, full: bool) -> Outcome:
        async def once() -> Outcome:
            layered = run.layered
            zygote = await self._zygotes.get(full=full, layered=layered)
            try:
                return await self._run_once(run, zygote, layered)
            except NotMountedError as error:
                if layered or run.root_fd is None:
                    raise
                self._not_mounted.add(place_of(run.root_fd))
                run.layered = True
                raise CodeNotSentError(error.problem) from error  # the next child gets a layered view
            except NotAnsweredError:
                raise
            except CodeNotSentError as error:
                # A child that says nothing has died. One that has said what is wrong would know of no zygote's death.
                if not zygote.alive or (error.cost <= 1 and await zygote.is_ending()):
                    raise CodeNotSentError(error.problem, LOST_ZYGOTE_COST) from error
                raise

        return await run.attempts.run(once)

    async def _run_once(self, run: _Run, zygote: Zygote, layered: bool) -> Outcome:
        """Run the block in a child, and read the changes that it leaves.

        Raises:
            CodeNotSentError: the child, or the zygote, was lost before the block could begin.
            BlockLostError: the zygote was lost while the block ran, or before its changes had been read.
        """
        # A spare child may have died or hang unnoticed: after a failure a new one is forked.
        with self._index(run) as index:
            may_be_spare = not run.attempts.count
            fork = partial(
                zygote.fork,
                run.lower_fd,
                hide=run.hide,
                may_be_spare=may_be_spare,
                index=index,
                as_owner=run.lower_fd is None or self._mixed_ownership.needs_owner(run.lower_fd),
                grants=partial(self._grants, run, zygote),
            )
            child = await run.descriptors.open_when_possible(fork)
        try:
            session = _ConfinedSession(
                child, self.limits, run.host_tools, run.slot, run.rules, answer_seconds=self._processes.answer
            )
            began = trio.current_time()
            try:
                outcome = await session.run(run.code, seconds=run.seconds)
            finally:
                # Dead, not merely signalled: nothing writes to the layer any more, and the descriptors may be closed.
                if child.grants is not None:
                    child.grants.done(session.confined)
                ended_before = await child.kill()
                zygote.prepare()  # fork the next child while we read and save the block's changes
                run.attempts.called |= session.called
            if not session.replied:
                # A zygote that hangs does not report that a child has ended.
                if (session.timed_out and ended_before) or not zygote.alive:
                    raise BlockLostError
                if session.ended_unseen and await zygote.is_ending():
                    raise BlockLostError
            if outcome.error and self.tier != "kernel" and not is_intact(child.upper):
                raise BlockLostError  # its view was removed while it ran
            run.seconds -= trio.current_time() - began
            if run.root_fd is None or outcome.error:
                return outcome
            if run.pieces is not None:
                size, piece_bytes = int(outcome.locals["size"]), self.limits.file_bytes
                prefix = PIECE if self.tier == "kernel" else f"{VIEW}/{PIECE}"
                read = partial(read_pieces, child.upper, prefix, size=size, piece_bytes=piece_bytes)
                run.pieces = await trio.to_thread.run_sync(read)
                return outcome
            try:
                changes = await self._changes(child.upper, run.root_fd, run.rules, layered)
                if not changes:
                    return outcome
                self._hidden.hold(run.root_fd, run.rules, itertools.chain(changes.writes, changes.deletes))
                return attrs.evolve(outcome, changes=changes)
            except MemoryRejectedError as error:
                return attrs.evolve(outcome, error=f"{type(error).__name__}: {error}")
            except ViewRemovedError:
                raise BlockLostError from None
        finally:
            child.close()

    async def _can_grant(self, root_fd: int, rules: AccessRules) -> bool:
        return self.tier == "kernel-lite" and await self._hidden.can_grant(root_fd, rules)

    async def _grants(self, run: _Run, zygote: Zygote) -> Grants | None:
        """What may be read in folders with hidden names, unless each child finds that out for itself.

        Raises:
            CodeNotSentError: it must not, for there is too much.
        """
        if self.tier != "kernel-lite" or run.root_fd is None or run.lower_fd != run.root_fd:
            return None
        layers, abi = zygote.handshake["scratch"], zygote.handshake["landlock"]
        assert isinstance(layers, str) and isinstance(abi, int)
        try:
            found = await self._hidden.grant(run.root_fd, run.rules, layers=layers, abi=abi)
        except OSError:  # no descriptor is left, or the zygote has ended
            found = None
        if found is None and run.must_grant:
            raise CodeNotSentError("the memory has many hidden names, and it is not known which")
        return found

    def _index(self, run: _Run) -> AbstractContextManager[SharedIndex | None]:
        if run.root_fd is None or run.lower_fd != run.root_fd:
            return nullcontext()
        return self.indexes.share(run.root_fd, run.rules)

    async def build_index(self, code: str, root_fd: int, rules: AccessRules) -> tuple[Outcome, list[bytes]]:
        """Run an internal block, which takes no slot of other blocks, and read the pieces that it wrote.

        Raises:
            ValueError: too many names would have to be left out of its view.
        """
        hide = await self._hidden.find(root_fd, rules)
        must_grant = hide is None
        if must_grant and not await self._can_grant(root_fd, rules):
            raise ValueError("a block over this memory gets a copy of it")
        slot = RunSlot(trio.CapacityLimiter(1))
        run = _Run(code, root_fd, root_fd, hide or (), rules, {}, slot, self.limits.wall_seconds, must_grant=must_grant)
        run.layered = self._is_layered(root_fd, run.hide)
        run.pieces = []
        run.descriptors = await run.slot.begin()
        try:
            return await self._run(run, full=False), run.pieces
        finally:
            run.slot.end()

    async def _changes(self, upper: int, root: int, rules: AccessRules, layered: bool) -> ChangeSet:
        """Read the block's changes; large ones in a worker thread, uncancellable there (the view's size is bounded)."""
        limits = self.limits
        if self.tier != "kernel" or layered:
            how = read_layered if layered else read_layer
            read = partial(how, upper, root, rules, max_bytes=limits.view_bytes, max_files=limits.view_files)
            try:
                return read(one_step=True)
            except TooManyNamesError:
                return await trio.to_thread.run_sync(read)
        layer = os.fstatvfs(upper)
        small = (
            layer.f_blocks - layer.f_bfree
        ) * layer.f_frsize <= _SMALL_BYTES and layer.f_files - layer.f_ffree <= _SMALL_FILES
        if small:
            try:
                return read_changes(upper, root, rules, max_bytes=limits.view_bytes, max_names=STEP_NAMES)
            except TooManyNamesError:
                pass  # a removed folder is one entry of the layer, whatever it held
        return await trio.to_thread.run_sync(lambda: read_changes(upper, root, rules, max_bytes=limits.view_bytes))


def place_of(root: int) -> tuple[int, int]:
    info = os.fstat(root)
    return info.st_dev, info.st_ino


class _ConfinedSession(BlockSession):
    """With a child whose first byte tells whether it could be confined."""

    def __init__(self, child: Child, *arguments: Any, answer_seconds: float) -> None:
        super().__init__(child, *arguments)
        self._pidfd, self._answer_seconds = child.pidfd, answer_seconds
        self.confined = False

    @property
    def _setup_seconds(self) -> float:
        return self._answer_seconds

    async def _may_send(self) -> bool:
        """False if the child has died: its end of the socket may be kept open to keep its view."""
        async with move_on_when(trio.lowlevel.wait_readable, self._pidfd) as waited:
            await super()._may_send()
        return not waited.cancelled_caught

    async def _wait_until_confined(self) -> None:
        """Receive the first byte, sent before the child reads the code: R = confined, ready; E = error, text follows.

        Raises:
            CodeNotSentError: it could not be set up, or died.
        """
        try:
            await self._fill(1)
        except ChildDied:
            pass  # not even one byte
        if self._received.startswith(b"R"):
            del self._received[0]
            self.confined = True
            return
        start = bytes(self._received)
        self._clock.deadline = math.inf  # the error text has a limit of its own
        raise not_set_up(await set_up_problem(self._channel, start))
