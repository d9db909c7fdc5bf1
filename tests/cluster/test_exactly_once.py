"""A worker is lost at any instant: conversations and notes are those of a run in which none was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from trioagent import ModelConfig
from trioagent._remote import ClusterUse
from trioagent.cluster._protocol import AnswerRead, BlockRan, Inbox, Outbox
from trioagent.runtime import Runtime, open_runtime
from trioagent.testing import ModelServer, serve_model

from .faults import Came, Fault, Moment, answer, on_faulty_workers, run_jobs, what_came

pytestmark = pytest.mark.real


@asynccontextmanager
async def local_runtime() -> AsyncIterator[tuple[Runtime, ModelServer]]:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_model, answer)
        async with open_runtime(ModelConfig(base_url=server.base_url, model="scripted")) as runtime:
            yield runtime, server
        nursery.cancel_scope.cancel()


def what_stays(came: Came) -> tuple[object, object]:
    return came.conversations, came.notes


async def undisturbed(folder: Path) -> Came:
    async with local_runtime() as (runtime, server):
        await run_jobs(runtime, folder)
        return what_came(folder, server.requests)


def check_requests(came: Came, calm: Came, use: ClusterUse) -> None:
    """Every request that was sent again is one whose worker was lost with its answer."""
    assert came.asked.keys() == calm.asked.keys()
    assert came.asked.total() - calm.asked.total() <= use.asked_again


async def test_a_run_on_a_cluster_comes_to_what_it_comes_to_elsewhere(tmp_path: Path) -> None:
    calm = await undisturbed(tmp_path / "calm")
    async with local_runtime() as (runtime, server):
        async with on_faulty_workers(runtime, lambda number, said: False, "before") as (moved, _):
            report = await run_jobs(moved, tmp_path / "cluster")
            assert moved.remote is not None
            use = moved.remote.use()
        came = what_came(tmp_path / "cluster", server.requests)
    assert report.done == 3
    assert what_stays(came) == what_stays(calm)
    assert (came.asked, use.lost, use.asked_again, use.run_again) == (calm.asked, 0, 0, 0)
    assert sum(node.answers for node in use.nodes) == calm.asked.total()


def is_number(wanted: int, number: int, said: Inbox | Outbox) -> bool:
    return number == wanted


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_workers_that_are_lost_at_any_exchange_change_nothing(tmp_path: Path, moment: Moment) -> None:
    """Each run loses one worker, at a later exchange each time, until a run ends before that exchange."""
    calm = await undisturbed(tmp_path / "calm")
    async with local_runtime() as (runtime, server):
        faults = 0
        for at in range(3, 400, 9):
            folder, before = tmp_path / f"at{at}", len(server.requests)
            async with on_faulty_workers(runtime, partial(is_number, at), moment) as (moved, source):
                await run_jobs(moved, folder)
                assert moved.remote is not None
                use = moved.remote.use()
            came = what_came(folder, server.requests[before:])
            assert what_stays(came) == what_stays(calm), at
            check_requests(came, calm, use)
            assert use.lost <= source.faults  # one may be lost when all is done
            if faults and not source.faults:
                break
            faults += source.faults
    assert faults


def brings(kind: type) -> Fault:
    """A fault for the first outbox with a result of this kind."""
    seen: list[Outbox] = []

    def fault(number: int, said: Inbox | Outbox) -> bool:
        assert isinstance(said, Outbox)
        if not seen and any(isinstance(result, kind) for _, result in said.results):
            seen.append(said)
            return True
        return False

    return fault


async def test_a_worker_lost_between_an_answer_and_its_commit_comes_back_with_its_result(tmp_path: Path) -> None:
    """Its block had run; the driver heard nothing, had it run elsewhere, and does not take the late result."""
    calm = await undisturbed(tmp_path / "calm")
    async with local_runtime() as (runtime, server):
        async with on_faulty_workers(runtime, brings(BlockRan), "after", partition=True, silence=2.0) as (
            moved,
            source,
        ):
            report = await run_jobs(moved, tmp_path / "cluster")
            assert moved.remote is not None
            use = moved.remote.use()
        came = what_came(tmp_path / "cluster", server.requests)
    assert report.done == 3
    [late] = source.kept_back
    assert any(isinstance(result, BlockRan) and result.outcome.changes for _, result in late.results)
    assert what_stays(came) == what_stays(calm)
    assert use.lost >= 1 and use.run_again >= 1
    assert source.killed, "it is killed when it has been fenced"
    check_requests(came, calm, use)


async def test_an_answer_that_was_lost_on_its_way_is_asked_for_again_and_counted(tmp_path: Path) -> None:
    calm = await undisturbed(tmp_path / "calm")
    async with local_runtime() as (runtime, server):
        async with on_faulty_workers(runtime, brings(AnswerRead), "after") as (moved, _):
            await run_jobs(moved, tmp_path / "cluster")
            assert moved.remote is not None
            use = moved.remote.use()
        came = what_came(tmp_path / "cluster", server.requests)
    assert what_stays(came) == what_stays(calm)
    assert 1 <= came.asked.total() - calm.asked.total() <= use.asked_again
