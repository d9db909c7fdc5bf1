"""The back-off policy: which failures are retried, and after how long."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagent._config import RetryPolicy
from trioagent._errors import ModelConnectionError, ModelError, ModelProtocolError, ModelStatusError
from trioagent._retry_policy import GiveUp, Wait, after_failures, parse_http_date, parse_retry_after

BROKEN = ModelConnectionError("http://localhost/v1", "refused")


def verdict(*failures: ModelError, seed: int = 1, **settings: float) -> Wait | GiveUp:
    return after_failures(RetryPolicy(**settings), failures, random.Random(seed))  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529, 599])
def test_a_status_that_may_pass_is_retried(status: int) -> None:
    assert isinstance(verdict(ModelStatusError(status)), Wait)


@pytest.mark.parametrize("status", [300, 307, 400, 401, 402, 403, 404, 413, 422])
def test_a_status_that_will_not_pass_is_not_retried(status: int) -> None:
    assert verdict(ModelStatusError(status)) == GiveUp("the same request would fail again")


def test_attempts_are_finite() -> None:
    assert isinstance(verdict(BROKEN, BROKEN, attempts=3), Wait)
    assert verdict(BROKEN, BROKEN, BROKEN, attempts=3) == GiveUp("3 of 3 attempts failed")
    assert isinstance(verdict(BROKEN, attempts=1), GiveUp)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (ModelStatusError(500, "boom"), ModelStatusError(500, "boom"), True),
        (ModelStatusError(500, "boom"), ModelStatusError(500, "bang"), False),
        (ModelStatusError(500, "boom"), ModelStatusError(507, "boom"), False),
        (ModelStatusError(503, "busy"), ModelStatusError(503, "busy"), False),
        (ModelStatusError(429, "busy"), ModelStatusError(429, "busy"), False),
        (ModelProtocolError("no choices", "a"), ModelProtocolError("no choices", "b"), True),
        (ModelProtocolError("no choices"), ModelProtocolError("not JSON"), False),
        (BROKEN, BROKEN, False),
    ],
)
def test_the_same_deterministic_failure_twice_in_a_row_ends_it(
    first: ModelError, second: ModelError, same: bool
) -> None:
    assert isinstance(verdict(first, second), GiveUp) is same
    assert isinstance(verdict(second, BROKEN, second), Wait), "not in a row"


def test_retry_after_is_the_least_wait_and_has_a_limit() -> None:
    assert verdict(ModelStatusError(429, "", 30.0)) == Wait(30.0)
    assert verdict(ModelStatusError(429, "", 120.0)) == Wait(120.0)
    assert isinstance(verdict(ModelStatusError(429, "", 120.5)), GiveUp)
    short = verdict(ModelStatusError(429, "", 0.0))
    assert isinstance(short, Wait) and short.delay >= 0.25, "a server that says 0 must not be hammered"


@given(failures=st.integers(1, 10_000), seed=st.integers())
def test_delays_double_with_half_of_it_jitter_up_to_the_longest(failures: int, seed: int) -> None:
    wait = verdict(*[BROKEN] * failures, seed=seed, attempts=10_001, first_delay=0.5, max_delay=30.0)
    longest = min(30.0, 0.5 * 2 ** min(failures - 1, 20))
    assert isinstance(wait, Wait)
    assert longest / 2 <= wait.delay <= longest


NOON = parse_http_date("Sun, 06 Nov 1994 12:00:00 GMT")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("Sun, 06 Nov 1994 12:00:09 GMT", 9.0),
        ("Sun, 06 Nov 1994 11:59:00 GMT", 0.0),
        ("30s", 30.0),
        ("soon", None),
        ("s", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("99 Nov 99999999 99:99:99", None),
    ],
)
def test_retry_after_header(value: str, seconds: float | None) -> None:
    assert NOON == 784123200.0
    assert parse_retry_after(value, NOON) == seconds


@pytest.mark.parametrize("value", ["1700000009", "1700000009000", "1700000009.0"])
def test_a_retry_after_header_that_is_a_time(value: str) -> None:
    assert parse_retry_after(value, 1_700_000_000.0) == 9.0


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo", "UTC"])
@pytest.mark.parametrize("value", ["Sun Nov  6 12:00:30 1994", "Sun, 06 Nov 1994 12:00:30", "1994-11-06T12:00:30"])
def test_a_date_without_a_zone_is_utc(value: str, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert parse_retry_after(value, 784123200.0) == 30.0
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.text())
def test_any_retry_after_header_is_taken_or_ignored(value: str) -> None:
    seconds = parse_retry_after(value, 0.0)
    assert seconds is None or seconds >= 0
