"""A model in place of a grader: does the reply say what is expected?"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from .._activity import doing
from .._errors import StructuredOutputError
from .._messages import ChatMessage, Usage
from ..models import Model, complete
from ._suite import Grade

_REPLY_CHARS = 8_000
_TASK = """You grade answers. You are given a question, the expected answer and the answer that was given. It is correct
if it says what is expected, in whatever words, language or format, and nothing that contradicts it. An answer that
says it does not know is correct only if that is what is expected. Judge nothing else: not style, not length."""


@attrs.frozen
class JudgedAnswer:
    """Your judgement of the answer."""

    reason: str = attrs.field(metadata={"description": "in one sentence"})
    correct: bool


async def judge_answer(
    judge: Model, said: Sequence[str], expected: str, reply: str
) -> tuple[Grade | StructuredOutputError, Usage]:
    """Ask *judge*; returns the error if none of its answers was a grade.

    Raises:
        ModelError: no answer, after all retries that made sense.
    """
    if not reply:
        return Grade(0.0, "there is no reply"), Usage()
    question = "\n".join(said)[:_REPLY_CHARS]
    asked = f"Question:\n{question}\n\nExpected answer:\n{expected}\n\nAnswer given:\n{reply[:_REPLY_CHARS]}"
    try:
        with doing("model"):
            answer = await complete(
                judge, [ChatMessage("system", _TASK), ChatMessage("user", asked)], schema=JudgedAnswer
            )
    except StructuredOutputError as error:
        return error, error.usage
    return Grade(float(answer.value.correct), answer.value.reason), answer.usage
