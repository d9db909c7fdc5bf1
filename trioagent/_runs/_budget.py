"""A budget of tokens and money: reserved before each request, corrected by the answer's actual usage.

No request is sent that could take the batch over its budget by what is known beforehand: the tokens of its messages,
and as many tokens of answer as answers have had so far. An answer may turn out longer, so the budget can be overrun by
the requests in flight, and by no more. A request that does not fit beside those in flight waits for their actual
usage; the budget is used up when a request does not fit alone. Usage of failed or interrupted answers is estimated.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial

from trio_util import AsyncValue

from .._activity import doing
from .._config import BatchConfig, ModelConfig
from .._errors import FatalError, ModelError, TrioAgentError
from .._messages import ChatMessage, Usage
from ..models import AnswerPart, EndpointHealth, Model, ReasoningDelta, Retrying, TextDelta
from ._outages import Outages, health_of
from ._spending import NOTHING, Spending

_FIRST_GUESS = 200  # tokens of an answer, before any is known
_NOTHING_RESERVED = Usage()  # if there is no limit


class BudgetExhaustedError(TrioAgentError):
    """The next request would go beyond the batch's budget; it was not sent."""

    def __init__(self, what: str, limit: float) -> None:
        super().__init__(what, limit)
        self.what: str = what
        self.limit: float = limit

    def __str__(self) -> str:
        return f"the budget of {self.limit:g} {self.what} is used up"


class PriceUnknownError(FatalError):
    """A money budget was set, but neither the server nor the settings give the price of an answer."""

    def __str__(self) -> str:
        return (
            "the model's server does not report an answer's cost, so max_cost cannot be enforced; "
            "give prompt_price and completion_price (of a million tokens)"
        )


class Budget:
    """What a batch has spent and reserved.

    Args:
        config: the limits and prices.
        before: spent by earlier starts of the batch; it counts.
    """

    def __init__(self, config: BatchConfig, before: Spending = NOTHING) -> None:
        self._before = before
        self._max_tokens = math.inf if config.max_tokens_total is None else config.max_tokens_total
        self._max_cost = math.inf if config.max_cost is None else config.max_cost
        self._priced = config.prompt_price is not None or config.completion_price is not None
        self._prompt_price = (config.prompt_price or 0.0) / 1e6
        self._completion_price = (config.completion_price or 0.0) / 1e6
        self.spent = Spending()
        self.answers = 0
        self._waste = NOTHING
        self._is_limited = min(self._max_tokens, self._max_cost) < math.inf
        self._reserved = AsyncValue(Usage())

    @property
    def total(self) -> Spending:
        """Spent by this start and those before it."""
        return self._before + self.spent

    def reserve(self, messages: Sequence[ChatMessage]) -> Usage:
        """Reserve the expected usage of the next request.

        Raises:
            BudgetExhaustedError: it would exceed the budget.
        """
        if not self._is_limited:
            return _NOTHING_RESERVED
        typical = self.spent.completion_tokens // self.answers if self.answers else _FIRST_GUESS
        wanted = Usage.estimate(messages, 0) + Usage(completion_tokens=typical)
        planned = self._reserved.value + wanted
        if self._max_tokens < math.inf and self.total.total_tokens + planned.total_tokens > self._max_tokens:
            raise BudgetExhaustedError("tokens", self._max_tokens)
        if self._max_cost < math.inf and self.total.cost + self._price(planned) > self._max_cost:
            raise BudgetExhaustedError("cost", self._max_cost)
        self._reserved.value = planned
        return wanted

    async def reserve_in_turn(self, messages: Sequence[ChatMessage]) -> Usage:
        """`reserve`, but if it only fits without the requests in flight, wait for those."""
        while True:
            try:
                return self.reserve(messages)
            except BudgetExhaustedError:
                if not self._reserved.value.total_tokens:
                    raise
            with doing("rate"):
                await self._reserved.wait_transition()

    def release(self, wanted: Usage) -> None:
        """Release a reservation."""
        if wanted is _NOTHING_RESERVED:
            return
        reserved = self._reserved.value
        self._reserved.value = Usage(
            prompt_tokens=reserved.prompt_tokens - wanted.prompt_tokens,
            completion_tokens=reserved.completion_tokens - wanted.completion_tokens,
        )

    def spend(self, usage: Usage) -> Spending:
        """Count an answer; returns its cost.

        Raises:
            PriceUnknownError: a money budget is set and this answer's price is unknown.
        """
        if self._max_cost < math.inf and not self._priced and not usage.cost and usage.total_tokens:
            raise PriceUnknownError
        spending = Spending(usage.prompt_tokens, usage.completion_tokens, usage.cost or self._price(usage))
        self.spent += spending
        self.answers += 1
        return spending

    def waste(self, messages: Sequence[ChatMessage], chars: int) -> None:
        """Count an answer that failed or was cancelled after *chars* of text.

        Its cost is not reported, so it is estimated. It is journaled with the next write (`take_waste`).
        """
        usage = Usage.estimate(messages, chars)
        spending = Spending(usage.prompt_tokens, usage.completion_tokens, self._price(usage))
        self.spent += spending
        self._waste += spending

    def take_waste(self) -> Spending:
        """Spending counted by `waste` that is not journaled yet; the caller journals it."""
        waste, self._waste = self._waste, NOTHING
        return waste

    def _price(self, usage: Usage) -> float:
        if not self._priced:  # the prices reported by the server so far
            total = self.total
            if not total.cost:
                return 0.0
            return usage.total_tokens * total.cost / max(1, total.total_tokens)
        return usage.prompt_tokens * self._prompt_price + usage.completion_tokens * self._completion_price


