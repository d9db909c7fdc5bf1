"""The rendezvous between the task that drives a turn and the task that reads its events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trioagent._config import MemoryLimits, RateLimits
from trioagent._driver import Emit, Show
from trioagent._errors import ModelConnectionError
from trioagent._event_stream import Drive, open_event_stream
from trioagent._events import AgentEvent, Answered, CodeStarted, Replied
from trioagent._messages import ChatMessage, Usage
from trioagent._parsed_reply import Delta
from trioagent._reply_parser import parse_reply
from trioagent.agent import Agent
from trioagent.models import AnswerPart, Endpoints, Model
from trioagent.runtime import Runtime
from trioagent.testing import ScriptedModel

ONE, TWO, THREE = (CodeStarted(code) for code in ("one", "two", "three"))
PIECES = [Delta("think", str(number)) for number in range(3)]


class Steps:
    """A drive that emits some events, and notes what it has come to."""

    def __init__(
        self, *events: CodeStarted | Answered | Delta, then: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self.events, self.then = events, then
        self.log: list[str] = []

    async def __call__(self, emit: Emit, show: Show) -> None:
        self.log.append("begun")
        for event in self.events:
            if isinstance(event, Delta):
                show(event)
                self.log.append(event.text)
            else:
                await emit(event)
                self.log.append(event.code if isinstance(event, CodeStarted) else event.answer.text)
        if self.then is not None:
            await self.then()
        self.log.append("ended")


async def rest(events: object) -> list[AgentEvent]:
    return [event async for event in events]  # type: ignore[attr-defined]


async def test_everything_comes_in_order(autojump_clock: MockClock) -> None:
    steps = Steps(PIECES[0], ONE, PIECES[1], PIECES[2], TWO)
    async with open_event_stream(steps) as events:
        assert await rest(events) == list(steps.events)
        assert await rest(events) == []
    assert steps.log[-1] == "ended"


async def test_the_driver_goes_on_only_when_the_next_event_is_asked_for(autojump_clock: MockClock) -> None:
    steps = Steps(ONE, TWO, THREE)
    async with open_event_stream(steps) as events:
        await wait_all_tasks_blocked()
        assert steps.log == []
        assert await anext(events) == ONE
        await trio.sleep(10)
        assert steps.log == ["begun"]
        assert await anext(events) == TWO
        await trio.sleep(10)
        assert steps.log == ["begun", "one"]
    assert steps.log == ["begun", "one"]


async def test_pieces_wait_for_a_slow_reader_and_hold_nobody_up(autojump_clock: MockClock) -> None:
    steps = Steps(*PIECES, ONE, TWO)
    async with open_event_stream(steps) as events:
        assert await anext(events) == PIECES[0]
        await wait_all_tasks_blocked()
        assert steps.log == ["begun", "0", "1", "2"]
        seen = []
        async for event in events:
            await trio.sleep(100)
            seen.append(event)
    assert seen == [PIECES[1], PIECES[2], ONE, TWO]


async def test_a_reader_that_never_asks_starts_nothing(autojump_clock: MockClock) -> None:
    steps = Steps(ONE)
    async with open_event_stream(steps):
        await trio.sleep(1)
    assert steps.log == []


async def test_a_reader_that_gives_up_waiting_can_ask_again(autojump_clock: MockClock) -> None:
    async def wait() -> None:
        await trio.sleep(5)

    steps = Steps(ONE, then=wait)
    async with open_event_stream(steps) as events:
        assert await anext(events) == ONE
        for _ in range(3):
            with trio.move_on_after(1) as scope:
                await anext(events)
            assert scope.cancelled_caught
        assert await rest(events) == []
    assert steps.log == ["begun", "one", "ended"]


async def test_another_task_may_read(autojump_clock: MockClock) -> None:
    steps, seen = Steps(ONE, TWO), []

    async def read(events: object) -> None:
        seen.extend(await rest(events))

    async with open_event_stream(steps) as events, trio.open_nursery() as nursery:
        nursery.start_soon(read, events)
    assert seen == [ONE, TWO]


async def test_two_tasks_may_not_wait_at_once(autojump_clock: MockClock) -> None:
    async with open_event_stream(Steps(then=trio.sleep_forever)) as events, trio.open_nursery() as nursery:
        nursery.start_soon(anext, events)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="another task"):
            await anext(events)
        nursery.cancel_scope.cancel()


async def test_a_turn_that_has_ended_waits_for_nobody(autojump_clock: MockClock) -> None:
    last = Answered(parse_reply(reply("One.")), Usage())
    steps = Steps(ONE, last)
    async with open_event_stream(steps) as events:
        assert await anext(events) == ONE
        assert await anext(events) == last
        assert steps.log[-1] == "ended"
        assert await rest(events) == []


async def test_the_drivers_error_is_raised_to_the_reader_once(autojump_clock: MockClock) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async with open_event_stream(Steps(ONE, then=fail)) as events:
        assert await anext(events) == ONE
        with pytest.raises(ZeroDivisionError):
            await anext(events)
        assert await rest(events) == []


async def test_the_drivers_error_comes_out_bare(autojump_clock: MockClock) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        async with open_event_stream(Steps(then=fail)) as events:
            await anext(events)
    assert not hasattr(caught.value, "__notes__")


def stopping(error: BaseException | None = None, *, seconds: float = 0) -> Drive:
    """Drives to ONE and then forever; being cancelled takes time, or fails."""

    async def drive(emit: Emit, show: Show) -> None:
        try:
            await emit(ONE)
        finally:
            if error is not None:
                raise error
            with trio.CancelScope(shield=True):
                await trio.sleep(seconds)

    return drive


async def test_leaving_waits_for_the_drivers_clean_up(autojump_clock: MockClock) -> None:
    async with open_event_stream(stopping(seconds=3)) as events:
        await anext(events)
    assert trio.current_time() == pytest.approx(3)


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt(), ExceptionGroup("own", [ValueError()])])
async def test_the_readers_exception_comes_out_bare(error: BaseException, autojump_clock: MockClock) -> None:
    with pytest.raises(type(error)) as caught:
        async with open_event_stream(stopping()) as events:
            await anext(events)
            raise error
    assert caught.value is error
    assert not hasattr(error, "__notes__")


async def test_a_clean_up_error_is_a_note_on_the_readers_exception(autojump_clock: MockClock) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        async with open_event_stream(stopping(OSError("clean-up"))) as events:
            await anext(events)
            raise ZeroDivisionError
    assert caught.value.__notes__ == ["cleaning up raised as well: OSError('clean-up')"]


async def test_a_clean_up_error_alone_comes_out_bare(autojump_clock: MockClock) -> None:
    with pytest.raises(OSError, match="clean-up"):
        async with open_event_stream(stopping(OSError("clean-up"))) as events:
            await anext(events)


async def test_what_an_answer_came_to_that_nobody_waited_for_is_no_error(autojump_clock: MockClock) -> None:
    async def fail() -> None:
        raise ModelConnectionError("http://x", "broke")

    async with open_event_stream(Steps(PIECES[0], then=fail)) as events:
        assert await anext(events) == PIECES[0]
        await wait_all_tasks_blocked()


async def test_a_scope_around_the_stream_cancels_both(autojump_clock: MockClock) -> None:
    steps = Steps(then=trio.sleep_forever)
    with trio.move_on_after(1) as scope:
        async with open_event_stream(steps) as events:
            await anext(events)
    assert scope.cancelled_caught
    assert steps.log == ["begun"]


async def test_a_reader_shielded_from_what_cancelled_the_turn_is_told(autojump_clock: MockClock) -> None:
    with trio.move_on_after(1):
        async with open_event_stream(Steps(then=trio.sleep_forever)) as events:
            with trio.CancelScope(shield=True), pytest.raises(trio.BrokenResourceError, match="cancelled"):
                await anext(events)


def reply(words: str) -> str:
    return f"<think>I know.</think>\n<python></python>\n<reply>{words}</reply>"


def talker(model: Model, memory: Path) -> Agent:
    """An agent whose model runs no code, so that it needs no sandbox, and virtual time can be used."""
    runtime = Runtime(
        model=model,
        sandbox=None,  # type: ignore[arg-type]
        memory_limits=MemoryLimits(),
        sync_notes=False,
        rate=RateLimits(),
        endpoints=Endpoints(),
    )
    return Agent(runtime, memory_path=memory)


class Held:
    """A scripted model whose ``answer`` is an async context manager with something of its own around the parts."""

    def __init__(self, answers: Iterable[str], around: Callable[[], AbstractAsyncContextManager[object]]) -> None:
        self._model, self._around = ScriptedModel(answers), around
        self.name = "held"

    @asynccontextmanager
    async def answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[AsyncIterator[AnswerPart]]:
        async with self._around(), self._model.answer(messages) as parts:
            yield parts


@asynccontextmanager
async def within_seconds() -> AsyncIterator[None]:
    with trio.fail_after(5):
        yield


@asynccontextmanager
async def beside_a_failing_task() -> AsyncIterator[None]:
    async def fail_later() -> None:
        await trio.sleep(5)
        raise OSError("the server went away")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_later)
        yield
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("around", [within_seconds, beside_a_failing_task])
async def test_a_slow_reader_is_in_no_scope_of_the_model(
    around: Any, tmp_path: Path, autojump_clock: MockClock
) -> None:
    agent = talker(Held([reply("One.")], around), tmp_path)
    seen: list[AgentEvent] = []
    async with agent.stream_chat("Go") as events:
        async for event in events:
            await trio.sleep(60)
            seen.append(event)
    assert isinstance(seen[-1], Replied)
    assert seen[-1].response.reply == "One."
    assert "".join(event.text for event in seen if isinstance(event, Delta) and event.kind == "reply") == "One."


@pytest.mark.parametrize("around", [within_seconds, beside_a_failing_task])
async def test_leaving_inside_an_answer_closes_its_scopes(
    around: Any, tmp_path: Path, autojump_clock: MockClock
) -> None:
    agent = talker(Held([reply("One."), reply("Two.")], around), tmp_path)
    with pytest.raises(ZeroDivisionError) as caught:
        async with agent.stream_chat("Go") as events:
            await anext(events)
            raise ZeroDivisionError
    assert not hasattr(caught.value, "__notes__")
    assert len(agent.messages) == 1
    assert (await agent.chat("Again")).reply == "Two."


async def test_a_models_broken_scope_is_an_error_of_the_next_event(tmp_path: Path, autojump_clock: MockClock) -> None:
    @asynccontextmanager
    async def broken() -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            yield
            await trio.sleep_forever()

    async def fail() -> None:
        raise OSError("the server went away")

    agent = talker(Held([reply("One.")], broken), tmp_path)
    async with agent.stream_chat("Go") as events:
        with pytest.RaisesGroup(OSError):
            async for _ in events:
                await trio.sleep(10)
    assert len(agent.messages) == 1
