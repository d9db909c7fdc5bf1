"""Budgets are reserved before a request and settled after it."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trioagent._config import BatchConfig
from trioagent._messages import ChatMessage, Usage
from trioagent._runs._budget import Budget, BudgetedModel, BudgetExhaustedError, PriceUnknownError
from trioagent._runs._spending import Spending
from trioagent.testing import ScriptedModel

MESSAGES = [ChatMessage("user", "x" * 400)]  # 100 tokens, and 200 are expected of the first answer


def used(prompt: int, completion: int, cost: float = 0.0) -> Usage:
    return Usage(prompt_tokens=prompt, completion_tokens=completion, cost=cost)


def test_tokens_are_reserved_before_and_booked_after() -> None:
    budget = Budget(BatchConfig(max_tokens_total=650))
    first = budget.reserve(MESSAGES)
    assert first.total_tokens == 300
    budget.reserve(MESSAGES)
    with pytest.raises(BudgetExhaustedError, match="650 tokens"):
        budget.reserve(MESSAGES)
    budget.release(first)
    budget.spend(used(100, 20))
    assert budget.reserve(MESSAGES).total_tokens == 120  # answers are that short
    assert budget.spent.total_tokens == 120


def test_money_by_prices() -> None:
    budget = Budget(BatchConfig(max_cost=0.001, prompt_price=1.0, completion_price=2.0))
    budget.release(budget.reserve(MESSAGES))
    budget.spend(used(100, 350))
    assert budget.spent.cost == pytest.approx(0.0008)
    with pytest.raises(BudgetExhaustedError, match="cost"):
        budget.reserve(MESSAGES)


def test_money_as_the_server_says() -> None:
    budget = Budget(BatchConfig(max_cost=1.0))
    budget.spend(used(100, 100, cost=0.9))
    assert budget.spent.cost == 0.9
    with pytest.raises(BudgetExhaustedError):
        budget.reserve(MESSAGES)


def test_a_money_budget_needs_prices() -> None:
    budget = Budget(BatchConfig(max_cost=1.0))
    with pytest.raises(PriceUnknownError, match="prompt_price"):
        budget.spend(used(100, 100))


async def test_overrun_by_no_more_than_the_requests_in_flight(autojump_clock: MockClock) -> None:
    """Answers are four times as long as expected; all that had been sent before is known."""
    budget = Budget(BatchConfig(max_tokens_total=3000))
    model = BudgetedModel(ScriptedModel(lambda messages: "y" * 3200, chunk=10_000, delay=1.0), budget)
    refused = 0

    async def ask() -> None:
        nonlocal refused
        try:
            async with model.answer(MESSAGES) as parts:
                assert [part async for part in parts]
        except BudgetExhaustedError:
            refused += 1
        else:
            budget.spend(used(100, 800))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
    sent = 3000 // 300
    assert refused == 20 - sent
    assert budget.spent.total_tokens == sent * 900
    with pytest.raises(BudgetExhaustedError):
        budget.reserve(MESSAGES)


async def test_a_request_waits_for_what_those_in_flight_really_use(autojump_clock: MockClock) -> None:
    """Beside another one it does not fit; after it, it does, since the answer was shorter than expected."""
    budget = Budget(BatchConfig(max_tokens_total=450))
    model = BudgetedModel(ScriptedModel(["a" * 40, "b"], delay=1.0), budget)
    ended = []

    async def ask() -> None:
        async with model.answer(MESSAGES) as parts:
            assert [part async for part in parts]
        budget.spend(used(100, 10))
        ended.append(trio.current_time())

    origin = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        nursery.start_soon(ask)
    assert [time - origin for time in ended] == [1.0, 2.0]


def test_earlier_runs_count() -> None:
    budget = Budget(BatchConfig(max_tokens_total=1000), Spending(600, 99, 0.5))
    budget.release(budget.reserve(MESSAGES))
    budget.spend(used(1, 1))
    assert (budget.spent.total_tokens, budget.total.total_tokens) == (2, 701)
    assert budget.total.cost == pytest.approx(0.5 * 701 / 699, rel=0.01)  # at the price of earlier answers
    with pytest.raises(BudgetExhaustedError):
        Budget(BatchConfig(max_cost=0.6), Spending(600, 99, 0.5)).reserve(MESSAGES)


async def test_a_cancelled_request_gives_its_reservation_back(autojump_clock: MockClock) -> None:
    budget = Budget(BatchConfig(max_tokens_total=300))
    model = BudgetedModel(ScriptedModel(["a"], delay=10), budget)
    with trio.move_on_after(1):
        async with model.answer(MESSAGES) as parts:
            assert [part async for part in parts]
    assert budget.reserve(MESSAGES).total_tokens == 300
