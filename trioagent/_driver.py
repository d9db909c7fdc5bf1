"""The driver of a turn: carries out the steps of `Turn`, and pushes each event.

No code of the caller is awaited while a model's answer is open: *emit* is called between answers, and the deltas of
an answer go to *show*, which is synchronous. So a slow caller never uses up a time limit that a `Model` has set for its
own answer, and the caller's code never runs inside a cancel scope or nursery of a `Model` (PEP 789).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from functools import partial
from typing import TypeVar

import trio

from ._activity import doing
from ._errors import ModelError, ReplayMismatchError
from ._events import AgentEvent, Answered, CodeResult, CodeStarted, ContextTrimmed
from ._messages import AgentResponse, ChatMessage, Usage
from ._parsed_reply import Delta
from ._reply_parser import ReplyParser, ThoughtStyle, later_style
from ._server_behaviour import is_cut
from ._steps import STEP_BYTES
from ._tracing import SPAN
from ._turn import AskModel, Finish, RunCode, Turn
from .models import (
    AnswerEnd,
    AnswerPart,
    Model,
    ReasoningDelta,
    Retrying,
    TextDelta,
    record_answer,
    record_retry,
    start_model_span,
)
from .sandbox import BlockResult

Emit = Callable[[AgentEvent], Awaitable[None]]
Show = Callable[[Delta | Retrying], None]
PastEvent = Answered | CodeResult
E = TypeVar("E", Answered, CodeResult)

_NAMES: Mapping[type[PastEvent], str] = {Answered: "an answer", CodeResult: "a block's result"}
_END_SECONDS = 0.1  # from the text's last tag to the end of the stream


async def drive_turn(
    turn: Turn,
    *,
    model: Model,
    run_block: Callable[[str], Awaitable[BlockResult]],
    emit: Emit,
    show: Show,
    past: Iterator[PastEvent],
    thought_styles: MutableMapping[str, ThoughtStyle],
) -> AgentResponse:
    """Drive *turn* to its end.

    Args:
        run_block: runs code; an error that it raises ends the turn.
        emit: awaited with each `ContextTrimmed`, `Answered`, `CodeStarted` and `CodeResult`, before the turn continues.
        show: called with the deltas of an answer, and with its retries, as they arrive.
        past: journaled events of this turn, in order. They are used instead of asking the model and
            running the code, and are emitted again. The iterator is left where the turn ended.
        thought_styles: how models mark their thoughts, by name, as far as known; this turn's answers add to it.

    Raises:
        ReplayMismatchError: an event in *past* is not what the turn needs at that point.

    After cancellation, as after every error, *turn* has every complete answer.
    """
    step = turn.start()
    while True:
        match step:
            case AskModel(messages):
                if step.leaves_out_more:
                    await emit(ContextTrimmed(step.left_out))
                ask = _ask if SPAN.get() is None else _ask_traced
                answered = _next(past, Answered) or await ask(model, messages, show, thought_styles)
                step = turn.on_answer(answered.answer, answered.usage, answered.finish_reason)
                await emit(answered)
            case RunCode(code):
                try:
                    await emit(CodeStarted(code))
                    ended = _next(past, CodeResult) or CodeResult(await run_block(code))
                except BaseException:
                    turn.on_stopped()
                    raise
                result = ended.result
                step = turn.on_result(result.locals, result.error, result.printed, saved=result.saved, tier=result.tier)
                await emit(ended)
            case Finish(response):
                return response


def _next(past: Iterator[PastEvent], kind: type[E]) -> E | None:
    """The next journaled event; None if there is no more."""
    event = next(past, None)
    if event is None or isinstance(event, kind):
        return event
    raise ReplayMismatchError(_NAMES[kind], _NAMES[type(event)])


async def _ask_traced(
    model: Model, messages: Sequence[ChatMessage], show: Show, thought_styles: MutableMapping[str, ThoughtStyle]
) -> Answered:
    with start_model_span(model, messages) as span:
        answered = await _ask(model, messages, show, thought_styles)
        if span is not None:
            record_answer(span, answered.answer.text, answered.usage, answered.finish_reason)
    return answered


_FED_CHARS = 8192
"""For an answer that arrives in one piece: it may have a tag every few characters, each of which must be parsed."""


async def _ask(
    model: Model, messages: Sequence[ChatMessage], show: Show, thought_styles: MutableMapping[str, ThoughtStyle]
) -> Answered:
    """One answer of the model, read only as far as it counts."""
    style = thought_styles.get(model.name, "unknown")
    parser, reasoning, end, failed, text = ReplyParser(style), "", None, 0, 0
    with doing("model"):
        async with model.answer(messages) as parts:
            async for part in parts:
                match part:
                    case TextDelta():
                        text += len(part.text)
                        for start in range(0, len(part.text), _FED_CHARS):
                            if start:
                                await trio.lowlevel.checkpoint()
                            for delta in parser.feed(part.text[start : start + _FED_CHARS]):
                                show(delta)
                        if parser.finished:
                            end = await (_last_of(parts) if part.last else _end_of(parts))
                            break
                    case ReasoningDelta():
                        text += len(part.text)
                        reasoning += part.text
                        show(Delta("think", part.text))
                    case Retrying():
                        parser, reasoning, failed, text = ReplyParser(style), "", part.attempt, 0
                        record_retry(part)
                        show(part)
                    case AnswerEnd():
                        end = part
    close = partial(parser.close, cut=end is not None and is_cut(end.finish_reason), reasoning=reasoning)
    # An endless answer is parsed once more when it has ended: many short steps, so a thread will do.
    answer, deltas = close() if text <= STEP_BYTES else await trio.to_thread.run_sync(close)
    for delta in deltas:
        show(delta)
    thought_styles[model.name] = later_style(thought_styles.get(model.name, "unknown"), parser.style)
    if end is None:  # stopped early: the server's count, which comes last, was not waited for any longer
        end = AnswerEnd(Usage.estimate(messages, text, requests=failed + 1), "")
    return Answered(answer, end.usage, end.finish_reason)


async def _end_of(parts: AsyncIterator[AnswerPart]) -> AnswerEnd | None:
    """Wait briefly for the end of a complete answer: most models stop there by themselves.

    Then the server's own count is known, and the connection can be reused. None if the model continues.
    """
    with trio.move_on_after(_END_SECONDS):
        return await _last_of(parts)
    return None


async def _last_of(parts: AsyncIterator[AnswerPart]) -> AnswerEnd | None:
    try:
        part = await anext(parts, None)
    except ModelError:  # the connection broke after a complete answer, which is valid
        return None
    return part if isinstance(part, AnswerEnd) else None
