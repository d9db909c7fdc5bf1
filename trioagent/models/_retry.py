"""Retry loop: attempts one answer according to the retry policy, and reports every retry as a part of the answer."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import attrs
import trio

from .._activity import doing
from .._config import RetryPolicy
from .._errors import ModelError, ModelStatusError
from .._retry_policy import GiveUp, Wait, after_failures
from ._base import AnswerEnd, AnswerPart, Retrying

Attempt = Callable[[], AbstractAsyncContextManager[AsyncIterator[AnswerPart]]]
Judge = Callable[[Sequence[ModelError]], Wait | GiveUp | None]


async def retrying(
    attempt: Attempt, policy: RetryPolicy, jitter: random.Random, judge: Judge | None = None
) -> AsyncGenerator[AnswerPart, None]:
    """The parts of the first attempt that succeeds, with a :class:`Retrying` after each one that fails.

    To be used under ``contextlib.aclosing``, so that leaving early closes the current attempt.

    Args:
        judge: decides after each failure, given all so far; None means that the request was adapted and is
            sent again at once, without counting as a retry. By default `after_failures` with *policy* decides.

    Raises:
        ModelError: the last attempt's error, with ``attempts`` set, once the policy says to give up.
    """
    failures: list[ModelError] = []
    requests = 0
    while True:
        requests += 1
        try:
            async with attempt() as parts:
                async for part in parts:
                    yield part if requests == 1 else _with_requests(part, requests)
            return
        except ModelError as error:
            failures.append(error)
        # Outside the handler, so that a cancelled wait does not keep the old error as its context.
        verdict = after_failures(policy, failures, jitter) if judge is None else judge(failures)
        if isinstance(verdict, GiveUp):
            raise _final(failures, verdict, requests)
        delay = 0.0 if verdict is None else verdict.delay
        yield Retrying(failures[-1], delay, requests)
        if verdict is None:
            failures.pop()
            continue
        with doing("retrying", cause=str(failures[-1])):
            await trio.sleep(delay)


def _with_requests(part: AnswerPart, requests: int) -> AnswerPart:
    if not isinstance(part, AnswerEnd):
        return part
    return AnswerEnd(attrs.evolve(part.usage, requests=requests), part.finish_reason)


def _final(failures: Sequence[ModelError], verdict: GiveUp, requests: int) -> ModelError:
    error = failures[-1]
    if verdict.error is not None:
        verdict.error.__cause__ = error
        error = verdict.error
    if isinstance(error, ModelStatusError) and error.retry_after is not None:
        # The note explains why there was no further retry.
        words = f"{error.detail}; {verdict.reason}" if error.detail else verdict.reason
        args = (error.status, words, *error.args[2:])
        error = type(error)(*args).with_traceback(error.__traceback__)
    error.attempts = requests
    return error
