"""A journal with jobs in every state, written as a run writes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trioagent._messages import Usage
from trioagent._parsed_reply import ParsedReply
from trioagent._runs import AnswerEvent, NoteImage, ResultEvent, WorkEvent
from trioagent._runs._journal import open_journal
from trioagent.sandbox import BlockResult
from trioagent.tools import version_of

DONE: Any = {
    "messages": [
        {"role": "user", "content": "I moved to Berlin."},
        {
            "role": "assistant",
            "content": "<think>A new note.</think>\n<python>\ncreate_file('user.md', 'hi')\n</python>",
        },
        {"role": "tool", "content": "<result>\n({}, '')\n</result>"},
        {"role": "assistant", "content": "<think>Done.</think>\n<python></python>\n<reply>Noted.</reply>"},
    ],
    "usage": {"prompt_tokens": 100, "completion_tokens": 20, "estimated": False, "requests": 2, "cost": 0.01},
    "turns": 2,
    "stop_reasons": ["reply"],
    "metadata": {},
}


def failed_outcome(number: int) -> dict[str, Any]:
    """What is recorded of a job that failed: every third one by its deadline, the others by the server's status."""
    error = {"type": "ModelStatusError", "message": f"the server said 429 to {number}", "fields": {"status": 429}}
    if number % 3 == 2:
        error = {"type": "DeadlineExceededError", "message": "it took too long", "fields": {"seconds": 5.0}}
    return {"error": error, "last_response": "\ud83d half", "metadata": {}}


async def journal_jobs(run_dir: Path) -> None:
    """Three jobs that are done, three that failed, and one that runs in its second attempt."""
    async with open_journal(run_dir) as journal:
        for number in range(3):
            record = await journal.begin(f"done-{number}", "digest")
            if number == 1:
                large = b"x" * 300_000
                changes = {"user.md": (b"hello", b"hi"), "old.md": (b"gone", None), "large.md": (large, b"small")}
                record.changes.add(0, result(changes), {"user.md": b"hi", "large.md": b"small"})
            await journal.finish(f"done-{number}", "done", DONE, no_reply=number == 2, changes=record.changes)
        for number in range(3):
            record = await journal.begin(f"failed-{number}", "digest")
            await journal.add_event(record, 0, answer("create_file('a.md', 'one')"))
            await journal.add_event(record, 1, result({"a.md": (None, b"one")}))
            await journal.add_event(record, 2, answer("update_file('a.md', 'one', 'two')"))
            await journal.add_event(record, 3, result({"a.md": (b"one", b"two"), "b.md": (b"gone", None)}))
            await journal.finish(f"failed-{number}", "failed", failed_outcome(number))
        await journal.begin("running-0", "digest")
        await journal.finish("running-0", "failed", failed_outcome(2))
        record = await journal.begin("running-0", "digest")
        await journal.add_event(record, 0, WorkEvent({"step": "persona"}))


def answer(code: str) -> AnswerEvent:
    """An answer of a model with code."""
    text = f"<think>So.</think><python>{code}</python>"
    parsed = ParsedReply(thoughts="So.", code=code, reply="", text=text, repairs={})
    return AnswerEvent(answer=parsed, usage=Usage(prompt_tokens=10, completion_tokens=5), finish_reason="stop")


def result(changes: Mapping[str, tuple[bytes | None, bytes | None]]) -> ResultEvent:
    """The result of a block that changed notes: what they were, and what they are."""
    return ResultEvent(
        result=BlockResult(locals={"x": "1"}, error="", printed="", saved=True, tier="kernel"),
        read={},
        written={path: None if after is None else version_of(after) for path, (_, after) in changes.items()},
        images={path: NoteImage(before) for path, (before, _) in changes.items()},
    )
