"""Pacing in virtual time: exact starts per minute, no starvation, and concurrency that finds a hidden limit."""

from __future__ import annotations

import math

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from trioagent._config import RateLimits
from trioagent._errors import ModelStatusError
from trioagent._rates import AdaptiveLimit, RollingLimit
from trioagent.models._rate_limiter import RateLimiter


def most_in_any_window(times: list[float], period: float = 60.0) -> int:
    return max(sum(1 for other in times if start <= other < start + period) for start in times)


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 12)), min_size=1, max_size=60))
def test_rolling_limit_is_never_exceeded_in_any_window(steps: list[tuple[float, int]]) -> None:
    limit, now = RollingLimit(10), 0.0
    taken: list[tuple[float, int]] = []
    for pause, amount in steps:
        now = max(now + pause, limit.earliest(now + pause, amount))
        limit.take(now, amount)
        taken.append((now, amount))
    for start, own in taken:
        inside = sum(amount for time, amount in taken if start <= time < start + 60)
        assert inside <= 10 or own > 10 or inside == own


def test_rolling_limit_settles_up_and_down() -> None:
    limit = RollingLimit(100)
    entry = limit.take(0, 80)
    assert limit.earliest(1, 30) == 60
    limit.settle(entry, 20)
    assert limit.earliest(1, 30) == 1
    limit.settle(entry, 100)
    assert limit.earliest(1, 30) == 60
    assert limit.earliest(60, 30) == 60
    limit.settle(entry, 1)  # forgotten by now
    assert limit.used(60) == 0


@pytest.mark.parametrize("per_minute", [0.1, 0.5, 1, 1.5, 2, 2.5, 7])
def test_a_rate_below_one_or_no_whole_number_is_kept(per_minute: float) -> None:
    limit, now, starts = RollingLimit(per_minute), 0.0, list[float]()
    while now < 36_000:
        if (when := limit.earliest(now, 1)) > now:
            now = when
        else:
            limit.take(now, 1)
            starts.append(now)
    assert len(starts) == pytest.approx(600 * per_minute, abs=1)
    assert most_in_any_window(starts) <= math.ceil(per_minute)


def test_an_amount_above_the_limit_counts_for_as_many_periods_as_it_fills() -> None:
    limit = RollingLimit(100)
    limit.take(0, 250)
    assert limit.earliest(1, 1) == 150
    entry = limit.take(150, 50)
    limit.settle(entry, 400)  # it used far more than was reserved
    assert limit.earliest(151, 1) == 150 + 240


async def test_starts_per_minute_are_exact(autojump_clock: MockClock) -> None:
    limiter, starts, origin = RateLimiter(RateLimits(requests_per_minute=30)), list[float](), trio.current_time()

    async def request() -> None:
        async with limiter.slot(10) as slot:
            starts.append(trio.current_time() - origin)
            await trio.sleep(1)
            slot.succeeded(10)

    async with trio.open_nursery() as nursery:
        for _ in range(95):
            nursery.start_soon(request)
    assert most_in_any_window(starts) == 30
    assert sorted(starts) == [0.0] * 30 + [60.0] * 30 + [120.0] * 30 + [180.0] * 5


async def test_tokens_are_reserved_before_and_settled_after(autojump_clock: MockClock) -> None:
    limiter, origin = RateLimiter(RateLimits(tokens_per_minute=1000)), trio.current_time()
    async with limiter.slot(900) as slot:
        async with trio.open_nursery() as nursery:
            starts = list[float]()

            async def second() -> None:
                async with limiter.slot(500):
                    starts.append(trio.current_time() - origin)

            nursery.start_soon(second)
            await trio.sleep(5)
            assert starts == []
            slot.succeeded(300)  # it was far less: the second one fits now
    assert starts == [5.0]


async def test_a_large_request_does_not_starve(autojump_clock: MockClock) -> None:
    limiter, order = RateLimiter(RateLimits(tokens_per_minute=100)), list[str]()

    async def request(name: str, tokens: int) -> None:
        async with limiter.slot(tokens):
            order.append(name)

    async with trio.open_nursery() as nursery:
        for name, tokens in [("a", 60), ("large", 100), ("b", 10), ("c", 10)]:
            nursery.start_soon(request, name, tokens)
            await wait_all_tasks_blocked()
    assert order == ["a", "large", "b", "c"]


async def test_retry_after_holds_up_everybody(autojump_clock: MockClock) -> None:
    limiter, origin = RateLimiter(RateLimits()), trio.current_time()
    async with limiter.slot(1) as slot:
        slot.failed(ModelStatusError(429, "slow down", 7.0))
    async with limiter.slot(1):
        assert trio.current_time() - origin == 7.0


async def test_cancelled_waits_leave_nothing(autojump_clock: MockClock) -> None:
    limiter = RateLimiter(RateLimits(requests_per_minute=1, max_in_flight=2))
    async with limiter.slot(1):
        with trio.move_on_after(5):
            async with limiter.slot(1):
                raise AssertionError("too early")
    assert limiter.statistics().in_flight == limiter.statistics().waiting == 0
    assert limiter.statistics().requests_last_minute == 1
    assert RateLimiter(RateLimits()).statistics().requests_last_minute == 0


@pytest.mark.parametrize("hidden", [4, 25, 100])
async def test_concurrency_converges_to_a_hidden_limit(hidden: int, autojump_clock: MockClock) -> None:
    """A server that refuses what goes beyond *hidden* in flight: bounds as AdaptiveLimit states them."""
    limiter, in_flight, refused, seen = RateLimiter(RateLimits(max_in_flight=400)), 0, 0, list[int]()
    done = trio.Event()

    async def client() -> None:
        nonlocal in_flight, refused
        while not done.is_set():
            async with limiter.slot(1) as slot:
                in_flight += 1
                try:
                    if in_flight > hidden:
                        refused += 1
                        await trio.sleep(0.01)
                        slot.failed(ModelStatusError(429))
                    else:
                        await trio.sleep(1)
                        slot.succeeded(1)
                finally:
                    in_flight -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(400):
            nursery.start_soon(client)
        rounds = math.ceil(math.log(400 / hidden) / math.log(1 / AdaptiveLimit.CUT)) + 1
        await trio.sleep(rounds + 1)
        refused = 0
        for _ in range(100):
            await trio.sleep(1)
            seen.append(limiter.statistics().allowed_in_flight)
        done.set()
    assert min(seen) >= math.floor(AdaptiveLimit.CUT * hidden) - 1
    assert max(seen) <= hidden + 1
    assert refused <= 100  # at most one a round


def test_one_cut_for_all_requests_of_one_moment() -> None:
    limit = AdaptiveLimit(100)
    for _ in range(50):
        limit.on_overload(sent=1.0, now=2.0)
    assert limit.tokens == 70
    limit.on_overload(sent=2.5, now=3.0)
    assert limit.tokens == 49


def test_limit_stays_between_floor_and_ceiling() -> None:
    limit = AdaptiveLimit(3)
    for now in range(20):
        limit.on_overload(now, now)
    assert limit.tokens == 1
    for _ in range(100):
        limit.on_success()
    assert limit.tokens == 3
