"""What a transport must not do, done: exchanges that come twice, late, in another order, or from another worker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from trioagent._config import SandboxLimits
from trioagent._network import NetworkConfig
from trioagent.cluster._local import LocalWorkers
from trioagent.cluster._protocol import BlockRan, CopyChange, Handshake, Inbox, Outbox, RunBlock, WorkerSetup
from trioagent.cluster._remote import open_remote
from trioagent.cluster._worker import Worker, open_worker, worker_folder
from trioagent.cluster._workers import WorkerHandle
from trioagent.tools import DEFAULT_RULES

from .faults import run_jobs, what_came
from .test_exactly_once import local_runtime, undisturbed, what_stays

pytestmark = pytest.mark.real


@asynccontextmanager
async def a_worker() -> AsyncIterator[Worker]:
    setup = WorkerSetup(epoch=7, tier=None, limits=SandboxLimits(), network=NetworkConfig(), silence=30.0)
    with worker_folder() as place:
        async with open_worker(setup, place, None) as worker:
            yield worker


def block(task: int, code: str) -> RunBlock:
    return RunBlock(task, "", CopyChange(), code, DEFAULT_RULES)


async def results(worker: Worker, first: int) -> dict[int, object]:
    """What comes of all tasks that are under way, in exchanges from number *first* on."""
    found: dict[int, object] = {}
    with trio.fail_after(20):
        for number in range(first, first + 50):
            outbox = await worker.exchange(Inbox(epoch=7, number=number, hold=1.0))
            assert (outbox.epoch, outbox.number) == (7, number)
            found |= dict(outbox.results)
            if found:
                return found
    raise AssertionError("nothing came of it")


async def test_a_worker_takes_each_exchange_once_in_order_and_only_its_own(tmp_path: Path) -> None:
    """What is refused is not begun; the next exchange in order is taken as if nothing had happened."""
    async with a_worker() as worker:
        first = Inbox(epoch=7, number=1, tasks=(block(1, "x = 1"),))
        await worker.exchange(first)
        refused = [
            first,  # once more
            Inbox(epoch=7, number=3, tasks=(block(3, "x = 3"),)),  # one was lost on the way
            Inbox(epoch=6, number=2, tasks=(block(4, "x = 4"),)),  # of the worker before
            Inbox(epoch=8, number=2, tasks=(block(5, "x = 5"),)),
        ]
        for inbox in refused:
            with pytest.raises(ValueError, match="came to worker 7"):
                await worker.exchange(inbox)
        found = await results(worker, 2)
        assert list(found) == [1]
        assert isinstance(found[1], BlockRan)
        assert found[1].outcome.locals == {"x": "1"}


Change = Callable[[Outbox, list[Outbox]], Outbox]


def again(outbox: Outbox, before: list[Outbox]) -> Outbox:
    """An outbox with results comes once more, in place of the next one."""
    return before[-1] if before and before[-1].results else outbox


def doubled(outbox: Outbox, before: list[Outbox]) -> Outbox:
    """Each result comes twice, and those of earlier exchanges with it."""
    old = tuple(result for one in before for result in one.results)
    return attrs.evolve(outbox, results=(*old, *outbox.results, *outbox.results))


def of_another_worker(outbox: Outbox, before: list[Outbox]) -> Outbox:
    return attrs.evolve(outbox, epoch=outbox.epoch + 1) if outbox.results else outbox


class ChangingWorkers:
    """Workers in this process, whose outboxes are changed on their way, *most* of them."""

    def __init__(self, inner: LocalWorkers, change: Change, most: int) -> None:
        self.inner, self.change, self.most, self.changed = inner, change, most, 0

    async def start(self, setup: WorkerSetup) -> WorkerHandle:
        return ChangingWorker(await self.inner.start(setup), self)


class ChangingWorker:
    def __init__(self, inner: WorkerHandle, source: ChangingWorkers) -> None:
        self._inner, self._source = inner, source
        self._before: list[Outbox] = []
        self.nudge, self.stop, self.kill = inner.nudge, inner.stop, inner.kill

    @property
    def handshake(self) -> Handshake:
        return self._inner.handshake

    async def exchange(self, inbox: Inbox) -> Outbox:
        outbox = await self._inner.exchange(inbox)
        source = self._source
        changed = source.change(outbox, self._before) if source.changed < source.most else outbox
        source.changed += changed != outbox
        self._before.append(outbox)
        return changed


@pytest.mark.parametrize(("change", "loses"), [(again, True), (of_another_worker, True), (doubled, False)])
async def test_a_driver_takes_each_result_once_and_no_exchange_but_its_own(
    tmp_path: Path, change: Change, loses: bool
) -> None:
    """A worker whose answers are not those of its exchanges is given up, and a run comes to what it should."""
    calm = await undisturbed(tmp_path / "calm")
    async with local_runtime() as (runtime, server), trio.open_nursery() as nursery:
        source = ChangingWorkers(LocalWorkers(nursery), change, 2 if loses else 1000)
        async with open_remote(runtime, source, workers=2, lesser_tiers=False, silence=10.0) as moved:
            report = await run_jobs(moved, tmp_path / "cluster")
            assert moved.remote is not None
            use = moved.remote.use()
        nursery.cancel_scope.cancel()
    came = what_came(tmp_path / "cluster", server.requests)
    assert report.done == 3
    assert what_stays(came) == what_stays(calm)
    assert source.changed
    assert (use.lost > 0) == loses
    assert use.refused > 0
    assert came.asked.total() - calm.asked.total() <= use.asked_again
