"""`LocalCluster`: workers in the driver's own process, to try how a run behaves on a cluster."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from .._errors import SandboxUnavailableError
from .._exceptions import open_helper_nursery
from .._tracing import Tracing
from ..runtime import Runtime
from ._errors import WorkerLostError, WorkerRefusedError
from ._protocol import Handshake, Inbox, Outbox, WorkerSetup
from ._remote import open_remote
from ._worker import Worker, open_worker, worker_folder


@attrs.frozen(kw_only=True)
class LocalCluster:
    """Workers in this process. All that is sent to them and back is pickled; nothing else is shared.

    It makes nothing faster. It is for trying a run on a cluster without one, as tests do.

    Attributes:
        workers: the number of workers.
        silence: timeout in seconds after which a worker that does not answer is considered lost.
    """

    workers: int = attrs.field(default=2, validator=attrs.validators.ge(1))
    silence: float = attrs.field(default=10.0, validator=attrs.validators.gt(0))

    @asynccontextmanager
    async def open(self, runtime: Runtime) -> AsyncIterator[Runtime]:
        """*runtime* with its model and its sandbox on the workers, which are ended when the block ends.

        Raises:
            ClusterError: no worker can be used.
        """
        async with open_helper_nursery() as nursery:
            source = LocalWorkers(nursery, runtime.tracing)
            async with open_remote(
                runtime, source, workers=self.workers, lesser_tiers=False, silence=self.silence
            ) as moved:
                yield moved


class LocalWorkers:
    """Starts workers in a nursery, traced as the driver is."""

    def __init__(self, nursery: trio.Nursery, tracing: Tracing | None = None) -> None:
        self._nursery, self._tracing = nursery, tracing

    async def start(self, setup: WorkerSetup) -> LocalWorker:
        try:
            worker: LocalWorker = await self._nursery.start(_serve, setup, self._tracing)
        except SandboxUnavailableError as error:
            raise WorkerRefusedError("this process", str(error)) from error
        return worker


async def _serve(setup: WorkerSetup, tracing: Tracing | None, *, task_status: trio.TaskStatus[LocalWorker]) -> None:
    gone = trio.Event()
    try:
        with worker_folder() as place, trio.CancelScope() as scope:
            async with open_worker(setup, place, tracing) as worker:
                task_status.started(LocalWorker(worker, scope, gone))
                await worker.ended.wait()
    finally:
        gone.set()


class LocalWorker:
    """A worker in this process; see `trioagent.cluster._workers.WorkerHandle`."""

    def __init__(self, worker: Worker, scope: trio.CancelScope, gone: trio.Event) -> None:
        self._worker, self._scope, self._gone = worker, scope, gone

    @property
    def handshake(self) -> Handshake:
        return self._worker.handshake

    async def exchange(self, inbox: Inbox) -> Outbox:
        self._check()
        outbox = await self._worker.exchange(pickle.loads(pickle.dumps(inbox)))
        self._check()
        answer: Outbox = pickle.loads(pickle.dumps(outbox))
        return answer

    def nudge(self) -> None:
        self._worker.nudge()

    async def stop(self) -> None:
        self._check()
        await self._worker.stop()

    async def kill(self) -> None:
        self._scope.cancel()
        await self._gone.wait()

    def _check(self) -> None:
        if self._gone.is_set() or self._scope.cancel_called or self._worker.ended.is_set():
            raise WorkerLostError("it has ended")