class BudgetedModel:
    """A model of a run: every request is reserved in a `Budget` first, and waits for an unavailable server.

    Args:
        outages: waits for outages; None for no waiting.
    """

    def __init__(self, model: Model, budget: Budget, outages: Outages | None = None) -> None:
        self._model, self._budget, self._outages = model, budget, outages
        self.health: EndpointHealth | None = health_of(model)
        self.config: ModelConfig | None = getattr(model, "config", None)

    @property
    def name(self) -> str:
        return self._model.name

    @asynccontextmanager
    async def answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[AsyncIterator[AnswerPart]]:
        counted: _CountedParts | None = None
        try:
            async with aclosing(self._parts(messages)) as parts:
                counted = _CountedParts(parts, partial(self._budget.waste, messages))
                yield counted
        except BaseException:
            if counted is not None:
                counted.record()
            raise

    async def _parts(self, messages: Sequence[ChatMessage]) -> AsyncGenerator[AnswerPart, None]:
        """The parts of an answer, requested again each time its server was unavailable and has recovered."""
        holds = 0
        async with AsyncExitStack() as turn:
            while True:
                try:
                    wanted = await self._budget.reserve_in_turn(messages)
                    try:
                        async with self._model.answer(messages) as parts:
                            async for part in parts:
                                if self._outages is not None and isinstance(part, Retrying):
                                    self._outages.note(part.error)
                                yield part
                        return
                    finally:
                        self._budget.release(wanted)
                except ModelError as error:
                    if self._outages is None:
                        raise
                    failure = error
                    self._outages.note(error)
                holds += 1
                await turn.aclose()  # outside the handler, so that the old error is not kept as context
                await turn.enter_async_context(self._outages.turn(failure, self.health))
                yield Retrying(failure, 0.0, holds)


class _CountedParts(AsyncIterator[AnswerPart]):
    """The parts of an answer; text of attempts that failed is counted as waste.

    Leaving the answer without an error, at its end or before, leaves it to the caller to count the last attempt.
    """

    def __init__(self, parts: AsyncIterator[AnswerPart], waste: Callable[[int], None]) -> None:
        self._parts, self._waste, self._chars = parts, waste, 0

    async def __anext__(self) -> AnswerPart:
        part = await anext(self._parts)
        match part:
            case TextDelta() | ReasoningDelta():
                self._chars += len(part.text)
            case Retrying():
                self.record()
        return part

    def record(self) -> None:
        """Count the text so far as waste. An attempt without any text has no known cost."""
        chars, self._chars = self._chars, 0
        if chars:
            self._waste(chars)
