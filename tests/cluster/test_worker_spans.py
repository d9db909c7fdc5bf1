"""Spans of workers hang below the driver's, whatever they are for; without a provider nothing of them is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import pytest
import trio
from opentelemetry import trace

from trioagent import ChatMessage, Job, ModelConfig, open_runtime, run_batch
from trioagent.cluster import LocalCluster
from trioagent.cluster._protocol import Inbox, Outbox
from trioagent.models import AnswerPart
from trioagent.testing import ScriptedModel, serve_model

from ..spans import attributes, ids, named, recording
from .faults import answer, jobs, on_faulty_workers, run_jobs

pytestmark = pytest.mark.real


class Instrumented(ScriptedModel):
    """A model that is no server, and notes in which spans it is asked, by its copies too."""

    spans: ClassVar[list[tuple[int, int]]] = []

    def __init__(self) -> None:
        super().__init__(["<think>t</think><python></python><reply>Yes.</reply>"])

    @asynccontextmanager
    async def answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[AsyncIterator[AnswerPart]]:
        context = trace.get_current_span().get_span_context()
        Instrumented.spans.append((context.trace_id, context.span_id))
        async with super().answer(messages) as parts:
            yield parts


async def test_requests_and_blocks_of_workers_are_below_those_of_the_run(tmp_path: Path) -> None:
    with recording() as spans:
        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve_model, answer)
            config = ModelConfig(base_url=server.base_url, model="scripted")
            async with open_runtime(config, tracing=spans.config()) as runtime:
                await run_batch(jobs(tmp_path), runtime=runtime, run_dir=tmp_path / "run", cluster=LocalCluster())
            nursery.cancel_scope.cancel()
    requests, blocks = spans.named("trioagent.worker.request"), spans.named("trioagent.worker.block")
    assert (len(requests), len(blocks)) == (12, 6)
    for span in requests:
        assert spans.above(span) == ["chat scripted", "invoke_agent", "invoke_workflow batch"]
        assert attributes(span)["trioagent.worker"]
    for span in blocks:
        assert spans.above(span) == ["execute_tool python", "invoke_agent", "invoke_workflow batch"]
    assert {ids(span)[0] for span in spans.all} == {ids(spans.one("invoke_workflow batch"))[0]}
    assert {named(request) for request in server.requests} == {ids(span) for span in requests}


async def test_what_a_model_on_a_worker_records_is_below_the_workers_span(tmp_path: Path) -> None:
    with recording() as spans:
        async with open_runtime(Instrumented(), tracing=spans.config()) as runtime:
            job = Job(id="a", memory=str(tmp_path / "a"), messages=("hello",))
            await run_batch([job], runtime=runtime, run_dir=tmp_path / "run", cluster=LocalCluster(workers=1))
    assert Instrumented.spans == [ids(spans.one("trioagent.worker.request"))]


async def test_without_a_provider_no_headers_are_sent(tmp_path: Path) -> None:
    seen: list[Inbox] = []

    def look(number: int, said: Inbox | Outbox) -> bool:
        assert isinstance(said, Inbox)
        seen.append(said)
        return False

    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_model, answer)
        async with (
            open_runtime(ModelConfig(base_url=server.base_url, model="scripted")) as runtime,
            on_faulty_workers(runtime, look, "before") as (moved, _),
        ):
            await run_jobs(moved, tmp_path)
        nursery.cancel_scope.cancel()
    tasks = [task for inbox in seen for task in inbox.tasks]
    assert len(tasks) == 18
    assert all(task.headers == {} for task in tasks)
    assert not any("traceparent" in request.headers for request in server.requests)
