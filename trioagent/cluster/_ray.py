"""`RayCluster`: Ray places workers on the machines of a cluster, monitors them, and transports their exchanges.

Each worker is an actor: a thread that runs Trio, beside Ray's own threads, which bring it one exchange after the other.
Ray's retries and restarts are disabled, since only the driver knows what may be repeated.
"""

from __future__ import annotations

import importlib
import logging
import os
import pickle
import signal
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import ModuleType
from typing import Any, TypeVar

import attrs
import trio

from .._errors import InvalidInputError, SandboxUnavailableError
from .._exceptions import open_helper_nursery
from .._tracing import open_tracing
from ..runtime import Runtime
from ._errors import ClusterError, WorkerLostError, WorkerRefusedError
from ._installed import actor_class, difference, installed
from ._protocol import Handshake, Inbox, Outbox, WorkerSetup, describe
from ._remote import one_cluster_error, open_remote
from ._worker import Worker, open_worker, worker_folder

R = TypeVar("R")
_CONNECT_SECONDS, _INIT_SECONDS = 5.0, 60.0
_LOOK_SECONDS, _HEADLESS_SECONDS = 5.0, 30.0  # Ray ends a driver's process after 60 s without a head
# What begins a connection of HTTP/2 (RFC 9113, 3.4): its preface and a frame of no settings, answered by such a frame.
_SETTINGS, _FRAME_HEAD = b"\x04", 9
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + _SETTINGS + b"\0\0\0\0\0"
_START_SECONDS = 120.0  # for Ray to place and start a process, and for the sandbox to start in it
_DISCONNECT_SECONDS = 10.0
_STORE_SECONDS, _STORE_PAUSE = 5.0, 0.5  # that room in an object store is waited for
_EXPORT_SECONDS = 2.0
_KILL_SECONDS = 5.0  # for Ray to end one that is not wanted
_SMALL_BYTES = 64 * 1024  # of an inbox; from 100 kB on it goes through Ray's object store, which may have no room
_NO_RAY = "Ray is not installed: pip install 'trioagent[ray]'"


@attrs.frozen(kw_only=True)
class RayCluster:
    """A Ray cluster whose machines send a run's requests and run its blocks.

    The run's journal, rates, budget and notes stay in this process. Every machine must have the same version of
    trioagent installed. What a worker is sent (notes, messages, the model's key) goes through Ray, which trusts
    everybody who can reach its ports.

    Attributes:
        address: ``host:port`` of the cluster's head; None for ``RAY_ADDRESS``, else the cluster that runs on this
            machine, else a new one of this machine alone.
        workers: the number of workers; None for one on each machine.
        worker_cpus: the CPUs that Ray reserves for each of them.
        lesser_tiers: use the best sandbox tier of each machine, even if the runtime's own does not work there.
        silence: timeout in seconds after which a worker that does not answer is considered lost, and its tasks are
            given to others.
        runtime_env: Ray's runtime environment for the workers.
    """

    address: str | None = None
    workers: int | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.ge(1)))
    worker_cpus: float = attrs.field(default=1.0, validator=attrs.validators.ge(0))
    lesser_tiers: bool = False
    silence: float = attrs.field(default=10.0, validator=attrs.validators.gt(0))
    runtime_env: Mapping[str, Any] = attrs.field(factory=dict)

    @asynccontextmanager
    async def open(self, runtime: Runtime) -> AsyncIterator[Runtime]:
        """*runtime* with its model and its sandbox on the cluster's workers, which are ended when the block ends.

        Raises:
            InvalidInputError: the address is invalid.
            ClusterError: Ray is not installed, nothing answers at the address, or no worker can be used.
        """
        if self.address is not None:
            _checked_address(self.address)
        ray = _ray()
        async with _connected(ray, self.address):
            count = self.workers or max(1, await _in_thread(_machines, ray))
            source = RayWorkers(ray, self, await trio.to_thread.run_sync(installed), traced=runtime.tracing is not None)
            async with open_remote(
                runtime, source, workers=count, lesser_tiers=self.lesser_tiers, silence=self.silence
            ) as moved:
                yield moved


def _ray() -> ModuleType:
    # Ray sends usage statistics over the network, unless this is disabled.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ClusterError(_NO_RAY) from error


