"""Retry policy: after which failures to retry, with which backoff. Pure: no waiting, clock or global randomness."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import attrs

from ._config import RetryPolicy
from ._errors import ModelError, ModelProtocolError, ModelStatusError
from ._server_behaviour import GATEWAY_STATUSES, OVERLOAD_STATUSES, CloseEndpoint, HoldEndpoint, Retry, action_of

# Transient statuses: the same one with the same detail twice in a row is not a deterministic failure. (408, 409, 425
# and 429 are retryable by RFC 9110, 6585 and 8470.)
_TRANSIENT = OVERLOAD_STATUSES | GATEWAY_STATUSES | {408, 409, 425}
_MOST_DOUBLINGS = 60
_EARLIEST_TIME = 1e9  # no wait, but a Unix time in seconds or, a thousand times that, in milliseconds


@attrs.frozen
class Wait:
    """Retry after ``delay`` seconds."""

    delay: float


@attrs.frozen
class GiveUp:
    """Do not retry.

    Attributes:
        reason: why, as text.
        error: the error to raise, if not the last failure.
    """

    reason: str
    error: ModelError | None = None


def after_failures(policy: RetryPolicy, failures: Sequence[ModelError], jitter: random.Random) -> Wait | GiveUp:
    """Whether to retry after *failures* of one answer's attempts, oldest first (at least one).

    The rules, first match wins:

    1. ``policy.attempts`` failures: give up.
    2. A failure that no retry can cure, according to the table in `_server_behaviour`: give up. That includes a
       ``Retry-After`` above ``policy.max_retry_after``.
    3. A deterministic failure, which is the same one twice in a row: a protocol error with the same problem, or a 5xx
       with the same status and detail that is not an overload (502, 503, 504, 529): give up.
    4. Else wait: exponential backoff with equal jitter (half of it fixed, half drawn from *jitter*), at most
       ``policy.max_delay``, and never less than ``Retry-After``.
    """
    last = failures[-1]
    if len(failures) >= policy.attempts:
        return GiveUp(f"{len(failures)} of {policy.attempts} attempts failed")
    asked = last.retry_after if isinstance(last, ModelStatusError) else None
    match action_of(last, max_retry_after=policy.max_retry_after):
        case Retry() | HoldEndpoint():
            pass
        case CloseEndpoint("wait"):
            return GiveUp(
                f"the server asks to wait {asked:g} s, which is more than the {policy.max_retry_after:g} s allowed"
            )
        case _:
            return GiveUp("the same request would fail again")
    if len(failures) > 1 and _fingerprint(last) is not None and _fingerprint(last) == _fingerprint(failures[-2]):
        return GiveUp("the same request failed twice in the same way")
    longest = min(policy.max_delay, policy.first_delay * 2.0 ** min(len(failures) - 1, _MOST_DOUBLINGS))
    return Wait(max(asked or 0.0, longest / 2 + jitter.uniform(0, longest / 2)))


def _fingerprint(error: ModelError) -> tuple[object, ...] | None:
    """Equal for two failures of the same deterministic kind; None for transient ones."""
    if isinstance(error, ModelProtocolError):
        return ("protocol", error.problem)
    if isinstance(error, ModelStatusError) and error.status not in _TRANSIENT:
        return (error.status, error.detail)
    return None


def parse_retry_after(value: str, now: float) -> float | None:
    """The delay in seconds that a ``Retry-After`` header asks for (RFC 9110, 10.2.3); None if it is malformed.

    Args:
        value: the header: seconds, or an HTTP date. Of a header that was sent twice, which HTTP joins by a comma, the
            longer delay counts.
        now: the time in Unix seconds that a date is relative to, ideally the response's own ``Date``.
    """
    parts = value.split(",")
    waits = [
        _seconds(part, now) for part in (value, *parts, *map(",".join, zip(parts[::2], parts[1::2], strict=False)))
    ]
    known = [wait for wait in waits if wait is not None and math.isfinite(wait)]
    return max(0.0, *known) if known else None


def _seconds(value: str, now: float) -> float | None:
    try:
        seconds = float(value.strip().removesuffix("s"))
    except ValueError:
        when = parse_http_date(value)
    else:
        if seconds < _EARLIEST_TIME:
            return seconds
        when = seconds / 1000 if seconds > 1000 * _EARLIEST_TIME else seconds
    return None if when is None else when - now


def parse_http_date(value: str) -> float | None:
    """A date in Unix seconds, in any form of HTTP (RFC 9110, 5.6.7) or ISO 8601; without a zone it is UTC.

    Returns:
        None if it is not a date.
    """
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            when = parse(value.strip())
            return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, OverflowError):
            continue
    return None
