"""Retry loop: attempts one answer as the retry policy says, and reports every retry as a part of the answer."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import attrs
import trio

from .._activity import doing
from .._config import RetryPolicy
from .._errors import ModelError, ModelStatusError
from .._retry_policy import GiveUp, after_failures
from ._base import AnswerEnd, AnswerPart, Retrying

Attempt = Callable[[], AbstractAsyncContextManager[AsyncIterator[AnswerPart]]]


async def retrying(attempt: Attempt, policy: RetryPolicy, jitter: random.Random) -> AsyncGenerator[AnswerPart, None]:
    """The parts of the first attempt that succeeds, with a :class:`Retrying` after each one that fails.

    To be used under ``contextlib.aclosing``, so that leaving early closes the attempt at hand.

    Raises:
        ModelError: the last attempt's error, with ``attempts`` set, once the policy says to give up.
    """
    failures: list[ModelError] = []
    while True:
        try:
            async with attempt() as parts:
                async for part in parts:
                    yield _with_requests(part, len(failures) + 1)
            return
        except ModelError as error:
            failures.append(error)
        # Outside the handler, so that a cancelled wait does not drag the old error along.
        verdict = after_failures(policy, failures, jitter)
        if isinstance(verdict, GiveUp):
            raise _final(failures, verdict)
        yield Retrying(failures[-1], verdict.delay, len(failures))
        with doing("retrying"):
            await trio.sleep(verdict.delay)


def _with_requests(part: AnswerPart, requests: int) -> AnswerPart:
    if requests == 1 or not isinstance(part, AnswerEnd):
        return part
    return AnswerEnd(attrs.evolve(part.usage, requests=requests), part.finish_reason)


def _final(failures: list[ModelError], verdict: GiveUp) -> ModelError:
    error = failures[-1]
    if isinstance(error, ModelStatusError) and error.retry_after is not None:
        # Whoever reads it should know why we did not simply wait.
        words = f"{error.detail}; {verdict.reason}" if error.detail else verdict.reason
        error = type(error)(error.status, words, error.retry_after).with_traceback(error.__traceback__)
    error.attempts = len(failures)
    return error
