"""The retry loop, in virtual time."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
import trio
from trio.testing import MockClock

from trioagent._config import RetryPolicy
from trioagent._errors import ModelConnectionError, ModelError, ModelStatusError
from trioagent._messages import Usage
from trioagent.models import AnswerEnd, AnswerPart, Retrying, TextDelta
from trioagent.models._retry import Attempt, retrying
from trioagent.testing import ScriptedModel

BUSY = ModelStatusError(429, "busy", 30.0)
BROKEN = ModelConnectionError("http://localhost/v1", "it broke")


def attempts(model: ScriptedModel) -> Attempt:
    return lambda: model.answer(())


def loop(model: ScriptedModel, **policy: float) -> aclosing[AsyncGenerator[AnswerPart, None]]:
    return aclosing(retrying(attempts(model), RetryPolicy(**policy), random.Random(1)))  # type: ignore[arg-type]


async def collect(model: ScriptedModel, **policy: float) -> list[AnswerPart]:
    async with loop(model, **policy) as parts:
        return [part async for part in parts]


async def test_obeys_retry_after_and_counts_requests(autojump_clock: MockClock) -> None:
    start = trio.current_time()
    parts = await collect(ScriptedModel([BUSY, BUSY, "hello"]))
    assert parts == [
        Retrying(BUSY, 30.0, 1),
        Retrying(BUSY, 30.0, 2),
        TextDelta("hello"),
        AnswerEnd(Usage.estimate([], 5, requests=3), "stop"),
    ]
    assert trio.current_time() - start == pytest.approx(60.0)


async def test_the_waits_are_what_it_says(autojump_clock: MockClock) -> None:
    start = trio.current_time()
    parts = await collect(ScriptedModel([BROKEN, BROKEN, BROKEN, BROKEN, "x"]), first_delay=1.0)
    delays = [part.delay for part in parts if isinstance(part, Retrying)]
    assert all(least <= delay <= 2 * least for delay, least in zip(delays, [0.5, 1, 2, 4], strict=True))
    assert trio.current_time() - start == pytest.approx(sum(delays))


async def test_the_last_error_comes_out_with_its_attempts(autojump_clock: MockClock) -> None:
    errors = [ModelConnectionError("http://localhost/v1", f"broke {i}") for i in range(9)]
    with pytest.raises(ModelConnectionError, match="broke 3") as caught:
        await collect(ScriptedModel(errors), attempts=4)
    assert caught.value.attempts == 4
    assert caught.value.__context__ is None, "an earlier error must not be dragged along"


async def test_what_will_not_pass_is_raised_at_once(autojump_clock: MockClock) -> None:
    start = trio.current_time()
    model = ScriptedModel([ModelStatusError(401, "who are you"), "never"])
    with pytest.raises(ModelStatusError, match="check the API key"):
        await collect(model)
    assert len(model.calls) == 1
    assert trio.current_time() == start


async def test_too_long_a_retry_after_is_named(autojump_clock: MockClock) -> None:
    with pytest.raises(ModelStatusError, match=r"busy; the server asks to wait 999 s, .* 120 s allowed") as caught:
        await collect(ScriptedModel([ModelStatusError(429, "busy", 999.0), "never"]))
    assert (caught.value.retry_after, caught.value.attempts) == (999.0, 1)


async def test_text_before_a_failure_is_declared_void(autojump_clock: MockClock) -> None:
    calls = iter([True, False])

    def attempt() -> aclosing[AsyncGenerator[AnswerPart, None]]:
        return aclosing(half(BROKEN if next(calls) else None))

    async def half(error: ModelError | None) -> AsyncGenerator[AnswerPart, None]:
        yield TextDelta("hel")
        await trio.sleep(1)
        if error is not None:
            raise error
        yield TextDelta("lo")

    async with aclosing(retrying(attempt, RetryPolicy(), random.Random(1))) as parts:
        kinds = [part if isinstance(part, TextDelta) else type(part) async for part in parts]
    assert kinds == [TextDelta("hel"), Retrying, TextDelta("hel"), TextDelta("lo")]


async def test_a_wait_can_be_cancelled_and_leaves_the_error_behind(autojump_clock: MockClock) -> None:
    with trio.move_on_after(10) as scope:
        await collect(ScriptedModel([BUSY, "never"]))
    assert scope.cancelled_caught


async def test_other_errors_are_not_retried() -> None:
    model = ScriptedModel([ZeroDivisionError(), "never"])
    with pytest.raises(ZeroDivisionError):
        await collect(model)
    assert len(model.calls) == 1
