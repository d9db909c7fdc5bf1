"""`run_batch` in this process: every kind of outcome, and every way to end before the input does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from trioagent._config import BatchConfig
from trioagent._errors import InvalidInputError, ModelProtocolError, ModelRefusedError, ModelStatusError
from trioagent._messages import ChatMessage
from trioagent.batch import (
    Job,
    JobChangedError,
    JournalReader,
    Progress,
    read_rows,
    read_run_status,
    run_batch,
)
from trioagent.models import AnswerPart, Retrying, TextDelta
from trioagent.runtime import Runtime, open_runtime
from trioagent.testing import ScriptedModel

pytestmark = pytest.mark.real

REPLY = "<think>t</think><python></python><reply>Yes.</reply>"
APPEND = "<think>t</think><python>\nwith open('log.md', 'a') as file:\n    file.write('x')\n</python>"


def by_message(messages: Sequence[ChatMessage]) -> str:
    """What the last message of the user asks for: a reply, a block and then a reply, or an error."""
    if messages[-1].role == "tool":
        return REPLY
    match messages[-1].content.split():
        case ["append"]:
            return APPEND
        case ["status", number, *words]:
            raise ModelStatusError(int(number), " ".join(words))
        case ["refused"]:
            raise ModelRefusedError(401, "bad key")
        case ["bug"]:
            raise ZeroDivisionError("a bug")
    return REPLY


class Waiting:
    """A model that answers, by `by_message`, once it is told to."""

    name = "waiting"

    def __init__(self, answer_first: int = 0) -> None:
        self.go = trio.Event()
        self.asked = 0
        self._answer_first = answer_first
        self._inner = ScriptedModel(by_message)

    @asynccontextmanager
    async def answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[AsyncIterator[AnswerPart]]:
        self.asked += 1
        if self.asked > self._answer_first:
            await self.go.wait()
        async with self._inner.answer(messages) as parts:
            yield parts

    async def wait_asked(self, number: int) -> None:
        with trio.fail_after(20):
            while self.asked < number:
                await trio.sleep(0.002)


@pytest.fixture
def where(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    async with open_runtime(ScriptedModel(by_message)) as runtime:
        yield runtime


def jobs(where: Path, *messages: str, **more: Any) -> list[Job]:
    return [
        Job(id=f"{number}", memory=str(where / f"m{number}"), messages=(message,), **more)
        for number, message in enumerate(messages)
    ]


def rows(where: Path, name: str) -> dict[str, Any]:
    found = list(read_rows(where / "run" / f"{name}.jsonl"))
    assert len({row["id"] for row in found}) == len(found)
    return {row["id"]: row for row in found}


def states(where: Path) -> dict[str, int]:
    with JournalReader(where / "run") as journal:
        return journal.counts()


async def test_each_kind_of_outcome(where: Path, runtime: Runtime) -> None:
    (where / "m4").write_text("not a folder")
    batch = jobs(where, "hi", "append", "status 400 no", "bug", "append", "hi")
    batch[5] = Job(id="5", memory=str(where / "m5"), messages=("hi",), model="no-such-model")
    report = await run_batch(batch, runtime=runtime, run_dir=where / "run")
    assert (report.done, report.failed, report.left, report.stopped) == (2, 4, 0, "")
    assert {job: row["tier"] for job, row in rows(where, "conversations").items()} == {
        "0": "",
        "1": runtime.sandbox.tier,
    }
    failed = {job: row["error"] for job, row in rows(where, "failures").items()}
    assert {job: error["type"] for job, error in failed.items()} == {
        "2": "ModelStatusError",
        "3": "ZeroDivisionError",
        "4": "MemoryPathError",
        "5": "InvalidInputError",
    }
    assert failed["4"]["fields"]["path"] == str(where / "m4")
    assert "a bug" in failed["3"]["traceback"]
    assert "no-such-model" in failed["5"]["message"]
    assert sorted(path.name for path in where.glob("m*")) == ["m1", "m4"]  # no memory is made for nothing
    assert states(where) == {"done": 2, "failed": 4}

    again = await run_batch(batch, runtime=runtime, run_dir=where / "run")
    assert (again.done, again.failed, again.skipped, again.skipped_failed) == (0, 0, 6, 4)
    assert set(rows(where, "failures")) == set(failed)


async def test_failures_are_counted_by_their_cause(where: Path, runtime: Runtime) -> None:
    batch = jobs(where, "status 400 first", "bug", "status 400 second", "status 422", "hi", "bug", "status 400")
    config = BatchConfig(max_concurrent=1)  # The example is the first that failed: here the first in the file.
    report = await run_batch(batch, runtime=runtime, run_dir=where / "run", total=9, config=config)
    assert {(one.cause, one.count, one.example) for one in report.causes} == {
        ("ModelStatusError 400", 3, "0"),
        ("ZeroDivisionError", 2, "1"),
        ("ModelStatusError 422", 1, "3"),
    }
    assert [one.count for one in report.causes] == [3, 2, 1]
    assert "first" in report.causes[0].message
    assert (report.done, report.failed, report.not_begun) == (1, 6, 2)


async def test_a_job_that_failed_outside_of_its_conversation_goes_on(where: Path) -> None:
    """What was journaled is not asked for again, and its block does not run again."""
    batch = [Job(id="a", memory=str(where / "m"), messages=("append", "hi"))]
    broken = ModelProtocolError("the stream ended")
    async with open_runtime(ScriptedModel([APPEND, REPLY, broken])) as runtime:
        report = await run_batch(batch, runtime=runtime, run_dir=where / "run")
    assert report.failed == 1
    assert rows(where, "failures")["a"]["resumable"] is True
    async with open_runtime(second := ScriptedModel([REPLY])) as runtime:
        config = BatchConfig(retry_failed=True)
        report = await run_batch(batch, runtime=runtime, run_dir=where / "run", config=config)
    assert (report.done, len(second.calls)) == (1, 1)
    assert rows(where, "failures") == {}
    assert rows(where, "conversations")["a"]["turns"] == 3
    assert (where / "m" / "log.md").read_text() == "x"
    assert not list((where / "m").glob(".*"))


async def test_a_job_that_failed_in_its_conversation_begins_again(where: Path) -> None:
    batch = [Job(id="a", memory=str(where / "m"), messages=("append", "hi"))]
    async with open_runtime(ScriptedModel([APPEND, REPLY, ZeroDivisionError("a bug")])) as runtime:
        assert (await run_batch(batch, runtime=runtime, run_dir=where / "run")).failed == 1
    async with open_runtime(second := ScriptedModel([REPLY, REPLY])) as runtime:
        config = BatchConfig(retry_failed=True)
        report = await run_batch(batch, runtime=runtime, run_dir=where / "run", config=config)
    assert (report.done, len(second.calls)) == (1, 2)


async def test_a_job_without_a_reply_is_counted_and_tried_again(where: Path) -> None:
    batch = jobs(where, "append", "hi")
    config = BatchConfig(max_tool_turns=1, max_concurrent=1)
    async with open_runtime(ScriptedModel([APPEND, APPEND, REPLY])) as runtime:
        report = await run_batch(batch, runtime=runtime, run_dir=where / "run", config=config)
        assert (report.done, report.no_reply, report.failed) == (2, 1, 0)
        report = await run_batch(batch, runtime=runtime, run_dir=where / "run", config=config)
    assert (report.skipped, report.no_reply, report.skipped_no_reply) == (2, 0, 1)
    assert rows(where, "conversations")["0"]["stop_reasons"] == ["max_tool_turns"]
    async with open_runtime(second := ScriptedModel([REPLY])) as runtime:
        config = BatchConfig(max_tool_turns=1, max_concurrent=1, retry_failed=True)
        report = await run_batch(batch, runtime=runtime, run_dir=where / "run", config=config)
    assert (report.done, report.no_reply, report.skipped, len(second.calls)) == (1, 0, 1, 1)
    assert [row["id"] for row in read_rows(where / "run" / "conversations.jsonl")] == ["0", "1"]
    assert rows(where, "conversations")["0"]["stop_reasons"] == ["reply"]


async def test_deadlines(where: Path) -> None:
    """A job's own comes before the batch's; waiting for nothing in particular is working time."""
    async with open_runtime(Waiting()) as runtime:
        batch = [*jobs(where, "hi", deadline=0.05), Job(id="b", memory=str(where / "b"), messages=("hi",))]
        report = await run_batch(batch, runtime=runtime, run_dir=where / "run", config=BatchConfig(deadline=0.1))
    assert report.failed == 2
    found = {job: row["error"]["fields"] for job, row in rows(where, "failures").items()}
    assert found == {"0": {"seconds": 0.05}, "b": {"seconds": 0.1}}


async def test_a_changed_job(where: Path, runtime: Runtime) -> None:
    await run_batch(jobs(where, "hi", "hi"), runtime=runtime, run_dir=where / "run")
    with pytest.raises(ExceptionGroup) as caught:
        await run_batch(jobs(where, "hi", "other"), runtime=runtime, run_dir=where / "run")
    (error,) = leaves(caught.value)
    assert isinstance(error, JobChangedError)
    assert error.job_id == "1"
    assert json.loads((where / "run" / "report.json").read_text())["stopped"] == "cancelled"


@pytest.mark.parametrize("apart", [0, 1, 250])
@pytest.mark.parametrize("as_they_come", [False, True])
async def test_an_id_that_occurs_twice(apart: int, as_they_come: bool, where: Path) -> None:
    """It is refused by name, whatever has become of the first one by then."""
    first, *others = jobs(where, *["hi"] * (1 + apart))

    async def source() -> AsyncIterator[Job]:
        for job in given:
            yield job

    given = [first, *others, first]
    model = ScriptedModel(by_message)
    async with open_runtime(model) as runtime:
        with pytest.raises(ExceptionGroup) as caught:
            await run_batch(source() if as_they_come else given, runtime=runtime, run_dir=where / "run")
    (error,) = leaves(caught.value)
    assert isinstance(error, InvalidInputError)
    assert "the id '0' occurs twice" in str(error)
    assert len(model.calls) <= 1 + apart
    if apart < 200 and not as_they_come:
        assert (states(where), model.calls) == ({}, [])


@pytest.mark.parametrize("why", ["budget", "asked"])
async def test_an_open_source_does_not_keep_a_run_from_ending(why: str, where: Path) -> None:
    """It may never give another job."""
    model, stop = ScriptedModel(by_message), trio.Event()
    config = BatchConfig(max_tokens_total=3000 if why == "budget" else None, grace_seconds=1)
    send, receive = trio.open_memory_channel[Job](100)
    for job in jobs(where, *["hi"] * 20):
        send.send_nowait(job)

    def on_progress(progress: Progress) -> None:
        if why == "asked" and progress.done == 20:
            stop.set()

    async with open_runtime(model) as runtime:
        report = await run_batch(
            receive, runtime=runtime, run_dir=where / "run", config=config, stop=stop, on_progress=on_progress
        )
    assert report.stopped == why
    assert report.done + report.left <= 20
    send.close()


async def test_what_answers_cost_that_came_to_nothing_counts(where: Path) -> None:
    """Attempts that failed in the middle of their text end a run by its budget, and are in the journal."""
    broken = ModelProtocolError("the stream ended")
    half = TextDelta("<think>" + "word " * 800)

    class Breaking(ScriptedModel):
        @asynccontextmanager
        async def answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[AsyncIterator[AnswerPart]]:
            async with super().answer(messages) as parts:
                yield parts
                raise broken

    model = Breaking([[half, Retrying(broken, 0.0, 1), half] for _ in range(100)])
    config = BatchConfig(max_tokens_total=10_000, max_concurrent=2)
    async with open_runtime(model) as runtime:
        report = await run_batch(jobs(where, *["hi"] * 100), runtime=runtime, run_dir=where / "run", config=config)
    assert report.stopped == "budget"
    assert report.failed == len(model.calls) < 10
    assert report.tokens == report.tokens_total > len(model.calls) * 2000
    assert read_run_status(where / "run").spent.total_tokens == report.tokens_total


async def test_an_answer_that_is_cancelled_counts(where: Path) -> None:
    model = ScriptedModel([[TextDelta("<think>" + "word " * 800), Retrying(ModelProtocolError("no"), 60.0, 1)]])
    async with open_runtime(model) as runtime:
        config = BatchConfig(deadline=0.2, grace_seconds=0)
        with trio.move_on_after(1):
            await run_batch(jobs(where, "hi"), runtime=runtime, run_dir=where / "run", config=config)
    assert read_run_status(where / "run").spent.completion_tokens == 1002


async def test_an_input_that_fails_stops_the_batch(where: Path) -> None:
    def source() -> Iterator[Job]:
        yield from jobs(where, *["hi"] * 250)
        raise OSError("the disk is gone")

    async with open_runtime(ScriptedModel(by_message)) as runtime:
        with pytest.raises(ExceptionGroup) as caught:
            await run_batch(source(), runtime=runtime, run_dir=where / "run", config=BatchConfig(max_concurrent=2))
    assert [str(error) for error in leaves(caught.value)] == ["the disk is gone"]
    assert set(rows(where, "conversations")) >= {"0", "1"}


async def test_stop_lets_jobs_reach_a_checkpoint(where: Path) -> None:
    model, stop = Waiting(answer_first=3), trio.Event()
    batch = jobs(where, *["append"] * 5)
    config = BatchConfig(max_concurrent=2, grace_seconds=60)
    async with open_runtime(model) as runtime, trio.open_nursery() as nursery:

        async def run() -> None:
            report = await run_batch(batch, runtime=runtime, run_dir=where / "run", config=config, stop=stop)
            assert report.stopped == "asked"
            assert report.done + report.left <= 3
            assert report.left >= 1

        nursery.start_soon(run)
        await model.wait_asked(5)
        stop.set()
        await trio.sleep(0.01)
        model.go.set()
    asked = model.asked
    assert asked == 5
    assert states(where).get("running", 0) >= 1
    async with open_runtime(ScriptedModel(by_message, name="waiting")) as runtime:
        report = await run_batch(batch, runtime=runtime, run_dir=where / "run")
    assert (report.stopped, report.left) == ("", 0)
    assert len(rows(where, "conversations")) == 5
    assert {path.read_text() for path in where.glob("m*/log.md")} == {"x"}


async def test_jobs_that_reach_no_checkpoint_are_cancelled(where: Path) -> None:
    model, stop = Waiting(), trio.Event()
    config = BatchConfig(grace_seconds=0.05)
    async with open_runtime(model) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(_set_when, stop, model, 3)
        report = await run_batch(
            jobs(where, *["hi"] * 3), runtime=runtime, run_dir=where / "run", config=config, stop=stop
        )
    assert (report.stopped, report.left, report.done) == ("asked", 3, 0)
    assert states(where) == {"running": 3}


async def test_a_stop_that_comes_too_late_is_none(where: Path) -> None:
    """All jobs got through within the grace: then that is what came of the run."""
    stop = trio.Event()
    model = Waiting()
    async with open_runtime(model) as runtime, trio.open_nursery() as nursery:

        async def stop_late() -> None:
            await model.wait_asked(1)
            model.go.set()
            with trio.fail_after(20):
                while not (where / "run" / "conversations.jsonl").read_bytes():
                    await trio.sleep(0.001)
            stop.set()

        nursery.start_soon(stop_late)
        report = await run_batch(jobs(where, "hi"), runtime=runtime, run_dir=where / "run", stop=stop)
    assert (report.done, report.left, report.stopped) == (1, 0, "")


async def test_stopped_before_it_began(where: Path, runtime: Runtime) -> None:
    stop = trio.Event()
    stop.set()
    report = await run_batch(jobs(where, "hi"), runtime=runtime, run_dir=where / "run", stop=stop)
    assert report.stopped == "asked"
    assert report.done + report.left <= 1


async def test_cancelled_and_gone_on_with(where: Path) -> None:
    model = Waiting(answer_first=2)
    batch = jobs(where, "append", "append")
    async with open_runtime(model) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(partial(run_batch, batch, runtime=runtime, run_dir=where / "run"))
        await model.wait_asked(4)
        nursery.cancel_scope.cancel()
    report = json.loads((where / "run" / "report.json").read_text())
    assert (report["stopped"], report["left"], report["done"]) == ("cancelled", 2, 0)
    assert read_run_status(where / "run").last is not None
    second = ScriptedModel(by_message, name="waiting")
    async with open_runtime(second) as runtime:
        await run_batch(batch, runtime=runtime, run_dir=where / "run")
    assert len(second.calls) == 2  # the blocks are done; what is missing is a reply each
    assert {path.read_text() for path in where.glob("m*/log.md")} == {"x"}


async def test_refusals_that_are_the_jobs_own_fail_them(where: Path, runtime: Runtime) -> None:
    messages = ["status 400 too long"] * 3 + ["hi"] + ["status 400 too long"] * 20
    config = BatchConfig(max_concurrent=1)
    report = await run_batch(jobs(where, *messages), runtime=runtime, run_dir=where / "run", config=config)
    assert (report.done, report.failed, report.left, report.stopped) == (1, 23, 0, "")


async def test_refusals_of_everything_leave_their_jobs(where: Path, runtime: Runtime) -> None:
    """Of a model without an endpoint that could be closed, each job finds out for itself."""
    messages = ["hi", "status 500 oops"] + ["status 401 bad key"] * 7 + ["refused"] + ["hi"] * 30
    config = BatchConfig(max_concurrent=1)
    report = await run_batch(jobs(where, *messages), runtime=runtime, run_dir=where / "run", config=config)
    assert (report.done, report.failed, report.left, report.stopped) == (31, 1, 8, "refused")
    assert "bad key" in report.reason
    assert set(rows(where, "failures")) == {"1"}
    assert states(where) == {"done": 31, "failed": 1, "running": 8}


async def test_jobs_are_taken_as_places_get_free(where: Path) -> None:
    """Of a million, no more are held than are looked up in the journal at once."""
    taken = 0

    def source() -> Iterator[Job]:
        nonlocal taken
        for number in range(1_000_000):
            taken += 1
            yield Job(id=str(number), memory=str(where / "m"), messages=("hi",))

    async with open_runtime(ScriptedModel(by_message)) as runtime:
        report = await run_batch(
            source(), runtime=runtime, run_dir=where / "run", config=BatchConfig(limit=5, max_concurrent=2)
        )
    assert (report.done, report.stopped) == (5, "limit")
    assert taken <= 400


async def test_no_more_at_once_than_asked_for(where: Path) -> None:
    """Of ten jobs, three wait for the model at any time."""
    at_once: list[int] = []
    asking = 0

    class Counting(Waiting):
        @asynccontextmanager
        async def answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[AsyncIterator[AnswerPart]]:
            nonlocal asking
            asking += 1
            at_once.append(asking)
            try:
                await trio.sleep(0.01)
                async with super().answer(messages) as parts:
                    yield parts
            finally:
                asking -= 1

    async with open_runtime(Counting(answer_first=10)) as runtime:
        config = BatchConfig(max_concurrent=3)
        report = await run_batch(jobs(where, *["hi"] * 10), runtime=runtime, run_dir=where / "run", config=config)
    assert report.done == 10 and len(at_once) == 10
    assert max(at_once) == 3


async def test_a_slow_source_holds_nobody_up(where: Path) -> None:
    """The next job comes only when the one before it has been asked about."""
    model = Waiting(answer_first=3)

    async def source() -> AsyncIterator[Job]:
        for number in range(3):
            yield Job(id=str(number), memory=str(where / "m"), messages=("hi",))
            await model.wait_asked(number + 1)

    async with open_runtime(model) as runtime:
        report = await run_batch(source(), runtime=runtime, run_dir=where / "run")
    assert report.done == 3


async def test_progress_and_status(where: Path) -> None:
    model, seen = Waiting(), list[Progress]()
    async with open_runtime(model) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(_set_when, model.go, model, 2)
        config = BatchConfig(max_concurrent=2, max_tokens_total=10**6)
        await run_batch(
            jobs(where, *["hi"] * 4),
            runtime=runtime,
            run_dir=where / "run",
            config=config,
            total=4,
            on_progress=seen.append,
        )
    first, last = seen[0], seen[-1]
    assert (first.total, first.queued, first.running, first.max_tokens) == (4, 4, 0, 10**6)
    assert (last.done, last.queued, last.running, last.answers, last.eta_seconds) == (4, 0, 0, 4, 0)
    assert last.tokens == last.tokens_total > 0
    found = read_run_status(where / "run")
    assert not found.running
    assert found.counts == {"done": 4}
    assert found.spent.total_tokens == last.tokens
    assert found.last is not None
    assert (found.last["model"], found.last["ended"], found.last["progress"]["done"]) == ("waiting", True, 4)
    assert found.report is not None
    assert found.report["done"] == 4


async def _set_when(event: trio.Event, model: Waiting, asked: int) -> None:
    await model.wait_asked(asked)
    event.set()


def leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]