@asynccontextmanager
async def _connected(ray: ModuleType, address: str | None) -> AsyncIterator[None]:
    """Connect to a cluster, unless this process is connected already."""
    if ray.is_initialized():
        yield
        return
    if address is None and (address := os.environ.get("RAY_ADDRESS") or None) is not None:
        _checked_address(address, "RAY_ADDRESS")
    if address is not None:
        await _find(address)
    # Ray may print many lines about its own threads, none of which helps.
    logging.getLogger("ray").setLevel(logging.ERROR)
    connect = partial(
        ray.init,
        address=address,
        configure_logging=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
        include_dashboard=False,
    )
    try:
        with trio.fail_after(_INIT_SECONDS):
            await _in_thread(connect)
    except trio.TooSlowError:
        problem = f"no connection to {address or 'a cluster'} within {_INIT_SECONDS:g} s; is it the head's port?"
        raise ClusterError(problem) from None
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        advice = "" if "ersion" in str(error) else "; if it takes a token (RAY_AUTH_MODE=token), so must this process"
        raise ClusterError(f"no connection to {address or 'a cluster'}: {describe(error)}{advice}") from error
    _take_sigterm_back()
    try:
        async with open_helper_nursery() as nursery:
            nursery.start_soon(_watch_head, ray.get_runtime_context().gcs_address)
            yield
    except BaseExceptionGroup as group:
        raise one_cluster_error(group) from None
    finally:
        with trio.move_on_after(_DISCONNECT_SECONDS, shield=True):
            await _in_thread(ray.shutdown)


async def _watch_head(address: str) -> None:
    """End the run when the head has been away for a while: Ray ends this process, without a word of ours, soon after.

    Raises:
        ClusterError: nobody has answered there for `_HEADLESS_SECONDS`.
    """
    heard = trio.current_time()
    while True:
        await trio.sleep(_LOOK_SECONDS)
        try:
            await _find(address)
        except ClusterError as error:
            if trio.current_time() > heard + _HEADLESS_SECONDS:
                raise ClusterError(f"its head is gone: {error.problem}", lost=True) from None
        else:
            heard = trio.current_time()


def _take_sigterm_back() -> None:
    """Ray has put a handler before Python's, which prints its stack on stderr; only the main thread can put it back."""
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _checked_address(address: str, called: str = "RayCluster.address") -> tuple[str, int] | None:
    """Host and port; None for Ray's own words for a cluster of this machine.

    Args:
        called: what the address is, for the error.
    """
    if address in ("auto", "local"):
        return None
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal() or int(port) > 65535:
        problem = f"{address!r} is not the address of a cluster; give host:port of its head, such as 10.0.0.1:6379"
        raise InvalidInputError(called, problem)
    return host.strip("[]"), int(port)


async def _find(address: str) -> None:
    """Detect quickly what takes Ray minutes: that nothing answers, or nothing that speaks HTTP/2, as a head does."""
    place = _checked_address(address)
    if place is None:
        await trio.lowlevel.checkpoint()
        return
    said = b""
    try:
        with trio.fail_after(_CONNECT_SECONDS):
            async with await trio.open_tcp_stream(*place) as stream:
                if os.environ.get("RAY_USE_TLS", "0") not in ("0", "false", ""):
                    return
                await stream.send_all(_PREFACE)
                while len(said) < _FRAME_HEAD and (more := await stream.receive_some()):
                    said += more
    except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
        words = f"not within {_CONNECT_SECONDS:g} s" if isinstance(error, trio.TooSlowError) else describe(error)
        raise ClusterError(f"nobody answers at {address!r} ({words}); is it the head's, and does it run?") from error
    if said[3:4] != _SETTINGS:
        raise ClusterError(f"what answers at {address!r} is no head of Ray; `ray start --head` prints its address")


def _machines(ray: ModuleType) -> int:
    return sum(node["Alive"] and bool(node["Resources"].get("CPU")) for node in ray.nodes())


class RayWorkers:
    """Starts actors."""

    def __init__(self, ray: ModuleType, cluster: RayCluster, here: Mapping[str, str], *, traced: bool) -> None:
        self._ray, self._cluster, self._here, self._traced = ray, cluster, here, traced

    async def start(self, setup: WorkerSetup) -> RayWorker:
        make = self._ray.remote(actor_class()).options(
            num_cpus=self._cluster.worker_cpus,
            max_concurrency=4,  # an exchange that waits, a nudge, a stop, and one to spare
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
            runtime_env=dict(self._cluster.runtime_env) or None,
        )
        actor = await _in_thread(make.remote)
        try:
            with trio.fail_after(_START_SECONDS):
                there: dict[str, str] = await _result(actor.installed.remote())
                if problem := difference(there, self._here):
                    raise WorkerRefusedError(there["node"], problem)
                ready: Handshake | str = await _result(actor.begin.remote(pickle.dumps(setup)))
                if isinstance(ready, str):
                    raise WorkerRefusedError(there["node"], ready)
        except BaseException as error:
            with trio.move_on_after(_KILL_SECONDS, shield=True):
                await _in_thread(self._ray.kill, actor)
            if isinstance(error, trio.TooSlowError):
                free = f"no machine had {self._cluster.worker_cpus:g} free processors"
                raise WorkerLostError(f"it was not ready within {_START_SECONDS:g} s; perhaps {free}") from None
            raise
        return RayWorker(self._ray, actor, ready, traced=self._traced)


