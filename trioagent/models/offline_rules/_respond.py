"""`respond`: from the whole conversation to the next answer, in the reply protocol. A pure function."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..._messages import ChatMessage
from ._block import make_code, read_result
from ._plan import BlockPlan, make_plan
from ._replies import GREETING, NOTICE, describe_answer, describe_changes, describe_failure, describe_talk

_OWN_NOTE = re.compile(r"`([^`\n]+)/user\.md`")


def respond(messages: Sequence[ChatMessage]) -> str:
    """The answer to a conversation: code that works on the notes, or, after its result, the reply."""
    at = next((i for i in range(len(messages) - 1, -1, -1) if messages[i].role == "user"), None)
    if at is None:
        return _reply("Nothing was said.", GREETING, first=True)
    plan = make_plan(messages[at].content)
    first = not any(message.role == "assistant" for message in messages[:at])
    if messages[-1].role == "tool":
        return _reply("The notes were used.", _outcome(plan, messages[-1].content), first)
    if plan.ops or plan.ask:
        return f"<think>\n{_thoughts(plan)}\n</think>\n<python>\n{make_code(plan, _own_folder(messages))}\n</python>"
    return _reply("No notes are needed.", describe_talk(plan) or GREETING, first)


def _own_folder(messages: Sequence[ChatMessage]) -> str:
    """The folder of the agent's own notes, as named in the system prompt."""
    match = _OWN_NOTE.search(messages[0].content) if messages[0].role == "system" else None
    return match[1] if match else ""


def _reply(thoughts: str, words: str, first: bool) -> str:
    notice = f"\n{NOTICE}" if first else ""
    return f"<think>\n{thoughts}\n</think>\n<python></python>\n<reply>\n{words}{notice}\n</reply>"


def _thoughts(plan: BlockPlan) -> str:
    doing = []
    if plan.ops:
        doing.append(
            f"{len(plan.ops)} change(s) to the notes: {', '.join(dict.fromkeys(op['op'] for op in plan.ops))}."
        )
    if plan.ask:
        doing.append("A question: look for the line that explains most of its words.")
    return " ".join(doing)


def _outcome(plan: BlockPlan, result: str) -> str:
    """The reply's text for a block's result."""
    values, error = read_result(result)
    if error:
        return describe_failure(error)
    said = []
    if "changes" in values:
        said.append(describe_changes(values["changes"]))
    if "answer" in values:
        said.append(describe_answer(plan, values["answer"]))
    said.append(describe_talk(plan))
    return (
        " ".join(part for part in said if part)
        or "The code ran, but I could not read its result; look at the notes themselves."
    )
