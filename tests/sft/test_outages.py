"""Training conversations wait for an unavailable server: no attempt counts for that, and none begins anew."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from trioagent import ModelConfig, RetryPolicy, open_runtime
from trioagent.batch import Progress, read_rows
from trioagent.sft import ModelPersona, SftConfig, generate_conversations
from trioagent.testing import Fault, ModelRequest, ModelServer, ScriptedModel, Wire, serve_model

from .people import persona_body

pytestmark = pytest.mark.real

NOTE = "<think>note</think>\n<python>\ncreate_file('user.md', 'Lives in Porto.')\n</python>"
REPLY = "<think>ok</think>\n<python></python>\n<reply>Noted.</reply>"


@pytest.fixture
def clock() -> MockClock:
    return MockClock(rate=1.0)


def persona_model() -> ScriptedModel:
    return ScriptedModel(lambda messages: "I live in Porto.")


@pytest.mark.parametrize("fault", [Fault.status(503, "restarting"), Fault.drop(then="reset")])
async def test_a_conversation_goes_on_where_it_was(fault: Wire, tmp_path: Path, clock: MockClock) -> None:
    """The server goes away in the middle of it, and comes back when the run has shown that."""
    back, answered = False, 0

    def answer(request: ModelRequest) -> str | Wire:
        nonlocal answered
        if answered == 1 and not back:
            return fault
        answered += 1
        return NOTE if answered == 1 else REPLY

    def show(progress: Progress) -> None:
        nonlocal back
        back = back or any(outage.seconds > 30 for outage in progress.outages)

    async with trio.open_nursery() as nursery:
        server: ModelServer = await nursery.start(serve_model, answer)
        retry = RetryPolicy(attempts=2, first_delay=0.01, max_delay=0.1)
        model = ModelConfig(base_url=server.base_url, model="m", retry=retry, connect_seconds=1000.0)
        async with open_runtime(model) as runtime:
            clock.rate = 30.0
            report = await generate_conversations(
                [persona_body()],
                [["I live in Porto."]],
                lambda persona, facts: ModelPersona(persona_model(), persona, facts),
                runtime=runtime,
                run_dir=tmp_path,
                config=SftConfig(num_turns=1),
                on_progress=show,
            )
            nursery.cancel_scope.cancel()
    assert (report.results, report.run.stopped) == ([True], "")
    (row,) = read_rows(tmp_path / "conversations.jsonl")
    assert (row["attempts"], answered) == (1, 2)


async def test_after_its_patience_the_run_stops_and_rejects_nobody(tmp_path: Path, clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        server: ModelServer = await nursery.start(serve_model, lambda request: Fault.status(503, "away"))
        retry = RetryPolicy(attempts=2, first_delay=0.01, max_delay=0.1)
        model = ModelConfig(base_url=server.base_url, model="m", retry=retry, connect_seconds=1000.0)
        async with open_runtime(model) as runtime:
            clock.rate = 30.0
            report = await generate_conversations(
                [persona_body()] * 2,
                [["I live in Porto."]] * 2,
                lambda persona, facts: ModelPersona(persona_model(), persona, facts),
                runtime=runtime,
                run_dir=tmp_path,
                config=SftConfig(num_turns=1, outage_patience=20.0),
            )
            nursery.cancel_scope.cancel()
    assert (report.accepted, report.rejected, report.left, report.run.stopped) == (0, 0, 2, "outage")
