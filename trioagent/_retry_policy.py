"""Retry policy: after which failures to retry, with which backoff. Pure: no waiting, clock or global randomness."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from email.utils import parsedate_to_datetime

import attrs

from ._config import RetryPolicy
from ._errors import ModelConnectionError, ModelError, ModelProtocolError, ModelStatusError

# Retryable statuses below 500 (RFC 9110 and RFC 6585; 425 is RFC 8470).
RETRIED_BELOW_500 = frozenset({408, 409, 425, 429})
# Statuses of an overloaded server, which fewer concurrent requests help. 529 is used by model providers.
OVERLOAD_STATUSES = frozenset({429, 503, 529})
# Transient statuses: the same one with the same detail twice in a row is no deterministic failure.
_TRANSIENT = OVERLOAD_STATUSES | {502, 504} | RETRIED_BELOW_500
_MOST_DOUBLINGS = 60


@attrs.frozen
class Wait:
    """Try again after ``delay`` seconds."""

    delay: float


@attrs.frozen
class GiveUp:
    """Do not try again, because of ``reason``."""

    reason: str


def after_failures(policy: RetryPolicy, failures: Sequence[ModelError], jitter: random.Random) -> Wait | GiveUp:
    """Whether to retry after *failures* of one answer's attempts, oldest first (at least one).

    The rules, first match wins:

    1. ``policy.attempts`` failures: give up.
    2. A status that the same request will always get (anything but 408, 409, 425, 429 and 5xx): give up.
    3. A deterministic failure, which is the same one twice in a row: a protocol error with the same problem, or a 5xx
       with the same status and detail that is no overload (502, 503, 504, 529): give up.
    4. ``Retry-After`` above ``policy.max_retry_after``: give up.
    5. Else wait: exponential backoff with equal jitter (half of it fixed, half drawn from *jitter*), at most
       ``policy.max_delay``, and never less than ``Retry-After``.
    """
    last = failures[-1]
    if len(failures) >= policy.attempts:
        return GiveUp(f"{len(failures)} of {policy.attempts} attempts failed")
    if not _worth_retrying(last):
        return GiveUp("the same request would fail again")
    if len(failures) > 1 and _fingerprint(last) is not None and _fingerprint(last) == _fingerprint(failures[-2]):
        return GiveUp("the same request failed twice in the same way")
    asked = last.retry_after if isinstance(last, ModelStatusError) else None
    if asked is not None and asked > policy.max_retry_after:
        return GiveUp(
            f"the server asks to wait {asked:g} s, which is more than the {policy.max_retry_after:g} s allowed"
        )
    longest = min(policy.max_delay, policy.first_delay * 2.0 ** min(len(failures) - 1, _MOST_DOUBLINGS))
    return Wait(max(asked or 0.0, longest / 2 + jitter.uniform(0, longest / 2)))


def _worth_retrying(error: ModelError) -> bool:
    if isinstance(error, ModelStatusError):
        return error.status >= 500 or error.status in RETRIED_BELOW_500
    return isinstance(error, ModelConnectionError | ModelProtocolError)


def _fingerprint(error: ModelError) -> tuple[object, ...] | None:
    """Equal for two failures of the same deterministic kind; None for transient ones."""
    if isinstance(error, ModelProtocolError):
        return ("protocol", error.problem)
    if isinstance(error, ModelStatusError) and error.status not in _TRANSIENT:
        return (error.status, error.detail)
    return None


def parse_retry_after(value: str, now: float) -> float | None:
    """Seconds to wait that a ``Retry-After`` header asks for (RFC 9110, 10.2.3); None if it is malformed.

    Args:
        value: the header: seconds, or an HTTP date.
        now: the time in Unix seconds to count a date from, best the response's own ``Date``.
    """
    try:
        seconds = float(value)
    except ValueError:
        when = parse_http_date(value)
        if when is None:
            return None
        seconds = when - now
    return max(0.0, seconds) if math.isfinite(seconds) else None


def parse_http_date(value: str) -> float | None:
    """An HTTP date in Unix seconds, or None if it is not one."""
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
