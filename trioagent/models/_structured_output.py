"""`complete`: one question to a model, and its answer as text or as an instance of a class."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Generic, TypeVar, overload

import attrs

from .._errors import InvalidInputError, StructuredOutputError
from .._messages import ChatMessage, Usage
from .._server_behaviour import is_cut
from ._base import AnswerEnd, Model, Retrying, TextDelta
from ._json_in_text import find_json
from ._schema import schema_of
from ._schema_types import Schema
from ._span import record_answer, record_retry, start_model_span

T = TypeVar("T")
V = TypeVar("V", covariant=True)

_PROBLEMS = 20
_PROBLEM_CHARS = 300
_EXCERPT_CHARS = 200
_SHOWN_CHARS = 20_000

_ASK = (
    "Answer with one JSON object and nothing else: no explanation, no code fence. It must be valid against this JSON "
    "schema:\n{schema}"
)
_ASK_AGAIN = "Your answer cannot be used:\n{problems}\nAnswer again, with the corrected JSON object and nothing else."
_NO_ANSWER = "(no text)"  # servers refuse messages without content


@attrs.frozen(kw_only=True)
class Completion(Generic[V]):
    """The result of `complete`.

    Attributes:
        value: the answer: its text, or an instance of the schema's class.
        text: the last answer, unparsed.
        usage: tokens of all attempts together.
        attempts: how many answers were requested; above 1, the earlier ones did not match the schema.
        finish_reason: of the last answer; "length" for a text that was cut.
    """

    value: V
    text: str
    usage: Usage
    attempts: int = 1
    finish_reason: str = ""


@overload
async def complete(
    model: Model, messages: Sequence[ChatMessage], *, schema: None = None, repairs: int = 2
) -> Completion[str]: ...


@overload
async def complete(
    model: Model, messages: Sequence[ChatMessage], *, schema: type[T], repairs: int = 2
) -> Completion[T]: ...


async def complete(
    model: Model, messages: Sequence[ChatMessage], *, schema: type[Any] | None = None, repairs: int = 2
) -> Completion[Any]:
    """Ask *model* once, without notes or tools; with a *schema*, until the answer matches it.

    The answer may have thoughts, code fences and prose around its JSON; of several objects the last that matches
    counts. The JSON itself is checked strictly: nothing is coerced and, for an attrs class, nothing is ignored.

    Args:
        model: from ``Runtime.model`` or ``open_model``; it retries failed requests itself.
        messages: the conversation; the schema is added as a system message after those at its start.
        schema: None for the text, an attrs class, or a pydantic model class. An attrs field may be a str, int, float,
            bool, None, `Literal`, enum, list, tuple, set, dict with text keys, union, or attrs class. Docstrings, and
            ``metadata={"description": …}`` of a field, are shown to the model.
        repairs: how often the model is told what is wrong with its answer and asked again.
    Raises:
        InvalidInputError: there is no message, or the class cannot be a schema; no request has been sent.
        StructuredOutputError: the last answer did not match either.
        ModelError: the model gave no answer, after all retries that made sense.

    Cancelling closes the request.
    """
    if not messages:
        raise InvalidInputError("messages", "is empty: ask something")
    if type(repairs) is not int or repairs < 0:
        raise InvalidInputError("repairs", f"must be a whole number of at least 0, not {repairs!r}")
    if schema is None:
        text, end = await _answer(model, messages)
        return Completion(value=text, text=text, usage=end.usage, finish_reason=end.finish_reason)
    target = schema_of(schema)
    asked = _with_schema(messages, target)
    conversation, usage = asked, Usage()
    for attempt in range(1, repairs + 2):
        text, end = await _answer(model, conversation)
        usage += end.usage
        value, problems = read_answer(text, target)
        cut = is_cut(end.finish_reason)
        if not problems and not (cut and _goes_on_behind_json(text)):
            return Completion(value=value, text=text, usage=usage, attempts=attempt, finish_reason=end.finish_reason)
        if cut:
            problems = (*problems, "it was cut off at the most tokens that an answer may have; be shorter")
        conversation = [*asked, *_ask_again(text, problems)]
    raise StructuredOutputError(target.name, problems, text[:_EXCERPT_CHARS], attempt, usage)


def _goes_on_behind_json(text: str) -> bool:
    """Whether a cut answer was to continue after its JSON, which then belongs to its thoughts, or is an example."""
    return not text.rstrip().rstrip("`").rstrip().endswith(("}", "]"))


def read_answer(text: str, target: Schema) -> tuple[Any, tuple[str, ...]]:
    """The value in *text*, and no problems; or the problems of the last JSON in it."""
    found = find_json(text, openings="{" if target.json_schema.get("type", "object") == "object" else "[{")
    if not found.values:
        return None, (found.problem,)
    last: list[str] = []
    for candidate in reversed(found.values):
        problems: list[str] = []
        try:
            value = target.read(candidate, "$", problems)
        except RecursionError:
            problems.append("$: is nested too deeply")
        if not problems:
            return value, ()
        last = last or problems
    shown = [problem if len(problem) <= _PROBLEM_CHARS else problem[: _PROBLEM_CHARS - 1] + "…" for problem in last]
    more = [f"and {len(shown) - _PROBLEMS} more"] if len(shown) > _PROBLEMS else []
    return None, (*shown[:_PROBLEMS], *more)


async def _answer(model: Model, messages: Sequence[ChatMessage]) -> tuple[str, AnswerEnd]:
    pieces: list[str] = []
    end, failed = None, 0
    with start_model_span(model, messages) as span:
        async with model.answer(messages) as parts:
            async for part in parts:
                match part:
                    case TextDelta():
                        pieces.append(part.text)
                    case Retrying():
                        pieces, failed = [], part.attempt
                        record_retry(part)
                    case AnswerEnd():
                        end = part
        text = "".join(pieces)
        end = end or AnswerEnd(Usage.estimate(messages, len(text), requests=failed + 1), "")
        if span is not None:
            record_answer(span, text, end.usage, end.finish_reason)
    return text, end


def _with_schema(messages: Sequence[ChatMessage], target: Schema) -> list[ChatMessage]:
    start = next((place for place, message in enumerate(messages) if message.role != "system"), len(messages))
    ask = ChatMessage("system", _ASK.format(schema=json.dumps(target.json_schema, ensure_ascii=False)))
    return [*messages[:start], ask, *messages[start:]]


def _ask_again(text: str, problems: Sequence[str]) -> list[ChatMessage]:
    listed = "\n".join(f"- {problem}" for problem in problems)
    return [
        ChatMessage("assistant", text[:_SHOWN_CHARS] if text.strip() else _NO_ANSWER),
        ChatMessage("user", _ASK_AGAIN.format(problems=listed)),
    ]
