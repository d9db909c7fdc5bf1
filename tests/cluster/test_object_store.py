"""A full object store of Ray, as the driver meets it: a call that is refused, and has not been sent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from trioagent.cluster._errors import WorkerLostError
from trioagent.cluster._protocol import Handshake, Inbox, Outbox
from trioagent.cluster._ray import RayWorker


class _RayError(Exception): ...


class _StoreFullError(_RayError): ...


class _OutOfDiskError(_RayError): ...


RAY: Any = SimpleNamespace(
    exceptions=SimpleNamespace(RayError=_RayError, ObjectStoreFullError=_StoreFullError, OutOfDiskError=_OutOfDiskError)
)


class _Reference:
    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def future(self) -> Any:
        from concurrent.futures import Future

        found: Future[Outbox] = Future()
        found.set_result(self._outbox)
        return found


class _Actor:
    """Refuses the first *refused* calls."""

    def __init__(self, refused: int, error: Exception) -> None:
        self.calls, self._refused, self._error = 0, refused, error
        self.exchange = SimpleNamespace(remote=self._call)

    def _call(self, inbox: Inbox) -> _Reference:
        self.calls += 1
        if self.calls <= self._refused:
            raise self._error
        return _Reference(Outbox(epoch=inbox.epoch, number=inbox.number))


def worker(actor: _Actor) -> RayWorker:
    return RayWorker(RAY, actor, Handshake(node="here", pid=1, tier="kernel"), traced=False)


@pytest.mark.parametrize("error", [_StoreFullError("full"), _OutOfDiskError("Local disk is full\nThe object")])
async def test_room_is_waited_for_and_the_worker_is_kept(
    error: Exception, autojump_clock: trio.testing.MockClock
) -> None:
    actor = _Actor(5, error)
    outbox = await worker(actor).exchange(Inbox(epoch=1, number=4))
    assert (outbox.number, actor.calls) == (4, 6)
    assert trio.current_time() == pytest.approx(2.5)


async def test_a_store_that_stays_full_costs_the_worker_and_says_why(autojump_clock: trio.testing.MockClock) -> None:
    actor = _Actor(1000, _OutOfDiskError("Local disk is full\nThe object"))
    with pytest.raises(WorkerLostError) as caught:
        await worker(actor).exchange(Inbox(epoch=1, number=1))
    assert caught.value.problem == "_OutOfDiskError: Local disk is full The object"
    assert trio.current_time() < 10, "before the exchange counts as unanswered"