class RayWorker:
    """An actor as seen by the driver; see `trioagent.cluster._workers.WorkerHandle`."""

    def __init__(self, ray: ModuleType, actor: Any, handshake: Handshake, *, traced: bool) -> None:
        self.handshake: Handshake = handshake
        self._ray, self._actor, self._traced = ray, actor, traced

    async def exchange(self, inbox: Inbox) -> Outbox:
        outbox: Outbox = await _result(await self._sent(inbox))
        return outbox

    async def _sent(self, inbox: Inbox) -> Any:
        """Ray's reference to what will come of it. While an object store is full, nothing is sent."""
        errors = self._ray.exceptions
        until = trio.current_time() + _STORE_SECONDS
        while True:
            try:
                if _size(inbox) > _SMALL_BYTES:
                    return await _in_thread(self._actor.exchange.remote, inbox)
                return self._actor.exchange.remote(inbox)
            except (errors.ObjectStoreFullError, errors.OutOfDiskError) as error:
                if trio.current_time() > until:
                    raise WorkerLostError(describe(error)) from error
                await trio.sleep(_STORE_PAUSE)
            except errors.RayError as error:
                raise WorkerLostError(describe(error)) from error

    def nudge(self) -> None:
        with suppress(self._ray.exceptions.RayError):
            self._actor.nudge.remote()

    async def stop(self) -> None:
        await _result(self._actor.stop.remote())

    async def kill(self) -> None:
        if self._traced:  # what its process has still to export would be lost
            with trio.move_on_after(_EXPORT_SECONDS), suppress(WorkerLostError):
                await _result(self._actor.export_spans.remote())
        with suppress(self._ray.exceptions.RayError, ValueError):
            await _in_thread(self._ray.kill, self._actor)


async def _in_thread(call: Callable[..., R], *args: Any) -> R:
    """A call that Ray may keep waiting: for a head that does not answer, or for room in an object store.

    When it is cancelled, the thread is left to itself. What comes of it then is of no use to anybody: a worker that is
    given up is fenced, and a connection is closed with the process.
    """
    return await trio.to_thread.run_sync(partial(call, *args), abandon_on_cancel=True)


def _size(inbox: Inbox) -> int:
    """Bytes of what it brings, about."""
    return sum(map(len, inbox.contents.values())) + sum(len(said.content) for said in inbox.messages.values())


async def _result(reference: Any) -> Any:
    """The result of a remote call.

    Raises:
        WorkerLostError: the actor is gone, or Ray could not carry the call or its result.
    """
    token, over = trio.lowlevel.current_trio_token(), trio.Event()

    def wake(_: object) -> None:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(over.set)

    future = reference.future()
    future.add_done_callback(wake)
    await over.wait()
    error = future.exception()
    if error is not None:
        raise WorkerLostError(_in_words(error))
    return future.result()


def _in_words(error: BaseException) -> str:
    """Why a call failed, in one line; Ray prints a page for a lost actor."""
    gone = any(kind.__name__ == "RayActorError" for kind in type(error).__mro__)
    return "its process, or its machine, is gone" if gone else describe(getattr(error, "cause", None) or error)


class RayActor:
    """A worker in a process of Ray's."""

    def __init__(self, setup: WorkerSetup) -> None:
        self._setup = setup
        self._ready = threading.Event()
        self._problem = ""
        self._worker: Worker | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="trioagent worker", daemon=True)
        self._thread.start()

    def ready(self) -> Handshake | str:
        """What the worker says of itself; why it may not work, if that is so."""
        self._ready.wait()
        return self._problem if self._worker is None else self._worker.handshake

    def exchange(self, inbox: Inbox) -> Outbox:
        assert self._worker is not None
        return trio.from_thread.run(self._worker.exchange, inbox, trio_token=self._token)

    def nudge(self) -> None:
        assert self._worker is not None and self._token is not None
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._worker.nudge)

    def stop(self) -> None:
        """Returns when nothing of its tasks and of its sandbox is left."""
        assert self._worker is not None
        self._stopping = True
        with suppress(trio.RunFinishedError, trio.Cancelled):
            trio.from_thread.run(self._worker.stop, trio_token=self._token)
        self._thread.join()

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except (SandboxUnavailableError, OSError) as error:
            self._problem = str(error)
        except BaseException as error:
            self._problem = describe(error)
            raise
        finally:
            self._ready.set()
            if self._worker is not None and not self._stopping:
                os._exit(1)  # the driver is gone: free the resources that Ray has reserved

    async def _main(self) -> None:
        with worker_folder() as place:
            tracing = open_tracing(True)
            async with open_worker(self._setup, place, tracing) as worker:
                self._token = trio.lowlevel.current_trio_token()
                self._worker = worker
                self._ready.set()
                await worker.ended.wait()
